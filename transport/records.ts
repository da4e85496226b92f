/**
 * Records of messages: their properties, and frames of ONE record that a broker makes of them.
 *
 * Properties are RocketMQ's text: name 0x01 value 0x02. A name that stands there twice counts as what comes last.
 *
 * RocketMQ: common/message/MessageDecoder.java, common/message/MessageConst.java
 */
import {
  countAt,
  FRAME_HEAD_BYTES,
  kinds,
  queueOffsetAt,
  RECORD_HEAD_BYTES,
  recordsAt,
  sealFrame,
} from './frames.ts'

/** Names that the system gives; a sender's own properties may not have them. */
export const systemProperties = {
  /** Where a message that waits goes when it is due, and when that is (milliseconds since 1970). */
  realTopic: 'REAL_TOPIC',
  realQueueId: 'REAL_QID',
  delayLevel: 'DELAY',
  dueTime: 'TIMER_OUT_MS',
  /** Of a message that is tried again: the topic it was sent to, and how often it was tried again. */
  retryTopic: 'RETRY_TOPIC',
  reconsumeTimes: 'RECONSUME_TIME',
  originMessageId: 'ORIGIN_MESSAGE_ID',
  /** `topic/queueId/offset` of the message that was sent back; only while its copy waits, or in a dead letter. */
  sentBackFrom: 'SENT_BACK_FROM',
  deadLetterTopic: 'DLQ_ORIGIN_TOPIC',
  deadLetterMessageId: 'DLQ_ORIGIN_MESSAGE_ID',
  /** Why the last try failed, as far as the consumer told. */
  deadLetterReason: 'DLQ_REASON',
} as const

export type Properties = Map<string, string>

/** Of the record at `at`. */
export function propertiesAt(bytes: Buffer, at: number): Properties {
  const from = at + RECORD_HEAD_BYTES
  const text = bytes.toString('utf8', from, from + bytes.readUInt16LE(at + 12))
  const properties: Properties = new Map()
  for (const pair of text.split('\u0002')) {
    const middle = pair.indexOf('\u0001')
    if (middle > 0) properties.set(pair.slice(0, middle), pair.slice(middle + 1))
  }
  return properties
}

function encodedProperties(properties: Properties): Buffer {
  let text = ''
  for (const [name, value] of properties) text += `${name}\u0001${value}\u0002`
  return Buffer.from(text)
}

/** The body of the record at `at`; a view. */
export const recordBodyAt = (bytes: Buffer, at: number): Buffer =>
  bytes.subarray(at + RECORD_HEAD_BYTES + bytes.readUInt16LE(at + 12), at + bytes.readUInt32LE(at))

export const bornDeltaAt = (bytes: Buffer, at: number): number => bytes.readUInt32LE(at + 4)
export const tagsCodeAt = (bytes: Buffer, at: number): number => bytes.readInt32LE(at + 8)

/** Where the record of a queue offset stands in a stored frame; -1 when it is in another one. */
export function recordOf(frame: Buffer, offset: number): number {
  const index = offset - queueOffsetAt(frame, 0)
  if (index < 0 || index >= countAt(frame, 0)) return -1
  let at = recordsAt(frame, 0)
  for (let i = 0; i < index; i++) at += frame.readUInt32LE(at)
  return at
}

export type SingleRecord = {
  topic: string
  queueId: number
  flags: number
  bornTime: number
  producerId: number
  sequence: number
  tagsCode: number
  properties: Properties
  body: Buffer
}

/** A sealed frame of one message, of its own bytes. */
export function frameOfOne(message: SingleRecord): Buffer {
  const { topic, queueId, flags, bornTime, producerId, sequence, tagsCode, body } = message
  const properties = encodedProperties(message.properties)
  const recordBytes = RECORD_HEAD_BYTES + properties.length + body.length
  const at = FRAME_HEAD_BYTES + topic.length
  const bytes = Buffer.allocUnsafe(at + recordBytes)
  bytes.write(topic, FRAME_HEAD_BYTES, 'latin1')
  bytes.writeUInt32LE(recordBytes, at)
  bytes.writeUInt32LE(0, at + 4)
  bytes.writeInt32LE(tagsCode, at + 8)
  bytes.writeUInt16LE(properties.length, at + 12)
  bytes.writeUInt16LE(0, at + 14)
  properties.copy(bytes, at + RECORD_HEAD_BYTES)
  body.copy(bytes, at + RECORD_HEAD_BYTES + properties.length)
  const head = { kind: kinds.messages, bornTime, producerId, sequence, queueId, count: 1, flags }
  sealFrame(bytes, 0, bytes.length, { ...head, topicBytes: topic.length })
  return bytes
}
