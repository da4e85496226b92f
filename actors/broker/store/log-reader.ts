/**
 * The log by position: what one replica sends to another.
 *
 * From memory where it is there, else from the segment's file; from disk every frame is checked, so that damage here is
 * told here and not there. Whole frames only, NEVER beyond the segment.
 */
import { fail, type Outcome, succeed } from '../../../transport/failures.ts'
import { FRAME_HEAD_BYTES, frameBytesAt, frameFault } from '../../../transport/frames.ts'
import { attempt, must, need } from './asking.ts'
import type { CommitLog } from './commit-log.ts'
import { damaged } from './damage.ts'
import { segmentPath } from './layout.ts'
import type { OpenFiles } from './open-files.ts'
import type { Segment } from './segment.ts'
import type { LogBytes } from './store.ts'

type Done<T> = (outcome: Outcome<T>) => void

const NOTHING = Buffer.alloc(0)

export class LogReader {
  readonly #folder: string
  readonly #log: CommitLog
  readonly #files: OpenFiles

  constructor(folder: string, log: CommitLog, files: OpenFiles) {
    this.#folder = folder
    this.#log = log
    this.#files = files
  }

  /** See Store.readLog. */
  read(position: number, maxBytes: number, done: Done<LogBytes>): void {
    const { hot, endPosition, minPosition } = this.#log
    if (position === endPosition) return done(succeed({ bytes: NOTHING, end: position }))
    if (position < minPosition || position > endPosition)
      return done(fail('missing', `position ${position}: the log goes from ${minPosition} to ${endPosition}`))
    if (position < hot.start) {
      attempt(() => this.#readCold(position, maxBytes)).then(done)
      return
    }
    const bytes = hot.frames(position, maxBytes)
    if (bytes === null) done(fail('malformed', `no frame begins at position ${position}`))
    else done(succeed({ bytes, end: position + bytes.length }))
  }

  async #readCold(position: number, maxBytes: number): Promise<LogBytes> {
    const segment = this.#log.segments.findLast(({ start }) => start <= position)!
    // Beyond it nothing may be written yet.
    const end = Math.min(segment.end, this.#log.hot.start)
    const first = await this.#bytes(segment, position, Math.min(maxBytes, end - position))
    let length = wholeFrames(first)
    if (length > 0) return this.#checked(segment, position, first.subarray(0, length))
    length = first.length < FRAME_HEAD_BYTES ? FRAME_HEAD_BYTES : frameBytesAt(first, 0)
    // Not even one fits, or what stands there is no frame at all.
    if (length > end - position) must(this.#damaged(segment, position, 'short'))
    if (first.length < FRAME_HEAD_BYTES) return this.#readCold(position, length)
    return this.#checked(segment, position, await this.#bytes(segment, position, length))
  }

  async #bytes(segment: Segment, position: number, length: number): Promise<Buffer> {
    const path = segmentPath(this.#folder, segment.start)
    // To open the file of a segment that has left would make it again.
    if (segment.removed) must(fail('missing', `${path} has left the log`))
    const into = Buffer.allocUnsafeSlow(length)
    const count = await need<number>((done) => this.#files.read(path, into, position - segment.start, done))
    if (count < length) must(this.#damaged(segment, position + count, 'short'))
    return into
  }

  #checked(segment: Segment, position: number, bytes: Buffer): LogBytes {
    for (let at = 0; at < bytes.length; at += frameBytesAt(bytes, at)) {
      const fault = frameFault(bytes, at, bytes.length)
      if (fault !== null) must(this.#damaged(segment, position + at, fault))
    }
    return { bytes, end: position + bytes.length }
  }

  #damaged(segment: Segment, position: number, fault: string): Outcome<never> {
    return damaged(segmentPath(this.#folder, segment.start), position - segment.start, fault)
  }
}

/** How many of the bytes are whole frames, by their lengths. */
function wholeFrames(bytes: Buffer): number {
  let at = 0
  while (bytes.length - at >= FRAME_HEAD_BYTES) {
    const length = frameBytesAt(bytes, at)
    if (length < FRAME_HEAD_BYTES || length > bytes.length - at) break
    at += length
  }
  return at
}
