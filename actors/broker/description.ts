/** What a broker tells operators about itself. */
import type { BrokerRoleContext } from '../../machines/broker-role.ts'
import type { BrokerDescription, FollowerView, Mastership } from '../../transport/messages.ts'
import type { BrokerState } from './broker-state.ts'
import type { Gate } from './gate.ts'
import type { OrphanReads } from './orphan-reads.ts'
import { SCHEDULE_TOPIC } from './schedule/schedule-state.ts'
import type { Store } from './store/store.ts'

export type Describable = {
  brokerName: string
  brokerId: number
  role: string
  context: BrokerRoleContext
  flush: 'sync' | 'async'
  startedAt: number
  store: Store | null
  state: BrokerState
  gate: Gate | null
  orphanReads: OrphanReads | null
  replication: { replication: 'sync' | 'async'; replicas: number; minInSync: number } | null
  followers: FollowerView[]
  masterships: Mastership[]
  lastCut: BrokerDescription['lastCut']
}

export function describeBroker(described: Describable): BrokerDescription {
  const { brokerName, brokerId, role, context, flush, startedAt, store, state, gate, replication } = described
  const { head } = context
  const groups = gate ? [...gate.groups.names(), ...gate.coordinators.groups] : [...state.offsets.keys()]
  return {
    brokerName,
    brokerId,
    role,
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
    replication: replication?.replication ?? 'none',
    replicas: replication?.replicas ?? 1,
    minInSync: replication?.minInSync ?? 1,
    masterId: head?.masterId ?? null,
    syncStateSet: head?.syncStateSet.map(({ brokerId: id }) => id) ?? [],
    endPosition: store?.endPosition ?? 0,
    confirmPosition: store?.confirmPosition ?? 0,
    followers: described.followers,
    masterships: described.masterships,
    lastCut: described.lastCut,
    alarm: context.alarm,
  }
}

function waitingIn(store: Store, { schedule }: BrokerState): number {
  let waiting = 0
  for (const { queueId, nextOffset } of store.queuesOf(SCHEDULE_TOPIC))
    waiting += Math.max(0, nextOffset - schedule.next(queueId))
  return waiting
}
