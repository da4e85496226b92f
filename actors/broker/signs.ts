/**
 * What one replica tells the others of its broker name, and whoever elects among them: its signs of life and its vote.
 *
 * A sign may be old when it is heard. A vote counts what is STORED here: what was received and not stored would be lost
 * by a crash BEFORE the promotion.
 */
import type { SnapshotFrom } from 'xstate'
import type { brokerRoleMachine } from '../../machines/broker-role.ts'
import { lastEpochOf } from '../../machines/epoch-starts.ts'
import type { GroupSettings, Vote } from '../../machines/group-state.ts'
import type { ReplicaBeat } from '../../transport/messages.ts'
import type { Store } from './store/store.ts'

export type BrokerRoleSnapshot = SnapshotFrom<typeof brokerRoleMachine>

/** One word for the state of the role; those that pass at once have none of their own. */
export function roleNameOf({ value }: BrokerRoleSnapshot): ReplicaBeat['role'] {
  const state = typeof value === 'string' ? value : Object.keys(value)[0]!
  if (state === 'awaitingHead' || state === 'routing') return 'waiting'
  return state === 'stopped' ? 'stopping' : (state as ReplicaBeat['role'])
}

export function beatOf(
  role: BrokerRoleSnapshot,
  store: Store | null,
  processId: string,
  { replicas, minInSync, replication }: GroupSettings,
): ReplicaBeat {
  const { brokerName, brokerId, incarnation, lineage, epoch } = role.context
  return {
    ...{ brokerName, brokerId, processId, incarnation, lineage, epoch },
    storeId: store?.storeId ?? '-',
    role: roleNameOf(role),
    lastEpoch: store ? lastEpochOf(store.lineage) : 0,
    endPosition: store?.endPosition ?? 0,
    confirmPosition: store?.confirmPosition ?? 0,
    ...{ replicas, minInSync, replication },
  }
}

/** Null while it has nothing to say: it is starting or stopping, or its log cannot be trusted. */
export function voteOf(role: BrokerRoleSnapshot, store: Store | null, hearsMaster: boolean): Vote | null {
  const name = roleNameOf(role)
  if (store === null || name === 'starting' || name === 'halted' || name === 'stopping') return null
  const { brokerId, incarnation, lineage, epoch: promisedEpoch } = role.context
  const endPosition = store.storedPosition
  return {
    ...{ brokerId, incarnation, lineage, promisedEpoch, hearsMaster },
    ...{ lastEpoch: lastEpochOf(store.lineage), endPosition },
  }
}
