/** How much a consumer reads ahead of a handler that stands still, and that it goes on afterwards. */
import test, { type ExecutionContext } from 'ava'
import type { Client, FlowOptions, IncomingMessage } from '../../actors/index.ts'
import { LIMIT_MS, until } from '../support/until.ts'
import { clientOf, clusterOf, hears, type Listener, listen, numbers, sorted } from './support.ts'

const BODY = 'x'.repeat(1_000)

/** The bodies begin with their number. */
async function fill(client: Client, topic: string, queues: number, count: number): Promise<void> {
  await client.admin().createTopic(topic, { queues })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const number of numbers(count)) await producer.send({ topic, body: `${number} ${BODY}` })
  await producer.close()
}

/** A gate that handlers wait at. */
function gate() {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open: () => open() }
}

const numberOf = ({ text }: IncomingMessage) => text.split(' ')[0]!

/** Twice the same: nothing is pulled any more. */
async function stands(consumer: { cached: { messages: number } }): Promise<void> {
  let before = -1
  let same = 0
  await until('it pulls no more', () => {
    const { messages } = consumer.cached
    same = messages === before && messages > 0 ? same + 1 : 0
    before = messages
    return same === 30
  })
}

async function stuck(t: ExecutionContext, client: Client, flow: Partial<FlowOptions>, queues = 1) {
  const { opened, open } = gate()
  t.teardown(open)
  const heard: IncomingMessage[] = []
  const consumer = client.consumer({ group: 'billing', from: 'first', flow }).subscribe('orders')
  // Nothing is read BEFORE the queues are divided: each has its part of the limits from the start.
  consumer.suspend()
  await consumer.run((message) => {
    heard.push(message)
    return opened
  })
  await new Promise<void>((resolve) =>
    consumer.assignment$.subscribe((owned) => owned.length === queues && resolve()),
  )
  consumer.resume()
  await stands(consumer)
  const finish = async (count: number) => {
    open()
    await hears({ heard } as Listener, count)
    t.deepEqual(sorted(heard.map(numberOf)), numbers(count))
    await until('nothing is cached', () => consumer.cached.messages === 0)
    t.is(consumer.cached.bytes, 0)
  }
  return { consumer, finish }
}

test('flow: a queue with a stuck handler pulls no more above its messages, and goes on', async (t) => {
  const client = await clientOf(t)
  await fill(client, 'orders', 1, 2_000)
  const { consumer, finish } = await stuck(t, client, { messages: 100, bytes: 50_000 })
  t.true(consumer.cached.messages <= 150, `${consumer.cached.messages}`)
  await finish(2_000)
})

test('flow: a queue with a stuck handler holds AT MOST its bytes, and goes on', async (t) => {
  const client = await clientOf(t)
  await fill(client, 'orders', 1, 2_000)
  const { consumer, finish } = await stuck(t, client, { bytes: 100_000 })
  t.true(consumer.cached.bytes <= 100_000, `${consumer.cached.bytes}`)
  t.true(consumer.cached.bytes > 50_000, `${consumer.cached.bytes}`)
  await finish(2_000)
})

test('flow: a message that is larger than the bytes of a queue is read alone', async (t) => {
  const client = await clientOf(t)
  await fill(client, 'orders', 1, 20)
  const { consumer, finish } = await stuck(t, client, { bytes: 10 })
  t.true(consumer.cached.messages >= 1)
  await finish(20)
})

test('flow: the newest message runs AT MOST the span ahead of one that is stuck', async (t) => {
  const client = await clientOf(t)
  await fill(client, 'orders', 1, 1_000)
  const { opened, open } = gate()
  const listener = await listen(client, 'orders', {
    ...{ group: 'billing', from: 'first', flow: { span: 100, bytes: 20_000 } },
    handle: (message) => (message.queueOffset === 0 ? opened : undefined),
  })
  await until('it stands', () => listener.heard.length > 100)
  await stands(listener.consumer)
  // What had been asked for when the span was reached is handled: one pull.
  t.true(listener.heard.length <= 100 + 20, `${listener.heard.length}`)
  open()
  await hears(listener, 1_000)
  t.deepEqual(sorted(listener.heard.map(numberOf)), numbers(1_000))
})

test('flow: the queues of a topic hold AT MOST the bytes of the topic together, and share them anew', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await fill(client, 'orders', 4, 2_000)
  const { consumer, finish } = await stuck(t, client, { topicBytes: 200_000, bytes: 10_000_000 }, 4)
  t.true(consumer.cached.bytes <= 200_000, `${consumer.cached.bytes}`)
  t.true(consumer.cached.bytes > 100_000, `${consumer.cached.bytes}`)
  await finish(2_000)
})

test('flow: the queues of a topic pull no more above the messages of the topic', async (t) => {
  const client = await clientOf(t)
  await fill(client, 'orders', 4, 2_000)
  const { consumer, finish } = await stuck(t, client, { topicMessages: 100, bytes: 20_000 }, 4)
  t.true(consumer.cached.messages <= 100 + 4 * 20, `${consumer.cached.messages}`)
  await finish(2_000)
})

test('flow: all queues of a consumer hold AT MOST totalBytes together, and each goes on', async (t) => {
  const client = await clientOf(t, { brokers: 2 })
  await fill(client, 'orders', 8, 3_000)
  const { consumer, finish } = await stuck(t, client, { totalBytes: 300_000 }, 16)
  t.true(consumer.cached.bytes <= 300_000, `${consumer.cached.bytes}`)
  t.true(consumer.cached.bytes > 100_000, `${consumer.cached.bytes}`)
  await finish(3_000)
})

test('flow: a queue whose handler is stuck does not starve the others of the total', async (t) => {
  const client = await clientOf(t)
  await fill(client, 'orders', 4, 2_000)
  const { opened, open } = gate()
  const listener = await listen(client, 'orders', {
    ...{ group: 'billing', from: 'first', ordered: true, flow: { totalBytes: 200_000 } },
    handle: ({ queueId }) => (queueId === 0 ? opened : undefined),
  })
  await hears(listener, 1_501)
  open()
  await hears(listener, 2_000)
  t.deepEqual(sorted(listener.heard.map(numberOf)), numbers(2_000))
})

for (const [what, flow] of [
  ['a limit of 0', { messages: 0 }],
  ['a limit that is no number', { bytes: '1' }],
  ['a broken limit', { totalBytes: 1.5 }],
  ['no limit', { span: Number.NaN }],
  ['null for a limit that cannot be off', { messages: null }],
  ['a limit nobody knows', { megabytes: 1 }],
  ['no object', 7],
  ['null', null],
] as const) {
  test(`flow: ${what} is refused`, async (t) => {
    const client = await clientOf(t)
    const error = t.throws(() => client.consumer({ group: 'billing', flow: flow as never }), {
      code: 'INVALID_PARAMETER',
    })
    t.regex(error!.message, /flow.*(give|there are messages, bytes, span)/)
  })
}

test('flow: a limit may be infinite', async (t) => {
  const client = await clientOf(t)
  const infinite = Number.POSITIVE_INFINITY
  const flow = { messages: infinite, bytes: infinite, span: infinite, totalBytes: infinite, topicBytes: null }
  await fill(client, 'orders', 1, 10)
  const listener = await listen(client, 'orders', { group: 'billing', from: 'first', flow })
  await hears(listener, 10)
  t.pass()
})

test('suspended consumer: pulls and hands out nothing, keeps its queues, and goes on', async (t) => {
  const client = await clientOf(t)
  await fill(client, 'orders', 2, 50)
  const heard: IncomingMessage[] = []
  const options = { group: 'billing', from: 'first', clientId: 'me', concurrency: 1 } as const
  const consumer = client.consumer(options).subscribe('orders')
  await consumer.run((message) => {
    heard.push(message)
    if (heard.length === 10) consumer.suspend()
  })
  await until('it has stopped', () => consumer.isSuspended)
  await stands(consumer)
  t.is(heard.length, 10)
  const queues = async () => (await client.admin().group('billing')).queues
  await until('what was handled is committed', async () => {
    return (await queues()).reduce((sum, { committed }) => sum + (committed ?? 0), 0) === 10
  })
  t.deepEqual(
    (await queues()).map(({ owner }) => owner),
    ['me', 'me'],
  )
  consumer.resume()
  await hears({ heard } as unknown as Listener, 50)
  t.deepEqual(sorted(heard.map(numberOf)), numbers(50))
})

test('suspended consumer: one that starts so hears nothing until it is resumed', async (t) => {
  const client = await clientOf(t)
  await fill(client, 'orders', 1, 5)
  const heard: string[] = []
  const consumer = client.consumer({ group: 'billing', from: 'first' }).subscribe('orders')
  consumer.suspend()
  await consumer.run((message) => void heard.push(numberOf(message)))
  t.deepEqual([heard, consumer.cached.messages], [[], 0])
  consumer.resume()
  await until('all is heard', () => heard.length === 5)
  t.pass()
})

test('suspended consumer: gives its queues back when it is closed', async (t) => {
  const client = await clientOf(t)
  await fill(client, 'orders', 1, 5)
  const first = client.consumer({ group: 'billing', from: 'first' }).subscribe('orders')
  first.suspend()
  await first.run(() => t.fail())
  t.deepEqual(await first.close(), { unfinished: 0 })
  const second = await listen(client, 'orders', { group: 'billing', from: 'first' })
  await hears(second, 5)
})

test('suspended consumer: gives and gets queues like any other, and each message is handled once', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic('orders', { queues: 4 })
  const options = { group: 'billing', from: 'first' } as const
  const first: Listener = await listen(client, 'orders', {
    ...options,
    handle: () => void (first.heard.length === 10 && first.consumer.suspend()),
  })
  await fill(client, 'orders', 4, 200)
  const second = await listen(await cluster.connect(), 'orders', options)
  await until('each has two', () => first.owned.length === 2 && second.owned.length === 2)
  await until('the second one has handled its part', async () => {
    const { queues } = await client.admin().group('billing')
    return queues.filter(({ topic, lag }) => topic === 'orders' && lag === 0).length === 2
  })
  await second.consumer.close()
  await until('the first one has all', () => first.owned.length === 4)
  t.is(first.heard.length, 10)
  first.consumer.resume()
  await until('all is heard', () => first.heard.length + second.heard.length >= 200)
  await first.consumer.close()
  t.deepEqual(sorted([...first.heard, ...second.heard].map(numberOf)), numbers(200))
})

test('suspended consumer: one whose offsets are set goes on there, and NEVER undoes it', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic('orders', { queues: 1 })
  await fill(client, 'orders', 1, 50)
  const options = { group: 'billing', from: 'first', concurrency: 1, clientId: 'me' } as const
  const consumer = client.consumer(options).subscribe('orders')
  const heard: string[] = []
  await consumer.run((message) => {
    heard.push(numberOf(message))
    if (heard.length === 10) consumer.suspend()
  })
  await until('it has stopped', () => consumer.isSuspended)
  await client.admin().resetOffsets('billing', 'orders', 40)
  consumer.resume()
  await until('it hears the last', () => heard.at(-1) === '49')
  await consumer.close()
  t.deepEqual(heard.slice(-10), numbers(10, 40))
  t.is((await client.admin().group('billing')).queues.find(({ topic }) => topic === 'orders')!.committed, 50)
})
