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
import type { QueuePart, StoredQueue } from './consume-queue.ts'
import { damaged } from './damage.ts'
import { segmentPath } from './layout.ts'
import type { SealedIndexes } from './sealed-indexes.ts'
import { pageOf, SealedSearch } from './sealed-search.ts'
import type { Segment } from './segment.ts'
import {
  ENTRY_BYTES,
  entryBytes,
  entryOffset,
  entryPosition,
  entryTime,
  PAGE_ENTRIES,
} from './segment-index.ts'
import type { Bounds, ReadResult } from './store.ts'

type Done<T> = (outcome: Outcome<T>) => void

export class Reader {
  readonly #folder: string
  readonly #log: CommitLog
  readonly #cache: BlockCache
  readonly #indexes: SealedIndexes
  readonly #search: SealedSearch
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
    this.#search = new SealedSearch(folder, log, indexes)
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
    this.#search.find(queue, offset, (found) => {
      if (!found.ok) return done(found)
      const { segment, range } = found.value
      queue.lastRead = segment
      const delta = offset - range.startOffset
      const share = delta / (range.endOffset - range.startOffset)
      this.#search.lastAtMost(found.value, entryOffset, delta, share, (outcome) => {
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

  /** See Store.offsetByTime. Store times never fall from one segment's index to the next. */
  offsetByTime(queue: StoredQueue, time: number, done: Done<number>): void {
    const answer = (offset: number) => {
      const { minOffset, maxOffset } = this.bounds(queue)
      done(succeed(Math.min(Math.max(offset, minOffset), maxOffset)))
    }
    this.#search.firstUntil(time, (outcome) => {
      if (!outcome.ok) return done(outcome)
      if (outcome.value === null) return answer(timeInParts(queue, time))
      const { segment, head } = outcome.value
      const range = head.find(queue)
      // All that comes after this segment is late enough: when nothing in it is, the next offset is the answer.
      if (range === undefined) return answer(0)
      if (range.count === 0) return answer(range.endOffset)
      const last = range.firstEntry + range.count - 1
      this.#search.lastAtMost(
        { segment, head, range },
        entryTime,
        time - range.baseTime - 1,
        0.5,
        (found) => {
          if (!found.ok) return done(found)
          const entry = found.value.entry + 1
          if (entry > last) return answer(range.endOffset)
          this.#indexes.page(segment, head, pageOf(entry), (page) =>
            page.ok ? answer(range.startOffset + entryOffset(page.value, entry % PAGE_ENTRIES)) : done(page),
          )
        },
      )
    })
  }
}

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
