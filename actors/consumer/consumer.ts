/**
 * Consumer: gives the messages of its queues to a handler, many at once or in order, and commits what is finished.
 *
 * AT LEAST ONCE: an offset is committed AFTER every message below it was handled. A handler that throws gets the same
 * message again, later; nothing is skipped. In a group a queue is read by one consumer at a time.
 *
 * RocketMQ: client/consumer/DefaultMQPushConsumer.java, client/impl/consumer/ConsumeMessageConcurrentlyService.java
 */
import { BehaviorSubject, type Observable } from 'rxjs'
import { type Allocation, allocations } from '../../machines/allocation/index.ts'
import { tagExpressionFault, tagsOf } from '../../machines/filter/tag.ts'
import { groupFault, topicFault } from '../../machines/names.ts'
import { type QueueRef, queueKey, readQueuesOf, type TopicRoute } from '../../machines/topic.ts'
import { ask } from '../../transport/codec.ts'
import { badInput, StateMQError } from '../errors.ts'
import type { Process } from '../node/process.ts'
import { type RouteWatch, watchRoute } from '../producer/route.ts'
import { type GroupMember, joinGroup } from './group-member.ts'
import type { IncomingMessage } from './incoming-message.ts'
import { ProcessQueue, type TagFilter, tagFilterOf } from './process-queue.ts'
import {
  defaultLimits,
  type FlowLimits,
  findOffset,
  QueueReader,
  type StartPosition,
} from './queue-reader.ts'

export type ConsumerOptions = {
  group: string
  /** 'clustering' (default): each message to one consumer of the group. 'broadcasting': each to all. */
  messageModel?: 'clustering' | 'broadcasting'
  /** How the queues are divided; default 'averagely'. */
  allocation?: Allocation
  /** Where a group begins that has committed nothing; default 'last'. A queue that appears later is read from its start. */
  from?: 'first' | 'last' | Date
  /** One message of a queue at a time, in order; default false. */
  ordered?: boolean
  /** Handlers that run at once; default 20. */
  concurrency?: number
  /** Names this consumer in its group; two that run at once need two names. Made up by default. */
  clientId?: string
  flow?: Partial<FlowLimits>
}

export type MessageContext = {
  readonly group: string
  readonly queue: QueueRef
  /** Messages of the queue that were stored after this one, when the broker last told. */
  readonly behind: number
}

export type Handler = (message: IncomingMessage, context: MessageContext) => unknown

/** A queue that this consumer owns; `assignEpoch` rises whenever the queues of the group are divided anew. */
export type Assignment = QueueRef & { assignEpoch: number }

/** A message of `messages()`: the next one follows when there is room, the offset moves when it is acknowledged. */
export type PulledMessage = IncomingMessage & { ack(): Promise<void> }

const COMMIT_MS = 1_000
const ASK_MS = 3_000
const SETTLE_MS = 5_000
const RETRY_MS_MIN = 1_000
const RETRY_MS_MAX = 30_000
/** Messages that are given out before other work of the process has a turn. */
const TURN_MESSAGES = 2_000

export class Consumer {
  readonly group: string
  readonly clientId: string
  /** The queues this consumer owns, now and after each change. */
  readonly assignment$: Observable<readonly Assignment[]>
  readonly #process: Process
  readonly #released: () => void
  readonly #options: Required<Omit<ConsumerOptions, 'clientId' | 'flow' | 'from'>>
  readonly #from: StartPosition
  readonly #limits: FlowLimits
  readonly #filters = new Map<string, TagFilter>()
  readonly #routes = new Map<string, RouteWatch>()
  readonly #epochs = new Map<string, number>()
  readonly #owned = new Map<string, ProcessQueue>()
  /** Queues that were there when this consumer first saw the route; the others are read from their start. */
  readonly #initial = new Set<string>()
  readonly #seenTopics = new Set<string>()
  readonly #assignments = new BehaviorSubject<readonly Assignment[]>([])
  #order: ProcessQueue[] = []
  #cursor = 0
  #running = 0
  #isDispatching = false
  #isTurnOver = false
  #handler: Handler | null = null
  #member: GroupMember | null = null
  #commitTimer: unknown = null
  #state: 'new' | 'running' | 'closing' | 'closed' = 'new'
  #settled: (() => void) | null = null
  #left: (() => void) | null = null

  constructor(process: Process, options: ConsumerOptions, clientId: string, released: () => void) {
    checkOptions(options)
    const { from = 'last' } = options
    this.#process = process
    this.#released = released
    this.group = options.group
    this.clientId = options.clientId ?? clientId
    this.#from = from instanceof Date ? { time: from.getTime() } : from
    this.#limits = { ...defaultLimits, ...options.flow }
    this.#options = {
      group: options.group,
      messageModel: options.messageModel ?? 'clustering',
      allocation: options.allocation ?? 'averagely',
      ordered: options.ordered ?? false,
      concurrency: options.concurrency ?? 20,
    }
    this.assignment$ = this.#assignments.asObservable()
  }

  /** Before `run`: which messages of which topic. `expression`: `*` (default) or tags, `a || b`. */
  subscribe(topic: string, expression = '*'): this {
    if (this.#state !== 'new')
      throw new StateMQError('INVALID_PARAMETER', 'subscribe before run() or messages()')
    const fault =
      typeof topic === 'string'
        ? topicFault(topic)
        : { code: 'MESSAGE_ILLEGAL' as const, message: 'the topic is no string' }
    if (fault) throw badInput(fault.message, fault.code)
    const broken =
      typeof expression === 'string'
        ? tagExpressionFault(expression)
        : 'SQL filters are not supported by this version: give tags'
    if (broken !== null) throw badInput(broken, 'SUBSCRIPTION_PARSE_FAILED')
    this.#filters.set(topic, tagFilterOf(tagsOf(expression)))
    return this
  }

  /** Starts. Resolves when the queues are divided, at most seconds later; handlers may run before. */
  async run(handler: Handler): Promise<void> {
    if (this.#state !== 'new')
      throw new StateMQError('INVALID_PARAMETER', 'this consumer has been started already')
    if (typeof handler !== 'function') throw badInput('run() takes a function', 'INVALID_PARAMETER')
    if (this.#filters.size === 0)
      throw new StateMQError('INVALID_PARAMETER', 'subscribe to a topic before run()')
    this.#handler = handler
    this.#state = 'running'
    const settled = new Promise<void>((resolve) => {
      this.#settled = resolve
    })
    const { clock } = this.#process.world
    const timer = clock.setTimeout(() => this.#settled?.(), SETTLE_MS)
    if (this.#options.messageModel === 'clustering') this.#join()
    for (const topic of this.#filters.keys()) this.#watch(topic)
    await settled
    clock.clearTimeout(timer)
  }

  /** The messages one by one, acknowledged by the caller; at most `concurrency` are out at a time. */
  async *messages(): AsyncGenerator<PulledMessage, void, undefined> {
    const ready: PulledMessage[] = []
    let wake: (() => void) | null = null
    await this.run(
      (message) =>
        new Promise<void>((resolve) => {
          ready.push(
            Object.assign(message, {
              async ack() {
                resolve()
              },
            }),
          )
          wake?.()
        }),
    )
    try {
      while (this.#state === 'running') {
        const message = ready.shift()
        if (message) yield message
        else {
          await new Promise<void>((resolve) => {
            wake = resolve
            this.#woken = resolve
          })
        }
      }
    } finally {
      // Messages that were given out and not acknowledged go to whoever reads the queue next.
      this.#abandonRunning()
      await this.close()
    }
  }

  #woken: (() => void) | null = null

  /** Finishes what runs, commits, gives the queues back and leaves the group. */
  async close(): Promise<void> {
    if (this.#state === 'closed' || this.#state === 'closing') return
    const wasRunning = this.#state === 'running'
    this.#state = 'closing'
    this.#woken?.()
    if (wasRunning) {
      if (this.#member) {
        const left = new Promise<void>((resolve) => {
          this.#left = resolve
        })
        this.#member.close()
        await left
      } else {
        await Promise.all(
          [...this.#owned.values()].map((queue) => new Promise<void>((done) => queue.drain(done))),
        )
      }
    }
    const { clock } = this.#process.world
    clock.clearTimeout(this.#commitTimer)
    for (const route of this.#routes.values()) route.stop()
    for (const queue of this.#owned.values()) queue.stop()
    this.#owned.clear()
    this.#state = 'closed'
    this.#assignments.complete()
    this.#settled?.()
    this.#released()
  }

  #abandonRunning(): void {
    for (const queue of this.#owned.values()) queue.running = 0
  }

  #join(): void {
    const { group, allocation } = this.#options
    const { clock, log } = this.#process.world
    this.#member = joinGroup(this.#process, {
      group,
      clientId: this.clientId,
      topics: [...this.#filters.keys()],
      allocation,
      epochOf: (brokerName) => this.#epochs.get(brokerName) ?? 0,
      granted: (ref, generation, { committed, minOffset, maxOffset }) => {
        if (committed !== null) return this.#own(ref, generation, committed, committed)
        this.#begin(ref, { minOffset, maxOffset }, (offset) => this.#own(ref, generation, offset, -1))
      },
      drain: (ref, drained) => {
        const key = queueKey(ref)
        const queue = this.#owned.get(key)
        if (!queue) return drained()
        queue.drain(() => {
          this.#commit([queue], () => {
            if (this.#owned.get(key) === queue) this.#owned.delete(key)
            drained()
          })
        })
        this.#reorder()
      },
      drop: (ref) => {
        this.#owned.get(queueKey(ref))?.stop()
        this.#owned.delete(queueKey(ref))
        this.#reorder()
      },
      assigned: (owned) => this.#announce(owned),
      settled: () => this.#settled?.(),
      refused: (message) => log.error(`consumer ${this.clientId} may not join '${group}': ${message}`),
      left: () => this.#left?.(),
    })
    this.#commitTimer = clock.setTimeout(() => this.#commitRegularly(), COMMIT_MS)
  }

  #announce(owned: readonly QueueRef[]): void {
    this.#assignments.next(
      owned.map((ref) => ({ ...ref, assignEpoch: this.#owned.get(queueKey(ref))?.generation ?? 0 })),
    )
  }

  #watch(topic: string): void {
    const { log } = this.#process.world
    this.#routes.set(
      topic,
      watchRoute(this.#process, {
        topic,
        createTopic: false,
        announced: (route) => this.#routed(route),
        missing: () => {
          if (!this.#seenTopics.has(topic)) log.warn(`there is no topic '${topic}' yet: waiting for it`)
          this.#seenTopics.add(topic)
          this.#queuesChanged(topic, [])
        },
      }),
    )
  }

  #routed(route: TopicRoute): void {
    const { topic } = route
    const queues = readQueuesOf(route)
    if (!this.#seenTopics.has(topic)) for (const queue of queues) this.#initial.add(queueKey(queue))
    this.#seenTopics.add(topic)
    for (const { brokerName, epoch } of route.brokers) {
      if (epoch <= (this.#epochs.get(brokerName) ?? 0)) continue
      this.#epochs.set(brokerName, epoch)
      for (const { reader } of this.#owned.values()) if (reader.ref.brokerName === brokerName) reader.again()
    }
    this.#queuesChanged(topic, queues)
  }

  #queuesChanged(topic: string, queues: QueueRef[]): void {
    if (this.#member) return this.#member.queuesChanged(topic, queues)
    const wanted = new Set(queues.map(queueKey))
    for (const [key, queue] of this.#owned) {
      if (queue.reader.ref.topic !== topic || wanted.has(key)) continue
      queue.stop()
      this.#owned.delete(key)
    }
    let left = queues.length
    const settle = () => {
      if (left > 0) return
      this.#announce([...this.#owned.values()].map(({ reader }) => reader.ref))
      this.#settled?.()
    }
    for (const ref of queues) {
      if (this.#owned.has(queueKey(ref))) left--
      else {
        this.#begin(ref, null, (offset) => {
          left--
          this.#own(ref, 0, offset, -1)
          settle()
        })
      }
    }
    settle()
  }

  /** Where to begin in a queue that nothing is committed of. */
  #begin(
    ref: QueueRef,
    bounds: { minOffset: number; maxOffset: number } | null,
    found: (offset: number) => void,
  ): void {
    const from = this.#initial.has(queueKey(ref)) ? this.#from : 'first'
    if (bounds && from === 'first') return found(bounds.minOffset)
    if (bounds && from === 'last') return found(bounds.maxOffset)
    findOffset(this.#process, ref, this.#epochs.get(ref.brokerName) ?? 0, from, (offset) => {
      if (this.#state !== 'running') return
      if (offset !== null) found(offset)
      else this.#process.world.clock.setTimeout(() => this.#begin(ref, bounds, found), RETRY_MS_MIN)
    })
  }

  #own(ref: QueueRef, generation: number, offset: number, committed: number): void {
    const key = queueKey(ref)
    if (this.#state !== 'running' || this.#owned.has(key)) return
    const { group, messageModel } = this.#options
    const owner = messageModel === 'clustering' ? { group, clientId: this.clientId, generation } : undefined
    const hooks = {
      epoch: () => this.#epochs.get(ref.brokerName) ?? 0,
      arrived: () => this.#dispatch(),
      unreachable: (epoch: number) => this.#routes.get(ref.topic)?.unreachable(ref.brokerName, epoch),
      fenced: () => this.#member?.reclaim(ref, generation, () => reader.again()),
      mayPull: () => queue.isWithinSpan,
    }
    const reader = new QueueReader(this.#process, ref, hooks, this.#limits, owner)
    const queue = new ProcessQueue(
      reader,
      this.#filters.get(ref.topic) ?? null,
      generation,
      offset,
      committed,
    )
    this.#owned.set(key, queue)
    this.#reorder()
    reader.start(offset)
  }

  #reorder(): void {
    this.#order = [...this.#owned.values()].filter((queue) => !queue.isStopped)
  }

  /** Gives messages to the handler while it may take more. Queues take turns. */
  #dispatch(): void {
    if (this.#isDispatching || this.#isTurnOver) return
    this.#isDispatching = true
    const { concurrency } = this.#options
    let given = 0
    while (this.#running < concurrency) {
      if (given++ >= TURN_MESSAGES) {
        this.#isTurnOver = true
        this.#process.world.clock.defer(() => {
          this.#isTurnOver = false
          this.#dispatch()
        })
        break
      }
      if (!this.#giveNext()) break
    }
    this.#isDispatching = false
  }

  #giveNext(): boolean {
    const order = this.#order
    const { ordered } = this.#options
    for (let tried = 0; tried < order.length; tried++) {
      if (this.#cursor >= order.length) this.#cursor = 0
      const queue = order[this.#cursor]!
      const message = queue.take(ordered)
      if (message === null) this.#cursor++
      else {
        if (ordered) this.#cursor++
        this.#handle(queue, message)
        return true
      }
    }
    return false
  }

  #handle(queue: ProcessQueue, message: IncomingMessage): void {
    this.#running++
    let result: unknown
    try {
      result = this.#handler!(message, new Context(this.group, queue, message))
    } catch (error) {
      return this.#failed(queue, message, error)
    }
    if (isThenable(result)) {
      result.then(
        () => this.#finished(queue, message),
        (error: unknown) => this.#failed(queue, message, error),
      )
    } else this.#finished(queue, message)
  }

  #finished(queue: ProcessQueue, message: IncomingMessage): void {
    this.#running--
    queue.finished(message)
    if (!this.#isDispatching) this.#dispatch()
  }

  #failed(queue: ProcessQueue, message: IncomingMessage, error: unknown): void {
    this.#running--
    const { ordered } = this.#options
    const { log, clock } = this.#process.world
    const pause = Math.min(RETRY_MS_MIN * 2 ** (message.deliveryAttempt - 1), RETRY_MS_MAX)
    log.warn(`the handler of '${this.group}' failed; the message is given to it again in ${pause} ms`, {
      messageId: message.messageId,
      attempt: message.deliveryAttempt,
      error: String(error),
    })
    queue.failed(ordered)
    clock.setTimeout(() => {
      queue.redeliver(message)
      this.#dispatch()
    }, pause)
    if (!this.#isDispatching) this.#dispatch()
  }

  #commitRegularly(): void {
    this.#commitTimer = this.#process.world.clock.setTimeout(() => this.#commitRegularly(), COMMIT_MS)
    this.#commit([...this.#owned.values()], () => {})
  }

  /** Tells the brokers how far the queues are handled; calls back when all have answered, or failed to. */
  #commit(queues: readonly ProcessQueue[], done: () => void): void {
    const { transport } = this.#process.world
    const { subjects } = this.#process
    const byBroker = new Map<string, { queue: ProcessQueue; position: number }[]>()
    for (const queue of queues) {
      const { position } = queue
      if (position <= queue.committed) continue
      const { brokerName } = queue.reader.ref
      const listed = byBroker.get(brokerName)
      if (listed) listed.push({ queue, position })
      else byBroker.set(brokerName, [{ queue, position }])
    }
    let left = byBroker.size
    if (left === 0) return done()
    for (const [brokerName, progress] of byBroker) {
      const offsets = progress.map(({ queue, position }): [string, number, number, number] => {
        const { topic, queueId } = queue.reader.ref
        return [topic, queueId, position, queue.generation]
      })
      const to = subjects.broker(brokerName, this.#epochs.get(brokerName) ?? 0)
      ask(
        transport,
        to.commit,
        { group: this.group, clientId: this.clientId, offsets },
        ASK_MS,
        (outcome) => {
          if (outcome.ok && outcome.value.code === 0) {
            for (const { queue, position } of progress) queue.committed = Math.max(queue.committed, position)
          }
          if (--left === 0) done()
        },
      )
    }
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

  get behind(): number {
    return Math.max(0, this.processQueue.reader.maxOffset - this.offset - 1)
  }
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'

function checkOptions({
  group,
  messageModel,
  allocation,
  from,
  concurrency,
  clientId,
}: ConsumerOptions): void {
  if (typeof group !== 'string')
    throw badInput('a consumer needs a group: client.consumer({ group })', 'INVALID_PARAMETER')
  const fault = groupFault(group)
  if (fault) throw badInput(fault.message, fault.code)
  const invalid = (message: string): never => {
    throw badInput(message, 'INVALID_PARAMETER')
  }
  if (messageModel !== undefined && messageModel !== 'clustering' && messageModel !== 'broadcasting') {
    invalid(`messageModel '${messageModel}': give 'clustering' or 'broadcasting'`)
  }
  if (allocation !== undefined && !Object.hasOwn(allocations, allocation)) {
    invalid(`allocation '${allocation}': give one of ${Object.keys(allocations).join(', ')}`)
  }
  if (
    from !== undefined &&
    from !== 'first' &&
    from !== 'last' &&
    !(from instanceof Date && !Number.isNaN(from.getTime()))
  ) {
    invalid("from: give 'first', 'last' or a Date")
  }
  if (concurrency !== undefined && !(Number.isInteger(concurrency) && concurrency > 0)) {
    invalid(`concurrency ${concurrency}: give a whole number above 0`)
  }
  if (clientId !== undefined && !/^[\w%|@-]{1,120}$/.test(clientId)) {
    invalid(`clientId '${clientId}': give 1 to 120 letters, digits, _, -, @, % or |`)
  }
}
