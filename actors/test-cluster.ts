/**
 * A whole cluster in memory, for a user's own unit tests: no port, no file, ready in milliseconds.
 *
 * It is the production code in another World: a hub in place of NATS and a simulated disk in place of files.
 */
import { createHub, type MemoryTransport } from '../transport/memory.ts'
import { createRegisterHub } from '../transport/register-memory.ts'
import { type Client, connect } from './client.ts'
import { badInput } from './errors.ts'
import { type Node, startNode } from './node/node.ts'
import { consoleLog, realClock, realRandom } from './node/real-world.ts'
import { SimulatedDisk } from './node/simulated-disk.ts'
import type { Clock } from './node/world.ts'
import { type Names, refuseUnknown } from './options.ts'

export type TestClusterOptions = {
  /** `broker-a`, `broker-b`, …; default 1. */
  brokers?: number
  /** Of each broker; default 0: single masters. */
  slaves?: number
  /** With slaves; default 'sync'. */
  replication?: 'sync' | 'async'
  nameServers?: number
  flush?: 'sync' | 'async'
  autoCreateTopic?: boolean
  /** RocketMQ's messageDelayLevel, 18 pauses: short ones let a test see a message retried to its end. */
  messageDelayLevel?: string
  cluster?: string
}

// biome-ignore format: one name a line says no more
const testClusterOptions: Names<TestClusterOptions> = {
  brokers: true, slaves: true, replication: true, nameServers: true, flush: true,
  autoCreateTopic: true, messageDelayLevel: true, cluster: true,
}

export type TestCluster = {
  /** A client of its own connection. */
  connect(): Promise<Client>
  /** Stops a replica as a clean stop does, and starts it again from the same data; `id` is 0 unless there are slaves. */
  restartBroker(name: string, id?: number): Promise<void>
  /** Cuts a replica off, at once and without a word; for the others it is gone. */
  isolateBroker(name: string, id?: number): void
  /** Connects it again. */
  reconnectBroker(name: string, id?: number): void
  close(): Promise<void>
}

type Running = { node: Node; transport: MemoryTransport }

const COLLECT_MS = 1

export const createTestCluster = (options: TestClusterOptions = {}): Promise<TestCluster> =>
  startTestCluster(options, realClock)

/** The same on another clock. */
export async function startTestCluster(options: TestClusterOptions, clock: Clock): Promise<TestCluster> {
  refuseUnknown('createTestCluster', options, testClusterOptions)
  const { brokers = 1, slaves = 0, nameServers = 1, flush = 'async', autoCreateTopic = true } = options
  const { cluster = 'test', replication = 'sync', messageDelayLevel } = options
  checkCount('brokers', brokers, 1, 26)
  checkCount('slaves', slaves, 0, 8)
  checkCount('nameServers', nameServers, 1, 16)
  const random = realRandom()
  const log = consoleLog({ level: 'error' })
  const disk = new SimulatedDisk({ clock, random }).mount()
  const world = { clock, random, disk, log }
  const hub = createHub({ ...world, maxPayload: 8 * 1024 * 1024 })
  const registers = createRegisterHub(world)
  const clients: Client[] = []
  const running = new Map<string, Running>()

  const start = async (
    name: string,
    rest: Omit<Parameters<typeof startNode>[0], 'cluster' | 'transport' | 'world'>,
  ) => {
    const transport = hub.connect(name)
    const register = registers.connect(name)
    const node = await startNode({ cluster, transport, world, register, collectMs: COLLECT_MS, ...rest })
    running.set(name, { node, transport })
  }
  const startBroker = (name: string, id: number) => {
    const replicas = slaves === 0 ? {} : { id, replication, replicas: slaves + 1 }
    return start(`${name}/${id}`, {
      roles: ['broker'],
      broker: {
        ...{ name, flush, autoCreateTopic, ...replicas },
        ...(messageDelayLevel === undefined ? {} : { messageDelayLevel }),
      },
      dir: 'test',
    })
  }
  const replica = (name: string, id: number): Running => {
    const found = running.get(`${name}/${id}`)
    if (!found) throw badInput(`there is no broker '${name}/${id}' in this test cluster`, 'INVALID_PARAMETER')
    return found
  }

  for (let i = 0; i < nameServers; i++) await start(`name-server-${i}`, { roles: ['nameServer'] })
  if (slaves > 0) await start('controller', { roles: ['controller'] })
  // All at once: the replicas of a broker wait for each other the first time.
  const starting: Promise<void>[] = []
  for (let i = 0; i < brokers; i++) {
    for (let id = 0; id <= slaves; id++)
      starting.push(startBroker(`broker-${String.fromCharCode(97 + i)}`, id))
  }
  await Promise.all(starting)

  return {
    async connect() {
      const client = await connect({ cluster, transport: hub.connect(), world })
      clients.push(client)
      return client
    },
    async restartBroker(name, id = 0) {
      await replica(name, id).node.close()
      await startBroker(name, id)
    },
    isolateBroker: (name, id = 0) => replica(name, id).transport.sever(),
    reconnectBroker: (name, id = 0) => replica(name, id).transport.mend(),
    async close() {
      await Promise.all(clients.map((client) => client.close()))
      for (const { node } of [...running.values()].reverse()) await node.close()
    },
  }
}

function checkCount(name: string, count: number, least: number, most: number): void {
  if (Number.isInteger(count) && count >= least && count <= most) return
  throw badInput(`${name} ${count}: give a whole number from ${least} to ${most}`, 'INVALID_PARAMETER')
}
