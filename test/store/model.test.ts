/**
 * The store against the simplest one there is: a list of all appends.
 *
 * Chance appends, reads, drops topics, lets old segments expire, restarts, kills and cuts the power. After each crash the
 * list is what a beginning of it was, never less than what had been stored.
 */
import test, { type ExecutionContext } from 'ava'
import { seedOfRun } from '../support/seeded-random.ts'
import { verifyLog } from '../support/verify-log.ts'
import { type Home, type Machine, type Running, real, simulated, valueIn } from './support.ts'

type Append = { readonly queue: string; readonly bodies: readonly string[]; readonly end: number }
type Drop = { readonly topic: string; readonly end: number }
type Note = { readonly note: string; readonly end: number }
type Step = Append | Drop | Note

class Model {
  steps: Step[] = []
  /** Offsets that expired, by queue. */
  readonly expired = new Map<string, number>()

  queue(name: string): { bodies: string[]; min: number } {
    const bodies: string[] = []
    let min = this.expired.get(name) ?? 0
    for (const step of this.steps) {
      if ('queue' in step && step.queue === name) bodies.push(...step.bodies)
      if ('topic' in step && name.startsWith(`${step.topic}/`)) min = Math.max(min, bodies.length)
    }
    return { bodies, min }
  }

  notes(): Record<string, number> {
    const notes: Record<string, number> = {}
    for (const step of this.steps) if ('note' in step) notes[step.note] = (notes[step.note] ?? 0) + 1
    return notes
  }
}

class Run {
  readonly machine: Machine
  readonly t: ExecutionContext
  readonly model = new Model()
  readonly names: string[] = []
  running!: Running
  readonly #sizes
  #counter = 0
  readonly #trace: string[] = []

  constructor(t: ExecutionContext, machine: Machine) {
    this.t = t
    this.machine = machine
    const below = (bound: number) => machine.random.below(bound)
    this.#sizes = {
      segmentBytes: 600 + below(6_000),
      hotBytes: below(3) * 1_000,
      cacheBytes: below(2) * 1024 * 1024,
      flush: below(2) === 0 ? ('sync' as const) : ('async' as const),
    }
    for (const topic of ['a', 'b', 'c'])
      for (let id = 0; id < 1 + below(4); id++) this.names.push(`${topic}/${id}`)
  }

  #below(bound: number): number {
    return this.machine.random.below(bound)
  }

  async start(): Promise<void> {
    this.running = await this.machine.start(this.#sizes)
  }

  async step(): Promise<void> {
    const dice = this.#below(100)
    if (dice < 45) this.append()
    else if (dice < 52) this.note()
    else if (dice < 68) await this.running.stored()
    else if (dice < 88) await this.readOne()
    else if (dice < 90) this.drop()
    else if (dice < 93) await this.expire()
    else if (dice < 95) await this.restart()
    else await this.crash()
  }

  append(): void {
    const name = this.names[this.#below(this.names.length)]!
    const bodies = Array.from({ length: 1 + this.#below(3) }, () =>
      `${name} ${this.#counter++}`.padEnd(this.#below(this.#below(10) === 0 ? 2_000 : 60)),
    )
    this.machine.clock.advance(this.#below(20))
    const [topic, id] = name.split('/')
    const expected = this.model.queue(name).bodies.length
    this.t.is(this.running.append(topic!, Number(id), ...bodies), expected, this.story())
    this.model.steps.push({ queue: name, bodies, end: this.running.store.endPosition })
  }

  note(): void {
    const note = `n${this.#below(3)}`
    this.running.note(note)
    this.model.steps.push({ note, end: this.running.store.endPosition })
  }

  drop(): void {
    const topic = ['a', 'b', 'c'][this.#below(3)]!
    this.#trace.push(`drop ${topic}`)
    this.running.store.dropQueues(topic)
    this.model.steps.push({ topic, end: this.running.store.endPosition })
  }

  async expire(): Promise<void> {
    await this.running.stored()
    this.machine.usedRatio = this.#below(2) === 0 ? 0.1 : 0.8
    await this.machine.checked(this.#below(4) === 0 ? 73 * 3_600_000 : 10_000)
    this.#trace.push(`expire, log from ${this.running.store.minPosition}`)
    for (const name of this.names) {
      const [topic, id] = name.split('/')
      const { minOffset } = this.running.bounds(topic!, Number(id))
      const { min } = this.model.queue(name)
      this.t.true(minOffset >= min, this.story())
      if (minOffset > min) this.model.expired.set(name, minOffset)
    }
  }

  async readOne(): Promise<void> {
    await this.check(this.names[this.#below(this.names.length)]!, 1 + this.#below(3_000))
  }

  async check(name: string, maxBytes?: number): Promise<void> {
    const [topic, id] = name.split('/')
    const { bodies, min } = this.model.queue(name)
    const bounds = this.running.bounds(topic!, Number(id))
    this.t.is(bounds.minOffset, min, `${name} ${this.story()}`)
    this.t.true(bounds.maxOffset <= bodies.length)
    const from = min + this.#below(bounds.maxOffset - min + 1)
    const all = await this.running.all(topic!, Number(id), from, maxBytes)
    this.t.deepEqual(all, bodies.slice(from, from + all.length), `${name} ${this.story()}`)
    this.t.true(from + all.length >= bounds.maxOffset)
  }

  async restart(): Promise<void> {
    this.#trace.push('restart')
    await this.running.close()
    await this.start()
    await this.checkAll(this.model.steps.length)
  }

  async crash(): Promise<void> {
    const losesUnsynced =
      this.machine.simulated !== null && this.#sizes.flush === 'sync' && this.#below(2) === 0
    if (this.machine.simulated === null) await this.running.stored()
    else for (let turns = this.#below(4); turns > 0; turns--) await this.machine.until(Promise.resolve())
    const safe = this.running.owner.storedPosition
    const sure = this.model.steps.filter(({ end }) => end <= safe).length
    this.#trace.push(losesUnsynced ? 'power cut' : 'kill')
    await this.machine.kill({ losesUnsynced })
    await this.start()
    await this.checkAll(sure)
  }

  /** AFTER a start: at least `sure` steps are there, and whatever is there is a beginning of all. */
  async checkAll(sure: number): Promise<void> {
    const { endPosition } = this.running.store
    this.model.steps = this.model.steps.filter(({ end }) => end <= endPosition)
    this.t.true(this.model.steps.length >= sure, `${this.model.steps.length} of ${sure} ${this.story()}`)
    this.t.deepEqual(this.running.owner.state, this.model.notes(), this.story())
    for (const name of this.names) await this.check(name)
  }

  story(): string {
    return JSON.stringify([this.#sizes, this.#trace.slice(-12)])
  }
}

async function run(t: ExecutionContext, home: Home, seed: number, steps: number): Promise<void> {
  t.log(`STATEMQ_SEED=${seed}`)
  const machine = await home.machine(t, seed)
  const run = new Run(t, machine)
  await run.start()
  for (let i = 0; i < steps; i++) await run.step()
  await run.restart()
  await run.running.close()
  const report = valueIn(await machine.until(verifyLog(machine.disk, machine.folder)))
  t.deepEqual(report.faults, [])
}

const first = seedOfRun()
for (let i = 0; i < 12; i++)
  test(`simulated disk: the store is a list of appends, whatever happens, run ${i}`, (t) =>
    run(t, simulated, (first + i) % 2 ** 32, 400))
for (let i = 0; i < 2; i++)
  test(`real disk: the store is a list of appends, whatever happens, run ${i}`, (t) =>
    run(t, real, (first + i) % 2 ** 32, 250))
