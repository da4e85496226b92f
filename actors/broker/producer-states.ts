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
  /** Sequence and queue offset of the last frames, in turn; `frames` says whose turn it is. */
  recent: number[]
  frames: number
}

/** As it is kept in the log: [id, next, sequence, offset, …]. */
export type SavedProducer = number[]

export const NEXT = -1
export const GAP = -2

export class ProducerStates {
  // Two generations: when the younger is full, the older is forgotten. In a Map from which entries come and go with
  // every frame, the outgrown tables would stay linked to the newer ones and fill the memory with the dead.
  #young = new Map<number, ProducerState>()
  #old = new Map<number, ProducerState>()
  readonly #monotonic: () => number

  constructor(monotonic: () => number) {
    this.#monotonic = monotonic
  }

  /** NEXT, GAP, or the queue offset under which the frame is already stored. */
  check(bytes: Buffer, at: number): number {
    const id = producerIdAt(bytes, at)
    if (id === 0) return NEXT
    const sequence = sequenceAt(bytes, at)
    const state = this.#young.get(id) ?? this.#old.get(id)
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
    const state = this.#young.get(id) ?? this.#rejuvenated(id)
    state.next = sequence + countAt(bytes, at)
    state.heardAt = this.#monotonic()
    const place = (state.frames++ % REMEMBERED) * 2
    state.recent[place] = sequence
    state.recent[place + 1] = queueOffsetAt(bytes, at)
  }

  #rejuvenated(id: number): ProducerState {
    const state = this.#old.get(id) ?? { next: 0, heardAt: 0, recent: [], frames: 0 }
    if (this.#young.size >= PRODUCERS_MAX / 2) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(id, state)
    return state
  }

  save(): SavedProducer[] {
    const now = this.#monotonic()
    const saved: SavedProducer[] = []
    for (const [id, state] of this.#all()) {
      if (now - state.heardAt <= KEPT_MS) saved.push([id, state.next, ...oldestFirst(state)])
    }
    return saved
  }

  *#all(): Generator<[number, ProducerState]> {
    for (const entry of this.#old) if (!this.#young.has(entry[0])) yield entry
    yield* this.#young
  }

  restore(saved: readonly SavedProducer[]): void {
    const heardAt = this.#monotonic()
    this.#old.clear()
    this.#young.clear()
    for (const [id, next, ...recent] of saved) {
      this.#young.set(id!, { next: next!, heardAt, recent, frames: recent.length / 2 })
    }
  }
}

function oldestFirst({ recent, frames }: ProducerState): number[] {
  const first = frames > REMEMBERED ? (frames % REMEMBERED) * 2 : 0
  return [...recent.slice(first), ...recent.slice(0, first)]
}
