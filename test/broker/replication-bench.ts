/**
 * The replicas of one broker in the simulated World: real stores on simulated disks, and the two sides of the stream.
 *
 * There is no role here: a test says who leads and who follows. What the master calls confirmed is looked up at once on
 * the disks of all that count, without asking the code under test.
 */

import { type ReplicationSettings, sessions } from '../../actors/broker/replication/context.ts'
import { Followers } from '../../actors/broker/replication/followers.ts'
import { Following } from '../../actors/broker/replication/following.ts'
import { cutLog, emptyLog } from '../../actors/broker/store/cut.ts'
import { logFolder, segmentPath } from '../../actors/broker/store/layout.ts'
import { openStore, type Store, type StoreOptions } from '../../actors/broker/store/store.ts'
import { type DiskOperation, SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import type { Clock, Random } from '../../actors/node/world.ts'
import type { Json } from '../../machines/effect.ts'
import type { Member } from '../../machines/group-state.ts'
import { maximalSet } from '../../machines/peer-replica.ts'
import type { Outcome } from '../../transport/failures.ts'
import { kinds } from '../../transport/frames.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import type { Transport } from '../../transport/transport.ts'
import { type SimulatedProcess, SimulatedWorld } from '../sim/world.ts'
import { messages } from '../store/support.ts'

const FOLDER = '/data'
export const BROKER = 'a'
export const subjects = subjectsOf('test')

export type Sizes = Partial<Omit<StoreOptions, 'folder' | 'cluster' | 'broker'>>

/** What goes wrong on the way of the stream, in one of so many; 0 for never. */
export type Trouble = { lost: number; repeated: number; late: number; damaged: number }
export const NO_TROUBLE: Trouble = { lost: 0, repeated: 0, late: 0, damaged: 0 }

export class Replica {
  readonly id: number
  readonly disk: SimulatedDisk
  readonly told: string[] = []
  /** How long an operation of its disk takes at most. */
  slowMs = 0
  incarnation = 0
  lineage = 1
  process!: SimulatedProcess
  transport!: Transport
  store!: Store
  followers: Followers | null = null
  following: Following | null = null
  confirmed = 0
  answerable = 0
  /** Kept in the state that begins a segment: so large that it takes several frames, when a test wants that. */
  ballast = ''
  readonly #bench: Bench
  #nextSession!: () => number

  constructor(bench: Bench, id: number, random: Random) {
    this.#bench = bench
    this.id = id
    const clock: Clock = {
      ...bench.world.clock,
      now: () => bench.world.clock.now(),
      monotonic: () => bench.world.clock.monotonic(),
      setTimeout: (run, ms) => bench.world.clock.setTimeout(run, ms),
      clearTimeout: (timer) => bench.world.clock.clearTimeout(timer),
      defer: (run) => bench.world.clock.defer(run),
    }
    const latencyMs = (_: DiskOperation) => (this.slowMs === 0 ? 0 : random.next() * this.slowMs)
    this.disk = new SimulatedDisk({ clock, random, latencyMs })
  }

  get member(): Member {
    return { brokerId: this.id, lineage: this.lineage }
  }

  async start(): Promise<void> {
    this.incarnation++
    this.process = this.#bench.world.process(`r${this.id}-${this.incarnation}`, this.disk)
    this.#nextSession = sessions(this.process.random)
    this.transport = troubled(this.process, this.#bench)
    await this.#open()
  }

  async #open(): Promise<void> {
    const outcome = await this.#bench.wait(
      openStore(
        this.process.world,
        { folder: FOLDER, cluster: 'test', broker: `a/${this.id}`, replicated: true, ...this.#bench.sizes },
        {
          restore: (json: Json) => {
            this.ballast = (json as { ballast: string }).ballast
          },
          replay: () => {},
          snapshot: () => ({ ballast: this.ballast }),
          appended: () => this.followers?.appended(),
          stored: (position) => {
            this.following?.stored(position)
            this.followers?.stored()
          },
          space: () => {},
          broken: ({ message }) => this.told.push(`broken store: ${message}`),
        },
      ),
    )
    if (!outcome.ok) throw new Error(outcome.failure.message)
    this.store = outcome.value
  }

  #context(epoch: number) {
    const { clock, log } = this.process.world
    const { transport, store } = this
    const { settings } = this.#bench
    return {
      ...{ transport, control: transport, clock, log, subjects, epoch, store, settings },
      brokerName: BROKER,
      brokerId: this.id,
      storeId: store.storeId,
      processId: this.process.name,
    }
  }

  lead(epoch: number, members: readonly Member[], minInSync = 1): void {
    const { store } = this
    const bench = this.#bench
    this.confirmed = this.answerable = store.confirmPosition
    store.epoch = epoch
    store.appendControl(kinds.epoch, Buffer.from('{}'))
    bench.members = members
    bench.pending = null
    const start = { members, minInSync, markerEnd: store.endPosition, confirm: this.confirmed }
    this.followers = new Followers(this.#context(epoch), start, {
      confirmed: (position) => {
        if (position <= this.confirmed) throw new Error(`confirmed ${position} after ${this.confirmed}`)
        bench.checkConfirmed(this, position)
        this.confirmed = position
        store.confirmLimit = position
      },
      answerable: (position) => {
        if (position <= this.answerable) throw new Error(`answerable ${position} after ${this.answerable}`)
        this.answerable = position
      },
      caughtUp: (id) => {
        this.told.push(`caughtUp ${id}`)
        bench.caughtUp(this, id)
      },
      lagging: (id) => {
        this.told.push(`lagging ${id}`)
        bench.lagging(this, id)
      },
      drained: (id) => this.told.push(`drained ${id}`),
      alarm: (code) => this.told.push(`alarm ${code}`),
    })
    this.followers.open()
  }

  follow(epoch: number, masterId: number): void {
    const { store, incarnation, lineage } = this
    const context = { ...this.#context(epoch), masterId, incarnation, lineage }
    const again = (change: () => Promise<Outcome<unknown>>) => void this.#anew(change, epoch, masterId)
    const { disk, clock, random, log } = this.process.world
    const world = { disk, clock, random, log }
    this.following = new Following(
      { ...context, nextSession: this.#nextSession, leaseEndsAt: this.following?.leaseEndsAt ?? 0 },
      {
        started: () => this.told.push('started'),
        caughtUp: () => this.told.push('caughtUp'),
        behind: () => this.told.push('behind'),
        silent: () => this.told.push('silent'),
        heard: () => this.told.push('heard'),
        diverged: (to, confirm) => {
          this.told.push(`diverged ${to}`)
          if (to < confirm) throw new Error(`to be cut at ${to}, but ${confirm} is confirmed`)
          again(() => cutLog(world, FOLDER, to))
        },
        gone: (minPosition) => {
          this.told.push(`gone ${minPosition}`)
          this.lineage++
          again(() => emptyLog(world, FOLDER, minPosition))
        },
        refused: (code, message) => this.told.push(`refused ${code}: ${message}`),
        confirmed: (position) => {
          if (position > store.endPosition) throw new Error(`confirmed ${position} beyond the own end`)
          store.confirmLimit = position
        },
        broken: ({ message }) => this.told.push(`broken: ${message}`),
      },
    )
  }

  async #anew(change: () => Promise<Outcome<unknown>>, epoch: number, masterId: number): Promise<void> {
    const { process } = this
    this.following!.close()
    await new Promise<void>((resolve) => this.store.close(() => resolve()))
    const changed = await change()
    if (!changed.ok) throw new Error(changed.failure.message)
    if (this.process !== process || !process.isAlive) return
    await this.#open()
    this.follow(epoch, masterId)
  }

  kill(how = { losesUnsynced: false }): void {
    this.process.kill()
    this.disk.crash(how)
    this.followers = this.following = null
  }

  append(topic: string, queueId: number, ...bodies: (string | Buffer)[]): void {
    const frame = messages(topic, queueId, ...bodies)
    const queue = this.store.queue(topic, queueId)
    this.store.append(queue, frame, 0, frame.length, this.process.world.clock.now())
  }

  /** What its disk has of the log between two positions; shorter where it has less. */
  logOnDisk(from: number, to: number): Buffer {
    const parts: Buffer[] = []
    const names = this.disk.list(logFolder(FOLDER))
    for (const name of names) {
      const start = Number(name.slice(0, 20))
      const bytes = this.disk.readFile(segmentPath(FOLDER, start))!
      if (start >= to || start + bytes.length <= from) continue
      parts.push(bytes.subarray(Math.max(0, from - start), Math.min(bytes.length, to - start)))
    }
    return Buffer.concat(parts)
  }

  /** Every file of its log. */
  get files(): Record<string, string> {
    const names = this.disk.list(logFolder(FOLDER))
    return Object.fromEntries(
      names.map((name) => [name, this.disk.readFile(`${logFolder(FOLDER)}/${name}`)!.toString('base64')]),
    )
  }
}

export class Bench {
  readonly world: SimulatedWorld
  readonly replicas: Replica[]
  readonly sizes: Sizes
  readonly settings
  readonly random: Random
  members: readonly Member[] = []
  pending: readonly Member[] | null = null
  trouble: Trouble = NO_TROUBLE
  /** Sees every data message that is sent, and what it became on the way. */
  dataSent: (subject: string, bytes: Buffer) => void = () => {}
  caughtUp: (master: Replica, id: number) => void = () => {}
  lagging: (master: Replica, id: number) => void = () => {}
  checks = 0

  private constructor(seed: number, replicas: number, sizes: Sizes, settings: Partial<ReplicationSettings>) {
    this.world = new SimulatedWorld(seed)
    this.random = this.world.fork()
    this.sizes = sizes
    this.settings = {
      ...{ replicas, replication: 'sync' as const, flush: sizes.flush ?? ('async' as const) },
      ...settings,
    }
    this.replicas = Array.from({ length: replicas }, (_, id) => new Replica(this, id, this.world.fork()))
  }

  static async start(
    seed: number,
    replicas: number,
    sizes: Sizes = {},
    settings: Partial<ReplicationSettings> = {},
  ): Promise<Bench> {
    const bench = new Bench(seed, replicas, sizes, settings)
    for (const replica of bench.replicas) await replica.start()
    return bench
  }

  async wait<T>(promise: Promise<T>): Promise<T> {
    let settled = false
    const watched = promise.finally(() => {
      settled = true
    })
    watched.catch(() => {})
    while (!settled) await this.world.advance(1)
    return watched
  }

  advance(ms: number): Promise<void> {
    return this.world.advance(ms)
  }

  async until(what: string, isSo: () => boolean, limitMs = 30_000): Promise<void> {
    if (!(await this.world.until(isSo, limitMs)))
      throw new Error(`after ${limitMs} ms it is not so that ${what}: ${this.summary}`)
  }

  get summary(): string {
    return this.replicas
      .map(({ id, store, told }) => `${id}: ${store.storedPosition}/${store.endPosition} ${told.slice(-3)}`)
      .join('; ')
  }

  /** All that may count have on their disks what the master has, up to there. */
  checkConfirmed(master: Replica, position: number): void {
    const { confirmed } = master
    const from = Math.max(confirmed, master.store.minPosition)
    const own = master.logOnDisk(from, position)
    if (own.length !== position - from) throw new Error(`the master itself has not stored ${position}`)
    for (const { brokerId } of maximalSet(this)) {
      this.checks++
      if (!this.replicas[brokerId]!.logOnDisk(from, position).equals(own))
        throw new Error(`${position} is confirmed, but ${brokerId} does not have it: ${this.summary}`)
    }
  }

  count(master: Replica, members: readonly Member[], pending: readonly Member[] | null = null): void {
    this.members = members
    this.pending = pending
    master.followers!.count(members, pending)
  }
}

/** The connection of a replica, on which the stream suffers. */
function troubled({ world, random }: SimulatedProcess, bench: Bench): Transport {
  const { transport, clock } = world
  const due = new Map<string, number>()
  const hits = (oneOf: number) => oneOf > 0 && random.below(oneOf) === 0
  const publish: Transport['publish'] = (subject, payload, reply, headers) => {
    const isData = subject.includes('.data.')
    if (!isData && !subject.endsWith('.ack')) return transport.publish(subject, payload, reply, headers)
    let bytes = Buffer.from(payload)
    const { lost, repeated, late, damaged } = bench.trouble
    if (isData) bench.dataSent(subject, bytes)
    if (hits(lost)) return
    if (isData && bytes.length > 40 && hits(damaged)) {
      bytes = Buffer.from(bytes)
      bytes[40 + random.below(bytes.length - 40)]! ^= 1 << random.below(8)
    }
    // Late, but in the order of its subject: other subjects overtake it.
    const at = Math.max(due.get(subject) ?? 0, clock.monotonic() + (hits(late) ? random.next() * 50 : 0))
    due.set(subject, at)
    const times = hits(repeated) ? 2 : 1
    for (let i = 0; i < times; i++) {
      if (at <= clock.monotonic()) transport.publish(subject, bytes)
      else clock.setTimeout(() => transport.publish(subject, bytes), at - clock.monotonic())
    }
  }
  return new Proxy(transport, {
    get: (_, name: keyof Transport) => {
      if (name === 'publish') return publish
      const member = transport[name]
      return typeof member === 'function' ? member.bind(transport) : member
    },
  })
}
