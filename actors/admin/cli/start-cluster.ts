/**
 * The cluster that `statemq start` starts: in this process, or, with slaves, every replica in a process of its own.
 *
 * It stops in an order in which nothing is lost and nothing is elected for a moment: FIRST the controller, so that nobody
 * takes a master's end for a failure; THEN the masters, whose slaves still acknowledge what is under way; then the slaves,
 * and LAST what carries and registers them all.
 */
import type { Settings } from './cli.ts'
import type { BrokerProcess, Flush, Library, NodeOptions, Replication, RunningNode } from './face.ts'

export interface ClusterOptions {
  brokers: number
  slaves: number
  nameServers: number
  flush: Flush
  replication: Exclude<Replication, 'none'>
  minInSync?: number
  dir: string
  port: number
  nats?: string
  autoCreate: boolean
}

export interface RunningCluster {
  readonly servers: string
  /** None when the brokers run in this process. */
  readonly processes: readonly BrokerProcess[]
  close(): Promise<void>
}

/** How the start tells of the replicas' logs and ends. */
export type Tell = (replica: string, line: string) => void

export function startCluster(
  library: Library,
  settings: Settings,
  options: ClusterOptions,
  names: readonly string[],
  failed: (message: string) => void,
  tell: Tell,
): Promise<RunningCluster> {
  const start = options.slaves === 0 ? startInOneProcess : startInProcesses
  return start(library, settings, options, names, failed, tell)
}

/** Nodes of this process, closed from the last to the first: the first holds the listener. */
class Nodes {
  readonly #library: Library
  readonly #common: Pick<NodeOptions, 'cluster' | 'failed'>
  readonly #running: RunningNode[] = []

  constructor(library: Library, common: Pick<NodeOptions, 'cluster' | 'failed'>) {
    this.#library = library
    this.#common = common
  }

  async start(node: Omit<NodeOptions, 'cluster' | 'failed'>): Promise<RunningNode> {
    const running = await this.#library.startNode({ ...node, ...this.#common })
    this.#running.push(running)
    return running
  }

  /** With the listener, or over the NATS that was given. */
  async startNameServers({ nats, port, nameServers }: ClusterOptions): Promise<RunningNode> {
    const first = await this.start({
      roles: ['nameServer'],
      ...(nats === undefined ? { listen: { port } } : { servers: nats }),
    })
    const { transport } = first
    for (let index = 1; index < nameServers; index++) await this.start({ roles: ['nameServer'], transport })
    return first
  }

  async close(): Promise<void> {
    for (const node of this.#running.splice(0).reverse()) await node.close()
  }
}

async function startInOneProcess(
  library: Library,
  { cluster }: Settings,
  options: ClusterOptions,
  names: readonly string[],
  failed: (message: string) => void,
): Promise<RunningCluster> {
  const nodes = new Nodes(library, { cluster, failed })
  const close = () => nodes.close()
  try {
    const { transport, servers } = await nodes.startNameServers(options)
    const { flush, autoCreate, dir } = options
    for (const name of names) {
      const broker = { name, id: 0, flush, autoCreateTopic: autoCreate }
      await nodes.start({ roles: ['broker'], broker, dir, transport })
    }
    return { servers, processes: [], close }
  } catch (error) {
    await close()
    throw error
  }
}

async function startInProcesses(
  library: Library,
  settings: Settings,
  options: ClusterOptions,
  names: readonly string[],
  failed: (message: string) => void,
  tell: Tell,
): Promise<RunningCluster> {
  const { cluster } = settings
  const nodes = new Nodes(library, { cluster, failed })
  const controllers = new Nodes(library, { cluster, failed })
  const processes: BrokerProcess[] = []
  let servers = ''
  const close = async () => {
    await controllers.close()
    const masters = await mastersOf(library, { cluster, servers }, processes)
    await Promise.all(masters.map((master) => master.stop()))
    await Promise.all(processes.map((replica) => replica.stop()))
    await nodes.close()
  }
  try {
    const first = await nodes.startNameServers(options)
    const { transport } = first
    servers = first.servers
    const { slaves, flush, autoCreate, replication, minInSync, dir } = options
    // A NATS with JetStream keeps the register itself.
    if (!transport.server?.hasJetStream) await nodes.start({ roles: ['register'], dir, transport })
    await controllers.start({ roles: ['controller'], transport })
    for (const name of names) {
      for (let id = 0; id <= slaves; id++) {
        const broker = {
          ...{ name, id, flush, autoCreateTopic: autoCreate, replication, replicas: slaves + 1 },
          ...(minInSync === undefined ? {} : { minInSync }),
        }
        const replica = `${name}/${id}`
        const told = (line: string) => tell(replica, line)
        processes.push(library.startBrokerProcess({ cluster, servers, broker, dir, tell: told }))
      }
    }
    // They wait for each other: all are started before any is awaited.
    await Promise.all(processes.map(({ ready }) => ready))
    return { servers, processes, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** The processes that are masters at this moment; none where that cannot be told soon. */
async function mastersOf(
  { connect }: Library,
  where: { cluster: string; servers: string },
  processes: readonly BrokerProcess[],
): Promise<readonly BrokerProcess[]> {
  if (processes.length === 0) return []
  try {
    const client = await connect(where)
    try {
      const masters = (await client.admin().brokers()).filter((one) => one.reachable && one.role === 'master')
      return processes.filter(({ brokerName, brokerId }) =>
        masters.some((master) => master.brokerName === brokerName && master.brokerId === brokerId),
      )
    } finally {
      await client.close()
    }
  } catch {
    return []
  }
}
