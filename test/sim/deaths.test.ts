/**
 * Consumers that are killed, each BEFORE the last one is missed: the production code in virtual time. What each had is read
 * again when ITS OWN session is over, whoever was killed meanwhile.
 */
import test from 'ava'
import { connect } from '../../actors/client.ts'
import { SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import type { Allocation } from '../../machines/allocation/index.ts'
import { queueKey } from '../../machines/topic.ts'
import { Cluster } from './cluster.ts'
import { type SimulatedProcess, SimulatedWorld } from './world.ts'

const SESSION_MS = 10_000
/** The division, which waits for others to go, and two rounds to the brokers. */
const LATE_MS_MAX = 300
const QUEUES = 8

type Given = { queue: string; to: string; at: number }

/** A group of four that has settled. */
async function groupOf(seed: number, allocation: Allocation) {
  const world = new SimulatedWorld(seed)
  const cluster = new Cluster(world)
  cluster.addNameServer('name-server')
  cluster.addBroker({ name: 'broker-a', flush: 'async', segmentBytes: 64 * 1024 * 1024 })
  await cluster.start({ orders: QUEUES })
  const owned = new Map<string, Set<string>>()
  const processes = new Map<string, SimulatedProcess>()
  const given: Given[] = []
  for (const name of ['a', 'b', 'c', 'd']) {
    const disk = new SimulatedDisk({ clock: world.clock, random: world.fork() })
    const process = world.process(name, disk)
    processes.set(name, process)
    const client = await cluster.settle(
      connect({ cluster: 'sim', transport: process.world.transport, world: process.world }),
      'connecting',
    )
    const consumer = client.consumer({ group: 'billing', clientId: name, from: 'first', allocation })
    consumer.assignment$.subscribe((now) => {
      const before = owned.get(name)
      const queues = new Set(now.map(queueKey))
      const at = world.clock.monotonic()
      for (const queue of queues) if (!before?.has(queue)) given.push({ queue, to: name, at })
      owned.set(name, queues)
    })
    consumer.subscribe('orders')
    void consumer.run(() => {})
  }
  await world.advance(20_000 + world.random.below(2_000))
  return {
    world,
    given,
    /** What it had is nobody's. */
    kill(name: string): string[] {
      processes.get(name)!.kill()
      return [...owned.get(name)!]
    },
  }
}

for (const allocation of ['averagely', 'sticky'] as const) {
  for (const gapMs of [1_500, 6_000, 7_500]) {
    test(`killed: what one had is read when its session is over, divided '${allocation}', and two more are killed, each ${gapMs} ms after the last`, async (t) => {
      t.timeout(600_000)
      for (const seed of [1, 2, 3]) {
        const { world, given, kill } = await groupOf(seed, allocation)
        const lost: { queue: string; of: string; at: number }[] = []
        for (const name of ['c', 'b', 'd']) {
          const at = world.clock.monotonic()
          for (const queue of kill(name)) lost.push({ queue, of: name, at })
          await world.advance(gapMs)
        }
        await world.advance(2 * SESSION_MS)
        t.true(lost.length >= 6)
        for (const { queue, of, at } of lost) {
          const next = given.find((one) => one.queue === queue && one.at > at)
          const ms = (next?.at ?? Infinity) - at
          t.true(ms <= SESSION_MS + LATE_MS_MAX, `seed ${seed}: ${queue} of ${of} waited for ${ms} ms`)
        }
        for (const process of world.processes) process.kill()
      }
    })
  }
}
