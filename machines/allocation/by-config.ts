/**
 * ByConfig: each consumer gets the queues that its configuration lists, and nothing else. A queue that nobody lists, or
 * whose consumers are gone, is read by NOBODY.
 *
 * RocketMQ gives a queue that two consumers list to both. Here it goes to the one that has it, else to the lower client
 * id, so the other one stands by.
 *
 * RocketMQ: client/consumer/rebalance/AllocateMessageQueueByConfig.java (CONFIG)
 */
import { compareText, type QueueRef, queueKey } from '../topic.ts'
import { type Strategy, sharesFrom, sortedIds, sortedQueues } from './strategy.ts'

export const byConfig: Strategy = (input) => {
  const wanting = new Map<string, string[]>()
  for (const { clientId, queues = [] } of input.members) {
    for (const key of new Set(queues)) wanting.set(key, [...(wanting.get(key) ?? []), clientId])
  }
  const clientIds = sortedIds(input)
  const shares = new Map(clientIds.map((clientId): [string, QueueRef[]] => [clientId, []]))
  for (const queue of sortedQueues(input.queues)) {
    const key = queueKey(queue)
    const candidates = wanting.get(key) ?? []
    const owner = candidates.find((clientId) => clientId === input.previous[key])
    shares.get(owner ?? candidates.sort(compareText)[0] ?? '')?.push(queue)
  }
  return sharesFrom(clientIds, shares)
}
