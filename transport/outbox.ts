/**
 * What waits to be written to one socket: gathered during a turn of the loop, written in one go at its end.
 *
 * Small things are copied side by side into a slab; large payloads are handed to the kernel as they are. A slab is
 * NEVER written twice, as the socket may still be reading it.
 */
import type { Socket } from 'node:net'

export interface Outbox {
  /** Bytes that have not reached the kernel. */
  readonly pendingBytes: number
  text(text: string): void
  bytes(bytes: Buffer): void
  flush(): void
}

const SLAB_BYTES = 16 * 1024
const LARGE_BYTES = 8 * 1024

export function createOutbox(socket: Socket): Outbox {
  let slab = Buffer.alloc(0)
  let from = 0 // What lies before it in the slab is in `pieces` or written.
  let used = 0
  let pieces: Buffer[] = []
  let queuedBytes = 0

  function makeRoom(bytes: number): void {
    if (slab.length - used >= bytes) return
    seal()
    slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, bytes))
    from = used = 0
  }

  function seal(): void {
    if (used > from) pieces.push(slab.subarray(from, used))
    from = used
  }

  return {
    get pendingBytes() {
      return queuedBytes + socket.writableLength
    },
    text(text) {
      makeRoom(text.length * 3)
      const written = slab.write(text, used, 'utf8')
      used += written
      queuedBytes += written
    },
    bytes(bytes) {
      queuedBytes += bytes.length
      if (bytes.length >= LARGE_BYTES) {
        seal()
        pieces.push(bytes)
        return
      }
      makeRoom(bytes.length)
      used += bytes.copy(slab, used)
    },
    flush() {
      seal()
      if (pieces.length === 0) return
      const all = pieces
      pieces = []
      queuedBytes = 0
      socket.cork()
      for (const piece of all) socket.write(piece)
      socket.uncork()
    },
  }
}
