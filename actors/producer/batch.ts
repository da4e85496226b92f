/**
 * The messages that wait for one queue, as the frame they will travel in, with the promises of their callers.
 *
 * `producerId` and `sequence` are given when the batch is first shipped. While it is UNKNOWN whether the broker stored
 * it, they NEVER change: the broker recognises the frame by them and stores it once.
 */
import { FRAME_HEAD_BYTES, flags, kinds, RECORD_HEAD_BYTES, sealFrame } from '../../transport/frames.ts'
import type { StateMQError } from '../errors.ts'
import type { BufferPool } from './buffer-pool.ts'
import { attributes, recordBytesMax, writeRecord } from './message.ts'

/** What a caller of `send` gets when the message is stored. */
export type Receipt = {
  messageId: string
  topic: string
  brokerName: string
  queueId: number
  queueOffset: number
  epoch: number
  status: 'SEND_OK'
}

export type Resolve = (receipt: Receipt) => void
export type Reject = (error: StateMQError) => void

export type BatchFailure = {
  error: StateMQError
  /** True when the broker may have stored the frame at this try. */
  unknown: boolean
  /** True when the broker has looked for the frame and has it from no try. */
  never: boolean
  retryable: boolean
}

export class Batch {
  bytes: Buffer
  size: number
  count = 0
  /** Of the first message, milliseconds since 1970. */
  readonly bornTime: number
  /** On the monotonic clock; the earliest of its messages, so none waits longer than it asked for. */
  deadline: number
  /** True when a message of it must stay on its queue: it has a group, or its queue was chosen. */
  ordered = false
  /** True when its one message is to be consumed later: it travels in a frame of its own. */
  delayed = false
  readonly resolves: Resolve[] = []
  readonly rejects: Reject[] = []
  producerId = 0
  sequence = 0
  /** Which it is of all frames that its lane has numbered. */
  place = 0
  attempts = 0
  /** True while one of its tries, not only the last, may have stored it under the number it has. */
  inDoubt = false
  failure: BatchFailure | null = null
  /** Ids of messages that came from another queue; null while there is none, which is nearly always. */
  ids: (string | undefined)[] | null = null
  readonly #pool: BufferPool
  /** While it is being filled; later its bytes are a view of a request. */
  #isPooled = true
  readonly #topicBytes: number

  /** `expectedBytes`: what it will probably grow to. */
  constructor(topic: Buffer, pool: BufferPool, expectedBytes: number, bornTime: number, deadline: number) {
    this.#pool = pool
    this.bytes = pool.take(Math.max(expectedBytes, FRAME_HEAD_BYTES + topic.length))
    this.size = FRAME_HEAD_BYTES + topic.length
    this.bytes.set(topic, FRAME_HEAD_BYTES)
    this.bornTime = bornTime
    this.deadline = deadline
    this.#topicBytes = topic.length
  }

  /** Returns the bytes that the message takes until it is settled; the frame's first one pays for its head. */
  add(
    tagsCode: number,
    properties: Buffer,
    body: string | Uint8Array,
    bornTime: number,
    resolve: Resolve,
    reject: Reject,
    id?: string,
  ): number {
    const before = this.count === 0 ? 0 : this.size
    if (id !== undefined) {
      this.ids ??= []
      this.ids[this.count] = id
    }
    this.#reserve(recordBytesMax(body, properties))
    this.size = writeRecord(
      this.bytes,
      this.size,
      Math.max(0, bornTime - this.bornTime),
      tagsCode,
      properties,
      body,
    )
    this.count++
    this.resolves.push(resolve)
    this.rejects.push(reject)
    return this.size - before
  }

  #reserve(bytes: number): void {
    const needed = this.size + bytes
    if (needed <= this.bytes.length) return
    const larger = this.#pool.take(needed)
    this.bytes.copy(larger, 0, 0, this.size)
    this.#pool.give(this.bytes)
    this.bytes = larger
  }

  /** Copies the frame to where it is sent from. There it is kept, in case it is to be sent again. */
  copyTo(request: Buffer, at: number): number {
    const { bytes, size } = this
    bytes.copy(request, at, 0, size)
    if (this.#isPooled) this.#pool.give(bytes)
    this.#isPooled = false
    this.bytes = request.subarray(at, at + size)
    return size
  }

  get isSealed(): boolean {
    return this.producerId !== 0
  }

  seal(producerId: number, sequence: number, queueId: number): void {
    this.inDoubt = false
    this.producerId = producerId
    this.sequence = sequence
    sealFrame(this.bytes, 0, this.size, {
      kind: kinds.messages,
      bornTime: this.bornTime,
      producerId,
      sequence,
      queueId,
      count: this.count,
      topicBytes: this.#topicBytes,
      flags: this.delayed ? flags.scheduled : 0,
    })
  }

  reject(error: StateMQError): void {
    for (const reject of this.rejects) reject(error)
  }

  /** Tells every caller that the frame is stored, its first message at `queueOffset`. */
  resolve(topic: string, brokerName: string, queueId: number, queueOffset: number, epoch: number): void {
    const prefix = idPrefix(this.producerId)
    const { resolves, sequence, ids } = this
    for (let i = 0; i < resolves.length; i++) {
      resolves[i]!({
        messageId: ids?.[i] ?? messageIdOf(prefix, sequence + i),
        topic,
        brokerName,
        queueId,
        queueOffset: queueOffset + i,
        epoch,
        status: 'SEND_OK',
      })
    }
  }

  /**
   * Hands every message to `take`, to be sent through another queue. When the frame MAY have been stored, each takes
   * its id along as a property, so that consumers recognise the second copy.
   */
  moveTo(mayBeStored: boolean, take: (message: Moved) => void): void {
    let at = FRAME_HEAD_BYTES + this.#topicBytes // What was never sealed has no head to ask.
    for (let i = 0; i < this.count; i++) {
      const recordBytes = this.bytes.readUInt32LE(at)
      const bodyAt = at + RECORD_HEAD_BYTES + this.bytes.readUInt16LE(at + 12)
      let properties = this.bytes.subarray(at + RECORD_HEAD_BYTES, bodyAt)
      let id = this.ids?.[i]
      if (mayBeStored && id === undefined) {
        id = messageIdOf(idPrefix(this.producerId), this.sequence + i)
        properties = Buffer.concat([properties, Buffer.from(`${attributes.id}\u0001${id}\u0002`)])
      }
      take({
        tagsCode: this.bytes.readInt32LE(at + 8),
        properties,
        body: this.bytes.subarray(bodyAt, at + recordBytes),
        bornTime: this.bornTime + this.bytes.readUInt32LE(at + 4),
        resolve: this.resolves[i]!,
        reject: this.rejects[i]!,
        id,
      })
      at += recordBytes
    }
  }
}

export type Moved = {
  tagsCode: number
  properties: Buffer
  body: Buffer
  bornTime: number
  resolve: Resolve
  reject: Reject
  id: string | undefined
}

/** The part of a message id that all messages of one producer id share. */
export const idPrefix = (producerId: number): string => `${producerId.toString(16).padStart(14, '0')}-`
/** A message's id: who sent it and the how-manieth it was. Unique, and derived from the frame: it costs no byte. */
export const messageIdOf = (prefix: string, sequence: number): string => prefix + sequence
