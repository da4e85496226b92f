/** Messages that are due later: by their level, once, never early; whoever is master by then. */
import test from 'ava'
import type { StateMQError } from '../../actors/index.ts'
import { LIMIT_MS, until } from '../support/until.ts'
import { clientOf, clusterOf, hears, listen, numbers, SHORT_LEVELS as SHORT, sorted } from './support.ts'

test('delayed: a message is consumed when its level says, and not earlier', async (t) => {
  const client = await clientOf(t, { messageDelayLevel: SHORT })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  const listener = await listen(client, 'orders', { group: 'g', from: 'first' })
  const sentAt = new Map<string, number>()
  const heardAt = new Map<string, number>()
  const listenAgain = await listen(client, 'orders', {
    group: 'h',
    from: 'first',
    handle: ({ text }) => void heardAt.set(text, Date.now()),
  })
  const send = async (body: string, delayLevel?: number) => {
    sentAt.set(body, Date.now())
    return producer.send({ topic: 'orders', body, ...(delayLevel ? { delayLevel } : {}) })
  }
  const [receipt] = await Promise.all([send('third', 3), send('second', 1), send('first')])
  t.is(receipt.topic, 'orders')
  await hears(listener, 3)
  await hears(listenAgain, 3)
  t.deepEqual([...listener.texts].sort(), ['first', 'second', 'third'])
  t.is(listener.heard.find(({ text }) => text === 'third')!.messageId, receipt.messageId)
  for (const [body, ms] of [
    ['second', 60],
    ['third', 180],
  ] as const)
    t.true(heardAt.get(body)! - sentAt.get(body)! >= ms, body)
})

test('delayed: tag, keys, properties and the id are those that were sent', async (t) => {
  const client = await clientOf(t, { messageDelayLevel: SHORT })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  const listener = await listen(client, 'orders', { group: 'g', from: 'first', expression: 'paid' })
  const others = await listen(client, 'orders', { group: 'h', from: 'first', expression: 'created' })
  const { messageId } = await producer.send({
    ...{ topic: 'orders', body: 'A-1', tag: 'paid', keys: ['A-1', 'B'], messageGroup: 'x', delayLevel: 1 },
    properties: { price: '10', town: 'Köln' },
  })
  await hears(listener, 1)
  const [message] = listener.heard
  t.like(message!.toJSON(), {
    ...{ messageId, topic: 'orders', tag: 'paid', keys: ['A-1', 'B'], messageGroup: 'x', body: 'A-1' },
    ...{ properties: { price: '10', town: 'Köln' }, deliveryAttempt: 1 },
  })
  t.deepEqual(Object.keys(message!.properties), ['price', 'town'])
  t.is(others.heard.length, 0)
})

test('delayed: a level that is none, and a batch, are refused', async (t) => {
  const client = await clientOf(t)
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const delayLevel of [0, -1, 19, 1.5, Number.NaN, '3', null] as number[]) {
    const error = (await t.throwsAsync(
      producer.send({ topic: 'orders', body: 'x', delayLevel }),
    )) as StateMQError
    t.is(error.code, 'MESSAGE_ILLEGAL')
    t.regex(error.message, /1 \(1 s\) to 18 \(2 h\)/)
  }
  const batch = producer.sendBatch([{ topic: 'orders', body: 'x', delayLevel: 1 }])
  t.regex((await t.throwsAsync(batch))!.message, /a batch cannot be delayed/)
})

test('delayed: no list shows where messages wait, and nobody can make, read or delete it', async (t) => {
  const client = await clientOf(t, { messageDelayLevel: SHORT })
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: 'x', delayLevel: 18 })
  const admin = client.admin()
  t.deepEqual(
    (await admin.topics()).map(({ topic }) => topic),
    ['orders'],
  )
  await t.throwsAsync(admin.createTopic('SCHEDULE_TOPIC_XXXX'), { message: /belongs to the system/ })
  await t.throwsAsync(admin.deleteTopic('SCHEDULE_TOPIC_XXXX'), { message: /belongs to the system/ })
  const reads = [
    () => client.reader({ topic: 'SCHEDULE_TOPIC_XXXX' }),
    () => client.consumer({ group: 'g' }).subscribe('SCHEDULE_TOPIC_XXXX'),
    () => client.simpleConsumer({ group: 'g' }).subscribe('SCHEDULE_TOPIC_XXXX'),
  ]
  for (const read of reads) t.throws(read, { code: 'INVALID_PARAMETER', message: /belongs to the system/ })
})

test('delayed: what waits is delivered once, however often its broker is started anew', async (t) => {
  const cluster = await clusterOf(t, { messageDelayLevel: SHORT.replace('120ms', '700ms') })
  const client = await cluster.connect()
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  await client.admin().createTopic('orders', { queues: 2 })
  const bodies = numbers(40)
  await Promise.all(
    bodies.map((body, i) => producer.send({ topic: 'orders', body, delayLevel: 1 + (i % 2) })),
  )
  const listener = await listen(client, 'orders', { group: 'g', from: 'first' })
  for (let i = 0; i < 3; i++) await cluster.restartBroker('broker-a')
  await hears(listener, 40)
  await cluster.restartBroker('broker-a')
  const reader = client.reader({ topic: 'orders' })
  const stored = new Set<string>()
  let count = 0
  await until('the log is read', async () => {
    for (const { text } of await reader.poll(100, 50)) {
      stored.add(text)
      count++
    }
    return count >= 40
  })
  t.deepEqual(await reader.poll(100, 100), [])
  t.is(count, 40)
  t.deepEqual(sorted([...stored]), bodies)
})
