/**
 * The hot tail: the newest bytes of the log in memory, from which they are written and most reads are served.
 *
 * Appended bytes are copied into slabs of one piece. That costs less than to keep them where they arrived: a write is one
 * buffer in place of thousands, no network buffer stays alive for one small frame in it, and an append makes no object.
 * A slab of which a consumer's read got a view is NEVER used again for other bytes: those views stay true for ever. The
 * others are, so that neither a backlog that nobody reads nor a slave costs memory.
 */
import { frameBytesAt, isHeadAt } from '../../../transport/frames.ts'

const SLAB_BYTES = 1024 * 1024
const MOST_SPARE = 8

type Slab = { readonly start: number; readonly bytes: Buffer; used: number; isShared: boolean }

export class HotTail {
  readonly #keepBytes: number
  #slabs: Slab[] = []
  #last: Slab | null = null
  #held = 0
  #spare: Buffer[] = []

  constructor(keepBytes: number) {
    this.#keepBytes = keepBytes
  }

  /** BEFORE: `position` is the end of what was appended. A frame never straddles slabs. */
  append(bytes: Buffer, at: number, length: number, position: number): void {
    let slab = this.#last
    if (slab === null || slab.used + length > slab.bytes.length) slab = this.#grow(position, length)
    bytes.copy(slab.bytes, slab.used, at, at + length)
    slab.used += length
  }

  #grow(position: number, length: number): Slab {
    const size = Math.min(SLAB_BYTES, this.#keepBytes)
    const bytes =
      length <= size ? (this.#spare.pop() ?? Buffer.allocUnsafeSlow(size)) : Buffer.allocUnsafeSlow(length)
    const slab = { start: position, bytes, used: 0, isShared: false }
    this.#slabs.push(slab)
    this.#held += slab.bytes.length
    this.#last = slab
    return slab
  }

  /** The bytes between two positions, in order. BEFORE: none of them was released. */
  between(from: number, to: number): Buffer[] {
    const views: Buffer[] = []
    for (let i = this.#slabOf(from); from < to; i++) {
      const { start, bytes, used } = this.#slabs[i]!
      const end = Math.min(start + used, to)
      views.push(bytes.subarray(from - start, end - start))
      from = end
    }
    return views
  }

  /** A frame, or null when it is no longer held. */
  frame(position: number, length: number): Buffer | null {
    const first = this.#slabs[0]
    if (first === undefined || position < first.start) return null
    const slab = this.#slabs[this.#slabOf(position)]!
    const { start, bytes } = slab
    slab.isShared = true
    return bytes.subarray(position - start, position - start + length)
  }

  /** The first byte that is held; Infinity when none is. */
  get start(): number {
    return this.#slabs[0]?.start ?? Number.POSITIVE_INFINITY
  }

  /**
   * Whole frames from one that begins at `position`: as many as fit and one slab holds, at least one; null when none
   * begins there. True ONLY until this turn ends: then the slab may be used again. BEFORE: held.
   */
  frames(position: number, maxBytes: number): Buffer | null {
    const slab = this.#slabs[this.#slabOf(position)]!
    const { bytes, used } = slab
    const from = position - slab.start
    if (!isHeadAt(bytes, from, used)) return null
    let to = from + frameBytesAt(bytes, from)
    while (to < used) {
      const next = to + frameBytesAt(bytes, to)
      if (next - from > maxBytes) break
      to = next
    }
    return bytes.subarray(from, to)
  }

  #slabOf(position: number): number {
    let i = this.#slabs.length - 1
    while (i > 0 && this.#slabs[i]!.start > position) i--
    return i
  }

  /** Lets go of what is stored and older than the bytes to keep. */
  release(storedPosition: number): void {
    let gone = 0
    for (const { start, bytes, used, isShared } of this.#slabs) {
      if (this.#held - bytes.length < this.#keepBytes || start + used > storedPosition) break
      this.#held -= bytes.length
      gone++
      if (!isShared && bytes.length === SLAB_BYTES && this.#spare.length < MOST_SPARE) this.#spare.push(bytes)
    }
    if (gone > 0) this.#slabs.splice(0, gone)
    if (this.#slabs.length === 0) this.#last = null
  }
}
