/** Processes that die, and processes that cannot start: what goes on, what comes back, and what an operator is told. */
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { type Client, connect, type Receipt } from '../../actors/index.ts'
import { type NatsServer, startNatsServer } from '../support/nats-server.ts'
import { Processes, type Running, temporaryFolder } from '../support/processes.ts'
import { until } from '../support/until.ts'

async function natsOf(t: ExecutionContext): Promise<NatsServer> {
  const nats = await startNatsServer()
  t.teardown(() => nats.stop())
  return nats
}

async function clientOf(t: ExecutionContext, servers: string): Promise<Client> {
  const client = await connect({ servers })
  t.teardown(() => client.close())
  return client
}

/** Keeps sending until it is told to stop; counts what was acknowledged. */
function flow(client: Client, topic: string, timeoutMs = 60_000) {
  const producer = client.producer({ timeoutMs })
  const receipts: Receipt[] = []
  let sent = 0
  let isOver = false
  const worker = async () => {
    while (!isOver) receipts.push(await producer.send({ topic, body: `${sent++}` }))
  }
  const running = Promise.all(Array.from({ length: 20 }, worker))
  running.catch(() => {})
  return {
    receipts,
    goesOn: async () => {
      const before = receipts.length
      await Promise.race([until('messages flow', () => receipts.length > before + 200), running])
    },
    async stop() {
      isOver = true
      await running
      await producer.close()
    },
  }
}

const handledBy = (process: Running): string[] =>
  process.output
    .split('\n')
    .filter((line) => line.startsWith('handled '))
    .map((line) => line.slice('handled '.length))

test('name servers: when all of them are killed, clients that have their routes go on', async (t) => {
  const nats = await natsOf(t)
  const dir = await temporaryFolder(t)
  const processes = new Processes(t)
  const one = await processes.start('node', '--roles', 'nameServer', '--nats', nats.url)
  const two = await processes.start('node', '--roles', 'nameServer', '--nats', nats.url)
  await processes.start('node', '--roles', 'broker', '--broker', 'broker-a', '--nats', nats.url, '--dir', dir)
  const client = await clientOf(t, nats.url)
  await client.admin().createTopic('orders', { queues: 4 })
  const heard: string[] = []
  const consumer = client.consumer({ group: 'billing', from: 'first' })
  await consumer.subscribe('orders').run(({ text }) => void heard.push(text))
  const messages = flow(client, 'orders')
  await messages.goesOn()
  await one.kill()
  await two.kill()
  await messages.goesOn()
  await messages.goesOn()
  await messages.stop()
  await until('all is heard', () => heard.length >= messages.receipts.length)
  t.is(new Set(heard).size, messages.receipts.length)
})

test('name server: one that is started anew learns all routes and gives them to new clients', async (t) => {
  const nats = await natsOf(t)
  const dir = await temporaryFolder(t)
  const processes = new Processes(t)
  const nameServer = await processes.start('node', '--roles', 'nameServer', '--nats', nats.url)
  await processes.start('node', '--roles', 'broker', '--broker', 'broker-a', '--nats', nats.url, '--dir', dir)
  const client = await clientOf(t, nats.url)
  await client.admin().createTopic('orders', { queues: 4 })
  const before = await client.admin().route('orders')
  await nameServer.kill()
  // The nats-server notices the death a moment later: until then a question may be lost with the dead connection.
  await until('nobody answers for the name servers', () =>
    client
      .admin()
      .route('orders')
      .then(
        () => false,
        (error: { code: string }) => error.code === 'NO_NAME_SERVER',
      ),
  )
  const newcomer = await clientOf(t, nats.url)
  const sending = newcomer
    .producer({ timeoutMs: 60_000, createTopics: false })
    .send({ topic: 'orders', body: 'x' })
  await processes.start('node', '--roles', 'nameServer', '--nats', nats.url)
  t.is((await sending).status, 'SEND_OK')
  const after = await client.admin().route('orders')
  t.deepEqual(after.brokers, before.brokers)
})

test('nats: when its server is killed and comes back, sends, consumers and brokers go on by themselves', async (t) => {
  const nats = await natsOf(t)
  const dir = await temporaryFolder(t)
  const processes = new Processes(t)
  await processes.start('node', '--roles', 'nameServer', '--nats', nats.url)
  await processes.start('node', '--roles', 'broker', '--broker', 'broker-a', '--nats', nats.url, '--dir', dir)
  const client = await clientOf(t, nats.url)
  await client.admin().createTopic('orders', { queues: 4 })
  const heard: string[] = []
  const consumer = client.consumer({ group: 'billing', from: 'first' })
  await consumer.subscribe('orders').run(({ text }) => void heard.push(text))
  const messages = flow(client, 'orders')
  for (let round = 0; round < 3; round++) {
    await messages.goesOn()
    const before = heard.length
    await nats.kill()
    await nats.restart()
    await messages.goesOn()
    await until('messages are heard again', () => heard.length > before + 100)
  }
  await messages.stop()
  await until('all is heard', () => new Set(heard).size >= messages.receipts.length)
  const { queues } = await client.admin().topic('orders')
  t.is(
    queues.reduce((sum, { maxOffset }) => sum + maxOffset, 0),
    messages.receipts.length,
    'stored twice',
  )
  t.is(new Set(heard).size, messages.receipts.length)
})

test('consumer: the queues of one that is killed go to the others, and nothing is lost', async (t) => {
  const nats = await natsOf(t)
  const dir = await temporaryFolder(t)
  const processes = new Processes(t)
  await processes.start('node', '--roles', 'nameServer', '--nats', nats.url)
  await processes.start('node', '--roles', 'broker', '--broker', 'broker-a', '--nats', nats.url, '--dir', dir)
  const client = await clientOf(t, nats.url)
  await client.admin().createTopic('orders', { queues: 4 })
  const module = new URL('./consuming.js', import.meta.url)
  const consume = (name: string) => processes.startModule(module, nats.url, 'orders', 'billing', name)
  const victim = await consume('victim')
  const survivor = await consume('survivor')
  const owners = async () => (await client.admin().group('billing')).queues.map(({ owner }) => owner).sort()
  await until('both own queues', async () => (await owners()).join() === 'survivor,survivor,victim,victim')
  const messages = flow(client, 'orders')
  await until('both are at work', () => handledBy(victim).length > 100 && handledBy(survivor).length > 100)
  await victim.kill()
  await until('the other one has all queues', async () =>
    (await owners()).every((owner) => owner === 'survivor'),
  )
  await messages.goesOn()
  await messages.stop()
  const all = () => new Set([...handledBy(victim), ...handledBy(survivor)])
  await until('all is handled', () => all().size === messages.receipts.length)
  t.is(await survivor.stop(), 0)
})

test('consumer: a group whose only consumer was killed can be moved', async (t) => {
  const nats = await natsOf(t)
  const dir = await temporaryFolder(t)
  const processes = new Processes(t)
  await processes.start('node', '--roles', 'nameServer', '--nats', nats.url)
  await processes.start('node', '--roles', 'broker', '--broker', 'broker-a', '--nats', nats.url, '--dir', dir)
  const client = await clientOf(t, nats.url)
  await client.admin().createTopic('orders', { queues: 1 })
  await client.producer({ timeoutMs: 60_000 }).send({ topic: 'orders', body: 'x' })
  const module = new URL('./consuming.js', import.meta.url)
  const only = await processes.startModule(module, nats.url, 'orders', 'billing', 'only')
  await until('it is at work', () => handledBy(only).length === 1)
  await only.kill()
  await until(
    'it is no member any more',
    async () => (await client.admin().group('billing')).members.length === 0,
  )
  await t.notThrowsAsync(client.admin().resetOffsets('billing', 'orders', 'first'))
})

test('start: SIGTERM answers what was accepted, and the next start has all of it', async (t) => {
  const dir = await temporaryFolder(t)
  const processes = new Processes(t)
  const start = (port: string) =>
    processes.start('start', '--port', port, '--brokers', '2', '--flush', 'sync', '--dir', dir)
  const first = await start('0')
  const client = await clientOf(t, first.ready.servers)
  await client.admin().createTopic('orders', { queues: 2 })
  const messages = flow(client, 'orders')
  await messages.goesOn()
  t.is(await first.stop(), 0)
  t.is(first.errors, '')
  // The same port, so that the same clients go on.
  await start(new URL(first.ready.servers).port)
  await messages.goesOn()
  await messages.stop()
  const { queues } = await client.admin().topic('orders')
  t.is(
    queues.reduce((sum, { maxOffset }) => sum + maxOffset, 0),
    messages.receipts.length,
  )
})

test('start: a kill loses nothing that was acknowledged', async (t) => {
  const dir = await temporaryFolder(t)
  const processes = new Processes(t)
  const first = await processes.start('start', '--port', '0', '--dir', dir)
  const client = await clientOf(t, first.ready.servers)
  const messages = flow(client, 'orders')
  await messages.goesOn()
  await first.kill()
  await processes.start('start', '--port', new URL(first.ready.servers).port, '--dir', dir)
  await messages.goesOn()
  await messages.stop()
  const { queues } = await client.admin().topic('orders')
  t.is(
    queues.reduce((sum, { maxOffset }) => sum + maxOffset, 0),
    messages.receipts.length,
  )
})

test('start: a folder that another process uses is refused, and it is said by whom', async (t) => {
  const dir = await temporaryFolder(t)
  const processes = new Processes(t)
  const first = await processes.start('start', '--port', '0', '--dir', dir)
  const second = await processes.run('start', '--port', '0', '--dir', dir)
  t.is(second.code, 1)
  t.regex(second.errors, new RegExp(`in use by process ${first.pid}`))
  t.notRegex(second.errors, /\n\s+at /)
  const client = await clientOf(t, first.ready.servers)
  await t.notThrowsAsync(client.producer({ timeoutMs: 60_000 }).send({ topic: 'orders', body: 'x' }))
})

for (const replicas of [[], ['--slaves', '1']]) {
  const what = ['start', ...replicas].join(' ')
  test(`${what}: broker names that are taken are refused, and it never says that it is ready`, async (t) => {
    const nats = await natsOf(t)
    const [dir, other] = [await temporaryFolder(t), await temporaryFolder(t)]
    const processes = new Processes(t)
    await processes.start('start', '--nats', nats.url, '--dir', dir)
    const others = ['--nats', nats.url, ...replicas, '--dir', other]
    const { code, output, errors } = await processes.run('start', ...others)
    t.is(code, 1)
    t.is(output, '')
    t.regex(errors, /broker-a\/0 is alive already in cluster 'default'/)
    t.regex(errors, /choose another cluster \(--cluster\)/)
    t.notRegex(errors, /\n\s+at /)
    const client = await clientOf(t, nats.url)
    await t.notThrowsAsync(client.producer().send({ topic: 'orders', body: 'x' }))
  })
}

test('start: brokers whose names were taken can be started in another cluster, in the same folder', async (t) => {
  const nats = await natsOf(t)
  const [dir, other] = [await temporaryFolder(t), await temporaryFolder(t)]
  const processes = new Processes(t)
  await processes.start('start', '--nats', nats.url, '--dir', dir)
  const start = ['start', '--nats', nats.url, '--dir', other]
  t.is((await processes.run(...start)).code, 1)
  await t.notThrowsAsync(processes.start('--cluster', 'other', ...start))
})

test('node: a broker name that is taken is refused, and it never says that it is ready', async (t) => {
  const nats = await natsOf(t)
  const [dir, other] = [await temporaryFolder(t), await temporaryFolder(t)]
  const processes = new Processes(t)
  const node = ['node', '--roles', 'broker', '--broker', 'broker-b', '--nats', nats.url, '--dir']
  await processes.start(...node, dir)
  const { code, output, errors } = await processes.run(...node, other)
  t.is(code, 1)
  t.is(output, '')
  t.regex(errors, /broker-b\/0 is alive already in cluster 'default'/)
})

test('start: a folder that a killed process left is taken', async (t) => {
  const dir = await temporaryFolder(t)
  const processes = new Processes(t)
  const first = await processes.start('start', '--port', '0', '--dir', dir)
  await first.kill()
  await t.notThrowsAsync(processes.start('start', '--port', '0', '--dir', dir))
})

test('start: a port that is taken is refused, with what to do', async (t) => {
  const holder = createServer().listen(0, '127.0.0.1')
  await once(holder, 'listening')
  t.teardown(() => holder.close())
  const { port } = holder.address() as { port: number }
  const processes = new Processes(t)
  const { code, errors } = await processes.run(
    'start',
    '--port',
    `${port}`,
    '--dir',
    await temporaryFolder(t),
  )
  t.is(code, 1)
  t.regex(errors, new RegExp(`${port}`))
  t.regex(errors, /choose another port/)
  t.notRegex(errors, /\n\s+at /)
})

test('start: data of a newer version is left alone', async (t) => {
  const dir = await temporaryFolder(t)
  const processes = new Processes(t)
  const first = await processes.start('start', '--port', '0', '--dir', dir)
  await first.stop()
  const path = join(dir, 'broker-a-0', 'statemq.json')
  const identity = JSON.parse(await readFile(path, 'utf8')) as { format: number }
  t.is(typeof identity.format, 'number')
  const newer = JSON.stringify({ ...identity, format: identity.format + 1 })
  await writeFile(path, newer)
  const { code, errors } = await processes.run('start', '--port', '0', '--dir', dir)
  t.is(code, 1)
  t.regex(errors, /newer/)
  t.is(await readFile(path, 'utf8'), newer)
})

test('node: a server that nobody runs is refused, with what to do', async (t) => {
  const processes = new Processes(t)
  const { code, errors } = await processes.run(
    'node',
    '--roles',
    'nameServer',
    '--nats',
    'nats://127.0.0.1:1',
  )
  t.is(code, 1)
  t.regex(errors, /127\.0\.0\.1:1/)
  t.regex(errors, /start one with 'nats-server'/)
  t.notRegex(errors, /\n\s+at /)
})

test('client: a server that nobody runs is refused in time', async (t) => {
  const error = await t.throwsAsync(connect({ servers: 'nats://127.0.0.1:1' }))
  t.true(['DISCONNECTED', 'TIMED_OUT', 'NO_RESPONDERS'].includes((error as { code?: string }).code ?? ''))
})

test('client: a cluster that nobody runs is told of in time', async (t) => {
  const nats = await natsOf(t)
  const client = await clientOf(t, nats.url)
  const error = await t.throwsAsync(
    client.producer({ timeoutMs: 500 }).send({ topic: 'orders', body: 'x' }),
    {
      code: 'TIMED_OUT',
    },
  )
  t.regex(error!.message, /statemq start/)
  await t.throwsAsync(client.admin().topics(), { code: 'NO_NAME_SERVER' })
})
