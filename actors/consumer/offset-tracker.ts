/**
 * Which messages of a queue are finished, when many run at once and finish in any order.
 *
 * `position` is the offset of the first message that is not finished: what may be committed. Everything below it is
 * finished, so a consumer that starts there again loses nothing. One byte a message, no object.
 *
 * Offsets that nobody is given (left out by a filter, removed before they were read) are passed over in stretches: a
 * stretch costs the same whatever its length. Only messages have a place in memory; they are numbered without the
 * stretches between them.
 */
type Stretch = { readonly from: number; to: number /** Offsets passed over up to `to`. */; before: number }

export class OffsetTracker {
  #position: number
  /** By number modulo the length: 1 when that message, above `position`, is finished. */
  #finished = new Uint8Array(1_024)
  /** Offsets passed over below `position`. */
  #passedBelow = 0
  /** Offsets passed over altogether. */
  #passed = 0
  /** The stretches above `position`, from `#first` on, in order. */
  #stretches: Stretch[] = []
  #first = 0

  constructor(position: number) {
    this.#position = position
  }

  get position(): number {
    return this.#position
  }

  /** Offsets above `position` that nobody is given. */
  get passedAbove(): number {
    return this.#passed - this.#passedBelow
  }

  finish(offset: number): void {
    if (offset < this.#position) return
    const number = this.#numberOf(offset)
    if (number === -1) return
    const position = this.#position - this.#passedBelow
    if (number - position >= this.#finished.length) this.#grow(number - position + 1)
    const finished = this.#finished
    const { length } = finished // A power of two, but offsets outgrow 32 bits: no masks.
    if (offset !== this.#position) {
      finished[number % length] = 1
      return
    }
    let next = number + 1
    if (this.#first === this.#stretches.length) {
      while (finished[next % length] === 1) finished[next++ % length] = 0
      this.#position = next + this.#passedBelow
      return
    }
    this.#position++
    this.#skip()
    while (finished[next % length] === 1) {
      finished[next++ % length] = 0
      this.#position++
      this.#skip()
    }
  }

  /** Nobody is given the offsets below `to` that were not given out yet. BEFORE: all of those are `from` and above. */
  pass(from: number, to: number): void {
    this.#passed += to - from
    const last = this.#stretches.at(-1)
    if (last !== undefined && last.to === from) {
      last.to = to
      last.before = this.#passed
    } else {
      this.#stretches.push({ from, to, before: this.#passed })
      this.#skip()
    }
  }

  /** Where the position meets a stretch, it goes to its end. */
  #skip(): void {
    const stretch = this.#stretches[this.#first]
    if (stretch === undefined || stretch.from !== this.#position) return
    this.#position = stretch.to
    this.#passedBelow = stretch.before
    if (++this.#first < 1_024 && this.#first < this.#stretches.length) return
    this.#stretches.splice(0, this.#first)
    this.#first = 0
  }

  /** The number of a message among messages; -1 within a stretch. */
  #numberOf(offset: number): number {
    const stretches = this.#stretches
    let low = this.#first
    if (low === stretches.length) return offset - this.#passedBelow
    let high = stretches.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (stretches[middle]!.from <= offset) low = middle + 1
      else high = middle
    }
    const below = stretches[low - 1]
    if (low === this.#first || below === undefined) return offset - this.#passedBelow
    return offset < below.to ? -1 : offset - below.before
  }

  #grow(needed: number): void {
    let length = this.#finished.length
    while (length < needed) length *= 2
    const larger = new Uint8Array(length)
    const position = this.#position - this.#passedBelow
    for (let i = 0; i < this.#finished.length; i++) {
      const number = position + i
      larger[number % length] = this.#finished[number % this.#finished.length]!
    }
    this.#finished = larger
  }
}
