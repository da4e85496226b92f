/**
 * The ports that everything stands on: time, chance and the log. A part of the World (actors/node/world.ts); they are
 * declared here because the transport needs them too.
 */

/** A timer of more milliseconds fires at once. */
export const TIMER_MS_MAX: number = 2 ** 31 - 1

export interface Clock {
  /** Wall time, milliseconds since 1970. May jump. For people and for time stamps only. */
  now(): number
  /** Milliseconds since some start; never goes back. For durations. */
  monotonic(): number
  /** At most TIMER_MS_MAX. */
  setTimeout(run: () => void, ms: number): unknown
  clearTimeout(id: any): void
  /** Runs when this turn of the loop has heard all that arrived: the moment to ship what was gathered. */
  defer(run: () => void): void
}

export interface Random {
  /** In [0, 1). */
  next(): number
  /** A whole number in [0, bound), bound <= 2^53. */
  below(bound: number): number
  /** 16 hexadecimal digits. */
  id(): string
}

export interface Log {
  info(message: string, fields?: Readonly<Record<string, unknown>>): void
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void
  error(message: string, fields?: Readonly<Record<string, unknown>>): void
}
