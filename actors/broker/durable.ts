/**
 * What a broker remembers beside its log, in `broker.json`: how often it was started, what it promised, which log it has.
 *
 * All three only rise. Each is on disk BEFORE anybody is told of it.
 */
import { fail, type Outcome, succeed } from '../../transport/failures.ts'
import type { Disk } from '../node/world.ts'

export type Durable = {
  /** Starts of this broker. */
  incarnation: number
  /** It acts in no older epoch. */
  promisedEpoch: number
  /** How often the log may have lost what had been written. */
  lineage: number
}

export class DurableFile {
  readonly #disk: Disk
  readonly #path: string
  value: Durable = { incarnation: 0, promisedEpoch: 0, lineage: 0 }

  constructor(disk: Disk, folder: string) {
    this.#disk = disk
    this.#path = `${folder}/broker.json`
  }

  read(done: (outcome: Outcome<Durable>) => void): void {
    this.#disk.readFile(this.#path, (read) => {
      const outcome = read.ok ? durableIn(read.value) : read
      if (outcome.ok) this.value = outcome.value
      done(outcome)
    })
  }

  save(change: Partial<Durable>, saved: (outcome: Outcome<void>) => void): void {
    this.value = { ...this.value, ...change }
    this.#disk.replaceFile(this.#path, Buffer.from(`${JSON.stringify(this.value)}\n`), saved)
  }
}

function durableIn(bytes: Buffer | null): Outcome<Durable> {
  if (bytes === null) return succeed({ incarnation: 0, promisedEpoch: 0, lineage: 0 })
  try {
    const { incarnation, promisedEpoch, lineage = 0 } = JSON.parse(bytes.toString()) as Partial<Durable>
    if (isCount(incarnation) && isCount(promisedEpoch) && isCount(lineage))
      return succeed({ incarnation, promisedEpoch, lineage })
  } catch {
    // Said below: what is not JSON is as damaged as what has no numbers.
  }
  return fail(
    'malformed',
    "broker.json is damaged: restore it, or remove it if this broker's clients are stopped",
  )
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
