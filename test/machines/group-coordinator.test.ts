import test from 'ava'
import { countOf, generationOf } from '../../machines/generation.ts'
import {
  disagreementsOf,
  type GroupCoordinatorEvent,
  groupCoordinatorMachine,
  type Member,
} from '../../machines/group-coordinator.ts'
import { stepper } from '../support/stepper.ts'

const queuesOf = (topic: string, count: number) =>
  Array.from({ length: count }, (_, queueId) => ({ topic, brokerName: 'b', queueId }))
const member = (clientId: string, part: Partial<Member> = {}): Member => ({
  ...{ clientId, instance: `${clientId}-1`, subscriptions: { t: '*' }, allocation: 'averagely', room: '' },
  ...{ queues: [], consumerRooms: [], isStatic: false, sessionMs: 10_000 },
  ...part,
})

/** Of these machines' own, or of another coordinator's. */
const OWN = 5
const nth = (count: number, number = OWN): number => (count === 0 ? 0 : generationOf(count, number))

function started() {
  const coordinator = stepper(groupCoordinatorMachine, { group: 'billing', number: OWN })
  const who = (clientId: string, instance = `${clientId}-1`) => ({ clientId, instance })
  const is = (leaf: string) => JSON.stringify(coordinator.state).includes(`"${leaf}"`)
  return {
    ...coordinator,
    join: (
      clientId: string,
      { generation = 0, held = [] as string[], ...part }: Partial<Told & Member> = {},
    ) =>
      coordinator.send({
        type: 'member.joined',
        ...member(clientId, part),
        generation: nth(generation),
        held,
      }),
    beat: (clientId: string, generation: number, instance?: string) =>
      coordinator.send({ type: 'member.beat', ...who(clientId, instance), generation: nth(generation) }),
    say: (type: 'member.leaving' | 'member.left' | 'member.silent', clientId: string, instance?: string) =>
      coordinator.send({ type, ...who(clientId, instance) }),
    route: (count: number, topic = 't') =>
      coordinator.send({ type: 'queues.changed', topic, queues: queuesOf(topic, count) }),
    doubt: (generation: number, ...clientIds: string[]) =>
      coordinator.send({ type: 'owners.doubted', clientIds, generation: nth(generation) }),
    /** By a broker whose owners follow the division of another coordinator. */
    doubtOf: (generation: number, ...clientIds: string[]) =>
      coordinator.send({ type: 'owners.doubted', clientIds, generation }),
    lags: (lags: Record<string, number>) => coordinator.send({ type: 'lags.measured', lags }),
    /** Nothing more happens: whatever has happened becomes a division. */
    settle: () => coordinator.expire('settleWindow'),
    /** The orders in short: 'accept c1', 'refuse c1', 'refuse c1 for good', 'tell 3: c1 0 1, c2 2', … */
    orders: () =>
      coordinator.take().flatMap((order) => {
        switch (order.type) {
          case 'acceptMember':
            return `accept ${order.params.clientId}`
          case 'refuseMember':
            return `refuse ${order.params.clientId}${order.params.isFinal ? ' for good' : ''}`
          case 'rejectBeat':
            return `reject ${order.params.clientId}`
          case 'pushAssignment':
            return `tell ${countOf(order.params.generation)}: ${order.params.members.map(sharesOf).join(', ')}`
          case 'watchTopics':
            return `watch ${order.params.topics.join(' ')}`.trim()
          case 'measureLags':
            return 'measure'
          case 'reportGone':
            return `gone ${countOf(order.params.generation)}: ${order.params.gone?.join(' ') ?? 'not known'}`
          default:
            return []
        }
      }),
    notes: () =>
      coordinator.take().flatMap((order) => (order.type === 'noteRebalance' ? [order.params] : [])),
    get generation() {
      return countOf(coordinator.context.told.generation)
    },
    get members() {
      return Object.keys(coordinator.context.members)
    },
    is,
    get context() {
      return coordinator.context
    },
    get state() {
      return coordinator.state
    },
    get timers() {
      return coordinator.timers.map((id) => id.replace(/^xstate\.after\.(\w+)\..*/, '$1'))
    },
  }
}

type Told = { generation: number; held: string[] }
const sharesOf = ({ clientId, queues }: { clientId: string; queues: readonly string[] | null }): string =>
  [clientId, ...(queues?.map((queue) => queue.slice(4)) ?? ['by itself'])].join(' ')

/** Of a group of these members, with four queues, all told, and all know it. */
function stable(...clientIds: string[]) {
  const group = started()
  for (const clientId of clientIds) group.join(clientId)
  group.route(4)
  group.settle()
  for (const clientId of clientIds) group.beat(clientId, 1)
  group.take()
  return group
}

// -------------------------------------------------------------------------------------------- dividing the queues

test('group: a member is taken in at once, and told its share when the queues are known', (t) => {
  const group = started()
  group.join('c1')
  t.deepEqual(group.orders(), ['watch', 'accept c1', 'watch t'])
  group.settle()
  t.true(group.is('asking'))
  t.deepEqual(group.orders(), [])
  group.route(2)
  t.deepEqual(group.orders(), ['tell 1: c1 0 1'])
  t.true(group.is('resting'))
})

test('group: members that come and go together make one division', (t) => {
  const group = stable('c1')
  group.join('c2')
  group.join('c3')
  group.say('member.left', 'c1')
  t.deepEqual(group.orders(), ['accept c2', 'watch t', 'accept c3', 'watch t'])
  group.settle()
  t.deepEqual(group.orders(), ['tell 2: c2 0 1, c3 2 3'])
})

test('group: a change while the queues are asked for is in the division', (t) => {
  const group = started()
  group.join('c1')
  group.settle()
  group.join('c2')
  group.take()
  group.route(2)
  t.deepEqual(group.orders(), ['tell 1: c1 0, c2 1'])
})

test('group: every division is a new generation, which goes NEVER back', (t) => {
  const group = stable('c1')
  for (const clientId of ['c2', 'c3', 'c4']) {
    group.join(clientId)
    group.settle()
  }
  t.is(group.generation, 4)
  for (const clientId of group.members) group.say('member.left', clientId)
  t.is(group.state, 'empty')
  group.join('c5')
  group.route(4)
  group.settle()
  t.is(group.generation, 5)
})

test('group: other queues are divided anew, the same queues are not', (t) => {
  const group = stable('c1', 'c2')
  group.route(4)
  t.true(group.is('resting'))
  group.route(2)
  group.settle()
  t.deepEqual(group.orders(), ['tell 2: c1 0, c2 1'])
})

test('group: only members that subscribe a topic count for it', (t) => {
  const group = started()
  group.join('c1', { subscriptions: { t: '*', u: '*' } })
  group.join('c2', { subscriptions: { u: '*' } })
  group.route(2)
  group.route(2, 'u')
  group.take()
  group.settle()
  t.like(group.take().at(-1), {
    type: 'pushAssignment',
    params: {
      members: [
        { clientId: 'c1', topics: ['t', 'u'], queues: ['t/b/0', 't/b/1', 'u/b/0'] },
        { clientId: 'c2', topics: ['u'], queues: ['u/b/1'] },
      ],
    },
  })
})

test('group: other subscriptions of a member are a new division', (t) => {
  const group = stable('c1')
  group.join('c1', { generation: 1, subscriptions: { t: '*', u: 'paid' } })
  t.deepEqual(group.orders(), ['accept c1', 'watch t u'])
  t.true(group.is('settling'))
})

test('group: a topic of which nobody tells holds up the others for a moment only', (t) => {
  const group = started()
  group.join('c1', { subscriptions: { t: '*', u: '*' } })
  group.route(1)
  group.settle()
  group.take()
  group.expire('askLimit')
  t.deepEqual(group.orders(), ['tell 1: c1 0'])
  group.route(1, 'u')
  group.settle()
  t.like(group.take().at(-1), { params: { members: [{ queues: ['t/b/0', 'u/b/0'] }] } })
})

test('group: a topic of which nobody tells takes no queue away', (t) => {
  const group = started()
  group.join('c1', { generation: 7, held: ['t/b/0', 't/b/1'] })
  group.join('c2', { generation: 7, held: ['t/b/2'] })
  group.expire('gatherWindow')
  group.take()
  group.expire('askLimit')
  t.deepEqual(group.orders(), ['tell 100008: c1 0 1, c2 2'])
})

test('group: a topic without queues leaves nobody a share', (t) => {
  const group = stable('c1')
  group.route(0)
  group.settle()
  t.deepEqual(group.orders(), ['tell 2: c1'])
})

test('group: is divided as its first member says; by a function of their own each divides by itself', (t) => {
  const group = started()
  group.join('c2', { allocation: 'averagely' })
  group.join('c1', { allocation: 'averagely-by-circle' })
  group.route(4)
  group.take()
  group.settle()
  t.deepEqual(group.orders(), ['tell 1: c1 0 2, c2 1 3'])
  group.join('c0', { allocation: 'custom' })
  group.settle()
  t.is(group.orders().at(-1), 'tell 2: c0 by itself, c1 by itself, c2 by itself')
})

test('group: each division is noted with its causes, and with how many queues moved', (t) => {
  const group = started()
  group.join('c1')
  group.route(4)
  group.settle()
  t.deepEqual(group.notes(), [
    { generation: 1, causes: ['c1 joined', "topic 't' is known"], members: 1, queues: 4, moves: 0 },
  ])
  group.join('c2')
  group.settle()
  t.deepEqual(group.notes(), [{ generation: 2, causes: ['c2 joined'], members: 2, queues: 4, moves: 2 }])
  group.route(2)
  group.settle()
  t.like(group.notes(), [{ causes: ["topic 't' has 2 queues, and had 4"], queues: 2, moves: 3 }])
  group.say('member.leaving', 'c1')
  group.settle()
  group.say('member.left', 'c1')
  group.settle()
  t.deepEqual(
    group.notes().map(({ causes, moves }) => [causes, moves]),
    [
      [['c1 leaves'], 1],
      [['c1 left'], 0],
    ],
  )
})

test('group: of very many causes the first ones are noted', (t) => {
  const group = started()
  for (let i = 0; i < 100; i++) group.join(`c${i}`)
  group.route(4)
  group.settle()
  t.is(group.notes()[0]!.causes.length, 8)
})

// ------------------------------------------------------------------------------------------------ who is a member

test('group: a join that is repeated is answered, told the share again, and changes nothing', (t) => {
  const group = stable('c1')
  group.join('c1', { generation: 1 })
  t.deepEqual(group.orders(), ['accept c1', 'tell 1: c1 0 1 2 3'])
  t.true(group.is('resting'))
})

test('group: a beat keeps a member and says nothing', (t) => {
  const group = stable('c1')
  group.beat('c1', 1)
  t.deepEqual(group.take(), [])
  t.deepEqual(group.timers.sort(), ['lagInterval', 'session/c1', 'silence/c1'])
})

test('group: a member that falls silent is gone after its session', (t) => {
  const group = stable('c1', 'c2')
  group.expire('silence/c1')
  t.deepEqual(group.take(), [])
  group.expire('session/c1')
  t.deepEqual(group.members, ['c2'])
  group.settle()
  t.deepEqual(group.notes()[0]!.causes, ['c1 was not heard of any more'])
})

test('group: the division is told again to a member that shows it missed one', (t) => {
  const group = stable('c1', 'c2')
  group.beat('c1', 0)
  t.deepEqual(group.orders(), ['tell 1: c1 0 1, c2 2 3'])
})

test('group: the beat of a stranger is rejected', (t) => {
  const group = started()
  group.beat('c1', 1)
  t.deepEqual(group.orders(), ['watch', 'reject c1'])
  group.join('c1')
  group.take()
  group.beat('c1', 0, 'other')
  t.deepEqual(group.orders(), ['reject c1'])
})

test('group: the farewell of an earlier instance does not remove the member', (t) => {
  const group = stable('c1', 'c2')
  for (const type of ['member.leaving', 'member.left', 'member.silent'] as const)
    group.say(type, 'c1', 'other')
  t.true(group.is('resting'))
  t.deepEqual(group.members, ['c1', 'c2'])
})

test('group: a member that leaves has no share, and stays until it has given everything back', (t) => {
  const group = stable('c1', 'c2')
  group.say('member.leaving', 'c1')
  group.settle()
  t.deepEqual(group.orders(), ['tell 2: c1, c2 0 1 2 3'])
  group.join('c1', { generation: 1 }) // A join that was on its way.
  t.is(group.orders().at(-1), 'tell 2: c1, c2 0 1 2 3')
  group.say('member.left', 'c1')
  group.settle()
  t.deepEqual(group.orders(), ['tell 3: c2 0 1 2 3'])
})

test('group: is empty when the last one left or expired, and keeps its generation', (t) => {
  for (const end of ['left', 'expired']) {
    const group = stable('c1')
    if (end === 'left') group.say('member.left', 'c1')
    else group.expire('session/c1')
    t.is(group.state, 'empty')
    t.is(group.generation, 1)
    t.deepEqual(group.timers, [])
    t.deepEqual(group.orders(), ['watch'])
  }
})

test('group: after it was empty, NEVER does a division rest on the queues of before', (t) => {
  const group = stable('c1')
  group.say('member.left', 'c1')
  group.route(4) // Nobody watches: it comes too late.
  group.join('c2')
  group.take()
  group.settle()
  t.true(group.is('asking'))
  group.route(6)
  t.deepEqual(group.orders(), ['tell 2: c2 0 1 2 3 4 5'])
})

test('group: nor on those of a topic that nobody wanted for a while', (t) => {
  const group = stable('c1')
  group.join('c2', { subscriptions: { u: '*' } })
  group.route(2, 'u')
  group.settle()
  group.say('member.left', 'c2')
  group.join('c3')
  group.settle()
  group.join('c4', { subscriptions: { u: '*' } })
  group.settle()
  t.true(group.is('asking'))
})

// --------------------------------------------------------------------------------------- two under one client id

test('group: a second consumer under a client id is refused, for good only when the first one is heard of', (t) => {
  const group = stable('c1')
  group.join('c1', { instance: 'other' })
  t.deepEqual(group.orders(), ['refuse c1'])
  group.join('c1', { instance: 'other' })
  t.deepEqual(group.orders(), ['refuse c1'])
  group.beat('c1', 1)
  group.join('c1', { instance: 'other' })
  t.like(group.take(), [
    {
      type: 'refuseMember',
      params: {
        ...{ clientId: 'c1', instance: 'other', isFinal: true },
        message:
          "client id 'c1' is in use by another consumer of group 'billing': " +
          'give each consumer its own, or wait until the other one is stopped',
      },
    },
  ])
  t.true(group.is('resting'))
})

test('group: that one was refused for good says nothing to the next one', (t) => {
  const group = stable('c1')
  group.join('c1', { instance: 'second' })
  group.beat('c1', 1)
  group.join('c1', { instance: 'second' })
  t.deepEqual(group.orders(), ['refuse c1', 'refuse c1 for good'])
  // The first one died since.
  group.join('c1', { instance: 'third' })
  t.deepEqual(group.orders(), ['refuse c1'])
  group.expire('silence/c1')
  group.join('c1', { instance: 'third', held: [] })
  t.deepEqual(group.orders(), ['accept c1', 'watch t'])
})

test('group: another instance takes the place of a member that is silent, without waiting for its session', (t) => {
  const group = stable('c1', 'c2')
  group.expire('silence/c1')
  group.join('c1', { instance: 'again' })
  group.settle()
  t.like(
    group.take().filter(({ type }) => type === 'noteRebalance' || type === 'pushAssignment'),
    [
      { params: { causes: ['c1 was started anew'], moves: 0 } },
      {
        params: {
          generation: nth(2),
          members: [
            { clientId: 'c1', instance: 'again', queues: ['t/b/0', 't/b/1'] },
            { clientId: 'c2', queues: ['t/b/2', 't/b/3'] },
          ],
        },
      },
    ],
  )
  group.beat('c1', 1)
  t.deepEqual(group.orders(), ['reject c1'])
})

test('group: a member that was silent and is heard of again keeps its place', (t) => {
  const group = stable('c1')
  group.expire('silence/c1')
  group.beat('c1', 1)
  group.join('c1', { instance: 'other' })
  t.deepEqual(group.orders(), ['refuse c1'])
})

test('group: a member that was silent and joins again keeps its place', (t) => {
  const group = stable('c1', 'c2')
  group.say('member.silent', 'c1')
  group.join('c1', { generation: 1 })
  group.take()
  group.join('c1', { instance: 'c1-2' })
  t.deepEqual(group.orders(), ['refuse c1'])
})

test('group: a static member that is away keeps its share until its session is over', (t) => {
  const group = started()
  group.join('c1', { isStatic: true })
  group.join('c2')
  group.route(4)
  group.settle()
  group.take()
  group.say('member.silent', 'c1')
  t.deepEqual(group.take(), [])
  t.true(group.is('resting'))
  group.join('c1', { isStatic: true, instance: 'again' })
  group.settle()
  t.deepEqual(group.notes(), [
    { generation: 2, causes: ['c1 was started anew'], members: 2, queues: 4, moves: 0 },
  ])
  group.say('member.silent', 'c1', 'again')
  group.expire('session/c1')
  group.settle()
  t.like(group.notes(), [{ moves: 2 }])
})

// ------------------------------------------------------------------------------------------------- who is silent

/** c1 has 0 and 1, c2 has 2, c3 has 3; nothing is heard of c2, and c1 goes. */
function withoutNewsOf() {
  const group = stable('c1', 'c2', 'c3')
  group.expire('silence/c2')
  group.say('member.left', 'c1')
  group.settle()
  return group
}

test('group: a silent member keeps its share and gets NOTHING new, which would wait for its session', (t) => {
  t.deepEqual(withoutNewsOf().orders(), ['tell 2: c2 2, c3 0 1 3'])
})

test('group: a silent member that is heard of again gets its part of what was divided meanwhile', (t) => {
  const group = withoutNewsOf()
  group.take()
  group.beat('c2', 1)
  group.settle()
  t.deepEqual(group.orders(), ['tell 2: c2 2, c3 0 1 3', 'tell 3: c2 0 1, c3 2 3'])
  group.expire('silence/c3')
  group.beat('c3', 3)
  t.deepEqual(group.orders(), [])
})

test('group: what a member was given and falls silent BEFORE it knows goes to another one without waiting for its session', (t) => {
  const group = stable('c1', 'c2', 'c3')
  group.say('member.left', 'c1')
  group.settle()
  group.beat('c2', 1) // Of the earlier division.
  t.deepEqual(group.orders().at(-1), 'tell 2: c2 0 1, c3 2 3')
  group.expire('silence/c2')
  group.settle()
  t.like(group.context.told, {
    generation: nth(3),
    members: [
      { clientId: 'c2', queues: [] },
      { clientId: 'c3', queues: ['t/b/0', 't/b/1', 't/b/2', 't/b/3'] },
    ],
  })
  t.deepEqual(group.notes()[0]!.causes, ['c2 fell silent BEFORE it said that it knows its queues'])
})

test('group: what a member was given in one division it need not have said of the one before', (t) => {
  const group = stable('c1', 'c2')
  group.join('c3') // c1 has 0 and 1 as before, c2 has 2, c3 has 3.
  group.settle()
  group.join('c4') // One each: c2 is given 1, c3 is given 2.
  group.settle()
  group.expire('silence/c3')
  group.settle()
  group.take()
  t.deepEqual(group.context.told.members.map(sharesOf), ['c1 0 1', 'c2 2', 'c3', 'c4 3'])
})

test('group: a member that knows its share and falls silent keeps it until its session is over', (t) => {
  const group = stable('c1', 'c2', 'c3')
  group.say('member.left', 'c1')
  group.settle()
  group.beat('c2', 2)
  group.take()
  group.expire('silence/c2')
  t.true(group.is('resting'))
  t.deepEqual(group.take(), [])
})

test('group: a static member that is away keeps all it was given, and gets nothing new', (t) => {
  const group = started()
  for (const clientId of ['c1', 'c2', 'c3']) group.join(clientId, { isStatic: clientId === 'c2' })
  group.route(4)
  group.settle()
  group.take()
  group.say('member.silent', 'c2')
  t.true(group.is('resting'))
  group.say('member.left', 'c1')
  group.settle()
  t.deepEqual(group.orders(), ['tell 2: c2 2, c3 0 1 3'])
})

test('group: while all are silent the queues are divided among all', (t) => {
  const group = stable('c1', 'c2', 'c3')
  for (const clientId of ['c1', 'c2', 'c3']) group.expire(`silence/${clientId}`)
  group.expire('session/c1')
  group.settle()
  t.deepEqual(group.orders(), ['tell 2: c2 0 1, c3 2 3'])
})

// ---------------------------------------------------------------------------------------------- a new coordinator

test('group: a member that was told a later division by another coordinator is to join again, and says so', (t) => {
  const group = stable('c1')
  group.beat('c1', 7)
  t.deepEqual(group.orders(), ['reject c1'])
  group.join('c1', { generation: 7 })
  t.is(group.state, 'gathering')
  t.true(group.generation > 7)
})

test('group: a member that follows a rival which counted alike is to join again, and all leap ahead of both', (t) => {
  const rival = nth(1, OWN + 1)
  const group = stable('c1')
  group.send({ type: 'member.beat', clientId: 'c1', instance: 'c1-1', generation: rival })
  t.deepEqual(group.orders(), ['reject c1'])
  group.send({ type: 'member.joined', ...member('c1'), generation: rival, held: [] })
  t.is(group.state, 'gathering')
  t.true(group.generation > 1)
})

test('group: a coordinator gathers ONCE for a predecessor, whichever of the two counts more, and leaps beyond both', (t) => {
  for (const [count, number] of [
    [1, OWN - 1],
    [2, OWN + 1],
    [3, OWN - 1],
    [400, OWN + 1],
  ] as const) {
    const group = stable('new')
    for (const clientId of ['c1', 'c2']) {
      group.join(clientId)
      group.settle()
    }
    t.is(group.generation, 3)
    const joins = (clientId: string) =>
      group.send({ type: 'member.joined', ...member(clientId), generation: nth(count, number), held: [] })
    joins('old')
    t.is(group.state, 'gathering')
    t.is(group.generation, Math.max(3, count) + 100_000)
    group.expire('gatherWindow')
    joins('late')
    t.true(group.is('settling'))
    t.is(group.generation, Math.max(3, count) + 100_001)
  }
})

test('group: a leap is no division: what was told before is NEVER told again under the later generation', (t) => {
  const rival = nth(7, OWN + 4)
  for (const how of ['join', 'doubt'] as const) {
    const group = started()
    group.join('new', { allocation: 'lag-aware' })
    group.route(1)
    group.settle()
    group.lags({})
    t.is(group.generation, 1)
    if (how === 'doubt') group.doubtOf(rival, 'old')
    const joining = { ...member('old', { allocation: 'lag-aware' }), generation: rival, held: ['t/b/0'] }
    group.send({ type: 'member.joined', ...joining })
    t.is(group.state, 'gathering')
    group.expire('gatherWindow')
    t.true(group.is('measuring'))
    group.take()
    group.beat('new', 1)
    t.notRegex(group.orders().join(), /tell .*new/)
  }
})

test('group: a gathering lasts until all had their time, also when the only one that has joined again leaves', (t) => {
  for (const end of ['left', 'expired'] as const) {
    const group = started()
    group.join('c1', { generation: 7 })
    group.route(2)
    if (end === 'left') group.say('member.left', 'c1')
    else group.expire('session/c1')
    t.is(group.state, 'gathering')
    group.take()
    group.doubt(7, 'c2')
    t.deepEqual(group.orders(), ['gone 100007: not known'])
    group.join('new')
    t.is(group.state, 'gathering')
  }
  const deserted = started()
  deserted.join('c1', { generation: 7 })
  deserted.say('member.left', 'c1')
  deserted.expire('gatherWindow')
  t.is(deserted.state, 'empty')
})

test('group: a new coordinator leaps over all that its predecessor may have said', (t) => {
  const group = started()
  group.join('c1', { generation: 7 })
  group.join('c2', { generation: 12 })
  group.route(2)
  group.expire('gatherWindow')
  t.is(group.generation, 100_008)
})

test('group: NEVER do two coordinators make the same generation, however they count', (t) => {
  const made = [3, 4].map((number) => {
    const coordinator = stepper(groupCoordinatorMachine, { group: 'billing', number })
    const generations: number[] = []
    const happens = (event: GroupCoordinatorEvent, delay?: string) => {
      coordinator.send(event)
      if (delay) coordinator.expire(delay)
      generations.push(coordinator.context.told.generation)
    }
    happens({ type: 'member.joined', ...member('c1'), generation: 0, held: [] })
    happens({ type: 'queues.changed', topic: 't', queues: queuesOf('t', 1) }, 'settleWindow')
    happens({ type: 'member.joined', ...member('c2'), generation: nth(7, 9), held: [] }, 'gatherWindow')
    happens({ type: 'owners.doubted', clientIds: ['c3'], generation: nth(900_000, 9) })
    happens({ type: 'member.left', clientId: 'c1', instance: 'c1-1' })
    happens({ type: 'member.left', clientId: 'c2', instance: 'c2-1' }, 'gatherWindow')
    happens({ type: 'owners.doubted', clientIds: ['c3'], generation: nth(2_000_000, number) })
    return new Set(generations.filter((generation) => generation > 0))
  })
  t.true(made[0]!.size > 3)
  t.deepEqual([...made[0]!].map(countOf), [...made[1]!].map(countOf))
  t.deepEqual(
    [...made[0]!].filter((generation) => made[1]!.has(generation)),
    [],
  )
})

test('group: a new coordinator tells nobody a division until all had time to join again', (t) => {
  const group = started()
  group.join('c1', { generation: 7 })
  group.join('c2', { generation: 7 })
  group.route(4)
  t.is(group.state, 'gathering')
  t.false(group.orders().some((order) => order.startsWith('tell')))
  group.expire('gatherWindow')
  t.deepEqual(group.orders(), ['tell 100008: c1 0 1, c2 2 3'])
})

test('group: a new coordinator asks for the queues before it divides them', (t) => {
  const group = started()
  group.join('c1', { generation: 7, held: ['t/b/0'] })
  group.expire('gatherWindow')
  t.true(group.is('asking'))
  group.take()
  group.route(2)
  t.deepEqual(group.orders(), ['tell 100008: c1 0 1'])
})

test('group: a new coordinator counts what members hold as theirs, and moves it only where it must', (t) => {
  const group = started()
  group.join('c1', { generation: 7, allocation: 'sticky', held: ['t/b/1', 't/b/3'] })
  group.join('c2', { generation: 7, allocation: 'sticky', held: ['t/b/0', 't/b/2'] })
  group.route(4)
  group.expire('gatherWindow')
  t.deepEqual(group.notes(), [
    {
      generation: 100_008,
      causes: ['c1 knows a division that another coordinator made', 'c2 joined', "topic 't' is known"],
      ...{ members: 2, queues: 4, moves: 0 },
    },
  ])
})

test('group: a coordinator that learns late of a predecessor gathers, and keeps its members meanwhile', (t) => {
  const group = stable('new')
  group.join('old', { generation: 7 })
  t.is(group.state, 'gathering')
  group.take()
  group.beat('new', 1)
  t.deepEqual(group.take(), [])
  group.expire('gatherWindow')
  t.deepEqual(group.orders(), ['tell 100008: new 0 1, old 2 3'])
})

test('group: who leaves or dies while a new coordinator gathers is not in its division', (t) => {
  const group = started()
  for (const clientId of ['c1', 'c2', 'c3']) group.join(clientId, { generation: 7 })
  group.route(4)
  group.say('member.left', 'c1')
  group.expire('session/c2')
  t.is(group.state, 'gathering')
  group.take()
  group.expire('gatherWindow')
  t.deepEqual(group.orders(), ['tell 100008: c3 0 1 2 3'])
})

// ------------------------------------------------------------------------------------------- owners that are doubted

test('group: an owner that is asked after is gone AFTER a later division was told without it', (t) => {
  const group = stable('c1', 'c2')
  group.doubt(1, 'c1', 'c2')
  t.deepEqual(group.orders(), ['gone 1: '])
  group.expire('session/c1')
  group.doubt(1, 'c1', 'c2')
  t.deepEqual(group.orders(), ['gone 1: not known'])
  group.settle()
  t.deepEqual(group.orders(), ['tell 2: c2 0 1 2 3'])
  group.doubt(1, 'c1', 'c2')
  t.deepEqual(group.orders(), ['gone 2: c1'])
})

test('group: an owner that is in the list that was told last is NEVER called gone, however old its claim is', (t) => {
  const group = stable('c1', 'c2')
  group.join('c3')
  group.settle()
  group.expire('session/c1')
  group.take()
  group.doubt(1, 'c1')
  t.deepEqual(group.orders(), ['gone 2: not known'])
})

test('group: when the last one is gone nobody has a share, in a generation of its own', (t) => {
  const group = stable('c1')
  group.expire('session/c1')
  t.is(group.state, 'empty')
  group.take()
  group.doubt(1, 'c1')
  t.deepEqual(group.orders(), ['gone 2: c1'])
  group.doubt(1, 'c1')
  t.deepEqual(group.orders(), ['gone 2: c1'])
  group.join('c1')
  group.route(4)
  group.settle()
  t.deepEqual(group.orders(), ['accept c1', 'watch t', 'tell 3: c1 0 1 2 3'])
})

test('group: an owner by another coordinator that counts alike is gathered for ONCE, and is gone then', (t) => {
  for (const number of [OWN - 1, OWN + 1]) {
    const group = stable('c1')
    group.expire('session/c1')
    group.take()
    group.doubtOf(nth(1, number), 'other')
    t.is(group.state, 'gathering')
    t.deepEqual(group.orders(), ['gone 100001: not known'])
    group.expire('gatherWindow')
    t.is(group.state, 'empty')
    group.take()
    group.doubtOf(nth(1, number), 'other')
    t.regex(group.orders().join(), /^gone 10000\d: other$/)
  }
})

test('group: a static member that is away is not gone before its session is over', (t) => {
  const group = started()
  group.join('c1', { isStatic: true })
  group.route(1)
  group.settle()
  group.say('member.silent', 'c1')
  group.take()
  group.doubt(1, 'c1')
  t.deepEqual(group.orders(), ['gone 1: '])
})

test('group: a coordinator that knows nothing of an owner gathers BEFORE it says that it is gone', (t) => {
  const group = started()
  group.take()
  group.doubt(7, 'c1')
  t.is(group.state, 'gathering')
  t.deepEqual(group.orders(), ['gone 100007: not known'])
  group.doubt(7, 'c1')
  t.deepEqual(group.orders(), ['gone 100007: not known'])
  group.expire('gatherWindow')
  t.is(group.state, 'empty')
  t.deepEqual(group.orders(), ['watch'])
  group.doubt(7, 'c1')
  t.deepEqual(group.orders(), ['gone 100007: c1'])
})

test('group: whoever only lost its coordinator joins again, and is not gone', (t) => {
  const group = started()
  group.doubt(7, 'c1', 'c2')
  group.join('c1', { generation: 7, held: ['t/b/0'] })
  group.route(1)
  group.take()
  group.expire('gatherWindow')
  t.deepEqual(group.orders(), ['tell 100008: c1 0'])
  group.doubt(7, 'c1', 'c2')
  t.deepEqual(group.orders(), ['gone 100008: c2'])
})

test('group: an owner of a division that another coordinator made: it gathers, and keeps its members', (t) => {
  for (const [count, number, told] of [
    [1, OWN - 1, 100_001],
    [1, OWN + 1, 100_001],
    [9, OWN - 1, 100_009],
  ] as const) {
    const group = stable('c1')
    group.doubtOf(nth(count, number), 'stranger')
    t.is(group.state, 'gathering')
    t.deepEqual(group.orders(), [`gone ${told}: not known`])
    group.expire('gatherWindow')
    t.deepEqual(group.orders(), [`tell ${told + 1}: c1 0 1 2 3`])
  }
})

test('group: that an owner which lives is asked after divides nothing anew', (t) => {
  const group = stable('c1', 'c2')
  group.doubt(1, 'c1')
  t.true(group.is('resting'))
  t.is(group.generation, 1)
})

// --------------------------------------------------------------------------------------------------------- by lag

function lagging() {
  const group = started()
  for (const clientId of ['c1', 'c2']) group.join(clientId, { allocation: 'lag-aware' })
  group.route(4)
  group.settle()
  return group
}

test('group: by lag it measures before it divides, and does not wait for long', (t) => {
  const group = lagging()
  t.true(group.is('measuring'))
  t.is(group.orders().at(-1), 'measure')
  group.expire('askLimit')
  t.regex(group.orders().at(-1)!, /^tell 1/)
})

test('group: by lag it looks from time to time, and says nothing while nothing is better', (t) => {
  const group = lagging()
  group.lags({})
  group.take()
  group.expire('lagInterval')
  t.deepEqual(group.orders(), ['measure'])
  group.lags({ 't/b/0': 5, 't/b/1': 5, 't/b/2': 5, 't/b/3': 5 })
  t.deepEqual(group.take(), [])
  t.true(group.is('resting'))
  group.expire('lagInterval')
  group.expire('askLimit')
  t.deepEqual(group.orders(), ['measure'])
  t.true(group.is('resting'))
})

test('group: of other allocations nobody looks at lags', (t) => {
  const group = stable('c1')
  group.expire('lagInterval')
  t.deepEqual(group.take(), [])
  t.true(group.is('resting'))
})

test('group: who joins while it looks at lags makes a division', (t) => {
  const group = lagging()
  group.lags({})
  group.expire('lagInterval')
  group.join('c3', { allocation: 'lag-aware' })
  t.true(group.is('settling'))
})

// -------------------------------------------------------------------------------------------------- disagreements

test('group: members that want the same of the same topics agree', (t) => {
  t.deepEqual(disagreementsOf([]), [])
  t.deepEqual(disagreementsOf([member('c1'), member('c2')]), [])
})

test('group: in what its members disagree is told, a sentence each', (t) => {
  const members = [
    member('c1', { subscriptions: { t: 'paid', u: '*' } }),
    member('c2', { subscriptions: { t: '*' }, allocation: 'sticky' }),
    ...['c3', 'c4', 'c5', 'c6'].map((id) => member(id, { subscriptions: { t: '*', u: '*' } })),
  ]
  t.deepEqual(disagreementsOf(members), [
    "topic 't': paid (c1) and * (c2, c3, c4, …)",
    "topic 'u': * (c1, c3, c4, …) and not subscribed (c2)",
    'allocation: averagely (c1, c3, c4, …) and sticky (c2)',
  ])
})

test('group: no event brings a coordinator down, wherever it is', (t) => {
  const groups = [started, () => stable('c1', 'c2'), lagging]
  const gathering = () => {
    const group = started()
    group.join('c1', { generation: 7 })
    return group
  }
  const who = { clientId: 'c9', instance: 'x' }
  const events: GroupCoordinatorEvent[] = [
    { type: 'member.beat', ...who, generation: 0 },
    { type: 'member.leaving', ...who },
    { type: 'member.left', ...who },
    { type: 'member.silent', ...who },
    { type: 'member.expired', ...who },
    { type: 'lags.measured', lags: { 'u/x/0': 1 } },
    { type: 'queues.changed', topic: 'u', queues: [] },
    { type: 'division.outdated' },
  ]
  for (const start of [...groups, gathering]) {
    for (const event of events) {
      const group = start()
      const { members } = group
      group.send(event)
      t.deepEqual(group.members, members)
    }
  }
})
