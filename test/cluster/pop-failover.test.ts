/**
 * Pop consumption while brokers restart and masters change: what was acknowledged NEVER comes again, what was received
 * comes again only AFTER its time, and what was sent comes.
 */
import test from 'ava'
import type { ReceivedMessage, SimpleConsumer, SimpleConsumerOptions } from '../../actors/index.ts'
import { LIMIT_MS, until } from '../support/until.ts'
import { type ReplicaSet, replicaSet } from './replicas.ts'
import { clusterOf, hears, listen, numbers, sorted } from './support.ts'

const TOPIC = 'orders'
const options = (more: Partial<SimpleConsumerOptions> = {}): SimpleConsumerOptions => ({
  group: 'billing',
  subscriptions: [{ topic: TOPIC }],
  from: 'first',
  ...more,
})
const texts = (messages: readonly ReceivedMessage[]): string[] => messages.map(({ text }) => text)

async function receive(consumer: SimpleConsumer, count: number): Promise<ReceivedMessage[]> {
  const all: ReceivedMessage[] = []
  await until(
    () => `${count} messages are received, of which ${all.length} are`,
    async () => {
      const messages = await consumer.receive(count - all.length, 200).catch(() => [])
      return all.push(...messages) >= count
    },
  )
  return all
}

test('pop restart: what was acknowledged stays so, handles stay good, and what is invisible comes AFTER its time', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  await Promise.all(numbers(30).map((body) => producer.send({ topic: TOPIC, body })))
  const consumer = client.simpleConsumer(options({ invisibleMs: 600_000 }))
  const before = await receive(consumer, 20)
  for (const message of before.slice(0, 10)) await consumer.ack(message)

  await cluster.restartBroker('broker-a')

  await consumer.ack(before[10]!)
  const rest = await receive(consumer, 10)
  t.deepEqual(sorted(texts([...before, ...rest])), numbers(30))
  t.deepEqual(await consumer.receive(32, 100), [])
  for (const message of before.slice(11, 19)) await consumer.changeInvisible(message, 100)
  const again = await receive(consumer, 8)
  t.deepEqual(sorted(texts(again)), sorted(texts(before.slice(11, 19))))
  t.true(again.every(({ deliveryAttempt }) => deliveryAttempt === 2))
  for (const message of [...rest, ...again, before[19]!]) await consumer.ack(message)
  const { queues } = await client.admin().group('billing')
  t.true(queues.every(({ lag }) => lag === 0))
})

const ways: [string, (set: ReplicaSet, masterId: number) => Promise<unknown>][] = [
  ['is gone without a word', async (set, masterId) => set.cutOff(masterId)],
  ['hands over', (set, masterId) => set.handOver(1 - masterId)],
]
for (const [what, lose] of ways) {
  test(`pop failover: a master ${what}, and nothing acknowledged comes again, nothing else is lost`, async (t) => {
    const set = await replicaSet(t)
    const client = await set.connect()
    await client.admin().createTopic(TOPIC, { queues: 2 })
    await set.inSync()
    const { brokerId, epoch } = await set.master()
    const producer = client.producer({ timeoutMs: 30_000 })
    const consumers = [
      client.simpleConsumer(options({ invisibleMs: 15_000 })),
      (await set.connect()).simpleConsumer(options({ invisibleMs: 15_000 })),
    ]
    const acknowledged: ReceivedMessage[] = []
    const errors: unknown[] = []
    let sent = 0
    let isOver = false
    const sending = (async () => {
      while (!isOver) {
        await Promise.all(Array.from({ length: 5 }, () => producer.send({ topic: TOPIC, body: `${sent++}` })))
      }
    })()
    const kept = await receive(consumers[0]!, 5)
    for (const message of kept) await consumers[0]!.changeInvisible(message, 600_000)
    const running = consumers.map(async (consumer) => {
      while (!isOver) {
        const messages = await consumer.receive(10, 100).catch(() => [])
        const acks = messages.map((message) =>
          consumer.ack(message).then(
            () => acknowledged.push(message),
            (error) => errors.push(error),
          ),
        )
        await Promise.all(acks)
      }
    })
    await until('they are acknowledged', () => acknowledged.length >= 100)
    await lose(set, brokerId)
    await until('there is another master', async () => (await set.master()).epoch > epoch)
    const before = acknowledged.length
    await until('they go on', () => acknowledged.length >= before + 100)
    set.mend(brokerId)
    await set.inSync()
    isOver = true
    await Promise.all([sending, ...running])

    // A receive whose answer was lost with the master has hidden what it gave, until its time is over.
    const rest: ReceivedMessage[] = []
    await until(
      () => `all ${sent} are received, of which ${kept.length + acknowledged.length + rest.length} are`,
      async () => {
        const messages = await consumers[0]!.receive(100, 300)
        for (const message of messages) await consumers[0]!.ack(message)
        rest.push(...messages)
        return kept.length + acknowledged.length + rest.length >= sent
      },
    )
    t.log(`${sent} sent; ${rest.filter((message) => message.deliveryAttempt > 1).length} had been hidden`)
    for (const message of kept) await consumers[1]!.ack(message.receiptHandle)
    const all = texts([...kept, ...acknowledged, ...rest])
    t.deepEqual(errors, [])
    t.deepEqual(sorted(all), numbers(sent))
    const committed = await set.committed('billing')
    t.true(committed.every((queue) => queue.committed === queue.maxOffset))
  })
}

for (const isNewMaster of [false, true]) {
  const also = isNewMaster ? ', also at the next master' : ''
  test(`pop: the queues of a consumer that died are free when its session is over${also}`, async (t) => {
    const set = await replicaSet(t)
    const client = await set.connect()
    await client.admin().createTopic(TOPIC, { queues: 2 })
    await set.inSync()
    const producer = client.producer({ timeoutMs: 30_000 })
    const send = (from: number) =>
      Promise.all(numbers(10, from).map((body) => producer.send({ topic: TOPIC, body })))
    await send(0)
    const dying = await set.connect()
    const owner = await listen(dying, TOPIC, { group: 'billing', from: 'first', sessionMs: 6_000 })
    await hears(owner, 10)
    await until('all is committed', async () =>
      (await set.committed('billing')).every(({ committed, maxOffset }) => committed === maxOffset),
    )
    set.kill(dying)
    await send(10)
    const consumer = client.simpleConsumer(options({ awaitMs: 30_000 }))
    const refused = await t.throwsAsync(consumer.receive())
    t.is((refused as { code?: string }).code, 'NO_PERMISSION')
    // The coordinator is another one then, too, and knows nothing of the group.
    const { brokerId } = await set.master()
    if (isNewMaster) await set.handOver(1 - brokerId)
    const received = await receive(consumer, 10)
    t.deepEqual(sorted(texts(received)), numbers(10, 10))
    for (const message of received) await consumer.ack(message)
    t.true((await set.committed('billing')).every(({ committed, maxOffset }) => committed === maxOffset))
  })
}
