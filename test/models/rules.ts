/**
 * The rules by which a model of a broker group acts. The default ones are those of production; a mutant breaks one.
 */
import type { AnyStateMachine } from 'xstate'
import { told } from '../../actors/broker/store/lineage.ts'
import { brokerRoleMachine } from '../../machines/broker-role.ts'
import { controllerMachine } from '../../machines/controller.ts'
import { cutPosition, lastEpochOf, standing } from '../../machines/epoch-starts.ts'
import type { GroupState, Head } from '../../machines/group-state.ts'
import {
  confirmedPosition,
  hasCaughtUp,
  heardFrom,
  maximalSet,
  type Term,
} from '../../machines/peer-replica.ts'

export type Rules = {
  brokerRole: AnyStateMachine
  controller: AnyStateMachine

  // Of machines/, as production uses them.
  heardFrom: typeof heardFrom
  confirmedPosition: typeof confirmedPosition
  hasCaughtUp: typeof hasCaughtUp
  maximalSet: typeof maximalSet
  standing: typeof standing
  cutPosition: typeof cutPosition
  lastEpochOf: typeof lastEpochOf
  /** Which epochs a log knows of that has lost its beginning. */
  told: typeof told

  // Of a host.
  /** A request to follow, data and acknowledgements are heard where they belong: their subjects carry the epoch. */
  isHeard: (epochOfMessage: number, epoch: number) => boolean
  /** What counts from when a change is proposed. */
  propose: (term: Term, state: GroupState) => Term
  /** Up to where readers see the log. */
  visiblePosition: typeof confirmedPosition
  /** Where a log ends when its replica begins to follow. */
  endToFollow: (end: number, confirm: number) => number
  /** Data goes to the end of the log and nowhere else. */
  fits: (from: number, end: number) => boolean
  /** Nothing is on its way any more, and the successor has stored all. */
  isDrained: (confirm: number, end: number, stored: number) => boolean
  marksEpochs: boolean
  /** A cut is written down before it is begun. */
  intendsCuts: boolean

  // Of the register.
  swaps: (head: Head, expected: number) => boolean
}

export const production: Rules = {
  brokerRole: brokerRoleMachine,
  controller: controllerMachine,
  heardFrom,
  confirmedPosition,
  hasCaughtUp,
  maximalSet,
  standing,
  cutPosition,
  lastEpochOf,
  told,
  isHeard: (epochOfMessage, epoch) => epochOfMessage === epoch,
  propose: (term, { syncStateSet }) => ({ ...term, pending: syncStateSet }),
  visiblePosition: confirmedPosition,
  endToFollow: (end) => end,
  fits: (from, end) => from === end,
  isDrained: (confirm, end, stored) => confirm === end && stored === end,
  marksEpochs: true,
  intendsCuts: true,
  swaps: ({ revision }, expected) => revision === expected,
}
