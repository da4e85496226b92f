/**
 * What the broker remembers of producers, so that a frame that is sent again is stored ONCE.
 *
 * The sequences of one producer id have no gap: a frame is the next one, a repetition of one of the last eight, or it
 * is refused, because one before it is missing. An id that nobody knows begins at 0. Derived from the log: the frames
 * themselves carry id and sequence.
 */
import { countAt, producerIdAt, queueOffsetAt, sequenceAt } from '../../transport/frames.ts'

const REMEMBERED = 8
const PRODUCERS_MAX = 100_000
/**
 * A sender gives up long before: its time budget is seconds. Not by wall time: where that jumps, a frame would be
 * forgotten that is about to be sent again.
 */
const KEPT_MS = 10 * 60_000

type ProducerState = {
  next: number
  /** When it was last heard of, on the monotonic clock. */
  heardAt: number
  /** Of the last frames, oldest first: sequence and queue offset, one after the other. */
  recent: number[]
}

/** As it is kept in the log: [id, next, sequence, offset, …]. */
export type SavedProducer = number[]

export const NEXT = -1
export const GAP = -2

export class ProducerStates {
  readonly #states = new Map<number, ProducerState>()
  readonly #monotonic: () => number

  constructor(monotonic: () => number) {
    this.#monotonic = monotonic
  }

  /** NEXT, GAP, or the queue offset under which the frame is already stored. */
  check(bytes: Buffer, at: number): number {
    const id = producerIdAt(bytes, at)
    if (id === 0) return NEXT
    const sequence = sequenceAt(bytes, at)
    const state = this.#states.get(id)
    if (state === undefined) return sequence === 0 ? NEXT : GAP
    if (sequence === state.next) return NEXT
    const { recent } = state
    for (let i = 0; i < recent.length; i += 2) if (recent[i] === sequence) return recent[i + 1]!
    return GAP
  }

  /** The frame at `at`, already stamped, is in the log. */
  note(bytes: Buffer, at: number): void {
    const id = producerIdAt(bytes, at)
    if (id === 0) return
    const sequence = sequenceAt(bytes, at)
    let state = this.#states.get(id)
    if (state === undefined) {
      state = { next: 0, heardAt: 0, recent: [] }
      if (this.#states.size >= PRODUCERS_MAX) this.#forgetOldest()
    } else this.#states.delete(id)
    this.#states.set(id, state) // Last in the map's order: the one to be forgotten last.
    state.next = sequence + countAt(bytes, at)
    state.heardAt = this.#monotonic()
    if (state.recent.length >= REMEMBERED * 2) state.recent.splice(0, 2)
    state.recent.push(sequence, queueOffsetAt(bytes, at))
  }

  #forgetOldest(): void {
    for (const id of this.#states.keys()) {
      this.#states.delete(id)
      return
    }
  }

  save(): SavedProducer[] {
    const now = this.#monotonic()
    const saved: SavedProducer[] = []
    for (const [id, { next, heardAt, recent }] of this.#states) {
      if (now - heardAt > KEPT_MS) this.#states.delete(id)
      else saved.push([id, next, ...recent])
    }
    return saved
  }

  restore(saved: readonly SavedProducer[]): void {
    const heardAt = this.#monotonic()
    this.#states.clear()
    for (const [id, next, ...recent] of saved) {
      this.#states.set(id!, { next: next!, heardAt, recent })
    }
  }
}
