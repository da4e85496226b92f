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

test('offsets: what is passed over is finished, whatever finishes around it', (t) => {
  const step = fc.record({
    give: fc.integer({ min: 0, max: 40 }),
    pass: fc.oneof(fc.constant(0), fc.nat(3_000)),
  })
  const start = fc.oneof(fc.nat(5_000), fc.integer({ min: 2 ** 31 - 2_000, max: 2 ** 53 - 2_000_000 }))
  fc.assert(
    fc.property(
      start,
      fc.array(step, { maxLength: 60 }),
      fc.infiniteStream(fc.nat()),
      (position, steps, choices) => {
        const tracker = new OffsetTracker(position)
        const naive = new NaiveTracker(position)
        const running: number[] = []
        let next = position
        const same = () => tracker.position === naive.position
        const finishOne = () => {
          const [offset] = running.splice(choices.next().value % running.length, 1) as [number]
          tracker.finish(offset)
          naive.finish(offset)
        }
        for (const { give, pass } of steps) {
          for (let i = 0; i < give; i++) running.push(next++)
          if (pass > 0) {
            tracker.pass(next, next + pass)
            for (let i = 0; i < pass; i++) naive.finish(next++)
          }
          if (!same()) return false
          for (let left = choices.next().value % (running.length + 1); left > 0; left--) {
            finishOne()
            if (!same()) return false
          }
        }
        while (running.length > 0) {
          finishOne()
          if (!same()) return false
        }
        return tracker.position === next && tracker.passedAbove === 0
      },
    ),
    { numRuns: 500 },
  )
  t.pass()
})

test('offsets: a stretch that nobody is given costs the same whatever its length', (t) => {
  const tracker = new OffsetTracker(0)
  let offset = 0
  for (let i = 0; i < 5_000; i++) {
    tracker.pass(offset + 1, offset + 1_000_000_000)
    offset += 1_000_000_000
  }
  t.is(tracker.position, 0)
  t.is(tracker.passedAbove, 5_000 * 999_999_999)
  for (let i = 4_999; i >= 1; i--) tracker.finish(i * 1_000_000_000)
  t.is(tracker.position, 0)
  tracker.finish(0)
  t.is(tracker.position, offset)
})
