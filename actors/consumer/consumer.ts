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
import { tagExpressionFault, tagsOf } from '../../machines/filter/tag.ts'
import { RETRY_PREFIX, topicFault } from '../../machines/names.ts'
import { type QueueRef, queueKey, readQueuesOf, type TopicRoute } from '../../machines/topic.ts'
import { badInput } from '../errors.ts'
import type { Process } from '../node/process.ts'
import { type RouteWatch, watchRoute } from '../producer/route.ts'
import { commitOffsets, type Masters } from './commit.ts'
import { type ConsumerOptions, type ConsumerSettings, settingsOf } from './consumer-options.ts'
import { Dispatcher, type Handler, unhandled } from './dispatcher.ts'
import { type Granted, type GroupMember, joinGroup } from './group-member.ts'
import type { IncomingMessage } from './incoming-message.ts'
import { MasterProbe } from './master-probe.ts'
import { ProcessQueue, type TagFilter, tagFilterOf } from './process-queue.ts'
import { QueueReader } from './queue-reader.ts'
import { type FailureCounts, sendMessageBack } from './send-back.ts'
import { findOffset } from './start-position.ts'

/** A queue that this consumer owns; `assignEpoch` rises whenever the queue changes hands. */
export type Assignment = QueueRef & { assignEpoch: number }

/** A message of `messages()`: the offset moves when it is acknowledged. */
export type PulledMessage = IncomingMessage & { ack(): Promise<void> }

const COMMIT_MS = 1_000
const SETTLE_MS = 5_000
const RETRY_MS = 1_000
/** About as long as a broker takes to get another master. */
const LAST_COMMIT_MS = 3_000

export class Consumer {
  readonly group: string
  readonly clientId: string
  /** The queues this consumer owns, now and after each change. */
  readonly assignment$: Observable<readonly Assignment[]>
  readonly #process: Process
  readonly #released: () => void
  readonly #settings: ConsumerSettings
  readonly #filters = new Map<string, TagFilter>()
  readonly #routes = new Map<string, RouteWatch>()
  readonly #epochs = new Map<string, number>()
  readonly #owned = new Map<string, ProcessQueue>()
  /** Queues that were there when this consumer first saw the route; the others are read from their start. */
  readonly #initial = new Set<string>()
  readonly #seenTopics = new Set<string>()
  /** Queues of which a broker is being asked where to begin. */
  readonly #beginning = new Map<string, { retry: unknown }>()
  readonly #assignments = new BehaviorSubject<readonly Assignment[]>([])
  #dispatcher: Dispatcher | null = null
  #member: GroupMember | null = null
  #commitTimer: unknown = null
  #probe: MasterProbe | null = null
  #state: 'new' | 'running' | 'closed' = 'new'
  #closing: Promise<void> | null = null
  #settled: () => void = () => {}
  #left: () => void = () => {}
  #woken: () => void = () => {}
  /** Lets go of messages that wait for `messages()` to give them out. */
  #unread: () => void = () => {}

  constructor(process: Process, options: ConsumerOptions, madeUpId: string, released: () => void) {
    this.#settings = settingsOf(options, madeUpId)
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

  /** Before `run`: which messages of which topic. `expression`: `*` (default) or tags, `a || b`. */
  subscribe(topic: string, expression = '*'): this {
    if (this.#state !== 'new') throw badInput('subscribe before run() or messages()', 'INVALID_PARAMETER')
    if (typeof topic !== 'string') throw badInput('the topic is no string')
    const fault = topicFault(topic)
    if (fault) throw badInput(fault.message, fault.code)
    const broken =
      typeof expression === 'string'
        ? tagExpressionFault(expression)
        : "this version filters by tags only: give an expression as 'a || b'"
    if (broken !== null) throw badInput(broken, 'SUBSCRIPTION_PARSE_FAILED')
    this.#filters.set(topic, tagFilterOf(tagsOf(expression)))
    return this
  }

  /** Starts. Resolves when the queues are divided, at most seconds later; the handler may be called before. */
  run(handler: Handler): Promise<void> {
    return this.#run(handler, this.#settings)
  }

  async #run(handler: Handler, settings: ConsumerSettings): Promise<void> {
    if (this.#state !== 'new') throw badInput('this consumer has been started already', 'INVALID_PARAMETER')
    if (typeof handler !== 'function') throw badInput('run() takes a function', 'INVALID_PARAMETER')
    if (this.#filters.size === 0) throw badInput('subscribe to a topic before run()', 'INVALID_PARAMETER')
    const { clock } = this.#process.world
    this.#state = 'running'
    const isGroup = this.#settings.messageModel === 'clustering'
    if (isGroup) this.#filters.set(this.#retryTopic, null)
    const sendBack = isGroup ? sendMessageBack(this.#process, this.#settings, this.#masters) : null
    this.#dispatcher = new Dispatcher(this.#process.world, settings, handler, sendBack)
    const settled = new Promise<void>((resolve) => {
      this.#settled = resolve
    })
    const timer = clock.setTimeout(this.#settled, SETTLE_MS)
    this.#probe = new MasterProbe(this.#process, {
      readers: () => [...this.#owned.values()].map(({ reader }) => reader),
      epochOf: this.#epochOf,
      lost: this.#unreachable,
    })
    if (this.#settings.messageModel === 'clustering') this.#join()
    for (const topic of this.#filters.keys()) this.#watch(topic)
    await settled
    clock.clearTimeout(timer)
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

  /** Finishes what runs, commits, gives the queues back and leaves the group. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
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
    await isOver
    for (const { retry } of this.#beginning.values()) this.#process.world.clock.clearTimeout(retry)
    this.#process.world.clock.clearTimeout(this.#commitTimer)
    this.#probe?.stop()
    for (const route of this.#routes.values()) route.stop()
    for (const queue of this.#owned.values()) queue.stop()
    this.#dispatcher?.stop()
    this.#owned.clear()
    this.#assignments.complete()
    this.#settled()
    this.#released()
  }

  readonly #epochOf = (brokerName: string): number => this.#epochs.get(brokerName) ?? 0

  readonly #unreachable = (brokerName: string, epoch: number): void => {
    for (const route of this.#routes.values()) route.unreachable(brokerName, epoch)
  }

  get #masters(): Masters {
    return { epochOf: this.#epochOf, unreachable: this.#unreachable }
  }

  #join(): void {
    const { group, clientId, allocation } = this.#settings
    const { clock, log } = this.#process.world
    this.#member = joinGroup(this.#process, {
      group,
      clientId,
      topics: [...this.#filters.keys()],
      allocation,
      masters: this.#masters,
      granted: (ref, generation, { committed, minOffset, maxOffset }) => {
        if (committed !== null) return this.#own(ref, generation, committed, committed)
        this.#begin(ref, { minOffset, maxOffset }, (offset) => this.#own(ref, generation, offset, -1))
      },
      drain: (ref, drained) => this.#giveBack(ref, drained),
      drop: (ref) => this.#forget(queueKey(ref)),
      assigned: (owned) => this.#announce(owned),
      settled: () => this.#settled(),
      refused: (message) => log.error(`consumer ${clientId} may not join '${group}': ${message}`),
      left: () => this.#left(),
    })
    const commitRegularly = () => {
      this.#commitTimer = clock.setTimeout(commitRegularly, COMMIT_MS)
      this.#commit([...this.#owned.values()], () => {})
    }
    this.#commitTimer = clock.setTimeout(commitRegularly, COMMIT_MS)
  }

  #commit(queues: readonly ProcessQueue[], done: () => void): void {
    commitOffsets(this.#process, this.#settings, this.#masters, queues, done)
  }

  #giveBack(ref: QueueRef, drained: () => void): void {
    const key = queueKey(ref)
    this.#stopBeginning(key)
    const queue = this.#owned.get(key)
    if (!queue) return drained()
    const until = this.#process.world.clock.monotonic() + LAST_COMMIT_MS
    queue.drain(() =>
      this.#commitLast(queue, until, () => {
        this.#forget(key)
        drained()
      }),
    )
  }

  /** Waits a while for a master: else the next owner handles again what is handled. */
  #commitLast(queue: ProcessQueue, until: number, committed: () => void): void {
    this.#commit([queue], () => {
      const { ref } = queue.reader
      if (this.#owned.get(queueKey(ref)) !== queue) return // It was fenced.
      const isLate = this.#process.world.clock.monotonic() >= until
      if (queue.position <= queue.committed || isLate) return committed()
      // The broker may have another master by now, which takes a commit of a queue that was claimed from it only.
      this.#member!.reclaim(ref, queue.generation, () => this.#commitLast(queue, until, committed))
    })
  }

  #forget(key: string): void {
    this.#stopBeginning(key)
    this.#owned.get(key)?.stop()
    this.#owned.delete(key)
    this.#dispatcher!.setQueues([...this.#owned.values()])
  }

  #announce(owned: readonly QueueRef[]): void {
    const epochOf = (ref: QueueRef) => this.#owned.get(queueKey(ref))?.generation ?? 0
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
        if (queue.reader.ref.brokerName === brokerName && !queue.isStopped) this.#renew(queue)
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
      this.#settled()
    }
    for (const ref of missing) {
      this.#begin(ref, null, (offset) => {
        left--
        this.#own(ref, 0, offset, -1)
        settle()
      })
    }
    settle()
  }

  /** Where to begin in a queue of which nothing is committed. */
  #begin(
    ref: QueueRef,
    bounds: { minOffset: number; maxOffset: number } | null,
    found: (offset: number) => void,
  ): void {
    const from = this.#initial.has(queueKey(ref)) ? this.#settings.from : 'first'
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

  /** The broker has another master, or has forgotten whose the queue is: it is claimed again BEFORE it is read on. */
  #renew(queue: ProcessQueue): void {
    const { reader, generation } = queue
    if (this.#member) this.#member.reclaim(reader.ref, generation, (claim) => this.#goOn(queue, claim))
    else reader.again()
  }

  /** What is handled is known here best: reading goes on where it was, unless another one has come further. */
  #goOn(queue: ProcessQueue, claim: Granted | null): void {
    if (this.#owned.get(queueKey(queue.reader.ref)) !== queue || queue.isStopped) return
    const committed = claim?.committed ?? -1
    if (committed > queue.position) return this.#startAnew(queue, committed)
    // A broker that lost its last moments is told once more.
    if (claim) queue.committed = Math.min(queue.committed, committed)
    queue.reader.again()
  }

  /** What runs still ends, and counts no more. */
  #startAnew({ reader: { ref }, generation }: ProcessQueue, offset: number): void {
    this.#forget(queueKey(ref))
    this.#own(ref, generation, offset, -1)
  }

  #own(ref: QueueRef, generation: number, offset: number, committed: number): void {
    const key = queueKey(ref)
    if (this.#state !== 'running' || this.#owned.has(key)) return
    const { group, clientId, messageModel, flow } = this.#settings
    const hooks = {
      epoch: () => this.#epochOf(ref.brokerName),
      arrived: this.#dispatcher!.give,
      unreachable: (epoch: number) => this.#routes.get(ref.topic)?.unreachable(ref.brokerName, epoch),
      fenced: () => this.#renew(queue),
      mayPull: () => queue.isWithinSpan,
      // What is not finished is handled again, whatever became of what followed.
      rewound: (end: number) => this.#startAnew(queue, Math.min(end, queue.position)),
    }
    const owner = messageModel === 'clustering' ? { group, clientId, generation } : undefined
    const reader = new QueueReader(this.#process, ref, hooks, flow, owner)
    const queue = new ProcessQueue(
      reader,
      this.#filters.get(ref.topic) ?? null,
      generation,
      offset,
      committed,
    )
    this.#owned.set(key, queue)
    this.#dispatcher!.setQueues([...this.#owned.values()])
    reader.start(offset)
  }
}
