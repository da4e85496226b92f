/** What a handler cannot handle comes again, later, and ends as a dead letter. */
import test from 'ava'
import type { IncomingMessage, MessageContext } from '../../actors/index.ts'
import { LIMIT_MS, until } from '../support/until.ts'
import { clientOf, clusterOf, hears, listen, numbers, SHORT_LEVELS, sorted } from './support.ts'

const SHORT = { messageDelayLevel: SHORT_LEVELS }

/** The queues of a topic, as an operator sees them. */
const endOf = async (client: Awaited<ReturnType<typeof clientOf>>, topic: string): Promise<number> =>
  (await client.admin().topics()).some((known) => known.topic === topic)
    ? (await client.admin().topic(topic)).queues.reduce((sum, { maxOffset }) => sum + maxOffset, 0)
    : 0

test('retry: a message whose handler throws comes again as itself, and the others do not wait for it', async (t) => {
  const client = await clientOf(t, SHORT)
  const heard: Pick<IncomingMessage, 'messageId' | 'topic' | 'tag' | 'deliveryAttempt' | 'text'>[] = []
  const consumer = client.consumer({ group: 'g', from: 'first' })
  consumer.subscribe('orders', 'paid')
  await consumer.run((message) => {
    const { messageId, topic, tag, deliveryAttempt, text } = message
    heard.push({ messageId, topic, tag, deliveryAttempt, text })
    if (text === '1' && deliveryAttempt < 3) throw new Error('not yet')
  })
  const receipts = await Promise.all(
    numbers(5).map((body) =>
      client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body, tag: 'paid', keys: [body] }),
    ),
  )
  await until('it is tried three times', () => heard.length === 7)
  t.deepEqual(sorted(heard.slice(0, 5).map(({ text }) => text)), numbers(5))
  const tries = heard.filter(({ text }) => text === '1')
  t.deepEqual(
    tries.map(({ deliveryAttempt }) => deliveryAttempt),
    [1, 2, 3],
  )
  for (const { messageId, topic, tag } of tries)
    t.deepEqual(
      { messageId, topic, tag },
      { messageId: receipts[1]!.messageId, topic: 'orders', tag: 'paid' },
    )
  t.like(consumer.failures, { failed: 2, sentBack: 2, deadLetters: 0 })
  await until('all is committed', async () => {
    const { queues } = await client.admin().group('g')
    return queues.every(({ lag }) => lag === 0)
  })
})

test('retry: after maxReconsumeTimes a message is a dead letter, once, and is not tried again', async (t) => {
  const client = await clientOf(t, SHORT)
  let tries = 0
  const consumer = client.consumer({ group: 'g', from: 'first', maxReconsumeTimes: 3 })
  consumer.subscribe('orders')
  await consumer.run(() => {
    tries++
    throw new Error('never')
  })
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: 'x' })
  await until('it is a dead letter', async () => (await endOf(client, '%DLQ%g')) === 1)
  t.is(tries, 4)
  t.like(consumer.failures, { failed: 4, sentBack: 3, deadLetters: 1 })
  const [dead] = await client.reader({ topic: '%DLQ%g' }).poll()
  t.is(dead!.text, 'x')
})

test('retry: a handler chooses when, or that it is the last time', async (t) => {
  const client = await clientOf(t, SHORT)
  const heard: string[] = []
  const consumer = client.consumer({ group: 'g', from: 'first' })
  consumer.subscribe('orders')
  await consumer.run(({ text, deliveryAttempt }: IncomingMessage, context: MessageContext) => {
    heard.push(`${text} ${deliveryAttempt}`)
    context.delayLevel = text === 'never' ? -1 : text === 'late' ? 18 : 4
    if (text !== 'soon' || deliveryAttempt === 1) throw new Error('no')
  })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  await Promise.all(['never', 'late', 'soon'].map((body) => producer.send({ topic: 'orders', body })))
  await until('two are done', async () => heard.includes('soon 2') && (await endOf(client, '%DLQ%g')) === 1)
  t.deepEqual([...heard].sort(), ['late 1', 'never 1', 'soon 1', 'soon 2'])
})

test('retry: whatever a handler throws is a failure like any other', async (t) => {
  const client = await clientOf(t, SHORT)
  const evil = {
    toString() {
      throw new Error('no text')
    },
    toJSON() {
      throw new Error('no text')
    },
  }
  const thrown = [undefined, null, 'text', 0, Symbol('s'), evil, Object.create(null), new Error('e')]
  const listener = await listen(client, 'orders', {
    ...{ group: 'g', from: 'first' },
    handle: ({ text, deliveryAttempt }) => {
      if (deliveryAttempt > 1) return
      const what = thrown[Number(text) >> 1]
      if (Number(text) % 2 === 0) throw what
      return Promise.reject(what)
    },
  })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  await Promise.all(numbers(16).map((body) => producer.send({ topic: 'orders', body })))
  await hears(listener, 32)
  const again = listener.heard.filter(({ deliveryAttempt }) => deliveryAttempt === 2)
  t.deepEqual(sorted(again.map(({ text }) => text)), numbers(16))
})

test('retry: another member of the group may get what one could not handle', async (t) => {
  const cluster = await clusterOf(t, SHORT)
  const [one, two] = [await cluster.connect(), await cluster.connect()]
  await one.admin().createTopic('orders', { queues: 2 })
  const handled: string[] = []
  const failing = await listen(one, 'orders', {
    ...{ group: 'g', from: 'first' },
    handle: () => Promise.reject(new Error('I never can')),
  })
  const able = await listen(two, 'orders', {
    ...{ group: 'g', from: 'first' },
    handle: ({ text }) => void handled.push(text),
  })
  const producer = one.producer({ timeoutMs: LIMIT_MS })
  await Promise.all(numbers(20).map((body) => producer.send({ topic: 'orders', body })))
  await until('all are heard', () => failing.heard.length + able.heard.length >= 20)
  await failing.consumer.close()
  await until('all are handled', () => new Set(handled).size === 20)
  t.deepEqual(sorted(handled), numbers(20))
})

test('retry: in broadcasting a failure is told of and passed over', async (t) => {
  const client = await clientOf(t, SHORT)
  const listener = await listen(client, 'orders', {
    ...{ group: 'g', messageModel: 'broadcasting', from: 'first' },
    handle: ({ text }) => {
      if (text === '1') throw new Error('no')
    },
  })
  for (const body of numbers(4))
    await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body })
  await hears(listener, 4)
  t.like(listener.consumer.failures, { failed: 1, dropped: 1, sentBack: 0 })
  t.false((await client.admin().topics()).some(({ topic }) => topic.startsWith('%')))
})

test('retry: an ordered queue stands still, in order, and no other does', async (t) => {
  const client = await clientOf(t, SHORT)
  await client.admin().createTopic('orders', { queues: 2 })
  const listener = await listen(client, 'orders', {
    ...{ group: 'g', from: 'first', ordered: true, suspendMs: 50 },
    handle: ({ text, deliveryAttempt }) => {
      if (text === 'a1' && deliveryAttempt < 4) throw new Error('not yet')
    },
  })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  const send = (body: string) =>
    producer.send({ topic: 'orders', body, selectQueue: () => (body.startsWith('a') ? 0 : 1) })
  await Promise.all(['a0', 'a1', 'a2', 'b0', 'b1', 'b2'].map(send))
  await hears(listener, 9)
  const of = (queue: string) => listener.texts.filter((text) => text.startsWith(queue))
  t.deepEqual(of('a'), ['a0', 'a1', 'a1', 'a1', 'a1', 'a2'])
  t.deepEqual(of('b'), ['b0', 'b1', 'b2'])
  t.true(listener.texts.indexOf('b2') < listener.texts.lastIndexOf('a1'))
})

test('retry: an ordered message that had all its tries is a dead letter, and its queue goes on', async (t) => {
  const client = await clientOf(t, SHORT)
  await client.admin().createTopic('orders', { queues: 1 })
  const listener = await listen(client, 'orders', {
    ...{ group: 'g', from: 'first', ordered: true, suspendMs: 10, maxReconsumeTimes: 2 },
    handle: ({ text }) => {
      if (text === '1') throw new Error('never')
    },
  })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const body of numbers(4)) await producer.send({ topic: 'orders', body })
  await hears(listener, 6)
  t.deepEqual(listener.texts, ['0', '1', '1', '1', '2', '3'])
  t.is(await endOf(client, '%DLQ%g'), 1)
})

test('retry: a handler that runs for too long has failed, and what it returns later is not heard', async (t) => {
  const client = await clientOf(t, SHORT)
  const ends: (() => void)[] = []
  const listener = await listen(client, 'orders', {
    ...{ group: 'g', from: 'first', consumeTimeoutMs: 80 },
    handle: ({ deliveryAttempt }) =>
      deliveryAttempt === 1 ? new Promise<void>((end) => ends.push(end)) : undefined,
  })
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: 'x' })
  await hears(listener, 2)
  t.deepEqual(
    listener.heard.map(({ deliveryAttempt }) => deliveryAttempt),
    [1, 2],
  )
  t.like(listener.consumer.failures, { timedOut: 1, sentBack: 1, late: 0 })
  ends[0]!()
  await until('it has ended', () => listener.consumer.failures!.late === 1)
  await until('all is committed', async () =>
    (await client.admin().group('g')).queues.every(({ lag }) => lag === 0),
  )
})

test('retry: what waits for its next try is told of the group, and is in no lag until it is due', async (t) => {
  const cluster = await clusterOf(t, { brokers: 2, messageDelayLevel: SHORT_LEVELS })
  const client = await cluster.connect()
  const consumer = client.consumer({ group: 'g', from: 'first' })
  consumer.subscribe('orders')
  await consumer.run((_, context) => {
    context.delayLevel = 18
    throw new Error('not within the hour')
  })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  await Promise.all(numbers(8).map((body) => producer.send({ topic: 'orders', body })))
  await until('all are sent back', () => consumer.failures?.sentBack === 8)
  const { retrying, queues } = await client.admin().group('g')
  t.is(retrying, 8)
  t.is(
    queues.find(({ topic, maxOffset }) => topic === '%RETRY%g' && maxOffset > 0),
    undefined,
  )
  await cluster.restartBroker('broker-a')
  await until('the broker is back', async () => (await client.admin().group('g')).retrying === 8)
})
