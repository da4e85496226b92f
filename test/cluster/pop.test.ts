/**
 * Simple consumers: several of a group share one queue, acknowledge message by message, and get again what they did not.
 *
 * The parts are real, in memory.
 */
import test from 'ava'
import type { Client, ReceivedMessage, SimpleConsumer, SimpleConsumerOptions } from '../../actors/index.ts'
import { LIMIT_MS, until } from '../support/until.ts'
import { clientOf, clusterOf, listen, numbers, sorted } from './support.ts'

const TOPIC = 'orders'
const options = (more: Partial<SimpleConsumerOptions> = {}): SimpleConsumerOptions => ({
  group: 'billing',
  subscriptions: [{ topic: TOPIC }],
  from: 'first',
  awaitMs: 5_000,
  ...more,
})

async function send(client: Client, texts: readonly string[], more: { tag?: string } = {}): Promise<void> {
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  await Promise.all(texts.map((body) => producer.send({ topic: TOPIC, body, ...more })))
}

/** Receives and acknowledges until so many different messages came. */
async function drain(consumer: SimpleConsumer, count: number): Promise<ReceivedMessage[]> {
  const all: ReceivedMessage[] = []
  await until(
    () => `${count} messages are received, of which ${all.length} are`,
    async () => {
      const messages = await consumer.receive()
      await Promise.all(messages.map((message) => consumer.ack(message)))
      all.push(...messages)
      return all.length >= count
    },
  )
  return all
}

const texts = (messages: readonly ReceivedMessage[]): string[] => messages.map(({ text }) => text)

test('pop: several consumers share ONE queue, and each message is given to one of them', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic(TOPIC, { queues: 1 })
  const consumers = await Promise.all(
    Array.from({ length: 3 }, async () => (await cluster.connect()).simpleConsumer(options())),
  )
  const received: ReceivedMessage[][] = consumers.map(() => [])
  let isOver = false
  const running = consumers.map(async (consumer, i) => {
    while (!isOver) {
      const messages = await consumer.receive(5, 100)
      received[i]!.push(...messages)
      await Promise.all(messages.map((message) => consumer.ack(message)))
    }
  })
  for (let i = 0; i < 60; i++) await send(client, numbers(5, i * 5))
  await until('all are received', () => received.flat().length >= 300)
  isOver = true
  await Promise.all(running)

  t.deepEqual(sorted(texts(received.flat())), numbers(300))
  t.true(received.filter((messages) => messages.length > 0).length > 1)
  t.true(received.flat().every(({ deliveryAttempt }) => deliveryAttempt === 1))
  const { queues } = await client.admin().group('billing')
  t.deepEqual(
    queues.map(({ committed, lag }) => [committed, lag]),
    [[300, 0]],
  )
})

test('pop: what is not acknowledged is given again AFTER its invisible time, to whoever receives', async (t) => {
  const client = await clientOf(t)
  await send(client, numbers(3))
  const [one, two] = [
    client.simpleConsumer(options({ invisibleMs: 3_000 })),
    client.simpleConsumer(options()),
  ]
  const first: ReceivedMessage[] = []
  await until('all are received', async () => first.push(...(await one.receive())) >= 3)
  const acknowledged = first.find(({ text }) => text === '1')!
  await one.ack(acknowledged)

  const again: ReceivedMessage[] = []
  await until('the others are received again', async () => again.push(...(await two.receive())) >= 2)
  t.deepEqual(sorted(texts(again)), ['0', '2'])
  for (const message of again) {
    const before = first.find(({ text }) => text === message.text)!
    t.is(message.deliveryAttempt, 2)
    t.is(message.messageId, before.messageId)
    t.true(message.invisibleUntil - 30_000 >= before.invisibleUntil)
    const error = await t.throwsAsync(one.ack(before))
    t.is((error as { code?: string }).code, 'INVALID_RECEIPT_HANDLE')
    await two.ack(message.receiptHandle)
  }
})

test('pop: whoever waits is given what is sent meanwhile, at whichever broker', async (t) => {
  const cluster = await clusterOf(t, { brokers: 3 })
  const client = await cluster.connect()
  await client.admin().createTopic(TOPIC, { queues: 2 })
  const consumer = client.simpleConsumer(options({ awaitMs: 60_000 }))
  t.deepEqual(await consumer.receive(32, 0), [])
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (let i = 0; i < 12; i++) {
    const receiving = consumer.receive()
    const selectQueue = () => (i * 5) % 6
    const { brokerName } = await producer.send({ topic: TOPIC, body: `${i}`, selectQueue })
    const messages = await receiving
    t.deepEqual(texts(messages), [`${i}`])
    t.is(messages[0]!.brokerName, brokerName)
    await consumer.ack(messages[0]!)
  }
})

test('pop: brokers that have messages are asked in turn', async (t) => {
  const cluster = await clusterOf(t, { brokers: 2 })
  const client = await cluster.connect()
  await client.admin().createTopic(TOPIC, { queues: 1 })
  const consumer = client.simpleConsumer(options())
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  const sends = numbers(20).map((body, i) => producer.send({ topic: TOPIC, body, selectQueue: () => i % 2 }))
  await Promise.all(sends)
  const brokers: string[] = []
  for (let i = 0; i < 10; i++)
    for (const { brokerName } of await consumer.receive(2)) brokers.push(brokerName)
  t.is(brokers.length, 20)
  t.true([0, 4, 8, 12, 16].every((at) => new Set(brokers.slice(at, at + 4)).size === 2))
})

test('pop: an acknowledgement twice, or under another handle, is refused as such and harms nothing', async (t) => {
  const client = await clientOf(t)
  await send(client, ['a', 'b'])
  const consumer = client.simpleConsumer(options())
  const other = client.simpleConsumer(options({ group: 'audit' }))
  const [message] = await consumer.receive(1)
  await consumer.ack(message!)
  const refused = async (what: Promise<void>, says: RegExp) => {
    const error = await t.throwsAsync(what)
    t.is((error as { code?: string }).code, 'INVALID_RECEIPT_HANDLE')
    t.regex(error!.message, says)
  }
  await refused(consumer.ack(message!), /acknowledged already/)
  await refused(consumer.changeInvisible(message!, 1_000), /acknowledged already/)
  await refused(other.ack(message!), /given to group 'billing'/)
  await refused(consumer.ack('forged'), /no receipt handle/)
  const [next] = await drain(consumer, 1)
  t.not(next!.messageId, message!.messageId)
  const forged = Buffer.from(next!.receiptHandle, 'base64url').toString().split(' ')
  for (const part of [4, 5, 6]) {
    const changed = forged.map((text, i) => (i === part ? `${Number(text) + 1}` : text)).join(' ')
    await refused(consumer.ack(Buffer.from(changed).toString('base64url')), /@/)
  }
})

test('pop: a message that is prolonged is given again AFTER the new time, and its handle stays good', async (t) => {
  const client = await clientOf(t)
  await send(client, ['a'])
  const consumer = client.simpleConsumer(options({ invisibleMs: 200 }))
  const [message] = await consumer.receive()
  await consumer.changeInvisible(message!, 30_000)
  t.deepEqual(await consumer.receive(1, 600), [])
  await consumer.changeInvisible(message!, 100)
  const [again] = await consumer.receive()
  t.is(again!.deliveryAttempt, 2)
  await consumer.changeInvisible(again!, 30_000)
  await consumer.ack(again!)
  t.is(
    (await client.admin().group('billing')).queues.find(({ lag }) => lag > 0),
    undefined,
  )
})

test('pop: in order, NONE of a message group is given while an earlier one is not acknowledged', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic(TOPIC, { queues: 1 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const [body, messageGroup] of [
    ['a1', 'a'],
    ['a2', 'a'],
    ['b1', 'b'],
    ['free', undefined],
    ['a3', 'a'],
    ['b2', 'b'],
  ] as const) {
    await producer.send({
      topic: TOPIC,
      body,
      selectQueue: () => 0,
      ...(messageGroup ? { messageGroup } : {}),
    })
  }
  const [one, two] = [0, 1].map(() => client.simpleConsumer(options({ ordered: true, invisibleMs: 60_000 })))
  const first = await one!.receive()
  t.deepEqual(texts(first), ['a1', 'b1', 'free'])
  t.deepEqual(await two!.receive(32, 100), [])
  const waiting = two!.receive()
  await one!.ack(first[1]!)
  const second = await waiting
  t.deepEqual(texts(second), ['b2'])
  // What is given again comes before what follows it.
  await one!.changeInvisible(first[0]!, 100)
  const third = await two!.receive()
  t.deepEqual(texts(third), ['a1'])
  await two!.ack(third[0]!)
  t.deepEqual(texts(await drain(two!, 2)), ['a2', 'a3'])
})

test('pop: what is given as often as may be becomes a dead letter, which says where it came from', async (t) => {
  const client = await clientOf(t)
  const receipt = await client
    .producer({ timeoutMs: LIMIT_MS })
    .send({ topic: TOPIC, body: 'poison', tag: 'bad', keys: 'k', properties: { colour: 'red' } })
  const consumer = client.simpleConsumer(options({ invisibleMs: 100, maxAttempts: 3 }))
  const attempts: number[] = []
  await until('it is given three times', async () => {
    for (const { deliveryAttempt } of await consumer.receive(1, 1_000)) attempts.push(deliveryAttempt)
    return attempts.length >= 3
  })
  t.deepEqual(attempts, [1, 2, 3])
  const letters: ReceivedMessage[] = []
  const reader = client.simpleConsumer(
    options({ group: 'morgue', subscriptions: [{ topic: '%DLQ%billing' }] }),
  )
  await until('there is a dead letter', async () => {
    t.deepEqual(await consumer.receive(1, 100), [])
    letters.push(...(await reader.receive(32, 100).catch(() => [])))
    return letters.length > 0
  })
  t.deepEqual(texts(letters), ['poison'])
  const [letter] = letters
  t.is(letter!.messageId, receipt.messageId)
  t.is(letter!.tag, 'bad')
  t.deepEqual(letter!.keys, ['k'])
  t.is(letter!.properties.colour, 'red')
  const [listed] = await client.admin().deadLetters('billing')
  t.like(listed, { messageId: receipt.messageId, topic: TOPIC, attempts: 3 })
  t.regex(listed!.reason!, /never acknowledged/)
  t.is(
    (await client.admin().group('billing')).queues.find(({ lag }) => lag > 0),
    undefined,
  )
})

test('pop: what no subscription asks for is passed over, and the group goes on', async (t) => {
  const client = await clientOf(t)
  await send(client, numbers(50), { tag: 'noise' })
  await send(client, ['a'], { tag: 'paid' })
  await send(client, ['b'], { tag: 'created' })
  await send(client, numbers(50), { tag: 'noise' })
  const consumer = client.simpleConsumer(
    options({ subscriptions: [{ topic: TOPIC, expression: 'paid || created' }] }),
  )
  t.deepEqual(texts(await drain(consumer, 2)).sort(), ['a', 'b'])
  t.deepEqual(await consumer.receive(32, 100), [])
  const { queues } = await client.admin().group('billing')
  t.true(queues.every(({ lag }) => lag === 0))
})

test('pop: a subscription by SQL gives what it asks for, and a wrong one is refused with the column', async (t) => {
  const client = await clientOf(t)
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  await Promise.all(
    numbers(20).map((body) => producer.send({ topic: TOPIC, body, properties: { price: body } })),
  )
  const consumer = client.simpleConsumer({ group: 'billing', from: 'first' })
  const error = t.throws(() => consumer.subscribe(TOPIC, { sql: 'price >' }))
  t.is((error as { code?: string }).code, 'SUBSCRIPTION_PARSE_FAILED')
  t.regex(error!.message, /column/)
  consumer.subscribe(TOPIC, { sql: 'price >= 15' })
  t.deepEqual(sorted(texts(await drain(consumer, 5))), numbers(5, 15))
})

test('pop: a group whose consumers own queues is refused, with what to do', async (t) => {
  const client = await clientOf(t)
  await send(client, ['a'])
  const owner = client.consumer({ group: 'billing', from: 'first' })
  owner.subscribe(TOPIC)
  await owner.run(() => {})
  const consumer = client.simpleConsumer(options())
  const error = await t.throwsAsync(consumer.receive())
  t.is((error as { code?: string }).code, 'NO_PERMISSION')
  t.regex(error!.message, /stop the consumers of the group/)
  await owner.close()
  t.deepEqual(await consumer.receive(32, 0), [])
})

test("pop: a group that begins 'last' is given what comes AFTER its first receive, all of it", async (t) => {
  const client = await clientOf(t)
  await send(client, numbers(3))
  const consumer = client.simpleConsumer(options({ from: 'last' }))
  t.deepEqual(await consumer.receive(32, 0), [])
  await send(client, numbers(5, 3))
  t.deepEqual(sorted(texts(await drain(consumer, 5))), numbers(5, 3))
})

test("pop: a group that begins 'last' is given all of a topic that is made later, and of one that is made anew", async (t) => {
  const client = await clientOf(t)
  const consumer = client.simpleConsumer(options({ from: 'last' }))
  await t.throwsAsync(consumer.receive(1, 0), { message: /no broker has the topic/ })
  await send(client, numbers(3))
  t.deepEqual(sorted(texts(await drain(consumer, 3))), numbers(3))
  await client.admin().deleteTopic(TOPIC)
  await until('it is gone', () =>
    consumer.receive(1, 0).then(
      () => false,
      () => true,
    ),
  )
  await client.admin().createTopic(TOPIC)
  await send(client, numbers(3, 3))
  t.deepEqual(sorted(texts(await drain(consumer, 3))), numbers(3, 3))
})

test('pop: an operator moves a group back, and handles of before are refused', async (t) => {
  const client = await clientOf(t)
  await send(client, numbers(10))
  const consumer = client.simpleConsumer(options())
  const all = await drain(consumer, 10)
  await send(client, ['10'])
  const [open] = await consumer.receive(1)
  await client.admin().resetOffsets('billing', TOPIC, 'first')
  const error = await t.throwsAsync(consumer.ack(open!))
  t.is((error as { code?: string }).code, 'INVALID_RECEIPT_HANDLE')
  t.is(all.length, 10)
  t.deepEqual(sorted(texts(await drain(consumer, 11))), numbers(11))
})

test('pop: a group that is put where its first open message is hears what it acknowledged after that again', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic(TOPIC, { queues: 1 })
  await send(client, numbers(3))
  const consumer = client.simpleConsumer(options())
  const [, ...later] = (await consumer.receive(3)).sort((a, b) => a.queueOffset - b.queueOffset)
  for (const message of later) await consumer.ack(message)
  await client.admin().resetOffsets('billing', TOPIC, 'first')
  t.deepEqual(sorted(texts(await consumer.receive(3))), numbers(3))
})

test('pop: a message as large as may be is received, also beside small ones', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic(TOPIC, { queues: 1 })
  const large = 'x'.repeat(3 * 1024 * 1024)
  await send(client, ['a', large, 'b'])
  const received = await drain(client.simpleConsumer(options()), 3)
  t.deepEqual(
    received.map(({ body }) => body.length),
    [1, large.length, 1],
  )
})

test('pop: a consumer that closes gives an empty list to whoever waits, and leaves what it has to its time', async (t) => {
  const client = await clientOf(t)
  await send(client, ['a'])
  const consumer = client.simpleConsumer(options({ invisibleMs: 300 }))
  t.is((await consumer.receive()).length, 1)
  const waiting = consumer.receive(1, 60_000)
  const closing = consumer.close()
  t.deepEqual(await waiting, [])
  await closing
  const error = await t.throwsAsync(consumer.receive())
  t.is((error as { code?: string }).code, 'CLOSED')
  const [again] = await client.simpleConsumer(options()).receive()
  t.is(again!.deliveryAttempt, 2)
})

const wrong: [what: string, make: (client: Client) => unknown, code: string][] = [
  ['no group', (client) => client.simpleConsumer({} as never), 'INVALID_PARAMETER'],
  ['a blank group', (client) => client.simpleConsumer({ group: ' ' }), 'INVALID_PARAMETER'],
  [
    'an invisible time of 99 ms',
    (client) => client.simpleConsumer(options({ invisibleMs: 99 })),
    'INVALID_PARAMETER',
  ],
  [
    'an invisible time of 13 h',
    (client) => client.simpleConsumer(options({ invisibleMs: 46_800_000 })),
    'INVALID_PARAMETER',
  ],
  ['no attempts', (client) => client.simpleConsumer(options({ maxAttempts: 0 })), 'INVALID_PARAMETER'],
  [
    'a beginning of its own',
    (client) => client.simpleConsumer(options({ from: 'now' as never })),
    'INVALID_PARAMETER',
  ],
  [
    'an expression that is none',
    (client) => client.simpleConsumer(options({ subscriptions: [{ topic: TOPIC, expression: 'a |' }] })),
    'SUBSCRIPTION_PARSE_FAILED',
  ],
  [
    'a topic that is none',
    (client) => client.simpleConsumer(options({ subscriptions: [{ topic: 'a b' }] })),
    'INVALID_PARAMETER',
  ],
  ['0 messages', (client) => client.simpleConsumer(options()).receive(0), 'INVALID_PARAMETER'],
  ['1,001 messages', (client) => client.simpleConsumer(options()).receive(1_001), 'INVALID_PARAMETER'],
  ['to wait backwards', (client) => client.simpleConsumer(options()).receive(1, -1), 'INVALID_PARAMETER'],
  [
    'a topic that is not there',
    (client) => client.simpleConsumer(options({ subscriptions: [{ topic: 'nowhere' }] })).receive(1, 100),
    'TOPIC_NOT_EXIST',
  ],
  ['no subscription', (client) => client.simpleConsumer({ group: 'billing' }).receive(), 'INVALID_PARAMETER'],
]
for (const [what, make, code] of wrong) {
  test(`pop: ${what} is refused with ${code}`, async (t) => {
    const client = await clientOf(t)
    const error = await t.throwsAsync(async () => make(client))
    t.is((error as { code?: string }).code, code)
  })
}

test('pop: a group that pops owns no queues, and its consumer says why it reads nothing', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic('orders', { queues: 1 })
  const popper = client.simpleConsumer({
    group: 'workers',
    subscriptions: [{ topic: 'orders' }],
    from: 'first',
  })
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: 'one' })
  const [message] = await popper.receive(1)
  t.is(message?.text, 'one')
  const owner = await listen(await cluster.connect(), 'orders', { group: 'workers', from: 'first' })
  t.deepEqual(owner.owned, [])
  await popper.ack(message!)
  await popper.close()
  await owner.consumer.close()
})
