/** Histories in which one thing is wrong, planted by hand; and random good ones, in which nothing is found. */
import test from 'ava'
import fc from 'fast-check'
import { type Delivery, type Fault, type History, judge, type Stored } from './judge.ts'

const QUEUE = 'orders/broker-a/0'
const CLEAN_UNTIL = 100_000

const stored = (count: number): Stored[] =>
  Array.from({ length: count }, (_, offset) => ({ queue: QUEUE, offset, message: `p/${offset}`, at: offset }))

/** Begun at this second, and ended a moment later. */
function given(member: string, offset: number, second: number, more: Partial<Delivery> = {}): Delivery {
  const startedAt = second * 1_000
  const message = `p/${offset}`
  return {
    ...{ member, queue: QUEUE, epoch: 1, offset, message, startedAt, endedAt: startedAt + 1 },
    ...more,
  }
}

const killed = (member: string, second: number): Fault => ({
  ...{ member, kind: 'killed', from: second * 1_000, to: second * 1_000 },
})
const paused = (member: string, from: number, to: number): Fault => ({
  ...{ member, kind: 'paused', from: from * 1_000, to: to * 1_000 },
})

/** By default all of it is clean. */
function find(deliveries: Delivery[], more: Partial<History> = {}): string[] {
  const count = 1 + Math.max(-1, ...deliveries.map(({ offset }) => offset))
  const history = { ordered: true, cleanUntil: CLEAN_UNTIL, stored: stored(count), faults: [], ...more }
  return judge({ ...history, deliveries }).map(({ name, cause, isClean }) => {
    return `${isClean ? 'clean' : 'faulty'} ${name}: ${cause ?? 'unexplained'}`
  })
}
const faulty = (...faults: Fault[]): Partial<History> => ({ cleanUntil: 0, faults })

test('judge: finds nothing where a queue goes from one member to the next', (t) => {
  const next = { epoch: 2 }
  t.deepEqual(find([given('a', 0, 1), given('a', 1, 2), given('b', 2, 3, next), given('b', 3, 4, next)]), [])
})

test('judge: finds an acknowledged message that nobody was given', (t) => {
  t.deepEqual(find([given('a', 0, 1), given('a', 2, 2)]), ['clean skipped: unexplained'])
})

test('judge: finds an acknowledged message at the end of a queue that nobody was given', (t) => {
  t.deepEqual(find([given('a', 0, 1)], { stored: stored(2) }), ['faulty skipped: unexplained'])
})

test('judge: finds a message that was begun and never ended', (t) => {
  const faults = faulty(killed('a', 2))
  const deliveries = [given('a', 0, 1, { endedAt: null }), given('b', 1, 15, { epoch: 2 })]
  t.deepEqual(find(deliveries, faults), ['faulty skipped: unexplained'])
})

test('judge: takes a message that passed over another in the clean part as skipped there', (t) => {
  const deliveries = [given('a', 0, 1), given('a', 2, 2), given('a', 3, 60)]
  t.deepEqual(find(deliveries, { cleanUntil: 10_000 }), ['clean skipped: unexplained'])
  t.deepEqual(find(deliveries, { cleanUntil: 1_500 }), ['faulty skipped: unexplained'])
})

test('judge: finds a message that two members were given', (t) => {
  const deliveries = [given('a', 0, 1), given('b', 0, 2, { epoch: 2 })]
  t.deepEqual(find(deliveries), ['clean duplicate: unexplained'])
  t.deepEqual(find(deliveries, faulty()), ['faulty duplicate: unexplained'])
})

test('judge: finds a message that one member was given twice', (t) => {
  t.deepEqual(find([given('a', 0, 1), given('a', 0, 2)]), ['clean duplicate: unexplained'])
})

test('judge: counts every time a message was given again', (t) => {
  const again = [given('b', 0, 2, { epoch: 2 }), given('c', 0, 3, { epoch: 3 })]
  t.is(find([given('a', 0, 1), ...again]).length, 2)
})

test('judge: explains by its death what a member was given shortly before', (t) => {
  const deliveries = [given('a', 0, 9, { endedAt: null }), given('b', 0, 21, { epoch: 2 })]
  t.deepEqual(find(deliveries, faulty(killed('a', 10))), ['faulty duplicate: a was killed at 10.000 s'])
})

test('judge: does not explain by its death what a member was given long before', (t) => {
  const deliveries = [given('a', 0, 5), given('b', 0, 21, { epoch: 2 })]
  t.deepEqual(find(deliveries, faulty(killed('a', 10))), ['faulty duplicate: unexplained'])
})

test('judge: does not explain by a death what was given again BEFORE it', (t) => {
  const deliveries = [given('a', 0, 8), given('b', 0, 9, { epoch: 2 })]
  t.deepEqual(find(deliveries, faulty(killed('a', 10))), ['faulty duplicate: unexplained'])
})

test('judge: does not explain by the death of somebody else', (t) => {
  const deliveries = [given('a', 0, 9), given('b', 0, 21, { epoch: 2 })]
  t.deepEqual(find(deliveries, faulty(killed('b', 30), killed('c', 10))), ['faulty duplicate: unexplained'])
})

test('judge: explains what a member had in its hands when it stood still', (t) => {
  const deliveries = [given('a', 0, 9, { endedAt: 30_001 }), given('b', 0, 21, { epoch: 2 })]
  t.deepEqual(find(deliveries, faulty(paused('a', 10, 30))), [
    'faulty duplicate: a stood still from 10.000 s to 30.000 s',
    'faulty overlap: a stood still from 10.000 s to 30.000 s',
  ])
})

test('judge: explains what a member begins when it wakes, and others have handled', (t) => {
  const deliveries = [given('a', 0, 9), given('b', 1, 21, { epoch: 2 }), given('a', 1, 30.1)]
  t.deepEqual(find(deliveries, faulty(paused('a', 10, 30))), [
    'faulty duplicate: a stood still from 10.000 s to 30.000 s',
    'faulty overlap: a stood still from 10.000 s to 30.000 s',
  ])
})

test('judge: does not explain what a member begins long after it woke', (t) => {
  const deliveries = [given('a', 0, 9), given('b', 1, 21, { epoch: 2 }), given('a', 1, 40)]
  t.deepEqual(find(deliveries, faulty(paused('a', 10, 30))), [
    'faulty duplicate: unexplained',
    'faulty overlap: a stood still from 10.000 s to 30.000 s',
  ])
})

test('judge: finds two members that begin messages of one queue in turns', (t) => {
  const deliveries = [given('a', 0, 1), given('b', 1, 2, { epoch: 2 }), given('a', 2, 3)]
  t.deepEqual(find(deliveries), ['clean overlap: unexplained'])
})

test('judge: finds an owner that begins while the one before it still handles', (t) => {
  const deliveries = [given('a', 0, 1, { endedAt: 3_000 }), given('b', 1, 2, { epoch: 2 })]
  t.deepEqual(find(deliveries), ['clean overlap: unexplained'])
})

test('judge: lets a member own a queue again later', (t) => {
  const deliveries = [given('a', 0, 1), given('b', 1, 2, { epoch: 2 }), given('a', 2, 3, { epoch: 3 })]
  t.deepEqual(find(deliveries), [])
})

test('judge: finds an owner whose epoch is not higher than that of the owner before', (t) => {
  const owners = (first: number, second: number) => [
    given('a', 0, 1, { epoch: first }),
    given('b', 1, 2, { epoch: second }),
  ]
  t.deepEqual(find(owners(1, 2)), [])
  t.deepEqual(find(owners(2, 1)), ['clean epoch: unexplained'])
  t.deepEqual(find(owners(2, 2)), ['clean epoch: unexplained'])
})

test('judge: explains by its pause an older owner that begins when it wakes, and NEVER two owners of one epoch', (t) => {
  const faults = faulty(paused('b', 1.5, 20))
  const owners = (first: number, second: number) => [
    given('a', 0, 19, { epoch: first }),
    given('b', 1, 20.1, { epoch: second }),
  ]
  t.deepEqual(find(owners(2, 1), faults), ['faulty epoch: b stood still from 1.500 s to 20.000 s'])
  t.deepEqual(find(owners(2, 2), faults), ['faulty epoch: unexplained'])
})

test('judge: finds a message that is begun after a later one', (t) => {
  const deliveries = [given('a', 1, 1), given('a', 0, 2)]
  t.deepEqual(find(deliveries), ['clean reordered: unexplained'])
  t.deepEqual(find(deliveries, { ordered: false }), ['clean reordered: unexplained'])
})

test('judge: explains what was begun late because a member that woke was ahead', (t) => {
  const deliveries = [given('b', 0, 29, { epoch: 2 }), given('a', 2, 30.1), given('b', 1, 31, { epoch: 2 })]
  const [late] = find(deliveries, faulty(paused('a', 10, 30)))
  t.is(late, 'faulty reordered: a stood still from 10.000 s to 30.000 s')
})

test('judge: finds two messages of a queue that run at once, when they should one after the other', (t) => {
  const deliveries = [given('a', 0, 1, { endedAt: 2_500 }), given('a', 1, 2)]
  t.deepEqual(find(deliveries), ['clean reordered: unexplained'])
  t.deepEqual(find(deliveries, { ordered: false }), [])
})

test('judge: finds messages of one sender that are stored in another order', (t) => {
  const log = stored(2)
  const names = ['p/7', 'p/3']
  const swapped = log.map((one, i) => ({ ...one, message: names[i]! }))
  const deliveries = log.map(({ offset }) => given('a', offset, offset, { message: names[offset]! }))
  t.deepEqual(find(deliveries, { stored: swapped }), ['clean reordered: unexplained'])
})

test('judge: finds a message that is another one than was acknowledged', (t) => {
  t.deepEqual(find([given('a', 0, 1, { message: 'p/9' })], { stored: stored(1) }), [
    'clean changed: unexplained',
  ])
})

test('judge: counts what is found in the clean part there, whatever follows', (t) => {
  const deliveries = [given('a', 0, 1), given('b', 0, 2, { epoch: 2 }), given('b', 1, 50, { epoch: 2 })]
  const history = { cleanUntil: 10_000, faults: [killed('a', 2)] }
  t.deepEqual(find(deliveries, history), ['clean duplicate: unexplained'])
})

// ------------------------------------------------------------------------------------------------ random histories

/** Owners of one queue in turn, with so many messages each, from each of which the last few may not be committed. */
const turns = fc.array(
  fc.record({ messages: fc.integer({ min: 1, max: 8 }), lost: fc.nat(3), dies: fc.boolean() }),
  {
    minLength: 1,
    maxLength: 8,
  },
)

function historyOf(owners: readonly { messages: number; lost: number; dies: boolean }[]): History {
  const deliveries: Delivery[] = []
  const faults: Fault[] = []
  let offset = 0
  let at = 0
  for (const [i, { messages, lost, dies }] of owners.entries()) {
    const first = offset
    for (let end = offset + messages; offset < end; offset++) {
      at += 10
      deliveries.push(given(`m${i}`, offset, at / 1_000, { epoch: i + 1 }))
    }
    at += 10
    if (!dies || i === owners.length - 1) continue
    faults.push({ member: `m${i}`, kind: 'killed', from: at, to: at })
    at += 12_000
    offset = Math.max(first, offset - lost)
  }
  const count = 1 + Math.max(...deliveries.map((one) => one.offset))
  return { ordered: true, cleanUntil: 0, stored: stored(count), deliveries, faults }
}

test('judge: explains everything in a history in which only the dead lose what they did', (t) => {
  fc.assert(
    fc.property(turns, (owners) => {
      const { deliveries, stored, ...rest } = historyOf(owners)
      const findings = judge({ deliveries, stored, ...rest })
      t.is(findings.length, deliveries.length - stored.length)
      t.true(findings.every(({ name, cause }) => name === 'duplicate' && cause !== null))
    }),
  )
})

test('judge: finds any one message that is left out, and any one that is given again', (t) => {
  fc.assert(
    fc.property(turns, fc.nat(), fc.nat(), (owners, pick, later) => {
      const alive = owners.map((owner) => ({ ...owner, dies: false }))
      const history = historyOf(alive)
      const one = history.deliveries[pick % history.deliveries.length]!
      const without = history.deliveries.filter((other) => other !== one)
      t.deepEqual(
        judge({ ...history, deliveries: without }).map(({ name }) => name),
        ['skipped'],
      )
      const startedAt = one.startedAt + 1 + (later % 100_000)
      const again = { ...one, member: 'zombie', startedAt, endedAt: startedAt }
      const more = [...history.deliveries, again]
      const names = judge({ ...history, deliveries: more }).map(({ name }) => name)
      t.true(names.includes('duplicate'))
    }),
  )
})
