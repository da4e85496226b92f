/**
 * A message as a consumer gets it: a view into the frame it was stored in, decoded as far as it is looked at.
 */
import {
  bornTimeAt,
  epochAt,
  producerIdAt,
  propertyAt,
  queueOffsetAt,
  RECORD_HEAD_BYTES,
  sequenceAt,
  storeTimeAt,
} from '../../transport/frames.ts'
import { systemProperties } from '../../transport/records.ts'
import { idPrefix, messageIdOf } from '../producer/batch.ts'
import { attributes, hiddenProperties } from '../producer/message.ts'

/** What all messages of one frame share. */
export type FrameView = {
  readonly bytes: Buffer
  readonly topic: string
  readonly brokerName: string
  readonly queueId: number
  readonly queueOffset: number
}

export const viewOf = (bytes: Buffer, topic: string, brokerName: string, queueId: number): FrameView => ({
  bytes,
  topic,
  brokerName,
  queueId,
  queueOffset: queueOffsetAt(bytes, 0),
})

export class IncomingMessage {
  readonly topic: string
  readonly brokerName: string
  readonly queueId: number
  /** Its place in the queue, counted from 0 without gaps. */
  readonly queueOffset: number
  /** 1 when it is handled for the first time, 2 when it failed once and is tried again, … */
  deliveryAttempt = 1
  /** @internal */ private readonly frame: FrameView
  /** @internal */ private readonly at: number
  /** @internal */ private parsed: Record<string, string> | null = null

  constructor(frame: FrameView, at: number, queueOffset: number) {
    this.topic = frame.topic
    this.brokerName = frame.brokerName
    this.queueId = frame.queueId
    this.queueOffset = queueOffset
    this.frame = frame
    this.at = at
  }

  /** @internal It was read from a retry queue: its handler is to see the topic it was sent to, and which try this is. */
  showAsRetried(): void {
    const { [systemProperties.retryTopic]: topic, [systemProperties.reconsumeTimes]: times } = this.all()
    if (topic !== undefined) (this as { topic: string }).topic = topic
    const before = Number(times)
    if (Number.isSafeInteger(before) && before > 0) this.deliveryAttempt = 1 + before
  }

  /** The bytes that were sent; a view, so a copy is needed to keep one body of a large frame for long. */
  get body(): Buffer {
    const { bytes } = this.frame
    const { at } = this
    return bytes.subarray(at + RECORD_HEAD_BYTES + bytes.readUInt16LE(at + 12), at + bytes.readUInt32LE(at))
  }

  /** The body as UTF-8 text. */
  get text(): string {
    const { bytes } = this.frame
    const { at } = this
    return bytes.toString(
      'utf8',
      at + RECORD_HEAD_BYTES + bytes.readUInt16LE(at + 12),
      at + bytes.readUInt32LE(at),
    )
  }

  /** The body as JSON; throws when it is not. */
  json<T = unknown>(): T {
    return JSON.parse(this.text) as T
  }

  /** Unique, and the same at every delivery: deduplicate by it. */
  get messageId(): string {
    const { bytes } = this.frame
    const own = this.attribute(attributes.id)
    if (own !== undefined) return own
    return messageIdOf(
      idPrefix(producerIdAt(bytes, 0)),
      sequenceAt(bytes, 0) + this.queueOffset - this.frame.queueOffset,
    )
  }

  get tag(): string | undefined {
    return this.attribute(attributes.tag)
  }

  get keys(): string[] {
    const keys = this.attribute(attributes.keys)
    return keys === undefined ? [] : keys.split(' ')
  }

  get messageGroup(): string | undefined {
    return this.attribute(attributes.messageGroup)
  }

  /** The sender's own properties, without tag, keys and message group. */
  get properties(): Record<string, string> {
    return Object.fromEntries(Object.entries(this.all()).filter(([name]) => !hiddenProperties.has(name)))
  }

  /** @internal What it takes in the cache. */
  get recordBytes(): number {
    return this.frame.bytes.readUInt32LE(this.at)
  }

  /** @internal Java's hash of the tag, 0 without one. */
  get tagsCode(): number {
    return this.frame.bytes.readInt32LE(this.at + 8)
  }

  /** @internal One property, tag and keys among them, without decoding the others. */
  property(name: string): string | undefined {
    return propertyAt(this.frame.bytes, this.at, name)
  }

  /** When the producer took it, milliseconds since 1970 by the producer's clock. */
  get bornTime(): number {
    const { bytes } = this.frame
    return bornTimeAt(bytes, 0) + bytes.readUInt32LE(this.at + 4)
  }

  /** When the broker stored it, milliseconds since 1970 by the broker's clock. */
  get storeTime(): number {
    return storeTimeAt(this.frame.bytes, 0)
  }

  /** Of the mastership that stored it. */
  get epoch(): number {
    return epochAt(this.frame.bytes, 0)
  }

  toJSON(): Record<string, unknown> {
    const { messageId, topic, brokerName, queueId, queueOffset, tag, keys, messageGroup, properties } = this
    const { bornTime, storeTime, deliveryAttempt, text } = this
    return {
      ...{ messageId, topic, brokerName, queueId, queueOffset, tag, keys, messageGroup, properties },
      ...{ bornTime, storeTime, deliveryAttempt, body: text },
    }
  }

  /** @internal */
  attribute(name: string): string | undefined {
    if (this.frame.bytes.readUInt16LE(this.at + 12) === 0) return undefined
    return this.all()[name]
  }

  /** @internal */
  private all(): Record<string, string> {
    this.parsed ??= parseProperties(this.frame.bytes, this.at)
    return this.parsed
  }
}

function parseProperties(bytes: Buffer, at: number): Record<string, string> {
  const from = at + RECORD_HEAD_BYTES
  const text = bytes.toString('utf8', from, from + bytes.readUInt16LE(at + 12))
  const properties: [name: string, value: string][] = []
  for (const pair of text.split('\u0002')) {
    const middle = pair.indexOf('\u0001')
    if (middle > 0) properties.push([pair.slice(0, middle), pair.slice(middle + 1)])
  }
  return Object.fromEntries(properties) // Whose names may be any, `__proto__` too.
}
