/** Filters from the subscription to the handler: exactly the wanted messages come, and what was left out is no lag. */
import test from 'ava'
import { type Client, type FilterExpression, StateMQError } from '../../actors/index.ts'
import { LIMIT_MS, until } from '../support/until.ts'
import { replicaSet } from './replicas.ts'
import { clientOf, clusterOf, hears, listen, numbers, sorted } from './support.ts'

/** Messages `0` to `count - 1` with tag, price and, where it divides by three, a region. */
async function sendOrders(client: Client, count: number): Promise<void> {
  const producer = client.producer({ timeoutMs: 60_000 })
  await Promise.all(
    numbers(count).map((body) => {
      const number = Number(body)
      const region = number % 3 === 0 ? { region: 'europe-north' } : {}
      return producer.send({
        ...{ topic: 'orders', body, tag: number % 2 === 0 ? 'paid' : 'created' },
        properties: { price: `${number}`, ...region },
      })
    }),
  )
}

async function lagOf(client: Client, group: string): Promise<number> {
  const { queues } = await client.admin().group(group)
  return queues.reduce((sum, { lag }) => sum + lag, 0)
}

const caughtUp = (client: Client, group: string): Promise<void> =>
  until(`the lag of ${group} is 0`, async () => (await lagOf(client, group)) === 0)

const filters: [expression: FilterExpression, wants: (number: number) => boolean][] = [
  ['paid', (n) => n % 2 === 0],
  ['paid || created', () => true],
  [{ sql: 'price BETWEEN 10 AND 19' }, (n) => n >= 10 && n < 20],
  [{ sql: "region STARTSWITH 'europe' AND TAGS = 'paid'" }, (n) => n % 6 === 0],
  [{ sql: 'region IS NULL' }, (n) => n % 3 !== 0],
  ['sql:price = 299', (n) => n === 299],
]
for (const [expression, wants] of filters) {
  test(`filter: ${JSON.stringify(expression)} brings exactly what it wants, and the rest is no lag`, async (t) => {
    const client = await clientOf(t, { brokers: 2 })
    await sendOrders(client, 300)
    const wanted = numbers(300).filter((body) => wants(Number(body)))
    const listener = await listen(client, 'orders', { group: 'billing', from: 'first', expression })
    await hears(listener, wanted.length)
    await caughtUp(client, 'billing')
    t.deepEqual(sorted(listener.texts), wanted)
  })
}

test('filter: one that wants nothing leaves no lag, and finds what comes later', async (t) => {
  const client = await clientOf(t)
  await sendOrders(client, 500)
  const listener = await listen(client, 'orders', {
    ...{ group: 'billing', from: 'first', expression: { sql: "wanted = 'yes'" } },
  })
  await caughtUp(client, 'billing')
  await sendOrders(client, 100)
  await caughtUp(client, 'billing')
  t.deepEqual(listener.texts, [])
  await client
    .producer({ timeoutMs: LIMIT_MS })
    .send({ topic: 'orders', body: 'here', properties: { wanted: 'yes' } })
  await hears(listener, 1)
  t.deepEqual(listener.texts, ['here'])
})

test('filter: a group that goes on after a pause neither repeats nor skips across what was left out', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await sendOrders(client, 200)
  const options = { group: 'billing', from: 'first', expression: { sql: 'price >= 195' } } as const
  const first = await listen(client, 'orders', options)
  await hears(first, 5)
  await first.consumer.close()
  await sendOrders(client, 200)
  const second = await listen(client, 'orders', options)
  await hears(second, 5)
  await caughtUp(client, 'billing')
  t.deepEqual(sorted(first.texts), numbers(5, 195))
  t.deepEqual(sorted(second.texts), numbers(5, 195))
})

test('filter: the longest one that is allowed is taken by everybody that it passes', async (t) => {
  const client = await clientOf(t)
  await sendOrders(client, 100)
  const sql = 'price >= 98 /*'.padEnd(16 * 1024 - 2, '-').concat('*/')
  const listener = await listen(client, 'orders', { group: 'billing', from: 'first', expression: { sql } })
  await hears(listener, 2)
  await caughtUp(client, 'billing')
  t.deepEqual(sorted(listener.texts), ['98', '99'])
})

test('filter: a handler that fails gets its message again, and what lies around it stays left out', async (t) => {
  const client = await clientOf(t)
  await sendOrders(client, 100)
  let failures = 1
  const listener = await listen(client, 'orders', {
    ...{ group: 'billing', from: 'first', expression: { sql: "price IN ('50')" } },
    handle: () => {
      if (failures-- > 0) throw new Error('not yet')
    },
  })
  await hears(listener, 2)
  await caughtUp(client, 'billing')
  t.deepEqual(listener.texts, ['50', '50'])
})

test('filter: queues that change hands are read on behind what was left out', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  const options = { group: 'billing', from: 'first', expression: { sql: 'price >= 190' } } as const
  const first = await listen(client, 'orders', { ...options, clientId: 'one' })
  await sendOrders(client, 200)
  await hears(first, 10)
  const second = await listen(await cluster.connect(), 'orders', { ...options, clientId: 'two' })
  await until('both own queues', () => first.owned.length === 2 && second.owned.length === 2)
  await sendOrders(client, 200)
  await until('all is heard', () => first.heard.length + second.heard.length >= 20)
  await caughtUp(client, 'billing')
  t.deepEqual(sorted([...first.texts, ...second.texts]), sorted([...numbers(10, 190), ...numbers(10, 190)]))
})

test('filter: a new master leaves out the same, and nothing is missed or heard twice', async (t) => {
  const set = await replicaSet(t)
  const client = await set.connect()
  await client.admin().createTopic('orders', { queues: 4 })
  const listener = await listen(await set.connect(), 'orders', {
    ...{ group: 'billing', from: 'first', expression: 'paid' },
  })
  await sendOrders(client, 200)
  await set.inSync()
  const { brokerId } = await set.master()
  await set.handOver(1 - brokerId)
  await sendOrders(client, 100)
  await hears(listener, 150)
  await caughtUp(client, 'billing')
  const even = (count: number) => numbers(count).filter((body) => Number(body) % 2 === 0)
  t.deepEqual(sorted(listener.texts), sorted([...even(200), ...even(100)]))
})

test('filter: in broadcasting each has its own', async (t) => {
  const client = await clientOf(t)
  await sendOrders(client, 100)
  const options = { group: 'audit', from: 'first', messageModel: 'broadcasting' } as const
  const cheap = await listen(client, 'orders', { ...options, expression: { sql: 'price < 10' } })
  const paid = await listen(client, 'orders', { ...options, expression: 'paid' })
  await hears(cheap, 10)
  await hears(paid, 50)
  t.deepEqual(sorted(cheap.texts), numbers(10))
  t.true(paid.heard.every(({ tag }) => tag === 'paid'))
})

test('filter: a reader gives only what it wants, and waits while there is nothing', async (t) => {
  const client = await clientOf(t)
  await sendOrders(client, 300)
  const reader = client.reader({ topic: 'orders', filter: { sql: 'price > 297' } })
  const found: string[] = []
  await until('both are read', async () => {
    for (const { text } of await reader.poll()) found.push(text)
    return found.length >= 2
  })
  t.deepEqual(sorted(found), ['298', '299'])
  t.deepEqual(await reader.poll(1, 50), [])
  await reader.close()
})

test('filter: one that does not parse is refused with its column, by a reader too', async (t) => {
  const client = await clientOf(t)
  const refused = [
    [{ sql: 'price > 5 AND' }, /column 14: expected the name of a property/],
    [{ sql: "price > 'x'" }, /column 9: > compares numbers/],
    [{ sql: 'x'.repeat(100 * 1024) }, /102400 characters, more than 16384/],
    ['a |', /column 3: 'a \|' is no tag expression/],
  ] as const
  for (const [expression, message] of refused) {
    const subscribe = () => client.consumer({ group: 'billing' }).subscribe('orders', expression)
    const read = () => client.reader({ topic: 'orders', filter: expression })
    for (const call of [subscribe, read]) {
      const error = t.throws(call as () => void, { instanceOf: StateMQError, message })
      t.is((error as StateMQError).code, 'SUBSCRIPTION_PARSE_FAILED')
    }
  }
})
