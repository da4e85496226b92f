/**
 * A broker loses its master and gets another: producers and consumers go on, and nothing is lost, repeated or reordered.
 *
 * The parts are real, in memory: replicas, a controller, a name server, clients.
 */
import test from 'ava'
import type { Client, IncomingMessage, Receipt } from '../../actors/index.ts'
import { LIMIT_MS, until } from '../support/until.ts'
import { BROKER, type ReplicaSet, replicaSet } from './replicas.ts'
import { byQueue, hears, listen, numbers, sorted } from './support.ts'

const TOPIC = 'orders'
const QUEUES = 4
const GROUPS = 8

/** Sends without a pause until it is told to stop; what is of one message group is numbered in its order. */
function flowing(client: Client) {
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  const receipts: Receipt[] = []
  const errors: unknown[] = []
  let sent = 0
  let isOver = false
  const running = (async () => {
    while (!isOver) {
      const sends = Array.from({ length: 10 }, () => {
        const body = `${sent++}`
        return producer.send({ topic: TOPIC, body, messageGroup: `g${Number(body) % GROUPS}` }).then(
          (receipt) => receipts.push(receipt),
          (error) => errors.push(error),
        )
      })
      await Promise.race([Promise.all(sends), new Promise((resolve) => setTimeout(resolve, 20))])
    }
  })()
  return {
    receipts,
    errors,
    async stop() {
      isOver = true
      await running
      await until('every send is settled', () => receipts.length + errors.length === sent)
      return sent
    },
  }
}

function inOrder(messages: readonly IncomingMessage[]): boolean {
  const groups = new Map<string, string[]>()
  for (const texts of byQueue(messages).values()) {
    for (const text of texts) {
      const group = `g${Number(text) % GROUPS}`
      groups.set(group, [...(groups.get(group) ?? []), text])
    }
  }
  return [...groups.values()].every((texts) => texts.join() === sorted(texts).join())
}

async function started(set: ReplicaSet): Promise<Client> {
  const client = await set.connect()
  await client.admin().createTopic(TOPIC, { queues: QUEUES })
  await set.inSync()
  return client
}

const ways: [string, (set: ReplicaSet, masterId: number) => Promise<unknown>][] = [
  ['is gone without a word', async (set, masterId) => set.cutOff(masterId)],
  ['hands over', (set, masterId) => set.handOver(1 - masterId)],
]
for (const [what, lose] of ways) {
  test(`failover: a master ${what}, and what is sent and read all the while is neither lost nor repeated nor reordered`, async (t) => {
    const set = await replicaSet(t)
    const client = await started(set)
    const { brokerId, epoch } = await set.master()
    const options = { group: 'billing', from: 'first', ordered: true } as const
    const listeners = [
      await listen(client, TOPIC, options),
      await listen(await set.connect(), TOPIC, { ...options, group: 'audit' }),
    ]
    const flow = flowing(await set.connect())
    await hears(listeners[0]!, 200)

    await lose(set, brokerId)
    await until('sends are stored by the next master', () =>
      flow.receipts.some((receipt) => receipt.epoch > epoch),
    )
    const before = listeners.map(({ heard }) => heard.length)
    await until('all consumers go on', () =>
      listeners.every(({ heard }, i) => heard.length > before[i]! + 200),
    )
    set.mend(brokerId)
    await set.inSync()
    const sent = await flow.stop()

    t.deepEqual(flow.errors, [])
    for (const listener of listeners) {
      await hears(listener, sent)
      t.deepEqual(sorted(listener.texts), numbers(sent))
      t.true(inOrder(listener.heard))
      t.is(listener.owned.length, QUEUES)
    }
    t.not((await set.master()).brokerId, brokerId)
    await until('what is handled is committed at the next master', async () => {
      const committed = await set.committed('billing')
      return committed.length === QUEUES && committed.every((queue) => queue.committed === queue.maxOffset)
    })
  })
}

test('failover: members find the new coordinator, and NEVER give up a queue though it knows none of them', async (t) => {
  const set = await replicaSet(t)
  const client = await started(set)
  const options = { group: 'billing', from: 'first' } as const
  const listeners = [
    await listen(client, TOPIC, { ...options, clientId: 'one' }),
    await listen(await set.connect(), TOPIC, { ...options, clientId: 'two' }),
  ]
  const shares = () => listeners.map(({ owned }) => [...owned].sort().join(' '))
  await until('the queues are divided', () => listeners.every(({ owned }) => owned.length === QUEUES / 2))
  const before = shares()
  const seen = new Set<string>()
  for (const { consumer } of listeners) {
    consumer.assignment$.subscribe((queues) => seen.add(`${queues.length}`))
  }
  const { brokerId } = await set.master()
  set.cutOff(brokerId)
  await until('the new coordinator has both of them', async () => (await set.members('billing')).length === 2)
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  await Promise.all(numbers(100).map((body) => producer.send({ topic: TOPIC, body })))
  await until('all is heard', () => listeners[0]!.heard.length + listeners[1]!.heard.length >= 100)
  t.deepEqual(shares(), before)
  t.deepEqual([...seen], [`${QUEUES / 2}`])
  t.deepEqual(sorted(listeners.flatMap(({ texts }) => texts)), numbers(100))
  listeners.push(await listen(await set.connect(), TOPIC, { ...options, clientId: 'zero' }))
  await until(
    'the next one that joins gets a share',
    () => listeners.map(({ owned }) => owned.length).join() === '2,1,1',
  )
})

test('failover: messages without order go to another broker, and come back with the new master', async (t) => {
  const set = await replicaSet(t, { others: 1 })
  const client = await started(set)
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  const { brokerId, epoch } = await set.master()
  const brokersOf = async (count: number) => {
    const receipts = await Promise.all(numbers(count).map((body) => producer.send({ topic: TOPIC, body })))
    return [...new Set(receipts.map(({ brokerName }) => brokerName))].sort()
  }
  t.deepEqual(await brokersOf(32), [BROKER, 'broker-b'])
  await set.stopController()
  set.cutOff(brokerId)
  t.deepEqual(await brokersOf(32), ['broker-b'])
  await set.startController()
  await until('there is a new master', async () => (await set.master()).epoch > epoch)
  await until('it takes messages', async () => (await brokersOf(32)).length === 2)
})

test('failover: a consumer that leaves while there is no master gives its progress to the next owner', async (t) => {
  const set = await replicaSet(t)
  const client = await started(set)
  const options = { group: 'billing', from: 'first' } as const
  const first = await listen(client, TOPIC, options)
  const producer = (await set.connect()).producer({ timeoutMs: LIMIT_MS })
  await Promise.all(numbers(100).map((body) => producer.send({ topic: TOPIC, body })))
  const { brokerId } = await set.master()
  await hears(first, 100)
  set.cutOff(brokerId)
  await first.consumer.close()
  const second = await listen(await set.connect(), TOPIC, options)
  await producer.send({ topic: TOPIC, body: 'last' })
  await until('the next message is heard', () => second.texts.includes('last'))
  t.deepEqual(second.texts, ['last'])
})

test('failover: while nobody elects a master, what is confirmed is read from a slave, and the rest comes after', async (t) => {
  const set = await replicaSet(t)
  const client = await started(set)
  const producer = client.producer({ timeoutMs: 60_000 })
  // More than a consumer or a reader takes at once: the rest is still at the broker when the master is gone.
  const count = QUEUES * 600
  const send = (number: string) => producer.send({ topic: TOPIC, body: number.padEnd(1_000) })
  const told = (messages: readonly IncomingMessage[]) => sorted(messages.map(({ text }) => text.trim()))
  await Promise.all(numbers(count).map(send))
  // A slave learns with the next sign of life how far it is confirmed what it has.
  await until('the slave knows that all of it is confirmed', async () => {
    const { replicas } = await client.admin().broker(BROKER)
    return replicas.every((replica) => replica.reachable && replica.confirmPosition === replica.endPosition)
  })
  await set.stopController()
  const { brokerId } = await set.master()

  let isOpen = false
  const consumer = await listen(await set.connect(), TOPIC, {
    group: 'billing',
    from: 'first',
    concurrency: 4,
    flow: { messages: 10 },
    handle: async () => {
      while (!isOpen) await new Promise((resolve) => setTimeout(resolve, 5))
    },
  })
  const reader = (await set.connect()).reader({ topic: TOPIC })
  const read = await reader.poll(1)
  const reads = (expected: number) =>
    until(`${expected} messages are read, of which ${read.length} are`, async () => {
      read.push(...(await reader.poll(1_000, 100)))
      return read.length >= expected
    })
  await until('the consumer is at work', () => consumer.heard.length > 0)

  set.cutOff(brokerId)
  isOpen = true
  await hears(consumer, count)
  await reads(count)
  t.deepEqual(told(consumer.heard), numbers(count))
  t.deepEqual(told(read), numbers(count))

  const late = send(`${count}`)
  await set.startController()
  t.is((await late).brokerName, BROKER)
  await hears(consumer, count + 1)
  await reads(count + 1)
  t.deepEqual(told(consumer.heard), numbers(count + 1))
  t.deepEqual(told(read), numbers(count + 1))
})

test('failover: while nobody elects a master, a new reader seeks by what a slave knows to be confirmed', async (t) => {
  const set = await replicaSet(t)
  const client = await started(set)
  const producer = client.producer({ timeoutMs: 60_000 })
  const count = 10
  const queue = { topic: TOPIC, brokerName: BROKER, queueId: 0 }
  const send = (body: string) => producer.send({ topic: TOPIC, body, selectQueue: () => 0 })
  for (const body of numbers(count)) await send(body)
  await until('the slave knows that all of it is confirmed', async () => {
    const { replicas } = await client.admin().broker(BROKER)
    return replicas.every((replica) => replica.reachable && replica.confirmPosition === replica.endPosition)
  })
  await set.stopController()
  set.cutOff((await set.master()).brokerId)

  const reader = (await set.connect()).reader({ topic: TOPIC, queues: ({ queueId }) => queueId === 0 })
  // It tells only after it has found out that there is no master.
  await until('a slave tells', () => {
    const sought = reader.seek('first')
    return sought.then(
      () => true,
      () => false,
    )
  })
  const ends: number[] = []
  for (const to of ['last', { time: 0 }, { time: Date.now() + 1_000 }, { offset: count }, 'first'] as const) {
    await reader.seek(to)
    ends.push(await reader.position(queue))
  }
  t.deepEqual(ends, [count, 0, count, count, 0])
  const beyond = await t.throwsAsync(reader.seek({ offset: count + 1 }), { code: 'TIMED_OUT' })
  t.regex(beyond!.message, /no master, and of orders\/broker-a\/0 its slaves have from 0 to 10/)
  t.is(await reader.position(queue), 0)
  const read: IncomingMessage[] = []
  const reads = (expected: number) =>
    until(`${expected} messages are read`, async () => {
      read.push(...(await reader.poll(100, 100)))
      return read.length >= expected
    })
  await reads(count)

  const late = send(`${count}`)
  await set.startController()
  await late
  await reads(count + 1)
  t.deepEqual(
    read.map(({ text }) => text),
    numbers(count + 1),
  )
  await t.throwsAsync(reader.seek({ offset: count + 2 }), { code: 'PULL_OFFSET_MOVED' })
})
