/** Replicas as processes of their own: they are killed, hang, cannot start, and lose the process that owns them. */
import { existsSync, readFileSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import { connect, startBrokerProcess, startNode } from '../../actors/index.ts'
import type { BrokerProcess, BrokerProcessOptions } from '../../actors/node/broker-process.ts'
import { startNatsServer } from '../support/nats-server.ts'
import { Processes, type Running, temporaryFolder } from '../support/processes.ts'
import { until } from '../support/until.ts'

type Replica = { brokerName: string; brokerId: number; pid: number }

/** A dead process that nobody has looked at yet is dead. */
function isAlive(pid: number): boolean {
  if (!existsSync('/proc/self/stat')) {
    try {
      return process.kill(pid, 0)
    } catch {
      return false
    }
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2))
  } catch {
    return false
  }
}

/** A name server with a listener in this process; replicas that are started for it do not outlive the test. */
async function cluster(t: ExecutionContext) {
  const dir = await temporaryFolder(t)
  const name = `processes-${process.pid}`
  const node = await startNode({ cluster: name, roles: ['nameServer'], listen: { port: 0 } })
  const { servers } = node
  const started: BrokerProcess[] = []
  t.teardown(async () => {
    await Promise.all(started.map((one) => one.stop()))
    await node.close()
  })
  return {
    told: [] as string[],
    start(options: Partial<BrokerProcessOptions> = {}) {
      const told = (line: string) => void this.told.push(line)
      const broker = { name: 'broker-a', id: 0 }
      const one = startBrokerProcess({ cluster: name, servers, broker, dir, tell: told, ...options })
      started.push(one)
      return one
    },
    connect: () => connect({ servers, cluster: name }),
  }
}

test('broker process: one that is killed is started again, and what it stored is there', async (t) => {
  const made = await cluster(t)
  const broker = made.start()
  await broker.ready
  const client = await made.connect()
  const producer = client.producer({ timeoutMs: 60_000 })
  await producer.send({ topic: 'orders', body: 'before' })
  const first = broker.pid!
  process.kill(first, 'SIGKILL')
  await until('another process runs', () => broker.pid !== null && broker.pid !== first)
  t.is(broker.restarts, 1)
  await producer.send({ topic: 'orders', body: 'after' })
  const { queues } = await client.admin().topic('orders')
  t.is(
    queues.reduce((sum, { maxOffset }) => sum + maxOffset, 0),
    2,
  )
  await client.close()
  await until('it is told', () => made.told.some((line) => line.startsWith('is back as process')))
  t.deepEqual(made.told, [
    `process ${first} ended with SIGKILL; it is started again`,
    `is back as process ${broker.pid}`,
  ])
})

test('broker process: one that cannot start says why and is NOT tried again', async (t) => {
  const made = await cluster(t)
  const first = made.start()
  await first.ready
  const second = made.start()
  await t.throwsAsync(second.ready, { code: 'IN_USE', message: /is in use by process/ })
  t.is(second.pid, null)
  t.is(second.restarts, 0)
  t.true(isAlive(first.pid!))
})

test('broker process: one that is stopped ends and is started no more', async (t) => {
  const broker = (await cluster(t)).start()
  await broker.ready
  const pid = broker.pid!
  await Promise.all([broker.stop(), broker.stop()])
  t.false(isAlive(pid))
  t.is(broker.pid, null)
  t.is(broker.restarts, 0)
})

test('broker process: one that is stopped before it served says so to whoever waits for it', async (t) => {
  const broker = (await cluster(t)).start()
  await broker.stop()
  await t.throwsAsync(broker.ready, { code: 'CLOSED' })
})

test('broker process: one that hangs is killed AFTER the limit', async (t) => {
  const broker = (await cluster(t)).start({ stopLimitMs: 200 })
  await broker.ready
  const pid = broker.pid!
  process.kill(pid, 'SIGSTOP')
  await broker.stop()
  t.false(isAlive(pid))
})

// ----------------------------------------------------------------------------- a whole cluster, as operators start it

async function started(t: ExecutionContext, ...flags: string[]): Promise<Running & { replicas: Replica[] }> {
  const dir = await temporaryFolder(t)
  const where = flags.includes('--nats') ? [] : ['--port', '0']
  const running = await new Processes(t).start('start', ...where, '--dir', dir, ...flags)
  // In good order, so that no replica still writes when its folder is removed.
  t.teardown(() => running.stop())
  return Object.assign(running, { replicas: running.ready.replicas as Replica[] })
}

test.serial('start: its replicas NEVER outlive it, also when it is killed', async (t) => {
  const parent = await started(t, '--brokers', '2', '--slaves', '1')
  const pids = parent.replicas.map(({ pid }) => pid)
  t.is(pids.filter(isAlive).length, 4)
  await parent.kill()
  await until('they are gone', () => !pids.some(isAlive))
  t.pass()
})

test.serial('start: when it is stopped all replicas are, and it ends with 0', async (t) => {
  const parent = await started(t, '--slaves', '1')
  t.is(await parent.stop(), 0)
  t.deepEqual(
    parent.replicas.filter(({ pid }) => isAlive(pid)),
    [],
  )
  t.notRegex(parent.errors, /ended with/)
})

test.serial(
  'start: a killed master is followed by its slave, and comes back as a slave in sync',
  async (t) => {
    const { replicas, ready } = await started(t, '--slaves', '1')
    const client = await connect({ servers: ready.servers, cluster: 'default' })
    t.teardown(() => client.close())
    const admin = client.admin()
    const producer = client.producer({ timeoutMs: 60_000 })
    const before = await producer.send({ topic: 'orders', body: 'before' })
    await until('both are in sync', async () => (await admin.broker('broker-a')).syncStateSet.length === 2)
    const { masterId } = await admin.broker('broker-a')
    const master = replicas.find(({ brokerId }) => brokerId === masterId)!
    process.kill(master.pid, 'SIGKILL')
    const after = await producer.send({ topic: 'orders', body: 'after' })
    t.true(after.epoch > before.epoch)
    await until('the old master is a slave in sync', async () => {
      const { masterId: now, syncStateSet } = await admin.broker('broker-a')
      return now !== null && now !== masterId && syncStateSet.length === 2
    })
    const { queues, durability } = await admin.topic('orders')
    t.is(
      queues.reduce((sum, { maxOffset }) => sum + maxOffset, 0),
      2,
    )
    t.is(durability[0]!.copies, 2)
  },
)

for (const jetstream of [false, true]) {
  test.serial(
    `start: over a nats-server with${jetstream ? '' : 'out'} JetStream a slave takes over too`,
    async (t) => {
      const nats = await startNatsServer({ jetstream })
      t.teardown(() => nats.stop())
      const { replicas } = await started(t, '--slaves', '1', '--nats', nats.url)
      const client = await connect({ servers: nats.url, cluster: 'default' })
      t.teardown(() => client.close())
      const producer = client.producer({ timeoutMs: 60_000 })
      const before = await producer.send({ topic: 'orders', body: 'before' })
      await until('both are in sync', async () => {
        const { syncStateSet, masterId } = await client.admin().broker('broker-a')
        return syncStateSet.length === 2 && masterId !== null
      })
      const { masterId } = await client.admin().broker('broker-a')
      process.kill(replicas.find(({ brokerId }) => brokerId === masterId)!.pid, 'SIGKILL')
      t.true((await producer.send({ topic: 'orders', body: 'after' })).epoch > before.epoch)
    },
  )
}

test.serial(
  'promote: hands mastership over and back while messages are sent, and no send fails',
  async (t) => {
    const { ready } = await started(t, '--slaves', '1')
    const client = await connect({ servers: ready.servers, cluster: 'default' })
    t.teardown(() => client.close())
    const admin = client.admin()
    const producer = client.producer({ timeoutMs: 60_000 })
    let isOver = false
    let sent = 0
    const sending = (async () => {
      while (!isOver) {
        await Promise.all(Array.from({ length: 20 }, () => producer.send({ topic: 'orders', body: 'x' })))
        sent += 20
      }
    })()
    const epochs: number[] = []
    for (const successor of [1, 0]) {
      const before = sent
      await until('messages flow and both are in sync', async () => {
        const { syncStateSet, masterId } = await admin.broker('broker-a')
        return sent > before + 100 && syncStateSet.length === 2 && masterId === 1 - successor
      })
      epochs.push((await admin.promote('broker-a', successor)).epoch)
      t.is((await admin.broker('broker-a')).masterId, successor)
    }
    isOver = true
    await sending
    t.true(epochs[1]! > epochs[0]!)
    const { queues } = await admin.topic('orders')
    t.is(
      queues.reduce((sum, { maxOffset }) => sum + maxOffset, 0),
      sent,
      'each message is stored once',
    )
  },
)
