/**
 * Averagely: each consumer gets a block of neighbouring queues, and the first ones get one more when it does not come
 * out even. With fewer queues than consumers, the last consumers get none.
 *
 * RocketMQ: client/consumer/rebalance/AllocateMessageQueueAveragely.java (AVG, the default)
 */
import { compareQueues, type QueueRef } from '../topic.ts'

/** The queues of one consumer. Every consumer that calls with the same lists divides them alike. */
export function averagely(
  clientId: string,
  queues: readonly QueueRef[],
  clientIds: readonly string[],
): QueueRef[] {
  const index = [...clientIds].sort().indexOf(clientId)
  if (index < 0) return []
  const share = Math.floor(queues.length / clientIds.length)
  const remainder = queues.length % clientIds.length
  const start = index * share + Math.min(index, remainder)
  const end = start + share + (index < remainder ? 1 : 0)
  return [...queues].sort(compareQueues).slice(start, end)
}
