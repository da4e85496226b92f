/** Where popping meets what the group did before: retries of consumers that owned queues. */
import test from 'ava'
import type { Client, ReceivedMessage, SimpleConsumer } from '../../actors/index.ts'
import { LIMIT_MS, until } from '../support/until.ts'
import {
  clientOf,
  clusterOf,
  hears,
  type Listener,
  listen,
  numbers,
  SHORT_LEVELS,
  sorted,
} from './support.ts'

const TOPIC = 'orders'
const SHORT = { messageDelayLevel: SHORT_LEVELS }

const popper = (
  client: Client,
  more: { maxAttempts?: number; invisibleMs?: number; topic?: string } = {},
) => {
  const { topic = TOPIC, ...rest } = more
  return client.simpleConsumer({ group: 'g', subscriptions: [{ topic }], from: 'first', ...rest })
}

async function receive(consumer: SimpleConsumer, count: number): Promise<ReceivedMessage[]> {
  const all: ReceivedMessage[] = []
  await until(
    () => `${count} messages are received, of which ${all.length} are`,
    async () => all.push(...(await consumer.receive(32, 1_000))) >= count,
  )
  return all
}

/** A consumer that owned the queues, has failed on all of these, sent them back, and is closed. */
async function failed(client: Client, bodies: readonly string[]): Promise<Listener> {
  const listener = await listen(client, TOPIC, {
    ...{ group: 'g', from: 'first' },
    handle() {
      throw new Error('not today')
    },
  })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  await Promise.all(bodies.map((body) => producer.send({ topic: TOPIC, body, tag: 'bad' })))
  await hears(listener, bodies.length)
  await until('all are sent back', () => listener.consumer.failures!.sentBack >= bodies.length)
  await listener.consumer.close()
  return listener
}

test('pop: what the group could not handle while it owned queues is received, under the topic it was sent to', async (t) => {
  const client = await clientOf(t, SHORT)
  const { heard } = await failed(client, numbers(5))
  const consumer = popper(client)
  const received = await receive(consumer, 5)
  t.deepEqual(sorted(received.map(({ text }) => text)), numbers(5))
  for (const message of received) {
    const before = heard.filter(({ messageId }) => messageId === message.messageId)
    t.is(message.topic, TOPIC)
    t.is(message.tag, 'bad')
    t.is(message.deliveryAttempt, before.length + 1)
    await consumer.ack(message.receiptHandle)
  }
  const refused = await t.throwsAsync(consumer.ack(received[0]!))
  t.is((refused as { code?: string }).code, 'INVALID_RECEIPT_HANDLE')
  t.true((await client.admin().group('g')).queues.every(({ lag }) => lag === 0))
})

test('pop: of a message that is tried again all tries count, those as an owner and those of a pop', async (t) => {
  const client = await clientOf(t, SHORT)
  const { heard } = await failed(client, ['poison'])
  const consumer = popper(client, { invisibleMs: 100, maxAttempts: heard.length + 2 })
  const attempts: number[] = []
  await until('there is a dead letter', async () => {
    for (const { deliveryAttempt } of await consumer.receive(1, 100)) attempts.push(deliveryAttempt)
    return (await client.admin().deadLetters('g')).length > 0
  })
  t.deepEqual(attempts, [heard.length + 1, heard.length + 2])
  t.like((await client.admin().deadLetters('g'))[0], { topic: TOPIC, attempts: heard.length + 2 })
})

test('pop: a retry topic that is made, or is filled, while a consumer waits is received from', async (t) => {
  const cluster = await clusterOf(t, SHORT)
  const client = await cluster.connect()
  await client.admin().createTopic('other')
  const consumer = popper(client, { topic: 'other' })
  const receiving = consumer.receive(1, 60_000)
  await failed(await cluster.connect(), ['x'])
  const [message] = await receiving
  t.is(message?.text, 'x')
  t.is(message?.topic, TOPIC)
  await consumer.ack(message!)
})

test('pop: that another consumer of the group owns the retry topic stands in the way of nobody', async (t) => {
  const cluster = await clusterOf(t, SHORT)
  const client = await cluster.connect()
  const attempts: number[] = []
  const owner = await listen(await cluster.connect(), TOPIC, {
    ...{ group: 'g', from: 'first' },
    handle({ deliveryAttempt }) {
      attempts.push(deliveryAttempt)
      if (deliveryAttempt < 3) throw new Error('not yet')
    },
  })
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: TOPIC, body: 'x' })
  await hears(owner, 3)
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'other', body: 'y' })
  const consumer = popper(client, { topic: 'other' })
  const [message] = await receive(consumer, 1)
  t.is(message?.text, 'y')
  await consumer.ack(message!)
  t.deepEqual(await consumer.receive(1, 0), [])
  t.deepEqual(attempts, [1, 2, 3])
})

test('pop: whoever unsubscribes from everything receives no retries either', async (t) => {
  const client = await clientOf(t, SHORT)
  await client.admin().createTopic(TOPIC)
  const consumer = popper(client)
  consumer.unsubscribe(TOPIC)
  const error = await t.throwsAsync(consumer.receive(1, 0))
  t.regex(error!.message, /subscribe to a topic/)
})
