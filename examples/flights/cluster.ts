/**
 * The demo's cluster: name server, register and controller in this process, and every replica of a broker in a process
 * of its own, so that one can be killed and the others know nothing of it but that it is gone.
 */
import { type BrokerProcess, type Node, startBrokerProcess, startNode } from '../../actors/index.ts'
import { consoleLog } from '../../actors/node/real-world.ts'

export const BROKERS = ['broker-a', 'broker-b']
export const REPLICAS = 2

/** A killed process is missed at once. On a busy machine, one that is merely slow is not to be taken for dead. */
const DETECT_MS = 3_000

export type DemoCluster = {
  readonly servers: string
  /** SIGKILL: the process ends as in a power cut. It is started again by itself. */
  kill(brokerName: string, brokerId: number): void
  close(): Promise<void>
}

export async function startCluster(cluster: string, dir: string): Promise<DemoCluster> {
  const processes: BrokerProcess[] = []
  const nodes: Node[] = []
  const close = async () => {
    // The controller goes first, or it would take the end of the masters for a failure.
    await nodes.pop()?.close()
    await Promise.all(processes.map((replica) => replica.stop()))
    await nodes.pop()?.close()
  }
  try {
    const world = { log: consoleLog({ level: 'error' }) }
    const carrier = await startNode({
      ...{ cluster, world, dir },
      ...{ roles: ['nameServer', 'register'], listen: { port: 0 } },
    })
    nodes.push(carrier)
    const { servers, transport } = carrier
    const failover = { detectMs: DETECT_MS }
    nodes.push(await startNode({ cluster, world, roles: ['controller'], transport, failover }))
    for (const name of BROKERS) {
      for (let id = 0; id < REPLICAS; id++) {
        const broker = { name, id, replication: 'sync', replicas: REPLICAS } as const
        processes.push(startBrokerProcess({ cluster, servers, dir, broker, detectMs: DETECT_MS }))
      }
    }
    // They wait for each other: all are started before any is awaited.
    await Promise.all(processes.map(({ ready }) => ready))
    return {
      servers,
      kill(brokerName, brokerId) {
        const replica = processes.find((one) => one.brokerName === brokerName && one.brokerId === brokerId)
        if (replica?.pid) process.kill(replica.pid, 'SIGKILL')
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}
