/** A process that stands still for longer than its session: its own handler holds it up, brokers and all. */
import test from 'ava'
import { realClock } from '../../actors/node/real-world.ts'
import { LIMIT_MS, until } from '../support/until.ts'
import { clusterOf, hears, listen, numbers, sorted } from './support.ts'

const SESSION_MS = 6_000

test('standstill: a group of one asks for its queues again, and hears every message once', async (t) => {
  const cluster = await clusterOf(t, {}, realClock)
  const client = await cluster.connect()
  await client.admin().createTopic('orders', { queues: 2 })
  const held = new Int32Array(new SharedArrayBuffer(4))
  const owned: number[] = []
  const reader = await listen(client, 'orders', {
    ...{ group: 'g', from: 'first', sessionMs: SESSION_MS, concurrency: 1 },
    handle: ({ text }) => void (text === '7' && Atomics.wait(held, 0, 0, SESSION_MS + 100)),
  })
  await until('it owns both queues', () => reader.owned.length === 2)
  reader.consumer.assignment$.subscribe((queues) => void owned.push(queues.length))
  reader.consumer.suspend()
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  await Promise.all(numbers(50).map((body) => producer.send({ topic: 'orders', body })))
  reader.consumer.resume()
  await hears(reader, 50)
  await until('it owns both queues again', () => reader.owned.length === 2)
  t.true(owned.includes(0))
  await reader.consumer.close()
  t.deepEqual(sorted(reader.texts), numbers(50))
  const next = await listen(client, 'orders', { group: 'g', from: 'first' })
  t.deepEqual(next.texts, [])
})
