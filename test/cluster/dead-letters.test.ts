/** What a group could not handle is found, read and sent again. */
import test, { type ExecutionContext } from 'ava'
import type { Client } from '../../actors/index.ts'
import { LIMIT_MS, until } from '../support/until.ts'
import { clusterOf, hears, listen, numbers, SHORT_LEVELS, sorted } from './support.ts'

/** A client of a cluster where `count` messages of `orders` are dead letters of the group `billing`. */
async function withDead(t: ExecutionContext, count: number): Promise<Client> {
  const cluster = await clusterOf(t, { brokers: 2, messageDelayLevel: SHORT_LEVELS })
  const client = await cluster.connect()
  await client.admin().createTopic('orders', { queues: 2 })
  const { consumer } = await listen(await cluster.connect(), 'orders', {
    ...{ group: 'billing', from: 'first', maxReconsumeTimes: 1 },
    handle: ({ text }) => {
      throw new RangeError(`no stock for ${text}`)
    },
  })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  const send = (body: string) =>
    producer.send({ topic: 'orders', body, tag: 'paid', keys: [body], properties: { town: 'Köln' } })
  await Promise.all(numbers(count).map(send))
  await until('all are dead', () => consumer.failures!.deadLetters === count)
  await consumer.close()
  return client
}

test('dead letters: they are listed with where they were sent, how often they were tried, and why they failed', async (t) => {
  const admin = (await withDead(t, 6)).admin()
  const letters = await admin.deadLetters('billing')
  t.deepEqual(sorted(letters.map(({ keys }) => keys[0]!)), numbers(6))
  t.deepEqual([...new Set(letters.map(({ brokerName }) => brokerName))].sort(), ['broker-a', 'broker-b'])
  for (const { keys, ...letter } of letters) {
    const reason = `RangeError: no stock for ${keys[0]}`
    t.like(letter, { topic: 'orders', tag: 'paid', attempts: 2, reason, properties: { town: 'Köln' } })
    t.true(letter.time >= letter.bornTime)
  }
  t.is((await admin.deadLetters('billing', { max: 2 })).length, 2)
  const { messageId } = letters[0]!
  t.is((await admin.deadLetter('billing', messageId)).body.toString(), `${letters[0]!.keys[0]}`)
})

test('dead letters: one that is sent again comes under its old id, and stays a dead letter', async (t) => {
  const client = await withDead(t, 3)
  const admin = client.admin()
  const [first] = await admin.deadLetters('billing')
  const { messageId } = first!
  const listener = await listen(client, 'orders', { group: 'billing', from: 'last' })
  const receipts = await admin.resendDeadLetters('billing', { messageIds: [messageId] })
  t.deepEqual(
    receipts.map(({ topic, messageId: id }) => [topic, id]),
    [['orders', messageId]],
  )
  await hears(listener, 1)
  t.like(listener.heard[0]!.toJSON(), {
    ...{ messageId, topic: 'orders', tag: 'paid', keys: first!.keys, deliveryAttempt: 1 },
    properties: { town: 'Köln', RESENT_FROM: '%DLQ%billing' },
  })
  t.is((await admin.deadLetters('billing')).length, 3)
})

test('dead letters: all are sent again, each once, and no message is tried again by itself', async (t) => {
  const client = await withDead(t, 12)
  const admin = client.admin()
  const listener = await listen(client, 'orders', { group: 'audit', from: 'last' })
  const receipts = await admin.resendDeadLetters('billing', { all: true })
  t.is(new Set(receipts.map(({ messageId }) => messageId)).size, 12)
  await hears(listener, 12)
  t.deepEqual(sorted(listener.texts), numbers(12))
})

test('dead letters: what is asked wrongly is refused with a sentence', async (t) => {
  const client = await withDead(t, 1)
  const admin = client.admin()
  await t.throwsAsync(admin.deadLetter('billing', 'x-1'), { code: 'QUERY_NOT_FOUND', message: /x-1/ })
  await t.throwsAsync(admin.resendDeadLetters('billing', { messageIds: ['x-1'] }), {
    code: 'QUERY_NOT_FOUND',
  })
  await t.throwsAsync(admin.resendDeadLetters('billing', {} as never), { code: 'INVALID_PARAMETER' })
  await t.throwsAsync(admin.deadLetters('no group'), { code: 'INVALID_PARAMETER' })
  await t.throwsAsync(admin.deadLetters('billing', { max: 0 }), { code: 'INVALID_PARAMETER' })
  await t.throwsAsync(admin.deadLetters('nobody'), { code: 'SUBSCRIPTION_GROUP_NOT_EXIST' })
  await t.throwsAsync(admin.resendDeadLetters('nobody', { all: true }), {
    code: 'SUBSCRIPTION_GROUP_NOT_EXIST',
  })
  await t.throwsAsync(admin.resendDeadLetters('billing', undefined as never), { code: 'INVALID_PARAMETER' })
  await admin.deleteTopic('orders')
  await t.throwsAsync(admin.resendDeadLetters('billing', { all: true }), { code: 'TOPIC_NOT_EXIST' })
})
