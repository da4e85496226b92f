/**
 * Ingest: the way of a frame from a producer into the log. The hottest path of the broker.
 *
 * A request is answered AFTER the last of its frames may be answered: it is stored here, and confirmed by the replicas. A
 * frame that is refused leaves no trace; one that is sent again is answered with the offset of its first copy. No promise,
 * no timer and no object a message.
 */
import { PERM_WRITE, type TopicConfig } from '../../machines/topic.ts'
import { type Code, codes } from '../../transport/codes.ts'
import { sendAnswer, setSendResult } from '../../transport/exchange.ts'
import {
  countAt,
  flagsAt,
  frameBytesAt,
  frameFault,
  kindAt,
  kinds,
  queueIdAt,
  recordsAddUp,
  topicAt,
} from '../../transport/frames.ts'
import type { Transport } from '../../transport/transport.ts'
import type { Clock } from '../node/world.ts'
import type { BrokerState } from './broker-state.ts'
import { GAP, NEXT } from './producer-states.ts'
import type { Store, StoredQueue } from './store/store.ts'

/** As many as an answer can count. */
const FRAMES_MAX = 65_535
/** Beyond it the disk is too slow for the senders; they are told so, and memory stays bounded. */
const UNSTORED_BYTES_MAX = 128 * 1024 * 1024
/** Answered entries are cut off the lists in one go, not one by one. */
const COMPACT_AT = 4_096

/** Takes a frame that is not to be stored where it says; gives its offset, or -1 when it can be stored nowhere. */
export type Divert = (bytes: Buffer, at: number, now: number) => number

export type IngestCounters = { messagesIn: number; bytesIn: number }

/** A topic that is being written to, with its queues at hand. */
type WritableTopic = { config: TopicConfig; queues: StoredQueue[] }

export class Ingest {
  readonly counters: IngestCounters = { messagesIn: 0, bytesIn: 0 }
  /** What a request is told while no frame may be appended; null while it may: the role's gate. */
  refusal: Code | null = null
  // Sends that are kept back while mastership is handed over; null while none are.
  #held: { request: Buffer; reply: string }[] | null = null
  #heldBytes = 0
  /** Everything below may be told to its producers. */
  #answerable = 0
  readonly #store: Store
  readonly #state: BrokerState
  readonly #transport: Transport
  readonly #clock: Clock
  readonly #epoch: number
  readonly #divert: Divert
  readonly #topics = new Map<string, WritableTopic>()
  // Answers that wait for their frames to be stored, in the order of the log.
  #answers: Buffer[] = []
  #replies: string[] = []
  #ends: number[] = []
  #answered = 0
  // Frames that are not stored yet: what to wake when they are.
  #queues: StoredQueue[] = []
  #queueEnds: number[] = []
  #woken = 0

  constructor(
    store: Store,
    state: BrokerState,
    transport: Transport,
    clock: Clock,
    epoch: number,
    divert: Divert = () => -1,
  ) {
    this.#store = store
    this.#answerable = store.confirmPosition
    this.#state = state
    this.#transport = transport
    this.#clock = clock
    this.#epoch = epoch
    this.#divert = divert
  }

  /** The bytes of the request become part of the log: they are stamped in place and kept until they are written. */
  receive(request: Buffer, reply: string): void {
    let frames = 0
    let at = 0
    for (; at < request.length; frames++) {
      if (frameFault(request, at, request.length) !== null) return this.#refuse(codes.CORRUPT_FRAME, reply)
      at += frameBytesAt(request, at)
    }
    if (frames > FRAMES_MAX) return this.#refuse(codes.MESSAGE_ILLEGAL, reply)
    if (this.refusal !== null) return this.#refuse(this.refusal, reply)
    if (this.#held !== null) return this.#hold(this.#held, request, reply)
    if (this.#store.endPosition - this.#store.confirmPosition > UNSTORED_BYTES_MAX) {
      return this.#refuse(codes.SYSTEM_BUSY, reply)
    }
    const answer = sendAnswer(codes.SUCCESS, frames, this.#epoch)
    const now = this.#clock.now()
    at = 0
    for (let frame = 0; frame < frames; frame++) {
      this.#take(request, at, now, answer, frame)
      at += frameBytesAt(request, at)
    }
    this.#answers.push(answer)
    this.#replies.push(reply)
    this.#ends.push(this.#store.endPosition)
    // Nothing new: a repetition, or refusals only.
    if (this.#answerable >= this.#store.endPosition) this.answer(this.#answerable)
  }

  #take(request: Buffer, at: number, now: number, answer: Buffer, frame: number): void {
    const topic = this.#topicOf(topicAt(request, at))
    if (topic === undefined) return setSendResult(answer, frame, codes.TOPIC_NOT_EXIST, 0)
    if ((topic.config.perm & PERM_WRITE) === 0) return setSendResult(answer, frame, codes.NO_PERMISSION, 0)
    const queue = topic.queues[queueIdAt(request, at)]
    if (queue === undefined) return setSendResult(answer, frame, codes.NO_PERMISSION, 0)
    if (kindAt(request, at) !== kinds.messages || countAt(request, at) === 0 || !recordsAddUp(request, at)) {
      return setSendResult(answer, frame, codes.MESSAGE_ILLEGAL, 0)
    }
    const known = this.#state.producers.check(request, at)
    if (known === GAP) return setSendResult(answer, frame, codes.OUT_OF_ORDER_SEQUENCE, 0)
    if (known !== NEXT) return setSendResult(answer, frame, codes.SUCCESS, known)
    const bytes = frameBytesAt(request, at)
    if (flagsAt(request, at) !== 0) {
      const offset = this.#divert(request, at, now)
      if (offset < 0) return setSendResult(answer, frame, codes.MESSAGE_ILLEGAL, 0)
      this.counters.messagesIn++
      this.counters.bytesIn += bytes
      return setSendResult(answer, frame, codes.SUCCESS, offset)
    }
    const queueOffset = this.#store.append(queue, request, at, bytes, now)
    this.#state.producers.note(request, at)
    this.counters.messagesIn += countAt(request, at)
    this.counters.bytesIn += bytes
    this.#queues.push(queue)
    this.#queueEnds.push(this.#store.endPosition)
    setSendResult(answer, frame, codes.SUCCESS, queueOffset)
  }

  /** The broker itself appended to this queue: its readers are told when that is confirmed. */
  readonly appended = (queue: StoredQueue): void => {
    this.#queues.push(queue)
    this.#queueEnds.push(this.#store.endPosition)
  }

  #topicOf(name: string): WritableTopic | undefined {
    const config = this.#state.topics.get(name)
    if (config === undefined) return undefined
    const known = this.#topics.get(name)
    if (known?.config === config) return known
    const queues: StoredQueue[] = []
    for (let queueId = 0; queueId < config.writeQueues; queueId++)
      queues.push(this.#store.queue(name, queueId))
    const topic = { config, queues }
    this.#topics.set(name, topic)
    return topic
  }

  #refuse(code: Code, reply: string): void {
    if (reply !== '') this.#transport.publish(reply, sendAnswer(code, 0, this.#epoch))
  }

  /** Producers may be told of everything up to `position`. */
  answer(position: number): void {
    this.#answerable = position
    let next = this.#answered
    while (next < this.#ends.length && this.#ends[next]! <= position) {
      const reply = this.#replies[next]!
      if (reply !== '') this.#transport.publish(reply, this.#answers[next]!)
      next++
    }
    this.#answered = next
    if (next === this.#ends.length) this.#forgetAnswers()
    else if (next > COMPACT_AT) {
      this.#answers.splice(0, next)
      this.#replies.splice(0, next)
      this.#ends.splice(0, next)
      this.#answered = 0
    }
  }

  /** Readers may see everything up to `position`: tells which queues have something new. */
  wake(position: number, arrived: (queue: StoredQueue) => void): void {
    let next = this.#woken
    while (next < this.#queueEnds.length && this.#queueEnds[next]! <= position) arrived(this.#queues[next++]!)
    this.#woken = next
    if (next === this.#queueEnds.length || next > COMPACT_AT) {
      this.#queues.splice(0, next)
      this.#queueEnds.splice(0, next)
      this.#woken = 0
    }
  }

  #forgetAnswers(): void {
    this.#answers.length = 0
    this.#replies.length = 0
    this.#ends.length = 0
    this.#answered = 0
  }

  /** True when every request that was received is answered. */
  get isDrained(): boolean {
    return this.#ends.length === 0
  }

  get isHolding(): boolean {
    return this.#held !== null
  }

  /** Keeps sends back until `release`, or until this mastership is over. */
  hold(): void {
    this.#held ??= []
  }

  release(): void {
    const held = this.#held ?? []
    this.#held = null
    this.#heldBytes = 0
    for (const { request, reply } of held) this.receive(request, reply)
  }

  #hold(held: { request: Buffer; reply: string }[], request: Buffer, reply: string): void {
    if (this.#heldBytes + request.length > UNSTORED_BYTES_MAX) return this.#refuse(codes.SYSTEM_BUSY, reply)
    this.#heldBytes += request.length
    held.push({ request, reply })
  }

  /** This mastership is over: whoever still waits learns that it must ask the next master. */
  close(): void {
    this.refusal = codes.NOT_MASTER
    for (let i = this.#answered; i < this.#replies.length; i++)
      this.#refuse(codes.NOT_MASTER, this.#replies[i]!)
    this.#forgetAnswers()
    this.release()
  }
}
