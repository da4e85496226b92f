/**
 * How fast a large group is balanced: the production code of brokers and consumers in the simulated world.
 *
 * First all members join within a second. Then, each after the last has settled: one joins, one leaves, a tenth dies. A
 * phase is over when every queue has exactly one owner that lives and everybody has as many as every other, or one more,
 * by what the consumers themselves say they own.
 */
import { type Client, connect } from '../../actors/client.ts'
import { type Node, startNode } from '../../actors/node/node.ts'
import { SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import type { Allocation } from '../../machines/allocation/index.ts'
import { queueKey } from '../../machines/topic.ts'
import { movesNeeded } from '../rebalance/figures.ts'
import { type SimulatedProcess, SimulatedWorld } from './world.ts'

export type SpeedSettings = {
  seed: number
  members: number
  queues: number
  brokers: number
  allocation: Allocation
  /** No phase may take longer, by the clock of the cluster. */
  limitMs: number
  tell(line: string): void
}

export type Phase = {
  name: string
  isConverged: boolean
  /** By the clock of the cluster. */
  tookMs: number
  /** Lists or targets that the coordinator made meanwhile. */
  rounds: number
  /** Queues whose owner is another one afterwards, against the fewest that balance the group. */
  moved: number
  needed: number
  /** Times a queue was given to somebody. */
  given: number
  /** Messages by what they were for: all, and of the most frequent kinds. */
  messages: number
  bytes: number
  kinds: Record<string, number>
  wallMs: number
}

export type SpeedReport = { phases: Phase[]; troubles: string[] }

const CLUSTER = 'sim'
const TOPIC = 'orders'
const GROUP = 'billing'
const START_MS = 10_000
const KINDS_SHOWN = 6
/** It is a phase's end when nothing has changed for so long. */
const CALM_MS = 1_000

type Member = { name: string; process: SimulatedProcess; client: Client | null; owned: Set<string> }

export async function rebalanceSpeed(settings: SpeedSettings): Promise<SpeedReport> {
  const { members, limitMs, tell } = settings
  const cluster = new Speed(settings)
  const phases: Phase[] = []
  const phase = async (name: string, disturb: () => void) => {
    const one = await cluster.phase(name, disturb, limitMs)
    phases.push(one)
    tell(`${name}: ${one.tookMs} ms`)
  }
  await cluster.start()
  await phase(`${members} join`, () => cluster.join(members, 1_000))
  await phase('1 joins', () => cluster.join(1, 0))
  await phase('1 leaves', () => cluster.leave())
  const dying = Math.ceil(members / 10)
  await phase(`${dying} die`, () => cluster.kill(dying))
  return { phases, troubles: cluster.world.faults }
}

class Speed {
  readonly world: SimulatedWorld
  readonly #settings: SpeedSettings
  readonly #nodes: Node[] = []
  readonly #members = new Map<string, Member>()
  #observer!: Client
  #names = 0
  #given = 0
  #messages = 0
  #bytes = 0
  #kinds = new Map<string, number>()
  #changedAt = 0

  constructor(settings: SpeedSettings) {
    this.#settings = settings
    this.world = new SimulatedWorld(settings.seed)
    this.world.network.tap = ({ subject, payload }) => {
      this.#messages++
      this.#bytes += payload.length
      if (subject.startsWith('_INBOX.')) return
      const kind = subject.slice(subject.lastIndexOf('.') + 1)
      this.#kinds.set(kind, (this.#kinds.get(kind) ?? 0) + 1)
    }
  }

  async start(): Promise<void> {
    const { brokers, queues } = this.#settings
    const names = Array.from({ length: brokers }, (_, i) => `broker-${String.fromCharCode(97 + i)}`)
    await this.#node('name-server', { roles: ['nameServer'] })
    for (const name of names) await this.#node(name, { roles: ['broker'], broker: { name }, dir: 'data' })
    this.#observer = await connectAs(this.#process('observer'))
    await this.world.advance(1_000)
    await this.#await(this.#observer.admin().createTopic(TOPIC, { queues: queues / brokers }))
  }

  async #node(name: string, options: Pick<Parameters<typeof startNode>[0], 'roles' | 'broker' | 'dir'>) {
    const { world } = this.#process(name)
    const failed = (message: string) => void this.world.faults.push(`${name} gave up: ${message}`)
    const started = startNode({ cluster: CLUSTER, transport: world.transport, world, failed, ...options })
    this.#nodes.push(await this.#await(started))
  }

  #process(name: string): SimulatedProcess {
    const { clock } = this.world
    const random = this.world.fork()
    return this.world.process(name, new SimulatedDisk({ clock, random, latencyMs: () => 0.1 }))
  }

  /** Lets time pass until it is there. */
  async #await<T>(promise: Promise<T>): Promise<T> {
    let isOver = false
    const over = () => {
      isOver = true
    }
    promise.then(over, over)
    if (!(await this.world.until(() => isOver, START_MS))) throw new Error('it does not answer')
    return promise
  }

  // ------------------------------------------------------------------------------------------------ members

  join(count: number, withinMs: number): void {
    for (let i = 0; i < count; i++) {
      const name = `member-${++this.#names}`
      const member: Member = { name, process: this.#process(name), client: null, owned: new Set() }
      this.#members.set(name, member)
      this.world.clock.after((withinMs * i) / count, () => this.#start(member))
    }
  }

  #start(member: Member): void {
    connectAs(member.process).then((client) => {
      member.client = client
      const { allocation } = this.#settings
      const consumer = client.consumer({ group: GROUP, clientId: member.name, allocation, from: 'first' })
      consumer.assignment$.subscribe((owned) => {
        const keys = owned.map(queueKey)
        this.#given += keys.filter((key) => !member.owned.has(key)).length
        member.owned = new Set(keys)
        this.#changedAt = this.world.clock.monotonic()
      })
      consumer.subscribe(TOPIC)
      void consumer.run(() => {})
    })
  }

  leave(): void {
    const member = this.#drawn()
    this.#members.delete(member.name)
    void member.client!.close()
  }

  kill(count: number): void {
    for (let i = 0; i < count; i++) {
      const member = this.#drawn()
      this.#members.delete(member.name)
      member.process.kill()
    }
  }

  #drawn(): Member {
    return [...this.#members.values()][this.world.random.below(this.#members.size)]!
  }

  // ------------------------------------------------------------------------------------------------- phases

  async phase(name: string, disturb: () => void, limitMs: number): Promise<Phase> {
    const { clock } = this.world
    const before = this.#owners()
    const generation = await this.#generation()
    const [at, wall] = [clock.monotonic(), performance.now()]
    this.#given = 0
    this.#messages = 0
    this.#bytes = 0
    this.#kinds.clear()
    disturb()
    this.#changedAt = at
    const isConverged = await this.world.until(() => this.#isBalanced(), limitMs)
    const tookMs = Math.round((isConverged ? this.#changedAt : clock.monotonic()) - at)
    const rounds = (await this.#generation()) - generation
    const after = this.#owners()
    const old = [...before]
    return {
      ...{ name, isConverged, tookMs, rounds },
      moved: old.filter(([queue, owner]) => after.get(queue) !== owner).length,
      needed: movesNeeded(
        old.map(([, owner]) => owner),
        [...this.#members.keys()],
      ),
      ...{ given: this.#given, messages: this.#messages, bytes: this.#bytes, kinds: this.#frequent() },
      wallMs: Math.round(performance.now() - wall),
    }
  }

  /** And has been for a while. */
  #isBalanced(): boolean {
    if (this.world.clock.monotonic() - this.#changedAt < CALM_MS) return false
    const { queues } = this.#settings
    const counts = [...this.#members.values()].map(({ owned }) => owned.size)
    const least = Math.floor(queues / counts.length)
    if (counts.some((count) => count < least || count > Math.ceil(queues / counts.length))) return false
    return counts.reduce((sum, count) => sum + count, 0) === queues && this.#owners().size === queues
  }

  #owners(): Map<string, string> {
    const owners = new Map<string, string>()
    for (const { name, owned } of this.#members.values()) for (const queue of owned) owners.set(queue, name)
    return owners
  }

  async #generation(): Promise<number> {
    if (this.#names === 0) return 0
    return (await this.#await(this.#observer.admin().group(GROUP))).generation
  }

  #frequent(): Record<string, number> {
    return Object.fromEntries([...this.#kinds].sort((a, b) => b[1] - a[1]).slice(0, KINDS_SHOWN))
  }
}

async function connectAs({ world }: SimulatedProcess): Promise<Client> {
  return connect({ cluster: CLUSTER, transport: world.transport, world })
}
