/** What is sent is consumed: the same bytes, the same attributes, in the order and the number that were promised. */
import test from 'ava'
import { type IncomingMessage, type OutgoingMessage, type Receipt, StateMQError } from '../../actors/index.ts'
import { LIMIT_MS, until } from '../support/until.ts'
import { byQueue, clientOf, clusterOf, hears, listen, numbers, sorted } from './support.ts'

test('message: everything that the sender gave reaches the handler', async (t) => {
  const client = await clientOf(t)
  const receipt = await client.producer({ timeoutMs: LIMIT_MS }).send({
    topic: 'orders',
    body: '{"paid":true}',
    tag: 'paid',
    keys: ['A-1', 'A-2'],
    messageGroup: 'A',
    properties: { price: '10', 'land und Stadt': 'Österreich, Wien', empty: '' },
  })
  const listener = await listen(client, 'orders', { group: 'billing', from: 'first' })
  await hears(listener, 1)
  const [message] = listener.heard as [IncomingMessage]
  t.deepEqual(message.json(), { paid: true })
  t.is(message.tag, 'paid')
  t.deepEqual(message.keys, ['A-1', 'A-2'])
  t.is(message.messageGroup, 'A')
  t.deepEqual(message.properties, { price: '10', 'land und Stadt': 'Österreich, Wien', empty: '' })
  t.is(message.messageId, receipt.messageId)
  t.like(message, {
    topic: receipt.topic,
    brokerName: receipt.brokerName,
    queueId: receipt.queueId,
    queueOffset: receipt.queueOffset,
    epoch: receipt.epoch,
    deliveryAttempt: 1,
  })
  t.true(message.storeTime >= message.bornTime - 1_000)
})

test('message: text of every script comes back as it was', async (t) => {
  const client = await clientOf(t)
  const texts = [
    'a',
    'ä',
    '中文',
    '🙂',
    '\u0000',
    '\u0001\u0002',
    'e\u0301',
    '\ufeff',
    '\r\n',
    'x'.repeat(1_023),
    'ß'.repeat(1_024),
  ]
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const body of texts) await producer.send({ topic: 'orders', body, messageGroup: 'one' })
  const listener = await listen(client, 'orders', { group: 'billing', from: 'first', ordered: true })
  await hears(listener, texts.length)
  t.deepEqual(listener.texts, texts)
})

test('message: bytes of every value come back as they were', async (t) => {
  const client = await clientOf(t)
  const body = Uint8Array.from({ length: 1_024 }, (_, i) => i % 256)
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body })
  const [message] = await client.reader({ topic: 'orders' }).poll(1, LIMIT_MS)
  t.deepEqual(new Uint8Array(message!.body), body)
})

test('message: bodies of the largest size come back whole, among small ones', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic('orders', { queues: 1 })
  const producer = client.producer({ timeoutMs: 60_000 })
  const large = Buffer.alloc(4 * 1024 * 1024, 'large')
  const bodies = ['small', large, 'small', 'ü'.repeat(2 * 1024 * 1024), 'small']
  await Promise.all(bodies.map((body) => producer.send({ topic: 'orders', body })))
  const reader = client.reader({ topic: 'orders' })
  const found: IncomingMessage[] = []
  await until('all are read', async () => found.push(...(await reader.poll())) === bodies.length)
  found.forEach((message, i) => {
    t.true(message.body.equals(Buffer.from(bodies[i]!)), `body ${i}`)
  })
})

test('message: the caller may change its bytes once send has returned', async (t) => {
  const client = await clientOf(t)
  const body = Buffer.from('before')
  const sent = client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body })
  body.fill('x')
  await sent
  const [message] = await client.reader({ topic: 'orders' }).poll(1, LIMIT_MS)
  t.is(message!.text, 'before')
})

test('producer: many sends at once are each stored once', async (t) => {
  const client = await clientOf(t, { brokers: 2 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  const receipts = await Promise.all(numbers(5_000).map((body) => producer.send({ topic: 'orders', body })))
  const places = new Set(
    receipts.map(({ brokerName, queueId, queueOffset }) => `${brokerName}/${queueId}/${queueOffset}`),
  )
  t.is(places.size, 5_000)
  t.is(new Set(receipts.map(({ messageId }) => messageId)).size, 5_000)
  const listener = await listen(client, 'orders', { group: 'billing', from: 'first' })
  await hears(listener, 5_000)
  t.deepEqual(sorted(listener.texts), numbers(5_000))
})

test('producer: messages are spread evenly over all queues of all brokers', async (t) => {
  const client = await clientOf(t, { brokers: 3 })
  await client.admin().createTopic('orders', { queues: 5 })
  const brokersOf = async () => (await client.admin().route('orders')).brokers.length
  await until('every broker is in the route', async () => (await brokersOf()) === 3)
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  const counts = new Map<string, number>()
  // All at once, and none before: after a send that took long on a busy machine, later ones avoid its broker.
  const receipts = await Promise.all(numbers(150).map((body) => producer.send({ topic: 'orders', body })))
  for (const { brokerName, queueId } of receipts) {
    const key = `${brokerName}/${queueId}`
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  t.is(counts.size, 15)
  t.deepEqual([...new Set(counts.values())], [10])
})

test('producer: a topic that is made by its first message is made on every broker', async (t) => {
  const client = await clientOf(t, { brokers: 3 })
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: 'x' })
  const { brokers } = await client.admin().route('orders')
  t.deepEqual(
    brokers.map(({ brokerName, writeQueues }) => [brokerName, writeQueues]),
    [
      ['broker-a', 4],
      ['broker-b', 4],
      ['broker-c', 4],
    ],
  )
})

test('producer: where topics are not made by use, an unknown topic is refused', async (t) => {
  const client = await clientOf(t, { autoCreateTopic: false })
  const error = await t.throwsAsync(
    client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: 'x' }),
    {
      instanceOf: StateMQError,
    },
  )
  t.is((error as StateMQError).code, 'TOPIC_NOT_EXIST')
  t.is((error as StateMQError).responseCode, 17)
  t.false((error as StateMQError).retryable)
  t.regex(error!.message, /statemq topic create orders/)
})

test('producer: one that may not create topics refuses an unknown topic', async (t) => {
  const client = await clientOf(t)
  const producer = client.producer({ createTopics: false, timeoutMs: LIMIT_MS })
  await t.throwsAsync(producer.send({ topic: 'orders', body: 'x' }), { code: 'TOPIC_NOT_EXIST' })
  await client.admin().createTopic('orders', { queues: 1 })
  t.is((await producer.send({ topic: 'orders', body: 'x' })).queueOffset, 0)
})

test('batch: its messages are stored in one queue, one after the other', async (t) => {
  const client = await clientOf(t, { brokers: 2 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  const noise = numbers(100).map((body) => producer.send({ topic: 'orders', body: `noise ${body}` }))
  const receipts = await producer.sendBatch(numbers(50).map((body) => ({ topic: 'orders', body })))
  await Promise.all(noise)
  t.is(new Set(receipts.map(({ brokerName, queueId }) => `${brokerName}/${queueId}`)).size, 1)
  t.deepEqual(
    receipts.map(({ queueOffset }) => queueOffset - receipts[0]!.queueOffset),
    numbers(50).map(Number),
  )
  t.is(new Set(receipts.map(({ messageId }) => messageId)).size, 50)
})

test('batch: 4 MiB in many messages are stored, with tag, keys and properties of each', async (t) => {
  const client = await clientOf(t)
  const bodies = numbers(16_000).map((body) => body.padEnd(200))
  const receipts = await client
    .producer({ timeoutMs: 60_000 })
    .sendBatch(bodies.map((body, i) => ({ topic: 'orders', body, tag: `t${i % 3}`, keys: `${i}` })))
  t.is(receipts.length, 16_000)
  const reader = client.reader({ topic: 'orders' })
  const found: IncomingMessage[] = []
  await until('all are read', async () => found.push(...(await reader.poll(20_000))) >= 16_000)
  t.deepEqual(
    found.map(({ text }) => text),
    bodies,
  )
  t.true(found.every(({ tag, keys }, i) => tag === `t${i % 3}` && keys[0] === `${i}`))
})

test('producer: messages of one group keep the order of their sends', async (t) => {
  const client = await clientOf(t, { brokers: 2 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  const receipts: Promise<Receipt>[] = []
  for (let i = 0; i < 2_000; i++) {
    receipts.push(producer.send({ topic: 'orders', body: `${i}`, messageGroup: `g${i % 20}` }))
    if (i % 100 === 0) await receipts.at(-1)
  }
  const settled = await Promise.all(receipts)
  for (let group = 0; group < 20; group++) {
    const own = settled.filter((_, i) => i % 20 === group)
    t.is(new Set(own.map(({ brokerName, queueId }) => `${brokerName}/${queueId}`)).size, 1)
    const offsets = own.map(({ queueOffset }) => queueOffset)
    t.deepEqual(
      offsets,
      [...offsets].sort((a, b) => a - b),
    )
  }
})

test('producer: the caller may choose the queue', async (t) => {
  const client = await clientOf(t, { brokers: 2 })
  await client.admin().createTopic('orders', { queues: 2 })
  const receipt = await client.producer({ timeoutMs: LIMIT_MS }).send({
    topic: 'orders',
    body: 'x',
    selectQueue: (queues) =>
      queues.findIndex(({ brokerName, queueId }) => brokerName === 'broker-b' && queueId === 1),
  })
  t.like(receipt, { brokerName: 'broker-b', queueId: 1 })
})

test('producer: a one-way message is stored', async (t) => {
  const client = await clientOf(t)
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  producer.sendOneway({ topic: 'orders', body: 'x' })
  await producer.close()
  const listener = await listen(client, 'orders', { group: 'billing', from: 'first' })
  await hears(listener, 1)
  t.deepEqual(listener.texts, ['x'])
})

test('consumer: only messages with the tags of the expression reach the handler', async (t) => {
  const client = await clientOf(t)
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  // 'Aa' and 'BB' have one hash in Java: the broker's number alone does not tell them apart.
  for (const tag of ['Aa', 'BB', 'paid', 'created', undefined]) {
    await producer.send({ topic: 'orders', body: `${tag}`, ...(tag === undefined ? {} : { tag }) })
  }
  const listener = await listen(client, 'orders', {
    group: 'billing',
    from: 'first',
    expression: 'Aa || paid',
  })
  await until('all is committed', async () => {
    const { queues } = await client.admin().group('billing')
    return queues.reduce((sum, { committed }) => sum + (committed ?? 0), 0) === 5
  })
  t.deepEqual(listener.texts.sort(), ['Aa', 'paid'])
})

test('consumer: an ordered queue waits for a message whose handler failed, and only that queue', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic('orders', { queues: 2 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const body of numbers(20))
    await producer.send({ topic: 'orders', body, selectQueue: () => Number(body) % 2 })
  const done: IncomingMessage[] = []
  let fails = 2
  const listener = await listen(client, 'orders', {
    group: 'billing',
    from: 'first',
    ordered: true,
    handle(message) {
      if (message.text === '4' && fails-- > 0) throw new Error('not now')
      done.push(message)
    },
  })
  await until(
    'the other queue is handled to its end',
    () => done.filter(({ queueId }) => queueId === 1).length === 10,
  )
  t.deepEqual(byQueue(done).get('broker-a/0'), ['0', '2'])
  await until('the queue goes on', () => done.length === 20)
  t.deepEqual(byQueue(done).get('broker-a/0'), sorted(numbers(20).filter((n) => Number(n) % 2 === 0)))
  t.deepEqual(listener.heard.filter(({ text }) => text === '4').length, 3)
})

test('consumer: a message that is being handled holds the committed offset back', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic('orders', { queues: 1 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const body of numbers(10)) await producer.send({ topic: 'orders', body })
  let end = () => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  const listener = await listen(client, 'orders', {
    group: 'billing',
    from: 'first',
    handle: ({ text }) => (text === '3' ? ended : undefined),
  })
  const committed = async () => (await client.admin().group('billing')).queues[0]?.committed
  await until('what comes before it is committed', async () => (await committed()) === 3)
  await until('all others were handled', () => new Set(listener.texts).size === 10)
  t.is(await committed(), 3)
  end()
  await until('all is committed', async () => (await committed()) === 10)
})

test('consumer: broadcasting gives every message to every consumer', async (t) => {
  const cluster = await clusterOf(t, { brokers: 2 })
  const client = await cluster.connect()
  await client.admin().createTopic('news', { queues: 2 })
  const options = { group: 'readers', messageModel: 'broadcasting', from: 'first' } as const
  const one = await listen(await cluster.connect(), 'news', options)
  const two = await listen(await cluster.connect(), 'news', options)
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const body of numbers(100)) await producer.send({ topic: 'news', body })
  await Promise.all([hears(one, 100), hears(two, 100)])
  t.deepEqual(sorted(one.texts), numbers(100))
  t.deepEqual(sorted(two.texts), numbers(100))
})

test('consumer: messages() gives one message after the other, and what was acknowledged is committed', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic('orders', { queues: 1 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const body of numbers(50)) await producer.send({ topic: 'orders', body })
  const consumer = client.consumer({ group: 'billing', from: 'first' })
  consumer.subscribe('orders')
  const texts: string[] = []
  for await (const message of consumer.messages()) {
    texts.push(message.text)
    await message.ack()
    if (texts.length === 30) break
  }
  t.deepEqual(texts, numbers(30))
  const { queues } = await client.admin().group('billing')
  t.is(queues[0]!.committed, 30)
  const listener = await listen(client, 'orders', { group: 'billing' })
  await hears(listener, 20)
  t.deepEqual(listener.texts, numbers(20, 30))
})

test('consumer: what messages() gave out and nobody acknowledged is given out again', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic('orders', { queues: 1 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const body of numbers(5)) await producer.send({ topic: 'orders', body })
  const consumer = client.consumer({ group: 'billing', from: 'first' })
  for await (const message of consumer.subscribe('orders').messages()) {
    if (message.text !== '2') await message.ack()
    if (message.text === '4') break
  }
  const listener = await listen(client, 'orders', { group: 'billing' })
  await hears(listener, 3)
  t.deepEqual(listener.texts, ['2', '3', '4'])
})

test('consumer: close() ends the loop over messages() and waits for nothing that nobody will acknowledge', async (t) => {
  const client = await clientOf(t)
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const body of numbers(50)) await producer.send({ topic: 'orders', body })
  const consumer = client.consumer({ group: 'billing', from: 'first' })
  let seen = 0
  for await (const message of consumer.subscribe('orders').messages()) {
    await message.ack()
    if (++seen === 10) void consumer.close()
  }
  await consumer.close()
  t.is(seen, 10)
})

test('consumer: to acknowledge a message twice is nothing, and AFTER its consumer let go of it is refused', async (t) => {
  const client = await clientOf(t)
  for (const body of ['a', 'b'])
    await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body, messageGroup: 'g' })
  const consumer = client.consumer({ group: 'billing', from: 'first', closeTimeoutMs: 0 }).subscribe('orders')
  const messages = consumer.messages()
  const first = (await messages.next()).value!
  await first.ack()
  await t.notThrowsAsync(first.ack())
  const second = (await messages.next()).value!
  await messages.return()
  await t.throwsAsync(second.ack(), { code: 'FENCED_OWNER', message: /given again/ })
  await t.notThrowsAsync(first.ack())
})

test('consumer: a second loop over messages() is refused, and the first goes on', async (t) => {
  const client = await clientOf(t)
  for (const body of numbers(2))
    await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body })
  const consumer = client.consumer({ group: 'billing', from: 'first' }).subscribe('orders')
  const messages = consumer.messages()
  await (await messages.next()).value!.ack()
  await t.throwsAsync(consumer.messages().next(), { code: 'INVALID_PARAMETER' })
  const closed = consumer.close()
  t.true((await messages.next()).done)
  t.deepEqual(await closed, { unfinished: 0 })
})

test('consumer: a client that is closed ends a loop over messages() that waits', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: '1' })
  const consumer = client.consumer({ group: 'billing', from: 'first' })
  let closing: Promise<void> | null = null
  for await (const message of consumer.subscribe('orders').messages()) {
    await message.ack()
    closing = client.close()
  }
  await closing
  t.pass()
})

test('reader: reads a topic from its start, from its end, from an offset and from a time', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic('orders', { queues: 1 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const body of numbers(5)) await producer.send({ topic: 'orders', body })
  const border = Date.now() + 1
  await until('the clock has moved on', () => Date.now() > border)
  const later = Date.now()
  for (const body of numbers(5, 5)) await producer.send({ topic: 'orders', body })

  const reader = client.reader({ topic: 'orders' })
  const texts = async () => (await reader.poll(100, 100)).map(({ text }) => text)
  await until('it reads from the start', async () => (await texts()).join() !== '')
  await reader.seek('first')
  t.is((await texts())[0], '0')
  await reader.seek({ offset: 7 })
  t.deepEqual(await texts(), ['7', '8', '9'])
  await reader.seek({ time: later })
  t.is((await texts())[0], '5')
  await reader.seek('last')
  t.deepEqual(await texts(), [])
  await producer.send({ topic: 'orders', body: 'new' })
  t.deepEqual(
    (await reader.poll(100, 10_000)).map(({ text }) => text),
    ['new'],
  )
})

test('reader: leaves no trace in any group', async (t) => {
  const client = await clientOf(t)
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: 'x' })
  t.is((await client.reader({ topic: 'orders' }).poll()).length, 1)
  t.deepEqual(await client.admin().groups(), [])
})

test('reader: says that there is no such topic', async (t) => {
  const client = await clientOf(t)
  await t.throwsAsync(client.reader({ topic: 'nothing' }).poll(), { code: 'TOPIC_NOT_EXIST' })
})

test('send: a topic that may be read and not written is refused at once, and taken when it may be', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic('archive', { queues: 2, perm: 4 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  const send = () => producer.send({ topic: 'archive', body: 'x' })
  const refused = { code: 'NO_PERMISSION', message: /'archive' may be read and not written/ }
  await t.throwsAsync(send(), refused)
  await t.throwsAsync(send(), refused, 'also when the route is known')
  await t.throwsAsync(producer.sendBatch([{ topic: 'archive', body: 'x' }]), refused)
  await client.admin().createTopic('archive', { queues: 2 })
  t.is((await send()).topic, 'archive', 'an old route is no reason to refuse')
})

test('send: a field of the first message to a topic that is misspelt is refused, with the right name', async (t) => {
  const producer = (await clientOf(t)).producer({ timeoutMs: LIMIT_MS })
  const misspelt = { topic: 'orders', body: 'x', tags: 'paid' }
  for (const send of [() => producer.send(misspelt), () => producer.sendBatch([misspelt])]) {
    await t.throwsAsync(send(), {
      code: 'MESSAGE_ILLEGAL',
      message: /'tags' is no field .* did you mean tag\?/,
    })
  }
  const { queueOffset } = await producer.send({ topic: 'orders', body: 'x', orderId: 7 } as OutgoingMessage)
  t.is(queueOffset, 0, 'what is no typo is the business of whoever wrote it')
})
