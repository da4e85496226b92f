/**
 * Retry policy: how long a message waits for its next try, and when it has had its last.
 *
 * A level is a place in a table of pauses. The ladder begins at the third: a message that fails again and again waits
 * 10 s, 30 s, 1 min … 2 h. In order, its queue stands still meanwhile: 1 s, 2 s, 4 s … 30 s. After `maxReconsumeTimes`
 * retries it is a dead letter, and NEVER tried again by itself.
 *
 * RocketMQ: store/config/MessageStoreConfig.java (messageDelayLevel), broker/processor/AbstractSendMessageProcessor.java
 * (consumerSendMsgBack), client/impl/consumer/ConsumeMessageOrderlyService.java (suspendCurrentQueueTimeMillis)
 */

/** RocketMQ's messageDelayLevel: level 1 is the first of these. */
export const DEFAULT_DELAY_LEVELS = '1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h'
export const DELAY_LEVEL_MAX = 18

/** The ladder's first rung is the level after this one. */
const LEVELS_BEFORE_LADDER = 3
/** What a handler gives that wants no more tries. */
export const TO_DEAD_LETTERS = -1
/** RocketMQ's retryMaxTimes, also in order. In order, RocketMQ 4's consumer tries for ever where nothing else is said. */
export const DEFAULT_MAX_RECONSUME_TIMES = 16
export const RECONSUME_TIMES_MAX = 2 ** 31 - 1

export const SUSPEND_MS_MIN = 10
export const SUSPEND_MS_MAX = 30_000

const unitMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}
const DELAY_MS_MAX = 24 * 3_600_000

/** The pause of each level in milliseconds, `[0]` that of level 1; or a sentence that says what is wrong. */
export function delaysOf(levels: string): number[] | string {
  const words = `${levels}`.trim().split(/\s+/)
  if (words.length !== DELAY_LEVEL_MAX)
    return `messageDelayLevel has ${words.length} levels: give ${DELAY_LEVEL_MAX}, as in '${DEFAULT_DELAY_LEVELS}'`
  const delays: number[] = []
  for (const word of words) {
    const [, digits, unit] = /^(\d{1,9})(ms|s|m|h|d)$/.exec(word) ?? []
    const ms = Number(digits) * (unitMs[unit ?? ''] ?? 0)
    if (!(ms > 0)) return `messageDelayLevel has '${word}': give a number above 0 with ms, s, m, h or d`
    if (ms > DELAY_MS_MAX) return `messageDelayLevel has '${word}': a message waits at most 24h`
    delays.push(ms)
  }
  return delays
}

/** What is wrong with the level of a message that is sent; null when nothing is. RocketMQ takes more for 18; we refuse. */
export const delayLevelFault = (level: unknown): string | null =>
  isWithin(level, 1, DELAY_LEVEL_MAX)
    ? null
    : `delayLevel ${shown(level)}: give a whole number from 1 (1 s) to ${DELAY_LEVEL_MAX} (2 h)`

/** The same for the level that a handler chooses: 0 leaves it to the ladder, -1 asks for no more tries. */
export const retryLevelFault = (level: unknown): string | null =>
  isWithin(level, TO_DEAD_LETTERS, DELAY_LEVEL_MAX)
    ? null
    : `context.delayLevel ${shown(level)}: give 0 (the ladder), -1 (dead letters) or 1 to ${DELAY_LEVEL_MAX}`

export type Failed = {
  /** How often it was retried before: 0 when it failed for the first time. */
  reconsumeTimes: number
  maxReconsumeTimes: number
  /** 0: as the ladder says. -1: no more tries. Otherwise the level that the handler chose. */
  delayLevel: number
}
export type Verdict = { to: 'retry'; delayLevel: number } | { to: 'deadLetters' }

export function verdictOf({ reconsumeTimes, maxReconsumeTimes, delayLevel }: Failed): Verdict {
  if (delayLevel < 0 || reconsumeTimes >= maxReconsumeTimes) return { to: 'deadLetters' }
  const level = delayLevel === 0 ? LEVELS_BEFORE_LADDER + reconsumeTimes : delayLevel
  return { to: 'retry', delayLevel: Math.min(level, DELAY_LEVEL_MAX) }
}

/** How long an ordered queue stands still, as its handler asks. RocketMQ keeps it within these bounds, whatever is asked. */
export const suspensionOf = (ms: number): number =>
  Number.isFinite(ms) ? Math.max(SUSPEND_MS_MIN, Math.min(ms, SUSPEND_MS_MAX)) : SUSPEND_MS_MAX

/**
 * How long it stands still by itself when the same message has failed `failures` times: `firstMs`, and twice as long each
 * time. RocketMQ's pauses are alike; with ours the tries of a message outlast a short outage of what its handler needs.
 */
export const growingSuspension = (firstMs: number, failures: number): number =>
  suspensionOf(firstMs * 2 ** (failures - 1))

const isWithin = (value: unknown, min: number, max: number): value is number =>
  Number.isInteger(value) && (value as number) >= min && (value as number) <= max

const shown = (value: unknown): string =>
  typeof value === 'number' || typeof value === 'string' ? `${value}` : `is of type ${typeof value}`
