/** What operators and strangers may do to a replicated cluster by mistake: it is refused, told of, and loses nothing. */
import { cp, readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { ackBytes, DATA_HEAD_BYTES, writeDataHead } from '../../transport/stream.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import type { ClusterOfProcesses } from '../support/cluster-of-processes.ts'
import { temporaryFolder } from '../support/processes.ts'
import { ask, close, connectTo } from '../support/transports.ts'
import { until } from '../support/until.ts'
import { isMaster, sharedStage, stage } from './replicated.ts'

/** No master is to be missed here: silence is none on a machine that has other work to do. */
const turn = sharedStage({ detectMs: 8_000 })

/** Why a replica with this folder and this id does not start. */
async function refusalOf(
  cluster: ClusterOfProcesses,
  {
    dir,
    name = 'broker-a',
    id,
    clusterName,
  }: { dir: string; name?: string; id: number; clusterName?: string },
): Promise<string> {
  const options = { ...cluster.optionsOf(name, id), dir }
  const { running } = cluster.launch(
    clusterName === undefined ? options : { ...options, cluster: clusterName },
  )
  await running.exited()
  return running.errors
}

/**
 * As by hand, to another machine: the lock stays behind. The log grows meanwhile: what tells how far it is synced is copied
 * first, else the copy would lack what it tells of; and a draft that is about to get its name (.new) is no file yet.
 */
async function copy(from: string, to: string): Promise<void> {
  const filter = (path: string) => !/^(lock|checkpoint|.*\.new)$/.test(basename(path))
  await cp(join(from, 'checkpoint'), join(to, 'checkpoint'))
  await cp(from, to, { recursive: true, filter })
}

const registerFile = (cluster: ClusterOfProcesses): string => join(cluster.dir, 'register', 'register.json')

test.serial(
  'a copied data folder: is no replica, neither under another id nor twice under one',
  async (t) => {
    const made = await turn(t)
    const { cluster } = made
    const load = made.load()
    await load.goesOn()
    const dir = await temporaryFolder(t)
    await copy(cluster.replica('broker-a', 0).dir, join(dir, 'broker-a-1'))
    t.regex(await refusalOf(cluster, { dir, id: 1 }), /belongs to broker broker-a\/0 .*not to broker-a\/1/)
    for (const id of [0, 1]) {
      await copy(cluster.replica('broker-a', id).dir, join(dir, `broker-a-${id}`))
      t.regex(await refusalOf(cluster, { dir, id }), /is alive already/)
    }
    await load.goesOn()
    await made.judge(load)
  },
)

test.serial('a data folder: is refused to a broker of another name and to another cluster', async (t) => {
  const made = await turn(t)
  const { cluster } = made
  const load = made.load()
  await load.goesOn()
  const dir = await temporaryFolder(t)
  const { dir: own } = cluster.replica('broker-a', 1)
  await copy(own, join(dir, 'broker-b-1'))
  await copy(own, join(dir, 'broker-a-1'))
  t.regex(
    await refusalOf(cluster, { dir, name: 'broker-b', id: 1 }),
    /belongs to broker broker-a\/1 of cluster/,
  )
  t.regex(
    await refusalOf(cluster, { dir, id: 1, clusterName: 'other' }),
    /of cluster default, not to .* of other/,
  )
  t.regex(await refusalOf(cluster, { dir: cluster.dir, id: 1 }), /in use by process/)
  await load.goesOn()
  await made.judge(load)
})

test.serial('a replica that is started without replication: is no master beside the others', async (t) => {
  const made = await turn(t)
  const { cluster } = made
  const load = made.load()
  const slave = cluster.replica('broker-a', 1 - (await made.converged()).masterId!)
  await slave.kill()
  const options = cluster.optionsOf('broker-a', 0)
  const dir = await temporaryFolder(t)
  await copy(slave.dir, join(dir, 'broker-a-0'))
  const identity = join(dir, 'broker-a-0', 'statemq.json')
  await writeFile(identity, (await readFile(identity, 'utf8')).replace('broker-a/1', 'broker-a/0'))
  const { running } = cluster.launch({ ...options, dir, broker: { name: 'broker-a', replication: 'none' } })
  await running.exited()
  t.regex(
    running.errors,
    /is broker-a\/0, one of several replicas, and replication 'none' would make it a master/,
  )
  await slave.start()
  await load.goesOn()
  await made.judge(load)
})

/** Puts the register back to what it was, while nobody serves it. */
async function putBack(cluster: ClusterOfProcesses, older: Buffer): Promise<void> {
  await cluster.killController()
  await cluster.killHub()
  await writeFile(registerFile(cluster), older)
  await cluster.startHub()
  await cluster.startController()
}

async function withOldRegister(t: ExecutionContext) {
  const made = await stage(t, { home: 'nats' })
  const { cluster, client } = made
  const load = made.load()
  await load.goesOn()
  const older = await readFile(registerFile(cluster))
  const master = await cluster.masterOf(client)
  await master.kill()
  await isMaster(made, 1 - master.brokerId)
  await master.start()
  await made.converged()
  await load.goesOn()
  return { made, load, older }
}

test.serial(
  'a register that was put back: replicas that live raise REGISTER_REGRESSED and lose nothing',
  async (t) => {
    const { made, load, older } = await withOldRegister(t)
    const { cluster } = made
    await putBack(cluster, older)
    await until('it is told', () => cluster.words().includes('REGISTER_REGRESSED'))
    await load.goesOn()
    await made.judge(load, ['REGISTER_REGRESSED'])
  },
)

test.serial('a register that was put back: replicas that are started anew lose nothing', async (t) => {
  const { made, load, older } = await withOldRegister(t)
  const { cluster } = made
  for (const replica of cluster.replicas) await replica.kill()
  await putBack(cluster, older)
  await Promise.all(cluster.replicas.map((replica) => replica.start()))
  await load.goesOn()
  await made.judge(load, ['REGISTER_REGRESSED'])
})

test.serial(
  'a register that was put back under those who live: they agree anew, and go on when a replica dies',
  async (t) => {
    const { made, load, older } = await withOldRegister(t)
    const { cluster, client } = made
    await cluster.killHub()
    await writeFile(registerFile(cluster), older)
    await cluster.startHub()
    const slave = cluster.replica('broker-a', 1 - (await cluster.masterOf(client)).brokerId)
    await slave.kill()
    await load.goesOn(1_000)
    // What a process says takes another way than its answers do.
    await until('it is told', () => cluster.words().includes('REGISTER_REGRESSED'))
    await slave.start()
    await made.judge(load, ['REGISTER_REGRESSED'])
  },
)

test.serial(
  'a register whose stream was deleted under those who live: they agree anew, and go on when a replica dies',
  async (t) => {
    const made = await stage(t, { home: 'jetstream' })
    const { cluster, client } = made
    const load = made.load()
    await load.goesOn()
    const { epoch } = await made.converged()
    const operator = await connectTo(cluster.nats!.url)
    t.teardown(() => close(operator))
    const stream = subjectsOf('default').register.stream('broker-a')
    t.regex(await ask(operator, `$JS.API.STREAM.DELETE.${stream}`, ''), /"success":\s*true/)
    await until('they have agreed anew', async () => {
      const seen = await cluster.look(client, 'broker-a')
      return seen !== null && seen.epoch > epoch && seen.syncStateSet.length === 2
    })
    await load.goesOn()
    const slave = cluster.replica('broker-a', 1 - (await cluster.masterOf(client)).brokerId)
    await slave.kill()
    await load.goesOn(1_000)
    await slave.start()
    const before = (await made.converged()).epoch
    await (await cluster.masterOf(client)).kill()
    await until('the other one is master', async () => {
      const seen = await cluster.look(client, 'broker-a')
      return seen !== null && seen.epoch > before && seen.masterId === slave.brokerId
    })
    await cluster.replica('broker-a', 1 - slave.brokerId).start()
    await made.judge(load)
  },
)

test.serial('a damaged register: is NEVER read, and it is said what to do', async (t) => {
  const made = await stage(t, { home: 'nats' })
  const { cluster } = made
  const load = made.load()
  await load.goesOn()
  await cluster.killHub()
  const sound = await readFile(registerFile(cluster))
  const damaged = Buffer.from(sound)
  damaged[damaged.length >> 1]! ^= 1
  await writeFile(registerFile(cluster), damaged)
  const error = await t.throwsAsync(cluster.startHub())
  t.regex(error!.message, /register\.json is damaged .*put a copy of it back/)
  t.deepEqual(await readFile(registerFile(cluster)), damaged)
  await load.goesOn()
  await writeFile(registerFile(cluster), sound)
  await cluster.startHub()
  await load.goesOn()
  await made.judge(load)
})

test.serial(
  'an epoch from the future: in requests to follow, acknowledgements and data, changes nothing',
  async (t) => {
    const made = await turn(t)
    const { cluster } = made
    const load = made.load()
    await load.goesOn()
    const { epoch, masterId } = await made.converged()
    const slaveId = 1 - masterId!
    const subjects = subjectsOf('default')
    const stranger = await connectTo(cluster.servers)
    t.teardown(() => close(stranger))
    const future = epoch + 5
    const request = {
      ...{ brokerId: slaveId, storeId: 'x', processId: 'x', incarnation: 99, lineage: 99, position: 0 },
      ...{ lastEpoch: future, session: 1 },
    }
    t.is(
      await ask(stranger, subjects.broker('broker-a', future).follow, JSON.stringify(request)),
      'noResponders',
    )
    const end = Number.MAX_SAFE_INTEGER
    const head = { epoch: future, session: 1, from: 0, confirm: end, end, sentAt: 0 }
    const data = Buffer.alloc(DATA_HEAD_BYTES)
    writeDataHead(data, head)
    const said = { epoch: future, position: end, unfinishedBytes: 0, echo: 0, isFull: false }
    const ack = ackBytes({ ...request, ...said })
    for (let i = 0; i < 100; i++) {
      stranger.publish(subjects.broker('broker-a', epoch).ack, ack)
      stranger.publish(subjects.brokerProcess('broker-a', slaveId).data(epoch), data)
      stranger.publish(subjects.brokerProcess('broker-a', slaveId).data(future), data)
    }
    await load.goesOn()
    const after = await made.judge(load)
    t.deepEqual([after.epoch, after.masterId], [epoch, masterId])
  },
)
