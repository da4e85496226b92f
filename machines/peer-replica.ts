/**
 * Peer replicas: what a master knows of the others during one mastership, and how far its log is confirmed.
 *
 * A position is confirmed when EVERY member of the set has acknowledged it, IN THIS EPOCH and with the lineage it was
 * admitted with. While a change of the set is under way, both sets count: nobody knows yet which one holds. A member
 * that has not been heard of in this epoch has acknowledged nothing.
 *
 * Plain data and pure functions: the master runs them for every batch, the explorer for every world.
 * RocketMQ: store/ha/autoswitch/AutoSwitchHAService.java (computeConfirmOffset); Kafka: KIP-320, KIP-497, KIP-966.
 */
import { type Member, memberOf } from './group-state.ts'

/** A replica that was heard of in this epoch. */
export type Peer = {
  brokerId: number
  lineage: number
  /** The end of what it has stored. */
  position: number
}

/** One mastership. */
export type Term = {
  epoch: number
  /** This replica. */
  brokerId: number
  /** Where the log ends that the epoch's own first frame completes. */
  markerEnd: number
  minInSync: number
  members: readonly Member[]
  /** The set that is proposed and neither accepted nor refused; null when there is none. */
  pending: readonly Member[] | null
  peers: readonly Peer[]
  /** Everything below is confirmed. Never goes back. */
  confirm: number
}

export type Acknowledgement = Peer & { epoch: number }

/** All that may be members: the committed set and the proposed one. */
export const maximalSet = ({ members, pending }: Pick<Term, 'members' | 'pending'>): readonly Member[] =>
  pending === null
    ? members
    : [...members, ...pending.filter(({ brokerId }) => memberOf(members, brokerId) === undefined)]

/**
 * A replica follows, or acknowledges. An acknowledgement of another epoch, and of a lineage that the replica has left
 * behind, tells nothing; a new lineage begins anew.
 */
export function heardFrom(term: Term, { epoch, brokerId, lineage, position }: Acknowledgement): Term {
  if (epoch !== term.epoch) return term
  const known = term.peers.find((peer) => peer.brokerId === brokerId)
  if (known && (lineage < known.lineage || (lineage === known.lineage && position <= known.position)))
    return term
  const others = term.peers.filter((peer) => peer.brokerId !== brokerId)
  return {
    ...term,
    peers: [...others, { brokerId, lineage, position }].sort((a, b) => a.brokerId - b.brokerId),
  }
}

/** What this member has acknowledged; -1 when that is not known. An acknowledgement of another lineage proves nothing. */
export function acknowledgedBy(term: Term, { brokerId, lineage }: Member): number {
  const peer = term.peers.find((known) => known.brokerId === brokerId)
  return peer !== undefined && peer.lineage === lineage ? peer.position : -1
}

/** The end of what is confirmed when this replica itself has stored up to `stored`. */
export function confirmedPosition(term: Term, stored: number): number {
  if (term.members.length < term.minInSync) return term.confirm
  let confirmed = stored
  for (const member of maximalSet(term)) {
    if (member.brokerId !== term.brokerId) confirmed = Math.min(confirmed, acknowledgedBy(term, member))
  }
  return Math.max(term.confirm, confirmed)
}

/** Whether a replica has all that is confirmed, and the beginning of this epoch with it. */
export const hasCaughtUp = (term: Pick<Term, 'confirm' | 'markerEnd'>, position: number): boolean =>
  position >= Math.max(term.confirm, term.markerEnd)
