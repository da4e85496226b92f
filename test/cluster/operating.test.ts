/** A cluster in operation: topics come and go, brokers restart in the middle of the work, state is looked at, all is closed. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import test from 'ava'
import { createTestCluster, type IncomingMessage, type Receipt, type Transition } from '../../actors/index.ts'
import { LIMIT_MS, until } from '../support/until.ts'
import { clientOf, clusterOf, hears, listen, numbers, sorted } from './support.ts'

test('topic: is listed with its brokers and queues', async (t) => {
  const client = await clientOf(t, { brokers: 2 })
  await client.admin().createTopic('orders', { queues: 3 })
  await until(
    'a name server lists it at both',
    async () => (await client.admin().topics())[0]?.brokers.length === 2,
  )
  t.deepEqual(await client.admin().topics(), [
    { topic: 'orders', readQueues: 6, writeQueues: 6, perm: 6, brokers: ['broker-a', 'broker-b'] },
  ])
})

test('topic: one that is deleted is gone, with its messages and the offsets of its groups', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: 'old' })
  const listener = await listen(client, 'orders', { group: 'billing', from: 'first' })
  await hears(listener, 1)
  await listener.consumer.close()
  await client.admin().deleteTopic('orders')
  await until('no name server knows it', async () => (await client.admin().topics()).length === 0)
  await t.throwsAsync(client.admin().topic('orders'), { code: 'TOPIC_NOT_EXIST' })
  await client.admin().createTopic('orders', { queues: 4 })
  const other = await cluster.connect()
  const receipt = await other.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: 'new' })
  const again = await listen(other, 'orders', { group: 'billing', from: 'first' })
  await hears(again, 1)
  t.deepEqual(again.texts, ['new'])
  t.true(receipt.queueOffset >= 0)
})

test('topic: a send to one that was deleted says so at once, where topics are not made by use', async (t) => {
  const client = await clientOf(t, { autoCreateTopic: false })
  await client.admin().createTopic('orders', { queues: 1 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  await producer.send({ topic: 'orders', body: '1' })
  await client.admin().deleteTopic('orders')
  await until('no name server knows it', async () => (await client.admin().topics()).length === 0)
  await t.throwsAsync(producer.send({ topic: 'orders', body: '2' }), { code: 'TOPIC_NOT_EXIST' })
})

test('topic: a send to one that was deleted makes it anew, where topics are made by use', async (t) => {
  const client = await clientOf(t)
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  await producer.send({ topic: 'orders', body: '1' })
  await client.admin().deleteTopic('orders')
  await until('no name server knows it', async () => (await client.admin().topics()).length === 0)
  const receipt = await producer.send({ topic: 'orders', body: '2' })
  t.is(receipt.status, 'SEND_OK')
})

test('topic: consumers of one that is deleted and made anew read the new one', async (t) => {
  const client = await clientOf(t)
  await client.admin().createTopic('orders', { queues: 1 })
  const listener = await listen(client, 'orders', { group: 'billing', from: 'first' })
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: 'old' })
  await hears(listener, 1)
  await client.admin().deleteTopic('orders')
  await until('it has no queue any more', () => listener.owned.length === 0)
  await client.admin().createTopic('orders', { queues: 1 })
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: 'new' })
  await hears(listener, 2)
  t.deepEqual(listener.texts, ['old', 'new'])
})

test('broker: a clean restart in the middle of the work loses nothing and doubles nothing', async (t) => {
  const cluster = await clusterOf(t, { brokers: 2 })
  const client = await cluster.connect()
  await client.admin().createTopic('orders', { queues: 4 })
  const listener = await listen(await cluster.connect(), 'orders', { group: 'billing', from: 'first' })
  const producer = client.producer({ timeoutMs: 60_000 })
  let isOver = false
  const receipts: Promise<Receipt>[] = []
  const sending = (async () => {
    while (!isOver) {
      for (let i = 0; i < 50; i++)
        receipts.push(producer.send({ topic: 'orders', body: `${receipts.length}` }))
      await receipts.at(-1)
    }
  })()
  for (const name of ['broker-a', 'broker-b', 'broker-a']) {
    const before = listener.heard.length
    await until('messages flow', () => listener.heard.length > before + 200)
    await cluster.restartBroker(name)
  }
  const before = listener.heard.length
  await until('messages flow', () => listener.heard.length > before + 200)
  isOver = true
  await sending
  const settled = await Promise.all(receipts)
  t.is(new Set(settled.map(({ messageId }) => messageId)).size, settled.length)
  await until('all is heard', () => new Set(listener.texts).size === settled.length)
  const { queues } = await client.admin().topic('orders')
  t.is(
    queues.reduce((sum, { maxOffset }) => sum + maxOffset, 0),
    settled.length,
    'a message is stored twice',
  )
  t.deepEqual(sorted([...new Set(listener.texts)]), numbers(settled.length))
})

test('broker: committed offsets, topics and messages outlive a clean restart', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic('orders', { queues: 2 })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  for (const body of numbers(10)) await producer.send({ topic: 'orders', body })
  const first = await listen(client, 'orders', { group: 'billing', from: 'first' })
  await hears(first, 10)
  await first.consumer.close()
  const before = await client.admin().group('billing')
  await cluster.restartBroker('broker-a')
  const after = await client.admin().group('billing')
  t.deepEqual(after.queues, before.queues)
  const reader = client.reader({ topic: 'orders' })
  const found: IncomingMessage[] = []
  await until('all is read', async () => found.push(...(await reader.poll())) === 10)
  t.deepEqual(sorted(found.map(({ text }) => text)), numbers(10))
})

test('broker: each restart serves under a higher epoch', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  const { epoch, replicas: before } = await client.admin().broker('broker-a')
  await cluster.restartBroker('broker-a')
  const { epoch: again, replicas: after } = await client.admin().broker('broker-a')
  t.true(again > epoch)
  const incarnations = [...before, ...after].map((one) => one.reachable && one.incarnation)
  t.deepEqual(incarnations, [1, 2])
})

test('inspect: every actor of the cluster is listed with its state, from any client', async (t) => {
  const cluster = await clusterOf(t, { brokers: 2 })
  const client = await cluster.connect()
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: 'x' })
  const listener = await listen(client, 'orders', { group: 'billing', clientId: 'me' })
  await until('its queues are divided', () => listener.owned.length === 8)
  const actors = await (await cluster.connect()).inspect().actors()
  const stateOf = (address: RegExp) =>
    actors.filter((actor) => address.test(actor.address)).map(({ state }) => state)
  t.deepEqual(
    stateOf(/^broker\//).map((state) => state.startsWith('master')),
    [true, true],
  )
  t.deepEqual(stateOf(/^name-server\//), ['serving'])
  t.deepEqual(stateOf(/^group-coordinator\//), ['active.stable.resting'])
  t.regex(stateOf(/^rebalancer\/billing\/me$/)[0]!, /balanced/)
  t.true(stateOf(/^producer-route\//).length >= 1)
})

test('inspect: one actor is shown with its context', async (t) => {
  const cluster = await clusterOf(t)
  const view = await (await cluster.connect()).inspect().actor('broker/broker-a/0')
  t.regex(view.state, /^master/)
  t.like(view, { machine: 'broker-role', context: { brokerName: 'broker-a', brokerId: 0, epoch: 1 } })
})

test('inspect: an address that nobody has is not found', async (t) => {
  const client = await clientOf(t)
  await t.throwsAsync(client.inspect().actor('broker/nobody/0'), { code: 'QUERY_NOT_FOUND' })
  await t.throwsAsync(async () => client.inspect().actor('no address'), { code: 'INVALID_PARAMETER' })
})

test('inspect: transitions are seen from another client as they happen', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic('orders', { queues: 1 })
  const listener = await listen(client, 'orders', { group: 'billing', clientId: 'me' })
  const seen: Transition[] = []
  const watcher = await cluster.connect()
  const watching = watcher
    .inspect()
    .watch('rebalancer/billing/me')
    .subscribe((transition) => void seen.push(transition))
  t.teardown(() => watching.unsubscribe())
  await until('it is watched', () => seen.length > 0) // Its heart beats.
  await listener.consumer.close()
  await until('its end is seen', () => seen.some(({ to }) => to.startsWith('left')))
  t.true(seen.some(({ event }) => event === 'consumer.closed'))
})

test('client: close() settles what was sent and commits what was handled', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  const listener = await listen(client, 'orders', { group: 'billing', from: 'first' })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  const receipts = Promise.all(numbers(500).map((body) => producer.send({ topic: 'orders', body })))
  await hears(listener, 100)
  await client.close()
  t.is((await receipts).length, 500)
  const handled = listener.heard.length
  const { queues } = await (await cluster.connect()).admin().group('billing')
  t.is(
    queues.reduce((sum, { committed }) => sum + (committed ?? 0), 0),
    handled,
  )
})

test('client: close() waits for a producer that is closing already', async (t) => {
  const client = await clientOf(t)
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  const receipts = numbers(100).map((body) => producer.send({ topic: 'orders', body }))
  void producer.close()
  await client.close()
  t.is((await Promise.all(receipts)).length, 100)
})

test('client: what is asked of a closed client, producer or reader is refused', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  const reader = client.reader({ topic: 'orders' })
  await client.close()
  t.throws(() => client.producer({ timeoutMs: LIMIT_MS }), { code: 'CLOSED' })
  t.throws(() => client.consumer({ group: 'g' }), { code: 'CLOSED' })
  t.throws(() => client.admin(), { code: 'CLOSED' })
  t.throws(() => producer.sendOneway({ topic: 'orders', body: 'x' }), { code: 'CLOSED' })
  await t.throwsAsync(producer.send({ topic: 'orders', body: 'x' }), { code: 'CLOSED' })
  await t.throwsAsync(producer.sendBatch([{ topic: 'orders', body: 'x' }]), { code: 'CLOSED' })
  await t.throwsAsync(reader.poll(), { code: 'CLOSED' })
})

test('cluster: is up in an instant', async (t) => {
  const began = performance.now()
  const cluster = await createTestCluster({ brokers: 2 })
  t.log(`${Math.round(performance.now() - began)} ms`)
  await cluster.close()
  t.pass()
})

test('cluster: after close() nothing keeps the process, whatever was going on', async (t) => {
  const library = new URL('../../actors/index.js', import.meta.url).href
  const script = `
    const { createTestCluster } = await import(${JSON.stringify(library)})
    const cluster = await createTestCluster({ brokers: 2 })
    const client = await cluster.connect()
    const producer = client.producer({ timeoutMs: ${LIMIT_MS} })
    for (let i = 0; i < 10; i++) await producer.send({ topic: 'orders', body: 'x' })
    const failing = client.consumer({ group: 'failing', from: 'first' })
    failing.subscribe('orders')
    let failures = 0
    await new Promise((enough) => failing.run(() => {
      if (++failures >= 10) enough()
      throw new Error('always')
    }))
    const waiting = client.consumer({ group: 'waiting' })
    void waiting.subscribe('nothing').run(() => {})
    await client.reader({ topic: 'orders' }).poll()
    client.inspect().actors$.subscribe(() => {})
    await cluster.close()
    console.log('closed')
    const closed = performance.now()
    process.on('exit', () => console.log('idle for', Math.round(performance.now() - closed), 'ms'))
  `
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    output += chunk
  })
  const [code] = await once(child, 'close')
  t.is(code, 0)
  t.regex(output, /closed/)
  const idleMs = Number(/idle for (\d+) ms/.exec(output)?.[1])
  t.true(idleMs < 10_000, `a timer kept the process for ${idleMs} ms`)
})
