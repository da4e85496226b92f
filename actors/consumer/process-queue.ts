/**
 * ProcessQueue: one queue that a consumer owns, from the pull to the offset that may be committed.
 *
 * A message that is not finished holds the committed offset back: whoever reads the queue next gets it again. When the
 * queue is given back, what is cached is dropped, what runs is awaited, and only then is the offset final.
 *
 * RocketMQ: client/impl/consumer/ProcessQueue.java
 */
import type { Filter } from '../../machines/filter/filter.ts'
import { defaultFlow } from './flow-control.ts'
import type { IncomingMessage } from './incoming-message.ts'
import { OffsetTracker } from './offset-tracker.ts'
import type { QueueReader } from './queue-reader.ts'

export type ProcessQueueStart = {
  /** Which messages are wanted; null for all. */
  filter: Filter | null
  /** Of the grant under which it is read, 0 where there is none. */
  assignEpoch: number
  /** Where reading begins. */
  offset: number
  /** What the broker has confirmed, or -1. */
  committed: number
  /** How far the newest message may run ahead of the oldest unfinished one. */
  span?: number
}

export class ProcessQueue {
  readonly reader: QueueReader
  /** Of the grant under which it is read. */
  readonly assignEpoch: number
  running = 0
  /** The offset that the broker has confirmed as committed, or -1. */
  committed: number
  readonly #filter: Filter | null
  readonly #span: number
  readonly #tracker: OffsetTracker
  #expected: number
  /** Messages that failed and are due again. */
  #again: IncomingMessage[] = []
  #isSuspended = false
  #isStopped = false
  #isLost = false
  #isGivenUp = false
  #drained: (() => void) | null = null

  constructor(
    reader: QueueReader,
    { filter, assignEpoch, offset, committed, span = defaultFlow.span }: ProcessQueueStart,
  ) {
    this.reader = reader
    this.assignEpoch = assignEpoch
    this.committed = committed
    this.#filter = filter
    this.#span = span
    this.#tracker = new OffsetTracker(offset)
    this.#expected = offset
  }

  /** What may be committed. */
  get position(): number {
    this.#passTo(this.reader.position)
    return this.#tracker.position
  }

  get isStopped(): boolean {
    return this.#isStopped
  }

  /** Whether whoever reads it next is given what runs, too: how that ends counts no more. */
  get isLost(): boolean {
    return this.#isLost
  }

  /** Whether the next pull may go: the oldest unfinished message must not be too far behind. */
  get isWithinSpan(): boolean {
    return this.#expected - this.#tracker.position - this.#tracker.passedAbove <= this.#span
  }

  /** The next message to run, or null. `ordered`: only while none runs. */
  take(ordered: boolean): IncomingMessage | null {
    if (this.#isStopped || this.#isSuspended || (ordered && this.running > 0)) return null
    const again = this.#again.shift()
    if (again) {
      this.running++
      return again
    }
    for (;;) {
      const message = this.reader.next()
      if (message === null) return null
      const { queueOffset } = message
      if (queueOffset > this.#expected) this.#passTo(queueOffset)
      this.#expected = queueOffset + 1
      if (this.#filter === null || this.#filter(message)) {
        this.running++
        return message
      }
      this.#tracker.finish(queueOffset)
      this.reader.release(message)
    }
  }

  /** What lies below and was not given out was left out by the broker, or removed there before it was read. */
  #passTo(offset: number): void {
    if (offset <= this.#expected) return
    this.#tracker.pass(this.#expected, offset)
    this.#expected = offset
  }

  finished(message: IncomingMessage): void {
    this.running--
    this.#tracker.finish(message.queueOffset)
    this.reader.release(message)
    this.#tellDrained()
  }

  /** It was given out, and whoever got it will not say what became of it: it counts as not handled. */
  letGo(): void {
    this.running--
    this.#tellDrained()
  }

  /** It is to run again later; until `redeliver` an ordered queue stands still. */
  failed(ordered: boolean): void {
    this.running--
    if (ordered) this.#isSuspended = true
    this.#tellDrained()
  }

  redeliver(message: IncomingMessage): void {
    this.#isSuspended = false
    if (this.#isStopped) return
    message.deliveryAttempt++
    this.#again.push(message)
  }

  /** Takes no more messages; calls back AFTER those that run have ended. */
  drain(drained: () => void): void {
    this.stop()
    this.#drained = drained
    this.#tellDrained()
  }

  /** `drain` waits no longer for what runs; returns how many messages those are. They count as not handled. */
  giveUp(): number {
    this.#isGivenUp = true
    const left = this.running
    this.#tellDrained()
    return left
  }

  #tellDrained(): void {
    if (this.#drained === null || (this.running > 0 && !this.#isGivenUp)) return
    const drained = this.#drained
    this.#drained = null
    drained()
  }

  lose(): void {
    this.#isLost = true
    this.stop()
  }

  stop(): void {
    this.#isStopped = true
    this.#again = []
    this.reader.stop()
  }
}
