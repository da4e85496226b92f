import test from 'ava'
import fc from 'fast-check'
import {
  DEFAULT_DELAY_LEVELS,
  DEFAULT_MAX_RECONSUME_TIMES,
  DELAY_LEVEL_MAX,
  delayLevelFault,
  delaysOf,
  growingSuspension,
  retryLevelFault,
  suspensionOf,
  verdictOf,
} from '../../machines/retry-policy.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND

test('levels: they are RocketMQ’s', (t) => {
  t.deepEqual(delaysOf(DEFAULT_DELAY_LEVELS), [
    ...[1, 5, 10, 30].map((seconds) => seconds * SECOND),
    ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 60, 120].map((minutes) => minutes * MINUTE),
  ])
})

for (const [levels, says] of [
  ['', /has 1 levels: give 18/],
  [DEFAULT_DELAY_LEVELS.replace(' 2h', ''), /has 17 levels/],
  [DEFAULT_DELAY_LEVELS.replace('2h', '2y'), /'2y': give a number above 0 with ms, s, m, h or d/],
  [DEFAULT_DELAY_LEVELS.replace('2h', '0s'), /'0s'/],
  [DEFAULT_DELAY_LEVELS.replace('2h', '-2h'), /'-2h'/],
  [DEFAULT_DELAY_LEVELS.replace('2h', '25h'), /at most 24h/],
  [DEFAULT_DELAY_LEVELS.replace('2h', '1e9h'), /'1e9h'/],
] as const) {
  test(`levels: '${levels.slice(-12)}' is refused with a sentence`, (t) => {
    const fault = delaysOf(levels)
    t.regex(typeof fault === 'string' ? fault : '', says)
  })
}

test('ladder: a message waits 10 s, 30 s, 1 min … 2 h, sixteen times, and is then a dead letter', (t) => {
  const delays = delaysOf(DEFAULT_DELAY_LEVELS) as number[]
  const waits: number[] = []
  for (let reconsumeTimes = 0; ; reconsumeTimes++) {
    const verdict = verdictOf({ reconsumeTimes, maxReconsumeTimes: 16, delayLevel: 0 })
    if (verdict.to === 'deadLetters') break
    waits.push(delays[verdict.delayLevel - 1]!)
  }
  t.deepEqual(waits, delays.slice(2))
  t.is(waits.length, 16)
})

test('ladder: beyond its last rung it stays there', (t) => {
  const verdict = verdictOf({ reconsumeTimes: 40, maxReconsumeTimes: 100, delayLevel: 0 })
  t.deepEqual(verdict, { to: 'retry', delayLevel: DELAY_LEVEL_MAX })
})

test('verdict: a handler that chooses a level gets it, as long as there are tries', (t) => {
  const chosen = (reconsumeTimes: number) =>
    verdictOf({ reconsumeTimes, maxReconsumeTimes: 2, delayLevel: 7 })
  t.deepEqual([0, 1, 2].map(chosen), [
    { to: 'retry', delayLevel: 7 },
    { to: 'retry', delayLevel: 7 },
    { to: 'deadLetters' },
  ])
})

test('verdict: a level is always one that there is, and a message dies AFTER its last try only', (t) => {
  const whole = fc.integer({ min: 0, max: 2 ** 31 - 1 })
  const level = fc.integer({ min: -1, max: DELAY_LEVEL_MAX })
  fc.assert(
    fc.property(whole, whole, level, (reconsumeTimes, maxReconsumeTimes, delayLevel) => {
      const verdict = verdictOf({ reconsumeTimes, maxReconsumeTimes, delayLevel })
      const isLast = reconsumeTimes >= maxReconsumeTimes || delayLevel === -1
      t.is(verdict.to === 'deadLetters', isLast)
      if (verdict.to === 'retry') t.is(delayLevelFault(verdict.delayLevel), null)
    }),
  )
})

test('levels: what a sender and a handler may ask for', (t) => {
  for (const level of [1, 18]) t.is(delayLevelFault(level), null)
  for (const level of [0, 19, 2.5, Number.NaN, '3', null, {}, undefined])
    t.is(typeof delayLevelFault(level), 'string')
  for (const level of [-1, 0, 1, 18]) t.is(retryLevelFault(level), null)
  for (const level of [-2, 19, 0.5, 'soon', null]) t.is(typeof retryLevelFault(level), 'string')
})

test('suspension: in order a queue stands still for twice as long each time, to at most 30 s', (t) => {
  const pauses = (firstMs: number, count: number) =>
    Array.from({ length: count }, (_, i) => growingSuspension(firstMs, i + 1))
  const table: [firstMs: number, pauses: number[]][] = [
    [10, [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_120, 10_240, 20_480, 30_000]],
    [1_000, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]],
    [20_000, [20_000, 30_000]],
    [30_000, [30_000, 30_000]],
  ]
  for (const [firstMs, expected] of table) t.deepEqual(pauses(firstMs, expected.length), expected)
  for (const failures of [1_000, 5_000, 2 ** 31]) t.is(growingSuspension(1_000, failures), 30_000)
  const all = pauses(1_000, DEFAULT_MAX_RECONSUME_TIMES).reduce((sum, ms) => sum + ms, 0)
  t.is(all, 361_000)
})

test('suspension: it is kept within 10 ms and 30 s', (t) => {
  t.deepEqual([0, 10, 1_000, 60_000, Number.NaN].map(suspensionOf), [10, 10, 1_000, 30_000, 30_000])
})
