/**
 * Dispatcher: gives the messages of the owned queues to the handler, at most `concurrency` at a time. Queues take turns.
 *
 * A handler that throws, or whose promise rejects, has failed. The message then goes back to its broker, which has it
 * tried again later; it counts as finished AFTER the broker has stored that. In order, a queue stands still instead,
 * longer each time, and its message is tried again here until it has had all its tries; then it is a dead letter and the
 * queue goes on. Tries in order are counted here: the next owner of the queue begins with the first one. Where
 * nobody owns a queue (broadcasting) a message that failed is told of and passed over.
 *
 * RocketMQ: client/impl/consumer/ConsumeMessageConcurrentlyService.java, ConsumeMessageOrderlyService.java
 */
import {
  growingSuspension,
  retryLevelFault,
  suspensionOf,
  TO_DEAD_LETTERS,
} from '../../machines/retry-policy.ts'
import type { Clock, Log } from '../node/world.ts'
import type { ConsumerSettings } from './consumer-options.ts'
import { type Handler, Try, unhandled } from './handler.ts'
import type { ProcessQueue } from './process-queue.ts'
import { RunningHandlers } from './running-handlers.ts'
import { type FailureCounts, reasonOf, type SendMessageBack, type SentBackTo } from './send-back.ts'

/** RocketMQ tries here again so long after it could not send a message back. */
const TRY_HERE_MS = 5_000
/** RocketMQ's level for what took too long. */
const TIMED_OUT_LEVEL = 3
/** Messages that are given out before other work of the process has a turn. */
const TURN_MESSAGES = 2_048
/** The same for handlers that return late what they could have promised: beats and answers are not to wait for thousands. */
const TURN_MS = 10

type Settings = Pick<
  ConsumerSettings,
  'group' | 'ordered' | 'concurrency' | 'maxReconsumeTimes' | 'suspendMs' | 'consumeTimeoutMs'
>

export class Dispatcher {
  readonly counts: FailureCounts = {
    ...{ failed: 0, sentBack: 0, deadLetters: 0, sendBackFailed: 0 },
    ...{ fenced: 0, timedOut: 0, late: 0, dropped: 0 },
  }
  readonly #clock: Clock
  readonly #log: Log
  readonly #settings: Settings
  readonly #ordered: boolean
  readonly #concurrency: number
  readonly #handler: Handler
  readonly #sendBack: SendMessageBack | null
  readonly #look: () => unknown
  readonly #handlers: RunningHandlers<Try>
  #queues: readonly ProcessQueue[] = []
  #cursor = 0
  #running = 0
  #isGiving = false
  #isTurnOver = false
  #isStopped = false
  /** Timers of messages that failed and wait here for their next try. */
  readonly #retries = new Set<unknown>()

  /** `sendBack` null: no broker takes anything back (broadcasting). `look`: BEFORE messages are given out; it may stop queues. */
  constructor(
    { clock, log }: { clock: Clock; log: Log },
    settings: Settings,
    handler: Handler,
    sendBack: SendMessageBack | null,
    look: () => unknown = () => {},
  ) {
    this.#clock = clock
    this.#log = log
    this.#settings = settings
    this.#ordered = settings.ordered
    this.#concurrency = settings.concurrency
    this.#handler = handler
    this.#sendBack = sendBack
    this.#look = look
    const timeoutMs =
      settings.ordered || sendBack === null ? Number.POSITIVE_INFINITY : settings.consumeTimeoutMs
    this.#handlers = new RunningHandlers(clock, timeoutMs, (run) => this.#timedOut(run))
  }

  /** The queues to take messages from, from now on. */
  setQueues(queues: readonly ProcessQueue[]): void {
    this.#queues = queues
  }

  /** Gives out what there is, while the handler may take more. */
  readonly give = (): void => {
    if (this.#isGiving || this.#isTurnOver) return
    this.#isGiving = true
    this.#look()
    let lookAt = 1
    let endsAt = Number.POSITIVE_INFINITY
    for (let given = 0; this.#running < this.#concurrency; given++) {
      // After the first, second, fourth, … message: reading a clock costs as much as a short handler.
      if (given === lookAt) {
        lookAt *= 2
        const now = this.#clock.monotonic()
        if (given === 1) endsAt = now + TURN_MS
        if (given >= TURN_MESSAGES || now > endsAt) {
          this.#isTurnOver = true
          this.#clock.defer(this.#nextTurn)
          break
        }
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
      this.#handle(new Try(this.#settings.group, queue, message))
      return true
    }
    return false
  }

  #handle(run: Try): void {
    this.#running++
    let result: unknown
    try {
      result = this.#handler(run.message, run)
    } catch (error) {
      this.#running--
      return this.#failed(run, error)
    }
    if (!isThenable(result)) return this.#finished(run)
    const place = this.#handlers.begin(run)
    // One of another make may throw, or tell twice.
    const promise = result instanceof Promise ? result : Promise.resolve(result)
    promise.then(
      (value) => {
        if (!this.#handlers.end(place, run)) return this.#late()
        if (value !== unhandled) return this.#finished(run)
        this.#running--
        run.processQueue.letGo()
        this.give()
      },
      (error: unknown) => {
        if (!this.#handlers.end(place, run)) return this.#late()
        this.#running--
        this.#failed(run, error)
      },
    )
  }

  #finished({ processQueue, message }: Try): void {
    this.#running--
    if (processQueue.isLost) this.counts.fenced++
    processQueue.finished(message)
    this.give()
  }

  /** It ran for too long, and its message was sent back; until it ends it takes the place of another. */
  #late(): void {
    this.counts.late++
    this.#running--
    this.give()
  }

  #timedOut(run: Try): void {
    this.counts.timedOut++
    this.counts.failed++
    const reason = `the handler ran longer than ${this.#settings.consumeTimeoutMs} ms`
    this.#tell(run, `${reason}; the message is sent back, and what the handler returns is ignored`, reason)
    this.#giveBack(run, TIMED_OUT_LEVEL, reason)
  }

  #failed(run: Try, error: unknown): void {
    this.counts.failed++
    const reason = reasonOf(error)
    if (this.#sendBack === null) this.#drop(run, reason)
    else if (this.#ordered) this.#suspend(run, reason)
    else {
      const fault = retryLevelFault(run.delayLevel)
      if (fault !== null) this.#log.warn(`${fault}; the ladder decides`)
      this.#tell(run, 'the handler failed; the message is sent back', reason)
      this.#giveBack(run, fault === null ? run.delayLevel : 0, reason)
    }
    this.give()
  }

  #drop(run: Try, reason: string): void {
    this.counts.dropped++
    this.#tell(
      run,
      'the handler failed; broadcasting tries nothing again, the message is passed over',
      reason,
    )
    run.processQueue.finished(run.message)
  }

  /** In order: nothing of the queue is given out until this message has another try. */
  #suspend(run: Try, reason: string): void {
    const { maxReconsumeTimes, suspendMs } = this.#settings
    if (run.message.deliveryAttempt > maxReconsumeTimes) {
      this.#tell(run, 'the handler failed for the last time; the message becomes a dead letter', reason)
      return this.#giveBack(run, TO_DEAD_LETTERS, reason)
    }
    const pause = run.suspendMs
      ? suspensionOf(run.suspendMs)
      : growingSuspension(suspendMs, run.message.deliveryAttempt)
    this.#tell(run, `the handler failed; its queue stands still for ${pause} ms`, reason)
    run.processQueue.failed(true)
    this.#tryHere(run, pause)
  }

  /** The queue is not given back while the answer is awaited: whoever read it next would handle the message again. */
  #giveBack(run: Try, delayLevel: number, reason: string): void {
    const { processQueue, message } = run
    this.#sendBack!(processQueue, message, { delayLevel, reason }, (to, why) => {
      this.#count(to)
      if (to === 'failed' || to === 'fenced') {
        const whose = processQueue.isStopped
          ? 'it is left to the next owner of its queue'
          : `it is tried again here in ${TRY_HERE_MS} ms`
        this.#tell(run, `the message could not be sent back; ${whose}`, why)
        processQueue.failed(this.#ordered)
        this.#tryHere(run, TRY_HERE_MS)
      } else processQueue.finished(message)
      this.give()
    })
  }

  #count(to: SentBackTo): void {
    if (to === 'retry') this.counts.sentBack++
    else if (to === 'deadLetters') this.counts.deadLetters++
    else if (to === 'fenced') this.counts.fenced++
    else if (to === 'failed') this.counts.sendBackFailed++
  }

  /** Of a queue that is another one's by then nothing is tried: it is the next owner's. */
  #tryHere({ processQueue, message }: Try, ms: number): void {
    if (this.#isStopped) return
    const retry = this.#clock.setTimeout(() => {
      this.#retries.delete(retry)
      processQueue.redeliver(message)
      this.give()
    }, ms)
    this.#retries.add(retry)
  }

  #tell({ message: { messageId, deliveryAttempt } }: Try, what: string, error: string): void {
    this.#log.warn(`'${this.#settings.group}': ${what}`, { messageId, deliveryAttempt, error })
  }

  /** Nothing is tried again: a process that closed its consumer ends without waiting for it. */
  stop(): void {
    this.#isStopped = true
    this.#handlers.stop()
    for (const retry of this.#retries) this.#clock.clearTimeout(retry)
    this.#retries.clear()
  }
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
