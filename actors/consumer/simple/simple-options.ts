/** What a simple consumer may be told, with what is assumed when it is not, and what is wrong with it. */
import type { FilterExpression } from '../../../machines/filter/filter.ts'
import { groupFault, ownTopicFault } from '../../../machines/names.ts'
import { DEFAULT_MAX_RECONSUME_TIMES } from '../../../machines/retry-policy.ts'
import {
  INVISIBLE_MS_MAX,
  INVISIBLE_MS_MIN,
  POP_ATTEMPTS_MAX,
  POP_MESSAGES_MAX,
} from '../../../transport/pop-messages.ts'
import { badInput } from '../../errors.ts'
import { type Names, refuseUnknown } from '../../options.ts'
import { subscribed } from '../subscribed.ts'

export type SimpleConsumerOptions = {
  group: string
  subscriptions?: readonly { topic: string; expression?: FilterExpression }[]
  /** How long a message that was received is kept from the others, milliseconds: 100 ms to 12 h; default 30,000. */
  invisibleMs?: number
  /** How long `receive` waits for a first message, milliseconds; default 20,000. */
  awaitMs?: number
  /** The messages of one message group one at a time, in order; default false. All members of a group say the same. */
  ordered?: boolean
  /** Where a group begins that has no offset in a queue; default 'last'. */
  from?: 'first' | 'last'
  /** How often a message is given before it becomes a dead letter; default 17: once, and 16 times again. */
  maxAttempts?: number
}

// biome-ignore format: one name a line says no more
const simpleConsumerOptions: Names<SimpleConsumerOptions> = {
  group: true, subscriptions: true, invisibleMs: true, awaitMs: true,
  ordered: true, from: true, maxAttempts: true,
}
// biome-ignore format: one name a line says no more
const subscriptionOptions: Names<NonNullable<SimpleConsumerOptions['subscriptions']>[number]> = {
  topic: true, expression: true,
}

export type SimpleConsumerSettings = Required<Omit<SimpleConsumerOptions, 'subscriptions'>>

const AWAIT_MS_MAX = 3_600_000

const invalid = (message: string): never => {
  throw badInput(message, 'INVALID_PARAMETER')
}

/** Throws INVALID_PARAMETER with what is allowed. */
export function simpleSettingsOf(options: SimpleConsumerOptions): SimpleConsumerSettings {
  if (typeof options !== 'object' || options === null || typeof options.group !== 'string')
    return invalid('a simple consumer needs a group: client.simpleConsumer({ group })')
  refuseUnknown('a simple consumer', options, simpleConsumerOptions)
  const { group, invisibleMs = 30_000, awaitMs = 20_000, ordered = false } = options
  const { from = 'last', maxAttempts = DEFAULT_MAX_RECONSUME_TIMES + 1 } = options
  const fault = groupFault(group)
  if (fault) throw badInput(fault.message, fault.code)
  if (typeof ordered !== 'boolean') invalid(`ordered '${ordered}': give true or false`)
  if (from !== 'first' && from !== 'last') invalid(`from '${from}': give 'first' or 'last'`)
  if (!(Number.isInteger(maxAttempts) && maxAttempts >= 1 && maxAttempts <= POP_ATTEMPTS_MAX))
    invalid(`maxAttempts ${maxAttempts}: give a whole number from 1 to ${POP_ATTEMPTS_MAX}`)
  checkInvisible(invisibleMs)
  checkAwait(awaitMs)
  if (!Array.isArray(options.subscriptions ?? []))
    invalid('subscriptions: give a list of { topic, expression }')
  for (const subscription of options.subscriptions ?? []) {
    const { topic, expression = '*' } = subscription ?? {}
    subscriptionText(topic, expression)
    refuseUnknown('a subscription', subscription, subscriptionOptions)
  }
  return { group, invisibleMs, awaitMs, ordered, from, maxAttempts }
}

export function checkInvisible(ms: unknown): void {
  if (Number.isInteger(ms) && (ms as number) >= INVISIBLE_MS_MIN && (ms as number) <= INVISIBLE_MS_MAX) return
  invalid(
    `an invisible time of ${ms} ms: give whole milliseconds from ${INVISIBLE_MS_MIN} to ${INVISIBLE_MS_MAX} (12 h)`,
  )
}

export function checkAwait(ms: unknown): void {
  if (typeof ms === 'number' && ms >= 0 && ms <= AWAIT_MS_MAX) return
  invalid(`to wait ${ms} ms: give milliseconds from 0 to ${AWAIT_MS_MAX} (1 h)`)
}

export function checkMax(max: unknown): void {
  if (Number.isInteger(max) && (max as number) >= 1 && (max as number) <= POP_MESSAGES_MAX) return
  invalid(`receive(${max}): give a whole number of messages from 1 to ${POP_MESSAGES_MAX}`)
}

/** What a subscription says, as one text. Throws what is wrong with it. */
export function subscriptionText(topic: unknown, expression: unknown): string {
  if (typeof topic !== 'string') throw badInput('the topic is no string')
  const fault = ownTopicFault(topic)
  if (fault) throw badInput(fault.message, fault.code)
  return subscribed(expression).text ?? '*'
}
