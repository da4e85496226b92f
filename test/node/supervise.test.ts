import test from 'ava'
import { createDirectory } from '../../actors/node/inspection.ts'
import type { Process } from '../../actors/node/process.ts'
import { SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import { supervise } from '../../actors/node/supervise.ts'
import { createHub } from '../../transport/memory.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { virtualClock } from '../support/virtual-clock.ts'

/** A role that fails when the test says so, under a supervisor on a clock of the test's. */
function supervised() {
  const clock = virtualClock()
  const random = seededRandom(1)
  const errors: string[] = []
  const log = { info() {}, warn() {}, error: (message: string) => void errors.push(message) }
  const transport = createHub({ clock, random, log }).connect()
  const subjects = subjectsOf('test')
  const world = { clock, random, log, transport, disk: new SimulatedDisk({ clock, random }).mount() }
  const directory = createDirectory('p1', transport, subjects, clock)
  const process: Process = { id: 'p1', world, subjects, directory }
  const seen = { starts: 0, stops: 0, givenUp: [] as string[], errors }
  let fail: (cause: unknown) => void = () => {}
  const supervision = supervise(process, 'broker/a/0', {
    start(failed) {
      seen.starts++
      fail = failed
      return {
        stop(stopped) {
          seen.stops++
          stopped()
        },
      }
    },
    givenUp: (message) => void seen.givenUp.push(message),
  })
  return { clock, seen, supervision, fail: (why: string) => fail(new Error(why)) }
}

test('supervision: starts a role anew AFTER a pause when a bug stopped it', (t) => {
  const { clock, seen, fail } = supervised()
  t.is(seen.starts, 1)
  fail('a bug')
  t.is(seen.starts, 1)
  clock.advance(100)
  t.is(seen.starts, 2)
})

test('supervision: pauses longer after each failure', (t) => {
  const { clock, seen, fail } = supervised()
  fail('a bug')
  clock.advance(100)
  fail('a bug')
  clock.advance(199)
  t.is(seen.starts, 2)
  clock.advance(1)
  t.is(seen.starts, 3)
})

test('supervision: gives up a role that keeps failing, and says so aloud', (t) => {
  const { clock, seen, fail } = supervised()
  for (let i = 0; i < 6; i++) {
    fail('a bug')
    clock.advance(10_000)
  }
  t.is(seen.starts, 6)
  t.deepEqual(seen.givenUp, ['Error: a bug'])
  t.true(seen.errors.some((line) => line.includes('broker/a/0') && line.includes('given up')))
})

test('supervision: forgives earlier failures once a role has run for a minute', (t) => {
  const { clock, seen, fail } = supervised()
  for (let i = 0; i < 20; i++) {
    fail('a bug')
    clock.advance(10_000 + 60_000)
  }
  t.deepEqual(seen.givenUp, [])
  t.is(seen.starts, 21)
})

test('supervision: stops the role when it is stopped, and starts it no more', (t) => {
  const { clock, seen, supervision } = supervised()
  let stopped = false
  supervision.stop(() => {
    stopped = true
  })
  clock.advance(60_000)
  t.true(stopped)
  t.is(seen.stops, 1)
  t.is(seen.starts, 1)
})

test('supervision: a role that is pausing when it is stopped is not started again', (t) => {
  const { clock, seen, supervision, fail } = supervised()
  let stopped = false
  fail('a bug')
  supervision.stop(() => {
    stopped = true
  })
  clock.advance(60_000)
  t.true(stopped)
  t.is(seen.starts, 1)
})
