/**
 * Schedule: messages that are due later wait here, and are delivered when their time has come.
 *
 * NEVER early, by this broker's clock, nor an hour late because that was set back by one. EXACTLY ONCE: the delivered frame
 * is the record of it, in the same log, so that a restart or the next master goes on behind it. Only the master delivers,
 * only what is confirmed, and only while it takes messages at all. A message whose topic is gone is dropped, counted, and told of once for each topic.
 *
 * RocketMQ: broker/schedule/ScheduleMessageService.java (which polls each level every 100 ms)
 */
import { isDerived } from '../../../machines/names.ts'
import { DELAY_LEVEL_MAX } from '../../../machines/retry-policy.ts'
import { encode } from '../../../transport/codec.ts'
import { epochAt, flags, flagsAt, kinds, queueOffsetAt, recordsAt } from '../../../transport/frames.ts'
import { type Properties, propertiesAt } from '../../../transport/records.ts'
import type { Clock, Log } from '../../node/world.ts'
import type { BrokerState } from '../broker-state.ts'
import { ForwardTime } from '../forward-time.ts'
import type { Store, StoredQueue } from '../store/store.ts'
import { SCHEDULE_TOPIC, type ScheduleChange } from './schedule-state.ts'
import { type Destination, deliveredOf, destinationOf, levelAsked, waitingOf } from './waiting.ts'

const READ_BYTES = 256 * 1024
/** Delivering faster than the disk, or the replicas, store would fill the memory. */
const UNSTORED_BYTES_MAX = 16 * 1024 * 1024
/** A clock that was set forward is noticed within this time. */
const LOOK_MS_MAX = 60_000

/** What a schedule needs of the gate it belongs to. */
export type ScheduleOwner = {
  /** The pause of each level in milliseconds. */
  readonly delaysMs: readonly number[]
  /** Whether messages are taken at the moment. */
  mayDeliver(): boolean
  /** Something was appended to the queue: whoever waits there is to be told when it is confirmed. */
  appended(queue: StoredQueue): void
  /** Makes a topic of the system's own that is missing. */
  createDerived(topic: string): void
}

/** A queue of messages that wait, in the order in which they are due. */
type Level = { readonly queueId: number; readonly queue: StoredQueue; timer: unknown; isReading: boolean }

export class Schedule {
  readonly counters = { scheduled: 0, delivered: 0, dropped: 0 }
  readonly #store: Store
  readonly #state: BrokerState
  readonly #clock: Clock
  readonly #log: Log
  readonly #owner: ScheduleOwner
  readonly #levels: Level[] = []
  readonly #missing = new Set<string>()
  #isOpen = false
  readonly #time: ForwardTime
  /** When this mastership began. */
  #openedAt = 0
  /** Something is to be looked at again when more is confirmed. */
  #isAwaited = false

  constructor(
    store: Store,
    state: BrokerState,
    { clock, log }: { clock: Clock; log: Log },
    owner: ScheduleOwner,
  ) {
    this.#store = store
    this.#state = state
    this.#clock = clock
    this.#log = log
    this.#owner = owner
    this.#time = new ForwardTime(clock)
    for (let queueId = 0; queueId < DELAY_LEVEL_MAX; queueId++) {
      const queue = store.queue(SCHEDULE_TOPIC, queueId)
      this.#levels.push({ queueId, queue, timer: null, isReading: false })
    }
  }

  /** From now on what is due is delivered. */
  open(): void {
    this.#isOpen = true
    this.#openedAt = this.#time.now()
    this.wake()
  }

  close(): void {
    this.#isOpen = false
    for (const level of this.#levels) {
      this.#clock.clearTimeout(level.timer)
      level.timer = null
    }
  }

  /** Messages are taken again. */
  wake(): void {
    for (const level of this.#levels) this.#look(level)
  }

  /** More of the log may be read. */
  confirmed(): void {
    if (!this.#isAwaited) return
    this.#isAwaited = false
    this.wake()
  }

  /** When a message of that level is due that is stored now. */
  dueTime(level: number): number {
    return this.#time.now() + this.#owner.delaysMs[level - 1]!
  }

  /** Stores what a sender sent with a delay; gives the offset where it waits, or -1 when it cannot wait. */
  take(bytes: Buffer, at: number, now: number): number {
    if (flagsAt(bytes, at) !== flags.scheduled) return -1
    const level = levelAsked(bytes, at)
    if (level === null || level > DELAY_LEVEL_MAX) return -1
    return this.append(waitingOf(bytes, at, level, this.dueTime(level)), level, now)
  }

  /** A frame that waits, of `waitingFrame`. */
  append(frame: Buffer, level: number, now: number): number {
    const { queue } = this.#levels[level - 1]!
    const offset = this.#store.append(queue, frame, 0, frame.length, now)
    this.#state.noteMessages(frame, 0)
    this.counters.scheduled++
    this.#isAwaited = true
    return offset
  }

  #look(level: Level): void {
    if (!this.#isOpen || level.isReading || level.timer !== null) return
    if (!this.#owner.mayDeliver()) return
    if (this.#store.endPosition - this.#store.confirmPosition > UNSTORED_BYTES_MAX) {
      this.#isAwaited = true
      return
    }
    const next = this.#state.schedule.next(level.queueId)
    if (next >= level.queue.nextOffset) return
    level.isReading = true
    this.#store.read(level.queue, next, READ_BYTES, (outcome) => {
      level.isReading = false
      if (!this.#isOpen) return
      if (!outcome.ok) {
        this.#log.error('messages that are due could not be read', { failure: outcome.failure })
        return this.#lookIn(level, LOOK_MS_MAX)
      }
      const { status, frames, nextOffset } = outcome.value
      if (status === 'found') this.#deliver(level, frames)
      else if (status === 'belowMin') this.#skip(level, next, nextOffset)
      else this.#isAwaited = true
    })
  }

  #lookIn(level: Level, ms: number): void {
    level.timer = this.#clock.setTimeout(
      () => {
        level.timer = null
        this.#look(level)
      },
      Math.max(1, Math.min(ms, LOOK_MS_MAX)),
    )
  }

  /** Gives out of these what is due; then waits for the first that is not, or looks for more. */
  #deliver(level: Level, frames: readonly Buffer[]): void {
    // It may have been closed to messages while the disk was read.
    if (!this.#owner.mayDeliver()) return
    const now = this.#time.now()
    let dropped = -1
    let waitMs = -1
    for (const frame of frames) {
      const properties = propertiesAt(frame, recordsAt(frame, 0))
      const destination = destinationOf(properties)
      const dueTime = this.#dueHere(frame, level, destination)
      if (dueTime > now) {
        waitMs = dueTime - now
        break
      }
      if (this.#deliverOne(frame, properties, destination)) dropped = -1
      else dropped = queueOffsetAt(frame, 0) + 1
    }
    if (dropped >= 0) this.#record({ queueId: level.queueId, next: dropped })
    if (waitMs >= 0) this.#lookIn(level, waitMs)
    // Other work has a turn first.
    else this.#clock.defer(() => this.#look(level))
  }

  /** What an earlier master stored was stored before this one began, whatever its clock said: it waits no longer than that. */
  #dueHere(frame: Buffer, { queueId }: Level, { dueTime }: Destination): number {
    if (epochAt(frame, 0) >= this.#store.epoch) return dueTime
    return Math.min(dueTime, this.#openedAt + this.#owner.delaysMs[queueId]!)
  }

  #deliverOne(frame: Buffer, properties: Properties, { topic, queueId }: Destination): boolean {
    if (!this.#state.topics.has(topic) && isDerived(topic)) this.#owner.createDerived(topic)
    const config = this.#state.topics.get(topic)
    if (config === undefined) {
      this.counters.dropped++
      if (!this.#missing.has(topic))
        this.#log.warn(`messages that are due are dropped: their topic '${topic}' was deleted`)
      this.#missing.add(topic)
      return false
    }
    const realId = queueId < config.readQueues ? queueId : queueId % config.readQueues
    const queue = this.#store.queue(topic, realId)
    const delivered = deliveredOf(frame, properties, topic, realId)
    this.#store.append(queue, delivered, 0, delivered.length, this.#clock.now())
    this.#state.noteMessages(delivered, 0)
    this.counters.delivered++
    this.#owner.appended(queue)
    return true
  }

  /** What was to be delivered has left the log before its time: the disk was too full. */
  #skip(level: Level, from: number, to: number): void {
    this.counters.dropped += to - from
    this.#log.error(`${to - from} messages that waited for their time are lost: the disk was too full`)
    this.#record({ queueId: level.queueId, next: to })
    this.#clock.defer(() => this.#look(level))
  }

  #record(change: ScheduleChange): void {
    this.#store.appendControl(kinds.schedule, encode(change))
    this.#state.changeSchedule(change)
  }
}
