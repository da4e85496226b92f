/**
 * Finds places in the segments whose entries are in index files only: by offset, and by time.
 *
 * Neither offsets nor store times fall from one segment to the next, nor within one: both are found by bisection, first of
 * the segments, then of the pages of one index. Whoever reads on is looked for where it read last. A segment that expires
 * meanwhile is a FAILURE, never another entry: whoever asked knows from the queue's min offset what it means.
 */
import { type Outcome, succeed } from '../../../transport/failures.ts'
import type { CommitLog } from './commit-log.ts'
import { firstIndex, type StoredQueue } from './consume-queue.ts'
import { damaged } from './damage.ts'
import { segmentPath } from './layout.ts'
import type { SealedIndexes } from './sealed-indexes.ts'
import type { Segment } from './segment.ts'
import { type IndexHead, PAGE_ENTRIES, type QueueRange } from './segment-index.ts'

type Done<T> = (outcome: Outcome<T>) => void
/** Where a queue's entries stand in the index of one segment. */
export type Found = { readonly segment: Segment; readonly head: IndexHead; readonly range: QueueRange }
/** An entry and the page that it stands in. */
export type Entry = { readonly entry: number; readonly page: Buffer }

export class SealedSearch {
  readonly #folder: string
  readonly #log: CommitLog
  readonly #indexes: SealedIndexes

  constructor(folder: string, log: CommitLog, indexes: SealedIndexes) {
    this.#folder = folder
    this.#log = log
    this.#indexes = indexes
  }

  /** The segments whose entries are in index files. */
  #sealed(): Segment[] {
    return this.#log.segments.filter(({ parts, removed }) => parts === null && !removed)
  }

  /** The sealed segment that holds an offset. */
  find(queue: StoredQueue, offset: number, done: Done<Found>): void {
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

  /** The first of the sealed segments whose last frame was stored at or after a time; null when there is none. */
  firstUntil(time: number, done: Done<Pick<Found, 'segment' | 'head'> | null>): void {
    const sealed = this.#sealed()
    this.#bisectTime(sealed, time, 0, sealed.length, done)
  }

  #bisectTime(
    sealed: readonly Segment[],
    time: number,
    low: number,
    high: number,
    done: Done<Pick<Found, 'segment' | 'head'> | null>,
  ): void {
    const isFound = low >= high
    const segment = sealed[isFound ? low : (low + high) >>> 1]
    if (segment === undefined) return done(succeed(null))
    this.#indexes.head(segment, (outcome) => {
      if (!outcome.ok) return done(outcome)
      const head = outcome.value
      if (isFound) return done(succeed({ segment, head }))
      const middle = (low + high) >>> 1
      if (head.lastTime >= time) this.#bisectTime(sealed, time, low, middle, done)
      else this.#bisectTime(sealed, time, middle + 1, high, done)
    })
  }

  /** The last of a queue's entries whose number is at most `most`; the one before its first when there is none. */
  lastAtMost(
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

export const pageOf = (entry: number): number => Math.floor(entry / PAGE_ENTRIES)
