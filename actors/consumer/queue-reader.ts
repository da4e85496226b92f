/**
 * QueueReader: reads one queue ahead of its consumer, in order, without a gap.
 *
 * It asks for the offset that follows the last frame it has, so a lost answer loses nothing. It stops asking while
 * enough is cached (flow control) and goes on as soon as there is room. Every frame is checked by its checksums BEFORE a
 * message of it is handed out.
 *
 * With a filter, the broker leaves out frames in which nothing is wanted and tells how far they reach; what it sends may
 * still hold messages that are not wanted.
 *
 * Replicas may have less than was read already, NEVER anything else, so only what is new of theirs is heard.
 *
 * RocketMQ: client/impl/consumer/DefaultMQPushConsumerImpl.java (pullMessage), ProcessQueue.java
 */
import type { QueueRef } from '../../machines/topic.ts'
import { codeName, codes } from '../../transport/codes.ts'
import { PULL_HEAD_BYTES, pullMaxOffset, pullMinOffset, pullNextOffset } from '../../transport/exchange.ts'
import { frameBytesAt, frameFault } from '../../transport/frames.ts'
import type { PullRequest } from '../../transport/messages.ts'
import type { Process } from '../node/process.ts'
import { CacheBudget, defaultFlow, type QueueLimits } from './flow-control.ts'
import { FrameCache } from './frame-cache.ts'
import type { IncomingMessage } from './incoming-message.ts'
import { Puller } from './puller.ts'

export type QueueReaderHooks = {
  /** The mastership to ask, 0 when none is known. */
  epoch(): number
  /** Something is cached. */
  arrived(): void
  /** The broker does not answer under this epoch. */
  unreachable(epoch: number): void
  /** Somebody else owns the queue, or the broker has forgotten who does. */
  fenced(): void
  /** Whether another pull may go now, beside the limits. */
  mayPull(): boolean
  /** What was read is not in the queue any more: messages were lost, and it goes on at this offset, where the queue ends. */
  rewound(offset: number): void
}

export type QueueReaderOptions = {
  limits?: QueueLimits
  /** What all queues of the consumer may hold together. */
  budget?: CacheBudget
  /** Under which grant it is read; undefined: nobody's. */
  owner?: PullRequest['owner']
  /** The broker leaves out what is not wanted by it; undefined: it sends all. */
  filter?: string | undefined
}

export class QueueReader {
  readonly ref: QueueRef
  /** Under which grant it reads for a group; undefined where nobody owns the queue. */
  readonly owner: PullRequest['owner']
  readonly #process: Process
  readonly #hooks: QueueReaderHooks
  readonly #limits: QueueLimits
  readonly #budget: CacheBudget
  readonly #cache: FrameCache
  readonly #puller: Puller
  /** What the broker leaves out what is not wanted by; undefined when it sends all. */
  #filter: string | undefined
  #maxOffset = 0
  #isRunning = false

  constructor(
    process: Process,
    ref: QueueRef,
    hooks: QueueReaderHooks,
    {
      limits = defaultFlow,
      budget = new CacheBudget(defaultFlow.totalBytes),
      owner,
      filter,
    }: QueueReaderOptions = {},
  ) {
    this.ref = ref
    this.owner = owner
    this.#process = process
    this.#hooks = hooks
    this.#limits = limits
    this.#budget = budget
    this.#filter = filter
    this.#cache = new FrameCache(ref, budget)
    this.#puller = new Puller(process, ref, {
      epoch: () => hooks.epoch(),
      unreachable: (epoch) => hooks.unreachable(epoch),
      answered: (code, answer) => this.#answered(code, answer),
      found: (answer) => this.#found(answer),
      ready: () => this.want(),
    })
  }

  /** Of the next message that `next` gives, when there is one. */
  get position(): number {
    return this.#cache.position
  }

  /** The end of the queue when the broker last told. */
  get maxOffset(): number {
    return this.#maxOffset
  }

  /** Messages that were read and not released. */
  get cachedMessages(): number {
    return this.#cache.messages
  }

  get cachedBytes(): number {
    return this.#cache.bytes
  }

  /** Since when the master holds a pull without a word; null while it is not waited for. */
  get waitsSince(): number | null {
    return this.#puller.waitsSince
  }

  /** Reads from `offset` on; what is cached is dropped. */
  start(offset: number): void {
    this.stop()
    this.#cache.passTo(offset)
    this.#isRunning = true
    this.want()
  }

  /** Asks no more and drops what is cached. */
  stop(): void {
    this.#isRunning = false
    this.#puller.stop()
    this.#budget.forget(this)
    this.#cache.clear()
  }

  /** The master changed: what was asked of the old one will not be answered. */
  again(): void {
    if (!this.#isRunning) return
    this.#puller.renew()
    this.want()
  }

  /** Nobody answers as the master of this epoch, though it holds a pull: what replicas have is read instead. */
  lose(epoch: number): void {
    this.#puller.lose(epoch)
  }

  /** The next message in order, or null when none is cached. */
  next(): IncomingMessage | null {
    return this.#cache.next()
  }

  /** The message that `next` gave is finished: there is room for another one. */
  release(message: IncomingMessage): void {
    if (!this.#isRunning) return // What was cached when it stopped is not counted any more.
    this.#cache.release(message)
    this.want()
  }

  /** Pulls when there is room and nothing is under way. */
  want(): void {
    if (!this.#isRunning || !this.#puller.isIdle) return
    if (!this.#hasRoom || !this.#hooks.mayPull() || !this.#budget.mayPull(this, this.#cache.bytes)) return
    const { owner } = this
    this.#puller.ask({
      offset: this.#cache.end,
      maxBytes: this.#pullBytes,
      ...(owner ? { owner } : {}),
      ...(this.#filter === undefined ? {} : { filter: this.#filter }),
    })
  }

  /** A part of what the queue may hold: a message that is stuck leaves room for another pull. */
  get #pullBytes(): number {
    return Math.max(1, Math.min(this.#budget.pullBytes, Math.floor(this.#limits.bytes / 4)))
  }

  get #hasRoom(): boolean {
    const { messages, bytes } = this.#cache
    if (messages > this.#limits.messages) return false
    return bytes === 0 || bytes + this.#pullBytes <= this.#limits.bytes
  }

  #answered(code: number, answer: Buffer): void {
    switch (code) {
      case codes.SUCCESS:
      case codes.PULL_RETRY_IMMEDIATELY:
        this.#maxOffset = pullMaxOffset(answer)
        this.#take(answer)
        return this.want()
      case codes.PULL_NOT_FOUND:
        this.#maxOffset = pullMaxOffset(answer)
        return this.want()
      case codes.PULL_OFFSET_MOVED:
        return this.#moved(answer)
      case codes.FENCED_OWNER:
        return this.#hooks.fenced()
      case codes.SUBSCRIPTION_PARSE_FAILED:
      case codes.INVALID_PARAMETER:
        if (this.#filter !== undefined) return this.#goWithoutFilter(code)
        return this.#refused(code)
      default:
        return this.#refused(code)
    }
  }

  #found(answer: Buffer): boolean {
    const before = this.#cache.end
    this.#take(answer)
    return this.#cache.end > before
  }

  /** Nothing is lost without it: whoever reads looks at each message itself. */
  #goWithoutFilter(code: number): void {
    const message =
      "the broker does not understand the filter and sends all messages: is its version older than the client's?"
    this.#process.world.log.error(message, { ...this.ref, filter: this.#filter, code: codeName(code) })
    this.#filter = undefined
    this.want()
  }

  #refused(code: number): void {
    this.#process.world.log.warn('a pull was refused and is tried again', {
      ...this.ref,
      code: codeName(code),
    })
    this.#puller.rest()
  }

  #moved(answer: Buffer): void {
    const offset = pullNextOffset(answer)
    const { end } = this.#cache
    const isBack = offset < end
    const why = isBack
      ? 'messages that were read are not in the queue any more: the broker has lost them; reading goes on where it ends'
      : 'the offset is not in the queue any more; reading goes on where it begins'
    this.#process.world.log.warn(why, {
      ...this.ref,
      offset: end,
      nextOffset: offset,
      minOffset: pullMinOffset(answer),
      maxOffset: pullMaxOffset(answer),
    })
    if (isBack) return this.#hooks.rewound(offset)
    this.#cache.passTo(offset)
    this.want()
  }

  #take(answer: Buffer): void {
    for (let at = PULL_HEAD_BYTES; at < answer.length; ) {
      const fault = frameFault(answer, at, answer.length)
      if (fault !== null) {
        this.#process.world.log.error('a frame was damaged on its way and is read again', {
          ...this.ref,
          fault,
        })
        this.#puller.rest()
        return this.#tell()
      }
      const end = at + frameBytesAt(answer, at)
      this.#cache.add(answer, at, end)
      at = end
    }
    const end = pullNextOffset(answer)
    if (this.#filter !== undefined && end > this.#cache.end) this.#cache.passTo(end)
    this.#tell()
  }

  #tell(): void {
    if (!this.#cache.isEmpty) this.#hooks.arrived()
  }
}
