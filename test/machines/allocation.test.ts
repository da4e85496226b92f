import test from 'ava'
import fc from 'fast-check'
import { type Allocation, allocateFor } from '../../machines/allocation/index.ts'
import { compareQueues, type QueueRef, queueKey } from '../../machines/topic.ts'

const queuesOf = (count: number): QueueRef[] =>
  Array.from({ length: count }, (_, queueId) => ({ topic: 't', brokerName: 'b', queueId }))
const clientsOf = (count: number): string[] => Array.from({ length: count }, (_, index) => `c${index}`)

/** The numbers of the queues of each client, in the order of the clients. */
const shares = (name: Allocation, queues: number, clients: number): number[][] =>
  clientsOf(clients).map((clientId) =>
    allocateFor(name)(clientId, queuesOf(queues), clientsOf(clients)).map(({ queueId }) => queueId),
  )

// Worked out by hand from RocketMQ's rules.
const tables: [Allocation, queues: number, clients: number, number[][]][] = [
  ['averagely', 8, 1, [[0, 1, 2, 3, 4, 5, 6, 7]]],
  [
    'averagely',
    8,
    2,
    [
      [0, 1, 2, 3],
      [4, 5, 6, 7],
    ],
  ],
  [
    'averagely',
    8,
    3,
    [
      [0, 1, 2],
      [3, 4, 5],
      [6, 7],
    ],
  ],
  [
    'averagely',
    7,
    3,
    [
      [0, 1, 2],
      [3, 4],
      [5, 6],
    ],
  ],
  ['averagely', 3, 3, [[0], [1], [2]]],
  ['averagely', 2, 4, [[0], [1], [], []]],
  ['averagely', 0, 2, [[], []]],
  [
    'averagely-by-circle',
    8,
    3,
    [
      [0, 3, 6],
      [1, 4, 7],
      [2, 5],
    ],
  ],
  ['averagely-by-circle', 2, 4, [[0], [1], [], []]],
  ['averagely-by-circle', 0, 2, [[], []]],
]
for (const [name, queues, clients, expected] of tables) {
  test(`${name}: ${queues} queues and ${clients} consumers`, (t) => {
    t.deepEqual(shares(name, queues, clients), expected)
  })
}

const anyQueues = fc.uniqueArray(
  fc.record({
    topic: fc.constantFrom('t', 'u'),
    brokerName: fc.constantFrom('a', 'b', 'B'),
    queueId: fc.nat(20),
  }),
  { selector: queueKey, maxLength: 40 },
)
const anyClients = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 10 })

const even: Allocation[] = ['averagely', 'averagely-by-circle', 'sticky', 'lag-aware']
for (const name of even) {
  test(`${name}: every queue has one owner, and no share is larger by more than one`, (t) => {
    fc.assert(
      fc.property(anyQueues, anyClients, (queues, clients) => {
        const allocated = clients.map((clientId) => allocateFor(name)(clientId, queues, clients))
        const sizes = allocated.map((share) => share.length)
        t.deepEqual(allocated.flat().sort(compareQueues), [...queues].sort(compareQueues))
        t.true(Math.max(...sizes) - Math.min(...sizes) <= 1)
      }),
    )
  })

  test(`${name}: does not depend on the order in which queues and consumers are listed`, (t) => {
    fc.assert(
      fc.property(anyQueues, anyClients, (queues, clients) => {
        const [clientId] = clients as [string]
        t.deepEqual(
          allocateFor(name)(clientId, [...queues].reverse(), [...clients].reverse()),
          allocateFor(name)(clientId, queues, clients),
        )
      }),
    )
  })

  test(`${name}: a consumer that is not on the list gets nothing`, (t) => {
    t.deepEqual(allocateFor(name)('stranger', queuesOf(4), clientsOf(2)), [])
    t.deepEqual(allocateFor(name)('stranger', queuesOf(4), []), [])
  })
}
