/** One seed, from the first start to the last check. */
import type { Random } from '../../actors/node/world.ts'
import { type Anomaly, check, type Happened } from '../support/history.ts'
import { Cluster } from './cluster.ts'
import type { Failover } from './failover-times.ts'
import { disturb, isCalm, type Move, type Shape, shapeOf } from './schedule.ts'
import { SimulatedWorld, type TraceLine } from './world.ts'

export type Result = {
  seed: number
  shape: Shape
  /** What must not have happened; empty for a good run. */
  faults: string[]
  anomalies: Anomaly[]
  /** Equal for two runs of one seed. */
  hash: string
  trace: readonly TraceLine[]
  history: readonly Happened[]
  counts: Cluster['counts']
  moves: Move[]
  failovers: readonly Failover[]
  /** How long the cluster ran, by its own clock. */
  ranMs: number
}

const TOPIC = 'orders'
const WARM_UP_MS = 2_000
const CONVERGE_MS = 180_000
/** After its faults are over, a cluster must take every message again. */
const SETTLE_MS = 8_000
const HEAL_MS = 60_000
/** So long a person waits for a broker that has no master. */
const PATIENCE_MS = 5_000
const STEP_MS = 100
const IDLE_MS = 2_000

export async function simulate(seed: number, listener?: (line: TraceLine) => void): Promise<Result> {
  const world = new SimulatedWorld(seed, listener)
  const random = world.fork()
  const shape = shapeOf(seed, random)
  const cluster = new Cluster(world)
  world.tell('world', JSON.stringify(shape))
  const moves: Move[] = []
  try {
    await run(cluster, shape, random, moves)
  } catch (error) {
    world.faults.push(error instanceof Error ? (error.stack ?? error.message) : String(error))
  }
  for (const process of world.processes) process.kill()
  const anomalies = check(cluster.history)
  for (const { name, what } of anomalies) world.note(`${name} ${what}`)
  const ranMs = world.clock.monotonic()
  const { faults, hash, trace } = world
  const { history, counts, failovers } = cluster
  return {
    ...{ seed, shape, faults, anomalies, hash, trace, history, counts, moves, ranMs },
    failovers: failovers.done,
  }
}

async function run(cluster: Cluster, shape: Shape, random: Random, moves: Move[]): Promise<void> {
  const { world } = cluster
  for (let i = 0; i < shape.nameServers; i++) cluster.addNameServer(`name-server-${i}`)
  cluster.detectMs = shape.detectMs
  for (let i = 0; i < shape.controllers; i++) cluster.addController(`controller-${i}`)
  for (const broker of shape.brokers) cluster.addBroker(broker)
  await cluster.start(shape.topics)
  shape.senders.forEach((sender, i) => {
    cluster.addSender(`sender-${i}`, sender)
  })
  for (const group of shape.groups) for (let i = 0; i < group.members; i++) cluster.addMember(group, TOPIC)
  await world.advance(WARM_UP_MS)

  moves.push(...(await disturb(cluster, shape, random)))
  if (isCalm(moves) && cluster.counts.failed > 0)
    world.faults.push(`${cluster.counts.failed} sends failed in good times`)

  cluster.restartAll()
  for (const group of shape.groups) {
    const isRead = cluster.members.some((member) => member.group === group.group && !member.isLeaving)
    if (!isRead) cluster.addMember(group, TOPIC)
  }
  await world.advance(SETTLE_MS)
  cluster.restartAll()
  await heal(cluster)
  await world.advance(SETTLE_MS)
  const { failed } = cluster.counts
  const { headAt } = cluster.groups
  await world.advance(SETTLE_MS)
  if (cluster.counts.failed > failed)
    throw new Error(`${cluster.counts.failed - failed} sends failed in good times`)
  if (cluster.groups.headAt > headAt) world.faults.push('a group changed in good times')
  cluster.stopSending()
  await converge(cluster, shape)
  await cluster.readLogs()
  await world.advance(IDLE_MS)
  cluster.compareLogs()
  await cluster.checkToldCuts()
  await cluster.close()
}

/** Every broker has a master and all its replicas in sync. */
async function heal(cluster: Cluster): Promise<void> {
  const { world } = cluster
  for (let waitedMs = 0; cluster.groupTrouble() !== null; waitedMs += STEP_MS) {
    if (waitedMs > HEAL_MS) {
      world.faults.push(`not healed: ${cluster.groupTrouble()}`)
      return
    }
    if (waitedMs > PATIENCE_MS) cluster.orderLastResorts()
    await world.advance(STEP_MS)
  }
}

async function converge(cluster: Cluster, shape: Shape): Promise<void> {
  const { world } = cluster
  const limit = world.clock.monotonic() + CONVERGE_MS
  for (const { group } of shape.groups) {
    for (;;) {
      const { event, trouble } = await cluster.look(group)
      const isLast = world.clock.monotonic() > limit
      if (trouble !== null && !isLast) {
        await world.advance(1_000)
        continue
      }
      if (trouble !== null) world.faults.push(`${group} did not converge: ${trouble}`)
      cluster.happened(event)
      world.tell(group, trouble ?? 'has settled')
      break
    }
  }
}
