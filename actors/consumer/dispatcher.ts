/**
 * Dispatcher: gives the messages of the owned queues to the handler, at most `concurrency` at a time. Queues take turns.
 *
 * A handler that throws, or whose promise rejects, gets the same message again after a pause that doubles each time;
 * until it succeeds the message counts as unfinished. In order, it holds up its own queue and no other.
 *
 * RocketMQ: client/impl/consumer/ConsumeMessageConcurrentlyService.java, ConsumeMessageOrderlyService.java
 */
import type { QueueRef } from '../../machines/topic.ts'
import type { Clock, Log } from '../node/world.ts'
import type { IncomingMessage } from './incoming-message.ts'
import type { ProcessQueue } from './process-queue.ts'

export type MessageContext = {
  readonly group: string
  readonly queue: QueueRef
  /** Messages of the queue that were stored after this one, when the broker last told. */
  readonly behind: number
  /** Of the ownership under which it is handled. It rises with each owner: others can refuse what an older one writes. */
  readonly assignEpoch: number
}

/** What it returns, or its promise resolves to, is ignored, except `unhandled`. */
export type Handler = (message: IncomingMessage, context: MessageContext) => unknown

/** Of a consumer that is closing: the message was not handled, and is not given to this handler again. */
export const unhandled = Symbol('unhandled')

const RETRY_MS_MIN = 1_000
const RETRY_MS_MAX = 30_000
/** Messages that are given out before other work of the process has a turn. */
const TURN_MESSAGES = 2_000

export class Dispatcher {
  readonly #clock: Clock
  readonly #log: Log
  readonly #group: string
  readonly #ordered: boolean
  readonly #concurrency: number
  readonly #handler: Handler
  #queues: readonly ProcessQueue[] = []
  #cursor = 0
  #running = 0
  #isGiving = false
  #isTurnOver = false
  /** Timers of messages that failed and wait for their next try. */
  readonly #retries = new Set<unknown>()

  constructor(
    { clock, log }: { clock: Clock; log: Log },
    { group, ordered, concurrency }: { group: string; ordered: boolean; concurrency: number },
    handler: Handler,
  ) {
    this.#clock = clock
    this.#log = log
    this.#group = group
    this.#ordered = ordered
    this.#concurrency = concurrency
    this.#handler = handler
  }

  /** The queues to take messages from, from now on. */
  setQueues(queues: readonly ProcessQueue[]): void {
    this.#queues = queues
  }

  /** Gives out what there is, while the handler may take more. */
  readonly give = (): void => {
    if (this.#isGiving || this.#isTurnOver) return
    this.#isGiving = true
    for (let given = 0; this.#running < this.#concurrency; given++) {
      if (given >= TURN_MESSAGES) {
        this.#isTurnOver = true
        this.#clock.defer(this.#nextTurn)
        break
      }
      if (!this.#giveNext()) break
    }
    this.#isGiving = false
  }

  readonly #nextTurn = (): void => {
    this.#isTurnOver = false
    this.give()
  }

  #giveNext(): boolean {
    const queues = this.#queues
    for (let tried = 0; tried < queues.length; tried++) {
      if (this.#cursor >= queues.length) this.#cursor = 0
      const queue = queues[this.#cursor]!
      const message = queue.take(this.#ordered)
      if (message === null || this.#ordered) this.#cursor++
      if (message === null) continue
      this.#handle(queue, message)
      return true
    }
    return false
  }

  #handle(queue: ProcessQueue, message: IncomingMessage): void {
    this.#running++
    let result: unknown
    try {
      result = this.#handler(message, new Context(this.#group, queue, message))
    } catch (error) {
      return this.#failed(queue, message, error)
    }
    if (!isThenable(result)) return this.#finished(queue, message)
    result.then(
      (value) => (value === unhandled ? this.#letGo(queue) : this.#finished(queue, message)),
      (error: unknown) => this.#failed(queue, message, error),
    )
  }

  #finished(queue: ProcessQueue, message: IncomingMessage): void {
    this.#running--
    queue.finished(message)
    this.give()
  }

  #letGo(queue: ProcessQueue): void {
    this.#running--
    queue.letGo()
  }

  #failed(queue: ProcessQueue, message: IncomingMessage, error: unknown): void {
    this.#running--
    const { messageId, deliveryAttempt } = message
    const pause = Math.min(RETRY_MS_MIN * 2 ** (deliveryAttempt - 1), RETRY_MS_MAX)
    this.#log.warn(`the handler of '${this.#group}' failed; it gets the message again in ${pause} ms`, {
      messageId,
      deliveryAttempt,
      error: String(error),
    })
    queue.failed(this.#ordered)
    const retry = this.#clock.setTimeout(() => {
      this.#retries.delete(retry)
      queue.redeliver(message)
      this.give()
    }, pause)
    this.#retries.add(retry)
    this.give()
  }

  /** Nothing is tried again: a process that closed its consumer ends without waiting for it. */
  stop(): void {
    for (const retry of this.#retries) this.#clock.clearTimeout(retry)
    this.#retries.clear()
  }
}

/** Looked at by few handlers: it costs one small object and computes on demand. */
class Context implements MessageContext {
  readonly group: string
  /** @internal */ private readonly processQueue: ProcessQueue
  /** @internal */ private readonly offset: number

  constructor(group: string, queue: ProcessQueue, message: IncomingMessage) {
    this.group = group
    this.processQueue = queue
    this.offset = message.queueOffset
  }

  get queue(): QueueRef {
    return this.processQueue.reader.ref
  }

  get assignEpoch(): number {
    return this.processQueue.assignEpoch
  }

  get behind(): number {
    return Math.max(0, this.processQueue.reader.maxOffset - this.offset - 1)
  }
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
