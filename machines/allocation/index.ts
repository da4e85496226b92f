/**
 * Allocation: how the queues of a topic are divided among the consumers of a group, by name.
 *
 * The coordinator calls a strategy once for each topic and all its members. RocketMQ's own give RocketMQ's exact
 * results on the same input.
 *
 * RocketMQ: client/consumer/rebalance/*.java
 */
import { divideAveragely } from './averagely.ts'
import { divideByCircle } from './averagely-by-circle.ts'
import { byConfig } from './by-config.ts'
import { divideByHash } from './consistent-hash.ts'
import { lagAware } from './lag-aware.ts'
import { byMachineRoom, machineRoomNearby } from './machine-room.ts'
import { sticky } from './sticky.ts'
import { type Allocate, type AllocationInput, type Shares, type Strategy, strategyOf } from './strategy.ts'

export { averagely } from './averagely.ts'
export { averagelyByCircle } from './averagely-by-circle.ts'
export { roomOf } from './machine-room.ts'
export { type AllocationSettings, allocationFault } from './settings.ts'
export {
  type Allocate,
  type AllocationInput,
  type AllocationMember,
  type Move,
  movesOf,
  ownersOf,
  type Shares,
  type Strategy,
} from './strategy.ts'

export type Allocation =
  | 'averagely'
  | 'averagely-by-circle'
  | 'by-config'
  | 'by-machine-room'
  | 'machine-room-nearby'
  | 'consistent-hash'
  | 'sticky'
  | 'lag-aware'

export const allocations: Readonly<Record<Allocation, Strategy>> = {
  averagely: strategyOf(divideAveragely),
  'averagely-by-circle': strategyOf(divideByCircle),
  'by-config': byConfig,
  'by-machine-room': byMachineRoom,
  'machine-room-nearby': machineRoomNearby,
  'consistent-hash': strategyOf(divideByHash),
  sticky,
  'lag-aware': lagAware,
}

export const allocate = (allocation: Allocation, input: AllocationInput): Shares =>
  allocations[allocation](input)

/** The strategy for one consumer that knows no more than the two lists. */
export const allocateFor =
  (allocation: Allocation): Allocate =>
  (clientId, queues, clientIds) => {
    const members = clientIds.map((id) => ({ clientId: id, room: '' }))
    return clientIds.includes(clientId)
      ? allocate(allocation, { queues, members, previous: {}, lags: {} })[clientId]!
      : []
  }
