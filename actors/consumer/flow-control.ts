/**
 * Flow control: how much a consumer reads ahead of its handler.
 *
 * Counted is what was read and is not handled yet, whether it waits, runs, or waits for another try. Each queue has
 * limits of its own, a topic may have some for all its queues, and the consumer has one for everything: with 10,000
 * queues the first would allow a terabyte.
 *
 * A queue with nothing cached may pull while the rest is nearly full, so that NEVER does one queue with a stuck handler
 * starve another one. The room for these pulls is set aside: what is counted stays AT MOST totalBytes, except that a
 * frame, which is a batch of one producer, comes whole whatever its size.
 *
 * RocketMQ: DefaultMQPushConsumer (pullThreshold…, consumeConcurrentlyMaxSpan), RebalancePushImpl.messageQueueChanged
 */
import type { QueueRef } from '../../machines/topic.ts'

export type FlowOptions = {
  /** Messages of one queue above which pulling pauses; what one pull brings comes on top. RocketMQ's pullThresholdForQueue. */
  messages: number
  /** Bytes of one queue; a pull asks for no more than there is room for. RocketMQ's pullThresholdSizeForQueue. */
  bytes: number
  /** How far the newest message may run ahead of the oldest unfinished one. RocketMQ's consumeConcurrentlyMaxSpan. */
  span: number
  /**
   * In place of `messages`: of all owned queues of a topic together. Each gets its part, anew whenever they change; what
   * a queue holds beyond a part that became smaller is handled first. RocketMQ's pullThresholdForTopic.
   */
  topicMessages: number | null
  /** In place of `bytes`, likewise. RocketMQ's pullThresholdSizeForTopic. */
  topicBytes: number | null
  /** Bytes of all queues of the consumer together. */
  totalBytes: number
}

export const defaultFlow: FlowOptions = {
  messages: 1_000,
  bytes: 100 * 1024 * 1024,
  span: 2_000,
  topicMessages: null,
  topicBytes: null,
  totalBytes: 256 * 1024 * 1024,
}

/** What one queue may hold. The queues of a topic share one, which changes when they are divided anew. */
export type QueueLimits = { messages: number; bytes: number }

/** Throughput of a pull against latency of its first message; below the default max_payload of a NATS server. */
const PULL_BYTES = 256 * 1024

/** Who is told that there is room again. */
type Waiting = { want(): void }

/** The bytes that all queues of one consumer share. */
export class CacheBudget {
  /** How much one queue may ask for at a time. */
  pullBytes = PULL_BYTES
  readonly #totalBytes: number
  /** Above it only queues with nothing cached may pull. */
  #nearlyFull: number
  #cachedBytes = 0
  readonly #waiting = new Set<Waiting>()

  constructor(totalBytes: number) {
    this.#totalBytes = totalBytes
    this.#nearlyFull = totalBytes
    this.setQueues(1)
  }

  get cachedBytes(): number {
    return this.#cachedBytes
  }

  /**
   * Half of the total is set aside at most: for a pull of every queue, and for what is left of its pull before, whose
   * bytes stay in memory until its last message is gone.
   */
  setQueues(count: number): void {
    const queues = Math.max(1, count)
    this.pullBytes = Math.max(1, Math.floor(Math.min(PULL_BYTES, this.#totalBytes / (4 * queues))))
    this.#nearlyFull = Math.max(0, this.#totalBytes - 2 * queues * this.pullBytes)
    this.#wakeIf(this.#cachedBytes <= this.#nearlyFull)
  }

  /** Whether it may pull now; if not, it is told when there is room. */
  mayPull(queue: Waiting, ownBytes: number): boolean {
    if (this.#cachedBytes <= this.#nearlyFull) return true
    if (ownBytes === 0 && this.#cachedBytes <= this.#totalBytes) return true
    this.#waiting.add(queue)
    return false
  }

  add(bytes: number): void {
    this.#cachedBytes += bytes
  }

  remove(bytes: number): void {
    const before = this.#cachedBytes
    const now = before - bytes
    this.#cachedBytes = now
    if (this.#waiting.size === 0) return
    this.#wakeIf(now <= this.#nearlyFull || (before > this.#totalBytes && now <= this.#totalBytes))
  }

  forget(queue: Waiting): void {
    this.#waiting.delete(queue)
  }

  #wakeIf(hasRoom: boolean): void {
    if (!hasRoom) return
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const queue of waiting) queue.want()
  }
}

/** The limits of one consumer's queues. */
export class FlowControl {
  readonly budget: CacheBudget
  readonly #options: FlowOptions
  readonly #limits = new Map<string, QueueLimits>()

  constructor(options: FlowOptions) {
    this.#options = options
    this.budget = new CacheBudget(options.totalBytes)
  }

  limitsOf(topic: string): QueueLimits {
    let limits = this.#limits.get(topic)
    if (!limits) {
      limits = this.#part(1)
      this.#limits.set(topic, limits)
    }
    return limits
  }

  /** AFTER the owned queues have changed: divides among them what all may hold together. */
  divide(queues: readonly { readonly reader: Waiting & { readonly ref: QueueRef } }[]): void {
    this.budget.setQueues(queues.length)
    if (this.#options.topicMessages === null && this.#options.topicBytes === null) return
    const counts = new Map<string, number>()
    for (const { reader } of queues) counts.set(reader.ref.topic, (counts.get(reader.ref.topic) ?? 0) + 1)
    for (const [topic, count] of counts) {
      const limits = this.limitsOf(topic)
      const { messages, bytes } = limits
      Object.assign(limits, this.#part(count))
      if (limits.messages <= messages && limits.bytes <= bytes) continue
      for (const { reader } of queues) if (reader.ref.topic === topic) reader.want()
    }
  }

  #part(queues: number): QueueLimits {
    const { messages, bytes, topicMessages, topicBytes } = this.#options
    const part = (ofTopic: number | null, ofQueue: number) =>
      ofTopic === null ? ofQueue : Math.max(1, Math.floor(ofTopic / queues))
    return { messages: part(topicMessages, messages), bytes: part(topicBytes, bytes) }
  }
}
