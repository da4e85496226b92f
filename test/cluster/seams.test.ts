/** Where parts meet that know little of each other: retries, allocations, resets, topics that come and go. */
import test from 'ava'
import { LIMIT_MS, until } from '../support/until.ts'
import { clientOf, clusterOf, hears, listen, numbers, SHORT_LEVELS } from './support.ts'

const SHORT = { messageDelayLevel: SHORT_LEVELS }

test("seams: what fails comes again also where queues are divided 'by-config'", async (t) => {
  const client = await clientOf(t, SHORT)
  await client.admin().createTopic('orders', { queues: 1 })
  const listener = await listen(client, 'orders', {
    ...{ group: 'g', from: 'first', allocation: 'by-config', queues: ['orders/broker-a/0'] },
    handle: ({ deliveryAttempt }) => {
      if (deliveryAttempt === 1) throw new Error('not yet')
    },
  })
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: 'x' })
  await hears(listener, 2)
  t.deepEqual(
    listener.heard.map(({ deliveryAttempt }) => deliveryAttempt),
    [1, 2],
  )
})

test("seams: what fails comes again also where a user's own strategy divides the queues that it knows", async (t) => {
  const client = await clientOf(t, SHORT)
  await client.admin().createTopic('orders', { queues: 1 })
  const asked = new Set<string>()
  const listener = await listen(client, 'orders', {
    ...{ group: 'g', from: 'first' },
    clientId: 'b',
    allocation: (clientId, queues) => {
      for (const { topic } of queues) asked.add(topic)
      return clientId === 'b' ? queues.filter(({ topic }) => topic === 'orders') : []
    },
    handle: ({ deliveryAttempt }) => {
      if (deliveryAttempt === 1) throw new Error('not yet')
    },
  })
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: 'x' })
  await hears(listener, 2)
  t.deepEqual([...asked], ['orders'])
})

test('seams: a member that owns only the queue of retries is idle, and the operator is told why', async (t) => {
  const cluster = await clusterOf(t, { ...SHORT, brokers: 1 })
  const one = await cluster.connect()
  await one.admin().createTopic('orders', { queues: 1 })
  const options = { group: 'g', from: 'first', allocation: 'by-config' } as const
  await listen(one, 'orders', {
    ...{ ...options, clientId: 'b', queues: ['orders/broker-a/0'] },
    handle: ({ deliveryAttempt }) => {
      if (deliveryAttempt === 1) throw new Error('not yet')
    },
  })
  await listen(await cluster.connect(), 'orders', {
    ...options,
    clientId: 'a',
    queues: ['orders/broker-z/0'],
  })
  await one.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: 'x' })
  await until('the retries are owned', async () => {
    const { queues } = await one.admin().group('g')
    return queues.some(({ topic, owner }) => topic === '%RETRY%g' && owner === 'a')
  })
  t.deepEqual((await one.admin().group('g')).idle, [
    { clientId: 'a', why: 'there are more members (2) than queues (1)' },
  ])
})

test("seams: a topic that is made anew is read from its start, though its consumer began 'last'", async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic('orders', { queues: 1 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  const listener = await listen(client, 'orders', { group: 'g', from: 'last' })
  await client.admin().deleteTopic('orders')
  await until('nothing is owned', () => listener.owned.length === 0)
  await client.admin().createTopic('orders', { queues: 1 })
  await producer.send({ topic: 'orders', body: 'x' })
  await hears(listener, 1)
  t.deepEqual(listener.texts, ['x'])
})

test('seams: a broadcasting consumer without a name goes on where it was when its broker comes back', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic('orders', { queues: 1 })
  const listener = await listen(client, 'orders', { group: 'g', from: 'last', messageModel: 'broadcasting' })
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: 'a' })
  await hears(listener, 1)
  await cluster.restartBroker('broker-a')
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: 'b' })
  await hears(listener, 2)
  await client.admin().deleteTopic('orders')
  await until('nothing is read', () => listener.owned.length === 0)
  await client.admin().createTopic('orders', { queues: 1 })
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: 'c' })
  await hears(listener, 3)
  t.deepEqual(listener.texts, ['a', 'b', 'c'])
})

test('seams: in order a queue that is set back is not read again while a message of it is being handled', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic('orders', { queues: 1 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const body of numbers(3)) await producer.send({ topic: 'orders', body })
  let running = 0
  let most = 0
  let goOn = () => {}
  const held = new Promise<void>((resolve) => {
    goOn = resolve
  })
  const listener = await listen(client, 'orders', {
    ...{ group: 'g', from: 'first', ordered: true },
    handle: async ({ text }) => {
      most = Math.max(most, ++running)
      if (text === '1' && listener.heard.length === 2) await held
      running--
    },
  })
  await hears(listener, 2)
  const owner = async () => (await client.admin().group('g')).queues.find(({ topic }) => topic === 'orders')
  const before = (await owner())!.assignEpoch
  await client.admin().resetOffsets('g', 'orders', 'first')
  await until('it is owned anew', async () => ((await owner())?.assignEpoch ?? 0) > before)
  t.is(running, 1)
  goOn()
  await hears(listener, 5)
  t.is(most, 1)
  t.deepEqual(listener.texts.slice(2), numbers(3))
})

test('seams: what waits to be asked for is not given to a caller whose queue another member has by then', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic('orders', { queues: 1 })
  for (const body of numbers(3))
    await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body })
  const consumer = client.consumer({ group: 'g', from: 'first', clientId: 'b' }).subscribe('orders')
  const messages = consumer.messages()
  const first = (await messages.next()).value!
  t.is(first.text, '0')
  // The first by name takes the only queue.
  const listening = listen(await cluster.connect(), 'orders', { group: 'g', from: 'first', clientId: 'a' })
  await until('it is asked to give it back', async () => {
    const { members } = await client.admin().group('g')
    return members.some(({ clientId, share }) => clientId === 'a' && share === 1)
  })
  await first.ack()
  const listener = await listening
  await hears(listener, 2)
  t.deepEqual(listener.texts, ['1', '2'])
  await messages.return()
})

test('seams: a group that skips its backlog hears no more of what it had read ahead', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic('orders', { queues: 1 })
  await client
    .producer({ timeoutMs: LIMIT_MS })
    .sendBatch(numbers(400).map((body) => ({ topic: 'orders', body })))
  const listener = await listen(client, 'orders', {
    ...{ group: 'g', from: 'first', concurrency: 1, flow: { messages: 10 } },
    handle: () => new Promise((resolve) => setTimeout(resolve, 20)),
  })
  await hears(listener, 2)
  await client.admin().resetOffsets('g', 'orders', 'last')
  await until('it is owned anew', async () => {
    const { queues } = await client.admin().group('g')
    return queues.some(({ topic, assignEpoch }) => topic === 'orders' && assignEpoch > 1)
  })
  t.true(listener.heard.length < 200, `${listener.heard.length} were heard`)
})
