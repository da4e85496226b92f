/**
 * Whether a register did what a register does: some order of the swaps, in which none begins AFTER another one that
 * was answered BEFORE it began took place, explains every answer.
 *
 * The search is that of Wing and Gong ("Testing and verifying concurrent objects", 1993), with the memory of Lowe: the
 * same swaps done and the same value held are not looked at twice. A swap whose outcome is 'unknown' took place at any
 * time since it began, or never. Reads are hints and are no part of it.
 */
import type { Json } from '../../machines/effect.ts'
import type { Held, Register, SwapOutcome } from '../../transport/register.ts'

/** Instants are places in one order of all that happened. `answeredAt` of an unknown outcome says nothing. */
export type SwapEvent = {
  client: string
  invokedAt: number
  answeredAt: number
  expected: number
  value: Json
  outcome: SwapOutcome
}

/** Swaps of one key and who made them, noted as they happen. */
export class SwapHistory {
  readonly events: SwapEvent[] = []
  #now = 0

  swap(register: Register, client: string, key: string, expected: number, value: Json): Promise<SwapOutcome> {
    const invokedAt = this.#now++
    return new Promise((resolve) =>
      register.swap(key, expected, value, (outcome) => {
        this.events.push({ client, invokedAt, answeredAt: this.#now++, expected, value, outcome })
        resolve(outcome)
      }),
    )
  }
}

type Step = SwapEvent & { end: number; index: bigint }

/** Null when some order explains the history of a key, from its first swap on; else where every order ends. */
export function faultIn(history: readonly SwapEvent[]): string | null {
  const steps: Step[] = [...history]
    .sort((a, b) => a.invokedAt - b.invokedAt)
    .map((event, i) => ({
      ...event,
      end: event.outcome.result === 'unknown' ? Number.POSITIVE_INFINITY : event.answeredAt,
      index: 1n << BigInt(i),
    }))
  return new Search(steps).run()
}

type Place = { done: bigint; held: Held | null }

class Search {
  readonly #steps: readonly Step[]
  readonly #seen = new Set<string>()
  #most = -1
  #stuck = ''

  constructor(steps: readonly Step[]) {
    this.#steps = steps
  }

  run(): string | null {
    const open: Place[] = [{ done: 0n, held: null }]
    for (let place = open.pop(); place !== undefined; place = open.pop()) {
      const { done, held } = this.#withReads(place)
      const next = this.#candidates(done)
      if (next.every(({ outcome }) => outcome.result === 'unknown')) return null
      const key = `${done} ${JSON.stringify(held)}`
      if (this.#seen.has(key)) continue
      this.#seen.add(key)
      this.#note(done, held, next)
      for (const step of next) {
        const after = taken(step, held)
        if (after !== null) open.push({ done: done | step.index, held: after })
      }
    }
    return this.#stuck
  }

  /** What only tells what is there is put where it fits first: it changes nothing, so no order is lost by it. */
  #withReads({ done, held }: Place): Place {
    for (;;) {
      const fitting = this.#candidates(done).filter((step) => tells(step, held))
      if (fitting.length === 0) return { done, held }
      for (const { index } of fitting) done |= index
    }
  }

  /** What may come next: all that began BEFORE the first answer to what is not placed yet. */
  #candidates(done: bigint): Step[] {
    let first = Number.POSITIVE_INFINITY
    const found: Step[] = []
    for (const step of this.#steps) {
      if (step.invokedAt > first) break
      if ((done & step.index) !== 0n) continue
      first = Math.min(first, step.end)
      found.push(step)
    }
    return found.filter(({ invokedAt }) => invokedAt <= first)
  }

  #note(done: bigint, held: Held | null, next: readonly Step[]): void {
    const count = done.toString(2).replaceAll('0', '').length
    if (count <= this.#most) return
    this.#most = count
    const waiting = next.map(({ client, expected, value, outcome }) =>
      JSON.stringify({ client, expected, value, ...outcome }),
    )
    this.#stuck = `after ${count} swaps the register holds ${JSON.stringify(held)}, and none of these fits:\n${waiting.join('\n')}`
  }
}

/** What the register holds when this swap took place now and was done; null when it cannot have been. */
function taken({ expected, value, outcome }: Step, held: Held | null): Held | null {
  if (outcome.result === 'conflict' || (held?.revision ?? 0) !== expected) return null
  const after = { revision: expected + 1, value }
  return outcome.result === 'ok' && outcome.revision !== after.revision ? null : after
}

const tells = ({ expected, outcome }: Step, held: Held | null): boolean =>
  outcome.result === 'conflict' &&
  (held?.revision ?? 0) !== expected &&
  JSON.stringify(outcome.held) === JSON.stringify(held)
