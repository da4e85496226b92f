/**
 * Delivery: stored frames on their way to consumers, verbatim.
 *
 * A pull that finds nothing is held until something is stored or its time is over. Nobody is shown a byte that is not
 * confirmed. A queue that is owned for a group is read by its owner only.
 *
 * RocketMQ: broker/processor/PullMessageProcessor.java, broker/longpolling/PullRequestHoldService.java
 */
import { PERM_READ } from '../../machines/topic.ts'
import { type Code, codes } from '../../transport/codes.ts'
import { PULL_HEAD_BYTES, pullAnswer } from '../../transport/exchange.ts'
import { countAt } from '../../transport/frames.ts'
import type { PullRequest } from '../../transport/messages.ts'
import type { Transport } from '../../transport/transport.ts'
import type { Clock, Log } from '../node/world.ts'
import type { BrokerState } from './broker-state.ts'
import type { Store, StoredQueue } from './store/store.ts'

const LOOK_MS = 250
const WAIT_MS_MAX = 60_000
const READ_BYTES_MAX = 1024 * 1024

type Held = { request: PullRequest; reply: string; until: number }

export type DeliveryCounters = { messagesOut: number; bytesOut: number }

export class Delivery {
  readonly counters: DeliveryCounters = { messagesOut: 0, bytesOut: 0 }
  readonly #store: Store
  readonly #state: BrokerState
  readonly #transport: Transport
  readonly #clock: Clock
  readonly #log: Log
  readonly #epoch: number
  readonly #isOwner: (request: PullRequest) => boolean
  readonly #held = new Map<StoredQueue, Held[]>()
  #timer: unknown = null
  #isClosed = false

  constructor(
    store: Store,
    state: BrokerState,
    { transport, clock, log }: { transport: Transport; clock: Clock; log: Log },
    epoch: number,
    isOwner: (request: PullRequest) => boolean,
  ) {
    this.#store = store
    this.#state = state
    this.#transport = transport
    this.#clock = clock
    this.#log = log
    this.#epoch = epoch
    this.#isOwner = isOwner
  }

  pull(request: PullRequest, reply: string): void {
    const config = this.#state.topics.get(request.topic)
    if (config === undefined || request.queueId >= Math.max(config.readQueues, config.writeQueues)) {
      return this.#answer(reply, codes.TOPIC_NOT_EXIST, request.offset, 0, 0)
    }
    if ((config.perm & PERM_READ) === 0) return this.#answer(reply, codes.NO_PERMISSION, request.offset, 0, 0)
    const queue = this.#store.queue(request.topic, request.queueId)
    if (request.owner && !this.#isOwner(request)) {
      this.#letGo(queue, request)
      return this.#answer(reply, codes.FENCED_OWNER, request.offset, 0, 0)
    }
    this.#read(queue, request, reply, this.#clock.monotonic() + Math.min(request.waitMs, WAIT_MS_MAX))
  }

  #read(queue: StoredQueue, request: PullRequest, reply: string, until: number): void {
    const bytesMax = Math.min(request.maxBytes, READ_BYTES_MAX, this.#transport.maxPayload - PULL_HEAD_BYTES)
    this.#store.read(queue, request.offset, bytesMax, (outcome) => {
      if (this.#isClosed) return this.#answer(reply, codes.NOT_MASTER, request.offset, 0, 0)
      if (!outcome.ok) {
        this.#log.error('a read failed', {
          topic: request.topic,
          queueId: request.queueId,
          failure: outcome.failure,
        })
        return this.#answer(reply, codes.SYSTEM_ERROR, request.offset, 0, 0)
      }
      const { status, frames, nextOffset, minOffset, maxOffset } = outcome.value
      // The queue may have changed hands while the request was held, or while the disk was read.
      if (request.owner && !this.#isOwner(request)) {
        return this.#answer(reply, codes.FENCED_OWNER, request.offset, minOffset, maxOffset)
      }
      // A reader may be ahead of what a new master knows to be confirmed: what it has read is here, and will be.
      if (status === 'atEnd' || (status === 'aboveMax' && request.offset <= queue.nextOffset)) {
        if (until > this.#clock.monotonic()) this.#hold(queue, { request, reply, until })
        else this.#answer(reply, codes.PULL_NOT_FOUND, request.offset, minOffset, maxOffset)
      } else if (status === 'found') {
        for (const frame of frames) this.counters.messagesOut += countAt(frame, 0)
        this.#answer(reply, codes.SUCCESS, nextOffset, minOffset, maxOffset, frames)
      } else this.#answer(reply, codes.PULL_OFFSET_MOVED, nextOffset, minOffset, maxOffset)
    })
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
    for (const { request, reply, until } of held.splice(0)) this.#read(queue, request, reply, until)
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
