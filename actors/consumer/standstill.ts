/**
 * Notices that the process stood still: a container that was paused, a handler that blocked it. (The monotonic clock of a
 * machine that sleeps may sleep with it; then the brokers tell.)
 *
 * BEFORE anything is begun in a turn of the loop, `look` compares the clock with the last time that it looked. After
 * `limitMs` or more it tells of that at once, in the same call. It looks once in a turn, whoever asks and however often:
 * reading a clock for each message would cost a fifth of it.
 */
import type { Clock } from '../node/world.ts'

export class Standstill {
  readonly #clock: Clock
  readonly #limitMs: number
  readonly #wokeUp: () => void
  #last: number
  #hasLooked = false

  /** `look` is to be called more often than every `limitMs`, milliseconds, by a timer. */
  constructor(clock: Clock, limitMs: number, wokeUp: () => void) {
    this.#clock = clock
    this.#limitMs = limitMs
    this.#wokeUp = wokeUp
    this.#last = clock.monotonic()
  }

  /** Whether it has just told. */
  readonly look = (): boolean => {
    if (this.#hasLooked) return false
    this.#hasLooked = true
    this.#clock.defer(this.#turnEnded)
    const now = this.#clock.monotonic()
    const stood = now - this.#last
    this.#last = now
    if (stood < this.#limitMs) return false
    this.#wokeUp()
    return true
  }

  readonly #turnEnded = (): void => {
    this.#hasLooked = false
  }
}
