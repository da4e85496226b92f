/** Short ways to write what strategies are given and give back, and arbitrary ones. */
import fc from 'fast-check'
import {
  type Allocation,
  type AllocationInput,
  type AllocationMember,
  allocate,
  type Shares,
} from '../../machines/allocation/index.ts'
import { type QueueRef, queueKey } from '../../machines/topic.ts'

/** `count` queues of topic t at broker b. */
export const queuesOf = (count: number): QueueRef[] =>
  Array.from({ length: count }, (_, queueId) => ({ topic: 't', brokerName: 'b', queueId }))

/** 't/b/0' -> its queue. */
export function queueAt(key: string): QueueRef {
  const [topic, brokerName, queueId] = key.split('/') as [string, string, string]
  return { topic, brokerName, queueId: Number(queueId) }
}

export const inputOf = (given: Partial<AllocationInput>): AllocationInput => ({
  ...{ queues: [], members: [], previous: {}, lags: {} },
  ...given,
})

export const membersOf = (...clientIds: string[]): AllocationMember[] =>
  clientIds.map((clientId) => ({ clientId, room: '' }))

/** clientId -> the keys of its queues, in the order in which they were given. */
export const keysOf = (shares: Shares): Record<string, string[]> =>
  Object.fromEntries(Object.entries(shares).map(([clientId, queues]) => [clientId, queues.map(queueKey)]))

export const keysBy = (allocation: Allocation, given: Partial<AllocationInput>): Record<string, string[]> =>
  keysOf(allocate(allocation, inputOf(given)))

/** clientId -> how many. */
export const sizesOf = (shares: Shares): Record<string, number> =>
  Object.fromEntries(Object.entries(shares).map(([clientId, queues]) => [clientId, queues.length]))

const rooms = ['r1', 'r2', 'r3']
const anyRoom = fc.constantFrom('', ...rooms)

export const anyQueues = (maxLength = 40): fc.Arbitrary<QueueRef[]> =>
  fc.uniqueArray(
    fc.record({
      topic: fc.constant('t'),
      brokerName: fc.tuple(anyRoom, fc.constantFrom('a', 'b', 'B')).map(([room, name]) => {
        return room === '' ? name : `${room}@${name}`
      }),
      queueId: fc.nat(20),
    }),
    { selector: queueKey, maxLength },
  )

const anyClientId = fc.oneof(
  fc.string({ minLength: 1, maxLength: 3 }),
  fc.constantFrom('__proto__', '7', '%'),
)

export const anyMembers = (maxLength = 10, keys: string[] = []): fc.Arbitrary<AllocationMember[]> =>
  fc.uniqueArray(
    fc.record({
      clientId: anyClientId,
      room: anyRoom,
      queues: fc.subarray([...keys, 'u/b/0']),
      consumerRooms: fc.subarray(rooms),
    }),
    { selector: ({ clientId }) => clientId, minLength: 1, maxLength },
  )

/** With owners of which some are gone, and of queues of which some are gone. */
export const anyInput = (queuesMax = 40, membersMax = 10): fc.Arbitrary<AllocationInput> =>
  anyQueues(queuesMax).chain((queues) => {
    const keys = queues.map(queueKey)
    return anyMembers(membersMax, keys).chain((members) => {
      const anyOwner = fc.constantFrom('gone', ...members.map(({ clientId }) => clientId))
      const anyKey = fc.constantFrom('t/gone/0', ...keys)
      return fc.record({
        queues: fc.constant(queues),
        members: fc.constant(members),
        previous: fc.dictionary(anyKey, anyOwner, { maxKeys: queuesMax, noNullPrototype: true }),
        lags: fc.dictionary(anyKey, fc.nat(100_000), { maxKeys: queuesMax, noNullPrototype: true }),
      })
    })
  })
