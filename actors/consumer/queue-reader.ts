/**
 * QueueReader: reads one queue ahead of its consumer, in order, without a gap.
 *
 * AT MOST ONE pull is under way. It asks for the offset that follows the last frame it has, so a lost answer loses
 * nothing. It stops asking while enough is cached (flow control) and goes on as soon as there is room. Every frame is
 * checked by its checksums before a message of it is handed out.
 *
 * With a filter, the broker leaves out frames in which nothing is wanted and tells how far they reach; what it sends may
 * still hold messages that are not wanted.
 *
 * While the master does not answer and no newer one is known, replicas that have lost it too are asked for what is
 * confirmed. They may have less than was read already, NEVER anything else, so only what is new of theirs is heard.
 *
 * RocketMQ: client/impl/consumer/PullMessageService.java, ProcessQueue.java, docs/cn/SlaveActingMasterMode.md
 */
import { RETRY_PREFIX } from '../../machines/names.ts'
import type { QueueRef } from '../../machines/topic.ts'
import { encode } from '../../transport/codec.ts'
import { codeName, codes } from '../../transport/codes.ts'
import {
  answerCode,
  PULL_HEAD_BYTES,
  pullMaxOffset,
  pullMinOffset,
  pullNextOffset,
} from '../../transport/exchange.ts'
import type { Outcome } from '../../transport/failures.ts'
import { countAt, frameBytesAt, frameFault, queueOffsetAt, recordsAt } from '../../transport/frames.ts'
import type { PullRequest } from '../../transport/messages.ts'
import type { Process } from '../node/process.ts'
import { CacheBudget, defaultFlow, type QueueLimits } from './flow-control.ts'
import { type FrameView, IncomingMessage, viewOf } from './incoming-message.ts'

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

const WAIT_MS = 15_000
const ANSWER_MS = 5_000
const PAUSE_MS = 200
const AT_ONCE_MS = 1_000
/** How often a master that does not answer is asked again: it may only have lost its connection for a moment. */
const LOST_MS = 500

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
  readonly #process: Process
  readonly #hooks: QueueReaderHooks
  readonly #limits: QueueLimits
  readonly #budget: CacheBudget
  /** Under which grant it reads for a group; undefined where nobody owns the queue. */
  readonly owner: PullRequest['owner']
  /** What the broker leaves out what is not wanted by; undefined when it sends all. */
  #filter: string | undefined
  /** Its messages were sent to other topics, and failed. */
  readonly #isRetry: boolean
  /** Of the next message to pull. */
  #offset = 0
  #maxOffset = 0
  #frames: FrameView[] = []
  #record = 0
  #index = 0
  #cachedMessages = 0
  #cachedBytes = 0
  /** Names the pull under way; an answer to an older one is not heard. */
  #pull = 0
  #isPulling = false
  #isRunning = false
  #pause: unknown = null
  /** The mastership that did not answer; -1 while none is missed. */
  #lostEpoch = -1
  /** When a master was asked last, or was found lost. */
  #masterAskedAt = 0

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
    this.#process = process
    this.ref = ref
    this.#hooks = hooks
    this.#limits = limits
    this.#budget = budget
    this.owner = owner
    this.#filter = filter
    this.#isRetry = ref.topic.startsWith(RETRY_PREFIX)
  }

  /** Of the next message that `next` gives, when there is one. */
  get position(): number {
    const frame = this.#frames[0]
    return frame ? frame.queueOffset + this.#index : this.#offset
  }

  /** The end of the queue when the broker last told. */
  get maxOffset(): number {
    return this.#maxOffset
  }

  /** Messages that were read and not released. */
  get cachedMessages(): number {
    return this.#cachedMessages
  }

  get cachedBytes(): number {
    return this.#cachedBytes
  }

  /** Since when the master holds a pull without a word; null while it is not waited for. */
  get waitsSince(): number | null {
    const epoch = this.#hooks.epoch()
    return this.#isPulling && epoch !== 0 && epoch !== this.#lostEpoch ? this.#masterAskedAt : null
  }

  /** Reads from `offset` on; what is cached is dropped. */
  start(offset: number): void {
    this.stop()
    this.#offset = offset
    this.#isRunning = true
    this.want()
  }

  /** Asks no more and drops what is cached. */
  stop(): void {
    this.#isRunning = false
    this.#isPulling = false
    this.#pull++
    this.#process.world.clock.clearTimeout(this.#pause)
    this.#pause = null
    this.#offset = this.position
    this.#frames = []
    this.#index = 0
    const bytes = this.#cachedBytes
    this.#cachedMessages = 0
    this.#cachedBytes = 0
    this.#budget.forget(this)
    this.#budget.remove(bytes)
  }

  /** The master changed: what was asked of the old one will not be answered. */
  again(): void {
    if (!this.#isRunning) return
    this.#pull++
    this.#isPulling = false
    this.#lostEpoch = -1
    this.#process.world.clock.clearTimeout(this.#pause)
    this.#pause = null
    this.want()
  }

  /** The next message in order, or null when none is cached. */
  next(): IncomingMessage | null {
    const frame = this.#frames[0]
    if (frame === undefined) return null
    const at = this.#record
    const message = new IncomingMessage(frame, at, frame.queueOffset + this.#index)
    if (this.#isRetry) message.showAsRetried()
    this.#index++
    this.#record += message.recordBytes
    if (this.#index >= countAt(frame.bytes, 0)) {
      this.#frames.shift()
      this.#index = 0
      const following = this.#frames[0]
      if (following) this.#record = recordsAt(following.bytes, 0)
    }
    return message
  }

  /** The message that `next` gave is finished: there is room for another one. */
  release(message: IncomingMessage): void {
    if (!this.#isRunning) return // What was cached when it stopped is not counted any more.
    const { recordBytes } = message
    this.#cachedMessages--
    this.#cachedBytes -= recordBytes
    this.#budget.remove(recordBytes)
    if (!this.#isPulling) this.want()
  }

  /** Pulls when there is room and nothing is under way. */
  want(): void {
    if (!this.#isRunning || this.#isPulling || this.#pause !== null) return
    if (!this.#hasRoom || !this.#hooks.mayPull() || !this.#budget.mayPull(this, this.#cachedBytes)) return
    const epoch = this.#hooks.epoch()
    const isLost = epoch === 0 || epoch === this.#lostEpoch
    if (!isLost) return this.#askMaster(epoch, WAIT_MS)
    const isDue = this.#process.world.clock.monotonic() - this.#masterAskedAt >= LOST_MS
    if (epoch !== 0 && isDue) this.#askMaster(epoch, 0)
    else this.#askReplicas(epoch)
  }

  /** A part of what the queue may hold: a message that is stuck leaves room for another pull. */
  get #pullBytes(): number {
    return Math.max(1, Math.min(this.#budget.pullBytes, Math.floor(this.#limits.bytes / 4)))
  }

  get #hasRoom(): boolean {
    const bytes = this.#cachedBytes
    if (this.#cachedMessages > this.#limits.messages) return false
    return bytes === 0 || bytes + this.#pullBytes <= this.#limits.bytes
  }

  #askMaster(epoch: number, waitMs: number): void {
    const { subjects, world } = this.#process
    this.#masterAskedAt = world.clock.monotonic()
    const { pull } = subjects.broker(this.ref.brokerName, epoch)
    this.#ask(pull, waitMs, waitMs + (waitMs === 0 ? AT_ONCE_MS : ANSWER_MS), (outcome) => {
      if (outcome.ok) return this.#answered(outcome.value, epoch)
      const { code } = outcome.failure
      if (code === 'closed') return
      if (code !== 'timedOut') this.#hooks.unreachable(epoch)
      // A connection that broke is our own: it says nothing of the master.
      if (code === 'noResponders' || code === 'timedOut') this.#lose(epoch)
      else this.#pauseThenWant()
    })
  }

  /** Whatever else they answer, they have nothing new: only a master says where the queue begins and ends. */
  #askReplicas(epoch: number): void {
    const { pull } = this.#process.subjects.replicas(this.ref.brokerName)
    this.#ask(pull, 0, AT_ONCE_MS, (outcome) => {
      const before = this.#offset
      const isFound =
        outcome.ok && outcome.value.length >= PULL_HEAD_BYTES && brings(answerCode(outcome.value))
      if (isFound) this.#take(outcome.value)
      else if (!outcome.ok && outcome.failure.code === 'closed') return
      if (this.#offset > before) return this.want()
      this.#hooks.unreachable(epoch)
      this.#pauseThenWant()
    })
  }

  #ask(
    subject: string,
    waitMs: number,
    timeoutMs: number,
    answered: (outcome: Outcome<Buffer>) => void,
  ): void {
    const { topic, queueId } = this.ref
    const request: PullRequest = {
      topic,
      queueId,
      offset: this.#offset,
      maxBytes: this.#pullBytes,
      waitMs,
      ...(this.owner ? { owner: this.owner } : {}),
      ...(this.#filter === undefined ? {} : { filter: this.#filter }),
    }
    const pull = ++this.#pull
    this.#isPulling = true
    this.#process.world.transport.request(subject, encode(request), timeoutMs, (outcome) => {
      if (pull !== this.#pull) return
      this.#isPulling = false
      answered(outcome)
    })
  }

  /** Nobody answers as the master of this epoch, though it holds a pull: what replicas have is read instead. */
  lose(epoch: number): void {
    if (!this.#isPulling || epoch !== this.#hooks.epoch() || epoch === this.#lostEpoch) return
    this.#pull++
    this.#isPulling = false
    this.#lose(epoch)
  }

  #lose(epoch: number): void {
    this.#lostEpoch = epoch
    this.#masterAskedAt = this.#process.world.clock.monotonic()
    this.want()
  }

  #answered(answer: Buffer, epoch: number): void {
    const code = answer.length < PULL_HEAD_BYTES ? codes.SYSTEM_ERROR : answerCode(answer)
    if (code !== codes.NOT_MASTER) this.#lostEpoch = -1
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
      case codes.NOT_MASTER:
        this.#hooks.unreachable(epoch)
        return this.#lose(epoch)
      case codes.SUBSCRIPTION_PARSE_FAILED:
      case codes.INVALID_PARAMETER:
        if (this.#filter !== undefined) return this.#goWithoutFilter(code)
        return this.#refused(code)
      default:
        return this.#refused(code)
    }
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
    this.#pauseThenWant()
  }

  #moved(answer: Buffer): void {
    const offset = pullNextOffset(answer)
    const isBack = offset < this.#offset
    const why = isBack
      ? 'messages that were read are not in the queue any more: the broker has lost them; reading goes on where it ends'
      : 'the offset is not in the queue any more; reading goes on where it begins'
    this.#process.world.log.warn(why, {
      ...this.ref,
      offset: this.#offset,
      nextOffset: offset,
      minOffset: pullMinOffset(answer),
      maxOffset: pullMaxOffset(answer),
    })
    if (isBack) return this.#hooks.rewound(offset)
    this.#offset = offset
    this.want()
  }

  #take(answer: Buffer): void {
    const { topic, brokerName, queueId } = this.ref
    for (let at = PULL_HEAD_BYTES; at < answer.length; ) {
      const fault = frameFault(answer, at, answer.length)
      if (fault !== null) {
        this.#process.world.log.error('a frame was damaged on its way and is read again', {
          ...this.ref,
          fault,
        })
        return this.#pauseThenWant()
      }
      const end = at + frameBytesAt(answer, at)
      const next = queueOffsetAt(answer, at) + countAt(answer, at)
      if (next > this.#offset) this.#cache(viewOf(answer.subarray(at, end), topic, brokerName, queueId), next)
      at = end
    }
    const end = pullNextOffset(answer)
    if (this.#filter !== undefined && end > this.#offset) this.#offset = end
    if (this.#frames.length > 0) this.#hooks.arrived()
  }

  #cache(frame: FrameView, next: number): void {
    const isFirst = this.#frames.length === 0
    let index = 0
    let record = recordsAt(frame.bytes, 0)
    // A frame is sent whole: the messages before the offset asked for are passed over.
    for (; frame.queueOffset + index < this.#offset; index++) record += frame.bytes.readUInt32LE(record)
    this.#cachedMessages += countAt(frame.bytes, 0) - index
    this.#frames.push(frame)
    if (isFirst) {
      this.#index = index
      this.#record = record
    }
    const bytes = frame.bytes.length - record
    this.#cachedBytes += bytes
    this.#budget.add(bytes)
    this.#offset = next
  }

  #pauseThenWant(): void {
    if (this.#pause !== null || !this.#isRunning) return
    this.#pause = this.#process.world.clock.setTimeout(() => {
      this.#pause = null
      this.want()
    }, PAUSE_MS)
  }
}

/** With frames, or with how far nothing is wanted. */
const brings = (code: number): boolean => code === codes.SUCCESS || code === codes.PULL_RETRY_IMMEDIATELY
