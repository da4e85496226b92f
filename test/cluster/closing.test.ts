/** Closing: what runs ends and is committed, and the next consumer of the group gets exactly the rest. */
import test from 'ava'
import {
  type Client,
  type ConsumerOptions,
  connect,
  type IncomingMessage,
  startNode,
} from '../../actors/index.ts'
import { patientClock } from '../support/patient-clock.ts'
import { seededRandom, seedOfRun } from '../support/seeded-random.ts'
import { LIMIT_MS, until } from '../support/until.ts'
import { clientOf, clusterOf, hears, listen, numbers, sorted } from './support.ts'

const forEver = new Promise<never>(() => {})

async function send(client: Client, topic: string, bodies: readonly string[]): Promise<void> {
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  await Promise.all(bodies.map((body) => producer.send({ topic, body })))
  await producer.close()
}

/** A few turns or a few milliseconds. */
const moment = (ms: number) =>
  new Promise((resolve) => (ms < 1 ? setImmediate(resolve) : setTimeout(resolve, ms)))

for (const ordered of [false, true]) {
  const how = ordered ? 'in order' : 'many at once'
  test(`close: under load, ${how}, the next consumer gets exactly the rest`, async (t) => {
    const seed = seedOfRun()
    const random = seededRandom(seed)
    const cluster = await clusterOf(t, { brokers: 2 })
    const client = await cluster.connect()
    await client.admin().createTopic('orders', { queues: 2 })
    const sending = client.producer({ timeoutMs: LIMIT_MS })
    let sent = 0
    let isSending = true
    const load = (async () => {
      while (isSending) {
        const bodies = numbers(20, sent)
        sent += bodies.length
        await Promise.all(bodies.map((body) => sending.send({ topic: 'orders', body })))
      }
    })()
    const heard: string[] = []
    for (let round = 0; round < 15; round++) {
      const member = await cluster.connect()
      const before = heard.length
      const listener = await listen(member, 'orders', {
        ...{ group: 'billing', from: 'first', ordered, concurrency: 1 + random.below(30) },
        handle: async ({ text }) => {
          await moment(random.below(3))
          heard.push(text)
        },
      })
      await until('it hears something', () => heard.length > before)
      await moment(random.below(40))
      if (random.below(2) === 0) t.deepEqual(await listener.consumer.close(), { unfinished: 0 })
      await member.close()
    }
    isSending = false
    await load
    await listen(await cluster.connect(), 'orders', {
      ...{ group: 'billing', ordered },
      handle: ({ text }) => void heard.push(text),
    })
    await until('all is heard', () => heard.length >= sent)
    t.deepEqual(sorted(heard), numbers(sent), `STATEMQ_SEED=${seed}`)
  })
}

test('close: while others stay, each message is handled once', async (t) => {
  const seed = seedOfRun()
  const random = seededRandom(seed)
  const cluster = await clusterOf(t, { brokers: 2 })
  const client = await cluster.connect()
  await client.admin().createTopic('orders', { queues: 4 })
  await send(client, 'orders', numbers(3_000))
  const heard: string[] = []
  const join = async () => {
    const member = await cluster.connect()
    await listen(member, 'orders', {
      ...{ group: 'billing', from: 'first' },
      handle: async ({ text }) => {
        await moment(random.below(3))
        heard.push(text)
      },
    })
    return member
  }
  const members = [await join(), await join()]
  for (let round = 0; round < 6; round++) {
    await moment(random.below(50))
    const next = join()
    await members.shift()!.close()
    members.push(await next)
  }
  await until('all is heard', () => heard.length >= 3_000)
  t.deepEqual(sorted(heard), numbers(3_000), `STATEMQ_SEED=${seed}`)
})

test('close: waits for handlers AT MOST closeTimeoutMs, says how many it left, and others get their messages', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic('orders', { queues: 1 })
  await send(client, 'orders', numbers(10))
  const first = await listen(client, 'orders', {
    ...{ group: 'billing', from: 'first', closeTimeoutMs: 300 },
    handle: ({ queueOffset }) => (queueOffset === 4 || queueOffset === 7 ? forEver : undefined),
  })
  await hears(first, 10)
  const begin = performance.now()
  t.deepEqual(await first.consumer.close(), { unfinished: 2 })
  const took = performance.now() - begin
  t.true(took >= 290, `${took} ms`)
  const second = await listen(client, 'orders', { group: 'billing' })
  await hears(second, 6)
  t.deepEqual(
    second.heard.map(({ queueOffset }) => queueOffset),
    [4, 5, 6, 7, 8, 9],
  )
})

test('close: does not wait for its time when nothing runs', async (t) => {
  const client = await clientOf(t)
  await send(client, 'orders', numbers(10))
  const listener = await listen(client, 'orders', { group: 'billing', from: 'first', closeTimeoutMs: 60_000 })
  await hears(listener, 10)
  const begin = performance.now()
  t.deepEqual(await listener.consumer.close(), { unfinished: 0 })
  t.true(performance.now() - begin < 30_000)
})

test('close: a handler that ends after its consumer gave it up commits nothing', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic('orders', { queues: 1 })
  await send(client, 'orders', numbers(1))
  let end = () => {}
  const late = new Promise<void>((resolve) => {
    end = resolve
  })
  const first = await listen(client, 'orders', {
    ...{ group: 'billing', from: 'first', closeTimeoutMs: 0 },
    handle: () => late,
  })
  await hears(first, 1)
  t.deepEqual(await first.consumer.close(), { unfinished: 1 })
  end()
  const second = await listen(client, 'orders', { group: 'billing' })
  await hears(second, 1)
  t.is(second.texts.length, 1)
})

test('close: one that is called twice is one', async (t) => {
  const client = await clientOf(t)
  await send(client, 'orders', numbers(1))
  const listener = await listen(client, 'orders', { group: 'billing', from: 'first' })
  const closing = listener.consumer.close()
  t.is(listener.consumer.close(), closing)
  t.deepEqual(await closing, { unfinished: 0 })
})

test('close: a broadcasting consumer gives up handlers too, and hears their messages again', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic('news', { queues: 1 })
  await send(client, 'news', numbers(5))
  const options: ConsumerOptions = {
    ...{ group: 'readers', from: 'first', clientId: 'me', offsetsDir: 'offsets' },
    messageModel: 'broadcasting',
    closeTimeoutMs: 100,
  }
  const first = await listen(client, 'news', {
    ...options,
    handle: ({ queueOffset }) => (queueOffset === 2 ? forEver : undefined),
  })
  await hears(first, 5)
  t.deepEqual(await first.consumer.close(), { unfinished: 1 })
  const second = await listen(client, 'news', options)
  await hears(second, 3)
  t.deepEqual(second.texts, ['2', '3', '4'])
})

test('handler: one that never ends stops neither heartbeats nor the other queues', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic('orders', { queues: 2 })
  await send(client, 'orders', numbers(20))
  const stuck: IncomingMessage[] = []
  const listener = await listen(client, 'orders', {
    ...{ group: 'billing', from: 'first', ordered: true, clientId: 'me', closeTimeoutMs: 0 },
    handle: (message) => {
      if (message.queueId === 1 || message.text.startsWith('late')) return undefined
      stuck.push(message)
      return forEver
    },
  })
  // Longer than the session of a member, of which nothing was heard in between.
  const end = patientClock.monotonic() + 12_000
  await until('a session has passed', () => patientClock.monotonic() > end)
  const { members, queues } = await client.admin().group('billing')
  t.deepEqual(
    members.map(({ clientId }) => clientId),
    ['me'],
  )
  t.deepEqual(
    queues.map(({ owner }) => owner),
    ['me', 'me'],
  )
  t.is(stuck.length, 1)
  const before = listener.heard.length
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  await producer.send({ topic: 'orders', body: 'late', selectQueue: () => 1 })
  await hears(listener, before + 1)
  t.deepEqual(await listener.consumer.close(), { unfinished: 1 })
})

for (const closeTimeoutMs of [-1, Number.NaN, '5', 2 ** 31]) {
  test(`close: closeTimeoutMs of ${JSON.stringify(closeTimeoutMs)} is refused`, async (t) => {
    const client = await clientOf(t)
    const options = { group: 'billing', closeTimeoutMs } as never
    const error = t.throws(() => client.consumer(options), { code: 'INVALID_PARAMETER' })
    t.regex(error!.message, /^closeTimeoutMs .* give 0 to 2147483647 milliseconds$/)
  })
}

test('close: whoever closes a client again waits for the same end', async (t) => {
  const client = await clientOf(t)
  await send(client, 'orders', numbers(1))
  let hasHandled = false
  const listener = await listen(client, 'orders', {
    ...{ group: 'billing', from: 'first' },
    handle: async () => {
      await moment(100)
      hasHandled = true
    },
  })
  await hears(listener, 1)
  const first = client.close()
  await client.close()
  t.true(hasHandled)
  await first
})

test('close: a node that is closed twice ends once, and both hear of it', async (t) => {
  const node = await startNode({ roles: ['nameServer'], listen: { port: 0 } })
  const client = await connect({ servers: node.servers })
  let ended = 0
  for (let i = 0; i < 2; i++) void node.close().then(() => ended++)
  await until('both are told', () => ended === 2)
  await t.notThrowsAsync(client.close())
})
