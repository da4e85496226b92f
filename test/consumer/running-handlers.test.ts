import test from 'ava'
import fc from 'fast-check'
import { RunningHandlers } from '../../actors/consumer/running-handlers.ts'
import { virtualClock } from '../support/virtual-clock.ts'

type Run = { began: number; isLate: boolean; isOver: boolean }

test('running handlers: each is late AFTER its time and an eighth at most, told AT MOST ONCE, and never when it ended', (t) => {
  const step = fc.oneof(
    fc.record({ begin: fc.constant(true) }),
    fc.record({ end: fc.nat(50) }),
    fc.record({ wait: fc.integer({ min: 1, max: 700 }) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const clock = virtualClock()
      const runs: { run: Run; place: number }[] = []
      const handlers = new RunningHandlers<Run>(clock, 800, (run) => {
        t.false(run.isLate || run.isOver)
        t.true(clock.monotonic() - run.began >= 800, 'it is told too early')
        run.isLate = true
      })
      for (const one of steps) {
        if ('begin' in one) {
          const run = { began: clock.monotonic(), isLate: false, isOver: false }
          runs.push({ run, place: handlers.begin(run) })
        } else if ('end' in one) {
          const ending = runs[one.end % Math.max(1, runs.length)]
          if (!ending || ending.run.isOver) continue
          t.is(handlers.end(ending.place, ending.run), !ending.run.isLate)
          ending.run.isOver = true
        } else clock.advance(one.wait)
        for (const { run } of runs)
          if (!run.isOver && clock.monotonic() - run.began > 900) t.true(run.isLate, 'it is not told')
      }
      handlers.stop()
      t.is(clock.timers, 0)
    }),
  )
})

for (const limit of [Number.POSITIVE_INFINITY, Number.MAX_SAFE_INTEGER, 2 ** 35]) {
  test(`running handlers: with a time limit of ${limit} ms nothing is late and no timer runs`, (t) => {
    const clock = virtualClock()
    const handlers = new RunningHandlers<object>(clock, limit, () => t.fail())
    const run = {}
    const place = handlers.begin(run)
    clock.advance(1e9)
    t.true(handlers.end(place, run))
    t.is(clock.timers, 0)
  })
}
