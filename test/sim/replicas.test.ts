/** Replicas in the simulated World: single turns of events, with times that are exact. */
import test from 'ava'
import { codes } from '../../transport/codes.ts'
import { check } from '../support/history.ts'
import { Cluster } from './cluster.ts'
import { REGISTER } from './register-link.ts'
import { SimulatedWorld } from './world.ts'

const BROKER = 'broker-a'
const LONG_MS = 10_000

async function replicas(replication: 'sync' | 'async', detectMs?: number): Promise<Cluster> {
  const cluster = new Cluster(new SimulatedWorld(7))
  cluster.detectMs = detectMs
  cluster.addNameServer('name-server-0')
  cluster.addController('controller-0')
  const group = { replication, replicas: 2, minInSync: 1, maxLagBytes: 65_536 }
  cluster.addBroker({ name: BROKER, flush: 'async', segmentBytes: 32_768, group })
  await cluster.start({ orders: 1 })
  return cluster
}

const roleOf = (cluster: Cluster, id: number) => cluster.groups.beat(BROKER, id)?.role

test('replicas: with replication async a handover waits for no lease', async (t) => {
  const cluster = await replicas('async')
  const { world } = cluster
  const [successor] = cluster.slavesOf(BROKER)
  const begun = world.clock.monotonic()
  cluster.handOver(successor!)
  t.true(await world.until(() => roleOf(cluster, successor!.id) === 'master', LONG_MS))
  t.true(world.clock.monotonic() - begun < 200)
  await cluster.close()
  t.deepEqual(world.faults, [])
})

test('replicas: one that is stopped while it waits for a lease leaves no timer behind', async (t) => {
  // Its process ends, and that is noticed long before the lease is over.
  const cluster = await replicas('async', 5_000)
  const { world } = cluster
  const [slave] = cluster.slavesOf(BROKER)
  cluster.crashBroker(cluster.masterOf(BROKER)!)
  t.true(await world.until(() => roleOf(cluster, slave!.id) === 'promoting', LONG_MS))
  await cluster.close()
  t.deepEqual(world.faults, [])
})

test('replicas: with replication async a deposed master acknowledges nothing AFTER the next one serves', async (t) => {
  const cluster = await replicas('async', 5_000)
  const { world } = cluster
  const sender = { topic: 'orders', messageGroups: 0, everyMs: 20, bodyBytesMax: 50, timeoutMs: 1_000 }
  for (const name of ['sender-0', 'sender-1']) cluster.addSender(name, sender)
  await world.advance(1_000)
  const [master, slave] = [cluster.masterOf(BROKER)!, cluster.slavesOf(BROKER)[0]!]
  const ends = [cluster.delayLink(slave.process!, master.process!, 2_000)]
  await world.advance(4_000)
  // One sender stays with it, the other finds the next master; what the slave has said is still on its way.
  const here = [master.process!, cluster.senders[0]!.process]
  const servers = [...cluster.controllers, ...cluster.nameServers].map(({ process }) => process!)
  for (const near of here)
    for (const far of [slave.process!, ...servers, { name: REGISTER }])
      ends.push(cluster.partition(near, far, true), cluster.partition(far, near, true))
  t.true(await world.until(() => roleOf(cluster, slave.id) === 'master', LONG_MS))
  await world.advance(5_000)
  for (const end of ends) end()
  t.true(await world.until(() => cluster.groupTrouble() === null, LONG_MS))
  cluster.stopSending()
  await world.advance(2_000)
  await cluster.readLogs()
  t.deepEqual(check(cluster.history), [])
  t.true(cluster.history.some(({ type }) => type === 'log.cut'))
  await cluster.close()
  t.deepEqual(world.faults, [])
})

test('replicas: one whose disk is full learns of a new master as soon as there is room, with nobody’s hand', async (t) => {
  const cluster = await replicas('sync')
  const { world } = cluster
  const sender = { topic: 'orders', messageGroups: 0, everyMs: 20, bodyBytesMax: 50, timeoutMs: 1_000 }
  cluster.addSender('sender-0', sender)
  await world.advance(1_000)
  const [master, slave] = [cluster.masterOf(BROKER)!, cluster.slavesOf(BROKER)[0]!]
  const end = cluster.fillDisk(slave, 0)
  t.true(await world.until(() => cluster.groups.head(BROKER)?.syncStateSet.length === 1, LONG_MS))
  const { epoch } = cluster.groups.head(BROKER)!
  cluster.crashBroker(master)
  cluster.startBroker(master)
  t.true(await world.until(() => cluster.groups.beat(BROKER, slave.id)!.epoch > epoch, LONG_MS))
  await world.advance(2_000)
  t.is(roleOf(cluster, slave.id), 'slave')
  end()
  t.true(await world.until(() => cluster.groups.head(BROKER)?.syncStateSet.length === 2, LONG_MS))
  cluster.stopSending()
  await world.advance(2_000)
  await cluster.readLogs()
  t.deepEqual(check(cluster.history), [])
  await cluster.close()
  t.deepEqual(world.faults, [])
})

test('replicas: sends wait for a slave whose disk is full no longer than for the swap that drops it', async (t) => {
  const cluster = await replicas('sync')
  const { world } = cluster
  const sender = { topic: 'orders', messageGroups: 0, everyMs: 20, bodyBytesMax: 50, timeoutMs: 1_000 }
  cluster.addSender('sender-0', sender)
  await world.advance(1_000)
  const end = cluster.fillDisk(cluster.slavesOf(BROKER)[0]!, 0)
  t.true(await world.until(() => cluster.groups.head(BROKER)?.syncStateSet.length === 1, 400))
  const { revision } = cluster.groups.head(BROKER)!
  await world.advance(5_000)
  t.is(cluster.groups.head(BROKER)!.revision, revision, 'it neither comes nor goes while its disk is full')
  end()
  t.true(await world.until(() => cluster.groups.head(BROKER)?.syncStateSet.length === 2, LONG_MS))
  cluster.stopSending()
  await world.advance(2_000)
  await cluster.readLogs()
  t.deepEqual(check(cluster.history), [])
  await cluster.close()
  t.deepEqual(world.faults, [])
})

test('replicas: an order that messages may be lost is accepted when it is carried out, and else refused', async (t) => {
  const cluster = await replicas('sync')
  const { world } = cluster
  const [master, slave] = [cluster.masterOf(BROKER)!, cluster.slavesOf(BROKER)[0]!]
  const answered = async () => {
    const told: (number | null)[] = []
    cluster.orderUnclean(BROKER, slave.id, (code) => told.push(code))
    await world.until(() => told.length > 0, 2_000)
    return told[0]
  }
  cluster.crashBroker(slave)
  t.true(await world.until(() => cluster.groups.head(BROKER)?.syncStateSet.length === 1, LONG_MS))
  cluster.crashBroker(master)
  await world.advance(2_000)
  t.is(await answered(), codes.CONTROLLER_ELECT_MASTER_FAILED)
  cluster.startBroker(slave)
  await world.advance(1_000)
  t.is(await answered(), codes.SUCCESS)
  t.true(await world.until(() => roleOf(cluster, slave.id) === 'master', LONG_MS))
  await cluster.close()
  t.deepEqual(world.faults, [])
})
