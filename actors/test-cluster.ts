/**
 * A whole cluster in memory, for a user's own unit tests: no port, no file, ready in milliseconds.
 *
 * It is the production code in another World: a hub in place of NATS and a simulated disk in place of files.
 */
import { createHub } from '../transport/memory.ts'
import { type Client, connect } from './client.ts'
import { badInput } from './errors.ts'
import { type Node, startNode } from './node/node.ts'
import { consoleLog, realClock, realRandom } from './node/real-world.ts'
import { SimulatedDisk } from './node/simulated-disk.ts'

export type TestClusterOptions = {
  /** Single masters, `broker-a`, `broker-b`, …; default 1. */
  brokers?: number
  nameServers?: number
  flush?: 'sync' | 'async'
  autoCreateTopic?: boolean
  cluster?: string
}

export type TestCluster = {
  /** A client of its own connection. */
  connect(): Promise<Client>
  /** Stops a broker as a clean stop does, and starts it again from the same data. */
  restartBroker(name: string): Promise<void>
  close(): Promise<void>
}

const COLLECT_MS = 1

export async function createTestCluster(options: TestClusterOptions = {}): Promise<TestCluster> {
  const { brokers = 1, nameServers = 1, flush = 'async', autoCreateTopic = true, cluster = 'test' } = options
  if ('slaves' in options && options.slaves) {
    throw badInput(
      'slaves are not supported by this version: createTestCluster({ brokers: 2 })',
      'INVALID_PARAMETER',
    )
  }
  const random = realRandom()
  const log = consoleLog({ level: 'error' })
  const disk = new SimulatedDisk({ clock: realClock, random }).mount()
  const world = { clock: realClock, random, disk, log }
  const hub = createHub({ ...world, maxPayload: 8 * 1024 * 1024 })
  const clients: Client[] = []
  const nodes = new Map<string, Node>()

  const startOne = async (name: string) => {
    const transport = hub.connect(name)
    const common = { cluster, transport, world, collectMs: COLLECT_MS }
    const node = name.startsWith('broker-')
      ? await startNode({
          ...common,
          roles: ['broker'],
          broker: { name, flush, autoCreateTopic },
          dir: 'test',
        })
      : await startNode({ ...common, roles: ['nameServer'] })
    nodes.set(name, node)
  }
  for (let i = 0; i < nameServers; i++) await startOne(`name-server-${i}`)
  for (let i = 0; i < brokers; i++) await startOne(`broker-${String.fromCharCode(97 + i)}`)

  return {
    async connect() {
      const client = await connect({ cluster, transport: hub.connect(), world })
      clients.push(client)
      return client
    },
    async restartBroker(name) {
      const node = nodes.get(name)
      if (!node) throw badInput(`there is no broker '${name}' in this test cluster`, 'INVALID_PARAMETER')
      await node.close()
      await startOne(name)
    },
    async close() {
      await Promise.all(clients.map((client) => client.close()))
      for (const node of [...nodes.values()].reverse()) await node.close()
    },
  }
}
