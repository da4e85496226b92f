/**
 * AveragelyByCircle: the queues are dealt out like cards, one to each consumer in turn.
 *
 * RocketMQ: client/consumer/rebalance/AllocateMessageQueueAveragelyByCircle.java (AVG_BY_CIRCLE)
 */
import { compareQueues, type QueueRef } from '../topic.ts'

/** The queues of one consumer. Every consumer that calls with the same lists divides them alike. */
export function averagelyByCircle(
  clientId: string,
  queues: readonly QueueRef[],
  clientIds: readonly string[],
): QueueRef[] {
  const index = [...clientIds].sort().indexOf(clientId)
  if (index < 0) return []
  return [...queues].sort(compareQueues).filter((_, turn) => turn % clientIds.length === index)
}
