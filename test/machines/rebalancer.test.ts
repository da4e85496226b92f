import test from 'ava'
import { type RebalancerEvent, rebalancerMachine } from '../../machines/rebalancer.ts'
import { stepper } from '../support/stepper.ts'

const member = (clientId: string, topics = ['t']) => ({ clientId, instance: `${clientId}-1`, topics })
const queues = (count: number) =>
  Array.from({ length: count }, (_, queueId) => ({ topic: 't', brokerName: 'b', queueId }))

function started(clientId = 'c1') {
  const consumer = stepper(rebalancerMachine, {
    group: 'billing',
    clientId,
    instance: `${clientId}-1`,
    topics: ['t'],
    allocation: 'averagely',
  })
  consumer.take()
  return {
    ...consumer,
    members: (generation: number, ...clientIds: string[]) =>
      consumer.send({ type: 'members.changed', generation, members: clientIds.map((id) => member(id)) }),
    route: (count: number) => consumer.send({ type: 'queues.changed', topic: 't', queues: queues(count) }),
    grant: (queueId: number, generation: number) =>
      consumer.send({ type: 'queue.claimed', queue: `t/b/${queueId}`, generation }),
    refuse: (queueId: number, generation: number, owner: string, ownerGeneration = 1) =>
      consumer.send({ type: 'claim.refused', queue: `t/b/${queueId}`, generation, owner, ownerGeneration }),
    drained: (queueId: number) => consumer.send({ type: 'queue.drained', queue: `t/b/${queueId}` }),
    /** The orders for queues, in short: 'claim 0', 'force 0', 'drain 1', 'drop 2'. */
    orders: () =>
      consumer.take().flatMap((order) => {
        if (order.type === 'claimQueue') {
          return `${order.params.force ? 'force' : 'claim'} ${order.params.queue.slice(4)}`
        }
        if (order.type === 'drainQueue') return `drain ${order.params.queue.slice(4)}`
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
function owner() {
  const consumer = started()
  consumer.route(2)
  consumer.members(1, 'c1')
  consumer.grant(0, 1)
  consumer.grant(1, 1)
  consumer.take()
  return consumer
}
const balance = (consumer: { state: unknown }) =>
  (consumer.state as { member?: { balance: string } }).member?.balance

test('rebalancer: joins with the last generation it knew', (t) => {
  const consumer = stepper(rebalancerMachine, {
    group: 'billing',
    clientId: 'c1',
    instance: 'c1-1',
    topics: ['t'],
    allocation: 'averagely',
  })
  t.deepEqual(consumer.take(), [
    {
      type: 'joinGroup',
      params: { group: 'billing', clientId: 'c1', instance: 'c1-1', topics: ['t'], generation: 0 },
    },
  ])
})

test('rebalancer: joins again after a failure or a refusal, and reports the refusal', (t) => {
  const consumer = started()
  consumer.send({ type: 'join.refused', code: 'NO_PERMISSION', message: 'in use' })
  t.deepEqual(consumer.take(), [
    { type: 'reportRefused', params: { code: 'NO_PERMISSION', message: 'in use' } },
  ])
  consumer.expire('joinRetry')
  t.like(consumer.take(), [{ type: 'joinGroup' }])
  consumer.send({ type: 'join.failed', code: 'timedOut', message: 'no answer' })
  consumer.expire('joinRetry')
  t.like(consumer.take(), [{ type: 'joinGroup' }])
})

test('rebalancer: claims its share when it knows the members and the queues, in whatever order', (t) => {
  const events: RebalancerEvent[] = [
    { type: 'member.welcomed', generation: 3, members: [member('c1'), member('c2')] },
    { type: 'queues.changed', topic: 't', queues: queues(4) },
  ]
  for (const order of [events, [...events].reverse()]) {
    const consumer = started()
    for (const event of order) consumer.send(event)
    t.deepEqual(consumer.orders(), ['claim 0', 'claim 1'])
    t.deepEqual(consumer.held, ['0 claiming', '1 claiming'])
    t.is(balance(consumer), 'moving')
  }
})

test('rebalancer: is balanced when all that is its share is granted', (t) => {
  const consumer = started()
  consumer.route(2)
  consumer.members(1, 'c1')
  consumer.grant(0, 1)
  t.is(balance(consumer), 'moving')
  consumer.take()
  consumer.grant(1, 1)
  t.is(balance(consumer), 'balanced')
  t.deepEqual(consumer.take(), [
    { type: 'announceAssignment', params: { owned: ['t/b/0', 't/b/1'], generation: 1 } },
  ])
})

test('rebalancer: a consumer without a share is idle, and says so', (t) => {
  const consumer = started('c2')
  consumer.members(2, 'c1', 'c2')
  t.is(balance(consumer), 'moving')
  consumer.route(1)
  t.is(balance(consumer), 'idle')
  t.deepEqual(consumer.take().at(-1), { type: 'announceAssignment', params: { owned: [], generation: 2 } })
})

test('rebalancer: only members that subscribe a topic count for it', (t) => {
  const consumer = started()
  consumer.route(2)
  consumer.send({ type: 'members.changed', generation: 1, members: [member('c1'), member('c2', ['other'])] })
  t.deepEqual(consumer.orders(), ['claim 0', 'claim 1'])
})

test('rebalancer: drains what is not its share any more, and touches nothing else', (t) => {
  const consumer = owner()
  consumer.members(2, 'c1', 'c2')
  t.deepEqual(consumer.orders(), ['drain 1'])
  t.deepEqual(consumer.held, ['0 owned', '1 draining'])
  consumer.drained(1)
  t.deepEqual(consumer.held, ['0 owned'])
  t.is(balance(consumer), 'balanced')
})

test('rebalancer: claims a drained queue anew when it became its share again', (t) => {
  const consumer = owner()
  consumer.members(2, 'c1', 'c2')
  consumer.members(3, 'c1')
  t.deepEqual(consumer.orders(), ['drain 1'])
  consumer.drained(1)
  t.deepEqual(consumer.orders(), ['claim 1'])
})

test('rebalancer: an older list of members is not heard', (t) => {
  const consumer = owner()
  consumer.members(3, 'c1', 'c2')
  consumer.take()
  consumer.members(2, 'c1')
  t.deepEqual(consumer.take(), [])
  t.is(consumer.context.generation, 3)
})

test('rebalancer: claims again, without force, while the owner is a member', (t) => {
  const consumer = started('c2')
  consumer.route(2)
  consumer.members(2, 'c1', 'c2')
  t.deepEqual(consumer.orders(), ['claim 1'])
  consumer.refuse(1, 2, 'c1')
  t.deepEqual(consumer.held, ['1 refused'])
  consumer.expire('retry/t/b/1')
  t.deepEqual(consumer.orders(), ['claim 1'])
})

test('rebalancer: forces a claim when the owner is no member any more', (t) => {
  const consumer = started('c2')
  consumer.route(2)
  consumer.members(2, 'c2')
  consumer.refuse(0, 2, 'c1')
  consumer.take()
  consumer.expire('retry/t/b/0')
  t.deepEqual(consumer.orders(), ['force 0'])
})

test('rebalancer: forces a claim when the owner did not let go within the hand-off limit', (t) => {
  const consumer = started('c2')
  consumer.route(2)
  consumer.members(2, 'c1', 'c2')
  consumer.refuse(1, 2, 'c1')
  consumer.take()
  consumer.expire('handOff/t/b/1')
  t.deepEqual(consumer.orders(), ['force 1'])
  consumer.grant(1, 2)
  t.deepEqual(consumer.held, ['1 owned'])
  t.false(consumer.timers.some((id) => id.includes('t/b/1')))
})

test('rebalancer: joins again with the later generation that a broker knows', (t) => {
  const consumer = started('c2')
  consumer.route(1)
  consumer.members(2, 'c2')
  consumer.take()
  consumer.refuse(0, 2, 'c1', 7)
  t.like(consumer.take(), [{ type: 'joinGroup', params: { generation: 7 } }])
  t.deepEqual(consumer.held, ['0 refused'])
})

test('rebalancer: an owner of its own generation that is not on its list shows that there was another list', (t) => {
  const consumer = started('c2')
  consumer.route(1)
  consumer.members(2, 'c2')
  consumer.take()
  consumer.refuse(0, 2, 'c1', 2)
  t.like(consumer.take(), [{ type: 'joinGroup', params: { generation: 3 } }])
})

test('rebalancer: a member that holds a queue of its own generation shows nothing of the kind', (t) => {
  const consumer = started('c2')
  consumer.route(2)
  consumer.members(2, 'c1', 'c2')
  consumer.take()
  consumer.refuse(1, 2, 'c1', 2)
  t.deepEqual(consumer.take(), [])
  t.is(balance(consumer), 'moving')
})

test('rebalancer: a claim whose fate is unknown is made again, and released when it is not wanted any more', (t) => {
  const consumer = started('c2')
  consumer.route(2)
  consumer.members(2, 'c1', 'c2')
  consumer.take()
  consumer.send({ type: 'claim.failed', queue: 't/b/1', generation: 2 })
  consumer.expire('retry/t/b/1')
  t.deepEqual(consumer.orders(), ['claim 1'])
  consumer.route(1)
  t.deepEqual(consumer.orders(), ['drain 1'])
})

test('rebalancer: a claim that was refused is simply forgotten when it is not wanted any more', (t) => {
  const consumer = started('c2')
  consumer.route(2)
  consumer.members(2, 'c1', 'c2')
  consumer.refuse(1, 2, 'c1')
  consumer.take()
  consumer.route(1)
  t.deepEqual(consumer.orders(), [])
  t.deepEqual(consumer.held, [])
  t.false(consumer.timers.some((id) => id.includes('t/b/1')))
})

test('rebalancer: a grant that comes too late is given back', (t) => {
  const consumer = started('c2')
  consumer.route(2)
  consumer.members(2, 'c1', 'c2')
  consumer.route(1)
  consumer.drained(1)
  t.deepEqual(consumer.held, [])
  consumer.take()
  consumer.grant(1, 2)
  t.deepEqual(consumer.orders(), ['drain 1'])
})

test('rebalancer: a grant of an older claim is not taken for that of the last one', (t) => {
  const consumer = owner()
  consumer.members(2, 'c1', 'c2')
  consumer.drained(1)
  consumer.members(3, 'c1')
  consumer.take()
  consumer.grant(1, 1)
  t.deepEqual(consumer.held, ['0 owned', '1 claiming'])
  consumer.grant(1, 3)
  t.deepEqual(consumer.held, ['0 owned', '1 owned'])
})

test('rebalancer: drops a fenced queue, commits nothing, and claims it again while it is its share', (t) => {
  const consumer = owner()
  consumer.send({ type: 'queue.fenced', queue: 't/b/1', generation: 1 })
  t.deepEqual(consumer.orders(), ['drop 1'])
  t.deepEqual(consumer.held, ['0 owned', '1 refused'])
  consumer.expire('retry/t/b/1')
  t.deepEqual(consumer.orders(), ['claim 1'])
})

test('rebalancer: a fence of an earlier claim does not touch the queue', (t) => {
  const consumer = owner()
  consumer.send({ type: 'queue.fenced', queue: 't/b/1', generation: 0 })
  t.deepEqual(consumer.take(), [])
})

test('rebalancer: losing the coordinator takes no queue away', (t) => {
  for (const type of ['beat.failed', 'beat.rejected'] as const) {
    const consumer = owner()
    consumer.send({ type })
    t.deepEqual(consumer.state, { joining: 'asking' })
    t.deepEqual(consumer.held, ['0 owned', '1 owned'])
    t.deepEqual(consumer.orders(), [])
    consumer.members(2, 'c1')
    t.deepEqual(consumer.orders(), [])
    t.is(balance(consumer), 'balanced')
  }
})

test('rebalancer: joins again when a newer list has it not in it', (t) => {
  const consumer = owner()
  consumer.members(2, 'c2')
  t.deepEqual(consumer.state, { joining: 'asking' })
  t.deepEqual(consumer.held, ['0 owned', '1 owned'])
})

test('rebalancer: beats at every interval, with the generation it knows', (t) => {
  const consumer = owner()
  consumer.expire('beatInterval')
  t.deepEqual(consumer.take(), [
    { type: 'sendBeat', params: { group: 'billing', clientId: 'c1', instance: 'c1-1', generation: 1 } },
  ])
})

test('rebalancer: leaves the group only after all that it held is given back', (t) => {
  const consumer = owner()
  consumer.send({ type: 'consumer.closed' })
  t.deepEqual(consumer.orders(), ['drain 0', 'drain 1'])
  consumer.expire('beatInterval')
  t.like(consumer.take(), [{ type: 'sendBeat' }])
  consumer.drained(0)
  t.deepEqual(consumer.take(), [])
  consumer.drained(1)
  t.is(consumer.state, 'left')
  t.deepEqual(consumer.take(), [
    { type: 'leaveGroup', params: { group: 'billing', clientId: 'c1', instance: 'c1-1' } },
  ])
})

test('rebalancer: a queue that does not drain holds up the farewell for the hand-off limit only', (t) => {
  const consumer = owner()
  consumer.send({ type: 'consumer.closed' })
  consumer.expire('handOffLimit')
  t.is(consumer.state, 'left')
})

test('rebalancer: gives nothing back that it does not hold when it closes', (t) => {
  const consumer = started()
  consumer.send({ type: 'consumer.closed' })
  t.is(consumer.state, 'left')
})
