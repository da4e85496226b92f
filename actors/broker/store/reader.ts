/**
 * Reads: from a queue and an offset to frames.
 *
 * Below `confirmPosition` only. The newest segments' entries are in memory, the others' in their index files; the frames
 * are in the hot tail or in blocks from disk. A read ends where one of these ends: it may bring less than asked for, but
 * NEVER less than one frame, and NEVER skips one.
 */
import { type Outcome, succeed } from '../../../transport/failures.ts'
import {
  countAt,
  frameBytesAt,
  kindAt,
  kinds,
  queueIdAt,
  queueOffsetAt,
  topicAt,
} from '../../../transport/frames.ts'
import type { BlockCache, Wanted } from './block-cache.ts'
import type { CommitLog } from './commit-log.ts'
import { firstIndex, type QueuePart, type StoredQueue } from './consume-queue.ts'
import { damaged } from './damage.ts'
import { segmentPath } from './layout.ts'
import type { SealedIndexes } from './sealed-indexes.ts'
import type { Segment } from './segment.ts'
import {
  ENTRY_BYTES,
  entryBytes,
  entryOffset,
  entryPosition,
  entryTime,
  type IndexHead,
  PAGE_ENTRIES,
  type QueueRange,
} from './segment-index.ts'
import type { Bounds, ReadResult } from './store.ts'

type Done<T> = (outcome: Outcome<T>) => void
type Found = { readonly segment: Segment; readonly head: IndexHead; readonly range: QueueRange }
/** An entry and the page that it stands in. */
type Entry = { readonly entry: number; readonly page: Buffer }

export class Reader {
  readonly #folder: string
  readonly #log: CommitLog
  readonly #cache: BlockCache
  readonly #indexes: SealedIndexes
  readonly #confirmPosition: () => number

  constructor(
    folder: string,
    log: CommitLog,
    cache: BlockCache,
    indexes: SealedIndexes,
    confirmPosition: () => number,
  ) {
    this.#folder = folder
    this.#log = log
    this.#cache = cache
    this.#indexes = indexes
    this.#confirmPosition = confirmPosition
  }

  bounds(queue: StoredQueue): Bounds {
    const { minOffset } = queue
    return { minOffset, maxOffset: Math.max(minOffset, this.#maxOffset(queue)) }
  }

  #maxOffset(queue: StoredQueue): number {
    const confirmed = this.#confirmPosition()
    // What was confirmed is not known well enough: nothing is shown until it is.
    if (confirmed < this.#log.readFrom) return 0
    let max = queue.nextOffset
    for (let part = queue.part; part !== null; part = part.previous) {
      const { start } = part.segment
      const last = part.count - 1
      if (start + part.positionOf(last) + part.bytesOf(last) <= confirmed) return max
      const count = part.countBelow(confirmed - start)
      if (count > 0) return part.offsetOf(count)
      max = part.baseOffset
    }
    return max
  }

  read(queue: StoredQueue, offset: number, maxBytes: number, done: Done<ReadResult>): void {
    const { minOffset, maxOffset } = this.bounds(queue)
    const nothing = (status: ReadResult['status'], nextOffset: number) =>
      done(succeed({ status, frames: [], nextOffset, minOffset, maxOffset }))
    if (offset < minOffset) return nothing('belowMin', minOffset)
    if (offset > maxOffset) return nothing('aboveMax', maxOffset)
    if (offset === maxOffset) return nothing('atEnd', maxOffset)

    const answer: Done<readonly Buffer[]> = (outcome) => {
      if (outcome.ok) {
        const frames = outcome.value
        const last = frames.at(-1)!
        const nextOffset = queueOffsetAt(last, 0) + countAt(last, 0)
        done(succeed({ status: 'found', frames, nextOffset, minOffset, maxOffset }))
      } else if (offset < queue.minOffset) {
        // It expired while it was looked for.
        nothing('belowMin', queue.minOffset)
      } else done(outcome)
    }
    let part = queue.part
    while (part !== null && part.baseOffset > offset) part = part.previous
    if (part !== null) this.#readPart(part, offset, maxBytes, answer)
    else this.#readSealed(queue, offset, maxBytes, answer)
  }

  #readPart(part: QueuePart, offset: number, maxBytes: number, done: Done<readonly Buffer[]>): void {
    const { start } = part.segment
    const limit = Math.min(part.segment.bytes, this.#confirmPosition() - start)
    const { hot } = this.#log
    const frames: Buffer[] = []
    const cold: Wanted = { positions: [], lengths: [] }
    let left = maxBytes
    for (let i = part.indexOf(offset); i < part.count; i++) {
      const position = part.positionOf(i)
      const length = part.bytesOf(i)
      if (position + length > limit) break
      left -= length
      if (left < 0 && frames.length + cold.positions.length > 0) break
      const frame = hot.frame(start + position, length)
      if (frame === null) {
        cold.positions.push(position)
        cold.lengths.push(length)
      } else if (cold.positions.length > 0) break
      else frames.push(frame)
    }
    if (frames.length > 0) done(succeed(frames))
    else this.#fetch(part.queue, part.segment, offset, cold, limit, done)
  }

  #readSealed(queue: StoredQueue, offset: number, maxBytes: number, done: Done<readonly Buffer[]>): void {
    this.#find(queue, offset, (found) => {
      if (!found.ok) return done(found)
      const { segment, range } = found.value
      queue.lastRead = segment
      const delta = offset - range.startOffset
      const share = delta / (range.endOffset - range.startOffset)
      this.#lastAtMost(found.value, entryOffset, delta, share, (outcome) => {
        if (!outcome.ok) return done(outcome)
        const { entry, page } = outcome.value
        const pageEnd = pageOf(entry) * PAGE_ENTRIES + page.length / ENTRY_BYTES
        const end = Math.min(range.firstEntry + range.count, pageEnd)
        const wanted: Wanted = { positions: [], lengths: [] }
        let left = maxBytes
        for (let i = entry; i < end; i++) {
          const length = entryBytes(page, i % PAGE_ENTRIES)
          left -= length
          if (left < 0 && i > entry) break
          wanted.positions.push(entryPosition(page, i % PAGE_ENTRIES))
          wanted.lengths.push(length)
        }
        this.#fetch(queue, segment, offset, wanted, segment.bytes, done)
      })
    })
  }

  /** Gets frames from disk and makes sure that they are the ones meant: of this queue, without a gap. */
  #fetch(
    queue: StoredQueue,
    segment: Segment,
    offset: number,
    wanted: Wanted,
    limit: number,
    done: Done<readonly Buffer[]>,
  ): void {
    this.#cache.frames(segment, wanted, limit, (outcome) => {
      if (!outcome.ok) return done(outcome)
      let due = -1
      for (const [i, frame] of outcome.value.entries()) {
        const first = queueOffsetAt(frame, 0)
        const isDue = due === -1 ? first <= offset && offset < first + countAt(frame, 0) : first === due
        // The checksums vouch for the frame and for the index: one name is proof enough that they fit together.
        if (!isDue || (due === -1 && !isOf(queue, frame)) || frameBytesAt(frame, 0) !== wanted.lengths[i]) {
          const path = segmentPath(this.#folder, segment.start)
          return done(
            damaged(
              path,
              wanted.positions[i]!,
              `offset ${due === -1 ? offset : due} of ${queue.topic} is due`,
            ),
          )
        }
        due = first + countAt(frame, 0)
      }
      done(outcome)
    })
  }

  /** The segments whose entries are in index files. */
  #sealed(): Segment[] {
    return this.#log.segments.filter(({ parts, removed }) => parts === null && !removed)
  }

  /** The sealed segment that holds an offset. */
  #find(queue: StoredQueue, offset: number, done: Done<Found>): void {
    const hint = queue.lastRead
    const search = (): void => {
      const sealed = this.#sealed()
      this.#bisect(queue, offset, sealed, 0, sealed.length, done)
    }
    if (hint === null || hint.removed) return search()
    // A reader that reads on finds it where it read last, or in the next one.
    this.#probe(queue, offset, hint, (first) => {
      if (!first.ok || first.value.found !== null) return done(first.ok ? succeed(first.value.found!) : first)
      const { next } = hint
      if (first.value.side < 0 || next === null || next.parts !== null) return search()
      this.#probe(queue, offset, next, (second) => {
        if (!second.ok) done(second)
        else if (second.value.found !== null) done(succeed(second.value.found))
        else search()
      })
    })
  }

  #bisect(
    queue: StoredQueue,
    offset: number,
    sealed: readonly Segment[],
    low: number,
    high: number,
    done: Done<Found>,
  ): void {
    if (low >= high) {
      const what = `no index knows offset ${offset} of queue ${queue.queueId} of ${queue.topic}`
      return done(damaged(segmentPath(this.#folder, sealed[0]?.start ?? 0), 0, what))
    }
    const middle = (low + high) >>> 1
    this.#probe(queue, offset, sealed[middle]!, (outcome) => {
      if (!outcome.ok) return done(outcome)
      const { found, side } = outcome.value
      if (found !== null) done(succeed(found))
      else if (side < 0) this.#bisect(queue, offset, sealed, low, middle, done)
      else this.#bisect(queue, offset, sealed, middle + 1, high, done)
    })
  }

  /** Whether a segment holds an offset, or on which side of it the offset is. */
  #probe(
    queue: StoredQueue,
    offset: number,
    segment: Segment,
    done: Done<{ found: Found | null; side: number }>,
  ): void {
    this.#indexes.head(segment, (outcome) => {
      if (!outcome.ok) return done(outcome)
      const range = outcome.value.find(queue)
      if (range !== undefined && offset < range.startOffset) return done(succeed({ found: null, side: -1 }))
      if (range === undefined || offset >= range.endOffset) return done(succeed({ found: null, side: 1 }))
      done(succeed({ found: { segment, head: outcome.value, range }, side: 0 }))
    })
  }

  /** See Store.offsetByTime. Store times never fall from one segment's index to the next. */
  offsetByTime(queue: StoredQueue, time: number, done: Done<number>): void {
    const answer = (offset: number) => {
      const { minOffset, maxOffset } = this.bounds(queue)
      done(succeed(Math.min(Math.max(offset, minOffset), maxOffset)))
    }
    const sealed = this.#sealed()
    this.#firstUntil(sealed, time, 0, sealed.length, (outcome) => {
      if (!outcome.ok) return done(outcome)
      if (outcome.value === null) return answer(timeInParts(queue, time))
      const { segment, head } = outcome.value
      const range = head.find(queue)
      // All that comes after this segment is late enough: when nothing in it is, the next offset is the answer.
      if (range === undefined) return answer(0)
      if (range.count === 0) return answer(range.endOffset)
      const last = range.firstEntry + range.count - 1
      this.#lastAtMost({ segment, head, range }, entryTime, time - range.baseTime - 1, 0.5, (found) => {
        if (!found.ok) return done(found)
        const entry = found.value.entry + 1
        if (entry > last) return answer(range.endOffset)
        this.#indexes.page(segment, head, pageOf(entry), (page) =>
          page.ok ? answer(range.startOffset + entryOffset(page.value, entry % PAGE_ENTRIES)) : done(page),
        )
      })
    })
  }

  /** The first of the sealed segments whose last frame was stored at or after a time; null when there is none. */
  #firstUntil(
    sealed: readonly Segment[],
    time: number,
    low: number,
    high: number,
    done: Done<{ segment: Segment; head: IndexHead } | null>,
  ): void {
    const isFound = low >= high
    const segment = sealed[isFound ? low : (low + high) >>> 1]
    if (segment === undefined) return done(succeed(null))
    this.#indexes.head(segment, (outcome) => {
      if (!outcome.ok) return done(outcome)
      const head = outcome.value
      if (isFound) return done(succeed({ segment, head }))
      const middle = (low + high) >>> 1
      if (head.lastTime >= time) this.#firstUntil(sealed, time, low, middle, done)
      else this.#firstUntil(sealed, time, middle + 1, high, done)
    })
  }

  /** The last of a queue's entries whose number is at most `most`; the one before its first when there is none. */
  #lastAtMost(
    { segment, head, range }: Found,
    numberOf: (page: Buffer, at: number) => number,
    most: number,
    share: number,
    done: Done<Entry>,
  ): void {
    const { firstEntry, count } = range
    const search = (low: number, high: number, guess: number): void =>
      this.#indexes.page(segment, head, guess, (outcome) => {
        if (!outcome.ok) return done(outcome)
        const page = outcome.value
        const base = guess * PAGE_ENTRIES
        const first = Math.max(firstEntry, base)
        const own = Math.min(firstEntry + count, base + PAGE_ENTRIES) - first
        const below = firstIndex(own, (i) => numberOf(page, first - base + i) > most)
        if (below === own && guess < high) search(guess + 1, high, (guess + 1 + high) >>> 1)
        else if (below === 0 && guess > low) search(low, guess - 1, (low + guess - 1) >>> 1)
        else if (below === 0 && first > firstEntry) {
          // It is the last one of the page before, which was looked at already.
          this.#indexes.page(segment, head, guess - 1, (before) =>
            done(before.ok ? succeed({ entry: first - 1, page: before.value }) : before),
          )
        } else done(succeed({ entry: first + below - 1, page }))
      })
    const guess = firstEntry + Math.min(count - 1, Math.floor(share * count))
    search(pageOf(firstEntry), pageOf(firstEntry + count - 1), pageOf(guess))
  }
}

const pageOf = (entry: number): number => Math.floor(entry / PAGE_ENTRIES)

function timeInParts(queue: StoredQueue, time: number): number {
  let offset = queue.nextOffset
  for (let part = queue.part; part !== null; part = part.previous) {
    const index = part.indexOfTime(time)
    if (index < part.count) offset = part.offsetOf(index)
  }
  return offset
}

const isOf = (queue: StoredQueue, frame: Buffer): boolean =>
  kindAt(frame, 0) === kinds.messages &&
  queueIdAt(frame, 0) === queue.queueId &&
  topicAt(frame, 0) === queue.topic
