/** The parts of a broker: who owns a queue, what producers are remembered by, what is derived from the log. */
import test from 'ava'
import fc from 'fast-check'
import { BrokerState } from '../../actors/broker/broker-state.ts'
import { GAP, NEXT, ProducerStates } from '../../actors/broker/producer-states.ts'
import { QueueOwners } from '../../actors/broker/queue-owners.ts'
import { coordinatorOf } from '../../machines/coordinator-of.ts'
import { stampFrame } from '../../transport/frames.ts'
import { BrokerBench, frame } from './support.ts'

const numbered = (sequence: number, { producerId = 7, count = 1, offset = sequence } = {}): Buffer => {
  const bytes = frame(
    Array.from({ length: count }, () => 'x'),
    { producerId, sequence },
  )
  stampFrame(bytes, 0, 1, offset, 1)
  return bytes
}

function remembering() {
  let now = 0
  const states = new ProducerStates(() => now)
  return {
    states,
    check: (sequence: number, options = {}) => states.check(numbered(sequence, options), 0),
    note: (sequence: number, options = {}) => states.note(numbered(sequence, options), 0),
    wait: (ms: number) => {
      now += ms
    },
  }
}

test('producers: one that nobody knows begins at 0', (t) => {
  const { check } = remembering()
  t.is(check(0), NEXT)
  t.is(check(1), GAP)
})

test('producers: a frame without a producer is always the next one', (t) => {
  const { check, note } = remembering()
  note(5, { producerId: 0 })
  t.is(check(9, { producerId: 0 }), NEXT)
})

test('producers: a frame is the next one, a repetition of one of the last eight, or refused', (t) => {
  const { check, note } = remembering()
  for (let sequence = 0; sequence < 20; sequence += 2) note(sequence, { count: 2, offset: 1_000 + sequence })
  t.is(check(20), NEXT)
  for (let sequence = 4; sequence < 20; sequence += 2) t.is(check(sequence), 1_000 + sequence)
  for (const sequence of [0, 2, 5, 19, 21, 22, 2 ** 32 - 1]) t.is(check(sequence), GAP, `${sequence}`)
})

test('producers: each is remembered by itself', (t) => {
  const { check, note } = remembering()
  note(0, { producerId: 1 })
  note(0, { producerId: 2 ** 53 - 1 })
  t.is(check(1, { producerId: 1 }), NEXT)
  t.is(check(1, { producerId: 2 ** 53 - 1 }), NEXT)
  t.is(check(1, { producerId: 2 }), GAP)
})

test('producers: what was saved and restored knows the same', (t) => {
  const { states, note } = remembering()
  for (let sequence = 0; sequence < 12; sequence++) note(sequence, { offset: 100 + sequence })
  note(0, { producerId: 8 })
  const other = remembering()
  other.note(0, { producerId: 99 })
  other.states.restore(JSON.parse(JSON.stringify(states.save())))
  for (let sequence = 0; sequence < 14; sequence++) {
    t.is(other.check(sequence), states.check(numbered(sequence), 0), `${sequence}`)
  }
  t.is(other.check(1, { producerId: 8 }), NEXT)
  t.is(other.check(1, { producerId: 99 }), GAP)
})

test('producers: one that was silent for long is not saved', (t) => {
  const { states, note, wait, check } = remembering()
  note(0, { producerId: 1 })
  wait(9 * 60_000)
  note(0, { producerId: 2 })
  wait(2 * 60_000)
  states.restore(states.save())
  t.is(check(1, { producerId: 1 }), GAP)
  t.is(check(1, { producerId: 2 }), NEXT)
})

test('producers: of too many those that were silent longest are forgotten, and half of them never', (t) => {
  const { note, check } = remembering()
  for (let producerId = 1; producerId <= 100_000; producerId++) note(0, { producerId })
  note(1, { producerId: 1 })
  note(0, { producerId: 100_001 })
  t.is(check(2, { producerId: 1 }), NEXT)
  t.is(check(1, { producerId: 2 }), GAP)
  t.is(check(1, { producerId: 50_001 }), NEXT)
  t.is(check(1, { producerId: 100_000 }), NEXT)
})

test('owners: AT MOST ONE member owns a queue, and only a later generation takes it by force', (t) => {
  const members = fc.constantFrom('a', 'b', 'c')
  const generation = fc.integer({ min: 1, max: 4 })
  const step = fc.oneof(
    fc.record({ type: fc.constant('claim' as const), clientId: members, generation, force: fc.boolean() }),
    fc.record({ type: fc.constant('release' as const), clientId: members, generation }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const owners = new QueueOwners()
      for (const it of steps) {
        const before = owners.of('g', 'q')
        if (it.type === 'release') {
          owners.release('g', 'q', it)
          const mayGo = before?.clientId === it.clientId && before.generation <= it.generation
          if ((owners.of('g', 'q') === undefined) !== (before === undefined || mayGo)) return false
        } else {
          const holder = owners.claim('g', 'q', it, it.force)
          const after = owners.of('g', 'q')
          if (holder === null) {
            if (after?.clientId !== it.clientId || after.generation !== it.generation) return false
            const isFree = before === undefined || before.clientId === it.clientId
            if (!isFree && !(it.force && it.generation > before.generation)) return false
            if (before?.clientId === it.clientId && it.generation < before.generation) return false
          } else if (after !== before || holder.clientId !== before?.clientId) return false
        }
        const current = owners.of('g', 'q')
        const isOwner = ['a', 'b', 'c'].filter((clientId) =>
          [1, 2, 3, 4].some((number) => owners.isOwner('g', 'q', clientId, number)),
        )
        if (isOwner.length !== (current ? 1 : 0)) return false
      }
      return true
    }),
    { numRuns: 1_000 },
  )
  t.pass()
})

test('owners: groups and queues do not know of each other', (t) => {
  const owners = new QueueOwners()
  t.is(owners.claim('g', 'q', { clientId: 'a', generation: 1 }, false), null)
  t.is(owners.claim('h', 'q', { clientId: 'b', generation: 1 }, false), null)
  t.is(owners.claim('g', 'r', { clientId: 'b', generation: 1 }, false), null)
  t.deepEqual([...owners.in('g').keys()], ['q', 'r'])
})

test('owners: a group that owns nothing any more is not named', (t) => {
  const owners = new QueueOwners()
  owners.claim('g', 'q', { clientId: 'a', generation: 1 }, false)
  owners.release('g', 'q', { clientId: 'a', generation: 1 })
  t.deepEqual([...owners.groups], [])
  owners.claim('g', 'q', { clientId: 'a', generation: 1 }, false)
  owners.forget((queue) => queue === 'q')
  t.deepEqual([...owners.groups], [])
})

test('state: replayed from the log it is what it was', async (t) => {
  const first = await BrokerBench.start()
  first.topic('orders')
  first.topic('gone')
  for (let sequence = 0; sequence < 12; sequence++) first.send('', frame(['x'], { producerId: 5, sequence }))
  first.groups.owners.claim('g', 'orders/0', { clientId: 'c', generation: 1 }, false)
  first.groups.commit({ group: 'g', clientId: 'c', offsets: [['orders', 0, 3, 1]] }, () => {})
  first.store.appendControl(2, Buffer.from(JSON.stringify({ deleted: 'gone' })))
  first.state.changeTopic({ deleted: 'gone' })
  first.settle()
  await first.stop()
  const second = await BrokerBench.start(first)
  t.deepEqual(second.state.save(), first.state.save())
})

test('state: restored from a snapshot and the log behind it, it is what it was', async (t) => {
  const first = await BrokerBench.start(null, 4_096)
  first.topic('orders')
  first.groups.owners.claim('g', 'orders/0', { clientId: 'c', generation: 1 }, false)
  for (let sequence = 0; sequence < 200; sequence++) {
    first.send('', frame(['x'.repeat(100)], { producerId: 5, sequence }))
    first.settle()
    if (sequence % 10 === 0) {
      first.groups.commit({ group: 'g', clientId: 'c', offsets: [['orders', 0, sequence, 1]] }, () => {})
    }
  }
  first.settle()
  await first.stop()
  const second = await BrokerBench.start(first, 4_096)
  t.deepEqual(second.state.save(), first.state.save())
})

test('state: the offsets of a deleted topic are gone, and those of its namesakes stay', (t) => {
  const state = new BrokerState(() => 0)
  state.changeOffsets({
    group: 'g',
    offsets: [
      ['a', 0, 1],
      ['ab', 0, 2],
    ],
  })
  state.changeOffsets({ group: 'h', offsets: [['a', 0, 1]] })
  state.changeTopic({ deleted: 'a' })
  t.deepEqual(
    [...state.offsets].map(([group, offsets]) => [group, [...offsets]]),
    [['g', [['ab/0', 2]]]],
  )
})

test('coordinator: all who know the same brokers name the same one, in whatever order they know them', (t) => {
  fc.assert(
    fc.property(
      fc.string(),
      fc.uniqueArray(fc.string({ minLength: 1 }), { minLength: 1 }),
      (group, brokers) => {
        const chosen = coordinatorOf(group, brokers)
        return brokers.includes(chosen!) && chosen === coordinatorOf(group, [...brokers].reverse())
      },
    ),
  )
  t.is(coordinatorOf('g', []), null)
})

test('coordinator: when a broker leaves, only its groups move; when one comes, it takes its share', (t) => {
  const groups = Array.from({ length: 3_000 }, (_, i) => `group-${i}`)
  const brokers = ['broker-a', 'broker-b', 'broker-c', 'broker-d']
  const before = groups.map((group) => coordinatorOf(group, brokers))
  for (const gone of brokers) {
    const left = brokers.filter((name) => name !== gone)
    groups.forEach((group, i) => {
      if (before[i] !== gone) t.is(coordinatorOf(group, left), before[i]!)
    })
    const share = before.filter((name) => name === gone).length
    t.true(share > 600 && share < 900, `${gone} has ${share}`)
  }
})
