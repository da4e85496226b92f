/**
 * What is done to a cluster of processes. The seed draws what, to whom, and for how long.
 *
 * Every fault is over when its promise resolves: whoever was killed is started, who stood still goes on, and cuts are
 * healed. That all is well again is for the caller to await.
 */
import { type Client, StateMQError } from '../../actors/index.ts'
import type { Random } from '../../actors/node/world.ts'
import type { ClusterOfProcesses, Replica } from '../support/cluster-of-processes.ts'
import type { Direction } from '../support/tcp-proxy.ts'
import type { Probe } from './probe.ts'

export type Counts = { kills: number; stops: number; cuts: number; handovers: number; restarts: number }
/** Milliseconds from a fault to the next acknowledged message; those of cuts are among the partitions. */
export type Measured = { failoverMs: number[]; partitionMs: number[]; cutMs: Record<Direction, number[]> }
export const nothingMeasured = (): Measured => ({
  ...{ failoverMs: [], partitionMs: [], cutMs: { in: [], out: [], both: [] } },
})

export type Target = {
  readonly cluster: ClusterOfProcesses
  readonly client: Client
  readonly random: Random
  readonly counts: Counts
  readonly measured: Measured
  readonly probe: Probe
  readonly master: Replica
  readonly slave: Replica
  readonly epoch: number
  /** Of a cut: 'in', what the replica sends is lost; 'out', what is sent to it. */
  readonly direction: Direction
}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))
const directions: readonly Direction[] = ['in', 'out', 'both']

/** For how long the broker acknowledged nothing, where that is measured; what was cut, where something was. */
export type Done = { outageMs?: number; direction?: Direction }

const faults = {
  async killMaster({ counts, measured, probe, master, epoch, random }: Target) {
    counts.kills++
    const at = performance.now()
    await master.kill()
    const outageMs = await probe.outage(epoch, at)
    measured.failoverMs.push(outageMs)
    await sleep(random.below(1_000))
    restart(master)
    return { outageMs }
  },

  async killSlave({ counts, slave, random }: Target) {
    counts.kills++
    await slave.kill()
    await sleep(random.below(2_000))
    restart(slave)
  },

  async killBoth({ counts, master, slave, random }: Target) {
    counts.kills += 2
    await slave.kill()
    await sleep(random.below(500))
    await master.kill()
    await sleep(random.below(500))
    for (const replica of random.below(2) === 0 ? [master, slave] : [slave, master]) restart(replica)
  },

  /** Longer than it takes to be missed. */
  async pauseMaster({ counts, measured, probe, master, epoch, random }: Target) {
    counts.stops++
    const at = performance.now()
    master.pause()
    const outageMs = await probe.outage(epoch, at)
    measured.partitionMs.push(outageMs)
    await sleep(random.below(1_000))
    master.resume()
    return { outageMs }
  },

  /** Shorter or longer than it takes to be missed. */
  async pauseSlave({ counts, slave, random }: Target) {
    counts.stops++
    slave.pause()
    await sleep(random.below(2_500))
    slave.resume()
  },

  async cutMaster({ counts, measured, probe, master, epoch, random, direction }: Target) {
    counts.cuts++
    const at = performance.now()
    master.proxy!.cut(direction)
    const outageMs = await probe.outage(epoch, at)
    measured.partitionMs.push(outageMs)
    measured.cutMs[direction].push(outageMs)
    await sleep(random.below(1_000))
    master.proxy!.heal()
    return { outageMs, direction }
  },

  async cutSlave({ counts, slave, random, direction }: Target) {
    counts.cuts++
    slave.proxy!.cut(direction)
    await sleep(random.below(2_500))
    slave.proxy!.heal()
    return { direction }
  },

  /** What only the master has is acknowledged to nobody. */
  async cutSlaveKillMaster({ counts, master, slave, random }: Target) {
    counts.cuts++
    counts.kills++
    slave.proxy!.cut('both')
    await sleep(random.below(800))
    await master.kill()
    slave.proxy!.heal()
    // Where it was missed already, the slave must NOT be master before the old one is back.
    await sleep(random.below(1_500))
    restart(master)
    return { direction: 'both' as const }
  },

  async handOver({ counts, client, slave }: Target) {
    try {
      await client.admin().promote(slave.brokerName, slave.brokerId)
      counts.handovers++
    } catch (error) {
      // Refused, because something else changed meanwhile: nothing was done.
      if (!(error instanceof StateMQError)) throw error
    }
  },

  async restartController({ cluster, counts, random }: Target) {
    counts.restarts++
    await cluster.killController()
    await sleep(random.below(1_000))
    await cluster.startController()
  },
}

export type FaultName = keyof typeof faults
export type Fault = { name: FaultName; direction: Direction }

/** It tells by itself when it cannot start: the cluster does not become well again. */
const restart = (replica: Replica): void => void replica.start().catch(() => {})

const weights: Readonly<{ [name in FaultName]: number }> = {
  ...{ killMaster: 5, killSlave: 2, killBoth: 1, pauseMaster: 2, pauseSlave: 1 },
  ...{ cutMaster: 2, cutSlave: 1, cutSlaveKillMaster: 2, handOver: 2, restartController: 1 },
}

/** All kinds are drawn; `only` is one kind, so many times. */
export type Only = { fault: 'killMaster' | 'cutMaster'; times: number } | null

/** What is done next, when so much was done before. Cuts of masters alone go by turns: of each direction a third. */
export function nextFault(only: Only, done: number, random: Random): Fault {
  const name = only === null ? drawFault(random) : only.fault
  const turn = only === null ? random.below(directions.length) : done % directions.length
  return { name, direction: directions[turn]! }
}

function drawFault(random: Random): FaultName {
  const names = Object.keys(weights) as FaultName[]
  let left = random.below(names.reduce((sum, name) => sum + weights[name], 0))
  for (const name of names) {
    left -= weights[name]
    if (left < 0) return name
  }
  return names[0]!
}

export const doFault = async (name: FaultName, target: Target): Promise<Done> =>
  (await faults[name](target)) ?? {}
