/**
 * Consumer: gives the messages of its queues to a handler, many at once or in order, and commits what is finished.
 *
 * AT LEAST ONCE: an offset is committed AFTER every message below it was handled, or is stored to be tried again. A
 * message whose handler throws comes again, later, to any member of the group, and becomes a dead letter after its last
 * try; nothing is skipped. In a group a queue is read by one consumer at a time.
 *
 * RocketMQ: client/consumer/DefaultMQPushConsumer.java, client/impl/consumer/DefaultMQPushConsumerImpl.java
 */
import { BehaviorSubject, type Observable } from 'rxjs'
import type { FilterExpression } from '../../machines/filter/filter.ts'
import { RETRY_PREFIX, topicFault } from '../../machines/names.ts'
import { type QueueRef, queueKey, readQueuesOf, type TopicRoute } from '../../machines/topic.ts'
import { badInput, StateMQError } from '../errors.ts'
import type { Process } from '../node/process.ts'
import { type RouteWatch, watchRoute } from '../producer/route.ts'
import { commitOffsets, type Masters } from './commit.ts'
import { type ConsumerOptions, type ConsumerSettings, settingsOf } from './consumer-options.ts'
import { Dispatcher, type FailureCounts, type Handler, unhandled } from './dispatcher.ts'
import { FlowControl } from './flow-control.ts'
import { type Granted, type GroupMember, joinGroup } from './group-member.ts'
import type { IncomingMessage } from './incoming-message.ts'
import { type LocalOffsets, openLocalOffsets } from './local-offsets.ts'
import { MasterProbe } from './master-probe.ts'
import { ProcessQueue } from './process-queue.ts'
import { QueueReader } from './queue-reader.ts'
import { sendMessageBack } from './send-back.ts'
import { findOffset } from './start-position.ts'
import { type Subscribed, subscribed, unfiltered } from './subscribed.ts'

/** A queue that this consumer owns; `assignEpoch` rises whenever the queue changes hands. */
export type Assignment = QueueRef & { assignEpoch: number }

/** A message of `messages()`: the offset moves when it is acknowledged. */
export type PulledMessage = IncomingMessage & { ack(): Promise<void> }

/** What became of a consumer that was closed. */
export type Closed = {
  /** Messages whose handlers had not ended after `closeTimeoutMs`: they are delivered again. */
  unfinished: number
}

const COMMIT_MS = 1_000
const SETTLE_MS = 5_000
const RETRY_MS = 1_000

export class Consumer {
  readonly group: string
  readonly clientId: string
  /** The queues this consumer owns, now and after each change. */
  readonly assignment$: Observable<readonly Assignment[]>
  readonly #process: Process
  readonly #released: () => void
  readonly #settings: ConsumerSettings
  readonly #filters = new Map<string, Subscribed>()
  readonly #routes = new Map<string, RouteWatch>()
  readonly #epochs = new Map<string, number>()
  readonly #owned = new Map<string, ProcessQueue>()
  /** Queues that were taken from us, and how far they were handled. */
  readonly #dropped = new Map<string, { assignEpoch: number; position: number }>()
  /** Queues that were there when this consumer first saw the route; the others are read from their start. */
  readonly #initial = new Set<string>()
  readonly #seenTopics = new Set<string>()
  /** Queues of which a broker is being asked where to begin. */
  readonly #beginning = new Map<string, { retry: unknown }>()
  readonly #assignments = new BehaviorSubject<readonly Assignment[]>([])
  readonly #flow: FlowControl
  #dispatcher: Dispatcher | null = null
  /** Of a broadcasting consumer that has a name. */
  #offsets: LocalOffsets | null = null
  #member: GroupMember | null = null
  #commitTimer: unknown = null
  #probe: MasterProbe | null = null
  #state: 'new' | 'running' | 'closed' = 'new'
  #closing: Promise<Closed> | null = null
  #isSuspended = false
  #settled: (refusal: StateMQError | null) => void = () => {}
  #left: () => void = () => {}
  #woken: () => void = () => {}
  /** Lets go of messages that wait for `messages()` to give them out. */
  #unread: () => void = () => {}

  constructor(process: Process, options: ConsumerOptions, madeUpId: string, released: () => void) {
    this.#settings = settingsOf(options, madeUpId)
    this.#flow = new FlowControl(this.#settings.flow)
    this.#process = process
    this.#released = released
    this.group = this.#settings.group
    this.clientId = this.#settings.clientId
    this.assignment$ = this.#assignments.asObservable()
  }

  /** What became of tries that failed, since it was started. */
  get failures(): Readonly<FailureCounts> | null {
    return this.#dispatcher && { ...this.#dispatcher.counts }
  }

  /** Where the messages come again that this group failed to handle; made by a broker when the first one does. */
  get #retryTopic(): string {
    return RETRY_PREFIX + this.group
  }

  /**
   * Before `run`: which messages of which topic. `expression`: `*` (default), tags as `a || b`, or `{ sql }`, SQL92 on
   * the messages' properties. SUBSCRIPTION_PARSE_FAILED when it does not parse, with the column.
   */
  subscribe(topic: string, expression: FilterExpression = '*'): this {
    if (this.#state !== 'new') throw badInput('subscribe before run() or messages()', 'INVALID_PARAMETER')
    if (typeof topic !== 'string') throw badInput('the topic is no string')
    const fault = topicFault(topic)
    if (fault) throw badInput(fault.message, fault.code)
    this.#filters.set(topic, subscribed(expression))
    return this
  }

  /**
   * Starts. Resolves when the queues are divided, at most seconds later; the handler may be called before. Throws
   * NO_PERMISSION when another consumer lives under this client id.
   */
  run(handler: Handler): Promise<void> {
    return this.#run(handler, this.#settings)
  }

  async #run(handler: Handler, settings: ConsumerSettings): Promise<void> {
    if (this.#state !== 'new') throw badInput('this consumer has been started already', 'INVALID_PARAMETER')
    if (typeof handler !== 'function') throw badInput('run() takes a function', 'INVALID_PARAMETER')
    if (this.#filters.size === 0) throw badInput('subscribe to a topic before run()', 'INVALID_PARAMETER')
    const { clock } = this.#process.world
    this.#state = 'running'
    if (this.#settings.offsetsDir !== null && !(await this.#openOffsets(this.#settings.offsetsDir))) return
    const isGroup = this.#settings.messageModel === 'clustering'
    if (isGroup) this.#filters.set(this.#retryTopic, unfiltered)
    const sendBack = isGroup ? sendMessageBack(this.#process, this.#settings, this.#masters) : null
    this.#dispatcher = new Dispatcher(this.#process.world, settings, handler, sendBack)
    const settled = new Promise<StateMQError | null>((resolve) => {
      this.#settled = resolve
    })
    const timer = clock.setTimeout(() => this.#settled(null), SETTLE_MS)
    this.#probe = new MasterProbe(this.#process, {
      readers: () => [...this.#owned.values()].map(({ reader }) => reader),
      epochOf: this.#epochOf,
      lost: this.#unreachable,
    })
    if (this.#settings.messageModel === 'clustering') this.#join()
    for (const topic of this.#filters.keys()) this.#watch(topic)
    const refusal = await settled
    clock.clearTimeout(timer)
    if (refusal === null) return
    await this.close()
    throw refusal
  }

  /** The messages one by one, acknowledged by the caller; at most `concurrency` are out at a time. */
  async *messages(): AsyncGenerator<PulledMessage, void, undefined> {
    const ready: { message: PulledMessage; letGo(): void }[] = []
    const given = new Set<() => void>()
    const offer = (message: IncomingMessage) =>
      new Promise<unknown>((settle) => {
        const letGo = () => settle(unhandled)
        const ack = async () => {
          given.delete(letGo)
          settle(undefined)
        }
        ready.push({ message: Object.assign(message, { ack }), letGo })
        this.#woken()
      })
    this.#unread = () => {
      for (const { letGo } of ready.splice(0)) letGo()
    }
    // What waits to be asked for has not begun: it cannot take too long.
    await this.#run(offer, { ...this.#settings, consumeTimeoutMs: Number.POSITIVE_INFINITY })
    try {
      while (this.#state === 'running') {
        const next = ready.shift()
        if (next) {
          given.add(next.letGo)
          yield next.message
        } else {
          await new Promise<void>((resolve) => {
            this.#woken = resolve
          })
        }
      }
    } finally {
      const closed = this.close()
      // What was given out and not acknowledged goes to whoever reads the queue next.
      for (const letGo of given) letGo()
      await closed
    }
  }

  /** What was read and is not handled yet. */
  get cached(): { messages: number; bytes: number } {
    let messages = 0
    for (const { reader } of this.#owned.values()) messages += reader.cachedMessages
    return { messages, bytes: this.#flow.budget.cachedBytes }
  }

  get isSuspended(): boolean {
    return this.#isSuspended
  }

  /** Pulls and hands out nothing until `resume`. What runs goes on; it stays in its group and keeps its queues. */
  suspend(): void {
    this.#isSuspended = true
    this.#dispatcher?.setQueues([])
  }

  resume(): void {
    if (!this.#isSuspended) return
    this.#isSuspended = false
    this.#dispatcher?.setQueues([...this.#owned.values()])
    for (const { reader } of this.#owned.values()) reader.want()
    this.#dispatcher?.give()
  }

  /**
   * Finishes what runs, commits, gives the queues back and leaves the group. Handlers that have not ended after
   * `closeTimeoutMs` are waited for no longer: their messages are not committed, and so are delivered again.
   */
  close(): Promise<Closed> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<Closed> {
    const wasRunning = this.#state === 'running'
    this.#state = 'closed'
    this.#woken()
    const isOver =
      wasRunning && this.#member
        ? new Promise<void>((resolve) => {
            this.#left = resolve
            this.#member!.close()
          })
        : Promise.all(
            [...this.#owned.values()].map((queue) => new Promise<void>((done) => queue.drain(done))),
          )
    this.#unread() // AFTER the queues have stopped: they give out no more.
    const unfinished = await this.#patiently(isOver)
    for (const { retry } of this.#beginning.values()) this.#process.world.clock.clearTimeout(retry)
    this.#process.world.clock.clearTimeout(this.#commitTimer)
    this.#probe?.stop()
    for (const route of this.#routes.values()) route.stop()
    for (const queue of this.#owned.values()) queue.stop()
    await this.#offsets?.close()
    this.#dispatcher?.stop()
    this.#owned.clear()
    this.#assignments.complete()
    this.#settled(null)
    this.#released()
    return { unfinished }
  }

  async #patiently(isOver: Promise<unknown>): Promise<number> {
    const { clock, log } = this.#process.world
    const { group, closeTimeoutMs } = this.#settings
    let unfinished = 0
    const impatience = clock.setTimeout(() => {
      for (const queue of this.#owned.values()) unfinished += queue.giveUp()
      if (unfinished === 0) return
      log.warn(
        `handlers of '${group}' did not end in ${closeTimeoutMs} ms: their messages are delivered again`,
        {
          unfinished,
        },
      )
    }, closeTimeoutMs)
    await isOver
    clock.clearTimeout(impatience)
    return unfinished
  }

  /** False when the consumer was closed meanwhile. */
  async #openOffsets(dir: string): Promise<boolean> {
    const { group, clientId } = this.#settings
    const { world, subjects } = this.#process
    const positions = () =>
      [...this.#owned].map(([key, { position }]): [queue: string, offset: number] => [key, position])
    try {
      const options = { dir, cluster: subjects.cluster, clientId, group, positions }
      this.#offsets = await openLocalOffsets(world, options)
    } catch (error) {
      if (this.#state === 'running') this.#state = 'new'
      throw error
    }
    if (this.#state === 'running') return true
    await this.#offsets.close()
    return false
  }

  readonly #epochOf = (brokerName: string): number => this.#epochs.get(brokerName) ?? 0

  readonly #unreachable = (brokerName: string, epoch: number): void => {
    for (const route of this.#routes.values()) route.unreachable(brokerName, epoch)
  }

  get #masters(): Masters {
    return { epochOf: this.#epochOf, unreachable: this.#unreachable }
  }

  #join(): void {
    const { group, clientId, allocation, place, sessionMs, isStatic } = this.#settings
    const { clock, log } = this.#process.world
    const isCustom = typeof allocation === 'function'
    this.#member = joinGroup(this.#process, {
      group,
      member: {
        clientId,
        subscriptions: Object.fromEntries(
          [...this.#filters].map(([topic, { text }]) => [topic, text ?? '*']),
        ),
        allocation: isCustom ? 'custom' : allocation,
        ...{ ...place, sessionMs, isStatic },
      },
      allocate: isCustom ? allocation : null,
      masters: this.#masters,
      granted: (ref, claim) => this.#granted(ref, claim),
      drain: (ref, drained) => this.#giveBack(ref, drained),
      released: (ref) => this.#forget(queueKey(ref)),
      drop: (ref) => this.#drop(queueKey(ref)),
      assigned: (owned) => this.#announce(owned),
      settled: () => this.#settled(null),
      refused: (message, isFinal) => {
        if (isFinal) this.#settled(new StateMQError('NO_PERMISSION', message, { retryable: false }))
        else log.warn(`consumer ${clientId} may not join '${group}' yet: ${message}`)
      },
      left: () => this.#left(),
    })
    const commitRegularly = () => {
      this.#commitTimer = clock.setTimeout(commitRegularly, COMMIT_MS)
      this.#commit([...this.#owned.values()])
    }
    this.#commitTimer = clock.setTimeout(commitRegularly, COMMIT_MS)
  }

  #granted(ref: QueueRef, { assignEpoch, committed, minOffset, maxOffset }: Granted): void {
    const before = this.#dropped.get(queueKey(ref))
    this.#dropped.delete(queueKey(ref))
    // The broker has lost its last moments, and nobody else owned the queue: what is handled is known here best.
    if (before && before.assignEpoch >= assignEpoch && before.position > (committed ?? -1)) {
      return this.#own(ref, assignEpoch, before.position, committed ?? -1)
    }
    if (committed !== null) return this.#own(ref, assignEpoch, committed, committed)
    this.#begin(ref, { minOffset, maxOffset }, (offset) => {
      this.#own(ref, assignEpoch, offset, -1)
      // Else an owner that follows before the first commit would begin somewhere else.
      const queue = this.#owned.get(queueKey(ref))
      if (queue) this.#commit([queue])
    })
  }

  #commit(queues: readonly ProcessQueue[]): void {
    commitOffsets(this.#process, this.#settings, this.#masters, queues)
  }

  #giveBack(ref: QueueRef, drained: (offset: number | null) => void): void {
    const key = queueKey(ref)
    this.#stopBeginning(key)
    const queue = this.#owned.get(key)
    if (!queue) return drained(null)
    queue.drain(() => {
      if (this.#owned.get(key) === queue) drained(queue.position) // Else it was fenced meanwhile.
    })
  }

  /** Another one owns it, or it is to be read anew: what runs still ends, and counts no more. */
  #drop(key: string): void {
    const queue = this.#owned.get(key)
    if (queue) this.#dropped.set(key, queue)
    this.#forget(key)
  }

  #forget(key: string): void {
    this.#stopBeginning(key)
    const queue = this.#owned.get(key)
    if (queue) this.#offsets?.keep(key, queue.position)
    queue?.stop()
    this.#owned.delete(key)
    this.#ownedChanged()
  }

  #ownedChanged(): void {
    const queues = [...this.#owned.values()]
    this.#flow.divide(queues)
    this.#dispatcher!.setQueues(this.#isSuspended ? [] : queues)
  }

  #announce(owned: readonly QueueRef[]): void {
    const epochOf = (ref: QueueRef) => this.#owned.get(queueKey(ref))?.assignEpoch ?? 0
    this.#assignments.next(owned.map((ref) => ({ ...ref, assignEpoch: epochOf(ref) })))
  }

  #watch(topic: string): void {
    const { log } = this.#process.world
    const route = watchRoute(this.#process, {
      topic,
      createTopic: false,
      announced: (route) => this.#routed(route),
      missing: () => {
        if (!this.#seenTopics.has(topic) && topic !== this.#retryTopic)
          log.warn(`there is no topic '${topic}' yet: waiting for it`)
        this.#seenTopics.add(topic)
        this.#queuesChanged(topic, [])
      },
    })
    this.#routes.set(topic, route)
  }

  #routed(route: TopicRoute): void {
    const { topic } = route
    const queues = readQueuesOf(route)
    if (!this.#seenTopics.has(topic) && topic !== this.#retryTopic)
      for (const queue of queues) this.#initial.add(queueKey(queue))
    this.#seenTopics.add(topic)
    for (const { brokerName, epoch } of route.brokers) {
      if (epoch <= this.#epochOf(brokerName)) continue
      this.#epochs.set(brokerName, epoch)
      for (const queue of this.#owned.values()) {
        if (queue.reader.ref.brokerName !== brokerName || queue.isStopped) continue
        // Who owns it is in the log; what was committed last may have been lost with the old master.
        queue.committed = -1
        queue.reader.again()
      }
    }
    this.#queuesChanged(topic, queues)
  }

  #queuesChanged(topic: string, queues: QueueRef[]): void {
    if (this.#member) this.#member.queuesChanged(topic, queues)
    else this.#readAll(topic, queues)
  }

  /** Broadcasting: every queue is ours. */
  #readAll(topic: string, queues: QueueRef[]): void {
    const wanted = new Set(queues.map(queueKey))
    for (const [key, { reader }] of this.#owned) {
      if (reader.ref.topic === topic && !wanted.has(key)) this.#forget(key)
    }
    for (const key of this.#beginning.keys()) {
      if (key.startsWith(`${topic}/`) && !wanted.has(key)) this.#stopBeginning(key)
    }
    const missing = queues.filter((ref) => !this.#owned.has(queueKey(ref)))
    let left = missing.length
    const settle = () => {
      if (left > 0) return
      this.#announce([...this.#owned.values()].map(({ reader }) => reader.ref))
      this.#settled(null)
    }
    for (const ref of missing) {
      const begin = (offset: number) => {
        left--
        this.#own(ref, 0, offset, -1)
        settle()
      }
      const kept = this.#offsets?.of(queueKey(ref))
      if (kept === undefined) this.#begin(ref, null, begin)
      else begin(kept)
    }
    settle()
  }

  /** Where to begin in a queue of which nothing is committed. */
  #begin(
    ref: QueueRef,
    bounds: { minOffset: number; maxOffset: number } | null,
    found: (offset: number) => void,
  ): void {
    const isLater = !this.#initial.has(queueKey(ref)) || this.#offsets?.knows(ref.topic)
    const from = isLater ? 'first' : this.#settings.from
    if (bounds && from === 'first') return found(bounds.minOffset)
    if (bounds && from === 'last') return found(bounds.maxOffset)
    const key = queueKey(ref)
    const search = { retry: null as unknown }
    this.#beginning.set(key, search)
    findOffset(this.#process, ref, this.#epochOf(ref.brokerName), from, (offset) => {
      // It may have been given back meanwhile.
      if (this.#state !== 'running' || this.#beginning.get(key) !== search) return
      if (offset === null) {
        search.retry = this.#process.world.clock.setTimeout(() => this.#begin(ref, bounds, found), RETRY_MS)
        return
      }
      this.#beginning.delete(key)
      found(offset)
    })
  }

  #stopBeginning(key: string): void {
    this.#process.world.clock.clearTimeout(this.#beginning.get(key)?.retry)
    this.#beginning.delete(key)
  }

  #fenced({ reader: { ref }, assignEpoch }: ProcessQueue): void {
    this.#member?.fenced(ref, assignEpoch)
  }

  /** What runs still ends, and counts no more. */
  #startAnew({ reader: { ref }, assignEpoch }: ProcessQueue, offset: number): void {
    this.#forget(queueKey(ref))
    this.#own(ref, assignEpoch, offset, -1)
  }

  #own(ref: QueueRef, assignEpoch: number, offset: number, committed: number): void {
    const key = queueKey(ref)
    if (this.#state !== 'running' || this.#owned.has(key)) return
    const { group, clientId, messageModel, flow } = this.#settings
    const limits = this.#flow.limitsOf(ref.topic)
    const hooks = {
      epoch: () => this.#epochOf(ref.brokerName),
      arrived: this.#dispatcher!.give,
      unreachable: (epoch: number) => this.#routes.get(ref.topic)?.unreachable(ref.brokerName, epoch),
      fenced: () => this.#fenced(queue),
      mayPull: () => !this.#isSuspended && queue.isWithinSpan,
      // What is not finished is handled again, whatever became of what followed.
      rewound: (end: number) => this.#startAnew(queue, Math.min(end, queue.position)),
    }
    const owner = messageModel === 'clustering' ? { group, clientId, assignEpoch } : undefined
    const { filter, text } = this.#filters.get(ref.topic) ?? unfiltered
    const budget = this.#flow.budget
    const reader = new QueueReader(this.#process, ref, hooks, { limits, budget, owner, filter: text })
    const queue = new ProcessQueue(reader, { filter, assignEpoch, offset, committed, span: flow.span })
    this.#owned.set(key, queue)
    this.#ownedChanged()
    reader.start(offset)
  }
}
