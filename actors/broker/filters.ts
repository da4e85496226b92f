/**
 * Filters at the broker: which frames a reader wants, decided by the heads and the properties of their records.
 *
 * A frame goes whole or not at all: it is left out ONLY when the reader wants none of its messages; the reader looks at
 * each message again. Bodies are not looked at. A pull looks through a bounded number of bytes and then says how far it
 * came, so that nobody waits for somebody who wants little of a long queue; a frame that alone would take too long goes
 * to its reader as it is.
 *
 * RocketMQ: broker/filter/ExpressionMessageFilter.java, broker/filter/ConsumerFilterManager.java
 */
import {
  type Filter,
  type ParsedFilter,
  parseExpression,
  type RecordView,
} from '../../machines/filter/filter.ts'
import { type Outcome, succeed } from '../../transport/failures.ts'
import {
  countAt,
  propertyAt,
  propertyBytesAt,
  queueOffsetAt,
  recordBytesAt,
  recordsAt,
  tagsCodeAt,
} from '../../transport/frames.ts'
import type { ReadResult, Store, StoredQueue } from './store/store.ts'

const FILTERS_MAX = 1_000
/** Of all filters that are kept, in characters. */
const TEXT_MAX = 1024 * 1024
/** What one pull looks through: less with a long filter, for the broker does nothing else meanwhile. */
const SCAN_BYTES_MAX = 1024 * 1024
const SCAN_WORK_MAX = SCAN_BYTES_MAX * 256
const READS_MAX = 64
/** Of one frame: bytes of properties times characters of the filter. */
const FRAME_WORK_MAX = SCAN_WORK_MAX / 4

/** Filters by their text; the least recently used goes first. */
export class Filters {
  readonly #parsed = new Map<string, ParsedFilter>()
  #characters = 0

  get size(): number {
    return this.#parsed.size
  }

  /** The same text gives the same function, for as long as it is in use. */
  of(text: string): ParsedFilter {
    let parsed = this.#parsed.get(text)
    if (parsed !== undefined) this.#parsed.delete(text)
    else {
      parsed = parseExpression(text)
      this.#characters += text.length
      while (this.#parsed.size >= FILTERS_MAX || (this.#characters > TEXT_MAX && this.#parsed.size > 0))
        this.#forgetOldest()
    }
    this.#parsed.set(text, parsed)
    return parsed
  }

  #forgetOldest(): void {
    const oldest = this.#parsed.keys().next().value!
    this.#parsed.delete(oldest)
    this.#characters -= oldest.length
  }
}

/** The record at hand: one object for all of them. */
class Cursor implements RecordView {
  bytes: Buffer = Buffer.alloc(0)
  at = 0

  get tagsCode(): number {
    return tagsCodeAt(this.bytes, this.at)
  }

  property(name: string): string | undefined {
    return propertyAt(this.bytes, this.at, name)
  }
}

const cursor = new Cursor()

/** Whether the record at `at` is wanted. BEFORE: its frame is sound. */
export function isRecordWanted(bytes: Buffer, at: number, filter: Filter): boolean {
  cursor.bytes = bytes
  cursor.at = at
  return filter(cursor)
}

/** A filter with the text that it was made of. */
export type TextFilter = { readonly filter: Filter; readonly text: string }

/** Whether a frame holds a message that is wanted, or takes too long to look through. BEFORE: the frame is sound. */
export function isWanted(frame: Buffer, { filter, text }: TextFilter): boolean {
  cursor.bytes = frame
  cursor.at = recordsAt(frame, 0)
  let bytesLeft = FRAME_WORK_MAX / text.length
  for (let left = countAt(frame, 0); left > 0; left--) {
    if (filter(cursor)) return true
    bytesLeft -= propertyBytesAt(frame, cursor.at)
    if (bytesLeft < 0) return true
    cursor.at += recordBytesAt(frame, cursor.at)
  }
  return false
}

/** As Store.read gives it, and 'passed': nothing wanted was found up to `nextOffset`, and there is more. */
export type FilteredResult = Omit<ReadResult, 'status'> & { status: ReadResult['status'] | 'passed' }
type Done = (outcome: Outcome<FilteredResult>) => void

/**
 * The wanted frames from `offset` on, at most `maxBytes` of them or one. 'atEnd': nothing wanted follows, and
 * `nextOffset` is where the queue ends.
 */
export function readFiltered(
  store: Store,
  queue: StoredQueue,
  offset: number,
  maxBytes: number,
  filter: TextFilter,
  done: Done,
): void {
  const scanMax = Math.min(SCAN_BYTES_MAX, SCAN_WORK_MAX / filter.text.length)
  const kept: Buffer[] = []
  let keptBytes = 0
  let scanned = 0
  let reads = 0
  let next = offset

  const step = (): void => store.read(queue, next, maxBytes, heard)
  const heard = (outcome: Outcome<ReadResult>): void => {
    const isFirst = reads++ === 0
    if (!outcome.ok) return kept.length === 0 ? done(outcome) : finish(store.bounds(queue))
    const { status, frames } = outcome.value
    if (status !== 'found') {
      // What is odd about a later offset is told to the pull that begins there.
      if (isFirst || (status === 'atEnd' && kept.length === 0)) return done(outcome)
      return finish(outcome.value)
    }
    for (const frame of frames) {
      scanned += frame.length
      if (isWanted(frame, filter)) {
        if (kept.length > 0 && keptBytes + frame.length > maxBytes) return finish(outcome.value)
        kept.push(frame)
        keptBytes += frame.length
      }
      next = queueOffsetAt(frame, 0) + countAt(frame, 0)
      if (scanned >= scanMax) return finish(outcome.value)
    }
    if (keptBytes >= maxBytes || reads >= READS_MAX) finish(outcome.value)
    else step()
  }
  const finish = ({ minOffset, maxOffset }: { minOffset: number; maxOffset: number }): void => {
    const status = kept.length > 0 ? 'found' : 'passed'
    done(succeed({ status, frames: kept, nextOffset: next, minOffset, maxOffset }))
  }
  step()
}
