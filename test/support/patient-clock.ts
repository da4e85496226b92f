/**
 * The real clock of a process that has much else to do: the time in which its loop stood still does not count.
 *
 * Whole clusters live in one process in the tests, dozens of them at once. When the machine is slow, whoever is asked is
 * held up with whoever asks, and what is due after seconds by the wall is due after a few turns of the loop. So of one turn
 * AT MOST `TURN_MS` count: a request, a lease or a session NEVER runs out because of what another test does meanwhile.
 * Wall time is what it is.
 */
import { realClock } from '../../actors/node/real-world.ts'
import type { Clock } from '../../actors/node/world.ts'
import { TIMER_MS_MAX } from '../../transport/ports.ts'

const TICK_MS = 5
/** Of a turn that lasts longer, no more than this. */
const TURN_MS = 25

type Timer = { real: unknown }

let elapsed = 0
let seenAt = performance.now()
let left = TURN_MS

function monotonic(): number {
  const now = performance.now()
  const counted = Math.min(now - seenAt, left)
  seenAt = now
  left -= counted
  elapsed += counted
  return elapsed
}

// One for all clocks of the process, and it keeps none alive.
setInterval(() => {
  monotonic()
  left = TURN_MS
}, TICK_MS).unref()

export const patientClock: Clock = {
  now: realClock.now,
  monotonic,
  defer: realClock.defer,
  setTimeout(run, ms) {
    // What no timer counts to fires at once, as it does for the real clock.
    const dueAt = monotonic() + (ms <= TIMER_MS_MAX ? ms : 1)
    const wake = () => {
      const wait = dueAt - monotonic()
      if (wait > 0) timer.real = setTimeout(wake, wait)
      else run()
    }
    const timer: Timer = { real: setTimeout(wake, ms) }
    return timer
  },
  clearTimeout: (timer: Timer | null | undefined) => clearTimeout(timer?.real as NodeJS.Timeout | undefined),
}
