/**
 * Which messages of a queue are finished, when many run at once and finish in any order.
 *
 * `position` is the offset of the first message that is not finished: what may be committed. Everything below it is
 * finished, so a consumer that starts there again loses nothing. One byte a message, no object.
 */
export class OffsetTracker {
  #position: number
  /** By offset modulo the length: 1 when that message, above `position`, is finished. */
  #finished = new Uint8Array(1_024)

  constructor(position: number) {
    this.#position = position
  }

  get position(): number {
    return this.#position
  }

  finish(offset: number): void {
    if (offset < this.#position) return
    if (offset - this.#position >= this.#finished.length) this.#grow(offset - this.#position + 1)
    const finished = this.#finished
    const { length } = finished // A power of two, but offsets outgrow 32 bits: no masks.
    if (offset !== this.#position) {
      finished[offset % length] = 1
      return
    }
    let next = offset + 1
    while (finished[next % length] === 1) finished[next++ % length] = 0
    this.#position = next
  }

  #grow(needed: number): void {
    let length = this.#finished.length
    while (length < needed) length *= 2
    const larger = new Uint8Array(length)
    for (let i = 0; i < this.#finished.length; i++) {
      const offset = this.#position + i
      larger[offset % length] = this.#finished[offset % this.#finished.length]!
    }
    this.#finished = larger
  }
}
