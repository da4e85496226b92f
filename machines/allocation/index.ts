/**
 * Allocation: how the queues of a topic are divided among the consumers of a group.
 *
 * A strategy is a pure function of what all members know alike, so each computes its own share and no two shares
 * overlap. RocketMQ: client/consumer/AllocateMessageQueueStrategy.java
 */
import type { QueueRef } from '../topic.ts'
import { averagely } from './averagely.ts'
import { averagelyByCircle } from './averagely-by-circle.ts'

export type Allocate = (
  clientId: string,
  queues: readonly QueueRef[],
  clientIds: readonly string[],
) => QueueRef[]

export type Allocation = 'averagely' | 'averagely-by-circle'

export const allocations: Readonly<Record<Allocation, Allocate>> = {
  averagely,
  'averagely-by-circle': averagelyByCircle,
}
