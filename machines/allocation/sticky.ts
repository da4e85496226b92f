/**
 * Sticky: each member has as many queues as averagely gives it, and keeps what it has up to that number. So the moves
 * are the fewest that lead to those counts: what is above a member's count must go, and what nobody has must go
 * somewhere. With nobody's queues to keep it is averagely itself.
 *
 * RocketMQ has nothing like it (apache/rocketmq-externals#568 asks for it).
 */
import { compareQueues, type QueueRef, queueKey } from '../topic.ts'
import { averageSize } from './averagely.ts'
import { type AllocationInput, type Strategy, sharesFrom, sortedIds, sortedQueues } from './strategy.ts'

export type Seat = {
  clientId: string
  /** How many queues it is to have. */
  size: number
  /** Sorted. */
  queues: QueueRef[]
}

/** What each member keeps, and what is then to be given out. Both sorted; the free seats are as many as the queues. */
export function keep(input: AllocationInput): { seats: Seat[]; free: QueueRef[] } {
  const clientIds = sortedIds(input)
  const seats = clientIds.map((clientId, index): Seat => {
    return { clientId, size: averageSize(input.queues.length, clientIds.length, index), queues: [] }
  })
  const seatOf = new Map(seats.map((seat) => [seat.clientId, seat]))
  const free: QueueRef[] = []
  for (const queue of sortedQueues(input.queues)) {
    const seat = seatOf.get(input.previous[queueKey(queue)] ?? '')
    if (seat && seat.queues.length < seat.size) seat.queues.push(queue)
    else free.push(queue)
  }
  return { seats, free }
}

export const sharesOfSeats = (seats: readonly Seat[]): ReturnType<Strategy> =>
  sharesFrom(
    seats.map(({ clientId }) => clientId),
    new Map(seats.map(({ clientId, queues }) => [clientId, queues.sort(compareQueues)])),
  )

export const sticky: Strategy = (input) => {
  const { seats, free } = keep(input)
  let given = 0
  for (const seat of seats) {
    const more = free.slice(given, given + seat.size - seat.queues.length)
    seat.queues.push(...more)
    given += more.length
  }
  return sharesOfSeats(seats)
}
