/** What a group of consumers goes by: the machines of production, and what their hosts decide by themselves. */
import type { AnyStateMachine } from 'xstate'
import { groupCoordinatorMachine } from '../../machines/group-coordinator.ts'
import { type QueueClaim, queueOwnerMachine } from '../../machines/queue-owner.ts'
import { rebalancerMachine } from '../../machines/rebalancer.ts'
import type { Drain, OwnerRecord } from './group-words.ts'

export type GroupRules = {
  coordinator: AnyStateMachine
  rebalancer: AnyStateMachine
  queueOwner: AnyStateMachine
  /** Who claims or releases, as the broker is told. */
  claimant(claim: QueueClaim): QueueClaim
  /** Whether a pull under that grant is answered. */
  mayPull(record: OwnerRecord, clientId: string, assignEpoch: number): boolean
  /** Whether a commit under that grant is heard. */
  mayCommit(record: OwnerRecord, clientId: string, assignEpoch: number): boolean
  /** Whether the offset is news. */
  isAhead(offset: number, committed: number): boolean
  /** What goes into the log. */
  recorded(before: OwnerRecord, record: OwnerRecord): OwnerRecord
  /** What a master that follows finds in the log. */
  restored(record: OwnerRecord): OwnerRecord
  /** A release is asked for again until somebody answers. */
  repeatsReleases: boolean
  /** A claim is answered AFTER the record is confirmed. */
  awaitsRecords: boolean
  /** What runs is waited for BEFORE a queue is given back. */
  awaitsHandlers: boolean
  /** A grant is acted on only where the machine has taken it. */
  heedsGrant(isHeld: boolean): boolean
  /** What is read is forgotten only when it is what was released. */
  heedsReleased(isDraining: boolean, assignEpoch: number): boolean
  /** Of which drain it is told that it has ended. */
  drainNamed(drain: Drain, holding: Drain | undefined): Drain
}

const isOwner = ({ owner, assignEpoch }: OwnerRecord, clientId: string, epoch: number): boolean =>
  owner?.clientId === clientId && assignEpoch === epoch

export const groupRules: GroupRules = {
  coordinator: groupCoordinatorMachine,
  rebalancer: rebalancerMachine,
  queueOwner: queueOwnerMachine,
  claimant: (claim) => claim,
  mayPull: isOwner,
  mayCommit: isOwner,
  isAhead: (offset, committed) => offset > committed,
  recorded: (_, record) => record,
  restored: (record) => record,
  repeatsReleases: true,
  awaitsRecords: true,
  awaitsHandlers: true,
  heedsGrant: (isHeld) => isHeld,
  heedsReleased: (isDraining, assignEpoch) => isDraining && assignEpoch !== 0,
  drainNamed: (drain) => drain,
}
