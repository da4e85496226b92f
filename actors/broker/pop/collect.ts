/**
 * Collects for one receive: from each queue first what is to be given again, then what nobody was given yet.
 *
 * It reads and chooses; it changes nothing. While the disk is read, an acknowledgement or a reset may come: what was
 * found is looked up again AFTER the last read, in one go with what is made of it. A message that expired from the log
 * is done.
 */
import { RETRY_PREFIX } from '../../../machines/names.ts'
import {
  type Candidate,
  chooseFresh,
  dueOf,
  emptyPopQueue,
  entryAt,
  hasRoom,
  type PopChange,
  type PopEntry,
  type PopQueue,
} from '../../../machines/pop-queue.ts'
import { propertyAt } from '../../../transport/frames.ts'
import { type Piece, pieceBytes } from '../../../transport/pop-exchange.ts'
import type { PopRequest } from '../../../transport/pop-messages.ts'
import { systemProperties } from '../../../transport/records.ts'
import { type BrokerState, queueOf } from '../broker-state.ts'
import type { RecordPlace } from '../retry/dead-letters.ts'
import type { ReadResult, Store, StoredQueue } from '../store/store.ts'
import { inTurn } from './in-turn.ts'
import { holdsOffset, type LastFrames } from './last-frames.ts'
import { addPiece, candidatesIn, pieceOf, placeOf } from './pieces.ts'
import type { PopRecord } from './pop-states.ts'
import type { RecordFilter } from './records.ts'

const READ_BYTES_MIN = 16 * 1024
const READ_BYTES_MAX = 256 * 1024
/** As large as a message is taken to be until it is read. */
const MESSAGE_BYTES = 512
/** What one receive looks at, so that a filter that lets nothing pass does not hold up everybody else. */
const LOOK_BYTES_MAX = 4 * 1024 * 1024
/** When a dead letter that a full disk does not take is tried again. */
const FULL_DISK_MS = 1_000

export type Collected = {
  record: PopRecord
  pieces: Piece[]
  attempts: number[]
  /** Given as often as may be; in the record they are done. */
  dead: { place: RecordPlace; attempts: number }[]
  /** It ended because of its limits, not because there was no more. */
  hasMore: boolean
  /** Why something could not be read; it is where it was. */
  failure: string | null
}

export type CollectOptions = {
  store: Store
  frames: LastFrames
  state: BrokerState
  request: PopRequest
  wants: RecordFilter
  bytesMax: number
  /** Wall time, milliseconds. */
  now: number
  failed(failure: { message: string }, topic: string, queueId: number): void
}

/** Looks at the queues in this order and calls back once, perhaps BEFORE it returns. */
export function collect(
  options: CollectOptions,
  queueIds: readonly number[],
  collected: (found: Collected) => void,
): void {
  const collector = new Collector(options)
  inTurn(
    queueIds,
    (queueId, next) => (collector.isFull ? next(collector.begin(queueId)) : collector.visit(queueId, next)),
    () => collected(collector.conclude()),
  )
}

/** How often it was tried BEFORE it came here, when this is where the group tries again what it could not handle. */
function triesBefore({ group, topic }: PopRequest, { frame, at }: RecordPlace): number {
  if (topic !== RETRY_PREFIX + group) return 0
  const times = Number(propertyAt(frame, at, systemProperties.reconsumeTimes))
  return Number.isSafeInteger(times) && times > 0 ? times : 0
}

/** What was found in one queue, `base` being what was known of it then. */
type Visit = {
  name: string
  base: PopQueue | undefined
  committed: number | undefined
  /** With the frame that holds it; null when it expired from the log. */
  again: { entry: PopEntry; frame: Buffer | null; before: number }[]
  next: number
  give: { candidate: Candidate; piece: Piece }[]
  hold: Candidate[]
}

class Collector {
  readonly #options: CollectOptions
  readonly #visits: Visit[] = []
  #messages = 0
  #bytes = 0
  #looked = 0
  #hasMore = false
  #failure: string | null = null

  constructor(options: CollectOptions) {
    this.#options = options
  }

  get isFull(): boolean {
    const { request, bytesMax } = this.#options
    const isFull = this.#messages >= request.max || this.#bytes >= bytesMax || this.#looked >= LOOK_BYTES_MAX
    if (isFull) this.#hasMore = true
    return isFull
  }

  /** Enough is found, and yet it is noted where the group begins in every queue. */
  begin(queueId: number): boolean {
    const { state, request } = this.#options
    if (!state.pops.of(request.group, queueOf(request.topic, queueId))) this.#visit(queueId)
    return true
  }

  #visit(queueId: number): Visit {
    const { store, state, request } = this.#options
    const { topic, group } = request
    const name = queueOf(topic, queueId)
    const base = state.pops.of(group, name)
    const committed = state.offsets.get(group)?.get(name)
    const next = base?.next ?? committed ?? this.#start(store.queue(topic, queueId))
    const visit: Visit = { name, base, committed, again: [], next, give: [], hold: [] }
    this.#visits.push(visit)
    return visit
  }

  visit(queueId: number, visited: () => void): void {
    const { store, request, now } = this.#options
    const { topic, max, ordered } = request
    const queue = store.queue(topic, queueId)
    const visit = this.#visit(queueId)
    const pop = visit.base ?? emptyPopQueue(visit.next)
    let last: Buffer | null = null
    const again = (entry: PopEntry, goOn: (goesOn?: boolean) => void): void => {
      const take = (frame: Buffer | null) => {
        last = frame ?? last
        goOn(this.#takeAgain(visit, entry, frame))
      }
      if (last !== null && holdsOffset(last, entry.offset)) return take(last)
      this.#read(
        queue,
        entry.offset,
        1,
        ({ status, frames }) => {
          if (status === 'found' || status === 'belowMin') take(frames[0] ?? null)
          else goOn()
        },
        goOn,
      )
    }
    inTurn(dueOf(pop, now, max - this.#messages, ordered), again, () => {
      if (this.isFull || !hasRoom(pop)) visited()
      else this.#fresh(queue, visit, pop, visited)
    })
  }

  /** A queue that appears later is read from its start: nothing of it was there before. */
  #start(queue: StoredQueue): number {
    const { store, state, request } = this.#options
    const { minOffset, maxOffset } = store.bounds(queue)
    const { group, topic, from } = request
    const isLater = state.pops.knows(group, topic) || state.isLater(group, topic, queue.queueId)
    return from === 'first' || isLater ? minOffset : maxOffset
  }

  /** False when there is no room for it. */
  #takeAgain(visit: Visit, entry: PopEntry, frame: Buffer | null): boolean {
    const { request } = this.#options
    const place = frame && placeOf(frame, entry.offset)
    const before = place ? triesBefore(request, place) : 0
    const isGiven = place !== null && before + entry.attempt < request.maxAttempts
    const bytes = isGiven ? pieceBytes(pieceOf(place)) : 0
    // One message is always taken, however large it is.
    if (this.#messages > 0 && this.#bytes + bytes > this.#options.bytesMax) {
      this.#bytes = this.#options.bytesMax
      return !this.isFull
    }
    visit.again.push({ entry, frame, before })
    this.#bytes += bytes
    if (isGiven) this.#messages++
    return !this.isFull
  }

  /** Reads on from `next` until there is no more, or enough. */
  #fresh(queue: StoredQueue, visit: Visit, pop: PopQueue, visited: () => void): void {
    // What this receive has chosen so far counts: of a message group that was given no more is given.
    let seen: PopQueue = pop
    const readOn = (_: undefined, goOn: (goesOn?: boolean) => void) => {
      const wanted = (this.#options.request.max - this.#messages) * MESSAGE_BYTES
      const bytes = Math.min(Math.max(wanted, READ_BYTES_MIN), READ_BYTES_MAX)
      this.#read(
        queue,
        seen.next,
        bytes,
        ({ status, frames, nextOffset }) => {
          if (status === 'belowMin') {
            seen = { ...seen, next: nextOffset }
            visit.next = nextOffset
            return goOn()
          }
          if (status !== 'found') return goOn(false)
          seen = this.#choose(seen, frames, visit)
          if (seen.next < nextOffset) this.#hasMore = true
          goOn(!this.isFull && seen.next === nextOffset)
        },
        () => goOn(false),
      )
    }
    inTurn(forEver(), readOn, visited)
  }

  #choose(seen: PopQueue, frames: readonly Buffer[], visit: Visit): PopQueue {
    const { state, request, bytesMax, wants } = this.#options
    const pieces = new Map<number, Piece>()
    const sentBack = state.sentBack.offsets(request.group, visit.name)
    const candidates = candidatesIn(frames, seen.next, { wants, sentBack }, pieces)
    const budget = {
      messages: request.max - this.#messages,
      bytes: bytesMax - this.#bytes,
      isOrdered: request.ordered,
    }
    const { next, give, hold, bytes } = chooseFresh(seen, candidates, budget, this.#messages === 0)
    for (const candidate of give) visit.give.push({ candidate, piece: pieces.get(candidate.offset)! })
    visit.hold.push(...hold)
    visit.next = next
    this.#messages += give.length
    this.#bytes += bytes
    for (const frame of frames) this.#looked += frame.length
    const entries = [...give, ...hold].map(({ offset, messageGroup }) => ({
      ...{ offset, messageGroup, attempt: 0, until: 0, token: 0 },
    }))
    return { next, entries: [...seen.entries, ...entries] }
  }

  conclude(): Collected {
    const found: Collected = {
      record: [],
      pieces: [],
      attempts: [],
      dead: [],
      hasMore: this.#hasMore,
      failure: this.#failure,
    }
    for (const visit of this.#visits) this.#concludeOne(visit, found)
    return found
  }

  #concludeOne({ name, base, committed, again, next, give, hold }: Visit, found: Collected): void {
    const { store, state, request, now } = this.#options
    const { group, maxAttempts } = request
    const known = state.pops.of(group, name)
    const isSame = base
      ? known?.next === base.next
      : known === undefined && state.offsets.get(group)?.get(name) === committed
    if (!isSame || !state.topics.has(request.topic)) {
      found.hasMore = true
      return
    }
    const change: Required<Pick<PopChange, 'give' | 'hold' | 'done' | 'prolong'>> = {
      give: [],
      hold: hold.map(({ offset, messageGroup }) => [offset, messageGroup!]),
      done: [],
      prolong: [],
    }
    for (const { entry, frame, before } of again) {
      const { offset, attempt, messageGroup } = entry
      // It may have been acknowledged while the disk was read.
      if (!known || entryAt(known, offset) !== entry) continue
      if (frame === null) change.done.push(offset)
      else if (before + attempt < maxAttempts) {
        addPiece(found.pieces, pieceOf(placeOf(frame, offset)))
        found.attempts.push(attempt + 1)
        change.give.push([offset, attempt + 1, messageGroup])
      } else if (store.accepting) {
        found.dead.push({ place: placeOf(frame, offset), attempts: before + attempt })
        change.done.push(offset)
      } else change.prolong.push([offset, now + FULL_DISK_MS])
    }
    // What waited for them may be given by the next receive.
    if (change.done.length > 0) found.hasMore = true
    for (const { candidate, piece } of give) {
      addPiece(found.pieces, piece)
      found.attempts.push(1)
      change.give.push([candidate.offset, 1, candidate.messageGroup])
    }
    const filled = Object.entries(change).filter(([, items]) => items.length > 0)
    if (filled.length === 0 && known?.next === next) return
    found.record.push({ group, queue: name, change: { ...Object.fromEntries(filled), next } })
  }

  #read(
    queue: StoredQueue,
    offset: number,
    bytes: number,
    read: (result: ReadResult) => void,
    failed: () => void,
  ): void {
    this.#options.frames.read(queue, offset, bytes, (outcome) => {
      if (outcome.ok) return read(outcome.value)
      this.#failure = outcome.failure.message
      this.#options.failed(outcome.failure, queue.topic, queue.queueId)
      failed()
    })
  }
}

function* forEver(): Generator<undefined> {
  for (;;) yield undefined
}
