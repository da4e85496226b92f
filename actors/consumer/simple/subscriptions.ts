/**
 * What a simple consumer subscribes to, and the brokers that it may ask for it.
 *
 * To what was asked for comes the group's retry topic: what consumers of the group that owned queues sent back waits there,
 * and NOBODY else reads it while the group pops. That it is not there, or that others own it, is nobody's fault.
 *
 * Brokers that have a topic when it is seen first are begun where the consumer says; on those that appear later the group
 * begins at the start, for nothing was there before.
 *
 * RocketMQ: broker/processor/PopMessageProcessor.java, which pops the retry topic along with the topic
 */
import { RETRY_PREFIX } from '../../../machines/names.ts'
import { type QueueRef, readQueuesOf, type TopicRoute } from '../../../machines/topic.ts'
import { StateMQError } from '../../errors.ts'
import type { Process } from '../../node/process.ts'
import { type RouteWatch, watchRoute } from '../../producer/route.ts'
import { PopSource } from './pop-source.ts'
import type { KnownMasters } from './settling.ts'

export type Subscription = {
  readonly topic: string
  expression: string
  /** Of the group's own: nobody asked for it. */
  isRetries: boolean
  readonly sources: Map<string, PopSource>
  /** The brokers that had it when it was seen first, until it is deleted; null before that. */
  initial: Set<string> | null
  missing: StateMQError | null
}

export class Subscriptions implements KnownMasters {
  readonly #process: Process
  readonly #retryTopic: string
  readonly #topics = new Map<string, Subscription>()
  readonly #routes = new Map<string, RouteWatch>()
  /** Topics of which it is known where they are, or that they are not. */
  readonly #routed = new Set<string>()
  readonly #epochs = new Map<string, number>()
  readonly #wakes = new Set<() => void>()
  /** Of the next source to ask. */
  #turn = 0

  constructor(process: Process, group: string) {
    this.#process = process
    this.#retryTopic = RETRY_PREFIX + group
  }

  get #asked(): Subscription[] {
    return [...this.#topics.values()].filter(({ isRetries }) => !isRetries)
  }

  get isEmpty(): boolean {
    return this.#asked.length === 0
  }

  add(topic: string, expression: string): void {
    const known = this.#topics.get(topic)
    if (known) {
      known.expression = expression
      known.isRetries = false
    } else this.#add(topic, expression, false)
    if (!this.#topics.has(this.#retryTopic)) this.#add(this.#retryTopic, '*', true)
  }

  #add(topic: string, expression: string, isRetries: boolean): void {
    this.#topics.set(topic, {
      topic,
      expression,
      isRetries,
      sources: new Map(),
      initial: null,
      missing: null,
    })
    this.#routes.get(topic)?.stop()
    this.#routes.delete(topic)
    this.#routed.delete(topic)
    this.#watch(topic)
  }

  remove(topic: string): void {
    this.#remove(topic)
    if (this.isEmpty) this.#remove(this.#retryTopic)
  }

  #remove(topic: string): void {
    const known = this.#topics.get(topic)
    this.#topics.delete(topic)
    for (const source of known?.sources.values() ?? []) source.close()
  }

  /** The mastership to ask, 0 when none is known. */
  epochOf(brokerName: string): number {
    return this.#epochs.get(brokerName) ?? 0
  }

  unreachable(brokerName: string, epoch: number): void {
    for (const route of this.#routes.values()) route.unreachable(brokerName, epoch)
  }

  /** Another process may have received it, of a topic that was not asked for here. */
  locate({ brokerName, topic }: { brokerName: string; topic: string }): void {
    if (!this.#epochs.has(brokerName) && !this.#routes.has(topic)) this.#watch(topic)
  }

  /** One that may be asked now; each gets its turn. */
  nextOpen(): { subscription: Subscription; source: PopSource } | null {
    const all = [...this.#topics.values()].flatMap((subscription) =>
      [...subscription.sources.values()].map((source) => ({ subscription, source })),
    )
    for (let i = 0; i < all.length; i++) {
      const index = (this.#turn + i) % all.length
      if (!all[index]!.source.isOpen) continue
      this.#turn = index + 1
      return all[index]!
    }
    return null
  }

  /** Of what was asked for. */
  throwWhatFailed(failure: StateMQError | null): void {
    const asked = this.#asked
    for (const { missing } of asked) if (missing) throw missing
    if (failure) throw failure
    const isUnavailable = asked.every(({ sources }) => sources.size === 0)
    for (const { topic } of asked) {
      if (this.#routed.has(topic) && isUnavailable) {
        const message = `no broker of '${topic}' is there now: see 'statemq broker list'`
        throw new StateMQError('SERVICE_NOT_AVAILABLE', message)
      }
      if (this.#routed.has(topic)) continue
      throw new StateMQError('TIMED_OUT', `no route for '${topic}': ${this.#routes.get(topic)!.trouble}`, {
        retryable: true,
      })
    }
  }

  /** Something may be different: a source is open, a route is known. At most `ms` later. */
  woken(ms: number): Promise<void> {
    const { clock } = this.#process.world
    return new Promise((resolve) => {
      const end = () => {
        clock.clearTimeout(timer)
        this.#wakes.delete(end)
        resolve()
      }
      const timer = clock.setTimeout(end, ms)
      this.#wakes.add(end)
    })
  }

  readonly #wake = (): void => {
    for (const wake of [...this.#wakes]) wake()
  }

  /** Until of each topic it is known where it is, or that it is not. */
  async allRouted(ms: number): Promise<void> {
    const { clock } = this.#process.world
    const until = clock.monotonic() + ms
    // A retry topic that is made is told of: to ask each time would be a request for each receive.
    for (const subscription of this.#asked) {
      if (subscription.missing === null) continue
      subscription.missing = null
      this.#routed.delete(subscription.topic)
      this.#routes.get(subscription.topic)?.want()
    }
    const isOpen = () => [...this.#topics.keys()].some((topic) => !this.#routed.has(topic))
    while (isOpen() && !this.isEmpty) {
      const left = until - clock.monotonic()
      if (left <= 0) return
      await this.woken(left)
    }
  }

  #watch(topic: string): void {
    const route = watchRoute(this.#process, {
      topic,
      createTopic: false,
      announced: (announced) => this.#announced(announced),
      missing: (error) => {
        const subscription = this.#topics.get(topic)
        if (subscription) {
          subscription.missing = error
          subscription.initial = new Set()
        }
        this.#routed.add(topic)
        this.#wake()
      },
    })
    this.#routes.set(topic, route)
  }

  #announced(route: TopicRoute): void {
    for (const { brokerName, epoch } of route.brokers) {
      if (epoch <= this.epochOf(brokerName)) continue
      this.#epochs.set(brokerName, epoch)
      for (const { sources } of this.#topics.values()) sources.get(brokerName)?.again()
    }
    const subscription = this.#topics.get(route.topic)
    if (subscription) {
      subscription.missing = null
      this.#setSources(subscription, readQueuesOf(route))
    }
    this.#routed.add(route.topic)
    this.#wake()
  }

  #setSources(subscription: Subscription, queues: readonly QueueRef[]): void {
    const { topic, sources } = subscription
    const brokers = new Set(queues.map(({ brokerName }) => brokerName))
    subscription.initial ??= brokers
    // It is gone: should it be made anew, all of it is new.
    if (brokers.size === 0) subscription.initial = brokers
    for (const [brokerName, source] of sources) {
      if (brokers.has(brokerName)) continue
      source.close()
      sources.delete(brokerName)
    }
    for (const brokerName of brokers) {
      if (sources.has(brokerName)) continue
      const source = new PopSource(this.#process, topic, brokerName, {
        epoch: () => this.epochOf(brokerName),
        opened: this.#wake,
        unreachable: (epoch) => this.#routes.get(topic)?.unreachable(brokerName, epoch),
        deleted: () => this.#routes.get(topic)?.deleted(),
        mayBeRefused: () => subscription.isRetries,
      })
      sources.set(brokerName, source)
    }
  }

  /** Nobody is asked any more; returns the brokers that were. What was received may still be acknowledged. */
  close(): Set<string> {
    const brokers = new Set<string>()
    for (const { sources } of this.#topics.values()) {
      for (const source of sources.values()) {
        brokers.add(source.brokerName)
        source.close()
      }
    }
    this.#topics.clear()
    this.#wake()
    return brokers
  }

  stop(): void {
    for (const route of this.#routes.values()) route.stop()
  }
}
