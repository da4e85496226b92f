import test from 'ava'
import fc from 'fast-check'
import { OffsetTracker } from '../../actors/consumer/offset-tracker.ts'

/** What it is meant to be, without a thought of speed. */
class NaiveTracker {
  readonly #finished = new Set<number>()
  position: number

  constructor(position: number) {
    this.position = position
  }

  finish(offset: number): void {
    if (offset >= this.position) this.#finished.add(offset)
    while (this.#finished.has(this.position)) this.position++
  }
}

test('offsets: the position is the first that is not finished, in whatever order they finish', (t) => {
  const start = fc.oneof(fc.nat(5_000), fc.integer({ min: 2 ** 31 - 2_000, max: 2 ** 53 - 20_000 }))
  fc.assert(
    fc.property(
      start,
      fc.array(fc.integer({ min: -10, max: 6_000 }), { maxLength: 400 }),
      (position, steps) => {
        const tracker = new OffsetTracker(position)
        const naive = new NaiveTracker(position)
        for (const step of steps) {
          tracker.finish(position + step)
          naive.finish(position + step)
          if (tracker.position !== naive.position) return false
        }
        return true
      },
    ),
    { numRuns: 500 },
  )
  t.pass()
})

test('offsets: long runs in shuffled order end at the end', (t) => {
  fc.assert(
    fc.property(
      fc.shuffledSubarray(
        Array.from({ length: 3_000 }, (_, i) => i),
        { minLength: 3_000 },
      ),
      (order) => {
        const tracker = new OffsetTracker(2 ** 33)
        const naive = new NaiveTracker(2 ** 33)
        for (const offset of order) {
          tracker.finish(2 ** 33 + offset)
          naive.finish(2 ** 33 + offset)
          if (tracker.position !== naive.position) return false
        }
        return tracker.position === 2 ** 33 + 3_000
      },
    ),
    { numRuns: 20 },
  )
  t.pass()
})

test('offsets: a queue may be longer than its memory of what is finished, many times over', (t) => {
  const tracker = new OffsetTracker(0)
  const naive = new NaiveTracker(0)
  for (let base = 0; base < 20_000; base += 10) {
    for (const step of [3, 9, 1, 0, 5, 7, 2, 8, 4, 6]) {
      tracker.finish(base + step)
      naive.finish(base + step)
      if (tracker.position !== naive.position) return t.is(tracker.position, naive.position)
    }
  }
  t.is(tracker.position, 20_000)
})

test('offsets: what is finished twice counts once', (t) => {
  const tracker = new OffsetTracker(10)
  tracker.finish(11)
  tracker.finish(11)
  tracker.finish(10)
  tracker.finish(10)
  t.is(tracker.position, 12)
  tracker.finish(12)
  t.is(tracker.position, 13)
})
