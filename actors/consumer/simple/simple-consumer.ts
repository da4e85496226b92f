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
import { tell } from '../../../transport/codec.ts'
import { badInput, StateMQError } from '../../errors.ts'
import type { Process } from '../../node/process.ts'
import type { PopSource } from './pop-source.ts'
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
import { type Subscription, Subscriptions } from './subscriptions.ts'

const ROUTE_MS = 3_000

export class SimpleConsumer {
  readonly group: string
  readonly clientId: string
  readonly #process: Process
  readonly #released: () => void
  readonly #settings: SimpleConsumerSettings
  readonly #subscriptions: Subscriptions
  readonly #settling: Settling
  #closing: Promise<void> | null = null

  constructor(process: Process, options: SimpleConsumerOptions, clientId: string, released: () => void) {
    this.#settings = simpleSettingsOf(options)
    this.#process = process
    this.#released = released
    this.group = this.#settings.group
    this.clientId = clientId
    this.#subscriptions = new Subscriptions(process, this.group)
    this.#settling = new Settling(process, this.group, clientId, this.#subscriptions)
    for (const { topic, expression } of options.subscriptions ?? []) this.subscribe(topic, expression)
  }

  /** Which messages of which topic, at any time; `filter`: `*` (default), tags as `a || b`, or `{ sql }`. */
  subscribe(topic: string, filter: FilterExpression = '*'): this {
    this.#refuseWhenClosed()
    this.#subscriptions.add(topic, subscriptionText(topic, filter))
    return this
  }

  /** What was received of the topic may still be acknowledged. */
  unsubscribe(topic: string): this {
    this.#subscriptions.remove(topic)
    return this
  }

  /**
   * At most `max` messages (1 to 1,000), all of one broker; waits up to `waitMs` for the first. An empty list when none
   * came, and when the consumer is closed meanwhile. What consumers of the group that owned queues could not handle is
   * received again, too, when its pause is over, under the topic that it was sent to. Rejects with TOPIC_NOT_EXIST, with
   * NO_PERMISSION while a consumer of the group owns queues of the topic, and with what the brokers failed with when none
   * of them answered.
   */
  async receive(max = 32, waitMs = this.#settings.awaitMs): Promise<ReceivedMessage[]> {
    this.#refuseWhenClosed()
    checkMax(max)
    checkAwait(waitMs)
    const subscriptions = this.#subscriptions
    if (subscriptions.isEmpty) throw badInput('subscribe to a topic before receive()', 'INVALID_PARAMETER')
    const { clock } = this.#process.world
    const until = clock.monotonic() + waitMs
    await subscriptions.allRouted(Math.max(ROUTE_MS, waitMs))
    let failure: StateMQError | null = null
    let hasAnswer = false
    while (this.#closing === null) {
      const open = subscriptions.nextOpen()
      if (open) {
        const { subscription, source } = open
        const { messages, error } = await source.receive({ ...this.#requestFor(subscription, source), max })
        if (messages.length > 0) return messages
        if (subscription.isRetries) continue
        failure = error ?? failure
        hasAnswer ||= error === null
        continue
      }
      const left = until - clock.monotonic()
      if (left <= 0) break
      await subscriptions.woken(left)
    }
    if (this.#closing === null && !hasAnswer) subscriptions.throwWhatFailed(failure)
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
    this.#subscriptions.locate(handle)
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
    const brokers = this.#subscriptions.close()
    // A wait that is held would be answered when its time is over.
    for (const brokerName of brokers) {
      const epoch = this.#subscriptions.epochOf(brokerName)
      tell(world.transport, subjects.broker(brokerName, epoch).popLeave, { group, clientId })
    }
    await this.#settling.drain()
    this.#subscriptions.stop()
    this.#released()
  }

  #refuseWhenClosed(): void {
    if (this.#closing) throw new StateMQError('CLOSED', 'the consumer is closed: make another one')
  }

  #requestFor({ topic, expression, isRetries, initial }: Subscription, { brokerName }: PopSource) {
    const { group, invisibleMs, ordered, maxAttempts } = this.#settings
    // Whatever failed is to be tried again, and all that comes later is to be received.
    const isFirst = isRetries || !initial?.has(brokerName)
    const from = isFirst ? 'first' : this.#settings.from
    const { clientId } = this
    return { group, topic, clientId, invisibleMs, ordered, maxAttempts, filter: expression, from }
  }
}
