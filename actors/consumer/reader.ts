/**
 * Reader: reads a topic without a group. Nothing is committed and nobody is disturbed: it sees what is stored.
 *
 * It begins where `seek` says, queue by queue, and `poll` gives what has come since, in the order of each queue.
 *
 * RocketMQ: client/consumer/DefaultLitePullConsumer.java (assign and seek)
 */
import type { FilterExpression } from '../../machines/filter/filter.ts'
import { ownTopicFault } from '../../machines/names.ts'
import {
  compareQueues,
  type QueueRef,
  queueKey,
  readQueuesOf,
  type TopicRoute,
} from '../../machines/topic.ts'
import { TIMER_MS_MAX } from '../../transport/ports.ts'
import { badInput, StateMQError } from '../errors.ts'
import type { Process } from '../node/process.ts'
import { type Names, refuseUnknown } from '../options.ts'
import { type RouteWatch, watchRoute } from '../producer/route.ts'
import { CacheBudget, defaultFlow } from './flow-control.ts'
import type { IncomingMessage } from './incoming-message.ts'
import { MasterProbe } from './master-probe.ts'
import { QueueReader } from './queue-reader.ts'
import {
  type Found,
  findConfirmed,
  positionOf,
  type SeekPosition,
  type StartPosition,
} from './start-position.ts'
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

const readerOptions: Names<ReaderOptions> = { topic: true, queues: true, from: true, filter: true }

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
  readonly #budget = new CacheBudget(defaultFlow.totalBytes)
  readonly #paused = new Set<string>()
  readonly #failure: { error: StateMQError | null } = { error: null }
  #order: QueueReader[] = []
  #cursor = 0
  #routed: (() => void)[] = []
  #hasRoute = false
  #isReadable = true
  #started: Promise<void> | null = null
  /** Polls that wait. */
  readonly #waiting = new Set<() => void>()
  #isClosed = false
  #turn = 0
  /** Which of several starts that were under way has placed it. */
  readonly #placedBy = new WeakMap<QueueReader, number>()

  constructor(process: Process, options: ReaderOptions, released: () => void) {
    checkOptions(options)
    const { topic, queues = () => true, from = 'first', filter = '*' } = options
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

  /**
   * Goes to a place in all queues, or in one (`{ offset, queue }`, or `seek('last', queue)`). What was read ahead is
   * dropped. A time goes to the first message that was stored then or later. An offset from the queue's first to the
   * one after its last is taken; when a queue does not have it, it rejects with PULL_OFFSET_MOVED and no queue is moved.
   * While a broker has no master, a slave tells by what it knows to be confirmed; an offset that it does not have rejects
   * with TIMED_OUT, to be tried again.
   */
  async seek(to: SeekPosition, queue?: QueueRef): Promise<void> {
    const position = positionOf(to)
    await this.#ready()
    const only = queue ?? (typeof to === 'object' ? to.queue : undefined)
    const readers = only === undefined ? this.#order : [this.#readerOf(only)]
    const { offset } = { offset: undefined, ...(typeof position === 'object' ? position : {}) }
    if (offset !== undefined) await Promise.all(readers.map((reader) => this.#check(reader, offset)))
    await Promise.all(readers.map((reader) => this.#start(reader, position)))
    await this.#begin(this.#order.filter((reader) => !readers.includes(reader)))
  }

  /** The offset of the next message that `poll` gives of this queue. */
  async position(queue: QueueRef): Promise<number> {
    await this.#ready()
    const reader = this.#readerOf(queue)
    await this.#begin(this.#order)
    return reader.position
  }

  /** `poll` gives nothing of this queue, or of any that there is now, until `resume`. Positions stay. */
  async pause(queue?: QueueRef): Promise<void> {
    await this.#ready()
    for (const { ref } of queue ? [this.#readerOf(queue)] : this.#order) this.#paused.add(queueKey(ref))
  }

  async resume(queue?: QueueRef): Promise<void> {
    await this.#ready()
    for (const reader of queue ? [this.#readerOf(queue)] : this.#order) {
      this.#paused.delete(queueKey(reader.ref))
      reader.want()
    }
    const hasCached = ({ ref, cachedMessages }: QueueReader) => cachedMessages > 0 && !this.#isPaused(ref)
    if (this.#order.some(hasCached)) this.#wake()
  }

  #readerOf(queue: QueueRef): QueueReader {
    const reader = this.#readers.get(queueKey(queue))
    if (reader) return reader
    const known = this.#order.map(({ ref }) => queueKey(ref)).join(', ')
    throw badInput(`the reader has no queue ${queueKey(queue)}: it reads ${known}`, 'INVALID_PARAMETER')
  }

  /** Rejects when the queue does not hold the offset, nor ends at it. */
  async #check({ ref }: QueueReader, offset: number): Promise<void> {
    const [first, last] = await Promise.all([this.#find(ref, 'first'), this.#find(ref, 'last')])
    if (offset >= first.offset && offset <= last.offset) return
    const bounds = `from ${first.offset} to ${last.offset}`
    if (first.isShort || last.isShort) {
      const message = `${ref.brokerName} has no master, and of ${queueKey(ref)} its slaves have ${bounds}: try again`
      throw new StateMQError('TIMED_OUT', message, { retryable: true })
    }
    const message =
      `offset ${offset} is not in ${queueKey(ref)}, which goes ${bounds}: seek there, ` +
      "to a time, or to 'first' or 'last'; for one queue only, seek({ offset, queue })"
    throw badInput(message, 'PULL_OFFSET_MOVED')
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
    if (!(Number.isInteger(max) && max > 0))
      throw badInput(`poll: max ${max}: give 1 or more`, 'INVALID_PARAMETER')
    if (!(waitMs >= 0 && waitMs <= TIMER_MS_MAX)) {
      throw badInput(`poll: waitMs ${waitMs}: give 0 to ${TIMER_MS_MAX} milliseconds`, 'INVALID_PARAMETER')
    }
    await this.#ready()
    await this.#begin(this.#order)
    const { clock } = this.#process.world
    const until = clock.monotonic() + waitMs
    for (;;) {
      const found = this.#take(max)
      const left = until - clock.monotonic()
      if (found.length > 0 || left <= 0 || this.#isClosed) return found
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#waiting.delete(wake)
          clock.clearTimeout(timer)
          resolve()
        }
        const timer = clock.setTimeout(wake, left)
        this.#waiting.add(wake)
      })
    }
  }

  #wake(): void {
    for (const wake of this.#waiting) wake()
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
    this.#wake()
    this.#tellRouted()
    this.#released()
  }

  #take(max: number): IncomingMessage[] {
    const found: IncomingMessage[] = []
    let empty = 0
    while (found.length < max && empty < this.#order.length) {
      if (this.#cursor >= this.#order.length) this.#cursor = 0
      const reader = this.#order[this.#cursor]!
      const message = this.#isPaused(reader.ref) ? null : this.#next(reader)
      if (message) {
        reader.release(message)
        found.push(message)
        empty = 0
      } else {
        this.#cursor++
        empty++
      }
    }
    return found
  }

  #isPaused(ref: QueueRef): boolean {
    return this.#paused.size > 0 && this.#paused.has(queueKey(ref))
  }

  #next(reader: QueueReader): IncomingMessage | null {
    const { filter } = this.#subscribed
    let message = reader.next()
    while (message !== null && filter !== null && !filter(message)) {
      reader.release(message)
      message = reader.next()
    }
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
    if (this.#hasRoute) {
      if (this.#isReadable) return
      const { topic } = this
      this.#route.want()
      throw badInput(
        `'${topic}' may be written and not read: see 'statemq topic show ${topic}'`,
        'NO_PERMISSION',
      )
    }
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
    const refs = readQueuesOf(route)
    this.#isReadable = refs.length > 0 || route.brokers.length === 0
    for (const ref of refs) {
      const key = queueKey(ref)
      if (!this.#wants(ref) || this.#readers.has(key)) continue
      const reader = new QueueReader(
        this.#process,
        ref,
        {
          epoch: () => this.#epochs.get(ref.brokerName) ?? 0,
          arrived: () => this.#wake(),
          unreachable: (epoch) => this.#route.unreachable(ref.brokerName, epoch),
          fenced: () => {},
          mayPull: () => !this.#isPaused(ref),
          rewound: (offset) => reader.start(offset),
        },
        { limits: LIMITS, budget: this.#budget, filter: this.#subscribed.text },
      )
      this.#readers.set(key, reader)
      // A queue that appears later is read from its start: nothing of it was there before.
      if (this.#started) reader.start(0)
    }
    this.#order = [...this.#readers.values()].sort((a, b) => compareQueues(a.ref, b.ref))
    this.#budget.setQueues(this.#order.length)
    this.#hasRoute = true
    this.#tellRouted()
  }

  async #start(reader: QueueReader, from: StartPosition): Promise<void> {
    const turn = ++this.#turn
    const { offset } = await this.#find(reader.ref, from)
    if (this.#isClosed || turn < (this.#placedBy.get(reader) ?? 0)) return
    this.#placedBy.set(reader, turn)
    reader.start(offset)
  }

  #find(ref: QueueRef, from: StartPosition): Promise<Found> {
    const { brokerName } = ref
    const search = {
      epoch: () => this.#epochs.get(brokerName) ?? 0,
      unreachable: (epoch: number) => this.#route.unreachable(brokerName, epoch),
      isOver: () => this.#isClosed,
    }
    return new Promise((resolve, reject) => {
      findConfirmed(this.#process, ref, search, from, (found) => {
        if (found !== null) return resolve(found)
        const message =
          `${brokerName} did not tell where queue ${ref.queueId} of '${ref.topic}' begins: ` +
          "see 'statemq broker list' whether it has a master"
        reject(new StateMQError('TIMED_OUT', message, { retryable: true }))
      })
    })
  }
}

function checkOptions(options: ReaderOptions): void {
  const { topic, queues, from = 'first' } = options ?? {}
  if (typeof topic !== 'string')
    throw badInput('a reader needs a topic: client.reader({ topic })', 'INVALID_PARAMETER')
  refuseUnknown('a reader', options, readerOptions)
  const fault = ownTopicFault(topic)
  if (fault) throw badInput(fault.message, fault.code)
  if (queues !== undefined && typeof queues !== 'function')
    throw badInput('queues: give a function of a queue that says whether it is read', 'INVALID_PARAMETER')
  if (from !== 'first' && from !== 'last')
    throw badInput(`from '${from}': give 'first' or 'last'`, 'INVALID_PARAMETER')
}
