/** The parts of a broker: who owns a queue, what producers are remembered by, what is derived from the log. */
import test from 'ava'
import fc from 'fast-check'
import { BrokerState } from '../../actors/broker/broker-state.ts'
import { GAP, NEXT, ProducerStates } from '../../actors/broker/producer-states.ts'
import type { ClaimOutcome } from '../../actors/broker/queue-owners.ts'
import { coordinatorOf } from '../../machines/coordinator-of.ts'
import { generationOf } from '../../machines/generation.ts'
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

/** A broker of one topic, and what members of a group ask of it. */
async function owning(queues = 2) {
  const bench = await BrokerBench.start()
  bench.topic('orders', { queues })
  bench.settle()
  return {
    bench,
    place: (queueId = 0, group = 'g') => ({ group, topic: 'orders', queueId }),
    /** What is answered, in order; `null` for a claim that has no answer yet. */
    claim(
      clientId: string,
      generation: number,
      { force = false, waits = false, queueId = 0, group = 'g', instance = clientId } = {},
    ) {
      const asked: { answer: ClaimOutcome | undefined; times: number } = { answer: undefined, times: 0 }
      bench.groups.owners.claim(
        { group, topic: 'orders', queueId },
        { clientId, instance, generation },
        { force, waits },
        (answer) => {
          asked.answer = answer
          asked.times++
        },
      )
      return asked
    },
    release: (clientId: string, generation: number, assignEpoch: number, offset: number | null = null) =>
      bench.groups.owners.release(
        { group: 'g', topic: 'orders', queueId: 0 },
        { clientId, instance: clientId, generation, assignEpoch, offset },
      ),
    get owner() {
      return bench.groups.owners.of('g', 'orders/0')?.clientId ?? null
    },
  }
}

test('owners: a claim is answered AFTER the record of its grant is confirmed', async (t) => {
  const { bench, claim } = await owning()
  const asked = claim('a', 1)
  t.is(asked.times, 0)
  bench.settle()
  t.deepEqual(asked, { answer: { granted: true, assignEpoch: 1 }, times: 1 })
})

test('owners: a claim that waits is granted by the release, and answered once', async (t) => {
  const { bench, claim, release } = await owning()
  claim('a', 1)
  bench.settle()
  const asked = claim('b', 2, { waits: true })
  bench.settle()
  t.is(asked.times, 0)
  release('a', 1, 1)
  bench.settle()
  t.deepEqual(asked, { answer: { granted: true, assignEpoch: 2 }, times: 1 })
  bench.clock.advance(10_000)
  t.is(asked.times, 1)
})

test('owners: a claim that waits is refused when its time is over', async (t) => {
  const { bench, claim } = await owning()
  claim('a', 1)
  const asked = claim('b', 2, { waits: true })
  bench.clock.advance(10_000)
  t.deepEqual(asked, {
    answer: { granted: false, owner: { clientId: 'a', instance: 'a', generation: 1 } },
    times: 1,
  })
})

test('owners: a grant that is not confirmed yet takes nothing from whoever waits', async (t) => {
  const { bench, claim, release } = await owning()
  claim('a', 1)
  bench.settle()
  const waiting = claim('b', 2, { waits: true })
  claim('a', 3) // The owner claims anew; the record of it is not confirmed yet.
  release('a', 3, 2)
  bench.settle()
  t.deepEqual(waiting, { answer: { granted: true, assignEpoch: 3 }, times: 1 })
})

test('owners: whoever asks again while it waits is answered once for each time', async (t) => {
  const { bench, claim, release } = await owning()
  claim('a', 1)
  const first = claim('b', 2, { waits: true })
  const second = claim('b', 2, { waits: true })
  t.deepEqual(first, {
    answer: { granted: false, owner: { clientId: 'a', instance: 'a', generation: 1 } },
    times: 1,
  })
  release('a', 1, 1)
  bench.settle()
  t.deepEqual(second, { answer: { granted: true, assignEpoch: 2 }, times: 1 })
})

test('owners: when the mastership ends, whoever waits or is not told of its grant yet asks the next one', async (t) => {
  const { bench, claim } = await owning()
  claim('a', 1)
  bench.settle()
  const asked = [claim('b', 2, { waits: true }), claim('c', 1, { queueId: 1 })]
  bench.groups.owners.close()
  bench.settle()
  bench.clock.advance(10_000)
  t.deepEqual(asked, [
    { answer: null, times: 1 },
    { answer: null, times: 1 },
  ])
})

test('owners: groups and queues do not know of each other', async (t) => {
  const { bench, claim } = await owning()
  const asked = [claim('a', 1), claim('b', 1, { group: 'h' }), claim('b', 1, { queueId: 1 }), claim('b', 1)]
  bench.settle()
  t.deepEqual(
    asked.map(({ answer }) => answer?.granted),
    [true, true, true, false],
  )
  t.deepEqual([...bench.groups.owners.in('g').keys()], ['orders/0', 'orders/1'])
})

test('owners: a topic that is made anew has no owners, and NEVER grants under an earlier assignEpoch', async (t) => {
  for (const isForgotten of [true, false]) {
    const { bench, claim, release } = await owning()
    claim('a', 1)
    release('a', 1, 1)
    claim('a', 1)
    const waiting = claim('b', 2, { waits: true })
    bench.settle()
    bench.state.changeTopic({ deleted: 'orders' })
    if (isForgotten) bench.groups.owners.forget((queue) => queue.startsWith('orders/'))
    bench.topic('orders')
    bench.settle()
    const asked = claim('c', 1)
    bench.settle()
    t.deepEqual(asked, { answer: { granted: true, assignEpoch: 3 }, times: 1 })
    t.deepEqual(waiting, { answer: { granted: false, owner: null }, times: 1 })
  }
})

test('owners: two processes of one name that claim under one list are answered each for itself', async (t) => {
  const { bench, claim, release } = await owning()
  claim('a', 1)
  bench.settle()
  const waiting = claim('b', 2, { waits: true, instance: 'b1' })
  const other = claim('b', 2, { instance: 'b2' })
  t.is(waiting.times, 0)
  t.like(other, { times: 1, answer: { granted: false } })
  release('a', 1, 1)
  bench.settle()
  t.deepEqual(waiting, { times: 1, answer: { granted: true, assignEpoch: 2 } })
  t.is(other.times, 1)
})

test('owners: a broker that starts again knows each owner, and its assignEpoch', async (t) => {
  const { bench, claim, release } = await owning()
  claim('a', 1)
  release('a', 1, 1)
  claim('a', 4)
  bench.settle()
  await bench.stop()
  const second = await BrokerBench.start(bench)
  t.true(second.groups.owners.isOwner('g', 'orders/0', 'a', 2))
  let answer: ClaimOutcome | undefined
  const place = { group: 'g', topic: 'orders', queueId: 0 }
  second.groups.owners.claim(
    place,
    { clientId: 'b', instance: 'b', generation: 5 },
    { force: false, waits: false },
    (it) => {
      answer = it
    },
  )
  t.deepEqual(answer, { granted: false, owner: { clientId: 'a', instance: 'a', generation: 4 } })
})

test('owners: AT MOST ONE member owns a queue, and every claim is answered once, whatever is asked', async (t) => {
  const members = fc.constantFrom('a', 'b', 'c')
  // Of two coordinators that may count alike: what is later may force, what is a rival's may not.
  const generation = fc
    .tuple(fc.integer({ min: 1, max: 3 }), fc.constantFrom(0, 7))
    .map(([count, number]) => generationOf(count, number))
  const step = fc.oneof(
    fc.record({
      type: fc.constant('claim' as const),
      clientId: members,
      generation,
      force: fc.boolean(),
      waits: fc.boolean(),
    }),
    fc.record({
      type: fc.constant('release' as const),
      clientId: members,
      generation,
      assignEpoch: fc.integer({ min: 0, max: 8 }),
    }),
    fc.record({ type: fc.constant('unseat' as const) }),
    fc.record({ type: fc.constant('pass' as const), ms: fc.constantFrom(0, 1, 500, 3_000) }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const { bench, claim, release, place } = await owning()
      const asked: { clientId: string; claim: ReturnType<typeof claim> }[] = []
      for (const it of steps) {
        if (it.type === 'claim')
          asked.push({ clientId: it.clientId, claim: claim(it.clientId, it.generation, it) })
        else if (it.type === 'release') release(it.clientId, it.generation, it.assignEpoch)
        else if (it.type === 'unseat') bench.groups.owners.unseat(place(), 0)
        else bench.clock.advance(it.ms)
        const owners = ['a', 'b', 'c'].filter((clientId) =>
          Array.from({ length: 50 }, (_, epoch) => epoch).some((epoch) =>
            bench.groups.owners.isOwner('g', 'orders/0', clientId, epoch),
          ),
        )
        if (owners.length > 1) return false
      }
      bench.clock.advance(10_000)
      const grants = new Map<number, string>()
      for (const { clientId, claim } of asked) {
        if (claim.times !== 1) return false
        const { answer } = claim
        if (!answer?.granted) continue
        if ((grants.get(answer.assignEpoch) ?? clientId) !== clientId) return false
        grants.set(answer.assignEpoch, clientId)
      }
      return true
    }),
    { numRuns: 200 },
  )
  t.pass()
})

const own = (bench: BrokerBench, topic: string, clientId: string) =>
  bench.groups.owners.claim(
    { group: 'g', topic, queueId: 0 },
    { clientId, instance: clientId, generation: 1 },
    { force: false, waits: false },
    () => {},
  )

test('state: replayed from the log it is what it was', async (t) => {
  const first = await BrokerBench.start()
  first.topic('orders')
  first.topic('gone')
  own(first, 'gone', 'd')
  for (let sequence = 0; sequence < 12; sequence++) first.send('', frame(['x'], { producerId: 5, sequence }))
  own(first, 'orders', 'c')
  first.groups.commit({ group: 'g', clientId: 'c', offsets: [['orders', 0, 3, 1]] }, () => {})
  first.store.appendControl(2, Buffer.from(JSON.stringify({ deleted: 'gone' })))
  first.state.changeTopic({ deleted: 'gone' })
  first.settle()
  await first.stop()
  const second = await BrokerBench.start(first)
  t.deepEqual(second.state.save(), first.state.save())
  t.is(second.state.assignFloor, 1)
})

test('state: restored from a snapshot and the log behind it, it is what it was', async (t) => {
  const first = await BrokerBench.start(null, 4_096)
  first.topic('orders')
  own(first, 'orders', 'c')
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

test('state: which queues were there when a group began is known after a restart, and of all when it was not saved', (t) => {
  const state = new BrokerState(() => 0)
  const grow = (queues: number) =>
    state.changeTopic({ set: { topic: 'a', readQueues: queues, writeQueues: queues, perm: 6 } })
  const later = () => [0, 1, 2, 3, 4].filter((queueId) => state.isLater('g', 'a', queueId))
  grow(2)
  t.deepEqual(later(), [])
  state.changeOffsets({ group: 'g', offsets: [['a', 0, 1]] })
  grow(4)
  state.changeOffsets({ group: 'g', offsets: [['a', 1, 1]] })
  t.deepEqual(later(), [2, 3, 4])
  const saved = JSON.parse(JSON.stringify(state.save()))
  state.changeTopic({ deleted: 'a' })
  t.deepEqual(later(), [])
  state.restore(saved)
  t.deepEqual(later(), [2, 3, 4])
  const { begun: _, ...early } = saved
  state.restore(early)
  t.deepEqual(later(), [4])
})

test('state: what early versions saved, without owners, can be restored', (t) => {
  const state = new BrokerState(() => 0)
  const { owners: _, assignFloor: __, ...early } = state.save() as Record<string, never>
  state.changeOwner({
    ...{ group: 'g', topic: 'a', queueId: 0, offset: null },
    ...{ assignEpoch: 4, owner: { clientId: 'c', instance: 'c', generation: 1 } },
  })
  state.changeTopic({ deleted: 'a' })
  state.restore(early)
  t.deepEqual(state.ownership('g', 'a/0'), { assignEpoch: 0, owner: null })
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
