/**
 * A cluster as operators run it: the server, the controller and every replica are processes, to be killed and paused.
 *
 * Where they meet is one of three homes: the listener of a node that serves the register, too; a nats-server whose
 * JetStream keeps the register; or a nats-server with a node that serves it. Every replica reaches its server through a
 * TCP proxy of its own when that is asked for. NOTHING of it outlives its scope.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type BrokerOverview,
  type Client,
  connect,
  type NodeOptions,
  type ReachableReplica,
  StateMQError,
} from '../../actors/index.ts'
import { natsPayloads } from './nats-payloads.ts'
import { type NatsServer, startNatsServer } from './nats-server.ts'
import { Processes, type Running, type Scope } from './processes.ts'
import { differenceOf } from './same-logs.ts'
import { startProxy, type TcpProxy } from './tcp-proxy.ts'
import { until } from './until.ts'

export type Home = 'listener' | 'jetstream' | 'nats'

export type ClusterSettings = {
  home: Home
  brokers: readonly string[]
  replicas: number
  replication: 'sync' | 'async'
  maxLagBytes?: number
  segmentBytes?: number
  detectMs: number
  /** Whether replicas, and `client`, reach the server through proxies. */
  proxied: boolean
  seed: number
}

const DEFAULTS: ClusterSettings = {
  home: 'listener',
  brokers: ['broker-a'],
  replicas: 2,
  replication: 'sync',
  detectMs: 1_000,
  proxied: false,
  seed: 1,
}
const nodeModule = new URL('./node-process.js', import.meta.url)

export type Launched = { readonly running: Running; readonly ready: Promise<void> }

export class ClusterOfProcesses {
  readonly settings: ClusterSettings
  /** Where the data of all of them lies: `<dir>/<broker>-<id>` and `<dir>/register`. */
  readonly dir: string
  readonly processes: Processes
  readonly nats: NatsServer | null
  readonly replicas: Replica[] = []
  #servers = ''
  #hub: Running | null = null
  #controller: Running | null = null
  readonly #scope: Scope

  private constructor(scope: Scope, settings: ClusterSettings, dir: string, nats: NatsServer | null) {
    this.#scope = scope
    this.settings = settings
    this.dir = dir
    this.nats = nats
    this.processes = new Processes(scope)
  }

  static async start(scope: Scope, given: Partial<ClusterSettings> = {}): Promise<ClusterOfProcesses> {
    const settings = { ...DEFAULTS, ...given }
    const dir = await mkdtemp(join(tmpdir(), 'statemq-test-'))
    scope.teardown(() => rm(dir, { recursive: true, force: true }))
    const isOwn = settings.home === 'listener'
    const nats = isOwn ? null : await startNatsServer({ jetstream: settings.home === 'jetstream' })
    if (nats !== null) scope.teardown(() => nats.stop())
    const cluster = new ClusterOfProcesses(scope, settings, dir, nats)
    await cluster.startHub()
    await cluster.startController()
    await cluster.#startReplicas()
    return cluster
  }

  /** Where everybody connects. */
  get servers(): string {
    return this.#servers
  }

  /** The name server; and what else of the home is no replica. The port stays when it is started anew. */
  async startHub(): Promise<void> {
    const { home } = this.settings
    const roles: NodeOptions['roles'] = home === 'jetstream' ? ['nameServer'] : ['register', 'nameServer']
    const port = this.#servers === '' ? 0 : Number(new URL(this.#servers).port)
    const way = this.nats === null ? { listen: { port } } : { servers: this.nats.url }
    const { running, ready } = this.launch({ roles, dir: this.dir, ...this.#register, ...way })
    this.#hub = running
    await ready
    this.#servers = running.ready.servers
  }

  async killHub(): Promise<void> {
    await this.#hub!.kill()
  }

  async startController(): Promise<void> {
    const { running, ready } = this.launch({
      roles: ['controller'],
      servers: this.#servers,
      failover: { detectMs: this.settings.detectMs },
      ...this.#register,
    })
    this.#controller = running
    await ready
  }

  async killController(): Promise<void> {
    await this.#controller!.kill()
  }

  /** Ends what was done to replicas and their ways. */
  mend(): void {
    for (const replica of this.replicas) {
      replica.proxy?.heal()
      replica.resume()
      if (!replica.isAlive) replica.start().catch(() => {}) // It is missed by whoever waits for it.
    }
  }

  /** What the processes say on stderr, for a person who looks for a cause. */
  words(): string {
    const all = [
      ['hub', this.#hub],
      ['controller', this.#controller],
      ...this.replicas.map(({ key, running }) => [key, running] as const),
    ] as const
    return all.map(([who, running]) => `--- ${who}\n${running?.errors ?? ''}`).join('\n')
  }

  launch(options: NodeOptions): Launched {
    return this.processes.launchModule(nodeModule, JSON.stringify(options))
  }

  async client(servers = this.#servers): Promise<Client> {
    const client = await connect({ servers, world: { log: { info() {}, warn() {}, error() {} } } })
    this.#scope.teardown(() => client.close())
    return client
  }

  /** A way to the server of somebody's own, to be delayed, cut and damaged. */
  async proxy(): Promise<TcpProxy> {
    const { seed } = this.settings
    const port = Number(new URL(this.#servers).port)
    const proxy = await startProxy(port, { seed, findPieces: natsPayloads })
    this.#scope.teardown(() => proxy.close())
    return proxy
  }

  replica(brokerName: string, brokerId: number): Replica {
    return this.replicas.find((one) => one.brokerName === brokerName && one.brokerId === brokerId)!
  }

  optionsOf(brokerName: string, brokerId: number, servers = this.#servers): NodeOptions {
    const { replicas, replication, maxLagBytes, segmentBytes, detectMs } = this.settings
    return {
      roles: ['broker'],
      broker: {
        ...{ name: brokerName, id: brokerId, replicas, replication },
        ...(maxLagBytes === undefined ? {} : { maxLagBytes }),
        ...(segmentBytes === undefined ? {} : { segmentBytes }),
      },
      dir: this.dir,
      servers,
      failover: { detectMs },
      ...this.#register,
    }
  }

  get #register(): Pick<NodeOptions, 'register'> {
    return { register: this.settings.home === 'jetstream' ? 'jetstream' : 'served' }
  }

  async #startReplicas(): Promise<void> {
    const { brokers, replicas, proxied } = this.settings
    for (const brokerName of brokers) {
      for (let id = 0; id < replicas; id++) {
        const proxy = proxied ? await this.proxy() : null
        this.replicas.push(new Replica(this, brokerName, id, proxy))
      }
    }
    await Promise.all(this.replicas.map((replica) => replica.start()))
  }

  // -------------------------------------------------------------------------------------------- how it is

  /** Null while nobody can tell. */
  async look(client: Client, brokerName: string): Promise<BrokerOverview | null> {
    try {
      return await client.admin().broker(brokerName)
    } catch (error) {
      if (error instanceof StateMQError) return null
      throw error
    }
  }

  /** The replica that is master, once there is one. */
  async masterOf(client: Client, brokerName = 'broker-a'): Promise<Replica> {
    let found: Replica | null = null
    await until(`${brokerName} has a master`, async () => {
      const id = (await this.look(client, brokerName))?.masterId ?? null
      found = id === null ? null : this.replica(brokerName, id)
      return found !== null
    })
    return found!
  }

  /** All replicas are in the sync state set and have stored the same, and that is confirmed. */
  async converged(client: Client, brokerName = 'broker-a', limitMs?: number): Promise<BrokerOverview> {
    let seen: BrokerOverview | null = null
    const isSo = async () => {
      seen = await this.look(client, brokerName)
      return seen !== null && isConverged(seen, this.settings.replicas)
    }
    const what = `all replicas of ${brokerName} are in sync and equal`
    await until(what, isSo, limitMs).catch((error: Error) => {
      throw new Error(`${error.message}\n${JSON.stringify(seen, null, 1)}\n${this.words()}`)
    })
    return seen!
  }

  /** Why the logs on the disks of the replicas are not the same, byte by byte; null when they are. */
  differenceOf(brokerName = 'broker-a'): Promise<string | null> {
    return differenceOf(this.replicas.filter((one) => one.brokerName === brokerName).map(({ dir }) => dir))
  }
}

function isConverged({ masterId, syncStateSet, replicas }: BrokerOverview, count: number): boolean {
  if (masterId === null || syncStateSet.length < count || replicas.length < count) return false
  const reachable = replicas.filter((one): one is ReachableReplica => one.reachable)
  const ends = new Set(
    reachable.flatMap(({ endPosition, confirmPosition }) => [endPosition, confirmPosition]),
  )
  return reachable.length === count && ends.size === 1
}

/** One replica: its folder stays, its process comes and goes. */
export class Replica {
  readonly brokerName: string
  readonly brokerId: number
  readonly proxy: TcpProxy | null
  running: Running | null = null
  isPaused = false
  readonly #cluster: ClusterOfProcesses

  constructor(cluster: ClusterOfProcesses, brokerName: string, brokerId: number, proxy: TcpProxy | null) {
    this.#cluster = cluster
    this.brokerName = brokerName
    this.brokerId = brokerId
    this.proxy = proxy
  }

  get key(): string {
    return `${this.brokerName}/${this.brokerId}`
  }
  get dir(): string {
    return join(this.#cluster.dir, `${this.brokerName}-${this.brokerId}`)
  }
  get isAlive(): boolean {
    return this.running !== null && !this.running.hasEnded
  }

  /** Resolves when it serves, or waits for the others; rejects when it ends before. */
  start(): Promise<void> {
    const { proxy, brokerName, brokerId } = this
    const servers = proxy === null ? this.#cluster.servers : `nats://127.0.0.1:${proxy.port}`
    const { running, ready } = this.#cluster.launch(this.#cluster.optionsOf(brokerName, brokerId, servers))
    this.running = running
    return ready
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(): Promise<void> {
    this.isPaused = false
    await this.running!.kill()
  }

  pause(): void {
    this.isPaused = true
    process.kill(this.running!.pid, 'SIGSTOP')
  }

  resume(): void {
    if (this.isPaused && this.isAlive) process.kill(this.running!.pid, 'SIGCONT')
    this.isPaused = false
  }
}
