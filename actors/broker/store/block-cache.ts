/**
 * Frames that are no longer in the hot tail: read from the segment files in blocks that all queues share.
 *
 * The queues of a broker are interleaved in the log, so the block that one backlog needs holds its neighbours' frames
 * too. A block is read when a reader wants several frames of it or somebody wanted one of it lately; a lone frame is
 * read alone. A frame is handed out only AFTER its checksums were checked.
 */
import { fail, type Outcome, succeed } from '../../../transport/failures.ts'
import { frameFault } from '../../../transport/frames.ts'
import { damaged } from './damage.ts'
import { segmentPath } from './layout.ts'
import type { OpenFiles } from './open-files.ts'
import type { Segment } from './segment.ts'

const BLOCK_BYTES = 256 * 1024
/** From so many wanted frames on, one read of the whole block is cheaper than one for each. */
const DENSE_FRAMES = 4
/** A read that would need more pieces from disk than this ends early. */
const MOST_PIECES = 32
const MOST_TOUCHED = 4096

/** Frames of one segment, in the order of their positions. */
export type Wanted = { readonly positions: number[]; readonly lengths: number[] }

/** A stretch of the segment that is, or will be, in memory. */
type Piece = { readonly from: number; readonly to: number; readonly isBlock: boolean; bytes: Buffer | null }

export class BlockCache {
  readonly #folder: string
  readonly #files: OpenFiles
  readonly #most: number
  /** By the log position of a block's first byte; the least recently used first. */
  readonly #blocks = new Map<number, Buffer>()
  /** Blocks of which a lone frame was read lately. */
  readonly #touched = new Set<number>()
  readonly #loading = new Map<number, ((outcome: Outcome<Buffer>) => void)[]>()

  constructor(folder: string, files: OpenFiles, cacheBytes: number) {
    this.#folder = folder
    this.#files = files
    this.#most = Math.max(1, Math.floor(cacheBytes / BLOCK_BYTES))
  }

  /**
   * The first of the wanted frames, at least one. `limit` is where the sound bytes of the segment end.
   * Calls back BEFORE it returns when all of them are in cached blocks.
   */
  frames(segment: Segment, wanted: Wanted, limit: number, done: (outcome: Outcome<Buffer[]>) => void): void {
    const { pieces, count } = this.#plan(segment, wanted, limit)
    let missing = 1
    let failure: Outcome<never> | null = null
    const arrived = (): void => {
      if (--missing === 0) done(failure ?? this.#cutOut(segment, wanted, count, pieces))
    }
    for (const piece of pieces) {
      if (piece.bytes !== null) continue
      missing++
      this.#load(segment, piece, (outcome) => {
        if (outcome.ok) piece.bytes = outcome.value
        else failure = outcome
        arrived()
      })
    }
    arrived()
  }

  /** Which pieces hold the frames, and how many of the frames they hold. */
  #plan(segment: Segment, { positions, lengths }: Wanted, limit: number): { pieces: Piece[]; count: number } {
    const pieces: Piece[] = []
    let toLoad = 0
    let covered = 0
    let judged = -1
    let whole = false
    for (let i = 0; i < positions.length; i++) {
      const from = positions[i]!
      const to = from + lengths[i]!
      if (to <= covered) continue
      let block = from - (from % BLOCK_BYTES)
      if (block !== judged) {
        judged = block
        whole = this.#isWorthIt(segment, block, limit, positions, i)
      }
      const before = pieces.length
      if (whole && to - from <= BLOCK_BYTES) {
        if (from < covered) block += BLOCK_BYTES
        for (; block < to; block += BLOCK_BYTES) {
          const end = Math.min(block + BLOCK_BYTES, limit)
          pieces.push({ from: block, to: end, isBlock: true, bytes: this.#cached(segment, block, end) })
          covered = end
        }
      } else {
        pieces.push({ from, to, isBlock: false, bytes: null })
        covered = to
      }
      for (let p = before; p < pieces.length; p++) if (pieces[p]!.bytes === null) toLoad++
      if (toLoad > MOST_PIECES && before > 0) {
        pieces.length = before
        return { pieces, count: i }
      }
    }
    return { pieces, count: positions.length }
  }

  #isWorthIt(segment: Segment, block: number, limit: number, positions: number[], first: number): boolean {
    const end = Math.min(block + BLOCK_BYTES, limit)
    const key = segment.start + block
    if (this.#cached(segment, block, end) !== null || this.#touched.delete(key)) return true
    if ((positions[first + DENSE_FRAMES - 1] ?? end) < end) return true
    this.#touched.add(key)
    if (this.#touched.size > MOST_TOUCHED) this.#touched.delete(this.#touched.values().next().value!)
    return false
  }

  #cached(segment: Segment, block: number, end: number): Buffer | null {
    const key = segment.start + block
    const bytes = this.#blocks.get(key)
    // The last block of a segment grows: what was read of it earlier may be less than there is now.
    if (bytes === undefined || bytes.length < end - block) return null
    this.#blocks.delete(key)
    this.#blocks.set(key, bytes)
    return bytes
  }

  #load(segment: Segment, piece: Piece, done: (outcome: Outcome<Buffer>) => void): void {
    if (!piece.isBlock) return this.#read(segment, piece, done)
    const key = segment.start + piece.from
    const others = this.#loading.get(key)
    if (others !== undefined) {
      // The same block is on its way; when it brings less than is needed here, it is asked for again.
      const long = (bytes: Buffer) => bytes.length >= piece.to - piece.from
      others.push((outcome) =>
        outcome.ok && !long(outcome.value) ? this.#load(segment, piece, done) : done(outcome),
      )
      return
    }
    const waiting = [done]
    this.#loading.set(key, waiting)
    this.#read(segment, piece, (outcome) => {
      this.#loading.delete(key)
      if (outcome.ok && !segment.removed) this.#keep(key, outcome.value)
      for (const hear of waiting) hear(outcome)
    })
  }

  #read(segment: Segment, { from, to }: Piece, done: (outcome: Outcome<Buffer>) => void): void {
    const path = segmentPath(this.#folder, segment.start)
    // To open the file of a segment that has left would make it again.
    if (segment.removed) return done(fail('missing', `${path} has left the log`))
    const into = Buffer.allocUnsafeSlow(to - from)
    this.#files.read(path, into, from, (outcome) => {
      if (!outcome.ok) done(outcome)
      else if (outcome.value < into.length) done(damaged(path, from + outcome.value, 'the file ends here'))
      else done(succeed(into))
    })
  }

  #keep(key: number, bytes: Buffer): void {
    this.#blocks.delete(key)
    this.#blocks.set(key, bytes)
    if (this.#blocks.size > this.#most) this.#blocks.delete(this.#blocks.keys().next().value!)
  }

  #cutOut(
    segment: Segment,
    { positions, lengths }: Wanted,
    count: number,
    pieces: Piece[],
  ): Outcome<Buffer[]> {
    const frames: Buffer[] = new Array(count)
    let p = 0
    for (let i = 0; i < count; i++) {
      const from = positions[i]!
      const length = lengths[i]!
      while (from >= pieces[p]!.to) p++
      const { bytes, from: base, to } = pieces[p]!
      const frame =
        from + length <= to
          ? bytes!.subarray(from - base, from - base + length)
          : joined(pieces, p, from, length)
      const fault = frameFault(frame, 0, length)
      if (fault !== null) return this.#damaged(segment, from, fault)
      frames[i] = frame
    }
    return succeed(frames)
  }

  #damaged(segment: Segment, position: number, fault: string): Outcome<never> {
    // What is bad in memory may be good on disk: nobody is to see these bytes again.
    this.#blocks.clear()
    return damaged(segmentPath(this.#folder, segment.start), position, fault)
  }

  /** Forgets a segment and calls back AFTER nobody reads its file any more. */
  forget(segment: Segment, done: () => void): void {
    for (const key of [...this.#blocks.keys()])
      if (key >= segment.start && key < segment.end) this.#blocks.delete(key)
    this.#files.forget(segmentPath(this.#folder, segment.start), done)
  }
}

/** A frame that goes over the border of two pieces. */
function joined(pieces: Piece[], first: number, from: number, length: number): Buffer {
  const frame = Buffer.allocUnsafe(length)
  let have = 0
  for (let p = first; have < length; p++) {
    const { bytes, from: base } = pieces[p]!
    have += bytes!.copy(frame, have, from + have - base, from + length - base)
  }
  return frame
}
