/**
 * FrameCache: what was read of one queue and is not finished, in the frames in which it was stored.
 *
 * It holds the messages from `position` to `end`, and gives each ONCE and in order; what a frame holds below the `end`
 * before it is passed over. What is counted, here and in the budget of the consumer, is what was read and is NOT
 * released, given out or not: a message is a view of its frame.
 *
 * RocketMQ: client/impl/consumer/ProcessQueue.java
 */
import { RETRY_PREFIX } from '../../machines/names.ts'
import type { QueueRef } from '../../machines/topic.ts'
import { countAt, queueOffsetAt, recordsAt } from '../../transport/frames.ts'
import type { CacheBudget } from './flow-control.ts'
import { type FrameView, IncomingMessage, viewOf } from './incoming-message.ts'

export class FrameCache {
  readonly #ref: QueueRef
  readonly #budget: CacheBudget
  /** Its messages were sent to other topics, and failed. */
  readonly #isRetry: boolean
  #frames: FrameView[] = []
  /** Which message of the first frame is given next, and where its record begins. */
  #index = 0
  #record = 0
  #end = 0
  #messages = 0
  #bytes = 0

  constructor(ref: QueueRef, budget: CacheBudget) {
    this.#ref = ref
    this.#budget = budget
    this.#isRetry = ref.topic.startsWith(RETRY_PREFIX)
  }

  /** Of the next message that `next` gives, when there is one. */
  get position(): number {
    const frame = this.#frames[0]
    return frame ? frame.queueOffset + this.#index : this.#end
  }

  /** The offset that follows all that was read. */
  get end(): number {
    return this.#end
  }

  get isEmpty(): boolean {
    return this.#frames.length === 0
  }

  get messages(): number {
    return this.#messages
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Drops what it has; `end` is where it stood. */
  clear(): void {
    const bytes = this.#bytes
    this.#end = this.position
    this.#frames = []
    this.#index = 0
    this.#messages = 0
    this.#bytes = 0
    this.#budget.remove(bytes)
  }

  /** What follows has this offset, or a later one. Call only while it is empty, or with an offset above `end`. */
  passTo(offset: number): void {
    this.#end = offset
  }

  /** Takes the frame from `at` to `frameEnd`, unless it has all of it. Its bytes are kept, not copied. */
  add(bytes: Buffer, at: number, frameEnd: number): void {
    const next = queueOffsetAt(bytes, at) + countAt(bytes, at)
    if (next <= this.#end) return
    const { topic, brokerName, queueId } = this.#ref
    const frame = viewOf(bytes.subarray(at, frameEnd), topic, brokerName, queueId)
    const index = Math.max(0, this.#end - frame.queueOffset)
    const record = recordOf(frame, index)
    if (this.isEmpty) {
      this.#index = index
      this.#record = record
    }
    this.#frames.push(frame)
    this.#messages += countAt(frame.bytes, 0) - index
    this.#bytes += frame.bytes.length - record
    this.#budget.add(frame.bytes.length - record)
    this.#end = next
  }

  /** The next message in order, or null when there is none. */
  next(): IncomingMessage | null {
    const frame = this.#frames[0]
    if (frame === undefined) return null
    const message = new IncomingMessage(frame, this.#record, frame.queueOffset + this.#index)
    if (this.#isRetry) message.showAsRetried()
    this.#index++
    this.#record += message.recordBytes
    if (this.#index >= countAt(frame.bytes, 0)) this.#goOnAfter(frame)
    return message
  }

  #goOnAfter(frame: FrameView): void {
    const given = frame.queueOffset + this.#index
    this.#frames.shift()
    const following = this.#frames[0]
    this.#index = following ? Math.max(0, given - following.queueOffset) : 0
    if (following) this.#record = recordOf(following, this.#index)
  }

  /** A message that `next` gave is finished. */
  release({ recordBytes }: IncomingMessage): void {
    this.#messages--
    this.#bytes -= recordBytes
    this.#budget.remove(recordBytes)
  }
}

/** Where the record of a frame's message begins, counted from 0. */
function recordOf({ bytes }: FrameView, index: number): number {
  let record = recordsAt(bytes, 0)
  for (let i = 0; i < index; i++) record += bytes.readUInt32LE(record)
  return record
}
