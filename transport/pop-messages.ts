/** What a consumer that pops and a broker say to each other, as schemas. The answer to a receive is in pop-exchange.ts. */
import { z } from 'zod'
import { EXPRESSION_LENGTH_MAX } from '../machines/filter/filter.ts'
import { INVISIBLE_MS_MAX } from '../machines/pop-queue.ts'

const whole = z.number().int().nonnegative()
const name = z.string().min(1).max(255)
const who = { group: name, topic: name, clientId: name }

export { INVISIBLE_MS_MAX }
/** RocketMQ's proxy takes 10 s. */
export const INVISIBLE_MS_MIN = 100
export const POP_MESSAGES_MAX = 1_000
export const POP_ATTEMPTS_MAX = 65_535
/** Of the queues of one receive together. */
export const SETTLE_ITEMS_MAX = 10_000

/** Answered at once: give me up to `max` messages of any queue of the topic. */
export const popRequest = z.object({
  ...who,
  max: whole.min(1).max(POP_MESSAGES_MAX),
  invisibleMs: whole.min(INVISIBLE_MS_MIN).max(INVISIBLE_MS_MAX),
  ordered: z.boolean(),
  maxAttempts: whole.min(1).max(POP_ATTEMPTS_MAX),
  /** Where a group begins that has no offset in a queue. */
  from: z.enum(['first', 'last']),
  /** A subscription expression; `*` for all. */
  filter: z.string().max(EXPRESSION_LENGTH_MAX),
})
export type PopRequest = z.infer<typeof popRequest>

/** Held until a receive may bring something, or the time is over. Gives NOTHING itself. */
export const popWait = z.object({ ...who, ordered: z.boolean(), waitMs: whole.max(60_000) })
export type PopWait = z.infer<typeof popWait>
export type PopWaitAnswer = { isReady: boolean }

/** `invisibleMs` null acknowledges; else the message is invisible for so long, from now on. */
export type PopSettleItem = [
  topic: string,
  queueId: number,
  offset: number,
  attempt: number,
  token: number,
  invisibleMs: number | null,
]

const isWhole = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0

function isItem(item: unknown): boolean {
  if (!Array.isArray(item) || item.length !== 6 || typeof item[0] !== 'string') return false
  const ms: unknown = item[5]
  const isTime = isWhole(ms) && (ms as number) >= INVISIBLE_MS_MIN && (ms as number) <= INVISIBLE_MS_MAX
  return [1, 2, 3, 4].every((i) => isWhole(item[i])) && (ms === null || isTime)
}

/** Acknowledgements and changes of invisible times, of one broker. The items are many: they are checked by hand. */
export const popSettle = z.object({
  group: name,
  clientId: name,
  items: z.custom<PopSettleItem[]>(
    (items) => Array.isArray(items) && items.length <= SETTLE_ITEMS_MAX && items.every(isItem),
    `give up to ${SETTLE_ITEMS_MAX} of [topic, queueId, offset, attempt, token, invisibleMs or null]`,
  ),
})
export type PopSettle = z.infer<typeof popSettle>
/** Of the items that were refused: which, and why. All others are settled. */
export type PopSettleAnswer = { faults: [item: number, fault: 'done' | 'stale' | 'unknown'][] }

/** The client asks no more: its held waits are answered. */
export const popLeave = z.object({ group: name, clientId: name })
export type PopLeave = z.infer<typeof popLeave>
