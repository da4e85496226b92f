/**
 * How far each queue of waiting messages is delivered. Derived from the log, where a delivered message is its own record:
 * its frame names the queue and the offset where it waited, so that it is delivered ONCE, whoever is master by then.
 */
import { DELAY_LEVEL_MAX } from '../../../machines/retry-policy.ts'
import { producerIdAt, sequenceAt } from '../../../transport/frames.ts'

/** One queue for each level; no client reads or writes it, and no list shows it. */
export const SCHEDULE_TOPIC = 'SCHEDULE_TOPIC_XXXX'

/** Beyond all ids that producers draw. */
const FIRST_ID = 2 ** 53
const HIGH = 2 ** 32

/** The producer id of what is delivered from a queue: even, so that a float holds it. */
export const schedulerIdOf = (queueId: number): number => FIRST_ID + queueId * 2

/** What the log's own frames say: messages before `next` are settled though they were not delivered. */
export type ScheduleChange = { queueId: number; next: number }

export class ScheduleState {
  readonly #next: number[] = new Array(DELAY_LEVEL_MAX).fill(0)

  /** The offset of the first message of that queue which is not delivered. */
  next(queueId: number): number {
    return this.#next[queueId]!
  }

  /** A delivered frame is in the log; returns the queue where it waited. */
  noteDelivered(bytes: Buffer, at: number): number {
    const queueId = (producerIdAt(bytes, at) - FIRST_ID) / 2
    const next = this.#next[queueId]
    if (next === undefined) return queueId
    const ahead = (sequenceAt(bytes, at) - (next % HIGH) + HIGH) % HIGH
    this.#next[queueId] = next + ahead + 1
    return queueId
  }

  change({ queueId, next }: ScheduleChange): void {
    this.#next[queueId] = Math.max(this.#next[queueId] ?? 0, next)
  }

  /** Whether a message that waits stands before these next offsets: `queueId, nextOffset, minOffset` and again. */
  waitsBefore(numbers: readonly number[]): boolean {
    for (let i = 0; i + 2 < numbers.length; i += 3)
      if (numbers[i + 1]! > (this.#next[numbers[i]!] ?? Number.POSITIVE_INFINITY)) return true
    return false
  }

  save(): number[] {
    return [...this.#next]
  }

  /** Logs of earlier versions do not tell: nothing waited there. */
  restore(saved: readonly number[] = []): void {
    for (let queueId = 0; queueId < this.#next.length; queueId++) this.#next[queueId] = saved[queueId] ?? 0
  }
}
