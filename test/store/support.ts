/**
 * A machine with a disk, and stores that run on it: what the tests of the store are written with.
 *
 * Time is virtual on both disks. `until` lets the loop turn: the real disk answers when it answers.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import { type Cut, cutLog, emptyLog } from '../../actors/broker/store/cut.ts'
import { segmentPath } from '../../actors/broker/store/layout.ts'
import {
  type LogBytes,
  openStore,
  type ReadResult,
  type Store,
  type StoredQueue,
  type StoreOptions,
  type StoreWorld,
} from '../../actors/broker/store/store.ts'
import { realDisk } from '../../actors/node/disk.ts'
import { type DiskOperation, SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import type { Clock, Disk, DiskFile } from '../../actors/node/world.ts'
import type { Json } from '../../machines/effect.ts'
import { type Failure, type Outcome, succeed } from '../../transport/failures.ts'
import {
  countAt,
  FRAME_HEAD_BYTES,
  frameBytesAt,
  kindAt,
  kinds,
  queueOffsetAt,
  RECORD_HEAD_BYTES,
  recordsAt,
  sealFrame,
} from '../../transport/frames.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { type VirtualClock, virtualClock } from '../support/virtual-clock.ts'

/** A frame of one topic and queue whose bodies are these texts. */
export function messages(topic: string, queueId: number, ...bodies: (string | Buffer)[]): Buffer {
  const records = bodies.map((text) => {
    const body = Buffer.from(text)
    const record = Buffer.alloc(RECORD_HEAD_BYTES + body.length)
    record.writeUInt32LE(record.length, 0)
    body.copy(record, RECORD_HEAD_BYTES)
    return record
  })
  const frame = Buffer.concat([Buffer.alloc(FRAME_HEAD_BYTES), Buffer.from(topic, 'latin1'), ...records])
  sealFrame(frame, 0, frame.length, {
    kind: kinds.messages,
    bornTime: 1,
    producerId: 0,
    sequence: 0,
    queueId,
    count: bodies.length,
    topicBytes: topic.length,
  })
  return frame
}

export function bodiesOf(frame: Buffer): string[] {
  const bodies: string[] = []
  for (let at = recordsAt(frame, 0), left = countAt(frame, 0); left > 0; left--) {
    const bytes = frame.readUInt32LE(at)
    bodies.push(frame.toString('utf8', at + RECORD_HEAD_BYTES, at + bytes))
    at += bytes
  }
  return bodies
}

export const ask = <T>(call: (done: (outcome: Outcome<T>) => void) => void): Promise<Outcome<T>> =>
  new Promise((resolve) => call(resolve))

export function valueIn<T>(outcome: Outcome<T>): T {
  if (!outcome.ok) throw new Error(`${outcome.failure.code}: ${outcome.failure.message}`)
  return outcome.value
}

export type Home = { readonly name: string; machine(t: ExecutionContext, seed?: number): Promise<Machine> }

export const simulated: Home = {
  name: 'simulated disk',
  machine: async (_, seed = 1) => new Machine('/data', seed, true),
}
export const real: Home = {
  name: 'real disk',
  async machine(t, seed = 1) {
    const folder = await mkdtemp(join(tmpdir(), 'statemq-store-'))
    t.teardown(() => rm(folder, { recursive: true, force: true }))
    return new Machine(folder, seed, false)
  },
}
export const homes: readonly Home[] = [simulated, real]

const CHECK_MS = 10_000
type Sizes = Partial<StoreOptions>

/** The real disk as one process has it. What it has begun comes to its end when it is killed, but it never hears of it. */
class RealProcess {
  #running = 0
  #isAlive = true

  readonly disk: Disk = this.#watch(realDisk)

  #watch<T extends object>(target: T): T {
    return new Proxy(target, {
      get: (_, name) => {
        const member = Reflect.get(target, name)
        if (typeof member !== 'function') return member
        return (...given: unknown[]) => {
          if (!this.#isAlive) return
          const done = given.pop() as (outcome: Outcome<unknown>) => void
          this.#running++
          member.call(target, ...given, (outcome: Outcome<any>) => {
            this.#running--
            if (!this.#isAlive) return
            if (name === 'open' && outcome.ok) {
              const { file, size } = outcome.value
              done({ ok: true, value: { file: this.#watch(file), size } })
            } else done(outcome)
          })
        }
      },
    })
  }

  async kill(): Promise<void> {
    this.#isAlive = false
    while (this.#running > 0) await turn()
  }
}

export class Machine {
  readonly folder: string
  readonly warnings: string[] = []
  readonly random
  readonly simulated: SimulatedDisk | null
  clock: VirtualClock = virtualClock()
  disk: Disk
  /** How long the simulated disk takes. */
  latencyMs: (operation: DiskOperation) => number = () => 0
  /** What the disk says of its use; the disk's own word when null. */
  usedRatio: number | null = 0.1
  /** How many checks of the retention are over, counted by the timers for the next one. */
  #checks = 0
  #process = new RealProcess()

  constructor(folder: string, seed: number, isSimulated: boolean) {
    this.folder = folder
    this.random = seededRandom(seed)
    const clock: Clock = {
      ...this.clock,
      defer: (run) => this.clock.defer(run),
      setTimeout: (run, ms) => this.clock.setTimeout(run, ms),
    }
    const latencyMs = (operation: DiskOperation) => this.latencyMs(operation)
    this.simulated = isSimulated ? new SimulatedDisk({ clock, random: this.random, latencyMs }) : null
    this.disk = this.simulated?.mount() ?? this.#process.disk
  }

  async until<T>(promise: Promise<T>): Promise<T> {
    let settled = false
    const watched = promise.finally(() => {
      settled = true
    })
    watched.catch(() => {})
    while (!settled) {
      this.clock.settle()
      await turn()
    }
    return watched
  }

  async do<T>(call: (done: (outcome: Outcome<T>) => void) => void): Promise<T> {
    return valueIn(await this.until(ask(call)))
  }

  world(): StoreWorld {
    const log = { info() {}, warn: (line: string) => void this.warnings.push(line), error() {} }
    return { clock: this.#countingClock(), random: this.random, disk: this.#disk(), log }
  }

  async open(sizes: Sizes = {}): Promise<Outcome<Running>> {
    const owner = new Owner()
    const options = { folder: this.folder, cluster: 'test', broker: 'a', ...sizes }
    const opened = await this.until(openStore(this.world(), options, owner))
    return opened.ok ? { ok: true, value: new Running(this, opened.value, owner) } : opened
  }

  #disk(): Disk {
    if (this.usedRatio === null) return this.disk
    const { disk } = this
    const space: Disk['space'] = (_, done) =>
      done({ ok: true, value: { totalBytes: 1000, freeBytes: 1000 * (1 - this.usedRatio!) } })
    return new Proxy(disk, {
      get: (_, name: keyof Disk) => (name === 'space' ? space : disk[name].bind(disk)),
    })
  }

  #countingClock(): Clock {
    const { clock } = this
    return {
      ...clock,
      setTimeout: (run, ms) => {
        if (ms === CHECK_MS) this.#checks++
        return clock.setTimeout(run, ms)
      },
    }
  }

  /** Lets time pass until the retention has looked at the log once more. */
  async checked(ms = CHECK_MS): Promise<void> {
    const before = this.#checks
    this.clock.advance(ms)
    await this.eventually(() => this.#checks > before)
  }

  async eventually(holds: () => boolean): Promise<void> {
    while (!holds()) {
      this.clock.settle()
      await turn()
    }
  }

  cut(position: number): Promise<Outcome<Cut>> {
    return this.until(cutLog(this.world(), this.folder, position))
  }

  empty(position: number): Promise<Outcome<void>> {
    return this.until(emptyLog(this.world(), this.folder, position))
  }

  async start(sizes: Sizes = {}): Promise<Running> {
    return valueIn(await this.open(sizes))
  }

  /** Ends the process as kill -9 does; with `losesUnsynced`, which only a simulated disk can, as a power cut does. */
  async kill(how = { losesUnsynced: false }): Promise<void> {
    const now = this.clock.now()
    this.clock = virtualClock(now)
    this.simulated?.crash(how)
    if (this.simulated === null) {
      await this.#process.kill()
      this.#process = new RealProcess()
      // The lock names this process, which lives on.
      await rm(join(this.folder, 'lock'), { force: true })
    }
    this.disk = this.simulated?.mount() ?? this.#process.disk
  }

  async read(path: string): Promise<Buffer> {
    return (await this.do<Buffer | null>((done) => this.disk.readFile(path, done))) ?? Buffer.alloc(0)
  }

  async edit(path: string, job: (file: DiskFile) => Promise<unknown>): Promise<void> {
    const { file } = await this.do<{ file: DiskFile; size: number }>((done) => this.disk.open(path, done))
    await job(file)
    await this.do<void>((done) => file.close(done))
  }

  /** Makes a file what these bytes are. */
  write(path: string, bytes: Buffer): Promise<void> {
    return this.do((done) => this.disk.replaceFile(path, bytes, done))
  }

  remove(path: string): Promise<void> {
    return this.do((done) => this.disk.remove(path, done))
  }

  list(folder: string): Promise<string[]> {
    return this.do((done) => this.disk.list(join(this.folder, folder), done))
  }

  segment(start = 0): string {
    return segmentPath(this.folder, start)
  }

  /** Every file of the store with its bytes: to see that nothing was touched. */
  content(): Promise<Record<string, string>> {
    return this.#contentOf(['', 'log', 'consume-queue'])
  }

  /** The files of the log with their bytes. */
  async logFiles(): Promise<Record<string, string>> {
    const files = await this.#contentOf(['log'])
    return Object.fromEntries(Object.entries(files).map(([path, bytes]) => [path.slice(-24), bytes]))
  }

  async #contentOf(folders: readonly string[]): Promise<Record<string, string>> {
    const content: Record<string, string> = {}
    for (const folder of folders)
      for (const name of await this.list(folder)) {
        if (name === 'log' || name === 'consume-queue') continue
        const path = join(this.folder, folder, name)
        content[path] = (await this.read(path)).toString('base64')
      }
    return content
  }
}

/** Keeps what the store tells, and a state of its own: how often each control payload was heard. */
export class Owner {
  state: Record<string, number> = {}
  replayed = 0
  restored: Json = null
  storedPosition = 0
  /** What was told of appends, in order, and between them what was told of stored ones. */
  readonly told: string[] = []
  readonly space_: string[] = []
  failure: Failure | null = null

  restore = (derived: Json): void => {
    this.restored = derived
    this.state = { ...(derived as Record<string, number>) }
  }
  replay = (bytes: Buffer, at: number): void => {
    this.replayed++
    const kind = kindAt(bytes, at)
    if (kind === kinds.offsets)
      this.apply(bytes.toString('utf8', at + FRAME_HEAD_BYTES, at + frameBytesAt(bytes, at)))
  }
  apply(note: string): void {
    this.state[note] = (this.state[note] ?? 0) + 1
  }
  snapshot = (): Json => ({ ...this.state })
  /** Whether a segment has to stay that ends with these next offsets. */
  needs: (queues: Readonly<Record<string, readonly number[]>>) => boolean = () => false
  isNeeded = (queues: Readonly<Record<string, readonly number[]>>): boolean => this.needs(queues)
  appended = (endPosition: number): void => void this.told.push(`appended ${endPosition}`)
  stored = (endPosition: number): void => {
    this.storedPosition = endPosition
    this.told.push(`stored ${endPosition}`)
  }
  space = (state: 'ok' | 'full'): void => void this.space_.push(state)
  broken = (failure: Failure): void => {
    this.failure = failure
  }
}

/** A store that runs. */
export class Running {
  readonly machine: Machine
  readonly store: Store
  readonly owner: Owner

  constructor(machine: Machine, store: Store, owner: Owner) {
    this.machine = machine
    this.store = store
    this.owner = owner
  }

  append(topic: string, queueId: number, ...bodies: (string | Buffer)[]): number {
    const frame = messages(topic, queueId, ...bodies)
    const queue = this.store.queue(topic, queueId)
    return this.store.append(queue, frame, 0, frame.length, this.machine.clock.now())
  }

  note(text: string): void {
    this.store.appendControl(kinds.offsets, Buffer.from(text))
    this.owner.apply(text)
  }

  /** A mastership begins, as a broker begins it. */
  beginEpoch(epoch: number): void {
    this.store.epoch = epoch
    this.store.appendControl(kinds.epoch, Buffer.from('{}'))
  }

  /** A copy, which stays true. */
  readLog(position: number, maxBytes = 64 * 1024): Promise<Outcome<LogBytes>> {
    const copy = ({ bytes, end }: LogBytes): LogBytes => ({ bytes: Buffer.from(bytes), end })
    return this.machine.until(
      ask((done) =>
        this.store.readLog(position, maxBytes, (outcome) =>
          done(outcome.ok ? succeed(copy(outcome.value)) : outcome),
        ),
      ),
    )
  }

  /** Takes over what another store's log holds beyond this one's, up to a position, in pieces. */
  async follow(other: Running, maxBytes = 64 * 1024, end = other.store.endPosition): Promise<void> {
    while (this.store.endPosition < end) {
      const { bytes } = valueIn(await other.readLog(this.store.endPosition, maxBytes))
      valueIn(this.store.appendVerbatim(bytes))
    }
  }

  /** What is told of this log: everything that must be the same on all replicas. */
  derived(names: readonly string[]) {
    const { epochStarts, lastEpoch, endPosition } = this.store
    const bounds = names.map((name) => this.bounds(name.split('/')[0]!, Number(name.split('/')[1])))
    return { epochStarts, lastEpoch, endPosition, bounds, state: this.owner.state }
  }

  /** AFTER: all that was appended is stored. */
  async stored(): Promise<void> {
    while (this.store.storedPosition < this.store.endPosition) {
      this.machine.clock.settle()
      await turn()
    }
  }

  async send(topic: string, queueId: number, ...bodies: (string | Buffer)[]): Promise<number> {
    const offset = this.append(topic, queueId, ...bodies)
    await this.stored()
    return offset
  }

  read(topic: string, queueId: number, offset: number, maxBytes = 64 * 1024): Promise<Outcome<ReadResult>> {
    const queue = this.store.queue(topic, queueId)
    return this.machine.until(ask((done) => this.store.read(queue, offset, maxBytes, done)))
  }

  /** All bodies of a queue, from its min offset or another one, checked for gaps. */
  async all(topic: string, queueId: number, from?: number, maxBytes?: number): Promise<string[]> {
    const bodies: string[] = []
    let offset = from ?? this.bounds(topic, queueId).minOffset
    for (;;) {
      const result = valueIn(await this.read(topic, queueId, offset, maxBytes))
      if (result.status === 'atEnd') return bodies
      if (result.status !== 'found') throw new Error(`${result.status} at ${offset}`)
      for (const frame of result.frames) {
        const skip = Math.max(0, offset - queueOffsetAt(frame, 0))
        if (queueOffsetAt(frame, 0) + skip !== offset) throw new Error(`a gap at ${offset}`)
        bodies.push(...bodiesOf(frame).slice(skip))
        offset = queueOffsetAt(frame, 0) + countAt(frame, 0)
      }
      if (offset !== result.nextOffset) throw new Error(`next offset ${result.nextOffset} after ${offset}`)
    }
  }

  bounds(topic: string, queueId: number) {
    return this.store.bounds(this.store.queue(topic, queueId))
  }

  byTime(topic: string, queueId: number, time: number): Promise<number> {
    const queue: StoredQueue = this.store.queue(topic, queueId)
    return this.machine.do((done) => this.store.offsetByTime(queue, time, done))
  }

  async close(): Promise<void> {
    await this.machine.do<void>((done) => this.store.close(done))
  }
}
