/**
 * The register: one small value a key, changed by compare-and-swap. The seat of truth of a broker group.
 *
 * A swap has THREE outcomes. 'ok' and 'conflict' are definite. 'unknown' means that it may have been done or may yet be
 * done: it is resolved by trying the SAME swap again until the outcome is definite; a conflict with one's own value in
 * the register was a success. Whoever takes 'unknown' for a failure loses data.
 *
 * A read is a hint: it may be old, and so may what a watch tells. The truth is in the swap.
 */
import type { Json } from '../machines/effect.ts'
import type { Failure, Outcome } from './failures.ts'
import type { Subscription } from './transport.ts'

export type Held = { revision: number; value: Json }

export type SwapOutcome =
  | { result: 'ok'; revision: number }
  /** Another value is there; null when there is none at all. */
  | { result: 'conflict'; held: Held | null }
  | { result: 'unknown'; failure: Failure }

export interface Register {
  /** The value, or null when the key was never written. */
  read(key: string, done: (outcome: Outcome<Held | null>) => void): void
  /** Writes if the revision is still `expected`; 0 = if the key was never written. Answers exactly once. */
  swap(key: string, expected: number, value: Json, done: (outcome: SwapOutcome) => void): void
  /** Hears the value that is there and then newer ones, each at most once and in order; some may be left out. */
  watch(key: string, hear: (held: Held) => void): Subscription
  close(): void
}
