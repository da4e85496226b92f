/**
 * Machine rooms: a broker named `room@broker` stands in that room, a consumer in the room that it was told.
 *
 * by-machine-room reads only the brokers of the rooms that are to be consumed; their queues are divided among ALL
 * consumers, a block to each and then one more to each of the first ones. Every other queue is read by NOBODY. The rooms
 * are those that any consumer names: where consumers disagree, for instance while they are given another
 * configuration one by one, no queue that one of them counts on is left out.
 *
 * machine-room-nearby gives the queues of a room to the consumers in it; those of a room without any are shared by all.
 * RocketMQ throws at a broker or consumer without a room; here the queues of such a broker are shared by all, and such
 * a consumer has a part in what is shared.
 *
 * RocketMQ: client/consumer/rebalance/AllocateMessageQueueByMachineRoom.java (MACHINE_ROOM),
 * AllocateMachineRoomNearby.java (MACHINE_ROOM_NEARBY with AVG inside)
 */
import { compareText, type QueueRef } from '../topic.ts'
import { divideAveragely } from './averagely.ts'
import { type Divide, type Strategy, sharesFrom, sortedIds, sortedQueues, strategyOf } from './strategy.ts'

/** The room of a broker, '' when its name tells none. */
export const roomOf = ({ brokerName }: { brokerName: string }): string =>
  brokerName.slice(0, Math.max(0, brokerName.indexOf('@')))

export const byMachineRoom: Strategy = (input) => {
  const rooms = new Set(input.members.flatMap(({ consumerRooms = [] }) => consumerRooms))
  rooms.delete('')
  return strategyOf(blockThenOne)({
    ...input,
    queues: input.queues.filter((queue) => rooms.has(roomOf(queue))),
  })
}

/** Not as averagely: the queues that are left over are the last ones, whoever gets them. */
const blockThenOne: Divide = (queues, clientIds) => {
  const size = Math.floor(queues.length / clientIds.length)
  const leftOver = queues.slice(size * clientIds.length)
  return new Map(
    clientIds.map((clientId, index) => [
      clientId,
      [...queues.slice(index * size, (index + 1) * size), ...leftOver.slice(index, index + 1)],
    ]),
  )
}

export const machineRoomNearby: Strategy = (input) => {
  const clientIds = sortedIds(input)
  const consumers = grouped(input.members, ({ room }) => room)
  const queues = [...grouped(sortedQueues(input.queues), roomOf)].sort(([a], [b]) => compareText(a, b))
  const isManned = (room: string): boolean => room !== '' && consumers.has(room)
  const shares = new Map(clientIds.map((clientId): [string, QueueRef[]] => [clientId, []]))
  const give = (divided: Map<string, QueueRef[]>): void => {
    for (const [clientId, share] of divided) shares.get(clientId)?.push(...share)
  }
  // The own room first, then the others by name: RocketMQ's order.
  for (const [room, inRoom] of queues) {
    if (!isManned(room)) continue
    const nearby = consumers.get(room)!.map(({ clientId }) => clientId)
    give(divideAveragely(inRoom, nearby.sort(compareText)))
  }
  for (const [room, inRoom] of queues) if (!isManned(room)) give(divideAveragely(inRoom, clientIds))
  return sharesFrom(clientIds, shares)
}

function grouped<T>(items: readonly T[], roomOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const item of items) {
    const room = roomOf(item)
    const group = groups.get(room)
    if (group) group.push(item)
    else groups.set(room, [item])
  }
  return groups
}
