/**
 * What a seed means: the shape of a cluster, what runs on it, and what goes wrong when.
 *
 * Each seed allows only some kinds of faults (swarm testing): one that does everything at once hides what two faults
 * alone would show. Every fifth seed is calm: consumers come and go cleanly, and nothing may be delivered twice.
 */
import type { Random } from '../../actors/node/world.ts'
import type { BrokerShape, Cluster, GroupShape, SenderShape } from './cluster.ts'
import { type Act, duration, replicaActs } from './replica-moves.ts'
import type { SimulatedProcess } from './world.ts'

export type Shape = {
  nameServers: number
  controllers: number
  detectMs?: number
  brokers: BrokerShape[]
  topics: Record<string, number>
  groups: (GroupShape & { members: number })[]
  senders: SenderShape[]
  /** The kinds of moves that happen, each as often as it stands here. */
  moves: Move[]
  /** Between two moves, on average. */
  everyMs: number
  faultyMs: number
}

type End = () => void | Promise<void>

const TOPIC = 'orders'

function onProcess(
  msMax: number,
  act: (cluster: Cluster, process: SimulatedProcess, random: Random) => End,
): Act {
  return (cluster, random) => {
    const process = cluster.pick(cluster.processes.filter(({ isPaused }) => !isPaused))
    return process && { end: act(cluster, process, random), afterMs: duration(random, msMax) }
  }
}

const crash =
  (options: { losesPower?: boolean; isSeen?: boolean }): Act =>
  (cluster, random) => {
    const broker = cluster.pick(cluster.brokers.filter(({ process }) => process))
    if (!broker) return
    cluster.crashBroker(broker, options)
    const end = () => {
      if (!broker.process) cluster.startBroker(broker)
    }
    return { end, afterMs: duration(random, 15_000) }
  }

const acts = {
  join(cluster) {
    const like = cluster.pick(groupsOf(cluster))
    if (like && cluster.members.length < 6) cluster.addMember(like, TOPIC)
    return undefined
  },
  leave(cluster) {
    const member = cluster.pick(cluster.members.filter(({ isLeaving }) => !isLeaving))
    if (member) cluster.leave(member)
    return undefined
  },
  crashConsumer(cluster, random) {
    const member = cluster.pick(cluster.members)
    if (member) cluster.crashMember(member, random.below(2) === 0)
    return undefined
  },
  crashBroker: crash({}),
  crashBrokerUnseen: crash({ isSeen: false }),
  losePower: crash({ losesPower: true }),
  restartBroker(cluster, random) {
    const broker = cluster.pick(cluster.brokers.filter(({ node }) => node))
    if (!broker) return
    cluster.stopBroker(broker)
    const end = () => {
      if (!broker.process) cluster.startBroker(broker)
    }
    return { end, afterMs: 6_000 + duration(random, 6_000) }
  },
  crashNameServer(cluster, random) {
    const server = cluster.pick(cluster.nameServers.filter(({ process }) => process))
    if (!server) return
    cluster.crashServer(server)
    const end = () => {
      if (!server.process) cluster.startServer(server)
    }
    return { end, afterMs: duration(random, 15_000) }
  },
  pause: onProcess(20_000, (cluster, process) => cluster.pause(process)),
  sever: onProcess(12_000, (cluster, process) => cluster.sever(process)),
  delay: onProcess(15_000, (cluster, process, random) => cluster.delay(process, 10 + random.below(2_000))),
  jumpClock: onProcess(1, (cluster, process, random) => {
    cluster.jumpClock(process, random.below(14_400_000) - 7_200_000)
    return () => {}
  }),
  partition(cluster, random) {
    const from = cluster.pick(cluster.processes)
    const to = cluster.pick(cluster.processes.filter((process) => process !== from))
    return from && to && { end: cluster.partition(from, to), afterMs: duration(random, 15_000) }
  },
  slowDisk(cluster, random) {
    const broker = cluster.pick(cluster.brokers)!
    return { end: cluster.slowDisk(broker, 20 + random.below(1_500)), afterMs: duration(random, 10_000) }
  },
  fillDisk(cluster, random) {
    const broker = cluster.pick(cluster.brokers)!
    return { end: cluster.fillDisk(broker, random.below(20_000)), afterMs: duration(random, 15_000) }
  },
  refuseWrites(cluster, random) {
    const broker = cluster.pick(cluster.brokers)!
    return { end: cluster.failDisk(broker, 'write', 'diskFull'), afterMs: duration(random, 8_000) }
  },
  breakDisk(cluster, random) {
    const broker = cluster.pick(cluster.brokers)!
    const stop = cluster.failDisk(broker, random.below(2) === 0 ? 'write' : 'sync', 'ioError', 1)
    const end = () => {
      stop()
      if (!broker.process) cluster.startBroker(broker)
    }
    return { end, afterMs: duration(random, 10_000) }
  },
} satisfies Record<string, Act>

const allActs: Record<Move, Act> = { ...acts, ...replicaActs }
export type Move = keyof typeof acts | keyof typeof replicaActs

/** One member of each group, or what one was like. */
const shapes = new WeakMap<Cluster, GroupShape[]>()
const groupsOf = (cluster: Cluster): GroupShape[] => shapes.get(cluster) ?? []

const movesOfAll = Object.keys(acts) as Move[]
const movesOfReplicas = Object.keys(replicaActs) as Move[]
export const everyMove: readonly Move[] = [...movesOfAll, ...movesOfReplicas]
const calm: Move[] = ['join', 'leave']
const calmOfReplicas: Move[] = [...calm, 'handOver', 'handOver']
/** Moves after which nothing may fail, and nothing may be delivered twice. */
export const isCalm = (moves: readonly Move[]): boolean =>
  moves.every((move) => calmOfReplicas.includes(move))

/** Two seeds of five have replicated brokers. */
export const isReplicated = (seed: number): boolean => seed % 5 === 0 || seed % 5 === 2

export const shapeOf = (seed: number, random: Random): Shape =>
  isReplicated(seed) ? replicatedShape(random) : singleShape(random)

const pickOne = <T>(random: Random, all: readonly T[]): T => all[random.below(all.length)]!

function replicatedShape(random: Random): Shape {
  const shape = singleShape(random)
  const isCalm = random.below(8) === 0
  const chosen = movesOfReplicas.filter(() => random.below(3) === 0)
  const others =
    random.below(3) > 0 ? [] : movesOfAll.filter((move) => !calm.includes(move) && random.below(5) === 0)
  const brokers = shape.brokers.slice(0, 2).map((broker, i): BrokerShape => {
    if (i > 0 && random.below(3) === 0) return broker
    const replicas = 2 + random.below(2)
    const group = {
      replication: random.below(3) === 0 ? ('async' as const) : ('sync' as const),
      replicas,
      minInSync: random.below(4) === 0 ? 2 : 1,
      maxLagBytes: pickOne(random, [4_096, 65_536]),
    }
    return { ...broker, flush: random.below(4) === 0 ? 'sync' : 'async', group }
  })
  return {
    ...shape,
    controllers: 1 + random.below(2),
    detectMs: pickOne(random, [1_000, 1_000, 3_000]),
    brokers,
    moves: isCalm ? calmOfReplicas : [...calm, ...chosen, ...chosen, ...chosen, ...others],
    everyMs: 800 + random.below(4_000),
  }
}

function singleShape(random: Random): Shape {
  const isCalm = random.below(5) === 0
  const chosen = movesOfAll.filter((move) => !calm.includes(move) && random.below(3) === 0)
  const flushes = random.below(3)
  const brokers = Array.from({ length: 1 + random.below(3) }, (_, i) => ({
    name: `broker-${'abc'[i]}`,
    flush: (flushes === 0 ? 'sync' : flushes === 1 ? 'async' : i === 0 ? 'sync' : 'async') as
      | 'sync'
      | 'async',
    segmentBytes: random.below(2) === 0 ? 32_768 : 1_048_576,
  }))
  return {
    nameServers: 1 + random.below(2),
    controllers: 0,
    brokers,
    topics: { [TOPIC]: 1 + random.below(4) },
    groups: Array.from({ length: 1 + random.below(2) }, (_, i) => ({
      group: `group${i}`,
      ordered: random.below(2) === 0,
      allocation: random.below(2) === 0 ? ('averagely' as const) : ('averagely-by-circle' as const),
      concurrency: [2, 4, 20][random.below(3)]!,
      handleMsMax: [1, 5, 20][random.below(3)]!,
      oneFailsOf: random.below(4) === 0 ? 50 : 0,
      members: 1 + random.below(3),
    })),
    senders: Array.from({ length: 1 + random.below(2) }, () => ({
      topic: TOPIC,
      messageGroups: random.below(4),
      everyMs: 100 + random.below(400),
      bodyBytesMax: [50, 300, 2_000][random.below(3)]!,
      timeoutMs: [1_000, 3_000, 10_000][random.below(3)]!,
    })),
    moves: isCalm ? calm : [...calm, ...chosen, ...chosen],
    everyMs: 500 + random.below(4_000),
    faultyMs: 25_000 + random.below(15_000),
  }
}

/** Lets things go wrong for a while, then ends all that was begun. Returns which moves were made. */
export async function disturb(cluster: Cluster, shape: Shape, random: Random): Promise<Move[]> {
  const { world } = cluster
  shapes.set(cluster, shape.groups)
  const made: Move[] = []
  let ends: { at: number; end: End }[] = []
  const now = () => world.clock.monotonic()
  const until = now() + shape.faultyMs
  let nextMove = now() + random.below(shape.everyMs)
  while (now() < until) {
    const nextEnd = Math.min(...ends.map(({ at }) => at))
    await world.advance(Math.max(0, Math.min(until, nextMove, nextEnd) - now()))
    for (const due of ends.filter(({ at }) => at <= now())) await due.end()
    ends = ends.filter(({ at }) => at > now())
    if (now() < nextMove || now() >= until) continue
    nextMove = now() + 1 + random.below(shape.everyMs * 2)
    const move = shape.moves[random.below(shape.moves.length)]!
    const act = allActs[move]
    made.push(move)
    const begun = act(cluster, random)
    if (begun) ends.push({ at: now() + begun.afterMs, end: begun.end })
  }
  cluster.tell('world', 'is healed')
  for (const { end } of ends) await end()
  return made
}
