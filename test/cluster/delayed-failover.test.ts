/**
 * Messages that wait, for their time or for another try, while their broker gets another master: each is delivered
 * once, whoever is master by then, and what the old master did alone counts for nothing.
 */
import test from 'ava'
import type { Client } from '../../actors/index.ts'
import { until } from '../support/until.ts'
import { type ReplicaSet, replicaSet } from './replicas.ts'
import { listen, numbers, sorted } from './support.ts'

/** All that stands in the topic, `count` messages at least; and nothing that comes after them. */
async function readAll(client: Client, count: number): Promise<string[]> {
  const reader = client.reader({ topic: 'orders' })
  const texts: string[] = []
  // A name server may not know yet who is master: then it is asked again.
  const poll = async (ms: number) => {
    const found = await reader.poll(1_000, ms).catch(() => [])
    return texts.push(...found.map(({ text }) => text))
  }
  await until(
    () => `${count} messages are there, of which ${texts.length} are`,
    async () => (await poll(50)) >= count,
  )
  await poll(300)
  await reader.close()
  return texts
}

const ways: [string, (set: ReplicaSet, masterId: number) => Promise<unknown>][] = [
  ['is gone without a word', async (set, masterId) => set.cutOff(masterId)],
  ['hands over', (set, masterId) => set.handOver(1 - masterId)],
]
for (const [what, lose] of ways) {
  test(`delayed: a master ${what} while messages are due, and each is delivered once`, async (t) => {
    const set = await replicaSet(t)
    const client = await set.connect()
    await client.admin().createTopic('orders', { queues: 4 })
    await set.inSync()
    const producer = client.producer({ timeoutMs: 30_000 })
    const { brokerId, epoch } = await set.master()
    // They become due one after the other: when the first one is delivered, most of them wait.
    let count = 0
    const isHalfDone = async () => {
      const { delivered, waiting } = await set.master()
      return delivered > 0 && waiting > 0
    }
    while (!(await isHalfDone())) {
      const bodies = numbers(10, count)
      await Promise.all(bodies.map((body) => producer.send({ topic: 'orders', body, delayLevel: 1 })))
      count += bodies.length
    }
    await lose(set, brokerId)
    await until('another one is master', async () => (await set.master()).epoch > epoch)
    t.deepEqual(sorted(await readAll(client, count)), numbers(count))
    set.mend(brokerId)
    await set.inSync()
    await set.handOver(brokerId)
    t.deepEqual(sorted(await readAll(await set.connect(), count)), numbers(count))
    t.is((await set.master()).waiting, 0)
  })
}

test('retry: what failed is tried again by the next master, once', async (t) => {
  const set = await replicaSet(t)
  const client = await set.connect()
  await client.admin().createTopic('orders', { queues: 4 })
  await set.inSync()
  const done = new Map<string, number>()
  const listener = await listen(await set.connect(), 'orders', { group: 'other', from: 'last' })
  const consumer = (await set.connect()).consumer({ group: 'g', from: 'first' })
  consumer.subscribe('orders')
  await consumer.run(({ text, deliveryAttempt }, context) => {
    context.delayLevel = 2
    if (deliveryAttempt === 1) throw new Error('not yet')
    done.set(text, (done.get(text) ?? 0) + 1)
  })
  const producer = client.producer({ timeoutMs: 30_000 })
  await Promise.all(numbers(50).map((body) => producer.send({ topic: 'orders', body })))
  await until('all were sent back', () => consumer.failures!.sentBack === 50)
  const { brokerId, epoch } = await set.master()
  set.cutOff(brokerId)
  await until('another one is master', async () => (await set.master()).epoch > epoch)
  await until('all are done', () => done.size === 50)
  t.deepEqual([...new Set(done.values())], [1])
  t.is(listener.heard.length, 50)
  t.is((await set.master()).waiting, 0)
})
