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
import { ownTopicFault, RETRY_PREFIX } from '../../machines/names.ts'
import { TIMER_MS_MAX } from '../../transport/ports.ts'
import { badInput, StateMQError } from '../errors.ts'
import type { Process } from '../node/process.ts'
import { type ConsumerOptions, type ConsumerSettings, settingsOf } from './consumer-options.ts'
import { Dispatcher } from './dispatcher.ts'
import { type Assignment, type GroupMember, joinGroup } from './group-member.ts'
import type { Handler } from './handler.ts'
import { type LocalOffsets, openLocalOffsets } from './local-offsets.ts'
import { MasterProbe } from './master-probe.ts'
import { MessageStream, type PulledMessage } from './message-stream.ts'
import { OwnedQueues } from './owned-queues.ts'
import { type FailureCounts, sendMessageBack } from './send-back.ts'
import { type Subscribed, subscribed, unfiltered } from './subscribed.ts'
import { TopicRoutes } from './topic-routes.ts'

export type { Assignment } from './group-member.ts'
export type { PulledMessage } from './message-stream.ts'

/** What became of a consumer that was closed. */
export type Closed = {
  /** Messages whose handlers had not ended after `closeTimeoutMs`: they are delivered again. */
  unfinished: number
}

const SETTLE_MS = 5_000
/** For brokers to hear how far everything was handled, one that has just lost its master among them. */
const RELEASE_MS = 5_000

/** What there is from `run` to `close`. */
type Running = {
  queues: OwnedQueues
  routes: TopicRoutes
  dispatcher: Dispatcher
  probe: MasterProbe
  /** Null in broadcasting. */
  member: GroupMember | null
  /** Of a broadcasting consumer that has a name. */
  offsets: LocalOffsets | null
}

export class Consumer {
  readonly group: string
  readonly clientId: string
  /** The queues this consumer owns, now and after each change. */
  readonly assignment$: Observable<readonly Assignment[]>
  readonly #process: Process
  readonly #released: () => void
  readonly #settings: ConsumerSettings
  readonly #filters = new Map<string, Subscribed>()
  readonly #assignments = new BehaviorSubject<readonly Assignment[]>([])
  #running: Running | null = null
  #stream: MessageStream | null = null
  #state: 'new' | 'running' | 'closed' = 'new'
  #closing: Promise<Closed> | null = null
  #isSuspended = false
  #settled: (refusal: StateMQError | null) => void = () => {}
  #left: () => void = () => {}

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
    return this.#running && { ...this.#running.dispatcher.counts }
  }

  /** What was read and is not handled yet. */
  get cached(): { messages: number; bytes: number } {
    return this.#running?.queues.cached ?? { messages: 0, bytes: 0 }
  }

  /**
   * Before `run`: which messages of which topic. `expression`: `*` (default), tags as `a || b`, or `{ sql }`, SQL92 on
   * the messages' properties. SUBSCRIPTION_PARSE_FAILED when it does not parse, with the column.
   */
  subscribe(topic: string, expression: FilterExpression = '*'): this {
    if (this.#state !== 'new') throw badInput('subscribe before run() or messages()', 'INVALID_PARAMETER')
    if (typeof topic !== 'string') throw badInput('the topic is no string')
    const fault = ownTopicFault(topic)
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

  async #run(
    handler: Handler,
    settings: ConsumerSettings,
    stream: MessageStream | null = null,
  ): Promise<void> {
    if (this.#state !== 'new') throw badInput('this consumer has been started already', 'INVALID_PARAMETER')
    if (typeof handler !== 'function') throw badInput('run() takes a function', 'INVALID_PARAMETER')
    if (this.#filters.size === 0) throw badInput('subscribe to a topic before run()', 'INVALID_PARAMETER')
    const { clock } = this.#process.world
    this.#state = 'running'
    this.#stream = stream
    stream?.hold(this.#isSuspended)
    const offsets = settings.offsetsDir === null ? null : await this.#openOffsets(settings.offsetsDir)
    if (this.#state !== 'running') return offsets?.close()
    const settled = new Promise<StateMQError | null>((resolve) => {
      this.#settled = resolve
    })
    const timer = clock.setTimeout(() => this.#settled(null), SETTLE_MS)
    this.#start(handler, settings, offsets)
    const refusal = await settled
    clock.clearTimeout(timer)
    if (refusal === null) return
    await this.close()
    throw refusal
  }

  #start(handler: Handler, settings: ConsumerSettings, offsets: LocalOffsets | null): void {
    const process = this.#process
    const isGroup = settings.messageModel === 'clustering'
    // Where the messages come again that this group failed to handle; made by a broker when the first one does.
    const retryTopic = RETRY_PREFIX + this.group
    if (isGroup) this.#filters.set(retryTopic, unfiltered)
    const routes = new TopicRoutes(process, retryTopic, {
      queuesChanged: (topic, known) => {
        if (this.#running?.member) this.#running.member.queuesChanged(topic, known)
        else
          queues.readAll(topic, known, () => {
            this.#assignments.next(
              queues.list.map(({ reader: { ref }, assignEpoch }) => ({ ...ref, assignEpoch })),
            )
            this.#settled(null)
          })
      },
      masterChanged: (brokerName) => queues.masterChanged(brokerName),
    })
    const queues = new OwnedQueues(
      process,
      { settings, filters: this.#filters, routes, offsets },
      {
        fenced: (ref, assignEpoch) => this.#running?.member?.fenced(ref, assignEpoch),
        doubted: (doubted) => this.#running?.member?.doubted(doubted),
      },
    )
    const sendBack = isGroup ? sendMessageBack(process, settings, routes) : null
    const dispatcher = new Dispatcher(process.world, settings, handler, sendBack, queues.look)
    const probe = new MasterProbe(process, {
      readers: () => queues.list.map(({ reader }) => reader),
      epochOf: routes.epochOf,
      lost: routes.unreachable,
    })
    queues.start(dispatcher)
    if (this.#isSuspended) queues.suspend()
    const member = isGroup ? this.#join(queues, routes) : null
    this.#running = { queues, routes, dispatcher, probe, member, offsets }
    for (const topic of this.#filters.keys()) routes.watch(topic)
  }

  #join(queues: OwnedQueues, routes: TopicRoutes): GroupMember {
    const { group, clientId, allocation, place, sessionMs, isStatic, closeTimeoutMs } = this.#settings
    const { log } = this.#process.world
    const isCustom = typeof allocation === 'function'
    let refused = ''
    return joinGroup(this.#process, {
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
      masters: routes,
      granted: (grants) => {
        for (const { queue, claim } of grants) queues.granted(queue, claim)
      },
      drain: (ref, drained) => {
        queues.giveBack(ref, drained)
        this.#stream?.dropUnreadOf(ref)
      },
      released: (ref) => queues.forget(ref),
      drop: (ref) => {
        queues.drop(ref)
        this.#stream?.lose(ref)
      },
      assigned: (owned) => this.#assignments.next(owned),
      settled: () => this.#settled(null),
      refused: (message, isFinal) => {
        if (isFinal) this.#settled(new StateMQError('NO_PERMISSION', message, { retryable: false }))
        else if (message !== refused) log.warn(`consumer ${clientId} may not join '${group}' yet: ${message}`)
        refused = message // It asks again and again, and says so once.
      },
      left: () => this.#left(),
      leaveMs: Math.min(closeTimeoutMs + RELEASE_MS, TIMER_MS_MAX),
    })
  }

  async #openOffsets(dir: string): Promise<LocalOffsets> {
    const { group, clientId } = this.#settings
    const { world, subjects } = this.#process
    const positions = () => this.#running?.queues.positions ?? []
    try {
      return await openLocalOffsets(world, { dir, cluster: subjects.cluster, clientId, group, positions })
    } catch (error) {
      if (this.#state === 'running') this.#state = 'new'
      throw error
    }
  }

  /** The messages one by one, acknowledged by the caller; at most `concurrency` are out at a time. */
  async *messages(): AsyncGenerator<PulledMessage, void, undefined> {
    const stream = new MessageStream()
    // What waits to be asked for has not begun: it cannot take too long.
    const settings = { ...this.#settings, consumeTimeoutMs: Number.POSITIVE_INFINITY }
    await this.#run(stream.offer, settings, stream)
    try {
      for (;;) {
        const message = await stream.next(() => this.#state !== 'running')
        if (message === null) return
        yield message
      }
    } finally {
      const closed = this.close()
      stream.dropUnacknowledged()
      await closed
    }
  }

  get isSuspended(): boolean {
    return this.#isSuspended
  }

  /** Pulls and hands out nothing until `resume`. What runs goes on; it stays in its group and keeps its queues. */
  suspend(): void {
    this.#isSuspended = true
    this.#stream?.hold(true)
    this.#running?.queues.suspend()
  }

  resume(): void {
    if (!this.#isSuspended) return
    this.#isSuspended = false
    this.#stream?.hold(false)
    this.#running?.queues.resume()
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
    this.#state = 'closed'
    this.#stream?.wake()
    const unfinished = this.#running ? await this.#end(this.#running) : 0
    this.#assignments.complete()
    this.#settled(null)
    this.#released()
    return { unfinished }
  }

  async #end({ queues, routes, dispatcher, probe, member, offsets }: Running): Promise<number> {
    queues.close()
    const isOver = member
      ? new Promise<void>((resolve) => {
          this.#left = resolve
          member.close()
        })
      : Promise.all(queues.list.map((queue) => new Promise<void>((done) => queue.drain(done))))
    this.#stream?.dropUnread()
    const unfinished = await this.#patiently(queues, isOver)
    probe.stop()
    routes.stop()
    // What broadcasting has handled last is kept BEFORE the queues are forgotten.
    await offsets?.close()
    queues.stop()
    dispatcher.stop()
    return unfinished
  }

  async #patiently(queues: OwnedQueues, isOver: Promise<unknown>): Promise<number> {
    const { clock, log } = this.#process.world
    const { group, closeTimeoutMs } = this.#settings
    let unfinished = 0
    const impatience = clock.setTimeout(() => {
      for (const queue of queues.list) unfinished += queue.giveUp()
      if (unfinished === 0) return
      const what = `handlers of '${group}' did not end in ${closeTimeoutMs} ms: their messages are delivered again`
      log.warn(what, { unfinished })
    }, closeTimeoutMs)
    await isOver
    clock.clearTimeout(impatience)
    return unfinished
  }
}
