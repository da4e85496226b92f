/**
 * Delivery: stored frames on their way to consumers, verbatim.
 *
 * A pull that finds nothing is held until something is stored or its time is over. Nobody is shown a byte that is not
 * confirmed. A queue that is owned for a group is read by its owner only. A reader with a filter gets the frames it wants
 * and is told how far the others reach: a pull that finds only those goes on waiting behind them.
 *
 * RocketMQ: broker/processor/PullMessageProcessor.java, broker/longpolling/PullRequestHoldService.java
 */
import type { Filter } from '../../machines/filter/filter.ts'
import { PERM_READ, queueCountOf } from '../../machines/topic.ts'
import { type Code, codes } from '../../transport/codes.ts'
import { PULL_HEAD_BYTES, pullAnswer } from '../../transport/exchange.ts'
import type { Outcome } from '../../transport/failures.ts'
import { countAt } from '../../transport/frames.ts'
import type { PullRequest } from '../../transport/messages.ts'
import type { Transport } from '../../transport/transport.ts'
import type { Clock, Log } from '../node/world.ts'
import type { BrokerState } from './broker-state.ts'
import { type FilteredResult, Filters, readFiltered } from './filters.ts'
import type { Store, StoredQueue } from './store/store.ts'

const LOOK_MS = 250
const WAIT_MS_MAX = 60_000
const READ_BYTES_MAX = 1024 * 1024
/** A reader that waits learns within this time what was left out: its group's lag counts that until then. */
const TELL_MS = 1_000

/** A pull under way. `offset` is what comes next: behind what the filter left out. */
type Held = { request: PullRequest; reply: string; filter: Filter | null; offset: number; until: number }

export type DeliveryCounters = { messagesOut: number; bytesOut: number }

/** Who gave its queue back, or lost it, while its pull was held is no zombie: only a pull that comes too late is counted. */
type Owners = { isOwner(request: PullRequest): boolean; comesFromOwner(request: PullRequest): boolean }

export class Delivery {
  readonly counters: DeliveryCounters = { messagesOut: 0, bytesOut: 0 }
  readonly #store: Store
  readonly #state: BrokerState
  readonly #transport: Transport
  readonly #clock: Clock
  readonly #log: Log
  readonly #epoch: number
  readonly #owners: Owners
  readonly #held = new Map<StoredQueue, Held[]>()
  readonly #filters = new Filters()
  #timer: unknown = null
  #isClosed = false

  constructor(
    store: Store,
    state: BrokerState,
    { transport, clock, log }: { transport: Transport; clock: Clock; log: Log },
    epoch: number,
    owners: Owners,
  ) {
    this.#store = store
    this.#state = state
    this.#transport = transport
    this.#clock = clock
    this.#log = log
    this.#epoch = epoch
    this.#owners = owners
  }

  pull(request: PullRequest, reply: string): void {
    const config = this.#state.topics.get(request.topic)
    if (config === undefined || request.queueId >= queueCountOf(config)) {
      return this.#answer(reply, codes.TOPIC_NOT_EXIST, request.offset, 0, 0)
    }
    if ((config.perm & PERM_READ) === 0) return this.#answer(reply, codes.NO_PERMISSION, request.offset, 0, 0)
    const queue = this.#store.queue(request.topic, request.queueId)
    if (request.owner && !this.#owners.comesFromOwner(request)) {
      this.#letGo(queue, request)
      return this.#answer(reply, codes.FENCED_OWNER, request.offset, 0, 0)
    }
    const filter = this.#filterOf(request)
    if (filter === undefined)
      return this.#answer(reply, codes.SUBSCRIPTION_PARSE_FAILED, request.offset, 0, 0)
    const until = this.#clock.monotonic() + Math.min(request.waitMs, WAIT_MS_MAX)
    this.#read(queue, { request, reply, filter, offset: request.offset, until })
  }

  /** Null wants all messages; undefined: the text is no filter. */
  #filterOf({ filter }: PullRequest): Filter | null | undefined {
    if (filter === undefined) return null
    const parsed = this.#filters.of(filter)
    return parsed.ok ? parsed.filter : undefined
  }

  #read(queue: StoredQueue, held: Held): void {
    const { request, reply, filter, offset } = held
    const bytesMax = Math.min(request.maxBytes, READ_BYTES_MAX, this.#transport.maxPayload - PULL_HEAD_BYTES)
    const done = (outcome: Outcome<FilteredResult>): void => {
      if (this.#isClosed) return this.#answer(reply, codes.NOT_MASTER, offset, 0, 0)
      if (!outcome.ok) {
        this.#log.error('a read failed', {
          topic: request.topic,
          queueId: request.queueId,
          failure: outcome.failure,
        })
        return this.#answer(reply, codes.SYSTEM_ERROR, offset, 0, 0)
      }
      const { status, frames, nextOffset, minOffset, maxOffset } = outcome.value
      // The queue may have changed hands while the request was held, or while the disk was read.
      if (request.owner && !this.#owners.isOwner(request)) {
        return this.#answer(reply, codes.FENCED_OWNER, offset, minOffset, maxOffset)
      }
      // A reader may be ahead of what a new master knows to be confirmed: what it has read is here, and will be.
      if (status === 'atEnd' || (status === 'aboveMax' && offset <= queue.nextOffset)) {
        this.#wait(queue, held, Math.max(offset, nextOffset), minOffset, maxOffset)
      } else if (status === 'found') {
        for (const frame of frames) this.counters.messagesOut += countAt(frame, 0)
        this.#answer(reply, codes.SUCCESS, nextOffset, minOffset, maxOffset, frames)
      } else if (status === 'passed') {
        this.#answer(reply, codes.PULL_RETRY_IMMEDIATELY, nextOffset, minOffset, maxOffset)
      } else this.#answer(reply, codes.PULL_OFFSET_MOVED, nextOffset, minOffset, maxOffset)
    }
    if (filter === null) this.#store.read(queue, offset, bytesMax, done)
    else readFiltered(this.#store, queue, offset, bytesMax, { filter, text: request.filter! }, done)
  }

  /** Nothing wanted is there up to `offset`. */
  #wait(queue: StoredQueue, held: Held, offset: number, minOffset: number, maxOffset: number): void {
    const { request, reply } = held
    const now = this.#clock.monotonic()
    if (offset > held.offset) held.until = Math.min(held.until, now + TELL_MS)
    held.offset = offset
    if (held.until > now) return this.#hold(queue, held)
    const code = offset > request.offset ? codes.PULL_RETRY_IMMEDIATELY : codes.PULL_NOT_FOUND
    this.#answer(reply, code, offset, minOffset, maxOffset)
  }

  #answer(
    reply: string,
    code: Code,
    nextOffset: number,
    minOffset: number,
    maxOffset: number,
    frames: readonly Buffer[] = [],
  ): void {
    if (reply === '') return
    const answer = pullAnswer({ code, epoch: this.#epoch, nextOffset, minOffset, maxOffset }, frames)
    this.counters.bytesOut += answer.length
    this.#transport.publish(reply, answer)
  }

  #hold(queue: StoredQueue, held: Held): void {
    // A reader that asks again has lost or given up its earlier request.
    this.#letGo(queue, held.request)
    const others = this.#held.get(queue)
    if (others) others.push(held)
    else this.#held.set(queue, [held])
    this.#timer ??= this.#clock.setTimeout(() => this.#look(), LOOK_MS)
  }

  #letGo(queue: StoredQueue, { owner }: PullRequest): void {
    const held = this.#held.get(queue)
    if (!held || !owner) return
    const same = ({ request }: Held) =>
      request.owner?.group === owner.group && request.owner.clientId === owner.clientId
    const left = held.filter((other) => !same(other))
    if (left.length === held.length) return
    for (const { request, reply } of held.filter(same))
      this.#answer(reply, codes.PULL_NOT_FOUND, request.offset, 0, 0)
    this.#held.set(queue, left)
  }

  /** Something new is stored in the queue. */
  arrived(queue: StoredQueue): void {
    const held = this.#held.get(queue)
    if (held === undefined || held.length === 0) return
    for (const pull of held.splice(0)) this.#read(queue, pull)
  }

  /** What earlier masters took may be read now: nobody knows in which queues it is. */
  arrivedSomewhere(): void {
    for (const queue of [...this.#held.keys()]) this.arrived(queue)
  }

  /** Ends the requests whose time is over. Runs only while there are any. */
  #look(): void {
    this.#timer = null
    const now = this.#clock.monotonic()
    let left = 0
    for (const [queue, held] of this.#held) {
      if (held.some(({ until }) => until <= now)) this.arrived(queue)
      left += held.length
    }
    if (left > 0) this.#timer ??= this.#clock.setTimeout(() => this.#look(), LOOK_MS)
  }

  /** This mastership is over: readers ask the next master. */
  close(): void {
    this.#isClosed = true
    this.#clock.clearTimeout(this.#timer)
    this.#timer = null
    for (const held of this.#held.values()) {
      for (const { request, reply } of held) this.#answer(reply, codes.NOT_MASTER, request.offset, 0, 0)
    }
    this.#held.clear()
  }
}
