/** Masters and slaves as processes that are killed and paused: what was acknowledged is there, once, in order, on both. */
import test, { type ExecutionContext } from 'ava'
import { codes } from '../../transport/codes.ts'
import { answerCode } from '../../transport/exchange.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import { frame } from '../broker/support.ts'
import { logBytesOf } from '../support/same-logs.ts'
import { close, connectTo, flush } from '../support/transports.ts'
import { until } from '../support/until.ts'
import { isMaster, type Stage, sharedStage, stage } from './replicated.ts'

const turn = sharedStage()

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
      const made = await (home === 'listener' ? turn(t) : stage(t, { home }))
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

/** Sends to the master of one epoch and of no other; tells what is answered, whenever that is. */
async function strangerAt(t: ExecutionContext, { cluster, topic }: Stage, epoch: number) {
  const stranger = await connectTo(cluster.servers)
  t.teardown(() => close(stranger))
  const codesHeard: number[] = []
  stranger.subscribe('stranger.answers', (answer) => {
    if (answer.length > 0) codesHeard.push(answerCode(answer))
  })
  const { send } = subjectsOf('default').broker('broker-a', epoch)
  for (let i = 0; i < 100; i++)
    stranger.publish(send, frame([`stranger ${i}`], { topic }), 'stranger.answers')
  await flush(stranger)
  return codesHeard
}

test.serial('failover: a master that stood still answers none of the sends that waited for it', async (t) => {
  const made = await turn(t)
  const { cluster, client } = made
  const { epoch } = await made.converged()
  const load = made.load()
  await load.goesOn()
  const master = await cluster.masterOf(client)
  master.pause()
  const codesHeard = await strangerAt(t, made, epoch)
  await isMaster(made, 1 - master.brokerId)
  master.resume()
  await load.goesOn()
  // What a stranger sent and is stored all the same would be a message that nobody sent.
  await made.judge(load)
  t.log(`${codesHeard.length} of them were refused`)
  t.deepEqual(
    codesHeard.filter((code) => code === codes.SUCCESS),
    [],
  )
})

test.serial(
  'failover: what the slave cannot acknowledge is not acknowledged, and nothing is lost',
  async (t) => {
    const made = await stage(t, { proxied: true, detectMs: 8_000 })
    const { cluster, client } = made
    const load = made.load()
    await load.goesOn()
    const master = await cluster.masterOf(client)
    const slave = cluster.replica('broker-a', 1 - master.brokerId)
    slave.proxy!.cut('both')
    const bytes = await logBytesOf(master.dir)
    // Sent when the slave hears nothing any more: nobody but the master has it.
    const late = made.load({ senders: 4 }, client, 'late')
    await until('the master stores more', async () => (await logBytesOf(master.dir)) > bytes)
    await master.kill()
    slave.proxy!.heal()
    await isMaster(made, slave.brokerId)
    await late.stop()
    t.deepEqual(late.failures, [])
    await master.start()
    const { replicas } = await made.judge(load)
    const cut = replicas.map((one) => (one.reachable ? (one.lastCut?.messages ?? 0) : 0))
    t.true(cut[master.brokerId]! > 0, 'the master had stored what it did not acknowledge')
  },
)

test.serial(
  'failover: a master that stood still loses, doubles and reorders nothing, and becomes a slave',
  async (t) => {
    const made = await turn(t)
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
  const made = await turn(t)
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
