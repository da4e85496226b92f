/**
 * Turn: one turn of the loop, as a producer sees it.
 *
 * It begins with the first send and ends when the loop has heard all that arrived. The clocks are read ONCE in it, for
 * all its sends. At its end, what waited for room joins it BEFORE what was gathered is shipped.
 */
import type { Clock } from '../../transport/ports.ts'
import type { Pipe } from './pipe.ts'

export type TurnHooks = {
  began(now: number): void
  /** The last moment to add messages to this turn. */
  ending(): void
}

export class Turn {
  isOpen = false
  /** Counts the turns in which something was sent. */
  number = 0
  /** When it began, on the monotonic clock. */
  now = 0
  /** When it began, milliseconds since 1970. */
  wallNow = 0
  readonly #clock: Clock
  readonly #hooks: TurnHooks
  /** Have something to ship. */
  #pipes: Pipe[] = []

  constructor(clock: Clock, hooks: TurnHooks) {
    this.#clock = clock
    this.#hooks = hooks
  }

  open(): void {
    if (this.isOpen) return
    this.isOpen = true
    this.number++
    this.now = this.#clock.monotonic()
    this.wallNow = this.#clock.now()
    this.#hooks.began(this.now)
    this.#clock.defer(this.#end)
  }

  /** The pipe has something to ship at the end of the turn. */
  want(pipe: Pipe): void {
    pipe.isWanted = true
    this.#pipes.push(pipe)
    this.open()
  }

  readonly #end = (): void => {
    this.#hooks.ending()
    this.isOpen = false
    const pipes = this.#pipes
    this.#pipes = []
    for (const pipe of pipes) pipe.flush()
  }
}
