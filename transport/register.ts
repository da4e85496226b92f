/**
 * The register: one small value a key, changed by compare-and-swap. The seat of truth of a broker group.
 *
 * A swap has THREE outcomes. 'ok' and 'conflict' are definite. 'unknown' means that it may have been done or may yet be
 * done: it is resolved by trying the SAME swap again until the outcome is definite; a conflict with one's own value in
 * the register was a success. Whoever takes 'unknown' for a failure loses data.
 *
 * A read is a hint: it may be old, and so may what a watch tells. The truth is in the swap.
 *
 * Three homes, one contract: register-memory.ts, register-served.ts, register-jetstream.ts.
 */
import type { Json } from '../machines/effect.ts'
import type { Failure, Outcome } from './failures.ts'
import type { Subscription } from './transport.ts'

/** The first revision of a key is 1; each swap that is done raises it by one. */
export type Held = { revision: number; value: Json }

export type SwapOutcome =
  | { result: 'ok'; revision: number }
  /** Another value is there; null when there is none at all. */
  | { result: 'conflict'; held: Held | null }
  | { result: 'unknown'; failure: Failure }

/** A key is a broker's name. One that is malformed, and a value that is too large, are bugs: they throw. */
export interface Register {
  /** The value, or null when the key was never written. */
  read(key: string, done: (outcome: Outcome<Held | null>) => void): void
  /**
   * Writes if the revision is still `expected`; 0 = if the key was never written. Answers exactly once and NEVER from
   * inside the call. The value is read once: it may be changed after the call.
   */
  swap(key: string, expected: number, value: Json, done: (outcome: SwapOutcome) => void): void
  /**
   * Hears the value that is there and then newer ones, each at most once and in order; some may be left out. The newest
   * is heard within one `pollMs`, whatever pushes are lost. `wentBack` hears what is there, null for nothing, when that is
   * older than what was told, or another value under the same revision: somebody put the register back. From then on newer
   * ones than that are heard.
   */
  watch(key: string, hear: (held: Held) => void, wentBack?: (held: Held | null) => void): Subscription
  /** Ends all watches. What is under way is still answered; what comes later is answered 'closed'. */
  close(): void
}

export type RegisterTimes = {
  /** After so long without an answer a read has failed, and a swap is 'unknown'. */
  readonly readTimeoutMs: number
  readonly swapTimeoutMs: number
  /** How often a watch looks for itself. */
  readonly pollMs: number
}

export const REGISTER_TIMES: RegisterTimes = { readTimeoutMs: 1_000, swapTimeoutMs: 1_000, pollMs: 1_000 }

/** The largest value, in bytes of JSON. */
export const VALUE_BYTES_MAX: number = 64 * 1024
