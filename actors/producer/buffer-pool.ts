/**
 * Buffers that are used again: under load a producer fills thousands a second, and fresh memory is what they would cost
 * most.
 *
 * Sizes are powers of two. Whoever takes a buffer owns it; it is given back AT MOST ONCE, and not touched after.
 */
const SMALLEST = 1_024
const LARGEST = 1_024 * 1_024
/** Free buffers beyond this are left to the garbage collector. */
const FREE_BYTES_MAX = 16 * 1_024 * 1_024

export class BufferPool {
  readonly #free = new Map<number, Buffer[]>()
  #freeBytes = 0

  /** A buffer of at least so many bytes, with anything in it. */
  take(bytes: number): Buffer {
    let size = SMALLEST
    while (size < bytes) size *= 2
    const buffer = this.#free.get(size)?.pop()
    if (buffer === undefined) return Buffer.allocUnsafeSlow(size)
    this.#freeBytes -= size
    return buffer
  }

  give(buffer: Buffer): void {
    const size = buffer.length
    if (size > LARGEST || this.#freeBytes + size > FREE_BYTES_MAX) return
    const same = this.#free.get(size)
    if (same === undefined) this.#free.set(size, [buffer])
    else same.push(buffer)
    this.#freeBytes += size
  }
}
