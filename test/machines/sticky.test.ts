import test from 'ava'
import fc from 'fast-check'
import {
  type Allocation,
  type AllocationInput,
  allocate,
  movesOf,
  ownersOf,
  type Shares,
} from '../../machines/allocation/index.ts'
import { queueKey } from '../../machines/topic.ts'
import { anyInput, inputOf, keysBy, keysOf, membersOf, queuesOf, sizesOf } from '../support/allocations.ts'

/** How many of the queues that are there get another owner. */
const movedIn = ({ queues, previous }: AllocationInput, shares: Shares): number => {
  const owners = ownersOf(shares)
  return queues.filter((queue) => previous[queueKey(queue)] !== owners[queueKey(queue)]).length
}

const owned = (...owners: string[]): Record<string, string> =>
  Object.fromEntries(owners.map((owner, queueId) => [`t/b/${queueId}`, owner]))

// Worked out by hand: the queues' owners before and after, in the order of the queues.
const tables: [title: string, members: string, before: string, after: string][] = [
  ['what nobody has is divided as averagely does', 'a b c', '       ', 'a a a b b c c'],
  ['who comes takes one of each, and the others keep the rest', 'a b c', 'a a a b b b', 'a a c b b c'],
  ['who goes leaves its queues to the others', 'a c', 'a a b b c c', 'a a a c c c'],
  ['queues that are new go where one is missing', 'a b', 'a b a b  ', 'a b a b a'],
  ['a consumer too many is idle', 'a b c', 'b a', 'b a'],
  ['whoever has one more than the others keeps it', 'a b', 'b b a b  ', 'b b a b a'],
  ['those who are first are asked for one no sooner than the others', 'a b c', 'c a b b  ', 'c a b b a'],
  ['of too many who have one more, the first keep it', 'a b c d', 'a a b b c c', 'a a b b c d'],
  ['who has two too many gives two', 'a b c', 'c c c a b c', 'c c a a b b'],
  ['a queue of one that has too few already stays', 'a b', 'b b a b', 'b b a a'],
]
for (const [title, members, before, after] of tables) {
  test(`sticky: ${title}`, (t) => {
    const previous = owned(...before.split(' '))
    const queues = queuesOf(after.split(' ').length)
    const shares = allocate(
      'sticky',
      inputOf({ queues, members: membersOf(...members.split(' ')), previous }),
    )
    t.deepEqual(queues.map((queue) => ownersOf(shares)[queueKey(queue)]).join(' '), after)
  })
}

/** The fewest moves to any assignment that has averagely's counts, whoever has which: all of them are tried. */
function fewestMoves(input: AllocationInput): number {
  const asEven = Object.values(sizesOf(allocate('averagely', input)))
    .sort()
    .join()
  const { queues, previous } = input
  const sizes = new Map(input.members.map(({ clientId }) => [clientId, 0]))
  const tried = (index: number): number => {
    const queue = queues[index]
    if (!queue) return [...sizes.values()].sort().join() === asEven ? 0 : Number.POSITIVE_INFINITY
    let fewest = Number.POSITIVE_INFINITY
    for (const [clientId, size] of sizes) {
      sizes.set(clientId, size + 1)
      fewest = Math.min(fewest, tried(index + 1) + (previous[queueKey(queue)] === clientId ? 0 : 1))
      sizes.set(clientId, size)
    }
    return fewest
  }
  return tried(0)
}

test('sticky: of ALL assignments that are as even as averagely, none has fewer moves', (t) => {
  fc.assert(
    fc.property(anyInput(6, 4), (input) => {
      t.is(movedIn(input, allocate('sticky', input)), fewestMoves(input))
    }),
  )
})

test('sticky: of 1,000 members with 4,096 queues, those who have one more keep it when another one joins', (t) => {
  const queues = queuesOf(4_096)
  const members = membersOf(...Array.from({ length: 1_000 }, (_, index) => `c${index}`))
  const before = ownersOf(allocate('sticky', inputOf({ queues, members: members.slice(0, 999) })))
  const after = allocate('sticky', inputOf({ queues, members, previous: before }))
  t.deepEqual([...new Set(movesOf(before, after).map(({ to }) => to))], ['c999'])
  t.is(movesOf(before, after).length, 4)
})

for (const name of ['sticky', 'consistent-hash'] as Allocation[]) {
  test(`${name}: who comes takes queues and who goes leaves some, and no other queue moves`, (t) => {
    fc.assert(
      fc.property(anyInput(), fc.nat(), (input, which) => {
        const [someone] = input.members.slice(which % input.members.length)
        const others = input.members.filter((member) => member !== someone)
        const with_ = allocate(name, { ...input, lags: {} })
        const left = allocate(name, { ...input, members: others, previous: ownersOf(with_) })
        if (others.length > 0) {
          for (const { from } of movesOf(ownersOf(with_), left)) t.is(from, someone!.clientId)
        }
        const back = allocate(name, { ...input, previous: ownersOf(left) })
        for (const { from, to } of movesOf(ownersOf(left), back)) {
          t.is(to, someone!.clientId)
          t.true(from !== null || others.length === 0)
        }
      }),
    )
  })
}

// ----------------------------------------------------------------------------------------------- lag-aware

const lagged = (...lags: number[]): Record<string, number> =>
  Object.fromEntries(lags.map((lag, queueId) => [`t/b/${queueId}`, lag]))
const heavyAndLight = {
  queues: queuesOf(4),
  members: membersOf('a', 'b'),
  previous: owned('a', 'a', 'b', 'b'),
}
const unmoved = { a: ['t/b/0', 't/b/1'], b: ['t/b/2', 't/b/3'] }

test('lag-aware: exchanges the two queues that leave the loads closest', (t) => {
  // 16,000 and 2,000: to give 6,000 for nothing leaves 10,000 and 8,000.
  t.deepEqual(keysBy('lag-aware', { ...heavyAndLight, lags: lagged(10_000, 6_000, 0, 2_000) }), {
    a: ['t/b/0', 't/b/2'],
    b: ['t/b/1', 't/b/3'],
  })
})

for (const [why, lags] of [
  ['one has not more than a quarter more', lagged(6_000, 4_000, 5_000, 3_000)],
  ['one has not a thousand messages more', lagged(500, 499, 0, 0)],
  ['it is one queue that has nearly all', lagged(100_000, 5_000, 0, 0)],
  ['nothing waits', {}],
  ['the lags are none that one could count', lagged(Number.NaN, 0, -5_000, -9_000)],
] as const) {
  test(`lag-aware: lets all queues be where they are when ${why}`, (t) => {
    t.deepEqual(keysBy('lag-aware', { ...heavyAndLight, lags }), unmoved)
  })
}

for (const [why, lags, exchanged] of [
  ['one has more than a quarter more', lagged(6_001, 4_000, 5_000, 3_000), '1 3'],
  ['one has a thousand messages more', lagged(500, 500, 0, 0), '0 2'],
  [
    'exactly half of what is between them can be handed over',
    lagged(8_000, 7_000, 0, 0, 1_000, 2_000),
    '1 4',
  ],
  ['only the most loaded of the light one is near enough', lagged(8_000, 500, 500, 3_000, 0, 0), '0 3'],
] as const) {
  test(`lag-aware: exchanges two queues when ${why}`, (t) => {
    const half = Object.keys(lags).length / 2
    const previous = owned(...Array(half).fill('a'), ...Array(half).fill('b'))
    const input = inputOf({ queues: queuesOf(2 * half), members: membersOf('a', 'b'), previous, lags })
    const moved = movesOf(previous, allocate('lag-aware', input)).map(({ queue }) => queue.slice(-1))
    t.is(moved.join(' '), exchanged)
  })
}

test('lag-aware: exchanges with another than the lightest member when that one has nothing to relieve it with', (t) => {
  const previous = owned('a', 'a', 'b', 'b', 'c', 'c')
  const input = { queues: queuesOf(6), members: membersOf('a', 'b', 'c'), previous }
  t.deepEqual(keysBy('lag-aware', { ...input, lags: lagged(6_000, 6_000, 6_000, 0, 3_500, 3_500) }), {
    a: ['t/b/1', 't/b/4'],
    b: ['t/b/2', 't/b/3'],
    c: ['t/b/0', 't/b/5'],
  })
})

test('lag-aware: a member that nothing relieves does not keep the others from it', (t) => {
  const previous = owned('a', 'a', 'b', 'b', 'c', 'c')
  const input = { queues: queuesOf(6), members: membersOf('a', 'b', 'c'), previous }
  t.deepEqual(keysBy('lag-aware', { ...input, lags: lagged(900_000, 0, 8_000, 8_000, 0, 0) }), {
    a: ['t/b/0', 't/b/1'],
    b: ['t/b/3', 't/b/4'],
    c: ['t/b/2', 't/b/5'],
  })
})

test('lag-aware: what is free goes to the members with the least load, the most loaded queue first', (t) => {
  const previous = owned('a', 'b', 'gone', 'gone')
  const input = { queues: queuesOf(4), members: membersOf('a', 'b'), previous }
  t.deepEqual(keysBy('lag-aware', { ...input, lags: lagged(5_000, 1_000, 6_000, 2_000) }), {
    a: ['t/b/0', 't/b/3'],
    b: ['t/b/1', 't/b/2'],
  })
})

test('lag-aware: without lags it is sticky', (t) => {
  fc.assert(
    fc.property(anyInput(), (input) => {
      const without = { ...input, lags: {} }
      t.deepEqual(keysOf(allocate('lag-aware', without)), keysOf(allocate('sticky', without)))
    }),
  )
})

const loadsOf = ({ members, lags }: AllocationInput, owners: Readonly<Record<string, string>>): number[] =>
  members.map(({ clientId }) =>
    Object.entries(owners).reduce(
      (sum, [key, owner]) => sum + (owner === clientId ? (lags[key] ?? 0) : 0),
      0,
    ),
  )

const unevenness = (input: AllocationInput, owners: Readonly<Record<string, string>>): number =>
  loadsOf(input, owners).reduce((sum, load) => sum + load ** 2, 0)

test('lag-aware: AT MOST a sixteenth of the queues, two at least, moves more than it must', (t) => {
  fc.assert(
    fc.property(anyInput(), (input) => {
      const allowed = 2 * Math.ceil(input.queues.length / 32)
      const moved = movedIn(input, allocate('lag-aware', input))
      t.true(moved <= movedIn(input, allocate('sticky', input)) + allowed)
    }),
  )
})

/** A group at rest, and then something waits. */
const anyBacklog = fc
  .array(fc.oneof(fc.constant(0), fc.nat(5_000), fc.nat(1_000_000)), {
    minLength: 1,
    maxLength: 80,
    size: 'max',
  })
  .chain((lags) =>
    fc.integer({ min: 2, max: 9 }).map((members): AllocationInput => {
      const clientIds = Array.from({ length: members }, (_, index) => `c${index}`)
      const input = inputOf({
        queues: queuesOf(lags.length),
        members: membersOf(...clientIds),
        lags: lagged(...lags),
      })
      return { ...input, previous: ownersOf(allocate('averagely', input)) }
    }),
  )

test('lag-aware: while the lags stay as they are it NEVER swings: the loads come closer, and the moves end', (t) => {
  let [rounds, longest] = [0, 0]
  fc.assert(
    fc.property(anyBacklog, (input) => {
      let { previous } = input
      for (let round = 1; ; round += 1) {
        const next = allocate('lag-aware', { ...input, previous })
        const moved = movesOf(previous, next).length
        if (moved === 0) break
        t.true(moved <= 2 * Math.ceil(input.queues.length / 32))
        t.true(unevenness(input, ownersOf(next)) < unevenness(input, previous))
        previous = ownersOf(next)
        rounds += 1
        longest = Math.max(longest, round)
      }
    }),
    { numRuns: 200 },
  )
  t.log(`${rounds} rounds, at most ${longest} for one backlog`)
  t.true(rounds > 50, 'the inputs prove nothing')
})

test('lag-aware: where load can be spread, the heaviest member has at last at most a quarter more than the lightest', (t) => {
  // By averagely's blocks the last member has 13 times what the first has.
  const clientIds = Array.from({ length: 8 }, (_, index) => `c${index}`)
  const lags = lagged(...Array.from({ length: 64 }, (_, queueId) => (queueId + 1) * 1_000))
  const input = inputOf({ queues: queuesOf(64), members: membersOf(...clientIds), lags })
  let previous = ownersOf(allocate('averagely', input))
  for (let round = 0; round < 10; round += 1) {
    previous = ownersOf(allocate('lag-aware', { ...input, previous }))
  }
  const loads = loadsOf(input, previous)
  t.true(Math.max(...loads) <= 1.25 * Math.min(...loads), loads.join(' '))
})
