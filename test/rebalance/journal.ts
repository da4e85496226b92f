/**
 * What a member of the group notes of itself, in a file of its own, so that it can be killed at any moment.
 *
 * A message is acknowledged only AFTER what was noted of it is written: whoever is killed has told of everything that it
 * may have committed. A last line that was torn tells of nothing that was acknowledged, and is left out.
 *
 * All processes of a machine share the clock, which also goes on while one of them stands still.
 */
import { appendFileSync, closeSync, openSync, readFileSync } from 'node:fs'
import type { Delivery, Ownership } from './judge.ts'

/** Milliseconds since the machine was started, the same in every process. */
export function sharedClock(): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1_000 + nanoseconds / 1_000_000
}

type Started = [what: 's', at: number, queue: string, offset: number, epoch: number, message: string]
type Line =
  | Started
  | [what: 'e', at: number, queue: string, offset: number, epoch: number]
  /** Begun and ended at once. */
  | [what: 'h', ...rest: Started extends [unknown, ...infer Rest] ? Rest : never]
  | [what: 'a', at: number, owned: [queue: string, epoch: number][]]

export class Journal {
  readonly #file: number
  #lines: string[] = []
  #written: Promise<void> | null = null

  constructor(path: string) {
    this.#file = openSync(path, 'a')
  }

  note(line: Line): void {
    this.#lines.push(JSON.stringify(line))
  }

  /** Resolves AFTER everything noted so far is in the file; many messages share one write. */
  written(): Promise<void> {
    this.#written ??= new Promise((resolve) =>
      setImmediate(() => {
        this.#written = null
        this.write()
        resolve()
      }),
    )
    return this.#written
  }

  /** At once. */
  write(): void {
    if (this.#lines.length === 0) return
    appendFileSync(this.#file, `${this.#lines.join('\n')}\n`)
    this.#lines = []
  }

  close(): void {
    this.write()
    closeSync(this.#file)
  }
}

export type Told = { deliveries: Delivery[]; ownerships: Ownership[] }

/** Strings that come up a million times are kept once. */
const known = new Map<string, string>()
function once(name: string): string {
  const before = known.get(name)
  if (before !== undefined) return before
  known.set(name, name)
  return name
}

/** What a member told until it ended, however it did. */
export function readJournal(path: string, member: string): Told {
  return parseJournal(readFileSync(path, 'utf8'), member)
}

export function parseJournal(text: string, member: string): Told {
  const deliveries: Delivery[] = []
  const running = new Map<string, Delivery>()
  const ownerships: Ownership[] = []
  const lines = text.split('\n')
  for (const [i, line] of lines.entries()) {
    if (line === '') continue
    const noted = parseLine(line)
    if (noted === null) {
      if (i === lines.length - 1) break // It was killed while it wrote.
      throw new Error(`line ${i + 1} of the journal of ${member} cannot be read: ${line.slice(0, 80)}`)
    }
    if (noted[0] === 'a') {
      const [, at, owned] = noted
      ownerships.push({ member, at, owned: owned.map(([queue, epoch]) => ({ queue: once(queue), epoch })) })
    } else if (noted[0] === 'e') {
      const [, at, ...which] = noted
      const delivery = running.get(which.join())
      if (delivery) delivery.endedAt = at
    } else {
      const [what, startedAt, queue, offset, epoch, message] = noted
      const endedAt = what === 'h' ? startedAt : null
      const delivery: Delivery = { member, queue: once(queue), epoch, offset, message, startedAt, endedAt }
      deliveries.push(delivery)
      if (endedAt === null) running.set([queue, offset, epoch].join(), delivery)
    }
  }
  return { deliveries, ownerships }
}

function parseLine(line: string): Line | null {
  try {
    return JSON.parse(line) as Line
  } catch {
    return null
  }
}
