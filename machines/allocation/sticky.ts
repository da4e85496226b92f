/**
 * Sticky: each member keeps what it has, as far as that leaves all as even as averagely does: as many members as there
 * have one queue more than the others, but those who have it already, and not those who are first. So the moves are the
 * fewest of ALL divisions that are as even: what is above a member's count must go, and what nobody has must go
 * somewhere. With nobody's queues to keep it is averagely itself.
 *
 * RocketMQ has nothing like it (apache/rocketmq-externals#568 asks for it).
 */
import { compareQueues, type QueueRef, queueKey } from '../topic.ts'
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
  const seats = sortedIds(input).map((clientId): Seat => ({ clientId, size: 0, queues: [] }))
  const seatOf = new Map(seats.map((seat) => [seat.clientId, seat]))
  const free: QueueRef[] = []
  for (const queue of sortedQueues(input.queues)) {
    const seat = seatOf.get(input.previous[queueKey(queue)] ?? '')
    ;(seat ? seat.queues : free).push(queue)
  }
  setSizes(seats, input.queues.length)
  const above = seats.flatMap((seat) => seat.queues.splice(seat.size))
  return { seats, free: [...free, ...above].sort(compareQueues) }
}

/** One more than the others have, when it does not come out even, those who would have to give one away otherwise. */
function setSizes(seats: readonly Seat[], queues: number): void {
  const least = Math.floor(queues / seats.length)
  const hasMore = ({ queues }: Seat): boolean => queues.length > least
  const inOrder = [...seats.filter(hasMore), ...seats.filter((seat) => !hasMore(seat))]
  for (const [index, seat] of inOrder.entries()) seat.size = least + (index < queues % seats.length ? 1 : 0)
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
    seat.queues = [...seat.queues, ...more]
    given += more.length
  }
  return sharesOfSeats(seats)
}
