/** Replicas in the simulated World: single turns of events, with times that are exact. */
import test from 'ava'
import { Cluster } from './cluster.ts'
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
