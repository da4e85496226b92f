/**
 * ForwardTime: wall time as it would be had nobody set the clock back since this mastership began.
 *
 * What is due at a time NEVER waits longer because the clock was set back; a clock that is set forward is followed.
 */
import type { Clock } from '../node/world.ts'

export class ForwardTime {
  readonly #clock: Clock
  /** What the wall clock was ahead of the monotonic one, at most. */
  #ahead: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#ahead = clock.now() - clock.monotonic()
  }

  /** Milliseconds since 1970. */
  now(): number {
    const elapsed = this.#clock.monotonic()
    this.#ahead = Math.max(this.#ahead, this.#clock.now() - elapsed)
    return this.#ahead + elapsed
  }
}
