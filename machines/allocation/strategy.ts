/**
 * Strategy: what every way of dividing the queues of one topic is given and gives back.
 *
 * A strategy is a pure function of its input and depends on no order in it, so whoever computes it gets the same. A
 * queue NEVER goes to two members. Every queue goes to one, except where by-config and by-machine-room leave it out.
 *
 * RocketMQ: client/consumer/AllocateMessageQueueStrategy.java, client/impl/consumer/RebalanceImpl.java (what is sorted)
 */
import { compareQueues, compareText, type QueueRef, queueKey } from '../topic.ts'

export type AllocationMember = {
  clientId: string
  /** The machine room it runs in, '' when it was not told. */
  room: string
  /** by-config: the keys (`topic/broker/queueId`) of the queues that it wants; those of other topics do not count. */
  queues?: string[]
  /** by-machine-room: the rooms whose brokers are consumed. */
  consumerRooms?: string[]
}

export type AllocationInput = {
  /** Of ONE topic, none twice. */
  queues: readonly QueueRef[]
  /** Those who subscribe the topic, none twice. */
  members: readonly AllocationMember[]
  /** Who has each queue now (queueKey -> clientId), as the last target said; members that are gone may be in it. */
  previous: Readonly<Record<string, string>>
  /** Messages that wait in each queue (queueKey -> count), 0 when it is not told. Only lag-aware looks at it. */
  lags: Readonly<Record<string, number>>
}

/** clientId -> its queues; a member without queues has an empty list. */
export type Shares = Record<string, QueueRef[]>
export type Strategy = (input: AllocationInput) => Shares

/** The share of one consumer, when each computes its own: RocketMQ's signature, and that of a user's own strategy. */
export type Allocate = (
  clientId: string,
  queues: readonly QueueRef[],
  clientIds: readonly string[],
) => QueueRef[]

/** A strategy that looks at nothing but the two lists. Both are sorted; a member may be absent from the result. */
export type Divide = (queues: readonly QueueRef[], clientIds: readonly string[]) => Map<string, QueueRef[]>

export const sortedQueues = (queues: readonly QueueRef[]): QueueRef[] => [...queues].sort(compareQueues)

export const sortedIds = ({ members }: AllocationInput): string[] =>
  members.map(({ clientId }) => clientId).sort(compareText)

export const sharesFrom = (clientIds: readonly string[], divided: ReadonlyMap<string, QueueRef[]>): Shares =>
  Object.fromEntries(clientIds.map((clientId) => [clientId, divided.get(clientId) ?? []]))

/** The strategy that divides so, for all members at once. */
export const strategyOf =
  (divide: Divide): Strategy =>
  (input) => {
    const clientIds = sortedIds(input)
    if (clientIds.length === 0) return {}
    return sharesFrom(clientIds, divide(sortedQueues(input.queues), clientIds))
  }

/** The same for one consumer: nothing for one that is not on the list. */
export const allocateOf =
  (divide: Divide): Allocate =>
  (clientId, queues, clientIds) =>
    divide(sortedQueues(queues), [...clientIds].sort(compareText)).get(clientId) ?? []

/** queueKey -> clientId: what `previous` is the next time. */
export const ownersOf = (shares: Shares): Record<string, string> =>
  Object.fromEntries(
    Object.entries(shares).flatMap(([clientId, queues]) =>
      queues.map((queue) => [queueKey(queue), clientId]),
    ),
  )

/** `from` is null for a queue that nobody had, `to` for one that nobody gets. */
export type Move = { queue: string; from: string | null; to: string | null }

/** What changes hands from `previous` (queueKey -> clientId) to `next`, sorted by the queue's key. */
export function movesOf(previous: Readonly<Record<string, string>>, next: Shares): Move[] {
  const owners = ownersOf(next)
  return [...new Set([...Object.keys(previous), ...Object.keys(owners)])]
    .map((queue) => ({ queue, from: previous[queue] ?? null, to: owners[queue] ?? null }))
    .filter(({ from, to }) => from !== to)
    .sort((a, b) => compareText(a.queue, b.queue))
}
