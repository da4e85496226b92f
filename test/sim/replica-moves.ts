/**
 * What goes wrong with replicated brokers: a master or a slave dies, sleeps, is cut off, has a slow disk or none left;
 * controllers and the register are away; mastership is handed over.
 */
import type { Random } from '../../actors/node/world.ts'
import type { Cluster, Replica } from './cluster.ts'
import { REGISTER } from './register-link.ts'

type End = () => void | Promise<void>
/** Does it, and returns how it ends, when it does not end by itself. */
export type Act = (cluster: Cluster, random: Random) => { end: End; afterMs: number } | undefined

/** Most things are short, some are long. */
export const duration = (random: Random, msMax: number): number =>
  1 + random.below(random.below(3) === 0 ? msMax : Math.ceil(msMax / 8))

/** Of one broker, by chance: its master, or one of the others. */
const aMaster = (cluster: Cluster): Replica | undefined => {
  const name = cluster.pick(cluster.groupNames)
  return name === undefined ? undefined : cluster.masterOf(name)
}
const aSlave = (cluster: Cluster): Replica | undefined => {
  const name = cluster.pick(cluster.groupNames)
  return name === undefined ? undefined : cluster.pick(cluster.slavesOf(name))
}

const restart = (cluster: Cluster, replicas: readonly Replica[]) => () => {
  for (const replica of replicas) if (!replica.process) cluster.startBroker(replica)
}

const crash =
  (
    who: (cluster: Cluster) => Replica | undefined,
    options: { losesPower?: boolean; isSeen?: boolean },
  ): Act =>
  (cluster, random) => {
    const replica = who(cluster)
    if (!replica) return
    cluster.crashBroker(replica, options)
    return { end: restart(cluster, [replica]), afterMs: duration(random, 15_000) }
  }

const pause =
  (who: (cluster: Cluster) => Replica | undefined): Act =>
  (cluster, random) => {
    const process = who(cluster)?.process
    if (!process || process.isPaused) return
    return { end: cluster.pause(process), afterMs: 500 + duration(random, 12_000) }
  }

/** Nothing that the first say reaches the others. */
function cut(
  cluster: Cluster,
  from: readonly { name: string }[],
  to: readonly { name: string }[],
  isTold = false,
): () => void {
  const ends = from.flatMap((one) => to.map((other) => cluster.partition(one, other, isTold)))
  return () => {
    for (const end of ends) end()
  }
}

const processesOf = (all: readonly { process: { name: string } | null }[]): { name: string }[] =>
  all.flatMap(({ process }) => (process ? [process] : []))

/** The master does not reach some others, or they do not reach it, or both. */
const isolateFrom =
  (others: (cluster: Cluster, master: Replica) => readonly { name: string }[]): Act =>
  (cluster, random) => {
    const master = aMaster(cluster)
    if (!master?.process) return
    const ways = random.below(3)
    const here = [master.process]
    const there = others(cluster, master)
    const ends = [
      ways === 1 ? () => {} : cut(cluster, here, there),
      ways === 2 ? () => {} : cut(cluster, there, here),
    ]
    const end = () => {
      for (const mend of ends) mend()
    }
    return { end, afterMs: 200 + duration(random, 12_000) }
  }

const slaves = (cluster: Cluster, { name }: Replica) => processesOf(cluster.slavesOf(name))
const controllers = (cluster: Cluster) => processesOf(cluster.controllers)
const register = () => [{ name: REGISTER }]

const clients = (cluster: Cluster) => [...processesOf(cluster.senders), ...processesOf(cluster.members)]
const elsewhere = (cluster: Cluster, master: Replica) => [
  ...slaves(cluster, master),
  ...controllers(cluster),
  ...processesOf(cluster.nameServers),
  ...register(),
]

export const replicaActs = {
  killMaster: crash(aMaster, {}),
  killMasterUnseen: crash(aMaster, { isSeen: false }),
  killSlave: crash(aSlave, {}),
  killSlaveUnseen: crash(aSlave, { isSeen: false }),
  powerOffMaster: crash(aMaster, { losesPower: true }),
  powerOffSlave: crash(aSlave, { losesPower: true }),
  powerOffSlaveThenMaster(cluster, random) {
    const slave = aSlave(cluster)
    if (!slave) return
    cluster.crashBroker(slave, { losesPower: true })
    const down = [slave]
    let isOver = false
    cluster.world.clock.after(random.below(6_000), () => {
      const master = cluster.masterOf(slave.name)
      if (!master || isOver) return
      cluster.crashBroker(master, { losesPower: true })
      down.push(master)
    })
    cluster.world.clock.after(random.below(3_000), restart(cluster, [slave]))
    const end = () => {
      isOver = true
      restart(cluster, down)()
    }
    return { end, afterMs: 6_000 + duration(random, 9_000) }
  },
  powerOffAll(cluster, random) {
    const name = cluster.pick(cluster.groupNames)
    if (name === undefined || random.below(3) > 0) return
    const replicas = cluster.replicasOf(name).filter(({ process }) => process)
    for (const replica of replicas) cluster.crashBroker(replica, { losesPower: true })
    return { end: restart(cluster, replicas), afterMs: duration(random, 8_000) }
  },
  killEverything(cluster, random) {
    const down = cluster.brokers.filter(({ process }) => process)
    for (const replica of down) cluster.crashBroker(replica)
    const servers = cluster.controllers.filter(({ process }) => process)
    for (const server of servers) cluster.crashServer(server)
    const end = () => {
      restart(cluster, down)()
      for (const server of servers) if (!server.process) cluster.startServer(server)
    }
    return { end, afterMs: duration(random, 4_000) }
  },
  pauseMaster: pause(aMaster),
  pauseSlave: pause(aSlave),
  severMaster(cluster, random) {
    const process = aMaster(cluster)?.process
    if (!process) return
    return { end: cluster.sever(process), afterMs: 100 + duration(random, 10_000) }
  },
  crashController(cluster, random) {
    const server = cluster.pick(cluster.controllers.filter(({ process }) => process))
    if (!server) return
    cluster.crashServer(server)
    const end = () => {
      if (!server.process) cluster.startServer(server)
    }
    return { end, afterMs: duration(random, 15_000) }
  },
  cutReplication: isolateFrom(slaves),
  cutRegister: isolateFrom(register),
  cutControllers: isolateFrom(controllers),
  /** Clients still reach it: a master that has yet to learn that it is none any more. */
  isolateMaster: isolateFrom((cluster, master) => [
    ...slaves(cluster, master),
    ...controllers(cluster),
    ...register(),
  ]),
  /** Clients are with it on the wrong side, and hear of no other master; it is silent there, or gone at once. */
  isolateMasterAndClients(cluster, random) {
    const master = aMaster(cluster)
    if (!master?.process) return
    const here = [master.process, ...clients(cluster)]
    const there = elsewhere(cluster, master)
    const isTold = random.below(2) === 0
    const ends = [cut(cluster, here, there, isTold), cut(cluster, there, here, isTold)]
    const end = () => {
      for (const mend of ends) mend()
    }
    return { end, afterMs: 500 + duration(random, 10_000) }
  },
  disturbRegister(cluster, random) {
    const trouble = { oneLostOf: 1 + random.below(8), delayMs: random.below(3_000) }
    return { end: cluster.disturbRegister(trouble), afterMs: duration(random, 15_000) }
  },
  /** Now and then it dies of it, with all that it has not written. */
  slowSlaveDisk(cluster, random) {
    const slave = aSlave(cluster)
    if (!slave) return
    const mend = cluster.slowDisk(slave, 100 + random.below(4_000))
    const dies = random.below(3) === 0
    const end = () => {
      mend()
      if (!dies || !slave.process) return
      cluster.crashBroker(slave)
      cluster.startBroker(slave)
    }
    return { end, afterMs: 1_000 + duration(random, 14_000) }
  },
  /** The log reaches the slaves late, or what they have of it comes late to the master, who may be cut off then. */
  slowReplication(cluster, random) {
    const master = aMaster(cluster)
    if (!master?.process) return
    const { process } = master
    const others = slaves(cluster, master)
    const ms = 50 + random.below(4_000)
    const ways = random.below(3)
    const ends = others.flatMap((slave) => [
      ways === 1 ? () => {} : cluster.delayLink(process, slave, ms),
      ways === 2 ? () => {} : cluster.delayLink(slave, process, ms),
    ])
    let isOver = false
    const end = () => {
      isOver = true
      for (const mend of ends) mend()
    }
    if (random.below(3) > 0) return { end, afterMs: 1_000 + duration(random, 12_000) }
    cluster.world.clock.after(500 + random.below(4_000), () => {
      if (isOver) return
      const here = [process, ...clients(cluster)]
      const there = elsewhere(cluster, master)
      const isTold = random.below(2) === 0
      ends.push(cut(cluster, here, there, isTold), cut(cluster, there, here, isTold))
    })
    return { end, afterMs: 5_000 + duration(random, 8_000) }
  },
  fillSlaveDisk(cluster, random) {
    const slave = aSlave(cluster)
    return slave && { end: cluster.fillDisk(slave, random.below(20_000)), afterMs: duration(random, 15_000) }
  },
  slowReplica(cluster, random) {
    const replica = random.below(2) === 0 ? aMaster(cluster) : aSlave(cluster)
    if (!replica?.process) return
    return {
      end: cluster.delay(replica.process, 10 + random.below(1_500)),
      afterMs: duration(random, 15_000),
    }
  },
  /** A slave comes back; the master never hears that it is a member again, and dies when it has more than that one. */
  changeInDoubt(cluster, random) {
    const slave = aSlave(cluster)
    const master = slave && cluster.masterOf(slave.name)
    if (!slave || !master?.process) return
    const { process } = master
    const { clock } = cluster.world
    const ends: (() => void)[] = []
    let isOver = false
    const at = (ms: number, act: () => void) => clock.after(ms, () => isOver || act())
    cluster.crashBroker(slave)
    const backAt = 2_000 + random.below(2_000)
    at(backAt, () => {
      ends.push(cut(cluster, register(), [process]))
      restart(cluster, [slave])()
    })
    at(backAt + 20 + random.below(600), () => {
      if (slave.process) ends.push(cluster.delayLink(process, slave.process, 1_000 + random.below(3_000)))
    })
    at(backAt + 600 + random.below(2_000), () => {
      if (master.process === process) cluster.crashBroker(master)
    })
    const end = () => {
      isOver = true
      for (const mend of ends) mend()
      restart(cluster, [slave, master])()
    }
    return { end, afterMs: 7_000 + duration(random, 6_000) }
  },
  handOver(cluster) {
    const successor = aSlave(cluster)
    if (successor) cluster.handOver(successor)
    return undefined
  },
} satisfies Record<string, Act>
