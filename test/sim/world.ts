/**
 * The simulated World: one process, one clock, one source of chance, and a network and disks that fail on order.
 *
 * The production code of a whole cluster runs here. Each of its processes has a World of its own, so that it can be
 * paused and killed: whatever would call into it passes its gate. The same seed gives the same run, to the byte: time
 * only passes when the code has nothing left to do at this instant, promises included.
 */
import { createHash } from 'node:crypto'
import { hostname } from 'node:os'
import { pid } from 'node:process'
import { crc32 } from 'node:zlib'
import type { SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import type { Clock, Disk, DiskFile, Log, Random, World } from '../../actors/node/world.ts'
import type { Outcome } from '../../transport/failures.ts'
import { NO_RESPONDERS_BLOCK } from '../../transport/headers.ts'
import { createHub, type Delivery, type Hub, type MemoryTransport } from '../../transport/memory.ts'
import type { Register } from '../../transport/register.ts'
import type { Transport } from '../../transport/transport.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { RegisterLink } from './register-link.ts'

const STARTS_AT = 1_700_000_000_000
/** What production names its processes by: the one thing in the bytes that is not the same in the next run. */
const HERE = `${hostname().replace(/[^a-zA-Z0-9_-]/g, '_')}-${pid}-`

type Timer = { at: number; order: number; run: (() => void) | null }

/** A macrotask turn: all promises that can settle have settled when it is over. */
const turn = () => new Promise<void>((next) => setImmediate(next))

export class SimulatedClock implements Clock {
  readonly #timers: Timer[] = [] // A heap, by instant and then by the order in which they were set.
  #deferred: (() => void)[] = []
  #elapsed = 0
  #order = 0

  now(): number {
    return STARTS_AT + Math.floor(this.#elapsed)
  }

  monotonic(): number {
    return this.#elapsed
  }

  /** As Node's: at least 1 ms, and whole ones. */
  setTimeout(run: () => void, ms: number): Timer {
    return this.after(Math.max(1, Math.trunc(ms)), run)
  }

  clearTimeout(timer: Timer | null | undefined): void {
    if (timer) timer.run = null
  }

  defer(run: () => void): void {
    this.#deferred.push(run)
  }

  /** For the world itself, whose instants are as fine as chance draws them. */
  after(ms: number, run: () => void): Timer {
    const timer = { at: this.#elapsed + Math.max(0, ms), order: this.#order++, run }
    const heap = this.#timers
    let at = heap.push(timer) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (isBefore(heap[parent]!, timer)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = timer
    return timer
  }

  /** Lets time pass: timer by timer, and after each until nothing is left to do at its instant. */
  async advance(ms: number): Promise<void> {
    const end = this.#elapsed + ms
    await this.settle()
    for (let first = this.#timers[0]; first !== undefined && first.at <= end; first = this.#timers[0]) {
      this.#removeFirst()
      if (first.run === null) continue
      this.#elapsed = Math.max(this.#elapsed, first.at)
      first.run()
      await this.settle()
    }
    this.#elapsed = end
  }

  async settle(): Promise<void> {
    do {
      const runs = this.#deferred
      this.#deferred = []
      for (const run of runs) run()
      await turn()
    } while (this.#deferred.length > 0)
  }

  #removeFirst(): void {
    const heap = this.#timers
    const last = heap.pop()!
    if (heap.length === 0) return
    let at = 0
    for (let child = 1; child < heap.length; child = 2 * at + 1) {
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
      if (isBefore(last, heap[child]!)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
  }
}

const isBefore = (a: Timer, b: Timer): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)

export type TraceLine = { readonly at: number; readonly who: string; readonly what: string }

export class SimulatedWorld {
  readonly clock = new SimulatedClock()
  readonly random: Random
  readonly network: Network
  readonly hub: Hub
  readonly register: RegisterLink
  readonly processes: SimulatedProcess[] = []
  /** What the code of a process threw where nobody catches, or logged as an error. */
  readonly faults: string[] = []
  readonly trace: TraceLine[] = []
  /** Hears what the code of a process warns of, or gives as an error. */
  overheard: (who: string, message: string) => void = () => {}
  readonly #hash = createHash('sha256')
  readonly #listener: ((line: TraceLine) => void) | undefined

  constructor(seed: number, listener?: (line: TraceLine) => void) {
    this.#listener = listener
    this.random = seededRandom(seed)
    this.network = new Network(this)
    this.hub = createHub({
      clock: this.clock,
      random: this.fork(),
      log: this.logOf('hub'),
      route: (delivery, deliver) => this.network.route(delivery, deliver),
    })
    this.register = new RegisterLink(this, seededRandom(~seed))
  }

  /** A source of chance of its own: who draws more from it disturbs nobody else. */
  fork(): Random {
    return seededRandom(this.random.below(2 ** 32))
  }

  /** What a person reads; it is part of the hash. */
  tell(who: string, what: string): void {
    const line = { at: this.clock.monotonic(), who, what }
    this.trace.push(line)
    this.#listener?.(line)
    this.note(`${who} ${what}`)
  }

  /** What only the hash knows. */
  note(what: string): void {
    this.#hash.update(`${this.clock.monotonic()} ${what}\n`)
  }

  /** Of all that happened so far: equal for equal runs. */
  get hash(): string {
    return this.#hash.copy().digest('hex').slice(0, 16)
  }

  process(name: string, disk: SimulatedDisk): SimulatedProcess {
    const process = new SimulatedProcess(this, name, disk)
    this.processes.push(process)
    return process
  }

  logOf(who: string): Log {
    const write = (level: string) => (message: string, fields?: Readonly<Record<string, unknown>>) => {
      const words = `${level}: ${message}${fields ? ` ${plain(fields)}` : ''}`.replaceAll(HERE, '')
      this.tell(who, words)
      this.overheard(who, message)
      if (level === 'error' && !isExpected(words)) this.faults.push(`${who}: ${words}`)
    }
    return { info: () => {}, warn: write('warn'), error: write('error') }
  }

  async advance(ms: number): Promise<void> {
    await this.clock.advance(ms)
  }

  /** False when it did not come true in that time. */
  async until(isTrue: () => boolean, limitMs: number): Promise<boolean> {
    const end = this.clock.monotonic() + limitMs
    await this.clock.settle()
    while (!isTrue()) {
      if (this.clock.monotonic() >= end) return false
      await this.clock.advance(20)
    }
    return true
  }
}

/** What disks that are told to fail do to a broker. */
const isExpected = (words: string): boolean =>
  /failed: (ioError|diskFull)|"code":"(ioError|diskFull)"|the disk was too full$/.test(words)

const plain = (fields: Readonly<Record<string, unknown>>): string =>
  JSON.stringify(fields, (_, value) =>
    value instanceof Error
      ? (value.stack ?? String(value)).replace(/file:\/\/\S*\/(dist[^/]*)\//g, '')
      : value,
  )

/** Whoever answers for those that are out of reach. */
const SERVER = { name: 'server', echo: true, wantsNoResponders: false }

type Flight = { isLost: boolean }
type Link = { free: number; flights: Flight[] }

/**
 * The network between the members of the hub. It keeps the order of each pair, delays, and loses what is under way
 * when a connection breaks, from some point on. Between two members of a broken inner link everything is lost one way.
 */
export class Network {
  readonly #world: SimulatedWorld
  readonly #random: Random
  readonly #links = new Map<string, Link>()
  readonly #blocked = new Set<string>()
  readonly #parted = new Set<string>()
  readonly #severed = new Set<string>()
  readonly #slow = new Map<string, number>()
  /** Sees every message at the moment at which it is published. */
  tap: (delivery: Delivery) => void = () => {}

  constructor(world: SimulatedWorld) {
    this.#world = world
    this.#random = world.fork()
  }

  route(delivery: Delivery, deliver: () => void): void {
    const { from, to, subject, payload } = delivery
    this.tap(delivery)
    const key = `${from}>${to}`
    const isLost = this.#blocked.has(key)
    const bytes = payload.includes(HERE)
      ? Buffer.from(payload.toString('latin1').replaceAll(HERE, ''))
      : payload
    this.#world.note(`${key} ${subject.replaceAll(HERE, '')} ${crc32(bytes)}${isLost ? ' lost' : ''}`)
    if (isLost) return this.#denied(delivery)
    let link = this.#links.get(key)
    if (link === undefined) {
      link = { free: 0, flights: [] }
      this.#links.set(key, link)
    }
    const { clock } = this.#world
    const at = Math.max(link.free, clock.monotonic() + this.#latency(from, to))
    link.free = at
    const { flights } = link
    const flight = { isLost: false }
    flights.push(flight)
    clock.after(at - clock.monotonic(), () => {
      flights.shift()
      if (!flight.isLost) deliver()
    })
  }

  #latency(from: string, to: string): number {
    const slow = Math.max(...[from, to, `${from}>${to}`].map((name) => this.#slow.get(name) ?? 0))
    return 0.05 + this.#random.next() * (this.#random.below(20) === 0 ? 5 : 0.5) + this.#random.next() * slow
  }

  /** Between two servers that have lost each other, each tells at once that nobody listens. */
  #denied({ from, to, subject, reply }: Delivery): void {
    if (reply === '' || subject.startsWith('_INBOX.') || !this.#parted.has(`${from}>${to}`)) return
    this.#world.clock.after(0.1, () =>
      this.#world.hub.publish(SERVER, reply, Buffer.alloc(0), '', NO_RESPONDERS_BLOCK, true),
    )
  }

  /** The connection of a member breaks: of what is under way on it, all from some point on is lost. */
  cut(name: string): void {
    for (const [key, { flights }] of this.#links) {
      if (!key.startsWith(`${name}>`) && !key.endsWith(`>${name}`)) continue
      const kept = this.#random.below(flights.length + 1)
      for (const flight of flights.slice(kept)) flight.isLost = true
    }
  }

  /** `isTold`: who asks is told that nobody listens. */
  block(from: string, to: string, isTold = false): void {
    this.#blocked.add(`${from}>${to}`)
    if (isTold) this.#parted.add(`${from}>${to}`)
  }

  unblock(from: string, to: string): void {
    this.#blocked.delete(`${from}>${to}`)
    this.#parted.delete(`${from}>${to}`)
  }

  /** Whether nothing of what the one says reaches the other: their link is blocked, or one has no connection. */
  isBroken(from: string, to: string): boolean {
    return this.#blocked.has(`${from}>${to}`) || this.#severed.has(from) || this.#severed.has(to)
  }

  /** A member loses its connection, or has it again. */
  connection(name: string, isThere: boolean): void {
    if (isThere) this.#severed.delete(name)
    else this.#severed.add(name)
  }

  /** Up to so many milliseconds more for each message from and to it, or on the link `from>to`; 0 ends it. */
  slow(name: string, ms: number): void {
    if (ms === 0) this.#slow.delete(name)
    else this.#slow.set(name, ms)
  }

  heal(): void {
    this.#blocked.clear()
    this.#parted.clear()
    this.#slow.clear()
  }
}

type Held = { timers: (() => void)[]; heard: (() => void)[] }

/** One process of the cluster: what it can see of the world, and how it is stopped. */
export class SimulatedProcess {
  readonly name: string
  /** What production code is given. */
  readonly world: World
  readonly random: Random
  readonly #simulation: SimulatedWorld
  readonly #member: MemoryTransport
  #state: 'running' | 'paused' | 'dead' = 'running'
  #held: Held = { timers: [], heard: [] }
  readonly #timers = new Set<object>()
  #register: Register | null = null
  #skewMs = 0

  constructor(simulation: SimulatedWorld, name: string, disk: SimulatedDisk) {
    this.name = name
    this.#simulation = simulation
    this.random = simulation.fork()
    this.#member = simulation.hub.connect(name)
    this.world = {
      clock: this.#clock(),
      random: this.random,
      disk: this.#disk(disk.mount()),
      transport: this.#transport(),
      log: simulation.logOf(name),
    }
  }

  get isAlive(): boolean {
    return this.#state !== 'dead'
  }

  get isPaused(): boolean {
    return this.#state === 'paused'
  }

  /** How many timers of its code are set. */
  get timers(): number {
    return this.#timers.size
  }

  /** The register, as this process reaches it. */
  get register(): Register {
    this.#register ??= this.#simulation.register.connect(this.name, (run) => this.#gate(run))
    return this.#register
  }

  /** Ends it at once, as it stands. Unless it is `seen`, the others notice only because it says nothing any more. */
  kill(isSeen = true): void {
    if (this.#state === 'dead') return
    this.#state = 'dead'
    this.#held = { timers: [], heard: [] }
    this.#register?.close()
    this.#simulation.network.cut(this.name)
    if (isSeen) this.#member.sever()
  }

  /** The server gives up the connection of a process that was killed unseen. */
  bury(): void {
    if (this.#state === 'dead') this.#member.sever()
  }

  pause(): void {
    if (this.#state === 'running') this.#state = 'paused'
  }

  /** First come the timers that are overdue, then what has arrived: so does Node's loop. */
  async resume(): Promise<void> {
    if (this.#state !== 'paused') return
    this.#state = 'running'
    const { timers, heard } = this.#held
    this.#held = { timers: [], heard: [] }
    for (const run of [...timers, ...heard]) {
      this.#run(run)
      await turn()
    }
  }

  sever(): void {
    this.#simulation.network.cut(this.name)
    this.#simulation.network.connection(this.name, false)
    this.#member.sever()
  }

  mend(): void {
    this.#simulation.network.connection(this.name, true)
    if (this.#state !== 'dead') this.#member.mend()
  }

  /** Wall time, as this machine sees it, jumps. */
  jump(ms: number): void {
    this.#skewMs += ms
  }

  #run(run: () => void): void {
    if (this.#state === 'dead') return
    try {
      run()
    } catch (error) {
      const { stack } = error as Error
      this.#simulation.faults.push(`${this.name} died of an exception that nobody caught: ${stack ?? error}`)
      this.kill()
    }
  }

  #gate(run: () => void, queue: keyof Held = 'heard'): void {
    if (this.#state === 'running') this.#run(run)
    else if (this.#state === 'paused') this.#held[queue].push(run)
  }

  #clock(): Clock {
    const { clock } = this.#simulation
    return {
      now: () => clock.now() + this.#skewMs,
      monotonic: () => clock.monotonic(),
      setTimeout: (run, ms) => {
        const timer = { isSet: true, inner: null as unknown as Timer }
        const fire = () => {
          this.#timers.delete(timer)
          if (timer.isSet) run()
        }
        this.#timers.add(timer)
        timer.inner = clock.setTimeout(() => this.#gate(fire, 'timers'), ms)
        return timer
      },
      clearTimeout: (timer: { isSet: boolean; inner: Timer } | null | undefined) => {
        if (!timer) return
        this.#timers.delete(timer)
        timer.isSet = false
        clock.clearTimeout(timer.inner)
      },
      defer: (run) => clock.defer(() => this.#gate(run)),
    }
  }

  #transport(): Transport {
    const member = this.#member
    const gate = (run: () => void) => this.#gate(run)
    return {
      maxPayload: member.maxPayload,
      get state() {
        return member.state
      },
      server: member.server,
      publish: (subject, payload, reply, headers) => {
        if (this.#state !== 'dead') member.publish(subject, payload, reply, headers)
      },
      subscribe(subject, hear, queue) {
        let isOpen = true
        const inner = member.subscribe(
          subject,
          (payload, reply, to, headers) => gate(() => isOpen && hear(payload, reply, to, headers)),
          queue,
        )
        return {
          unsubscribe() {
            isOpen = false
            inner.unsubscribe()
          },
        }
      },
      request: (subject, payload, timeoutMs, answer, headers) =>
        member.request(subject, payload, timeoutMs, (outcome) => gate(() => answer(outcome)), headers),
      flush: (done) => member.flush((outcome) => gate(() => done(outcome))),
      onState: (hear) => member.onState((state) => gate(() => hear(state))),
      close: (done) => member.close(() => gate(done)),
    }
  }

  /** The disk answers a process that is there to hear it. */
  #disk(disk: Disk): Disk {
    const gated =
      <T>(done: (outcome: Outcome<T>) => void) =>
      (outcome: Outcome<T>) =>
        this.#gate(() => done(outcome))
    const fileOf = (file: DiskFile): DiskFile => ({
      path: file.path,
      write: (buffers, position, done) => file.write(buffers, position, gated(done)),
      read: (into, position, done) => file.read(into, position, gated(done)),
      sync: (done) => file.sync(gated(done)),
      truncate: (size, done) => file.truncate(size, gated(done)),
      close: (done) => file.close(gated(done)),
    })
    return {
      open: (path, done) =>
        disk.open(
          path,
          gated((outcome) =>
            done(
              outcome.ok
                ? { ok: true, value: { ...outcome.value, file: fileOf(outcome.value.file) } }
                : outcome,
            ),
          ),
        ),
      readFile: (path, done) => disk.readFile(path, gated(done)),
      replaceFile: (path, bytes, done) => disk.replaceFile(path, bytes, gated(done)),
      list: (folder, done) => disk.list(folder, gated(done)),
      remove: (path, done) => disk.remove(path, gated(done)),
      space: (folder, done) => disk.space(folder, gated(done)),
      lock: (folder, done) => disk.lock(folder, gated(done)),
    }
  }
}
