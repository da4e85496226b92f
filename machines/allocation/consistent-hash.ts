/**
 * ConsistentHash: each consumer stands at ten points of a ring, and a queue goes to the first consumer at or after its
 * own point. Whoever comes takes queues and whoever goes gives queues, and no other queue moves; the shares are uneven.
 *
 * A point is the first four bytes of an MD5: of `clientId-0` to `clientId-9`, and of the queue as RocketMQ prints it.
 *
 * RocketMQ: client/consumer/rebalance/AllocateMessageQueueConsistentHash.java (CONSISTENT_HASH),
 * common/consistenthash/ConsistentHashRouter.java, common/message/MessageQueue.java (toString)
 */
import type { QueueRef } from '../topic.ts'
import { md5Head } from './md5.ts'
import type { Divide } from './strategy.ts'

const VIRTUAL_NODES = 10

const printed = ({ topic, brokerName, queueId }: QueueRef): string =>
  `MessageQueue [topic=${topic}, brokerName=${brokerName}, queueId=${queueId}]`

export const divideByHash: Divide = (queues, clientIds) => {
  const ring = new Map<number, string>() // Where two consumers meet, the later one stands.
  for (const clientId of clientIds) {
    for (let node = 0; node < VIRTUAL_NODES; node += 1) ring.set(md5Head(`${clientId}-${node}`), clientId)
  }
  const points = [...ring.keys()].sort((a, b) => a - b)
  const shares = new Map(clientIds.map((clientId): [string, QueueRef[]] => [clientId, []]))
  for (const queue of queues) {
    const point = points[firstAtOrAfter(points, md5Head(printed(queue)))] ?? points[0]!
    shares.get(ring.get(point)!)?.push(queue)
  }
  return shares
}

/** The index in an ascending list, its length when all are smaller. */
export function firstAtOrAfter(ascending: readonly number[], value: number): number {
  let [low, high] = [0, ascending.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (ascending[middle]! < value) low = middle + 1
    else high = middle
  }
  return low
}
