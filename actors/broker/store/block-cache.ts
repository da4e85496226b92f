/**
 * Frames that are no longer in the hot tail: read from the segment files in blocks that all queues share.
 *
 * The queues of a broker are interleaved in the log, so the block that one backlog needs holds its neighbours' frames
 * too. A block is read when a reader wants several frames of it or somebody wanted one of it lately; a lone frame is
 * read alone. A frame is handed out only AFTER its checksums were checked, as a copy: blocks are used again, so that the
 * cache never holds more memory than it was given, and a small frame that somebody keeps does not keep a block.
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
/** Blocks kept for use again. */
const MOST_FREE = 16

type Done<T> = (outcome: Outcome<T>) => void

/** Frames of one segment, in the order of their positions. */
export type Wanted = { readonly positions: number[]; readonly lengths: number[] }

/** Memory for a block. It is free for others when the cache has let go of it and nobody is copying from it. */
type Block = { readonly bytes: Buffer; length: number; readers: number; isCached: boolean; usedAt: number }

/** A stretch of the segment that is, or will be, in memory: a block, or bytes that only this read has. */
type Piece = {
  readonly from: number
  readonly to: number
  readonly isBlock: boolean
  block: Block | null
  bytes: Buffer | null
}

export class BlockCache {
  readonly #folder: string
  readonly #files: OpenFiles
  readonly #most: number
  /** By the log position of a block's first byte; the least recently used first. */
  readonly #blocks = new Map<number, Block>()
  #uses = 0
  readonly #free: Block[] = []
  /** Blocks of which a lone frame was read lately. */
  readonly #touched = new Set<number>()
  readonly #loading = new Map<number, Done<Block>[]>()

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
      if (--missing > 0) return
      const outcome = failure ?? this.#copyOut(segment, wanted, count, pieces)
      for (const { block } of pieces) if (block !== null) this.#leave(block)
      done(outcome)
    }
    const got = (outcome: Outcome<unknown>): void => {
      if (!outcome.ok) failure = outcome
      arrived()
    }
    for (const piece of pieces) {
      if (piece.bytes !== null) continue
      missing++
      if (piece.isBlock) this.#load(segment, piece, got)
      else {
        piece.bytes = Buffer.allocUnsafeSlow(piece.to - piece.from)
        this.#read(segment, piece.bytes, piece.from, got)
      }
    }
    arrived()
  }

  /** Which pieces hold the frames, and how many of the frames they hold. */
  #plan(segment: Segment, { positions, lengths }: Wanted, limit: number): { pieces: Piece[]; count: number } {
    const pieces: Piece[] = []
    let toLoad = 0
    let covered = 0
    let count = positions.length
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
          const cached = this.#cached(segment, block, end)
          if (cached === null) toLoad++
          pieces.push({ from: block, to: end, isBlock: true, block: cached, bytes: cached?.bytes ?? null })
          covered = end
        }
      } else {
        toLoad++
        pieces.push({ from, to, isBlock: false, block: null, bytes: null })
        covered = to
      }
      if (toLoad > MOST_PIECES && before > 0) {
        pieces.length = before
        count = i
        break
      }
    }
    for (const { block } of pieces) if (block !== null) block.readers++
    return { pieces, count }
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

  #cached(segment: Segment, at: number, end: number): Block | null {
    const key = segment.start + at
    const block = this.#blocks.get(key)
    // The last block of a segment grows: what was read of it earlier may be less than there is now.
    if (block === undefined || block.length < end - at) return null
    block.usedAt = ++this.#uses
    return block
  }

  /** Reads the block of a piece; all who want it meanwhile get the same. */
  #load(segment: Segment, piece: Piece, done: Done<Block>): void {
    const key = segment.start + piece.from
    const length = piece.to - piece.from
    const take: Done<Block> = (outcome) => {
      // Who waited for another reader's block may need more of it than that one asked for.
      if (outcome.ok && outcome.value.length < length) return this.#load(segment, piece, done)
      if (outcome.ok) {
        piece.block = outcome.value
        piece.bytes = outcome.value.bytes
        outcome.value.readers++
      }
      done(outcome)
    }
    const others = this.#loading.get(key)
    if (others !== undefined) return void others.push(take)
    const waiting = [take]
    this.#loading.set(key, waiting)
    const block = this.#free.pop() ?? newBlock()
    block.length = length
    this.#read(segment, block.bytes.subarray(0, length), piece.from, (outcome) => {
      this.#loading.delete(key)
      block.readers++
      if (outcome.ok && !segment.removed) this.#keep(key, block)
      for (const hear of waiting) hear(outcome.ok ? succeed(block) : outcome)
      this.#leave(block)
    })
  }

  #read(segment: Segment, into: Buffer, position: number, done: Done<unknown>): void {
    const path = segmentPath(this.#folder, segment.start)
    // To open the file of a segment that has left would make it again.
    if (segment.removed) return done(fail('missing', `${path} has left the log`))
    this.#files.read(path, into, position, (outcome) => {
      if (!outcome.ok || outcome.value === into.length) done(outcome)
      else done(damaged(path, position + outcome.value, 'the file ends here'))
    })
  }

  #keep(key: number, block: Block): void {
    this.#drop(key)
    block.isCached = true
    this.#blocks.set(key, block)
    block.usedAt = ++this.#uses
    if (this.#blocks.size > this.#most) this.#drop(this.#leastUsed())
  }

  #leastUsed(): number {
    let least = Number.POSITIVE_INFINITY
    let found = 0
    for (const [key, { usedAt }] of this.#blocks) {
      if (usedAt >= least) continue
      least = usedAt
      found = key
    }
    return found
  }

  #drop(key: number): void {
    const block = this.#blocks.get(key)
    if (block === undefined) return
    this.#blocks.delete(key)
    block.isCached = false
    block.readers++
    this.#leave(block)
  }

  #leave(block: Block): void {
    block.readers--
    if (block.readers === 0 && !block.isCached && this.#free.length < MOST_FREE) this.#free.push(block)
  }

  #copyOut(
    segment: Segment,
    { positions, lengths }: Wanted,
    count: number,
    pieces: Piece[],
  ): Outcome<Buffer[]> {
    const frames: Buffer[] = new Array(count)
    const room = roomFor(lengths, count, pieces)
    let used = 0
    let p = 0
    for (let i = 0; i < count; i++) {
      const from = positions[i]!
      const length = lengths[i]!
      while (from >= pieces[p]!.to) p++
      const { bytes, from: base, to, isBlock } = pieces[p]!
      let frame: Buffer
      if (!isBlock && from + length <= to) frame = bytes!.subarray(from - base, from - base + length)
      else {
        copy(room, used, pieces, p, from, length)
        frame = room.subarray(used, used + length)
        used += length
      }
      const fault = frameFault(frame, 0, length)
      if (fault !== null) return this.#damaged(segment, from, fault)
      frames[i] = frame
    }
    return succeed(frames)
  }

  #damaged(segment: Segment, position: number, fault: string): Outcome<never> {
    // What is bad in memory may be good on disk: nobody is to see these bytes again.
    for (const key of [...this.#blocks.keys()]) this.#drop(key)
    return damaged(segmentPath(this.#folder, segment.start), position, fault)
  }

  /** Forgets a segment and calls back AFTER nobody reads its file any more. */
  forget(segment: Segment, done: () => void): void {
    for (const key of [...this.#blocks.keys()]) if (key >= segment.start && key < segment.end) this.#drop(key)
    this.#files.forget(segmentPath(this.#folder, segment.start), done)
  }
}

const newBlock = (): Block => ({
  bytes: Buffer.allocUnsafeSlow(BLOCK_BYTES),
  length: 0,
  readers: 0,
  isCached: false,
  usedAt: 0,
})

/** Copies a frame that begins in a piece and may go over its border. */
function copy(into: Buffer, at: number, pieces: Piece[], first: number, from: number, length: number): void {
  let have = 0
  for (let p = first; have < length; p++) {
    const { bytes, from: base, to } = pieces[p]!
    have += bytes!.copy(into, at + have, from + have - base, Math.min(to, from + length) - base)
  }
}

/** For all frames that may have to be copied, in one piece. */
function roomFor(lengths: number[], count: number, pieces: Piece[]): Buffer {
  let bytes = 0
  if (pieces.some(({ isBlock }) => isBlock)) for (let i = 0; i < count; i++) bytes += lengths[i]!
  return Buffer.allocUnsafeSlow(bytes)
}
