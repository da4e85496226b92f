/**
 * A segment: one file of the log, and what memory knows of it.
 *
 * Segments follow each other without a gap. A segment's file is made only AFTER all segments before it are synced, so
 * after any crash only the last one can be torn.
 */
import type { QueuePart } from './consume-queue.ts'

export class Segment {
  /** The log position of its first byte. */
  readonly start: number
  /** What was appended to it. */
  bytes: number
  /** The part of every queue that has frames here; null when they are to be found in the index file. */
  parts: QueuePart[] | null
  /** Another one follows: nothing is appended here any more. */
  sealed: boolean
  /** Store time of its first and last frame; 0 when not known. */
  firstTime = 0
  lastTime = 0
  /** Bytes of its state frames: a segment that holds no more than these is empty. */
  stateBytes = 0
  /** The one after it. */
  next: Segment | null = null
  /** Expired: nobody may open its files any more. */
  removed = false

  constructor(start: number, bytes: number, sealed: boolean) {
    this.start = start
    this.bytes = bytes
    this.sealed = sealed
    this.parts = sealed ? null : []
  }

  get end(): number {
    return this.start + this.bytes
  }
}
