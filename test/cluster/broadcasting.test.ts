/** Broadcasting: a consumer that has a name goes on where it was; its offsets are its own. */
import test from 'ava'
import type { ConsumerOptions, TestCluster } from '../../actors/index.ts'
import { LIMIT_MS } from '../support/until.ts'
import { byQueue, clusterOf, hears, listen, numbers, sorted } from './support.ts'

const named: ConsumerOptions = {
  group: 'readers',
  messageModel: 'broadcasting',
  from: 'first',
  clientId: 'me',
  offsetsDir: 'offsets',
}

async function send(cluster: TestCluster, bodies: readonly string[]): Promise<void> {
  const client = await cluster.connect()
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const body of bodies) await producer.send({ topic: 'news', body })
  await client.close()
}

test('broadcasting: a consumer with a name hears what came while it was away, and nothing twice', async (t) => {
  const cluster = await clusterOf(t, { brokers: 2 })
  await send(cluster, numbers(20))
  const first = await cluster.connect()
  const before = await listen(first, 'news', named)
  await hears(before, 20)
  await first.close()
  await send(cluster, numbers(20, 20))
  const after = await listen(await cluster.connect(), 'news', { ...named, from: 'last' })
  await hears(after, 20)
  t.deepEqual(sorted(after.texts), numbers(20, 20))
})

test("broadcasting: one that began 'last' and heard nothing does not lose what comes while it is away", async (t) => {
  const cluster = await clusterOf(t)
  await send(cluster, numbers(5))
  const options = { ...named, from: 'last' } as const
  const before = await listen(await cluster.connect(), 'news', options)
  await before.consumer.close()
  await send(cluster, numbers(5, 5))
  const after = await listen(await cluster.connect(), 'news', options)
  await hears(after, 5)
  t.deepEqual(sorted(after.texts), numbers(5, 5))
})

test('broadcasting: a queue that appeared while it was away is read from its start', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic('news', { queues: 1 })
  const before = await listen(await cluster.connect(), 'news', { ...named, from: 'last' })
  await before.consumer.close()
  await client.admin().createTopic('news', { queues: 3 })
  const producer = (await cluster.connect()).producer({ timeoutMs: LIMIT_MS })
  for (const body of numbers(9)) await producer.send({ topic: 'news', body })
  const after = await listen(await cluster.connect(), 'news', { ...named, from: 'last' })
  await hears(after, 9)
  t.deepEqual(sorted(after.texts), numbers(9))
  t.true(byQueue(after.heard).size > 1)
})

test('broadcasting: a consumer without a name begins where it is told, each time', async (t) => {
  const cluster = await clusterOf(t)
  await send(cluster, numbers(5))
  for (let i = 0; i < 2; i++) {
    const { clientId: _, offsetsDir: __, ...unnamed } = named
    const listener = await listen(await cluster.connect(), 'news', unnamed)
    await hears(listener, 5)
    await listener.consumer.close()
    t.deepEqual(sorted(listener.texts), numbers(5))
  }
})

test('broadcasting: two of one name are refused, and the second one may try again', async (t) => {
  const cluster = await clusterOf(t)
  await send(cluster, numbers(5))
  const first = await listen(await cluster.connect(), 'news', named)
  await hears(first, 5)
  const second = (await cluster.connect()).consumer({ ...named })
  second.subscribe('news')
  const heard: string[] = []
  const run = () => second.run(({ text }) => void heard.push(text))
  const error = await t.throwsAsync(run(), { code: 'IN_USE' })
  t.regex(error!.message, /another consumer of 'readers' with clientId 'me'/)
  await first.consumer.close()
  await t.notThrowsAsync(run())
  t.deepEqual(heard, [])
})

test('broadcasting: one that is closed while it opens its file lets it go', async (t) => {
  const cluster = await clusterOf(t)
  const first = (await cluster.connect()).consumer({ ...named }).subscribe('news')
  const running = first.run(() => {})
  await first.close()
  await running
  await t.notThrowsAsync(
    (await cluster.connect())
      .consumer({ ...named })
      .subscribe('news')
      .run(() => {}),
  )
})

test('broadcasting: offsets of two clusters, of two names and of two groups do not meet', async (t) => {
  const cluster = await clusterOf(t)
  await send(cluster, numbers(3))
  for (const own of [{}, { clientId: 'you' }, { group: 'others' }, { offsetsDir: 'elsewhere' }]) {
    const listener = await listen(await cluster.connect(), 'news', { ...named, ...own })
    await hears(listener, 3)
    t.deepEqual(sorted(listener.texts), numbers(3))
  }
})

test('broadcasting: a folder for offsets that nobody would use is refused', async (t) => {
  const client = await (await clusterOf(t)).connect()
  for (const own of [
    { messageModel: 'clustering' },
    { clientId: undefined },
    { offsetsDir: '' },
    { offsetsDir: 7 },
  ]) {
    const { clientId, ...rest } = { ...named, ...own } as never as ConsumerOptions
    const options = clientId === undefined ? rest : { ...rest, clientId }
    const error = t.throws(() => client.consumer(options), { code: 'INVALID_PARAMETER' })
    t.regex(error!.message, /offsetsDir: give/)
  }
})
