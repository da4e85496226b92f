/**
 * Averagely: each consumer gets a block of neighbouring queues, and the first ones get one more when it does not come
 * out even. With fewer queues than consumers, the last consumers get none.
 *
 * RocketMQ: client/consumer/rebalance/AllocateMessageQueueAveragely.java (AVG, the default)
 */
import { allocateOf, type Divide } from './strategy.ts'

/** How many queues the consumer gets that is at `index` when all are sorted. */
const averageSize = (queues: number, consumers: number, index: number): number =>
  Math.floor(queues / consumers) + (index < queues % consumers ? 1 : 0)

export const divideAveragely: Divide = (queues, clientIds) => {
  let start = 0
  return new Map(
    clientIds.map((clientId, index) => {
      const end = start + averageSize(queues.length, clientIds.length, index)
      const block = queues.slice(start, end)
      start = end
      return [clientId, block]
    }),
  )
}

/** The queues of one consumer. Every consumer that calls with the same lists divides them alike. */
export const averagely = allocateOf(divideAveragely)
