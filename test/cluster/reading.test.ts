/** The reader: it goes where it is told, queue by queue, and refuses places that are not there. */
import test, { type ExecutionContext } from 'ava'
import type { Client, QueueRef } from '../../actors/index.ts'
import { LIMIT_MS, until } from '../support/until.ts'
import { clientOf, clusterOf, numbers } from './support.ts'

const queue = (queueId: number): QueueRef => ({ topic: 'orders', brokerName: 'broker-a', queueId })

/** A topic with two queues, of which each holds `count` messages whose bodies are their offsets. */
async function filled(t: ExecutionContext, count: number): Promise<Client> {
  const client = await clientOf(t)
  await client.admin().createTopic('orders', { queues: 2 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const body of numbers(count)) {
    for (const queueId of [0, 1]) {
      await producer.send({ topic: 'orders', body, selectQueue: () => queueId })
    }
  }
  return client
}

const placesOf = (messages: readonly { queueId: number; queueOffset: number }[]) =>
  messages.map(({ queueId, queueOffset }) => `${queueId}@${queueOffset}`).sort()

test('reader: seeks in one queue and leaves the others where they are', async (t) => {
  const client = await filled(t, 5)
  const reader = client.reader({ topic: 'orders' })
  await reader.seek('last')
  await reader.seek({ offset: 3, queue: queue(1) })
  t.deepEqual([await reader.position(queue(0)), await reader.position(queue(1))], [5, 3])
  t.deepEqual(placesOf(await reader.poll(100, 10_000)), ['1@3', '1@4'])
  await reader.seek('first', queue(0))
  await reader.seek({ time: 0, queue: queue(1) })
  t.deepEqual([await reader.position(queue(0)), await reader.position(queue(1))], [0, 0])
})

test('reader: tells the position of each queue, before and after it has read', async (t) => {
  const client = await filled(t, 5)
  const reader = client.reader({ topic: 'orders' })
  t.is(await reader.position(queue(0)), 0)
  let read = 0
  await until('all is read', async () => {
    read += (await reader.poll()).length
    return read === 10
  })
  t.deepEqual([await reader.position(queue(0)), await reader.position(queue(1))], [5, 5])
})

test('reader: gives nothing of a queue that is paused, and goes on where it stood', async (t) => {
  const client = await filled(t, 5)
  const reader = client.reader({ topic: 'orders' })
  await reader.pause(queue(0))
  const first = await reader.poll(2, 10_000)
  t.deepEqual(placesOf(first), ['1@0', '1@1'])
  await reader.pause()
  t.deepEqual(await reader.poll(100, 100), [])
  await reader.resume(queue(0))
  t.deepEqual(
    placesOf(await reader.poll(100, 10_000)),
    placesOf(numbers(5).map((i) => ({ queueId: 0, queueOffset: Number(i) }))),
  )
  await reader.resume()
  t.deepEqual(placesOf(await reader.poll(100, 10_000)), ['1@2', '1@3', '1@4'])
})

test('reader: a poll that waits gets what a resume lets through', async (t) => {
  const client = await filled(t, 1)
  const reader = client.reader({ topic: 'orders', queues: ({ queueId }) => queueId === 0 })
  t.is((await reader.poll(1, 10_000)).length, 1)
  await reader.seek('first')
  await reader.pause()
  const polling = reader.poll(10, 60_000)
  await reader.resume()
  t.is((await polling).length, 1)
})

test('reader: an offset that is not there is refused with what is there, and no queue is moved', async (t) => {
  const client = await filled(t, 5)
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: '5', selectQueue: () => 1 })
  const reader = client.reader({ topic: 'orders' })
  await reader.seek({ offset: 2 })
  const error = await t.throwsAsync(reader.seek({ offset: 6 }), { code: 'PULL_OFFSET_MOVED' })
  t.regex(error!.message, /offset 6 is not in orders\/broker-a\/0, which goes from 0 to 5/)
  await t.throwsAsync(reader.seek({ offset: 7, queue: queue(1) }), { message: /goes from 0 to 6/ })
  t.deepEqual([await reader.position(queue(0)), await reader.position(queue(1))], [2, 2])
  await reader.seek({ offset: 6, queue: queue(1) })
  t.is(await reader.position(queue(1)), 6)
})

for (const [what, to] of [
  ['a negative offset', { offset: -1 }],
  ['a broken offset', { offset: 1.5 }],
  ['an offset that is no number', { offset: '3' }],
  ['a time before 1970', { time: -1 }],
  ['no date', { time: new Date('never') }],
  ['a word nobody knows', 'middle'],
  ['nothing', undefined],
  ['null', null],
  ['a queue that is not there', { offset: 0, queue: queue(9) }],
] as const) {
  test(`reader: a seek to ${what} is refused before anything moves`, async (t) => {
    const client = await filled(t, 1)
    const reader = client.reader({ topic: 'orders' })
    const error = await t.throwsAsync(reader.seek(to as never), { code: 'INVALID_PARAMETER' })
    t.regex(
      error!.message,
      /give|no date|the reader has no queue orders\/broker-a\/9: it reads orders\/broker-a\/0, /,
    )
    t.is((await reader.poll(1, 10_000)).length, 1)
  })
}

test('reader: a queue that it does not read is neither paused nor asked for', async (t) => {
  const client = await filled(t, 1)
  const reader = client.reader({ topic: 'orders', queues: ({ queueId }) => queueId === 0 })
  for (const call of [
    () => reader.pause(queue(1)),
    () => reader.resume(queue(1)),
    () => reader.position(queue(1)),
  ])
    await t.throwsAsync(call(), { code: 'INVALID_PARAMETER' })
})

test('reader: a poll for no message, or for a time that is none, is refused', async (t) => {
  const client = await filled(t, 1)
  const reader = client.reader({ topic: 'orders' })
  for (const [max, waitMs] of [
    [0, 1],
    [-1, 1],
    [1.5, 1],
    [1, -1],
    [1, Number.NaN],
    [1, 2 ** 31],
  ] as const)
    await t.throwsAsync(reader.poll(max, waitMs), { code: 'INVALID_PARAMETER' })
})

test('reader: of several polls that wait at once each is woken, by a message and by the close', async (t) => {
  const client = await filled(t, 0)
  const reader = client.reader({ topic: 'orders' })
  const long = reader.poll(1, 2 * LIMIT_MS)
  t.deepEqual(await reader.poll(1, 50), [])
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  await producer.send({ topic: 'orders', body: 'a' })
  t.is((await long).length, 1)
  let ended = 0
  for (let i = 0; i < 3; i++) void reader.poll(1, 2 * LIMIT_MS).then(() => ended++)
  t.deepEqual(await reader.poll(1, 50), [])
  await reader.close()
  await until('all polls end', () => ended === 3)
})

test('reader: a topic that may be written and not read is refused, and read when it may be', async (t) => {
  const client = await filled(t, 1)
  await client.admin().createTopic('orders', { queues: 2, perm: 2 })
  const reader = client.reader({ topic: 'orders' })
  await t.throwsAsync(reader.poll(), { code: 'NO_PERMISSION', message: /may be written and not read/ })
  await client.admin().createTopic('orders', { queues: 2, perm: 6 })
  let found: string[] = []
  await until('it reads', async () => {
    found = placesOf(await reader.poll().catch(() => []))
    return found.length > 0
  })
  t.true(found.includes('0@0') || found.includes('1@0'))
})

test('reader: what is sought while a poll still looks for a master is where it goes on', async (t) => {
  const cluster = await clusterOf(t, { brokers: 1, slaves: 1 })
  const client = await cluster.connect()
  await client.admin().createTopic('orders', { queues: 1 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const body of numbers(10)) await producer.send({ topic: 'orders', body })
  const readers = [30, 60, 90, 120, 150, 180].map((waitMs) => ({
    reader: client.reader({ topic: 'orders' }),
    waitMs,
  }))
  for (const { reader } of readers) await reader.queues()
  const { masterId } = await client.admin().broker('broker-a')
  cluster.isolateBroker('broker-a', masterId!)
  await Promise.all(
    readers.map(async ({ reader, waitMs }) => {
      const polled = reader.poll(1, LIMIT_MS)
      await new Promise((resolve) => setTimeout(resolve, waitMs))
      await reader.seek({ offset: 7 })
      await polled
      t.deepEqual(
        (await reader.poll(32, LIMIT_MS)).filter(({ queueOffset }) => queueOffset < 7),
        [],
      )
    }),
  )
})
