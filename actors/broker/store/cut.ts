/**
 * Cutting the log of a closed store: what a replica does with bytes that the group's log does not hold.
 *
 * What is to be done is noted BEFORE anything is changed, so a cut that a crash interrupts is finished by the next start.
 * NEVER comes back what was cut, and NEVER does half a cut keep the store from starting.
 *
 * RocketMQ: store/CommitLog.java (truncateDirtyFiles).
 */
import type { Outcome } from '../../../transport/failures.ts'
import type { StoreWorld } from './store.ts'

/** What was lost by it. */
export type Cut = { readonly cutBytes: number; readonly cutMessages: number }

/** Cuts everything at and above a position. BEFORE: the store is closed; the folder's lock is taken meanwhile. */
export function cutLog(_world: StoreWorld, _folder: string, _position: number): Promise<Outcome<Cut>> {
  throw new Error('not there yet')
}

/** Drops all of the log: the store opens empty and goes on at `position`, which may be anywhere. */
export function emptyLog(_world: StoreWorld, _folder: string, _position: number): Promise<Outcome<Cut>> {
  throw new Error('not there yet')
}
