/**
 * Reader: reads a topic without a group. Nothing is committed and nobody is disturbed: it sees what is stored.
 *
 * It begins where `seek` says, queue by queue, and `poll` gives what has come since, in the order of each queue.
 *
 * RocketMQ: client/consumer/DefaultLitePullConsumer.java (assign and seek)
 */
import type { FilterExpression } from '../../machines/filter/filter.ts'
import { topicFault } from '../../machines/names.ts'
import {
  compareQueues,
  type QueueRef,
  queueKey,
  readQueuesOf,
  type TopicRoute,
} from '../../machines/topic.ts'
import { badInput, StateMQError } from '../errors.ts'
import type { Process } from '../node/process.ts'
import { type RouteWatch, watchRoute } from '../producer/route.ts'
import type { IncomingMessage } from './incoming-message.ts'
import { MasterProbe } from './master-probe.ts'
import { QueueReader } from './queue-reader.ts'
import { findOffset, type StartPosition } from './start-position.ts'
import { type Subscribed, subscribed } from './subscribed.ts'

export type ReaderOptions = {
  topic: string
  /** Which queues to read; all by default. */
  queues?: (queue: QueueRef) => boolean
  /** Where to begin when `seek` is not called; default 'first'. */
  from?: 'first' | 'last'
  /** Which messages: `*` (default), tags as `a || b`, or `{ sql }`. */
  filter?: FilterExpression
}

export type SeekPosition = 'first' | 'last' | { time: Date | number } | { offset: number; queue?: QueueRef }

const LIMITS = { messages: 500, bytes: 16 * 1024 * 1024 }
const ASK_MS = 3_000

export class Reader {
  readonly topic: string
  readonly #process: Process
  readonly #released: () => void
  readonly #wants: (queue: QueueRef) => boolean
  readonly #from: 'first' | 'last'
  readonly #subscribed: Subscribed
  readonly #route: RouteWatch
  readonly #readers = new Map<string, QueueReader>()
  readonly #epochs = new Map<string, number>()
  readonly #probe: MasterProbe
  readonly #failure: { error: StateMQError | null } = { error: null }
  #order: QueueReader[] = []
  #cursor = 0
  #routed: (() => void)[] = []
  #hasRoute = false
  #started: Promise<void> | null = null
  #wake: (() => void) | null = null
  #isClosed = false

  constructor(
    process: Process,
    { topic, queues = () => true, from = 'first', filter = '*' }: ReaderOptions,
    released: () => void,
  ) {
    if (typeof topic !== 'string') throw badInput('a reader needs a topic: client.reader({ topic })')
    const fault = topicFault(topic)
    if (fault) throw badInput(fault.message, fault.code)
    this.#subscribed = subscribed(filter)
    this.topic = topic
    this.#process = process
    this.#released = released
    this.#wants = queues
    this.#from = from
    this.#probe = new MasterProbe(process, {
      readers: () => this.#order,
      epochOf: (brokerName) => this.#epochs.get(brokerName) ?? 0,
      lost: (brokerName, epoch) => this.#route.unreachable(brokerName, epoch),
    })
    this.#route = watchRoute(process, {
      topic,
      createTopic: false,
      announced: (route) => this.#announced(route),
      missing: (error) => {
        this.#failure.error = error
        this.#tellRouted()
      },
    })
  }

  /** The queues it reads, sorted by broker and id. */
  async queues(): Promise<QueueRef[]> {
    await this.#ready()
    return this.#order.map(({ ref }) => ref)
  }

  /** Goes to a place in all queues, or in one. What was read ahead is dropped. */
  async seek(to: SeekPosition): Promise<void> {
    await this.#ready()
    const only = typeof to === 'object' && 'queue' in to && to.queue ? queueKey(to.queue) : null
    const readers = only === null ? this.#order : this.#order.filter(({ ref }) => queueKey(ref) === only)
    if (readers.length === 0) throw badInput(`the reader has no queue ${only}`, 'INVALID_PARAMETER')
    await Promise.all(readers.map((reader) => this.#start(reader, positionOf(to))))
    await this.#begin(this.#order.filter((reader) => !readers.includes(reader)))
  }

  /** Once; a broker that did not answer is asked again by the next call. */
  #begin(readers: readonly QueueReader[]): Promise<void> {
    this.#started ??= Promise.all(readers.map((reader) => this.#start(reader, this.#from))).then(
      () => {},
      (error: unknown) => {
        this.#started = null
        throw error
      },
    )
    return this.#started
  }

  /** At most `max` messages; waits up to `waitMs` for the first. */
  async poll(max = 32, waitMs = 1_000): Promise<IncomingMessage[]> {
    await this.#ready()
    await this.#begin(this.#order)
    const { clock } = this.#process.world
    const until = clock.monotonic() + waitMs
    for (;;) {
      const found = this.#take(max)
      const left = until - clock.monotonic()
      if (found.length > 0 || left <= 0 || this.#isClosed) return found
      await new Promise<void>((resolve) => {
        const timer = clock.setTimeout(resolve, left)
        this.#wake = () => {
          clock.clearTimeout(timer)
          resolve()
        }
      })
      this.#wake = null
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<IncomingMessage, void, undefined> {
    while (!this.#isClosed) yield* await this.poll()
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#route.stop()
    this.#probe.stop()
    for (const reader of this.#order) reader.stop()
    this.#wake?.()
    this.#tellRouted()
    this.#released()
  }

  #take(max: number): IncomingMessage[] {
    const found: IncomingMessage[] = []
    let empty = 0
    while (found.length < max && empty < this.#order.length) {
      if (this.#cursor >= this.#order.length) this.#cursor = 0
      const message = this.#next(this.#order[this.#cursor]!)
      if (message) {
        found.push(message)
        empty = 0
      } else {
        this.#cursor++
        empty++
      }
    }
    return found
  }

  #next(reader: QueueReader): IncomingMessage | null {
    const { filter } = this.#subscribed
    let message = reader.next()
    while (message !== null && filter !== null && !filter(message)) message = reader.next()
    return message
  }

  async #ready(): Promise<void> {
    const { clock } = this.#process.world
    if (!this.#hasRoute && !this.#failure.error && !this.#isClosed) {
      await new Promise<void>((resolve) => {
        const timer = clock.setTimeout(resolve, ASK_MS)
        this.#routed.push(() => {
          clock.clearTimeout(timer)
          resolve()
        })
      })
    }
    if (this.#isClosed) throw new StateMQError('CLOSED', 'the reader is closed')
    if (this.#hasRoute) return
    const { error } = this.#failure
    this.#failure.error = null
    if (error) {
      this.#route.want()
      throw error
    }
    throw new StateMQError('TIMED_OUT', `no route for '${this.topic}': ${this.#route.trouble}`, {
      retryable: true,
    })
  }

  #tellRouted(): void {
    for (const tell of this.#routed.splice(0)) tell()
  }

  #announced(route: TopicRoute): void {
    for (const { brokerName, epoch } of route.brokers) {
      if (epoch <= (this.#epochs.get(brokerName) ?? 0)) continue
      this.#epochs.set(brokerName, epoch)
      for (const reader of this.#order) if (reader.ref.brokerName === brokerName) reader.again()
    }
    for (const ref of readQueuesOf(route)) {
      const key = queueKey(ref)
      if (!this.#wants(ref) || this.#readers.has(key)) continue
      const reader = new QueueReader(
        this.#process,
        ref,
        {
          epoch: () => this.#epochs.get(ref.brokerName) ?? 0,
          arrived: () => this.#wake?.(),
          unreachable: (epoch) => this.#route.unreachable(ref.brokerName, epoch),
          fenced: () => {},
          mayPull: () => true,
          rewound: (offset) => reader.start(offset),
        },
        LIMITS,
        undefined,
        this.#subscribed.text,
      )
      this.#readers.set(key, reader)
      // A queue that appears later is read from its start: nothing of it was there before.
      if (this.#started) reader.start(0)
    }
    this.#order = [...this.#readers.values()].sort((a, b) => compareQueues(a.ref, b.ref))
    this.#hasRoute = true
    this.#tellRouted()
  }

  #start(reader: QueueReader, from: StartPosition): Promise<void> {
    return new Promise((resolve, reject) => {
      const { ref } = reader
      findOffset(this.#process, ref, this.#epochs.get(ref.brokerName) ?? 0, from, (offset) => {
        if (offset === null) {
          const message =
            `${ref.brokerName} did not tell where queue ${ref.queueId} of '${ref.topic}' begins: ` +
            "see 'statemq broker list' whether it has a master"
          return reject(new StateMQError('TIMED_OUT', message, { retryable: true }))
        }
        reader.start(offset)
        resolve()
      })
    })
  }
}

function positionOf(to: SeekPosition): StartPosition {
  if (typeof to === 'string') return to
  if ('time' in to) {
    const time = to.time instanceof Date ? to.time.getTime() : to.time
    if (!Number.isFinite(time) || time < 0) throw badInput('seek: the time is no date', 'INVALID_PARAMETER')
    return { time }
  }
  if (!Number.isSafeInteger(to.offset) || to.offset < 0) {
    throw badInput(`seek: offset ${to.offset}: give a whole number from 0 on`, 'INVALID_PARAMETER')
  }
  return { offset: to.offset }
}
