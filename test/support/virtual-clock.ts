/** Time for simulations. Every timer runs at its own instant; equal instants run in the order in which they were set. */
import type { Clock } from '../../actors/node/world.ts'

export interface VirtualClock extends Clock {
  /** Lets time pass; what is deferred runs at the instant at which it was deferred. */
  advance(ms: number): void
  /** Runs what is deferred, and what that defers, without letting time pass. */
  settle(): void
  /** How many timers are set. */
  readonly timers: number
}

type Timer = { at: number; run: () => void }

export function virtualClock(startsAt = 1_700_000_000_000): VirtualClock {
  const timers: Timer[] = [] // By instant, then by the order in which they were set.
  let deferred: (() => void)[] = []
  let elapsed = 0

  function settle(): void {
    while (deferred.length > 0) {
      const runs = deferred
      deferred = []
      for (const run of runs) run()
    }
  }

  return {
    now: () => startsAt + elapsed,
    monotonic: () => elapsed,
    setTimeout(run, ms) {
      // As Node does: what it cannot count to fires at once.
      const waits = ms <= 2 ** 31 - 1 ? Math.max(0, ms) : 1
      const timer = { at: elapsed + waits, run }
      let low = 0
      for (let high = timers.length; low < high; ) {
        const middle = (low + high) >>> 1
        if (timers[middle]!.at <= timer.at) low = middle + 1
        else high = middle
      }
      timers.splice(low, 0, timer)
      return timer
    },
    clearTimeout(timer: Timer) {
      const at = timers.indexOf(timer)
      if (at >= 0) timers.splice(at, 1)
    },
    defer: (run) => void deferred.push(run),
    settle,
    advance(ms) {
      const end = elapsed + ms
      settle()
      while (timers.length > 0 && timers[0]!.at <= end) {
        const { at, run } = timers.shift()!
        elapsed = at
        run()
        settle()
      }
      elapsed = end
    },
    get timers() {
      return timers.length
    },
  }
}
