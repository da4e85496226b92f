/**
 * Walking a segment file frame by frame, each one checked to its last byte.
 *
 * A walk stops at the first byte that is not a sound frame and says where and why. It NEVER skips.
 */
import type { Outcome } from '../../../transport/failures.ts'
import { type FrameFault, frameBytesAt, frameFault, MAX_FRAME_BYTES } from '../../../transport/frames.ts'
import type { Disk, DiskFile } from '../../node/world.ts'
import { attempt, need, withFile } from './asking.ts'

const CHUNK_BYTES = 1024 * 1024

export type Scan = {
  /** Where the walk ended: the end of the last frame heard. */
  readonly end: number
  readonly size: number
  /** Why there is no sound frame at `end`; null at the end of the file, and when the hearer stopped. */
  readonly fault: FrameFault | null
}

/** Hears one sound frame; the bytes are valid during the call only. Returns false to stop AFTER this frame. */
export type HearFrame = (bytes: Buffer, at: number, position: number) => boolean

export const scanFrames = (disk: Disk, path: string, from: number, hear: HearFrame): Promise<Outcome<Scan>> =>
  attempt(() => withFile(disk, path, (file, size) => scanFile(file, size, from, hear)))

export async function scanFile(file: DiskFile, size: number, from: number, hear: HearFrame): Promise<Scan> {
  let chunk = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, Math.max(1, size - from)))
  let base = from
  let filled = 0
  let at = 0
  for (;;) {
    const fault = frameFault(chunk, at, filled)
    if (fault === null) {
      const position = base + at
      at += frameBytesAt(chunk, at)
      if (!hear(chunk, position - base, position)) return { end: base + at, size, fault: null }
      continue
    }
    const next = base + filled
    if (fault !== 'short' || next >= size)
      return { end: base + at, size, fault: base + at === size ? null : fault }
    // The frame goes on beyond the chunk. One that fills the chunk needs a larger one.
    const left = filled - at
    const grown =
      left < chunk.length / 2
        ? chunk
        : Buffer.allocUnsafeSlow(Math.min(2 * chunk.length, 2 * MAX_FRAME_BYTES))
    chunk.copy(grown, 0, at, filled)
    chunk = grown
    base += at
    at = 0
    filled = left
    const into = chunk.subarray(filled, Math.min(chunk.length, filled + size - next))
    const read = await need<number>((done) => file.read(into, next, done))
    // The file is shorter than it was said to be: what is missing cannot be told from what is cut off.
    if (read < into.length) size = next + read
    filled += read
  }
}

const MAGIC_AND_VERSION = Buffer.from([0x4d, 0x51, 1])
const MAGIC_AT = 8

/** The position of the first sound and plausible frame at or after `from`, whatever stands before it; or null. */
export async function findSound(
  file: DiskFile,
  size: number,
  from: number,
  plausible: (bytes: Buffer, at: number) => boolean,
): Promise<number | null> {
  const window = Buffer.allocUnsafeSlow(Math.min(2 * MAX_FRAME_BYTES, Math.max(0, size - from)))
  for (let base = from; base < size; base += MAX_FRAME_BYTES) {
    const into = window.subarray(0, Math.min(window.length, size - base))
    const bytes = into.subarray(0, await need<number>((done) => file.read(into, base, done)))
    // A frame that begins in the first half of the window is whole inside it, unless the file ends before it does.
    for (let at = 0; ; at++) {
      at = bytes.indexOf(MAGIC_AND_VERSION, at + MAGIC_AT) - MAGIC_AT
      if (at < 0 || at >= MAX_FRAME_BYTES) break
      if (frameFault(bytes, at, bytes.length) === null && plausible(bytes, at)) return base + at
    }
  }
  return null
}
