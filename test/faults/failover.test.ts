/** Masters and slaves as processes that are killed and paused: what was acknowledged is there, once, in order, on both. */
import test from 'ava'
import { until } from '../support/until.ts'
import { isMaster, type Stage, stage } from './replicated.ts'

/** Kills the master under load, and brings it back as a slave in sync. */
async function failOver(made: Stage, goesOn: () => Promise<void>): Promise<void> {
  const { cluster, client } = made
  const { epoch } = await made.converged()
  const master = await cluster.masterOf(client)
  await master.kill()
  await goesOn()
  await isMaster(made, 1 - master.brokerId)
  await master.start()
  const after = await made.converged()
  if (after.epoch <= epoch) throw new Error(`epoch ${after.epoch} after ${epoch}`)
}

for (const home of ['listener', 'jetstream'] as const) {
  test.serial(
    `failover: a killed master loses, doubles and reorders nothing that was acknowledged, over ${home}`,
    async (t) => {
      const made = await stage(t, { home })
      const load = made.load()
      for (let round = 0; round < 2; round++) {
        await load.goesOn()
        await failOver(made, () => load.goesOn())
      }
      const { masterId, syncStateSet } = await made.judge(load)
      t.deepEqual(syncStateSet, [0, 1])
      t.not(masterId, null)
    },
  )
}

test.serial(
  'failover: a master that stood still acknowledges nothing that its successor lacks, and becomes its slave',
  async (t) => {
    const made = await stage(t)
    const { cluster, client } = made
    const load = made.load()
    for (let round = 0; round < 2; round++) {
      await made.converged()
      const master = await cluster.masterOf(client)
      await load.goesOn()
      master.pause()
      await isMaster(made, 1 - master.brokerId)
      await load.goesOn()
      master.resume()
      await load.goesOn()
    }
    await made.judge(load)
  },
)

test.serial(
  'failover: without its slave a master goes on, and NOBODY else is elected when it dies',
  async (t) => {
    const made = await stage(t)
    const { cluster, client } = made
    const master = await cluster.masterOf(client)
    const slave = cluster.replica('broker-a', 1 - master.brokerId)
    const load = made.load()
    await load.goesOn()
    await slave.kill()
    await load.goesOn()
    await until('the slave has left the sync state set', async () => {
      return (await cluster.look(client, 'broker-a'))?.syncStateSet.join() === String(master.brokerId)
    })
    await load.goesOn()
    await master.kill()
    const back = slave.start()
    const alarm = `broker-a/${master.brokerId} would do`
    await until('the controller says whom it waits for', () => cluster.words().includes(alarm))
    t.is((await cluster.look(client, 'broker-a'))?.masterId ?? null, null)
    await Promise.all([back, master.start()])
    await load.goesOn()
    await made.judge(load)
  },
)

test.serial(
  'failover: a master serves on without controller, name server and register, and is replaced AFTER they are back',
  async (t) => {
    const made = await stage(t, { home: 'nats' })
    const { cluster } = made
    const load = made.load()
    await load.goesOn()
    await cluster.killController()
    await cluster.killHub()
    await load.goesOn()
    await load.goesOn()
    await Promise.all([cluster.startHub(), cluster.startController()])
    await failOver(made, () => load.goesOn())
    await made.judge(load)
  },
)

test.serial('promote: a handover under load fails no send and stores each message once', async (t) => {
  const made = await stage(t)
  const { cluster, client } = made
  const load = made.load()
  for (let round = 0; round < 3; round++) {
    await made.converged()
    const { brokerId } = await cluster.masterOf(client)
    await load.goesOn()
    const order = ['broker', 'promote', 'broker-a', `${1 - brokerId}`]
    const { code, errors } = await cluster.processes.run('--servers', cluster.servers, ...order)
    t.is(code, 0, errors)
    await load.goesOn()
    t.is((await cluster.masterOf(client)).brokerId, 1 - brokerId)
  }
  const { masterships } = await made.judge(load)
  t.true(masterships.filter(({ cause }) => cause === 'handover').length >= 3)
})

test.serial(
  'failover: what an asynchronous master lost is told by it, and is within the bound',
  async (t) => {
    const made = await stage(t, {
      ...{ replication: 'async', maxLagBytes: 4 * 1024 * 1024, proxied: true },
      // The lease, in which the master answers alone, is half of it: long enough on a busy machine.
      detectMs: 8_000,
    })
    const { cluster, client } = made
    const load = made.load()
    await load.goesOn()
    const master = await cluster.masterOf(client)
    const slave = cluster.replica('broker-a', 1 - master.brokerId)
    slave.proxy!.cut('both')
    await load.goesOn(50)
    await master.kill()
    slave.proxy!.heal()
    await isMaster(made, slave.brokerId)
    await load.goesOn()
    await master.start()
    const { replicas } = await made.judge(load)
    const cut = replicas.map((one) => (one.reachable ? (one.lastCut?.messages ?? 0) : 0))
    t.log(`${cut.join(' and ')} messages were cut`)
    t.true(cut[master.brokerId]! >= 50)
  },
)
