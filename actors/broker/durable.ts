/**
 * What a broker remembers beside its log, in `broker.json`: how often it was started, what it promised, which log it has.
 *
 * All three only rise. Each is on disk BEFORE anybody is told of it.
 */
import { fail, type Outcome, succeed } from '../../transport/failures.ts'
import type { World } from '../node/world.ts'

export type Durable = {
  /** Starts of this broker. */
  incarnation: number
  /** It acts in no older epoch. */
  promisedEpoch: number
  /** Rises whenever the log may have lost what had been written. */
  lineage: number
  /** It was one of several replicas: alone it would take epochs that are theirs. */
  replicated: boolean
}

export class DurableFile {
  readonly #world: Pick<World, 'disk' | 'clock'>
  readonly #path: string
  #isReading = false
  #isWriting = false
  #waiting: ((outcome: Outcome<void>) => void)[] = []
  #settled: (() => void) | null = null
  value: Durable = { incarnation: 0, promisedEpoch: 0, lineage: 0, replicated: false }

  constructor(world: Pick<World, 'disk' | 'clock'>, folder: string) {
    this.#world = world
    this.#path = `${folder}/broker.json`
  }

  read(done: (outcome: Outcome<Durable>) => void): void {
    this.#isReading = true
    this.#world.disk.readFile(this.#path, (read) => {
      this.#isReading = false
      const outcome = read.ok ? this.#understand(read.value) : read
      if (outcome.ok) this.value = outcome.value
      done(outcome)
      this.#tellSettled()
    })
  }

  /**
   * A replica that remembers nothing may have been another one's namesake, with another log: seconds since 1970 are a
   * lineage that no earlier one of that name has reached by counting.
   */
  #understand(bytes: Buffer | null): Outcome<Durable> {
    if (bytes !== null) return durableIn(bytes)
    const lineage = Math.floor(this.#world.clock.now() / 1_000)
    return succeed({ incarnation: 0, promisedEpoch: 0, lineage, replicated: false })
  }

  save(change: Partial<Durable>, saved: (outcome: Outcome<void>) => void): void {
    this.value = { ...this.value, ...change }
    this.#waiting.push(saved)
    this.#write()
  }

  /** One at a time: two that replace the same file at once would get in each other's way. */
  #write(): void {
    if (this.#isWriting || this.#waiting.length === 0) return
    this.#isWriting = true
    const told = this.#waiting.splice(0)
    const bytes = Buffer.from(`${JSON.stringify(this.value)}\n`)
    this.#world.disk.replaceFile(this.#path, bytes, (outcome) => {
      this.#isWriting = false
      for (const saved of told) saved(outcome)
      this.#write()
      this.#tellSettled()
    })
  }

  /** Calls back when all that was asked for is done: a late write would replace what the next start of the broker writes. */
  settle(settled: () => void): void {
    this.#settled = settled
    this.#tellSettled()
  }

  #tellSettled(): void {
    if (this.#isReading || this.#isWriting || this.#settled === null) return
    const settled = this.#settled
    this.#settled = null
    settled()
  }
}

function durableIn(bytes: Buffer): Outcome<Durable> {
  try {
    const known = JSON.parse(bytes.toString()) as Partial<Durable>
    const { incarnation, promisedEpoch, lineage = 0, replicated = false } = known
    if (isCount(incarnation) && isCount(promisedEpoch) && isCount(lineage))
      return succeed({ incarnation, promisedEpoch, lineage, replicated: replicated === true })
  } catch {
    // Said below: what is not JSON is as damaged as what has no numbers.
  }
  return fail(
    'malformed',
    "broker.json is damaged: restore it, or remove it if this broker's clients are stopped",
  )
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
