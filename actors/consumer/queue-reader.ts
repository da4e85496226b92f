/**
 * QueueReader: reads one queue ahead of its consumer, in order, without a gap.
 *
 * AT MOST ONE pull is under way. It asks for the offset that follows the last frame it has, so a lost answer loses
 * nothing. It stops asking while enough is cached (flow control) and goes on as soon as there is room. Every frame is
 * checked by its checksums before a message of it is handed out.
 *
 * RocketMQ: client/impl/consumer/PullMessageService.java, ProcessQueue.java
 */
import type { QueueRef } from '../../machines/topic.ts'
import { ask, encode } from '../../transport/codec.ts'
import { codeName, codes } from '../../transport/codes.ts'
import {
  answerCode,
  PULL_HEAD_BYTES,
  pullMaxOffset,
  pullMinOffset,
  pullNextOffset,
} from '../../transport/exchange.ts'
import { countAt, frameBytesAt, frameFault, queueOffsetAt, recordsAt } from '../../transport/frames.ts'
import type { PullRequest } from '../../transport/messages.ts'
import type { Process } from '../node/process.ts'
import { type FrameView, IncomingMessage, viewOf } from './incoming-message.ts'

export type FlowLimits = {
  /** Messages cached for one queue before pulling pauses; RocketMQ's pullThresholdForQueue. */
  messages: number
  /** Bytes cached for one queue; RocketMQ's pullThresholdSizeForQueue. */
  bytes: number
}

export const defaultLimits: FlowLimits = { messages: 1_000, bytes: 100 * 1024 * 1024 }

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
}

/** Throughput of a pull against latency of its first message; below the default max_payload of a NATS server. */
const PULL_BYTES = 256 * 1024
const WAIT_MS = 15_000
const ANSWER_MS = 5_000
const PAUSE_MS = 200

export class QueueReader {
  readonly ref: QueueRef
  readonly #process: Process
  readonly #hooks: QueueReaderHooks
  readonly #limits: FlowLimits
  readonly #owner: PullRequest['owner']
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

  constructor(
    process: Process,
    ref: QueueRef,
    hooks: QueueReaderHooks,
    limits: FlowLimits = defaultLimits,
    owner?: PullRequest['owner'],
  ) {
    this.#process = process
    this.ref = ref
    this.#hooks = hooks
    this.#limits = limits
    this.#owner = owner
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

  get cachedMessages(): number {
    return this.#cachedMessages
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
    this.#cachedMessages = 0
    this.#cachedBytes = 0
  }

  /** The master changed: what was asked of the old one will not be answered. */
  again(): void {
    if (!this.#isRunning) return
    this.#pull++
    this.#isPulling = false
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
    const recordBytes = frame.bytes.readUInt32LE(at)
    this.#index++
    this.#record += recordBytes
    this.#cachedMessages--
    this.#cachedBytes -= recordBytes
    if (this.#index >= countAt(frame.bytes, 0)) {
      this.#frames.shift()
      this.#index = 0
      const following = this.#frames[0]
      if (following) this.#record = recordsAt(following.bytes, 0)
    }
    if (!this.#isPulling) this.want()
    return message
  }

  /** Pulls when there is room and nothing is under way. */
  want(): void {
    if (!this.#isRunning || this.#isPulling || this.#pause !== null) return
    if (this.#cachedMessages > this.#limits.messages || this.#cachedBytes > this.#limits.bytes) return
    if (!this.#hooks.mayPull()) return
    const epoch = this.#hooks.epoch()
    if (epoch === 0) return this.#pauseThenWant()
    const { world, subjects } = this.#process
    const { topic, brokerName, queueId } = this.ref
    const request: PullRequest = {
      topic,
      queueId,
      offset: this.#offset,
      maxBytes: PULL_BYTES,
      waitMs: WAIT_MS,
      ...(this.#owner ? { owner: this.#owner } : {}),
    }
    const pull = ++this.#pull
    this.#isPulling = true
    world.transport.request(
      subjects.broker(brokerName, epoch).pull,
      encode(request),
      WAIT_MS + ANSWER_MS,
      (outcome) => {
        if (pull !== this.#pull) return
        this.#isPulling = false
        if (outcome.ok) return this.#answered(outcome.value, epoch)
        if (outcome.failure.code === 'closed') return
        if (outcome.failure.code !== 'timedOut') this.#hooks.unreachable(epoch)
        this.#pauseThenWant()
      },
    )
  }

  #answered(answer: Buffer, epoch: number): void {
    const code = answer.length < PULL_HEAD_BYTES ? codes.SYSTEM_ERROR : answerCode(answer)
    switch (code) {
      case codes.SUCCESS:
        this.#maxOffset = pullMaxOffset(answer)
        this.#take(answer)
        return this.want()
      case codes.PULL_NOT_FOUND:
        this.#maxOffset = pullMaxOffset(answer)
        return this.want()
      case codes.PULL_OFFSET_MOVED: {
        const offset = pullNextOffset(answer)
        this.#process.world.log.warn(
          'the offset is not in the queue any more; reading goes on where it begins or ends',
          {
            ...this.ref,
            offset: this.#offset,
            nextOffset: offset,
            minOffset: pullMinOffset(answer),
            maxOffset: pullMaxOffset(answer),
          },
        )
        this.#offset = offset
        return this.want()
      }
      case codes.FENCED_OWNER:
        return this.#hooks.fenced()
      case codes.NOT_MASTER:
        this.#hooks.unreachable(epoch)
        return this.#pauseThenWant()
      default:
        this.#process.world.log.warn('a pull was refused and is tried again', {
          ...this.ref,
          code: codeName(code),
        })
        return this.#pauseThenWant()
    }
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
    if (this.#frames.length > 0) this.#hooks.arrived()
  }

  #cache(frame: FrameView, next: number): void {
    const isFirst = this.#frames.length === 0
    let index = 0
    let record = recordsAt(frame.bytes, 0)
    // A frame is sent whole: the messages before the offset asked for are passed over.
    for (; frame.queueOffset + index < this.#offset; index++) record += frame.bytes.readUInt32LE(record)
    this.#frames.push(frame)
    if (isFirst) {
      this.#index = index
      this.#record = record
    }
    this.#cachedMessages += next - this.#offset
    this.#cachedBytes += frame.bytes.length - record
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

/** Where a reader begins: an end of the queue, a time, or an offset. */
export type StartPosition = 'first' | 'last' | { time: number } | { offset: number }

/** Turns a start position into an offset by asking the broker; null when it does not answer. */
export function findOffset(
  { world, subjects }: Process,
  { topic, brokerName, queueId }: QueueRef,
  epoch: number,
  from: StartPosition,
  found: (offset: number | null) => void,
): void {
  if (typeof from === 'object' && 'offset' in from) return found(from.offset)
  const to = typeof from === 'string' ? from : from.time
  ask(
    world.transport,
    subjects.broker(brokerName, epoch).searchOffset,
    { topic, queueId, to },
    ANSWER_MS,
    (outcome) => {
      found(
        outcome.ok && outcome.value.code === 0 && 'value' in outcome.value
          ? outcome.value.value.offset
          : null,
      )
    },
  )
}
