/**
 * The state of a broker group: the ONE value that its replicas, and whoever elects among them, agree on.
 *
 * It is changed by compare-and-swap only, so every change is made by somebody who knew the value before. THE CONTROLLER
 * alone changes epoch and master, and only picks from the sync state set; THE MASTER alone admits and drops members.
 * Every member of the set that still has the lineage it was admitted with holds all that was ever confirmed.
 *
 * RocketMQ: controller/impl/manager/SyncStateInfo.java, ReplicasInfoManager.java
 */

export type Replication = 'sync' | 'async'

/** A replica, together with the log it was admitted with. */
export type Member = {
  brokerId: number
  /** Counts how often this replica may have lost what it had written: an admission does not outlive that. */
  lineage: number
}

export type Cause = 'boot' | 'failover' | 'handover' | 'shrink' | 'expand' | 'unclean'

export type GroupState = {
  /** Names the attempt that wrote it: whoever does not know whether a swap was done finds out by this. */
  writeId: string
  epoch: number
  masterId: number | null
  /** Which start of that process: a restarted one does NOT continue the epoch. */
  masterIncarnation: number
  /** Sorted by brokerId. */
  syncStateSet: Member[]
  /** How many replicas there are; their ids are 0 to one less. */
  replicas: number
  /** Fewer in the set than this: nothing is confirmed. The set never shrinks below it. */
  minInSync: number
  replication: Replication
  cause: Cause
  /**
   * Somebody ordered that confirmed messages may be lost, and replicas may cut below what was confirmed: in that epoch, and
   * in later ones until every replica has been in the set, for one that was away knows nothing of the order.
   */
  unclean: boolean
}

/** As the register holds it; the revision rises with every swap. */
export type Head = GroupState & { revision: number }

/** What a replica tells about itself. */
export type Vote = {
  brokerId: number
  incarnation: number
  lineage: number
  /** The newest epoch that it promised, on disk. */
  promisedEpoch: number
  /** The epoch of its last frame and the end of its log. */
  lastEpoch: number
  endPosition: number
  /** Whether it has heard its master within the last while. */
  hearsMaster: boolean
}

export const isSameMastership = (a: GroupState, b: GroupState): boolean =>
  a.epoch === b.epoch && a.masterId === b.masterId && a.masterIncarnation === b.masterIncarnation

export const memberOf = (set: readonly Member[], brokerId: number): Member | undefined =>
  set.find((member) => member.brokerId === brokerId)

export const without = (set: readonly Member[], brokerId: number): Member[] =>
  set.filter((member) => member.brokerId !== brokerId)

export const withMember = (set: readonly Member[], member: Member): Member[] =>
  [...without(set, member.brokerId), member].sort((a, b) => a.brokerId - b.brokerId)

/** What the group becomes when a replica has caught up. */
export function admit(state: GroupState, member: Member, writeId: string): GroupState {
  const syncStateSet = withMember(state.syncStateSet, member)
  const unclean = state.unclean && syncStateSet.length < state.replicas
  return { ...state, writeId, syncStateSet, cause: 'expand', unclean }
}

/** Whether a replica holds all that was confirmed: it is in the set, with the very log it was admitted with. */
export const isEligible = ({ syncStateSet }: GroupState, { brokerId, lineage }: Vote): boolean =>
  memberOf(syncStateSet, brokerId)?.lineage === lineage

/** The longer log first: compared by epoch, then by length, and at last by id, so that all choose alike. */
export const compareLogs = (a: Vote, b: Vote): number =>
  compare(b.lastEpoch, a.lastEpoch) || compare(b.endPosition, a.endPosition) || a.brokerId - b.brokerId

// Not by subtraction: RocketMQ's difference of two positions overflowed and chose the shortest log.
const compare = (a: number, b: number): number => (a < b ? -1 : a > b ? 1 : 0)

/**
 * What the group becomes when `winner` is elected: of the others, those that answered stay, but never fewer than minInSync.
 * `settings`, where they changed, hold from the new epoch on: never within one.
 */
export function elect(
  state: GroupState,
  winner: Vote,
  votes: readonly Vote[],
  writeId: string,
  settings: GroupSettings | null = null,
): GroupState {
  const answered = state.syncStateSet.filter(
    ({ brokerId, lineage }) =>
      brokerId === winner.brokerId ||
      votes.some((vote) => vote.brokerId === brokerId && vote.lineage === lineage),
  )
  return {
    ...state,
    ...settings,
    writeId,
    epoch: 1 + Math.max(state.epoch, ...votes.map(({ promisedEpoch }) => promisedEpoch)),
    masterId: winner.brokerId,
    masterIncarnation: winner.incarnation,
    syncStateSet: answered.length >= state.minInSync ? answered : state.syncStateSet,
    cause: 'failover',
  }
}

/** A replica that may have lost confirmed messages becomes master because somebody ordered it. */
export const electUnclean = (
  state: GroupState,
  winner: Vote,
  votes: readonly Vote[],
  writeId: string,
  settings: GroupSettings | null = null,
): GroupState => ({
  ...elect(state, winner, votes, writeId, settings),
  syncStateSet: [{ brokerId: winner.brokerId, lineage: winner.lineage }],
  cause: 'unclean',
  unclean: true,
})

export type GroupSettings = Pick<GroupState, 'replicas' | 'minInSync' | 'replication'>

/** The first state of a group. ALL its replicas must have voted: only then is the longest log known to be that. */
export function boot(settings: GroupSettings, votes: readonly Vote[], writeId: string): GroupState | null {
  const { replicas, minInSync, replication } = settings
  const voted = new Set(votes.map(({ brokerId }) => brokerId))
  for (let brokerId = 0; brokerId < replicas; brokerId++) if (!voted.has(brokerId)) return null
  const winner = [...votes].sort(compareLogs)[0]!
  return {
    writeId,
    epoch: 1 + Math.max(...votes.map(({ promisedEpoch, lastEpoch }) => Math.max(promisedEpoch, lastEpoch))),
    masterId: winner.brokerId,
    masterIncarnation: winner.incarnation,
    syncStateSet: [{ brokerId: winner.brokerId, lineage: winner.lineage }],
    replicas,
    minInSync,
    replication,
    cause: 'boot',
    unclean: false,
  }
}
