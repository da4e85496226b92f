import test from 'ava'
import fc from 'fast-check'
import {
  type Allocation,
  type AllocationInput,
  allocate,
  allocateFor,
  allocations,
  averagely,
  averagelyByCircle,
  movesOf,
  ownersOf,
} from '../../machines/allocation/index.ts'
import { compareQueues, queueKey } from '../../machines/topic.ts'
import { anyInput, inputOf, keysOf, queueAt, queuesOf, sizesOf } from '../support/allocations.ts'

const names = Object.keys(allocations) as Allocation[]
/** Those that divide all queues so that the first members have one more than the others. */
const even: Allocation[] = ['averagely', 'averagely-by-circle']
/** Those that are as even, and do not say who has one more. */
const asEven: Allocation[] = ['sticky', 'lag-aware']
/** Those that leave queues out. */
const partial: Allocation[] = ['by-config', 'by-machine-room']
/** Who has what already is nothing to them. */
const forgetful: Allocation[] = [
  ...(['averagely', 'averagely-by-circle', 'by-machine-room'] as const),
  ...(['machine-room-nearby', 'consistent-hash'] as const),
]

const clientsOf = (count: number): string[] => Array.from({ length: count }, (_, index) => `c${index}`)

// ----------------------------------------------------------------------------------------------- all of them

for (const name of names) {
  const leavesOut = partial.includes(name)
  test(`${name}: ${leavesOut ? 'no queue has two owners' : 'every queue has one owner'}`, (t) => {
    fc.assert(
      fc.property(anyInput(), (input) => {
        const shares = allocate(name, input)
        t.deepEqual(Object.keys(shares).sort(), input.members.map(({ clientId }) => clientId).sort())
        const given = Object.values(shares).flat().map(queueKey).sort()
        const all = input.queues.map(queueKey).sort()
        t.deepEqual(given, leavesOut ? all.filter((key) => given.includes(key)) : all)
      }),
    )
  })

  test(`${name}: does not depend on the order in which queues and members are listed`, (t) => {
    fc.assert(
      fc.property(anyInput(), (input) => {
        const turned = {
          queues: [...input.queues].reverse(),
          members: [...input.members].reverse().map(({ queues = [], ...member }) => ({
            ...{ ...member, queues: [...queues].reverse() },
          })),
          previous: Object.fromEntries(Object.entries(input.previous).reverse()),
          lags: Object.fromEntries(Object.entries(input.lags).reverse()),
        }
        t.deepEqual(keysOf(allocate(name, turned)), keysOf(allocate(name, input)))
      }),
    )
  })

  test(`${name}: is told once who has what and then moves nothing, for the lags are none`, (t) => {
    fc.assert(
      fc.property(anyInput(), (input) => {
        const first = allocate(name, { ...input, lags: {} })
        const previous = ownersOf(first)
        t.deepEqual(movesOf(previous, allocate(name, { ...input, previous, lags: {} })), [])
      }),
    )
  })

  test(`${name}: changes nothing of what it is given`, (t) => {
    fc.assert(
      fc.property(anyInput(), (input) => {
        const before = JSON.stringify(input)
        allocate(name, input)
        t.is(JSON.stringify(input), before)
      }),
    )
  })

  test(`${name}: without members there are no shares, and a stranger has none`, (t) => {
    t.deepEqual(allocate(name, inputOf({ queues: queuesOf(4) })), {})
    t.deepEqual(allocateFor(name)('stranger', queuesOf(4), clientsOf(2)), [])
    t.deepEqual(allocateFor(name)('stranger', queuesOf(4), []), [])
  })

  test(`${name}: divides 4,096 queues among 1,000 members`, (t) => {
    const queues = Array.from({ length: 4096 }, (_, i) => queueAt(`t/r${i % 8}@broker-${i % 16}/${i >> 4}`))
    const members = Array.from({ length: 1000 }, (_, i) => ({
      ...{ clientId: `10.0.0.${i}@${(i * 7919) % 10_007}`, room: `r${i % 9}`, consumerRooms: ['r1', 'r2'] },
      queues: queues.slice(i * 4, i * 4 + 5).map(queueKey),
    }))
    const lags = Object.fromEntries(queues.map((queue, i) => [queueKey(queue), (i * 7919) % 50_000]))
    const previous = ownersOf(allocate(name, { queues, members, previous: {}, lags }))
    const start = performance.now()
    const shares = allocate(name, { queues, members: members.slice(1), previous, lags })
    t.log(`${(performance.now() - start).toFixed(1)} ms, ${movesOf(previous, shares).length} moves`)
    t.is(Object.keys(shares).length, 999)
  })
}

for (const name of even) {
  test(`${name}: each member has as many queues as RocketMQ gives it`, (t) => {
    fc.assert(
      fc.property(anyInput(), (input) => {
        const clientIds = input.members.map(({ clientId }) => clientId).sort()
        const [queues, clients] = [input.queues.length, clientIds.length]
        const share = Math.floor(queues / clients)
        const sizes = clientIds.map((clientId, index) => [
          clientId,
          share + (index < queues % clients ? 1 : 0),
        ])
        t.deepEqual(sizesOf(allocate(name, input)), Object.fromEntries(sizes))
      }),
    )
  })
}

for (const name of asEven) {
  test(`${name}: as many members have as many queues as RocketMQ gives them`, (t) => {
    const counts = (by: Allocation, input: AllocationInput) =>
      Object.values(sizesOf(allocate(by, input))).sort()
    fc.assert(
      fc.property(anyInput(), (input) => {
        t.deepEqual(counts(name, input), counts('averagely', input))
        const unowned = { ...input, previous: {} }
        t.deepEqual(sizesOf(allocate(name, unowned)), sizesOf(allocate('averagely', unowned)))
      }),
    )
  })
}

for (const name of forgetful) {
  test(`${name}: goes by nothing that happened before`, (t) => {
    fc.assert(
      fc.property(anyInput(), (input) => {
        t.deepEqual(allocate(name, input), allocate(name, { ...input, previous: {}, lags: {} }))
      }),
    )
  })
}

for (const [name, alone] of [
  ['averagely', averagely],
  ['averagely-by-circle', averagelyByCircle],
  ['consistent-hash', allocateFor('consistent-hash')],
] as const) {
  test(`${name}: a consumer that computes its share alone gets what it gets from all shares`, (t) => {
    fc.assert(
      fc.property(anyInput(), (input) => {
        const clientIds = input.members.map(({ clientId }) => clientId)
        const shares = clientIds.map((clientId) => [clientId, alone(clientId, input.queues, clientIds)])
        t.deepEqual(allocate(name, input), Object.fromEntries(shares))
      }),
    )
  })
}

// ----------------------------------------------------------------------------------------------- moves

test('moves: tell of every queue that changes hands, comes or goes, and of no other', (t) => {
  const [first, second, third, fourth] = queuesOf(4) as [never, never, never, never]
  const previous = { 't/b/0': 'a', 't/b/1': 'a', 't/b/2': 'gone', 't/b/9': 'a' }
  t.deepEqual(movesOf(previous, { a: [first], b: [second, third, fourth] }), [
    { queue: 't/b/1', from: 'a', to: 'b' },
    { queue: 't/b/2', from: 'gone', to: 'b' },
    { queue: 't/b/3', from: null, to: 'b' },
    { queue: 't/b/9', from: 'a', to: null },
  ])
})

test('moves: from nothing to the shares and back to the owners is everything, then nothing', (t) => {
  fc.assert(
    fc.property(anyInput(), (input) => {
      const shares = allocate('averagely', input)
      t.is(movesOf({}, shares).length, input.queues.length)
      t.deepEqual(movesOf(ownersOf(shares), shares), [])
    }),
  )
})

test('allocation: the queues of a share are sorted', (t) => {
  fc.assert(
    fc.property(anyInput(), fc.constantFrom(...names), (input, name) => {
      if (name === 'machine-room-nearby') return // The own room comes first.
      for (const share of Object.values(allocate(name, input))) {
        t.deepEqual(share, [...share].sort(compareQueues))
      }
    }),
  )
})
