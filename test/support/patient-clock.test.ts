/** The clock of the tests of whole clusters, while the loop turns and while it stands still. */
import test from 'ava'
import { patientClock } from './patient-clock.ts'
import { until } from './until.ts'

const hang = (ms: number) => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

test.serial('patient clock: the time in which the loop stood still does not count', async (t) => {
  let isOver = false
  patientClock.setTimeout(() => {
    isOver = true
  }, 1_000)
  const began = patientClock.monotonic()
  for (let i = 0; i < 4; i++) {
    hang(500)
    await turn()
  }
  t.true(patientClock.monotonic() - began < 500)
  t.false(isOver)
})

test.serial(
  'patient clock: a timer runs AFTER its time, by this clock and by the wall, and runs once',
  async (t) => {
    const [began, wall] = [patientClock.monotonic(), performance.now()]
    let runs = 0
    let took = 0
    patientClock.setTimeout(() => {
      runs++
      took = patientClock.monotonic() - began
    }, 60)
    await until('it ran', () => runs > 0)
    t.true(took >= 60)
    t.true(performance.now() - wall >= 60)
    await until('as much time again has passed', () => patientClock.monotonic() - began > 2 * took)
    t.is(runs, 1)
  },
)

test.serial('patient clock: a timer that is cleared does not run, also AFTER it was put off', async (t) => {
  let runs = 0
  const timer = patientClock.setTimeout(() => {
    runs++
  }, 100)
  hang(200)
  await turn()
  patientClock.clearTimeout(timer)
  patientClock.clearTimeout(undefined)
  const began = patientClock.monotonic()
  await until('its time has passed', () => patientClock.monotonic() - began > 300)
  t.is(runs, 0)
})

test.serial('patient clock: what no timer counts to fires at once, as for the real clock', async (t) => {
  let runs = 0
  patientClock.setTimeout(() => {
    runs++
  }, 2 ** 31)
  await until('it ran', () => runs > 0)
  t.is(runs, 1)
})
