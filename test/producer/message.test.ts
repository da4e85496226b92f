/** What a caller may give: everything else is refused with a code and a sentence, BEFORE anything of it is sent. */
import test, { type ExecutionContext } from 'ava'
import { type Client, connect, StateMQError } from '../../actors/index.ts'
import { realClock, realRandom } from '../../actors/node/real-world.ts'
import { checkMessage, encodeProperties } from '../../actors/producer/message.ts'
import { createHub } from '../../transport/memory.ts'
import { notedLog } from '../support/transports.ts'

/** A client whose every word on the wire is noted. */
async function tapped(t: ExecutionContext): Promise<{ client: Client; words: string[] }> {
  const log = notedLog()
  const hub = createHub({ clock: realClock, random: realRandom(), log, maxPayload: 8 * 1024 * 1024 })
  const transport = hub.connect()
  const words: string[] = []
  const { publish, request } = transport
  const tap = {
    ...transport,
    publish: (...args: Parameters<typeof publish>) => {
      words.push(args[0])
      publish(...args)
    },
    request: (...args: Parameters<typeof request>) => {
      words.push(args[0])
      request(...args)
    },
  }
  const client = await connect({ transport: tap, cluster: 'test', world: { log } })
  t.teardown(() => client.close())
  return { client, words }
}

const good = { topic: 'orders', body: 'x' }
const bad: Record<string, unknown> = {
  'no message': undefined,
  null: null,
  'a text': 'hello',
  'a number': 5,
  'no topic': { body: 'x' },
  'an empty topic': { ...good, topic: '' },
  'a topic that is a number': { ...good, topic: 5 },
  'a topic that is a list': { ...good, topic: ['orders'] },
  'a topic with a blank': { ...good, topic: 'a b' },
  'a topic with a dot': { ...good, topic: 'a.b' },
  'a topic with a star': { ...good, topic: 'a*' },
  'a topic of 128 characters': { ...good, topic: 'x'.repeat(128) },
  'a topic of the system': { ...good, topic: 'SCHEDULE_TOPIC_XXXX' },
  'no body': { topic: 'orders' },
  'a body of null': { ...good, body: null },
  'an empty text as body': { ...good, body: '' },
  'no bytes as body': { ...good, body: new Uint8Array(0) },
  'a body that is an object': { ...good, body: { paid: true } },
  'a body that is a number': { ...good, body: 5 },
  'a body that is a list': { ...good, body: [1, 2] },
  'a body that is an ArrayBuffer': { ...good, body: new ArrayBuffer(4) },
  'a text of 4 MiB and one byte': { ...good, body: 'x'.repeat(4 * 1024 * 1024 + 1) },
  'bytes of 4 MiB and one': { ...good, body: new Uint8Array(4 * 1024 * 1024 + 1) },
  'a text that is too long only in UTF-8': { ...good, body: 'ü'.repeat(2 * 1024 * 1024 + 1) },
  'an empty tag': { ...good, tag: '' },
  'a tag that is a number': { ...good, tag: 5 },
  'a tag of null': { ...good, tag: null },
  'a tag with a control character 1': { ...good, tag: 'a\u0001b' },
  'a tag with a control character 2': { ...good, tag: 'a\u0002b' },
  'an empty key': { ...good, keys: '' },
  'a key that is a number': { ...good, keys: [5] },
  'keys that are a number': { ...good, keys: 5 },
  'an empty key in a list': { ...good, keys: ['a', ''] },
  'a key with a control character': { ...good, keys: ['a\u0002'] },
  'keys that are a Set': { ...good, keys: new Set(['a']) },
  'an empty message group': { ...good, messageGroup: '' },
  'a message group that is a number': { ...good, messageGroup: 5 },
  'properties that are a text': { ...good, properties: 'a=b' },
  'properties that are null': { ...good, properties: null },
  'properties that are a list': { ...good, properties: ['a'] },
  'properties that are a Map': { ...good, properties: new Map([['a', 'b']]) },
  'a property that is a number': { ...good, properties: { price: 10 } },
  'a property without a name': { ...good, properties: { '': 'x' } },
  'a property with a control character in its name': { ...good, properties: { 'a\u0001': 'x' } },
  'a property with a control character in its value': { ...good, properties: { a: '\u0002' } },
  'a reserved property TAGS': { ...good, properties: { TAGS: 'x' } },
  'a reserved property KEYS': { ...good, properties: { KEYS: 'x' } },
  'a reserved property UNIQ_KEY': { ...good, properties: { UNIQ_KEY: 'x' } },
  'a reserved property __SHARDINGKEY': { ...good, properties: { __SHARDINGKEY: 'x' } },
  'properties of 32,768 bytes': { ...good, properties: { a: 'x'.repeat(32_768 - 3) } },
  'keys of 32,768 bytes': { ...good, keys: 'x'.repeat(32_768 - 6) },
  'a queue that is chosen by a number': { ...good, selectQueue: 0 },
}

for (const [what, message] of Object.entries(bad)) {
  test(`message: ${what} is refused, and nothing is sent`, async (t) => {
    const { client, words } = await tapped(t)
    const producer = client.producer()
    const before = words.length
    const error = (await t.throwsAsync(producer.send(message as never), {
      instanceOf: StateMQError,
    })) as StateMQError
    t.is(error.code, 'MESSAGE_ILLEGAL')
    t.is(error.responseCode, 13)
    t.false(error.retryable)
    t.true(error.message.length > 10)
    t.throws(() => producer.sendOneway(message as never), { instanceOf: StateMQError })
    await t.throwsAsync(producer.sendBatch([message] as never), { instanceOf: StateMQError })
    t.deepEqual(words.slice(before), [])
  })
}

for (const option of ['delayMs', 'deliverAt']) {
  test(`message: ${option} is refused as long as it is not supported`, async (t) => {
    const { client } = await tapped(t)
    const error = await t.throwsAsync(client.producer().send({ ...good, [option]: 3 } as never))
    t.is((error as StateMQError).code, 'REQUEST_CODE_NOT_SUPPORTED')
    t.regex(error!.message, new RegExp(option))
    await t.throwsAsync(client.producer().sendBatch([{ ...good, [option]: 3 } as never]))
  })
}

test('message: what is just within the limits passes', (t) => {
  const fine = [
    { ...good, body: 'x'.repeat(4 * 1024 * 1024) },
    { ...good, body: 'ü'.repeat(2 * 1024 * 1024) },
    { ...good, body: new Uint8Array(4 * 1024 * 1024) },
    { ...good, body: Buffer.from('x') },
    { ...good, topic: 'x'.repeat(127), keys: [], properties: {} },
    { ...good, properties: { a: '' } },
    {
      ...good,
      tag: undefined,
      keys: undefined,
      messageGroup: undefined,
      properties: undefined,
      delayMs: undefined,
    },
  ]
  for (const message of fine) t.notThrows(() => checkMessage(message as never))
  t.is(encodeProperties({ ...good, properties: { a: 'x'.repeat(32_767 - 3) } }).length, 32_767)
})

const badBatches: Record<string, unknown> = {
  'no list': good,
  nothing: undefined,
  'an empty list': [],
  'two topics': [good, { ...good, topic: 'other' }],
  'two message groups': [
    { ...good, messageGroup: 'a' },
    { ...good, messageGroup: 'b' },
  ],
  'a bad message at its end': [good, { ...good, body: '' }],
  'more than 4 MiB': [
    { ...good, body: new Uint8Array(3 * 1024 * 1024) },
    { ...good, body: new Uint8Array(3 * 1024 * 1024) },
  ],
  'more than 4 MiB of properties': Array.from({ length: 200 }, () => ({
    ...good,
    properties: { a: 'x'.repeat(30_000) },
  })),
  'too many messages': Array.from({ length: 16_385 }, () => good),
}
for (const [what, batch] of Object.entries(badBatches)) {
  test(`batch: ${what} is refused, and nothing is sent`, async (t) => {
    const { client, words } = await tapped(t)
    const before = words.length
    const error = await t.throwsAsync(client.producer().sendBatch(batch as never), {
      instanceOf: StateMQError,
    })
    t.is((error as StateMQError).code, 'MESSAGE_ILLEGAL')
    t.deepEqual(words.slice(before), [])
  })
}

const badProducers: Record<string, unknown> = {
  'a group that is a number': { group: 5 },
  'an empty group': { group: '' },
  'a group with a blank': { group: 'a b' },
  'a time of 0': { timeoutMs: 0 },
  'a time below 0': { timeoutMs: -1 },
  'a time that is no number': { timeoutMs: Number.NaN },
  'a time that is a text': { timeoutMs: '3000' },
  'a time without end': { timeoutMs: Number.POSITIVE_INFINITY },
  'a buffer that is no number': { bufferBytes: Number.NaN },
  'a buffer below 0': { bufferBytes: -1 },
  'a buffer that is a text': { bufferBytes: '1000' },
  'a waiting room that is no number': { waitingMax: Number.NaN },
  'a waiting room below 0': { waitingMax: -1 },
  null: null,
}
for (const [what, options] of Object.entries(badProducers)) {
  test(`producer: ${what} is refused`, async (t) => {
    const { client } = await tapped(t)
    const error = t.throws(() => client.producer(options as never), { instanceOf: StateMQError })
    t.is((error as StateMQError).code, 'INVALID_PARAMETER')
  })
}

const badConsumers: Record<string, unknown> = {
  'no group': {},
  'a group that is a number': { group: 5 },
  null: null,
  'a message model that nobody knows': { group: 'g', messageModel: 'narrowcasting' },
  'an allocation that nobody knows': { group: 'g', allocation: 'toString' },
  'an allocation that has nothing to go by': { group: 'g', allocation: 'by-config' },
  'a setting that its allocation does not look at': { group: 'g', consumerRooms: ['room-1'] },
  'a machine room that is none': { group: 'g', room: 'a@b' },
  'a start that nobody knows': { group: 'g', from: 'middle' },
  'a start that is no date': { group: 'g', from: new Date(Number.NaN) },
  'a concurrency of 0': { group: 'g', concurrency: 0 },
  'a concurrency of one and a half': { group: 'g', concurrency: 1.5 },
  'a client id with a blank': { group: 'g', clientId: 'a b' },
  'a client id that is a number': { group: 'g', clientId: 5 },
  'a flow limit that is no number': { group: 'g', flow: { messages: Number.NaN } },
  'a flow limit below 0': { group: 'g', flow: { bytes: -1 } },
  'an order that is a text': { group: 'g', ordered: 'no' },
}
for (const [what, options] of Object.entries(badConsumers)) {
  test(`consumer: ${what} is refused`, async (t) => {
    const { client } = await tapped(t)
    const error = t.throws(() => client.consumer(options as never), { instanceOf: StateMQError })
    t.is((error as StateMQError).code, 'INVALID_PARAMETER')
  })
}

test('consumer: what cannot be subscribed to is refused', async (t) => {
  const { client } = await tapped(t)
  const consumer = client.consumer({ group: 'g' })
  for (const topic of ['', 'a b', 5, null, undefined]) {
    t.throws(() => consumer.subscribe(topic as never), { instanceOf: StateMQError }, `${topic}`)
  }
  for (const expression of ['', 'a ||', '|| b', 'a || || b', { sql: 'price >' }, { sql: 5 }, 5, null]) {
    const error = t.throws(() => consumer.subscribe('orders', expression as never), {
      instanceOf: StateMQError,
    })
    t.is((error as StateMQError).code, 'SUBSCRIPTION_PARSE_FAILED', `${expression}`)
  }
  await t.throwsAsync(
    consumer.run(() => {}),
    { instanceOf: StateMQError },
  )
  consumer.subscribe('orders')
  await t.throwsAsync(consumer.run('no function' as never), { instanceOf: StateMQError })
})
