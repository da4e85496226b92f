/**
 * SimpleConsumer: receives messages and acknowledges each on its own. Many consumers share one queue.
 *
 * AT LEAST ONCE: what was received is invisible to the others for a time, and is given again AFTER it unless it was
 * acknowledged or prolonged. What was received and not acknowledged when this consumer closes stays invisible until
 * its time is over.
 *
 * The brokers of its topics are asked in turn, beginning after the one that gave last, so that a busy one does not
 * starve the others; one that has nothing is asked again when it tells that it has (pop-source.ts).
 *
 * RocketMQ: rocketmq-clients SimpleConsumer, apis/consumer/SimpleConsumer.java
 */
import type { FilterExpression } from '../../../machines/filter/filter.ts'
import { type QueueRef, readQueuesOf, type TopicRoute } from '../../../machines/topic.ts'
import { tell } from '../../../transport/codec.ts'
import { badInput, StateMQError } from '../../errors.ts'
import type { Process } from '../../node/process.ts'
import { type RouteWatch, watchRoute } from '../../producer/route.ts'
import { PopSource } from './pop-source.ts'
import { handleOf, type ReceiptHandle } from './receipt-handle.ts'
import { ReceivedMessage } from './received-message.ts'
import { Settling } from './settling.ts'
import {
  checkAwait,
  checkInvisible,
  checkMax,
  type SimpleConsumerOptions,
  type SimpleConsumerSettings,
  simpleSettingsOf,
  subscriptionText,
} from './simple-options.ts'

const ROUTE_MS = 3_000

type Subscribed = {
  topic: string
  expression: string
  sources: Map<string, PopSource>
  missing: StateMQError | null
}

export class SimpleConsumer {
  readonly group: string
  readonly clientId: string
  readonly #process: Process
  readonly #released: () => void
  readonly #settings: SimpleConsumerSettings
  readonly #subscriptions = new Map<string, Subscribed>()
  readonly #routes = new Map<string, RouteWatch>()
  readonly #routed = new Set<string>()
  readonly #epochs = new Map<string, number>()
  readonly #settling: Settling
  readonly #wakes = new Set<() => void>()
  /** Of the next source to ask. */
  #turn = 0
  #closing: Promise<void> | null = null

  constructor(process: Process, options: SimpleConsumerOptions, clientId: string, released: () => void) {
    this.#settings = simpleSettingsOf(options)
    this.#process = process
    this.#released = released
    this.group = this.#settings.group
    this.clientId = clientId
    const unreachable = (brokerName: string, epoch: number) => {
      for (const route of this.#routes.values()) route.unreachable(brokerName, epoch)
    }
    const epochOf = (brokerName: string) => this.#epochs.get(brokerName) ?? 0
    this.#settling = new Settling(process, this.group, clientId, { epochOf, unreachable })
    for (const { topic, expression } of options.subscriptions ?? []) this.subscribe(topic, expression)
  }

  /** Which messages of which topic, at any time; `filter`: `*` (default), tags as `a || b`, or `{ sql }`. */
  subscribe(topic: string, filter: FilterExpression = '*'): this {
    this.#refuseWhenClosed()
    const expression = subscriptionText(topic, filter)
    const known = this.#subscriptions.get(topic)
    if (known) known.expression = expression
    else {
      this.#subscriptions.set(topic, { topic, expression, sources: new Map(), missing: null })
      this.#routes.get(topic)?.stop()
      this.#routes.delete(topic)
      this.#routed.delete(topic)
      this.#watch(topic)
    }
    return this
  }

  /** What was received of the topic may still be acknowledged. */
  unsubscribe(topic: string): this {
    const known = this.#subscriptions.get(topic)
    this.#subscriptions.delete(topic)
    for (const source of known?.sources.values() ?? []) source.close()
    return this
  }

  /**
   * At most `max` messages (1 to 1,000), all of one broker; waits up to `waitMs` for the first. An empty list when none
   * came, and when the consumer is closed meanwhile. Rejects with TOPIC_NOT_EXIST, with NO_PERMISSION while a consumer of
   * the group owns queues of the topic, and with what the brokers failed with when none of them answered.
   */
  async receive(max = 32, waitMs = this.#settings.awaitMs): Promise<ReceivedMessage[]> {
    this.#refuseWhenClosed()
    checkMax(max)
    checkAwait(waitMs)
    if (this.#subscriptions.size === 0)
      throw badInput('subscribe to a topic before receive()', 'INVALID_PARAMETER')
    const { clock } = this.#process.world
    const until = clock.monotonic() + waitMs
    await this.#allRouted(Math.max(ROUTE_MS, waitMs))
    let failure: StateMQError | null = null
    let hasAnswer = false
    while (this.#closing === null) {
      const source = this.#nextOpen()
      if (source) {
        const subscribed = this.#subscriptions.get(source.topic)!
        const { messages, error } = await source.receive({ ...this.#requestFor(subscribed), max })
        if (messages.length > 0) return messages
        failure = error ?? failure
        hasAnswer ||= error === null
        continue
      }
      const left = until - clock.monotonic()
      if (left <= 0) break
      await this.#woken(left)
    }
    if (this.#closing === null && !hasAnswer) this.#throwWhatFailed(failure)
    return []
  }

  /** Resolves when it is recorded. Rejects with INVALID_RECEIPT_HANDLE: given again since, acknowledged already, forged. */
  async ack(message: ReceivedMessage | string): Promise<void> {
    await this.#settle(message, null)
  }

  /** The message is invisible for so long from now on; 100 ms to 12 h. Its handle stays good. Rejects as `ack`. */
  async changeInvisible(message: ReceivedMessage | string, ms: number): Promise<void> {
    checkInvisible(ms)
    await this.#settle(message, ms)
  }

  async #settle(message: ReceivedMessage | string, invisibleMs: number | null): Promise<void> {
    this.#refuseWhenClosed()
    const handle: ReceiptHandle = message instanceof ReceivedMessage ? message.delivery : handleOf(message)
    if (handle.group !== this.group) {
      const text = `the message was given to group '${handle.group}', and this is a consumer of '${this.group}'`
      throw badInput(text, 'INVALID_RECEIPT_HANDLE')
    }
    // Another process may have received it, of a topic that was not asked for here.
    if (!this.#epochs.has(handle.brokerName) && !this.#routes.has(handle.topic)) this.#watch(handle.topic)
    return this.#settling.settle(handle, invisibleMs)
  }

  /** Ends what is under way: acknowledgements are awaited, receives give an empty list. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const { world, subjects } = this.#process
    const { group, clientId } = this
    const brokers = new Set<string>()
    for (const { sources } of this.#subscriptions.values()) {
      for (const source of sources.values()) {
        brokers.add(source.brokerName)
        source.close()
      }
    }
    // A wait that is held would be answered when its time is over.
    for (const brokerName of brokers) {
      const epoch = this.#epochs.get(brokerName) ?? 0
      tell(world.transport, subjects.broker(brokerName, epoch).popLeave, { group, clientId })
    }
    this.#wake()
    await this.#settling.drain()
    for (const route of this.#routes.values()) route.stop()
    this.#released()
  }

  #refuseWhenClosed(): void {
    if (this.#closing) throw new StateMQError('CLOSED', 'the consumer is closed: make another one')
  }

  #requestFor({ topic, expression }: Subscribed) {
    const { group, invisibleMs, ordered, from, maxAttempts } = this.#settings
    return {
      group,
      topic,
      clientId: this.clientId,
      invisibleMs,
      ordered,
      maxAttempts,
      from,
      filter: expression,
    }
  }

  #nextOpen(): PopSource | null {
    const sources = [...this.#subscriptions.values()].flatMap((subscribed) => [
      ...subscribed.sources.values(),
    ])
    for (let i = 0; i < sources.length; i++) {
      const index = (this.#turn + i) % sources.length
      if (!sources[index]!.isOpen) continue
      this.#turn = index + 1
      return sources[index]!
    }
    return null
  }

  #throwWhatFailed(failure: StateMQError | null): void {
    for (const { missing } of this.#subscriptions.values()) if (missing) throw missing
    if (failure) throw failure
    const isUnavailable = [...this.#subscriptions.values()].every(({ sources }) => sources.size === 0)
    for (const topic of this.#subscriptions.keys()) {
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

  #woken(ms: number): Promise<void> {
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

  #wake(): void {
    for (const wake of [...this.#wakes]) wake()
  }

  /** Until of each topic it is known where it is, or that it is not. */
  async #allRouted(ms: number): Promise<void> {
    const { clock } = this.#process.world
    const until = clock.monotonic() + ms
    for (const subscribed of this.#subscriptions.values()) {
      if (subscribed.missing === null) continue
      subscribed.missing = null
      this.#routed.delete(subscribed.topic)
      this.#routes.get(subscribed.topic)?.want()
    }
    const isOpen = () => [...this.#subscriptions.keys()].some((topic) => !this.#routed.has(topic))
    while (isOpen() && this.#closing === null) {
      const left = until - clock.monotonic()
      if (left <= 0) return
      await this.#woken(left)
    }
  }

  #watch(topic: string): void {
    const route = watchRoute(this.#process, {
      topic,
      createTopic: false,
      announced: (announced) => this.#announced(announced),
      missing: (error) => {
        const subscribed = this.#subscriptions.get(topic)
        if (subscribed) subscribed.missing = error
        this.#routed.add(topic)
        this.#wake()
      },
    })
    this.#routes.set(topic, route)
  }

  #announced(route: TopicRoute): void {
    for (const { brokerName, epoch } of route.brokers) {
      if (epoch <= (this.#epochs.get(brokerName) ?? 0)) continue
      this.#epochs.set(brokerName, epoch)
      for (const { sources } of this.#subscriptions.values()) sources.get(brokerName)?.again()
    }
    const subscribed = this.#subscriptions.get(route.topic)
    if (subscribed) {
      subscribed.missing = null
      this.#setSources(subscribed, readQueuesOf(route))
    }
    this.#routed.add(route.topic)
    this.#wake()
  }

  #setSources({ topic, sources }: Subscribed, queues: readonly QueueRef[]): void {
    const brokers = new Set(queues.map(({ brokerName }) => brokerName))
    for (const [brokerName, source] of sources) {
      if (brokers.has(brokerName)) continue
      source.close()
      sources.delete(brokerName)
    }
    for (const brokerName of brokers) {
      if (sources.has(brokerName)) continue
      const source = new PopSource(this.#process, topic, brokerName, {
        epoch: () => this.#epochs.get(brokerName) ?? 0,
        opened: () => this.#wake(),
        unreachable: (epoch) => this.#routes.get(topic)?.unreachable(brokerName, epoch),
        deleted: () => this.#routes.get(topic)?.deleted(),
      })
      sources.set(brokerName, source)
    }
  }
}
