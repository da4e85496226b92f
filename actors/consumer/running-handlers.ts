/**
 * Which handlers run, and since when, so that one which runs for too long is noticed. No timer and no object for each:
 * a handler has a place in a table, and a tick now and then looks through it.
 *
 * A handler counts as late after `timeoutMs` and an eighth of it at most. What it returns AFTER that is ignored.
 *
 * RocketMQ: client/impl/consumer/ProcessQueue.java (cleanExpiredMsg, which looks every 15 minutes)
 */
import { TIMER_MS_MAX } from '../../transport/ports.ts'
import type { Clock } from '../node/world.ts'

const TICKS = 8
/** A run that began within a tick has its full time. */
const LATE_TICKS = TICKS + 1

export class RunningHandlers<Run extends object> {
  readonly #clock: Clock
  readonly #tickMs: number
  readonly #isLate: (run: Run) => void
  readonly #runs: (Run | null)[] = []
  readonly #began: number[] = []
  readonly #free: number[] = []
  #tick = 0
  #timer: unknown = null

  /** `timeoutMs` Infinity, or so long that no timer counts to it: nothing is ever late. */
  constructor(clock: Clock, timeoutMs: number, isLate: (run: Run) => void) {
    this.#clock = clock
    this.#tickMs = timeoutMs / TICKS
    this.#isLate = isLate
  }

  /** Its place, to be given to `end`. */
  begin(run: Run): number {
    const place = this.#free.pop() ?? this.#runs.length
    this.#runs[place] = run
    this.#began[place] = this.#tick
    if (this.#timer === null && this.#tickMs <= TIMER_MS_MAX) this.#arm()
    return place
  }

  /** False when it was late: others have taken care of its message. */
  end(place: number, run: Run): boolean {
    const isInTime = this.#runs[place] === run
    if (!isInTime) return false
    this.#runs[place] = null
    this.#free.push(place)
    return true
  }

  #arm(): void {
    this.#timer = this.#clock.setTimeout(this.#look, this.#tickMs)
  }

  readonly #look = (): void => {
    this.#timer = null
    this.#tick++
    for (let place = 0; place < this.#runs.length; place++) {
      const run = this.#runs[place]
      if (run == null || this.#tick - this.#began[place]! < LATE_TICKS) continue
      this.end(place, run)
      this.#isLate(run)
    }
    if (this.#free.length < this.#runs.length) this.#arm()
  }

  stop(): void {
    this.#clock.clearTimeout(this.#timer)
    this.#timer = null
  }
}
