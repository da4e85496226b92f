/**
 * The words of a broker's role: what it knows, hears and orders, and the guards of its chart (broker-role.ts). What several of
 * its states do alike stands in transitions.ts.
 */
import { setup } from 'xstate'
import { effect } from '../effect.ts'
import {
  type GroupState,
  type Head,
  isSameMastership,
  type Member,
  memberOf,
  type Replication,
} from '../group-state.ts'

export type BrokerRoleInput = { brokerName: string; brokerId: number }
export type BrokerRoleContext = {
  brokerName: string
  brokerId: number
  /** Which start of this broker it is: one more than the store remembers. */
  incarnation: number
  /** How often this replica may have lost what it had written. */
  lineage: number
  /** The newest epoch that it promised: it acts in no older one. A master's own. */
  epoch: number
  /** The newest head heard of; null before the first. */
  head: Head | null
  /** The swap that is under way. */
  proposal: GroupState | null
  /** To whom mastership is being handed. */
  successor: Successor | null
  /** Members that a master misses and may not drop: nothing is confirmed until they are back. */
  missing: readonly number[]
  /** Where a diverging log is to be cut, or a log that is gone is to begin anew. */
  position: number
  diskFull: boolean
  /** What went wrong last; null while nothing did. */
  alarm: Alarm | null
}
export type Alarm = { code: string; message: string }
type Successor = { brokerId: number; incarnation: number }

export type BrokerRoleEvent =
  /** What the store remembers of the process that had it before; `mayHaveLost`: bytes that had counted as stored. */
  | { type: 'store.loaded'; epoch: number; incarnation: number; lineage: number; mayHaveLost: boolean }
  | ({ type: 'store.failed' } & Alarm)
  | { type: 'store.closed' }
  | { type: 'incarnation.persisted'; incarnation: number; lineage: number }
  | ({ type: 'incarnation.failed' } & Alarm)
  | { type: 'head.changed'; head: Head }
  | { type: 'epoch.persisted'; epoch: number }
  | { type: 'lease.expired'; epoch: number }
  | { type: 'epoch.marked'; epoch: number }
  | ({ type: 'epoch.failed' } & Alarm)
  | { type: 'gate.opened'; epoch: number }
  /** Every send that was let in is answered. */
  | { type: 'gate.drained' }
  // A slave's stream.
  | { type: 'stream.started'; epoch: number }
  /** Levels, told again and again: whether this replica has what the master has. */
  | { type: 'stream.caughtUp'; epoch: number }
  | { type: 'stream.behind'; epoch: number }
  | { type: 'master.silent'; epoch: number }
  | { type: 'master.heard'; epoch: number }
  /** The logs are equal up to `to` at most; `confirm` is what this replica knows to be confirmed. */
  | { type: 'log.diverged'; epoch: number; to: number; confirm: number }
  | { type: 'log.truncated' }
  /** The master's log begins behind the end of this one. */
  | { type: 'log.gone'; epoch: number; minPosition: number }
  | { type: 'log.emptied' }
  // A master's followers; levels, told again and again.
  /** It has all that is confirmed, and the beginning of this epoch. */
  | { type: 'follower.caughtUp'; epoch: number; brokerId: number; lineage: number }
  | { type: 'follower.lagging'; epoch: number; brokerId: number }
  | ({ type: 'handover.requested' } & Successor)
  /** Nothing is on its way any more, and the successor has stored all. */
  | { type: 'log.drained'; epoch: number; brokerId: number }
  | { type: 'swap.succeeded'; writeId: string; revision: number }
  | { type: 'swap.conflicted'; writeId: string; head: Head | null }
  | { type: 'swap.unknown'; writeId: string }
  | { type: 'disk.filled' }
  | { type: 'disk.freed' }
  | ({ type: 'log.failed' } & Alarm)
  /** Another process claims to be this replica, or the master refuses it for good. */
  | ({ type: 'replica.refused' } & Alarm)
  | { type: 'stop.requested' }

export type Own = { context: BrokerRoleContext }
export type EventOf<T extends BrokerRoleEvent['type']> = Extract<BrokerRoleEvent, { type: T }>

export const brokerRole = setup({
  types: {} as {
    input: BrokerRoleInput
    context: BrokerRoleContext
    events: BrokerRoleEvent
    tags: 'accepts-writes' | 'serves-reads'
  },
  actions: {
    /** Recovers the log. Answers store.loaded or store.failed. */
    loadStore: effect('loadStore'),
    /** Answers incarnation.persisted or incarnation.failed, AFTER it is on disk. */
    persistIncarnation: effect<{ incarnation: number; lineage: number }>('persistIncarnation'),
    /** Asks who is master. With one replica the host answers itself: this process, at the next epoch. */
    readHead: effect<{ epoch: number; incarnation: number }>('readHead'),
    /** Answers epoch.persisted or epoch.failed, AFTER it is on disk. */
    persistEpoch: effect<{ epoch: number }>('persistEpoch'),
    /** Answers lease.expired when the deposed master can no longer believe that this replica follows it. */
    awaitLease: effect<{ epoch: number }>('awaitLease'),
    /** Writes the epoch's first record. Answers epoch.marked or epoch.failed, AFTER this replica has stored it. */
    markEpoch: effect<{ epoch: number; members: Member[]; minInSync: number; replication: Replication }>(
      'markEpoch',
    ),
    /** Listens under this epoch. Answers gate.opened. */
    openGate: effect<{ epoch: number }>('openGate'),
    /** Lets nobody in any more, at once. Answers all who are in, then gate.drained. Idempotent. */
    closeGate: effect<{ epoch: number; drain: boolean }>('closeGate'),
    registerBroker: effect<{ epoch: number; role: 'master' | 'slave' }>('registerBroker'),
    unregisterBroker: effect('unregisterBroker'),

    /** Asks the master for its log from the own end on, until it streams. Answers in events of the stream. */
    followMaster: effect<{ epoch: number; masterId: number }>('followMaster'),
    stopFollowing: effect('stopFollowing'),
    /** Answers log.truncated or log.failed, AFTER the cut is on disk and all that is derived from the log is cut too. */
    truncateLog: effect<{ to: number }>('truncateLog'),
    /** Answers log.emptied or log.failed. */
    emptyLog: effect<{ position: number }>('emptyLog'),
    /** Whoever finds no master may read here what is confirmed. */
    serveOrphans: effect('serveOrphans'),
    leaveOrphans: effect('leaveOrphans'),

    /** From now on the members of the head AND of `state` count; then it is swapped in. Answers swap.*. */
    swapState: effect<{ expected: number; state: GroupState }>('swapState'),
    /** These members count, and no others. */
    countMembers: effect<{ members: Member[] }>('countMembers'),
    /** Keeps sends back; answers log.drained when the successor has all. */
    holdSends: effect<{ brokerId: number }>('holdSends'),
    /** Lets in what was kept back. */
    releaseSends: effect('releaseSends'),
    /** Mastership stays here: whoever asked for the handover is told so. */
    refuseHandover: effect<{ message: string }>('refuseHandover'),
    /** Answers store.closed. `clean`: everything is on disk, and the next start may rely on it. */
    closeStore: effect<{ clean: boolean }>('closeStore'),
    raiseAlarm: effect<Alarm>('raiseAlarm'),
  },
  guards: {
    isNews: ({ context }, { head }: { head: Head }) =>
      head.epoch >= context.epoch && isNewer(head, context.head),
    isOtherMastership: ({ context }, { head }: { head: Head }) =>
      head.epoch >= context.epoch &&
      isNewer(head, context.head) &&
      (context.head === null || !isSameMastership(context.head, head)),
    isRegressed: ({ context }, { head }: { head: Head }) => head.epoch < context.epoch,
    isNewEpoch: ({ context }, { head }: { head: Head }) => head.epoch > context.epoch,
    /** With the log it was elected for: whoever lost that since is nobody's master. */
    electsMe: ({ context: { head, epoch, brokerId, incarnation, lineage } }) =>
      head !== null &&
      head.epoch > epoch &&
      head.masterId === brokerId &&
      head.masterIncarnation === incarnation &&
      memberOf(head.syncStateSet, brokerId)?.lineage === lineage,
    electsOther: ({ context: { head, epoch, brokerId } }) =>
      head !== null && head.epoch >= epoch && head.masterId !== null && head.masterId !== brokerId,
    /** The promise is on disk already. */
    followsPromised: ({ context: { head, epoch, brokerId } }) =>
      head !== null && head.epoch === epoch && head.masterId !== null && head.masterId !== brokerId,
    /** Who hands over answers nobody any more from before its swap on: only a master that was deposed may still do so. */
    needsLease: ({ context: { head } }) =>
      head!.replication === 'async' && head!.replicas > 1 && head!.cause !== 'handover',
    isMine: ({ context }, { epoch }: { epoch: number }) => epoch === context.epoch,
    isOtherEpoch: ({ context }, { epoch }: { epoch: number }) => epoch !== context.epoch,
    isMyLineage: ({ context }, { lineage }: { lineage: number }) => lineage === context.lineage,
    isMyIncarnation: ({ context }, { incarnation }: { incarnation: number }) =>
      incarnation === context.incarnation,
    keepsConfirmed: ({ context }, { to, confirm }: { to: number; confirm: number }) =>
      to >= confirm || context.head!.unclean,
    mayAdmit: ({ context }, { epoch, brokerId, lineage }: { epoch: number } & Member) =>
      epoch === context.epoch && memberOf(context.head!.syncStateSet, brokerId)?.lineage !== lineage,
    mayDrop: ({ context }, { epoch, brokerId }: { epoch: number; brokerId: number }) =>
      epoch === context.epoch &&
      brokerId !== context.brokerId &&
      memberOf(context.head!.syncStateSet, brokerId) !== undefined &&
      context.head!.syncStateSet.length > context.head!.minInSync,
    /** One that is to be dropped, and would leave too few in sync. */
    mustWaitFor: ({ context }, { epoch, brokerId }: { epoch: number; brokerId: number }) =>
      epoch === context.epoch &&
      memberOf(context.head!.syncStateSet, brokerId) !== undefined &&
      !context.missing.includes(brokerId),
    isBack: ({ context }, { epoch, brokerId }: { epoch: number } & Member) =>
      epoch === context.epoch && context.missing.includes(brokerId),
    maySucceed: ({ context }, { brokerId }: { brokerId: number }) =>
      brokerId !== context.brokerId && memberOf(context.head!.syncStateSet, brokerId) !== undefined,
    isSuccessor: ({ context }, { epoch, brokerId }: { epoch: number; brokerId: number }) =>
      epoch === context.epoch && brokerId === context.successor?.brokerId,
    isProposal: ({ context }, { writeId }: { writeId: string }) => writeId === context.proposal?.writeId,
    isOtherProposal: ({ context }, { writeId }: { writeId: string }) => writeId !== context.proposal?.writeId,
    /** The value that is in the register was written by this very attempt: the swap succeeded after all. */
    holdsProposal: ({ context }, { head }: { head: Head | null }) =>
      head !== null && head.writeId === context.proposal?.writeId,
    holdsNewerEpoch: ({ context }, { head }: { head: Head | null }) =>
      head !== null && head.epoch > context.epoch,
    holdsSameEpoch: ({ context }, { head }: { head: Head | null }) =>
      head !== null && head.epoch === context.epoch,
    /** There may be room again: no reason to give up. */
    isDiskFull: (_, { code }: { code: string }) => code === 'diskFull',
    isBlocked: ({ context }) => context.diskFull || hasTooFew(context),
    isFree: ({ context }) => !context.diskFull && !hasTooFew(context),
  },
  delays: { headRetry: 1_000, swapRetry: 200, roomRetry: 1_000, handoverLimit: 500, drainLimit: 5_000 },
})

const hasTooFew = ({ head, missing }: BrokerRoleContext): boolean =>
  head!.syncStateSet.filter(({ brokerId }) => !missing.includes(brokerId)).length < head!.minInSync

/** A register that was put back counts its revisions anew: a newer epoch is news all the same. */
const isNewer = (head: Head, known: Head | null): boolean =>
  known === null || head.revision > known.revision || head.epoch > known.epoch
