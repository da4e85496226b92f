import test from 'ava'
import fc from 'fast-check'
import { generationOf } from '../../machines/generation.ts'
import { rebalancerMachine } from '../../machines/rebalancer.ts'
import { stepper } from '../support/stepper.ts'

const memberOf = (clientId: string, isStatic = false) => ({
  ...{ clientId, instance: `${clientId}-1`, subscriptions: { t: '*' }, allocation: 'averagely' as const },
  ...{ room: '', queues: [], consumerRooms: [], isStatic, sessionMs: 10_000 },
})
const keyOf = (queueId: number) => `t/b/${queueId}`
/** Of the group's coordinator, or of another one. */
const nth = (count: number, number = 5): number => generationOf(count, number)

function started(clientId = 'c1', { isStatic = false } = {}) {
  const consumer = stepper(rebalancerMachine, { group: 'billing', member: memberOf(clientId, isStatic) })
  consumer.take()
  return {
    ...consumer,
    /** A division: who belongs to the group, and the queues that are this member's share; null: it is not in it. */
    told: (count: number, members: string[], share: number[] | null) =>
      consumer.send({
        type: 'members.changed',
        generation: nth(count),
        members,
        share: share === null ? null : share.map(keyOf),
      }),
    grant: (queueId: number, count: number, assignEpoch = 1) =>
      consumer.send({ type: 'queue.claimed', queue: keyOf(queueId), generation: nth(count), assignEpoch }),
    refuse: (queueId: number, count: number, owner: string | null, ownerCount = 1, number?: number) =>
      consumer.send({
        type: 'claim.refused',
        queue: keyOf(queueId),
        generation: nth(count),
        owner,
        ownerGeneration: nth(ownerCount, number),
      }),
    fail: (queueId: number, count: number) =>
      consumer.send({ type: 'claim.failed', queue: keyOf(queueId), generation: nth(count) }),
    fence: (queueId: number, assignEpoch: number) =>
      consumer.send({ type: 'queue.fenced', queue: keyOf(queueId), assignEpoch }),
    /** The drain that was ordered last has ended. */
    drained: (queueId: number) => {
      const { generation = 0, assignEpoch = 0 } = consumer.context.held[keyOf(queueId)] ?? {}
      consumer.send({ type: 'queue.drained', queue: keyOf(queueId), generation, assignEpoch })
    },
    /** The orders for queues, in short: 'claim 0', 'await 0', 'force 0', 'drain 1 of 4', 'drop 2'. */
    orders: () =>
      consumer.take().flatMap((order) => {
        if (order.type === 'claimQueue') {
          const { force, waits, queue } = order.params
          return `${force ? 'force' : waits ? 'await' : 'claim'} ${queue.slice(4)}`
        }
        if (order.type === 'drainQueue') {
          return `drain ${order.params.queue.slice(4)} of ${order.params.assignEpoch}`
        }
        return order.type === 'dropQueue' ? `drop ${order.params.queue.slice(4)}` : []
      }),
    get held() {
      return Object.entries(consumer.context.held).map(([queue, { status }]) => `${queue.slice(4)} ${status}`)
    },
    get context() {
      return consumer.context
    },
    get state() {
      return consumer.state
    },
    get timers() {
      return consumer.timers
    },
  }
}

/** c1 alone, which owns queues 0 and 1 since generation 1. */
function owner(options = {}) {
  const consumer = started('c1', options)
  consumer.told(1, ['c1'], [0, 1])
  consumer.grant(0, 1)
  consumer.grant(1, 1)
  consumer.take()
  return consumer
}
/** c2, which waits for queue 1 that c1 holds. */
function waiting() {
  const consumer = started('c2')
  consumer.told(2, ['c1', 'c2'], [1])
  consumer.refuse(1, 2, 'c1')
  consumer.take()
  return consumer
}
const balance = (consumer: { state: unknown }) =>
  (consumer.state as { member?: { balance: string } }).member?.balance

// ----------------------------------------------------------------------------------------------------- the group

test('rebalancer: joins with the last generation it knew and with what it owns', (t) => {
  const consumer = stepper(rebalancerMachine, { group: 'billing', member: memberOf('c1') })
  const joining = { group: 'billing', ...memberOf('c1') }
  t.deepEqual(consumer.take(), [{ type: 'joinGroup', params: { ...joining, generation: 0, held: [] } }])
  const again = owner()
  again.told(2, ['c1', 'c2'], [0])
  again.take()
  again.send({ type: 'beat.rejected' })
  t.deepEqual(again.take(), [
    { type: 'joinGroup', params: { ...joining, generation: nth(2), held: ['t/b/0'] } },
  ])
})

test('rebalancer: joins again after a failure or a refusal, and reports the refusal', (t) => {
  const consumer = started()
  const refusal = { code: 'NO_PERMISSION', message: 'in use', isFinal: false }
  consumer.send({ type: 'join.refused', ...refusal })
  t.deepEqual(consumer.take(), [{ type: 'reportRefused', params: refusal }])
  consumer.expire('joinRetry')
  t.like(consumer.take(), [{ type: 'joinGroup' }])
  consumer.send({ type: 'join.failed', code: 'timedOut', message: 'no answer' })
  consumer.expire('joinRetry')
  t.like(consumer.take(), [{ type: 'joinGroup' }])
})

test('rebalancer: one that is turned away for good has ended; one that had a place goes on asking', (t) => {
  const refusal = { type: 'join.refused', code: 'NO_PERMISSION', message: 'in use', isFinal: true } as const
  const stranger = started()
  stranger.send(refusal)
  t.is(stranger.state, 'refused')
  t.deepEqual(stranger.timers, [])
  const member = owner()
  member.send({ type: 'beat.rejected' })
  member.send(refusal)
  t.deepEqual(member.state, { joining: 'waiting' })
  t.deepEqual(member.held, ['0 owned', '1 owned'])
})

test('rebalancer: one that was taken in beats while it waits for its share, and joins again when nobody knows it', (t) => {
  for (const type of ['beat.failed', 'beat.rejected'] as const) {
    const consumer = started()
    consumer.send({ type: 'join.accepted' })
    t.deepEqual(consumer.state, { joining: 'awaited' })
    consumer.expire('beatInterval')
    t.like(consumer.take(), [{ type: 'sendBeat', params: { generation: 0 } }])
    consumer.send({ type })
    t.like(consumer.take(), [{ type: 'joinGroup' }])
  }
})

test('rebalancer: beats at every interval, with the generation it knows', (t) => {
  const consumer = owner()
  consumer.expire('beatInterval')
  t.deepEqual(consumer.take(), [
    { type: 'sendBeat', params: { group: 'billing', clientId: 'c1', instance: 'c1-1', generation: nth(1) } },
  ])
})

test('rebalancer: an older division is not heard', (t) => {
  const consumer = owner()
  consumer.told(3, ['c1', 'c2'], [0])
  consumer.take()
  consumer.told(2, ['c1'], [0, 1])
  t.deepEqual(consumer.take(), [])
  t.is(consumer.context.generation, nth(3))
})

test('rebalancer: losing the coordinator takes no queue away', (t) => {
  for (const type of ['beat.failed', 'beat.rejected'] as const) {
    const consumer = owner()
    consumer.send({ type })
    t.deepEqual(consumer.state, { joining: 'asking' })
    t.deepEqual(consumer.held, ['0 owned', '1 owned'])
    t.deepEqual(consumer.orders(), [])
    consumer.told(2, ['c1'], [0, 1])
    t.deepEqual(consumer.orders(), [])
    t.is(balance(consumer), 'balanced')
  }
})

test('rebalancer: joins again when a newer division has it not in it', (t) => {
  const consumer = owner()
  consumer.told(2, ['c2'], null)
  t.deepEqual(consumer.state, { joining: 'asking' })
  t.deepEqual(consumer.held, ['0 owned', '1 owned'])
})

// ---------------------------------------------------------------------------------------------- what is its share

test('rebalancer: claims its share, and is balanced when all of it is granted', (t) => {
  const consumer = started()
  consumer.told(1, ['c1'], [0, 1])
  t.deepEqual(consumer.orders(), ['claim 0', 'claim 1'])
  consumer.grant(0, 1)
  t.is(balance(consumer), 'moving')
  consumer.take()
  consumer.grant(1, 1)
  t.is(balance(consumer), 'balanced')
  t.deepEqual(consumer.take(), [
    {
      type: 'announceAssignment',
      params: { owned: [0, 1].map((id) => ({ queue: keyOf(id), assignEpoch: 1 })), generation: nth(1) },
    },
  ])
})

test('rebalancer: a consumer without a share is idle, and says so', (t) => {
  const consumer = started('c2')
  consumer.told(2, ['c1', 'c2'], [])
  t.is(balance(consumer), 'idle')
  t.deepEqual(consumer.take().at(-1), {
    type: 'announceAssignment',
    params: { owned: [], generation: nth(2) },
  })
})

test('rebalancer: drains what is not its share any more, and touches nothing else', (t) => {
  const consumer = owner()
  consumer.told(2, ['c1', 'c2'], [0])
  t.deepEqual(consumer.orders(), ['drain 1 of 1'])
  t.deepEqual(consumer.held, ['0 owned', '1 draining'])
  consumer.drained(1)
  t.deepEqual(consumer.held, ['0 owned'])
  t.is(balance(consumer), 'balanced')
})

test('rebalancer: a drained queue that became its share again is claimed AFTER it was given back', (t) => {
  const consumer = owner()
  consumer.told(2, ['c1', 'c2'], [0])
  consumer.told(3, ['c1'], [0, 1])
  t.deepEqual(consumer.orders(), ['drain 1 of 1'])
  consumer.drained(1)
  t.deepEqual(consumer.orders(), ['claim 1'])
})

test('rebalancer: the end of a drain under an earlier grant says nothing of this one', (t) => {
  const consumer = owner()
  consumer.told(2, ['c1', 'c2'], [0])
  for (const [count, assignEpoch] of [
    [1, 0],
    [0, 1],
  ] as const) {
    consumer.send({ type: 'queue.drained', queue: keyOf(1), generation: nth(count), assignEpoch })
    t.deepEqual(consumer.held, ['0 owned', '1 draining'])
  }
  consumer.drained(1)
  t.deepEqual(consumer.held, ['0 owned'])
})

// ----------------------------------------------------------------------------------- a queue that another one holds

test('rebalancer: while the owner is a member its claim waits at the broker, again and again', (t) => {
  const consumer = started('c2')
  consumer.told(2, ['c1', 'c2'], [1])
  t.deepEqual(consumer.orders(), ['claim 1'])
  consumer.refuse(1, 2, 'c1')
  t.deepEqual(consumer.orders(), ['await 1'])
  t.deepEqual(consumer.held, ['1 claiming'])
  consumer.refuse(1, 2, 'c1') // It has waited long enough.
  t.deepEqual(consumer.held, ['1 refused'])
  consumer.expire('retry')
  t.deepEqual(consumer.orders(), ['claim 1'])
  consumer.refuse(1, 2, 'c1')
  t.deepEqual(consumer.orders(), ['await 1'])
  consumer.grant(1, 2)
  t.deepEqual(consumer.held, ['1 owned'])
})

test('rebalancer: takes a queue by force at once when its owner is no member', (t) => {
  const consumer = started('c2')
  consumer.told(2, ['c2'], [0])
  consumer.take()
  consumer.refuse(0, 2, 'c1')
  t.deepEqual(consumer.orders(), ['force 0'])
})

test('rebalancer: takes a queue by force as soon as its owner is no member any more', (t) => {
  const consumer = waiting()
  consumer.told(3, ['c2'], [0, 1])
  t.deepEqual(consumer.orders(), ['force 1', 'claim 0'])
  t.is(consumer.context.held['t/b/1']!.generation, nth(3))
})

test('rebalancer: takes a queue by force when its owner did not let go within the hand-off limit', (t) => {
  const consumer = waiting()
  consumer.expire('handOff/1')
  t.deepEqual(consumer.orders(), ['force 1'])
  consumer.grant(1, 2)
  t.deepEqual(consumer.held, ['1 owned'])
})

test('rebalancer: what was answered to a claim before it was forced does not stop it', (t) => {
  const consumer = waiting()
  consumer.told(3, ['c2'], [1])
  consumer.take()
  consumer.refuse(1, 2, 'c1') // To the claim that waited.
  t.deepEqual(consumer.orders(), [])
  consumer.grant(1, 3, 2)
  t.deepEqual(consumer.held, ['1 owned'])
})

test('rebalancer: joins again with the later generation that a broker knows', (t) => {
  const consumer = started('c2')
  consumer.told(2, ['c2'], [0])
  consumer.take()
  consumer.refuse(0, 2, 'c1', 7)
  t.like(consumer.take(), [{ type: 'joinGroup', params: { generation: nth(7) } }])
  t.deepEqual(consumer.held, ['0 refused'])
})

test('rebalancer: an owner by a list that counts alike, or less, shows that there was another coordinator', (t) => {
  for (const [count, number] of [
    [2, 4],
    [2, 6],
    [1, 4],
  ] as const) {
    const consumer = started('c2')
    consumer.told(2, ['c2'], [0])
    consumer.take()
    consumer.refuse(0, 2, 'c1', count, number)
    const [order] = consumer.take()
    t.is(order!.type, 'joinGroup')
    // Whatever the coordinator has told: it hears of a later one.
    t.true((order!.params as { generation: number }).generation > nth(2))
  }
})

test('rebalancer: a member that holds a queue of its own generation shows nothing of the kind', (t) => {
  const consumer = started('c2')
  consumer.told(2, ['c1', 'c2'], [1])
  consumer.take()
  consumer.refuse(1, 2, 'c1', 2)
  t.deepEqual(consumer.orders(), ['await 1'])
  t.is(balance(consumer), 'moving')
})

test('rebalancer: a claim that nobody can wait for any more is made again', (t) => {
  const consumer = waiting()
  consumer.refuse(1, 2, null) // The queue was free by then, or its topic is another one.
  consumer.expire('retry')
  t.deepEqual(consumer.orders(), ['claim 1'])
})

// ------------------------------------------------------------------------------- answers that come late, or never

test('rebalancer: a claim whose fate is unknown is made again, and released when it is not wanted any more', (t) => {
  const consumer = started('c2')
  consumer.told(2, ['c1', 'c2'], [1])
  consumer.take()
  consumer.fail(1, 2)
  consumer.expire('retry')
  t.deepEqual(consumer.orders(), ['claim 1'])
  consumer.told(3, ['c1', 'c2'], [])
  t.deepEqual(consumer.orders(), ['drain 1 of 0'])
})

test('rebalancer: a claim that waits is given up when it is not wanted any more', (t) => {
  const consumer = waiting()
  consumer.told(3, ['c1', 'c2'], [])
  t.deepEqual(consumer.orders(), ['drain 1 of 0'])
})

test('rebalancer: a claim that was refused is simply forgotten when it is not wanted any more', (t) => {
  const consumer = waiting()
  consumer.refuse(1, 2, 'c1')
  consumer.take()
  consumer.told(3, ['c1', 'c2'], [])
  t.deepEqual(consumer.orders(), [])
  t.deepEqual(consumer.held, [])
})

test('rebalancer: a grant that comes too late is given back', (t) => {
  const consumer = started('c2')
  consumer.told(2, ['c1', 'c2'], [1])
  consumer.told(3, ['c1', 'c2'], [])
  consumer.drained(1)
  t.deepEqual(consumer.held, [])
  consumer.take()
  consumer.grant(1, 2)
  t.deepEqual(consumer.orders(), ['drain 1 of 0'])
})

test('rebalancer: a claim that fails too late is given back, for it may have been granted', (t) => {
  const consumer = started('c2')
  consumer.told(2, ['c1', 'c2'], [1])
  consumer.told(3, ['c1', 'c2'], [])
  consumer.drained(1)
  consumer.take()
  consumer.fail(1, 2)
  t.deepEqual(consumer.orders(), ['drain 1 of 0'])
})

test('rebalancer: a grant of an older claim is not taken for that of the last one', (t) => {
  const consumer = owner()
  consumer.told(2, ['c1', 'c2'], [0])
  consumer.drained(1)
  consumer.told(3, ['c1'], [0, 1])
  consumer.take()
  consumer.grant(1, 1)
  t.deepEqual(consumer.held, ['0 owned', '1 claiming'])
  consumer.grant(1, 3, 2)
  t.deepEqual(consumer.held, ['0 owned', '1 owned'])
})

// ------------------------------------------------------------------------------------------------------- fences

test('rebalancer: drops a fenced queue, commits nothing, and claims it again while it is its share', (t) => {
  const consumer = owner()
  consumer.fence(1, 1)
  t.deepEqual(consumer.orders(), ['drop 1', 'claim 1'])
  t.deepEqual(consumer.held, ['0 owned', '1 claiming'])
  consumer.grant(1, 1, 2)
  t.is(consumer.context.held['t/b/1']!.assignEpoch, 2)
})

test('rebalancer: a queue that is fenced while it drains is dropped, and not waited for', (t) => {
  const consumer = owner()
  consumer.told(2, ['c1', 'c2'], [0])
  consumer.take()
  consumer.fence(1, 1)
  t.deepEqual(consumer.orders(), ['drop 1'])
  t.deepEqual(consumer.held, ['0 owned'])
  consumer.drained(1)
  t.deepEqual(consumer.take(), [])
})

test('rebalancer: a fence of another grant does not touch the queue', (t) => {
  const consumer = owner()
  for (const assignEpoch of [0, 2]) consumer.fence(1, assignEpoch)
  t.deepEqual(consumer.take(), [])
  consumer.told(2, ['c1', 'c2'], [0])
  consumer.drained(1)
  consumer.take()
  consumer.fence(1, 1)
  t.deepEqual(consumer.take(), [])
})

test('rebalancer: a fence is heeded while it joins again, and while it leaves', (t) => {
  const joining = owner()
  joining.send({ type: 'beat.failed' })
  joining.take()
  joining.fence(1, 1)
  t.deepEqual(joining.orders(), ['drop 1', 'claim 1'])
  const leaving = owner()
  leaving.send({ type: 'consumer.closed' })
  leaving.take()
  leaving.fence(0, 1)
  t.deepEqual(leaving.orders(), ['drop 0'])
  leaving.fence(1, 1)
  t.is(leaving.state, 'left')
})

// -------------------------------------------------------------------------------------------------------- leaving

test('rebalancer: leaves the group only after all that it held is given back, and says that it is leaving', (t) => {
  const consumer = owner()
  const who = { group: 'billing', clientId: 'c1', instance: 'c1-1' }
  consumer.send({ type: 'consumer.closed' })
  const orders = consumer.take()
  t.true(orders.some(({ type, params }) => type === 'announceLeaving' && params.clientId === 'c1'))
  t.is(orders.filter(({ type }) => type === 'drainQueue').length, 2)
  consumer.expire('beatInterval')
  t.like(consumer.take(), [{ type: 'sendBeat' }])
  consumer.drained(0)
  t.deepEqual(consumer.take(), [])
  consumer.drained(1)
  t.is(consumer.state, 'left')
  t.deepEqual(consumer.take(), [{ type: 'leaveGroup', params: { ...who, isAway: false } }])
})

test('rebalancer: a static one says nothing of leaving, gives its queues back, and is away', (t) => {
  const consumer = owner({ isStatic: true })
  consumer.send({ type: 'consumer.closed' })
  t.deepEqual(
    consumer.take().map(({ type }) => type),
    ['drainQueue', 'drainQueue', 'announceAssignment'],
  )
  consumer.drained(0)
  consumer.drained(1)
  t.like(consumer.take(), [{ type: 'leaveGroup', params: { isAway: true } }])
})

test('rebalancer: a division that comes while it leaves gives it nothing', (t) => {
  const consumer = owner()
  consumer.send({ type: 'consumer.closed' })
  consumer.take()
  consumer.told(2, ['c1'], [0, 1, 2])
  t.deepEqual(consumer.take(), [])
})

test('rebalancer: a queue that does not drain holds up the farewell for a limited time only', (t) => {
  const consumer = owner()
  consumer.send({ type: 'consumer.closed' })
  consumer.expire('leaveLimit')
  t.is(consumer.state, 'left')
})

test('rebalancer: gives nothing back that it does not hold when it closes', (t) => {
  const consumer = started()
  consumer.send({ type: 'consumer.closed' })
  t.is(consumer.state, 'left')
})

// -------------------------------------------------------------------------------------------- whatever comes in

test('rebalancer: holds a queue AT MOST ONCE, and asks for nothing that is not its share, whatever comes in', (t) => {
  const generation = fc.integer({ min: 1, max: 4 })
  const queue = fc.integer({ min: 0, max: 2 })
  const others = fc.subarray(['c2', 'c3'])
  const step = fc.oneof(
    fc.record({ do: fc.constant('told' as const), generation, others, share: fc.subarray([0, 1, 2]) }),
    fc.record({
      do: fc.constant('grant' as const),
      queue,
      generation,
      assignEpoch: fc.integer({ min: 1, max: 4 }),
    }),
    fc.record({
      do: fc.constant('refuse' as const),
      queue,
      generation,
      owner: fc.constantFrom('c2', 'c3', null),
    }),
    fc.record({ do: fc.constant('fail' as const), queue, generation }),
    fc.record({ do: fc.constant('fence' as const), queue, assignEpoch: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ do: fc.constant('drained' as const), queue }),
    fc.record({ do: fc.constant('expire' as const), name: fc.constantFrom('retry', 'handOff/') }),
    fc.record({ do: fc.constantFrom('beat.failed', 'beat.rejected', 'join.accepted', 'consumer.closed') }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const consumer = started()
      for (const it of steps) {
        if (it.do === 'told') consumer.told(it.generation, ['c1', ...it.others], it.share)
        else if (it.do === 'grant') consumer.grant(it.queue, it.generation, it.assignEpoch)
        else if (it.do === 'refuse') consumer.refuse(it.queue, it.generation, it.owner, it.generation)
        else if (it.do === 'fail') consumer.fail(it.queue, it.generation)
        else if (it.do === 'fence') consumer.fence(it.queue, it.assignEpoch)
        else if (it.do === 'drained') consumer.drained(it.queue)
        else if (it.do === 'expire') {
          const timer = consumer.timers.find((id) => id.startsWith(it.name))
          if (timer) consumer.expire(timer)
        } else consumer.send({ type: it.do })
        const { held, target } = consumer.context
        const share = new Set(target)
        for (const order of consumer.take()) {
          if (order.type === 'claimQueue' && !share.has(order.params.queue)) return false
          if (order.type === 'dropQueue' && held[order.params.queue]?.status === 'owned') return false
        }
        for (const [key, { status }] of Object.entries(held)) {
          if (!share.has(key) && status !== 'draining') return false
          // Nobody waits for ever: who is refused has a timer, who claims an answer to come.
          if (status === 'refused' && !consumer.timers.includes('retry')) return false
        }
        if (target.some((key) => held[key] === undefined)) return false
      }
      return true
    }),
    { numRuns: 2_000 },
  )
  t.pass()
})
