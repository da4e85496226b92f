/**
 * AveragelyByCircle: the queues are dealt out like cards, one to each consumer in turn.
 *
 * RocketMQ: client/consumer/rebalance/AllocateMessageQueueAveragelyByCircle.java (AVG_BY_CIRCLE)
 */
import type { QueueRef } from '../topic.ts'
import { allocateOf, type Divide } from './strategy.ts'

export const divideByCircle: Divide = (queues, clientIds) => {
  const hands = clientIds.map((): QueueRef[] => [])
  for (const [turn, queue] of queues.entries()) hands[turn % hands.length]?.push(queue)
  return new Map(clientIds.map((clientId, index) => [clientId, hands[index]!]))
}

/** The queues of one consumer. Every consumer that calls with the same lists divides them alike. */
export const averagelyByCircle = allocateOf(divideByCircle)
