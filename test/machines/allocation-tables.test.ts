/** What RocketMQ's strategies give for fixed inputs: by hand from its rules, and by its own classes for hashes. */
import test from 'ava'
import { type Allocation, allocate } from '../../machines/allocation/index.ts'
import { inputOf, keysBy, membersOf, queueAt, queuesOf } from '../support/allocations.ts'

// -------------------------------------------------------------------------- RocketMQ's, on the two lists alone

const clientsOf = (count: number): string[] => Array.from({ length: count }, (_, index) => `c${index}`)

/** The numbers of the queues of each client, in the order of the clients. */
const numbers = (name: Allocation, queues: number, clients: number): string => {
  const shares = allocate(
    name,
    inputOf({ queues: queuesOf(queues), members: membersOf(...clientsOf(clients)) }),
  )
  return clientsOf(clients)
    .map((clientId) => shares[clientId]!.map(({ queueId }) => queueId).join(' '))
    .join(' | ')
}

// Worked out by hand from RocketMQ's rules.
const tables: [Allocation, queues: number, clients: number, numbers: string][] = [
  ['averagely', 8, 1, '0 1 2 3 4 5 6 7'],
  ['averagely', 8, 2, '0 1 2 3 | 4 5 6 7'],
  ['averagely', 8, 3, '0 1 2 | 3 4 5 | 6 7'],
  ['averagely', 7, 3, '0 1 2 | 3 4 | 5 6'],
  ['averagely', 3, 3, '0 | 1 | 2'],
  ['averagely', 2, 4, '0 | 1 |  | '],
  ['averagely', 0, 2, ' | '],
  ['averagely-by-circle', 8, 3, '0 3 6 | 1 4 7 | 2 5'],
  ['averagely-by-circle', 2, 4, '0 | 1 |  | '],
  ['averagely-by-circle', 0, 2, ' | '],
  // What RocketMQ's own classes say.
  ['consistent-hash', 12, 3, '2 4 6 7 | 1 9 11 | 0 3 5 8 10'],
  ['consistent-hash', 0, 2, ' | '],
]
for (const [name, queues, clients, expected] of tables) {
  test(`${name}: ${queues} queues and ${clients} consumers`, (t) => {
    t.is(numbers(name, queues, clients), expected)
  })
}

test('consistent-hash: gives what RocketMQ gives for the names of its own test', (t) => {
  const queues = queuesOf(10).map((queue) => ({ ...queue, topic: 'topic_test', brokerName: 'brokerName' }))
  const shares = allocate(
    'consistent-hash',
    inputOf({ queues, members: membersOf('CID-0', 'CID-1', 'CID-2', 'CID-3', 'CID-4') }),
  )
  t.deepEqual(
    Object.values(shares).map((share) => share.map(({ queueId }) => queueId)),
    [[], [], [0, 3, 4, 5, 8], [2, 6, 7, 9], [1]],
  )
})

test('consistent-hash: gives what RocketMQ gives for names that are not English', (t) => {
  const queues = queuesOf(8).map((queue) => ({ ...queue, topic: 'orders', brokerName: 'room-1@broker-a' }))
  const shares = allocate(
    'consistent-hash',
    inputOf({ queues, members: membersOf('10.0.0.1@77', 'é-ü', '消费者') }),
  )
  t.deepEqual(
    Object.values(shares).map((share) => share.map(({ queueId }) => queueId)),
    [[1, 2, 5, 7], [3, 4, 6], [0]],
  )
})

test("consistent-hash: a point that two consumers share is the later one's, and a queue at a point is its owner's", (t) => {
  const owners = (queueId: number, ...clientIds: string[]) =>
    keysBy('consistent-hash', { queues: [queueAt(`t/b/${queueId}`)], members: membersOf(...clientIds) })
  // Queue 477 is beyond the last point, which is c0's.
  t.deepEqual(owners(477, 'c0', 'c1'), { c0: [], c1: ['t/b/477'] })
  // Hashes that happen to be alike; what RocketMQ's own classes say.
  t.deepEqual(owners(213, 'c1081', 'c601'), { c601: ['t/b/213'], c1081: [] })
  t.deepEqual(owners(24_533, 'c0', 'c5965'), { c5965: ['t/b/24533'], c0: [] })
})

// ---------------------------------------------------------------------------------- RocketMQ's, by configuration

test('by-config: each consumer gets what it lists, and what nobody lists is left out', (t) => {
  const members = [
    { clientId: 'a', room: '', queues: ['t/b/3', 't/b/0', 't/b/0'] },
    { clientId: 'b', room: '', queues: ['t/b/1', 't/b/9', 'u/b/2'] },
    { clientId: 'c', room: '' },
  ]
  t.deepEqual(keysBy('by-config', { queues: queuesOf(5), members }), {
    a: ['t/b/0', 't/b/3'],
    b: ['t/b/1'],
    c: [],
  })
})

test('by-config: a queue that two list stays with the one that has it, else goes to the lower client id', (t) => {
  const queues = queuesOf(1)
  const members = ['b', 'a', 'c'].map((clientId) => ({ clientId, room: '', queues: ['t/b/0'] }))
  t.deepEqual(keysBy('by-config', { queues, members }), { a: ['t/b/0'], b: [], c: [] })
  const has = (clientId: string) => keysBy('by-config', { queues, members, previous: { 't/b/0': clientId } })
  t.deepEqual(has('c'), { a: [], b: [], c: ['t/b/0'] })
  t.deepEqual(has('gone'), { a: ['t/b/0'], b: [], c: [] })
})

const roomQueues = (keys: string) => keys.split(' ').map(queueAt)

test('by-machine-room: the rooms to be consumed are divided, what is left over goes to the first, the rest is left out', (t) => {
  const queues = roomQueues('t/r1@a/0 t/r1@a/1 t/r1@a/2 t/r1@a/3 t/r1@a/4 t/r2@b/5 t/r2@b/6 t/r1/7 t/r1x/8')
  const members = membersOf('c0', 'c1').map((member) => ({ ...member, consumerRooms: ['r1', ''] }))
  t.deepEqual(keysBy('by-machine-room', { queues, members }), {
    c0: ['t/r1@a/0', 't/r1@a/1', 't/r1@a/4'],
    c1: ['t/r1@a/2', 't/r1@a/3'],
  })
})

test('by-machine-room: where consumers disagree, every room that one of them names is consumed', (t) => {
  const queues = roomQueues('t/r1@a/0 t/r2@a/0 t/r3@a/0')
  const [a, b] = membersOf('a', 'b') as [
    { clientId: string; room: string },
    { clientId: string; room: string },
  ]
  const members = [
    { ...a, consumerRooms: ['r2'] },
    { ...b, consumerRooms: ['r1', 'r2'] },
  ]
  t.deepEqual(keysBy('by-machine-room', { queues, members }), { a: ['t/r1@a/0'], b: ['t/r2@a/0'] })
  t.deepEqual(keysBy('by-machine-room', { queues, members: [a, b] }), { a: [], b: [] })
})

const nearby = [
  { clientId: 'c', room: 'r2' },
  { clientId: 'a', room: 'r1' },
  { clientId: 'b', room: 'r1' },
]

test('machine-room-nearby: a room is for the consumers in it, and one without consumers for all', (t) => {
  const queues = roomQueues(
    't/r1@x/0 t/r1@x/1 t/r1@x/2 t/r2@y/0 t/r2@y/1 t/r3@z/0 t/r3@z/1 t/r3@z/2 t/r3@z/3',
  )
  t.deepEqual(keysBy('machine-room-nearby', { queues, members: nearby }), {
    a: ['t/r1@x/0', 't/r1@x/1', 't/r3@z/0', 't/r3@z/1'],
    b: ['t/r1@x/2', 't/r3@z/2'],
    c: ['t/r2@y/0', 't/r2@y/1', 't/r3@z/3'],
  })
})

test('machine-room-nearby: a broker without a room is for all, and a consumer without one has a part in what is', (t) => {
  const queues = roomQueues('t/r1@x/0 t/plain/0 t/plain/1 t/plain/2 t/plain/3')
  t.deepEqual(keysBy('machine-room-nearby', { queues, members: [...nearby, ...membersOf('d')] }), {
    a: ['t/r1@x/0', 't/plain/0'],
    b: ['t/plain/1'],
    c: ['t/plain/2'],
    d: ['t/plain/3'],
  })
})
