/**
 * The frames that were read last, one of each queue: receives take a few messages each of a frame that holds a thousand.
 *
 * A stored frame NEVER changes, and its offsets are never used again while this mastership lasts. What has expired from
 * the log, or whose topic is gone, is not served.
 */

import type { Outcome } from '../../../transport/failures.ts'
import { succeed } from '../../../transport/failures.ts'
import { countAt, queueOffsetAt } from '../../../transport/frames.ts'
import type { ReadResult, Store, StoredQueue } from '../store/store.ts'

const FRAMES_MAX = 64
/** All together hold at most FRAMES_MAX times that. */
const FRAME_BYTES_MAX = 256 * 1024

export class LastFrames {
  readonly #store: Store
  readonly #frames = new Map<StoredQueue, Buffer>()

  constructor(store: Store) {
    this.#store = store
  }

  /** As Store.read; it may bring one frame where the store would bring more. */
  read(
    queue: StoredQueue,
    offset: number,
    maxBytes: number,
    done: (outcome: Outcome<ReadResult>) => void,
  ): void {
    const known = this.#frames.get(queue)
    const { minOffset, maxOffset } = this.#store.bounds(queue)
    if (known && offset >= minOffset && offset < maxOffset && holdsOffset(known, offset)) {
      const nextOffset = endOf(known)
      return done(succeed({ status: 'found', frames: [known], nextOffset, minOffset, maxOffset }))
    }
    this.#store.read(queue, offset, maxBytes, (outcome) => {
      const last = outcome.ok ? outcome.value.frames.at(-1) : undefined
      if (last && countAt(last, 0) > 1 && last.length <= FRAME_BYTES_MAX) this.#keep(queue, last)
      done(outcome)
    })
  }

  /** The one that was kept first goes first. */
  #keep(queue: StoredQueue, frame: Buffer): void {
    this.#frames.delete(queue)
    if (this.#frames.size >= FRAMES_MAX) this.#frames.delete(this.#frames.keys().next().value!)
    this.#frames.set(queue, frame)
  }
}

const endOf = (frame: Buffer): number => queueOffsetAt(frame, 0) + countAt(frame, 0)

/** Whether the message of an offset is in a stored frame. */
export const holdsOffset = (frame: Buffer, offset: number): boolean =>
  queueOffsetAt(frame, 0) <= offset && offset < endOf(frame)
