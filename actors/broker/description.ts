/** What a broker tells operators about itself. */
import type { GroupSettings } from '../../machines/group-state.ts'
import type { BrokerDescription, Mastership as MastershipView } from '../../transport/messages.ts'
import type { BrokerState } from './broker-state.ts'
import type { Mastership } from './mastership.ts'
import type { OrphanReads } from './orphan-reads.ts'
import type { ReplicaDisk } from './replica-disk.ts'
import { SCHEDULE_TOPIC } from './schedule/schedule-state.ts'
import { type BrokerRoleSnapshot, roleNameOf } from './signs.ts'
import type { Store } from './store/store.ts'

export type Describable = {
  role: BrokerRoleSnapshot
  flush: 'sync' | 'async'
  startedAt: number
  disk: Pick<ReplicaDisk, 'store' | 'state' | 'lastCut'>
  mastership: Pick<Mastership, 'gate' | 'followers'> | null
  orphanReads: OrphanReads | null
  replication: GroupSettings | null
  masterships: readonly MastershipView[]
}

export function describeBroker(described: Describable): BrokerDescription {
  const { role, flush, startedAt, mastership, replication } = described
  const { store, state, lastCut } = described.disk
  const { context } = role
  const { brokerName, brokerId, head } = context
  const gate = mastership?.gate ?? null
  const groups = gate ? [...gate.groups.names(), ...gate.coordinators.groups] : [...state.offsets.keys()]
  return {
    brokerName,
    brokerId,
    role: roleNameOf(role),
    epoch: context.epoch,
    incarnation: context.incarnation,
    lineage: context.lineage,
    flush,
    topics: state.topics.size,
    groups: new Set(groups).size,
    ...(gate?.ingest.counters ?? { messagesIn: 0, bytesIn: 0 }),
    ...((gate ?? described.orphanReads)?.delivery.counters ?? { messagesOut: 0, bytesOut: 0 }),
    waiting: store ? waitingIn(store, state) : 0,
    delivered: gate?.schedule.counters.delivered ?? 0,
    dropped: gate?.schedule.counters.dropped ?? 0,
    sentBack: gate?.sendBack.counters.sentBack ?? 0,
    deadLetters: gate?.sendBack.counters.deadLetters ?? 0,
    ...(gate ? { pop: { ...gate.pop.counters } } : {}),
    logBytes: store ? store.endPosition - store.minPosition : 0,
    startedAt,
    accepting: gate !== null && gate.ingest.refusal === null,
    diskFull: context.diskFull,
    replication: replication?.replication ?? 'none',
    replicas: replication?.replicas ?? 1,
    minInSync: replication?.minInSync ?? 1,
    masterId: head?.masterId ?? null,
    syncStateSet: head?.syncStateSet.map(({ brokerId: id }) => id) ?? [],
    endPosition: store?.endPosition ?? 0,
    confirmPosition: store?.confirmPosition ?? 0,
    followers: mastership?.followers?.describe() ?? [],
    masterships: [...described.masterships],
    lastCut,
    alarm: context.alarm,
  }
}

function waitingIn(store: Store, { schedule }: BrokerState): number {
  let waiting = 0
  for (const { queueId, nextOffset } of store.queuesOf(SCHEDULE_TOPIC))
    waiting += Math.max(0, nextOffset - schedule.next(queueId))
  return waiting
}
