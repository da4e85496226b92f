/** Where a group begins, where it goes on, and how an operator moves it. */
import test from 'ava'
import type { Client } from '../../actors/index.ts'
import { LIMIT_MS, until } from '../support/until.ts'
import { byQueue, clientOf, clusterOf, hears, listen, numbers, SHORT_LEVELS, sorted } from './support.ts'

async function fill(client: Client, topic: string, bodies: readonly string[]): Promise<void> {
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const body of bodies) await producer.send({ topic, body })
  await producer.close()
}

test('group: goes on where it left off', async (t) => {
  const client = await clientOf(t)
  await fill(client, 'orders', numbers(10))
  const first = await listen(client, 'orders', { group: 'billing', from: 'first' })
  await hears(first, 10)
  await first.consumer.close()
  await fill(client, 'orders', numbers(10, 10))
  const second = await listen(client, 'orders', { group: 'billing', from: 'last' })
  await hears(second, 10)
  t.deepEqual(sorted(second.texts), numbers(10, 10))
})

test("group: a new one that begins 'last' hears only what is sent from then on", async (t) => {
  const client = await clientOf(t)
  await fill(client, 'orders', numbers(10))
  const listener = await listen(client, 'orders', { group: 'billing' })
  await fill(client, 'orders', numbers(4, 10))
  await hears(listener, 4)
  t.deepEqual(sorted(listener.texts), numbers(4, 10))
})

test("group: one that began 'last' and has heard nothing does not lose what comes while it is away", async (t) => {
  const client = await clientOf(t)
  await fill(client, 'orders', numbers(10))
  const first = await listen(client, 'orders', { group: 'billing' })
  await first.consumer.close()
  await fill(client, 'orders', numbers(4, 10))
  const second = await listen(client, 'orders', { group: 'billing' })
  await hears(second, 4)
  t.deepEqual(sorted(second.texts), numbers(4, 10))
})

test('group: a new one that begins at a date hears what was stored from then on', async (t) => {
  const client = await clientOf(t)
  await fill(client, 'orders', numbers(10))
  const border = Date.now() + 1
  await until('the clock has moved on', () => Date.now() > border)
  const from = new Date()
  await fill(client, 'orders', numbers(5, 10))
  const listener = await listen(client, 'orders', { group: 'billing', from })
  await hears(listener, 5)
  t.deepEqual(sorted(listener.texts), numbers(5, 10))
})

test('group: queues that appear later are read from their start', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic('orders', { queues: 1 })
  const listener = await listen(client, 'orders', { group: 'billing', from: 'last' })
  await client.admin().createTopic('orders', { queues: 3 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  await until('all queues are written to', async () => {
    await producer.send({ topic: 'orders', body: 'x' })
    const { queues } = await client.admin().topic('orders')
    return queues.length === 3 && queues.every(({ maxOffset }) => maxOffset > 0)
  })
  const { queues } = await client.admin().topic('orders')
  const sent = queues.reduce((sum, { maxOffset }) => sum + maxOffset, 0)
  await hears(listener, sent)
  t.is(byQueue(listener.heard).size, 3)
  t.is(listener.heard.length, sent)
})

test("group: queues that appear while all of a group that began 'last' are away are read from their start", async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic('orders', { queues: 1 })
  await fill(client, 'orders', ['before'])
  const first = await listen(client, 'orders', { group: 'billing', from: 'last' })
  await first.consumer.close()
  await client.admin().createTopic('orders', { queues: 3 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  await until('all queues are written to', async () => {
    await producer.send({ topic: 'orders', body: 'while it was away' })
    const { queues } = await client.admin().topic('orders')
    return (
      queues.length === 3 && queues.every(({ queueId, maxOffset }) => maxOffset > (queueId === 0 ? 1 : 0))
    )
  })
  const { queues } = await client.admin().topic('orders')
  const sent = queues.reduce((sum, { maxOffset }) => sum + maxOffset, 0) - 1
  const second = await listen(client, 'orders', { group: 'billing', from: 'last' })
  await hears(second, sent)
  t.is(byQueue(second.heard).size, 3)
  t.false(second.texts.includes('before'))
})

test('group: a topic that is made after its consumer started is read from its start', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  const listening = listen(client, 'orders', { group: 'billing', from: 'last' })
  await until('it has asked for the topic', async () => {
    const actors = await client.inspect().actors()
    return actors.some(({ machine, state }) => machine === 'producer-route' && state === 'missing')
  })
  await fill(await cluster.connect(), 'orders', numbers(5))
  const listener = await listening
  await hears(listener, 5)
  t.deepEqual(sorted(listener.texts), numbers(5))
})

test('group: two groups each hear everything', async (t) => {
  const client = await clientOf(t)
  const one = listen(client, 'orders', { group: 'one', from: 'first' })
  const two = listen(client, 'orders', { group: 'two', from: 'first' })
  await fill(client, 'orders', numbers(20))
  const listeners = await Promise.all([one, two])
  await Promise.all(listeners.map((listener) => hears(listener, 20)))
  for (const { texts } of listeners) t.deepEqual(sorted(texts), numbers(20))
})

test('group: one consumer reads several topics', async (t) => {
  const client = await clientOf(t)
  const heard: string[] = []
  const consumer = client.consumer({ group: 'billing', from: 'first' })
  consumer.subscribe('orders').subscribe('payments')
  await Promise.all([fill(client, 'orders', ['o']), fill(client, 'payments', ['p'])])
  await consumer.run(({ topic, text }) => void heard.push(`${topic} ${text}`))
  await until('both are heard', () => heard.length === 2)
  t.deepEqual(heard.sort(), ['orders o', 'payments p'])
})

test('group: its description tells members, owners, offsets and lag', async (t) => {
  const client = await clientOf(t, { brokers: 2 })
  await client.admin().createTopic('orders', { queues: 2 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  const send = (body: string, i: number) => producer.send({ topic: 'orders', body, selectQueue: () => i % 4 })
  await Promise.all(numbers(20).map(send))
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  const listener = await listen(client, 'orders', {
    group: 'billing',
    from: 'first',
    clientId: 'me',
    handle: () => opened,
  })
  await hears(listener, 20)
  const before = await client.admin().group('billing')
  t.deepEqual(
    before.members.map(({ clientId, subscriptions }) => [clientId, subscriptions]),
    [['me', { orders: '*' }]],
  )
  t.deepEqual(
    before.queues.map(({ brokerName, queueId, owner, lag }) => [brokerName, queueId, owner, lag]),
    [
      ['broker-a', 0, 'me', 5],
      ['broker-a', 1, 'me', 5],
      ['broker-b', 0, 'me', 5],
      ['broker-b', 1, 'me', 5],
    ],
  )
  open()
  await until('nothing is left to read', async () => {
    const { queues } = await client.admin().group('billing')
    return queues.every(({ lag, behindSince }) => lag === 0 && behindSince === null)
  })
  t.deepEqual(await client.admin().groups(), ['billing'])
})

test('group: one that nobody knows cannot be shown', async (t) => {
  const client = await clientOf(t)
  await t.throwsAsync(client.admin().group('nobody'), { code: 'SUBSCRIPTION_GROUP_NOT_EXIST' })
})

test('group: every group that is listed can be shown', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  const listener = await listen(await cluster.connect(), 'nothing', { group: 'waiting' })
  await listener.consumer.close()
  await fill(client, 'orders', ['x'])
  await listen(client, 'orders', { group: 'billing', from: 'first' })
  const groups = await client.admin().groups()
  t.true(groups.includes('billing'))
  for (const group of groups) await t.notThrowsAsync(client.admin().group(group))
})

test('offsets: a group is moved to the start, to the end, to an offset and to a time', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic('orders', { queues: 1 })
  await fill(client, 'orders', numbers(5))
  const border = Date.now() + 1
  await until('the clock has moved on', () => Date.now() > border)
  const later = new Date()
  await fill(client, 'orders', numbers(5, 5))
  const admin = client.admin()
  const committed = async () => (await admin.group('billing')).queues[0]!.committed

  t.deepEqual(await admin.resetOffsets('billing', 'orders', 3, { create: true }), [
    { brokerName: 'broker-a', queueId: 0, from: null, to: 3 },
  ])
  t.is(await committed(), 3)
  t.deepEqual(await admin.resetOffsets('billing', 'orders', later), [
    { brokerName: 'broker-a', queueId: 0, from: 3, to: 5 },
  ])
  await admin.resetOffsets('billing', 'orders', 'last')
  t.is(await committed(), 10)
  await t.throwsAsync(admin.resetOffsets('billing', 'orders', 11), {
    code: 'PULL_OFFSET_MOVED',
    message: /the longest ends at 10; 'last' is its end/,
  })
  t.is(await committed(), 10)
  await admin.resetOffsets('billing', 'orders', 'first')
  t.is(await committed(), 0)
  const listener = await listen(client, 'orders', { group: 'billing' })
  await hears(listener, 10)
  t.deepEqual(listener.texts, numbers(10))
})

test('group: a static member that is away is told of as that, with the queues that are kept for it', async (t) => {
  const cluster = await clusterOf(t)
  const admin = (await cluster.connect()).admin()
  await admin.createTopic('orders', { queues: 2 })
  const client = await cluster.connect()
  await listen(client, 'orders', { group: 'billing', instanceId: 'till-1' })
  await client.close()
  const { members, idle } = await admin.group('billing')
  t.like(members, [{ clientId: 'till-1', isStatic: true, isSilent: true, share: 2, sessionMs: 60_000 }])
  t.deepEqual(idle, [
    { clientId: 'till-1', why: 'it is away; its queues are kept for it, 60 s from when it went' },
  ])
})

test('group: of a group whose members pop it is told that they share its queues', async (t) => {
  const client = await clientOf(t)
  await fill(client, 'orders', numbers(4))
  const popper = client.simpleConsumer({ group: 'packing', from: 'first' }).subscribe('orders')
  await popper.receive(4)
  const { queues } = await client.admin().group('packing')
  t.true(queues.every(({ isPopped, owner }) => isPopped && owner === null))
})

test('offsets: a clone leaves out what waits to be tried again: that is of the one group alone', async (t) => {
  const client = await clientOf(t, { messageDelayLevel: SHORT_LEVELS })
  await fill(client, 'orders', ['x'])
  const handle = ({ deliveryAttempt }: { deliveryAttempt: number }) => {
    if (deliveryAttempt === 1) throw new Error('not yet')
  }
  const { consumer } = await listen(client, 'orders', { group: 'billing', from: 'first', handle })
  const topics = (group: string) => async () =>
    new Set((await client.admin().group(group)).queues.map(({ topic }) => topic))
  await until('it waits to be tried again', async () => (await topics('billing')()).has('%RETRY%billing'))
  await consumer.close()
  await client.admin().cloneOffsets('billing', 'audit')
  t.deepEqual(await topics('audit')(), new Set(['orders']))
})

test('offsets: a group that nobody knows is moved only where it may be a new one', async (t) => {
  const client = await clientOf(t)
  const admin = client.admin()
  await fill(client, 'orders', numbers(3))
  for (const move of [admin.resetOffsets('ghost', 'orders', 'first'), admin.skipBacklog('ghost', 'orders')])
    await t.throwsAsync(move, {
      code: 'SUBSCRIPTION_GROUP_NOT_EXIST',
      message: /group list'; 'statemq group reset --create' makes/,
    })
  t.deepEqual(await admin.groups(), [])
  await admin.resetOffsets('ghost', 'orders', 'first', { create: true })
  t.deepEqual(await admin.groups(), ['ghost'])
})

test('offsets: a clone to the group itself, or of a topic that is not there, is refused', async (t) => {
  const client = await clientOf(t)
  const admin = client.admin()
  await fill(client, 'orders', numbers(3))
  await admin.resetOffsets('billing', 'orders', 'first', { create: true })
  await t.throwsAsync(admin.cloneOffsets('billing', 'billing'), { code: 'INVALID_PARAMETER' })
  await t.throwsAsync(admin.cloneOffsets('billing', 'audit', { topic: 'ghost' }), { code: 'TOPIC_NOT_EXIST' })
})

test('topics: one of a group that is not there yet is told of as made when it is needed', async (t) => {
  const client = await clientOf(t)
  await t.throwsAsync(client.admin().topic('%RETRY%billing'), { message: /made when it is first needed/ })
})

test('offsets: a dry run tells what would be done and does nothing', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic('orders', { queues: 1 })
  await fill(client, 'orders', numbers(5))
  await client.admin().resetOffsets('billing', 'orders', 2, { create: true })
  t.deepEqual(await client.admin().resetOffsets('billing', 'orders', 'last', { dryRun: true }), [
    { brokerName: 'broker-a', queueId: 0, from: 2, to: 5 },
  ])
  t.is((await client.admin().group('billing')).queues[0]!.committed, 2)
})

test('offsets: a group that is being read goes on at the new place, and NEVER undoes it', async (t) => {
  const client = await clientOf(t)
  await fill(client, 'orders', numbers(50))
  const listener = await listen(client, 'orders', { group: 'billing', from: 'first', clientId: 'me' })
  await hears(listener, 50)
  await client.admin().resetOffsets('billing', 'orders', 'first')
  await hears(listener, 100)
  t.deepEqual(sorted(listener.texts), sorted([...numbers(50), ...numbers(50)]))
  await until('all is committed', async () => {
    const { queues } = await client.admin().group('billing')
    return queues.every(({ lag }) => lag === 0)
  })
  await listener.consumer.close()
  const next = await listen(client, 'orders', { group: 'billing' })
  await fill(client, 'orders', ['new'])
  await hears(next, 1)
  t.deepEqual(next.texts, ['new'])
})

test('offsets: one group goes on where another one is, in the topics that are asked for', async (t) => {
  const client = await clientOf(t)
  const admin = client.admin()
  for (const topic of ['orders', 'paid']) {
    await fill(client, topic, numbers(6))
    await admin.resetOffsets('billing', topic, 2, { create: true })
  }
  const committed = async () => (await admin.group('audit')).queues.map((row) => [row.topic, row.committed])
  const plan = await admin.cloneOffsets('billing', 'audit', { topic: 'paid', dryRun: true })
  t.deepEqual([...new Set(plan.map(({ topic }) => topic))], ['paid'])
  await t.throwsAsync(admin.group('audit'), { code: 'SUBSCRIPTION_GROUP_NOT_EXIST' })
  await admin.cloneOffsets('billing', 'audit', { topic: 'paid' })
  t.true((await committed()).every(([topic]) => topic === 'paid'))
  await admin.cloneOffsets('billing', 'audit')
  t.deepEqual(
    await committed(),
    (await admin.group('billing')).queues.map((row) => [row.topic, row.committed]),
  )
  await t.throwsAsync(admin.cloneOffsets('nobody', 'audit'), { code: 'SUBSCRIPTION_GROUP_NOT_EXIST' })
  await admin.skipBacklog('audit', 'paid')
  const { queues } = await admin.group('audit')
  t.true(queues.filter(({ topic }) => topic === 'paid').every(({ lag }) => lag === 0))
})
