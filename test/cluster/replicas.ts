/** A broker with replicas in memory, as the production code runs it, and what can befall its master. */
import type { ExecutionContext } from 'ava'
import { type Client, connect, type Node, startNode } from '../../actors/index.ts'
import { realRandom } from '../../actors/node/real-world.ts'
import { SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import { ask } from '../../transport/codec.ts'
import { createHub, type MemoryTransport } from '../../transport/memory.ts'
import type { BrokerDescription, GroupOnBroker } from '../../transport/messages.ts'
import { createRegisterHub } from '../../transport/register-memory.ts'
import { type Subject, subjectsOf } from '../../transport/subjects.ts'
import { patientClock } from '../support/patient-clock.ts'
import { notedLog } from '../support/transports.ts'
import { until } from '../support/until.ts'

export const BROKER = 'broker-a'
/** Silence is no sign of death on a machine that has other work to do; a process that is gone is noticed at once. */
const DETECT_MS = 5_000

type Replica = { node: Node; transport: MemoryTransport }

export type ReplicaSet = {
  connect(): Promise<Client>
  /** The client's process is gone: nothing of it is heard any more. */
  kill(client: Client): void
  /** The replica that is master of the latest epoch, as it says itself. */
  master(): Promise<BrokerDescription>
  /** Resolves when all replicas hold all that is confirmed. */
  inSync(): Promise<void>
  /** From one moment to the next nothing of this replica is heard any more, and it hears nothing. */
  cutOff(brokerId: number): void
  mend(brokerId: number): void
  /** An operator orders it; resolves with the epoch in which the other one is master. */
  handOver(to: number): Promise<number>
  /** What a group has committed, as the master tells. */
  committed(group: string): Promise<GroupOnBroker['queues']>
  /** Of a group that this broker coordinates. */
  members(group: string): Promise<GroupOnBroker['members']>
  stopController(): Promise<void>
  startController(): Promise<void>
}

const nameOf = (brokerId: number): string => `replica-${brokerId}`

export async function replicaSet(
  t: ExecutionContext,
  { replicas = 2, others = 0 } = {},
): Promise<ReplicaSet> {
  const log = notedLog()
  const random = realRandom()
  const disk = new SimulatedDisk({ clock: patientClock, random }).mount()
  const world = { clock: patientClock, random, disk, log }
  const hub = createHub({ ...world, maxPayload: 8 * 1024 * 1024 })
  const isCutOff = new Set<string>()
  const registers = createRegisterHub({
    ...world,
    route: ({ member }, carry) => {
      if (!isCutOff.has(member)) carry()
    },
  })
  const nodes: Node[] = []
  const set = new Map<number, Replica>()
  const common = (member?: string) => ({
    cluster: 'test',
    world,
    collectMs: 1,
    dir: 'test',
    failover: { detectMs: DETECT_MS },
    register: registers.connect(member),
  })
  let controller: Node | null = null
  const startController = async () => {
    controller = await startNode({ ...common(), transport: hub.connect(), roles: ['controller'] })
  }

  const mend = (brokerId: number) => {
    isCutOff.delete(nameOf(brokerId))
    set.get(brokerId)!.transport.mend()
  }

  nodes.push(await startNode({ ...common(), transport: hub.connect(), roles: ['nameServer'] }))
  await startController()
  await Promise.all(
    Array.from({ length: replicas }, async (_, id) => {
      const transport = hub.connect(nameOf(id))
      const broker = { name: BROKER, id, replicas, replication: 'sync' } as const
      set.set(id, {
        transport,
        node: await startNode({ ...common(nameOf(id)), transport, roles: ['broker'], broker }),
      })
    }),
  )
  for (let i = 0; i < others; i++) {
    const broker = { name: `broker-${String.fromCharCode(98 + i)}` }
    nodes.push(await startNode({ ...common(), transport: hub.connect(), roles: ['broker'], broker }))
  }
  const clients = new Map<Client, MemoryTransport>()
  t.teardown(async () => {
    for (const brokerId of set.keys()) mend(brokerId)
    for (const transport of clients.values()) transport.mend()
    await Promise.all([...clients.keys()].map((client) => client.close()))
    await controller?.close()
    for (const { node } of [...set.values(), ...nodes.map((node) => ({ node }))]) await node.close()
  })

  const connectOne = async () => {
    const transport = hub.connect()
    const client = await connect({ cluster: 'test', transport, world })
    clients.set(client, transport)
    return client
  }
  const subjects = subjectsOf('test')
  const operator = hub.connect('operator')
  /** Null when nobody answers, or the order is refused. */
  const order = <Request, Value>(subject: Subject<Request, Value>, request: Request) =>
    new Promise<Value | null>((resolve) =>
      ask(operator, subject, request, 5_000, (outcome) =>
        resolve(outcome.ok && 'value' in outcome.value ? outcome.value.value : null),
      ),
    )
  const master = async () => {
    let found: BrokerDescription | null = null
    await until('a replica is master', async () => {
      const all = await Promise.all(
        [...set.keys()].map((id) => order(subjects.brokerProcess(BROKER, id).describe, {})),
      )
      // One that was cut off may still believe that it is.
      found = all
        .filter((description) => description?.role === 'master')
        .reduce((newest, other) => (other!.epoch > (newest?.epoch ?? 0) ? other : newest), null)
      return found !== null
    })
    return found as unknown as BrokerDescription
  }
  const described = async (group: string) =>
    order(subjects.broker(BROKER, (await master()).epoch).group, { group })
  return {
    connect: connectOne,
    kill: (client) => clients.get(client)!.sever(),
    master,
    inSync: () =>
      until(
        `${replicas} replicas are in sync`,
        async () => (await master()).syncStateSet.length === replicas,
      ),
    async handOver(to) {
      const { epoch } = await master()
      const answer = await order(subjects.broker(BROKER, epoch).handOver, { brokerId: to })
      if (answer === null) throw new Error(`${BROKER} is not handed over to ${to}`)
      return answer.epoch
    },
    cutOff(brokerId) {
      isCutOff.add(nameOf(brokerId))
      set.get(brokerId)!.transport.sever()
    },
    mend,
    committed: async (group) => (await described(group))?.queues ?? [],
    members: async (group) => (await described(group))?.members ?? [],
    async stopController() {
      await controller?.close()
      controller = null
    },
    startController,
  }
}
