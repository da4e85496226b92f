/**
 * Lane: one producer's way to one queue. It keeps the order of what it was given.
 *
 * A frame is numbered by (producer id, sequence) and the broker takes the numbers of one id without a gap. So a frame
 * that MAY have been stored is repeated under its old number, BEFORE anything newer of this queue is shipped; a frame
 * that was surely not stored gets a new number, on this lane or, when nobody asked for its order, on another broker's.
 *
 *   open ──a frame failed──▶ settling ──all frames under way came back──▶ waiting ──pause over, new route──▶ repeating
 *     ▲                                                                     (what stays is tried again)        │
 *     └───────────────────────────── nothing is left that may have been stored ────────────────────────────────┘
 */
import type { Clock } from '../../transport/ports.ts'
import { StateMQError } from '../errors.ts'
import { Batch, type Moved } from './batch.ts'
import type { BufferPool } from './buffer-pool.ts'
import type { Pipe } from './pipe.ts'

/** What a lane needs of the producer it belongs to. */
export type LaneOwner = {
  readonly topic: string
  readonly topicBytes: Buffer
  readonly pool: BufferPool
  readonly clock: Clock
  /** For all tries of a message together. */
  readonly timeoutMs: number
  newProducerId(): number
  /** A lane of another broker that is thought to work, or null. */
  elsewhere(lane: Lane): Lane | null
  /** The broker says that it has no such topic. */
  deleted(): void
  /** `bytes` more, or fewer, of this producer's memory are in use. */
  grew(bytes: number): void
  released(bytes: number): void
}

const BATCH_BYTES = 128 * 1024
const BATCH_COUNT = 16_384
/**
 * The broker remembers the last eight frames of a producer id. So none is shipped that is eight or more ahead of one
 * without an answer: that one could not be recognised any more when it is repeated.
 */
const UNDER_WAY_MAX = 8
const SEQUENCE_MAX = 2 ** 32 - 2 ** 17
const PAUSE_MS_MIN = 5
const PAUSE_MS_MAX = 200
/** What leaves it open whether a message is stored. */
const UNKNOWN: ReadonlySet<string> = new Set(['TIMED_OUT', 'DISCONNECTED', 'MALFORMED'])

export class Lane {
  readonly queueId: number
  readonly pipe: Pipe
  /** True while the pipe has it on its list of lanes with something to ship. */
  isListed = false
  readonly #owner: LaneOwner
  #mode: 'open' | 'settling' | 'waiting' | 'repeating' = 'open'
  #open: Batch | null = null
  #ready: Batch[] = []
  #failed: Batch[] = []
  /** The places of the frames that have no answer, in the order in which they were shipped. */
  readonly #underWay: number[] = []
  #producerId: number
  #sequence = 0
  #places = 0
  /** Of the last frame that was filled: the next one will be much the same. */
  #usualBytes = 0
  #pause: unknown = null

  constructor(owner: LaneOwner, pipe: Pipe, queueId: number) {
    this.#owner = owner
    this.pipe = pipe
    this.queueId = queueId
    this.#producerId = owner.newProducerId()
  }

  get brokerName(): string {
    return this.pipe.brokerName
  }

  get isOpen(): boolean {
    return this.#mode === 'open'
  }

  get isEmpty(): boolean {
    return (
      this.#underWay.length === 0 &&
      this.#open === null &&
      this.#ready.length === 0 &&
      this.#failed.length === 0
    )
  }

  /**
   * The frame that the next message of so many bytes joins: one that is being filled, or, when it is due later, one of
   * its own, for its broker does not store it where the others go.
   */
  batchFor(
    bodyBytes: number,
    isOrdered: boolean,
    isDelayed: boolean,
    bornTime: number,
    deadline: number,
  ): Batch {
    if (isDelayed) {
      const own = this.batchAlone(isOrdered, bornTime, deadline)
      own.delayed = true
      return own
    }
    let batch = this.#open
    if (batch === null || !this.#mayJoin(batch, bodyBytes, deadline)) {
      this.#close()
      batch = this.#begin(bornTime, deadline)
      this.#open = batch
    } else if (deadline < batch.deadline) batch.deadline = deadline
    if (isOrdered) batch.ordered = true
    return batch
  }

  /** The time of a frame ends with the earliest of its messages: those that have much more, or less, go apart. */
  #mayJoin(batch: Batch, bodyBytes: number, deadline: number): boolean {
    if (batch.size + bodyBytes > BATCH_BYTES || batch.count >= BATCH_COUNT) return false
    return Math.abs(deadline - batch.deadline) <= this.#owner.timeoutMs / 8
  }

  /** A frame that nothing but what the caller adds now will join. */
  batchAlone(isOrdered: boolean, bornTime: number, deadline: number): Batch {
    this.#close()
    const batch = this.#begin(bornTime, deadline)
    batch.ordered = isOrdered
    this.#ready.push(batch)
    return batch
  }

  #begin(bornTime: number, deadline: number): Batch {
    const { topicBytes, pool } = this.#owner
    return new Batch(topicBytes, pool, this.#usualBytes, bornTime, deadline)
  }

  #close(): void {
    if (this.#open === null) return
    this.#ready.push(this.#open)
    this.#open = null
  }

  /** The next frame to ship, numbered and sealed, or null when there is none that may go now. */
  take(bytesMax: number): Batch | null {
    this.#expire()
    if (!this.hasMore) return null
    const batch = this.#ready[0] ?? this.#open!
    if (batch.size > bytesMax) return null
    if (batch === this.#open) this.#open = null
    else this.#ready.shift()
    if (!batch.isSealed) {
      if (this.#sequence > SEQUENCE_MAX) this.#renumber()
      batch.seal(this.#producerId, this.#sequence, this.queueId)
      this.#sequence += batch.count
      batch.place = this.#places++
      this.#usualBytes = batch.size
    }
    batch.attempts++
    this.#underWay.push(batch.place)
    return batch
  }

  /** What waited for its turn longer than its time is not shipped any more. */
  #expire(): void {
    const now = this.#owner.clock.monotonic()
    for (let batch = this.#ready[0] ?? this.#open; batch && batch.deadline <= now; ) {
      if (batch === this.#open) this.#open = null
      else this.#ready.shift()
      this.#giveUp(batch, batch.failure?.error ?? this.#outOfTime())
      batch = this.#ready[0] ?? this.#open
    }
    this.#endRepeating()
  }

  /** Whether there is a frame that may go now. */
  get hasMore(): boolean {
    if (this.#isFarAhead(this.#ready[0])) return false
    if (this.#mode === 'open') return this.#open !== null || this.#ready.length > 0
    return this.#mode === 'repeating' && this.#ready[0] !== undefined && this.#ready[0].isSealed
  }

  #isFarAhead(next: Batch | undefined): boolean {
    const oldest = this.#underWay[0]
    return oldest !== undefined && (next?.isSealed ? next.place : this.#places) - oldest >= UNDER_WAY_MAX
  }

  stored(batch: Batch, queueOffset: number, epoch: number): void {
    this.#underWay.splice(this.#underWay.indexOf(batch.place), 1)
    this.#owner.released(batch.size)
    batch.resolve(this.#owner.topic, this.pipe.brokerName, this.queueId, queueOffset, epoch)
    this.#came()
  }

  refused(batch: Batch): void {
    this.#underWay.splice(this.#underWay.indexOf(batch.place), 1)
    this.#failed.push(batch)
    const { unknown, never, error } = batch.failure!
    if (error.code === 'TOPIC_NOT_EXIST') this.#owner.deleted()
    if (unknown) batch.inDoubt = true
    else if (never) batch.inDoubt = false
    this.#mode = 'settling'
    this.#came()
  }

  #came(): void {
    if (this.#underWay.length === 0 && this.#mode === 'settling') return this.#recover()
    this.#endRepeating()
    if (this.hasMore) this.pipe.list(this)
  }

  /** Nothing that may have been stored is left: all of it was answered, or has run out of time. */
  #endRepeating(): void {
    if (this.#underWay.length === 0 && this.#mode === 'repeating' && !this.hasMore) this.#mode = 'open'
  }

  /** Decides for each frame that failed, and for what waits behind it, what becomes of it. */
  #recover(): void {
    const now = this.#owner.clock.monotonic()
    const failed = this.#failed.sort((a, b) => a.place - b.place)
    this.#failed = []
    this.#renumber()
    this.#close()
    const waiting = this.#ready
    this.#ready = []
    // The broker takes no frame whose predecessor it has not: what follows one that was surely not stored was not either.
    const lost = new Set<number>()
    for (const batch of failed) {
      const { error, retryable } = batch.failure!
      const inDoubt = batch.inDoubt && !lost.has(batch.producerId)
      if (!inDoubt) lost.add(batch.producerId)
      if (!retryable || batch.deadline <= now) this.#giveUp(batch, error)
      else if (!this.#move(batch, inDoubt, now)) {
        if (!inDoubt) batch.producerId = 0
        this.#ready.push(batch)
      }
    }
    for (const batch of waiting) {
      if (lost.has(batch.producerId)) batch.producerId = 0
      if (batch.deadline <= now) this.#giveUp(batch, batch.failure?.error ?? this.#outOfTime())
      else if (batch.isSealed || !this.#move(batch, false, now)) this.#ready.push(batch)
    }
    const first = this.#ready[0]
    this.#mode = first ? 'waiting' : 'open'
    if (!first) return
    const pause = Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** Math.min(first.attempts, 10))
    this.#pause = this.#owner.clock.setTimeout(
      () => this.wake(),
      Math.max(1, Math.min(pause, first.deadline - now)),
    )
  }

  /** Tries again at once: the pause is over, or the route is new. */
  wake(): void {
    if (this.#mode !== 'waiting') return
    this.#owner.clock.clearTimeout(this.#pause)
    this.#pause = null
    const now = this.#owner.clock.monotonic()
    if (this.#ready.some((batch) => batch.deadline <= now)) {
      this.#mode = 'settling'
      return this.#recover()
    }
    this.#mode = this.#ready.some((batch) => batch.isSealed) ? 'repeating' : 'open'
    this.pipe.list(this)
  }

  /** Leaves this broker when order does not matter: at once, or, when a copy may be stored here, after half the time. */
  #move(batch: Batch, mayBeStored: boolean, now: number): boolean {
    if (batch.ordered || (mayBeStored && batch.deadline - now > this.#owner.timeoutMs / 2)) return false
    const other = this.#owner.elsewhere(this)
    if (other === null) return false
    const { deadline, delayed } = batch
    batch.moveTo(mayBeStored, ({ tagsCode, properties, body, bornTime, resolve, reject, id }: Moved) => {
      const its = other.batchFor(body.length, false, delayed, bornTime, deadline)
      this.#owner.grew(its.add(tagsCode, properties, body, bornTime, resolve, reject, id))
    })
    this.#owner.released(batch.size)
    other.pipe.list(other)
    return true
  }

  /** A refusal of the last try says nothing of an earlier one: whoever sends again must know that it may be the second. */
  #giveUp(batch: Batch, error: StateMQError): void {
    this.#owner.released(batch.size)
    if (!batch.inDoubt || UNKNOWN.has(error.code)) return batch.reject(error)
    const message = `${error.message}; an earlier try may have been stored`
    batch.reject(new StateMQError('TIMED_OUT', message, { retryable: true, cause: error }))
  }

  #outOfTime(): StateMQError {
    return new StateMQError(
      'TIMED_OUT',
      `${this.pipe.brokerName} did not take the message within ${this.#owner.timeoutMs} ms: see 'statemq broker list'`,
      { retryable: true },
    )
  }

  #renumber(): void {
    this.#producerId = this.#owner.newProducerId()
    this.#sequence = 0
  }
}
