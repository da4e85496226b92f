/** Who belongs to a group, whose share each queue is, and what an operator is told of it. */
import test from 'ava'
import type { Client, ConsumerOptions } from '../../actors/index.ts'
import { type Allocate, allocations } from '../../machines/allocation/index.ts'
import { LIMIT_MS, until } from '../support/until.ts'
import { replicaSet } from './replicas.ts'
import { clientOf, clusterOf, hears, type Listener, listen, numbers, sorted } from './support.ts'

const GROUP = 'billing'
const TOPIC = 'orders'

async function fill(client: Client, bodies: readonly string[], topic = TOPIC): Promise<void> {
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const body of bodies) await producer.send({ topic, body })
  await producer.close()
}
const described = (client: Client) => client.admin().group(GROUP)
const epochsOf = async (client: Client): Promise<string[]> =>
  (await described(client)).queues
    .filter(({ topic }) => topic === TOPIC)
    .map(({ queueId, owner, assignEpoch }) => `${queueId} ${owner} ${assignEpoch}`)
const divided = (listeners: Listener[], shares: readonly number[]) =>
  until(
    () => `the queues are divided ${shares}, and are ${listeners.map(({ owned }) => owned.length)}`,
    () => listeners.every(({ owned }, i) => owned.length === shares[i]),
  )

// --------------------------------------------------------------------------------------- two under one client id

test('group: a second consumer under a client id in use is turned away, and the first is not disturbed', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic(TOPIC, { queues: 2 })
  const first = await listen(client, TOPIC, { group: GROUP, from: 'first', clientId: 'me' })
  const before = await epochsOf(client)
  const second = (await cluster.connect()).consumer({ group: GROUP, clientId: 'me' }).subscribe(TOPIC)
  const began = performance.now()
  const error = await t.throwsAsync(
    second.run(() => {}),
    { code: 'NO_PERMISSION' },
  )
  t.true(performance.now() - began < 15_000)
  t.regex(error!.message, /client id 'me' is in use by another consumer of group 'billing'/)
  await fill(client, numbers(10))
  await hears(first, 10)
  t.deepEqual(await epochsOf(client), before)
  t.deepEqual(await second.close(), { unfinished: 0 })
})

test('group: one under the client id of a consumer that was closed is welcome', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic(TOPIC, { queues: 2 })
  const first = await listen(client, TOPIC, { group: GROUP, from: 'first', clientId: 'me' })
  await first.consumer.close()
  const second = await listen(await cluster.connect(), TOPIC, { group: GROUP, clientId: 'me' })
  await divided([second], [2])
  t.pass()
})

// --------------------------------------------------------------------------------------------- static membership

test('group: an instance that comes back in another process within its session keeps its queues', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic(TOPIC, { queues: 4 })
  const other = await listen(client, TOPIC, { group: GROUP, from: 'first', clientId: 'a' })
  const first = await listen(await cluster.connect(), TOPIC, { group: GROUP, instanceId: 'b' })
  await divided([other, first], [2, 2])
  const { owned } = first
  const untouched = (await epochsOf(client)).filter((row) => row.includes(' a '))
  const { generation } = await described(client)
  await first.consumer.close()
  await fill(client, numbers(20))
  const second = await listen(await cluster.connect(), TOPIC, { group: GROUP, instanceId: 'b' })
  await divided([other, second], [2, 2])
  t.deepEqual(second.owned, owned)
  t.deepEqual(
    (await epochsOf(client)).filter((row) => row.includes(' a ')),
    untouched,
  )
  const since = (await described(client)).rebalances.filter((note) => note.generation > generation)
  t.deepEqual(
    since.map(({ causes, moves }) => [causes, moves]),
    [[['b was started anew'], 0]],
  )
  await until('all is heard', () => other.heard.length + second.heard.length === 20)
  t.deepEqual(sorted([...other.texts, ...second.texts]), numbers(20))
})

test('group: an instance that does not come back within its session loses its queues', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic(TOPIC, { queues: 4 })
  const other = await listen(client, TOPIC, { group: GROUP, from: 'first', clientId: 'a' })
  const options = { group: GROUP, instanceId: 'b', sessionMs: 6_000 }
  const first = await listen(await cluster.connect(), TOPIC, options)
  await divided([other, first], [2, 2])
  await first.consumer.close()
  t.is(other.owned.length, 2)
  await divided([other], [4])
  const [last] = (await described(client)).rebalances
  t.like(last, { causes: ['b was not heard of any more'], moves: 2, members: 1 })
})

// ------------------------------------------------------------------------------------------------------- leaving

test('group: one that is closed while it joins leaves no share behind that nobody reads', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic(TOPIC, { queues: 4 })
  const stays = await listen(client, TOPIC, { group: GROUP, clientId: 'stays' })
  for (let i = 0; i < 5; i++) {
    const consumer = (await cluster.connect())
      .consumer({ group: GROUP, clientId: `goes-${i}` })
      .subscribe(TOPIC)
    const running = consumer.run(() => {})
    for (let turn = 0; turn < i; turn++) await new Promise((resolve) => setImmediate(resolve))
    await consumer.close()
    await running
  }
  await until('nobody else is a member', async () => (await described(client)).members.length === 1, 5_000)
  await divided([stays], [4])
  t.pass()
})

// ---------------------------------------------------------------------------------------------------- allocations

const settings: Partial<Record<string, (clientId: string) => Partial<ConsumerOptions>>> = {
  'by-config': (clientId) => ({ queues: [0, 1].map((queueId) => `${TOPIC}/broker-${clientId}/${queueId}`) }),
  'machine-room-nearby': () => ({ room: 'berlin' }),
}
for (const allocation of Object.keys(allocations) as (keyof typeof allocations)[]) {
  // Its brokers have names with a room in them: none of this cluster is in one.
  if (allocation === 'by-machine-room') continue
  test(`group: two members divide all queues '${allocation}', and hear everything once`, async (t) => {
    const cluster = await clusterOf(t, { brokers: 2 })
    const client = await cluster.connect()
    await client.admin().createTopic(TOPIC, { queues: 2 })
    const options = (clientId: string) => ({
      ...{ group: GROUP, from: 'first', clientId, allocation },
      ...settings[allocation]?.(clientId),
    })
    const a = await listen(client, TOPIC, options('a') as ConsumerOptions)
    const b = await listen(await cluster.connect(), TOPIC, options('b') as ConsumerOptions)
    await until('each queue is owned', () => new Set([...a.owned, ...b.owned]).size === 4)
    await until('by one', () => a.owned.length + b.owned.length === 4)
    await fill(client, numbers(40))
    await until('all is heard', () => a.heard.length + b.heard.length >= 40)
    t.deepEqual(sorted([...a.texts, ...b.texts]), numbers(40))
    t.is((await described(client)).allocation, allocation)
    t.deepEqual((await described(client)).disagreements, [])
  })
}

test('group: by lag, two members share the two queues in which messages wait', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic(TOPIC, { queues: 4 })
  const options = { group: GROUP, from: 'first', allocation: 'lag-aware' } as const
  const a = await listen(client, TOPIC, { ...options, clientId: 'a' })
  await divided([a], [4])
  a.consumer.suspend()
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  const bodies = numbers(2_000).map((body) => ({ topic: TOPIC, body }))
  for (const queueId of [0, 1])
    await Promise.all(bodies.map((body) => producer.send({ ...body, selectQueue: () => queueId })))
  const b = await listen(await cluster.connect(), TOPIC, { ...options, clientId: 'b' })
  await divided([a, b], [2, 2])
  for (const { owned } of [a, b]) t.is(owned.filter((queue) => /\/[01]$/.test(queue)).length, 1)
})

test('group: with a function of its own each takes what that gives it, and nobody what another one has', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic(TOPIC, { queues: 4 })
  const first: Allocate = (_, queues) => queues.filter(({ queueId }) => queueId < 3)
  // It wants one that is the other's, one of another topic, and its own twice.
  const second: Allocate = (_, queues) => [
    ...queues.filter(({ queueId }) => queueId >= 2),
    ...queues.filter(({ queueId }) => queueId === 3),
    { topic: 'other', brokerName: 'broker-a', queueId: 0 },
  ]
  const a = await listen(client, TOPIC, { group: GROUP, from: 'first', clientId: 'a', allocation: first })
  await divided([a], [3])
  const b = await listen(await cluster.connect(), TOPIC, { group: GROUP, clientId: 'b', allocation: second })
  await divided([a, b], [3, 1])
  await fill(client, numbers(40))
  await until('all is heard', () => a.heard.length + b.heard.length >= 40)
  t.deepEqual(sorted([...a.texts, ...b.texts]), numbers(40))
  t.is((await described(client)).allocation, 'custom')
  await b.consumer.close()
})

test('group: a queue that two functions both give to their own members is told, with who has it and who wants it', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic(TOPIC, { queues: 2 })
  const greedy: Allocate = (_, queues, clientIds) =>
    queues.filter(({ queueId }) => clientIds.length === 2 || queueId === 0)
  await listen(client, TOPIC, { group: GROUP, clientId: 'a', allocation: greedy })
  const both = await cluster.connect()
  const starting = listen(both, TOPIC, { group: GROUP, clientId: 'b', allocation: greedy })
  let contested: string[] = []
  await until('it is told', async () => {
    contested = (await described(client)).contested
    return contested.length > 0
  })
  t.regex(contested.at(-1)!, /^orders\/broker-a\/1: (a has it, and b|b has it, and a) wants it too$/)
  await (await starting).consumer.close()
  await until('a has all', async () => (await described(client)).contested.length === 0)
})

test('group: a function of its own that names a queue twice owns it once, and its start does not wait', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic(TOPIC, { queues: 2 })
  const began = performance.now()
  const twice: Allocate = (_, queues) => [...queues, ...queues]
  const listener = await listen(client, TOPIC, { group: GROUP, clientId: 'a', allocation: twice })
  t.true(performance.now() - began < 4_500)
  t.is(listener.owned.length, 2)
})

test('group: a function of its own that fails, or gives nonsense, leaves the share as it was', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic(TOPIC, { queues: 2 })
  const wrong = [
    () => {
      throw new Error('broken')
    },
    () => undefined,
    () => 7,
    () => [null],
  ]
  let calls = 0
  const wrongly = ((_, queues, clientIds) => {
    calls++
    if (clientIds.length === 1 && calls < 3) return [...queues]
    return wrong[calls % wrong.length]!() as never
  }) as Allocate
  const a = await listen(client, TOPIC, { group: GROUP, from: 'first', clientId: 'a', allocation: wrongly })
  await divided([a], [2])
  for (let i = 0; i < 4; i++) {
    const before = calls
    const b = await listen(await cluster.connect(), TOPIC, {
      group: GROUP,
      clientId: `b${i}`,
      allocation: () => [],
    })
    await until('it is asked again', () => calls > before)
    await b.consumer.close()
  }
  t.is(a.owned.length, 2)
  await fill(client, numbers(10))
  await hears(a, 10)
})

// --------------------------------------------------------------------------------------------- what is told of it

test('group: its description tells in what members disagree, who idles, and why queues moved', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic(TOPIC, { queues: 2 })
  const a = await listen(client, TOPIC, { group: GROUP, clientId: 'a' })
  const b = await listen(await cluster.connect(), TOPIC, { group: GROUP, clientId: 'b', expression: 'paid' })
  await divided([a, b], [1, 1])
  const { disagreements, rebalances, members } = await described(client)
  t.deepEqual(disagreements, ["topic 'orders': * (a) and paid (b)"])
  t.like(rebalances[0], { causes: ['b joined'], members: 2, queues: 2, moves: 1 })
  t.deepEqual(
    members.map(({ clientId, share }) => [clientId, share]),
    [
      ['a', 1],
      ['b', 1],
    ],
  )
  await b.consumer.close()
  await divided([a], [2])
  let since: typeof rebalances = []
  await until('it is told that b is gone', async () => {
    const { rebalances: later } = await described(client)
    since = later.filter(({ generation }) => generation > rebalances[0]!.generation)
    return since.some(({ causes }) => causes.includes('b left'))
  })
  t.deepEqual(since.flatMap(({ causes }) => causes).sort(), ['b leaves', 'b left'])
  t.is(since.at(-1)!.moves, 1)
  t.true(rebalances.every(({ at }) => Math.abs(Date.now() - at) < 60_000))
})

// --------------------------------------------------------------------------------------------------- new topics

test('group: a topic that is deleted and made anew under its readers is read from its start', async (t) => {
  const client = await clientOf(t)
  const admin = client.admin()
  await admin.createTopic(TOPIC, { queues: 1 })
  await fill(client, numbers(30))
  const listener = await listen(client, TOPIC, { group: GROUP, from: 'first' })
  await hears(listener, 30)
  await admin.deleteTopic(TOPIC)
  await admin.createTopic(TOPIC, { queues: 1 })
  await fill(client, numbers(10, 100))
  await hears(listener, 40)
  t.deepEqual(listener.texts.slice(30), numbers(10, 100))
})

// ------------------------------------------------------------------------------------------------------- failover

test('group: an owner goes on under the same assignEpoch at the next master, and nobody else gets its queue', async (t) => {
  const set = await replicaSet(t)
  const client = await set.connect()
  await client.admin().createTopic(TOPIC, { queues: 4 })
  await set.inSync()
  const a = await listen(client, TOPIC, { group: GROUP, from: 'first', clientId: 'a' })
  const b = await listen(await set.connect(), TOPIC, { group: GROUP, clientId: 'b' })
  await divided([a, b], [2, 2])
  const owners = async () =>
    (await set.committed(GROUP))
      .filter(({ topic }) => topic === TOPIC)
      .map(({ queueId, owner, assignEpoch }) => `${queueId} ${owner} ${assignEpoch}`)
  const before = await owners()
  t.deepEqual(
    before.map((row) => row.slice(0, 3)),
    ['0 a', '1 a', '2 b', '3 b'],
  )
  const { brokerId } = await set.master()
  set.cutOff(brokerId)
  await fill(await set.connect(), numbers(40))
  await until('all is heard', () => a.heard.length + b.heard.length >= 40)
  t.deepEqual(sorted([...a.texts, ...b.texts]), numbers(40))
  await until('both are members again', async () => (await set.members(GROUP)).length === 2)
  await divided([a, b], [2, 2])
  t.deepEqual(await owners(), before)
})
