/**
 * Frames: the one binary shape of messages on the wire, in the log, between replicas and at the consumer.
 *
 * A producer writes a frame once: messages of ONE topic and ONE queue. The broker stamps four fields into its head
 * (epoch, queue offset, store time and the checksum over the head); from then on nobody changes a byte of it.
 * Every byte is covered by a checksum: bodyCrc by the producer, headCrc by whoever wrote the head last.
 *
 *   0  u32 frameBytes    the whole frame
 *   4  u32 headCrc       CRC32 of bytes 8..64, begun with frameBytes
 *   8  u16 magic         0x514d          10 u8 version    11 u8 kind
 *  12  u32 epoch         of the mastership that stored it; 0 before
 *  16  u64 queueOffset   of the first message; 0 before it is stored
 *  24  u64 storeTime     milliseconds; 0 before
 *  32  u64 bornTime      milliseconds, of the first message
 *  40  u64 producerId    a random number below 2^53, one for each (producer, queue); 0 = no idempotence
 *  48  u32 sequence      of the first message, counted by that producer id from 0 without a gap
 *  52  u32 bodyCrc       CRC32 of bytes 64..frameBytes
 *  56  u16 queueId       58 u16 count      60 u8 topicBytes   61 u8 flags        62 u16 0
 *  64  topic (ASCII), then `count` records
 *
 * A record (all little endian):
 *   0  u32 recordBytes    4 u32 bornDelta (ms)    8 i32 tagsCode (Java's String.hashCode of the tag, 0 = none)
 *  12  u16 propertyBytes 14 u16 0                16 properties (name 0x01 value 0x02 …), then the body
 *
 * RocketMQ: common/message/MessageDecoder.java (its record holds one message; ours holds a batch).
 */
import { crc32 } from 'node:zlib'

export { javaHash } from '../machines/filter/tag.ts'

export const FRAME_HEAD_BYTES = 64
export const RECORD_HEAD_BYTES = 16
const MAGIC = 0x514d
const VERSION = 1
const HIGH = 2 ** 32

/** RocketMQ's maxMessageSize: the largest body, in bytes. */
export const MAX_BODY_BYTES = 4 * 1024 * 1024
/** RocketMQ's limit on encoded properties, in bytes. */
export const MAX_PROPERTY_BYTES = 32_767
/** No frame is larger: one largest message with its head, topic and properties. */
export const MAX_FRAME_BYTES = MAX_BODY_BYTES + MAX_PROPERTY_BYTES + 4_096

/** What is special about a frame of messages; 0 for nearly all. A sender sets `scheduled` only, of one message. */
export const flags = {
  /** It is due later: its properties say when, and where it then goes. */
  scheduled: 1,
  /** It was due. `sequence` is its offset in the queue where it waited (modulo 2^32), `producerId` says which that is. */
  delivered: 2,
  /** A copy of what a consumer could not handle; while it waits its properties say of which message. */
  sentBack: 4,
} as const

/** What a frame is for. Only `messages` reach consumers; the others are the log's own memory. */
export const kinds = {
  messages: 0,
  epoch: 1,
  topics: 2,
  offsets: 3,
  state: 4,
  owners: 5,
  pops: 6,
  schedule: 7,
} as const
export type Kind = (typeof kinds)[keyof typeof kinds]

export const readU64 = (bytes: Buffer, at: number): number =>
  bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * HIGH
export function writeU64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value % HIGH, at)
  bytes.writeUInt32LE(Math.floor(value / HIGH), at + 4)
}

export const frameBytesAt = (bytes: Buffer, at: number): number => bytes.readUInt32LE(at)
export const kindAt = (bytes: Buffer, at: number): number => bytes[at + 11]!
export const epochAt = (bytes: Buffer, at: number): number => bytes.readUInt32LE(at + 12)
export const queueOffsetAt = (bytes: Buffer, at: number): number => readU64(bytes, at + 16)
export const storeTimeAt = (bytes: Buffer, at: number): number => readU64(bytes, at + 24)
export const bornTimeAt = (bytes: Buffer, at: number): number => readU64(bytes, at + 32)
export const producerIdAt = (bytes: Buffer, at: number): number => readU64(bytes, at + 40)
export const sequenceAt = (bytes: Buffer, at: number): number => bytes.readUInt32LE(at + 48)
export const queueIdAt = (bytes: Buffer, at: number): number => bytes.readUInt16LE(at + 56)
export const countAt = (bytes: Buffer, at: number): number => bytes.readUInt16LE(at + 58)
export const flagsAt = (bytes: Buffer, at: number): number => bytes[at + 61]!
export const topicAt = (bytes: Buffer, at: number): string =>
  bytes.toString('latin1', at + FRAME_HEAD_BYTES, at + FRAME_HEAD_BYTES + bytes[at + 60]!)
/** Where the first record begins; for kinds other than `messages`, the payload. */
export const recordsAt = (bytes: Buffer, at: number): number => at + FRAME_HEAD_BYTES + bytes[at + 60]!

export type FrameHead = {
  kind: Kind
  bornTime: number
  producerId: number
  sequence: number
  queueId: number
  count: number
  topicBytes: number
  flags?: number
}

/** Completes a frame whose topic and records stand at `at + 64 … at + frameBytes`: writes the head and both checksums. */
export function sealFrame(bytes: Buffer, at: number, frameBytes: number, head: FrameHead): void {
  bytes.writeUInt32LE(frameBytes, at)
  bytes.writeUInt16LE(MAGIC, at + 8)
  bytes[at + 10] = VERSION
  bytes[at + 11] = head.kind
  bytes.fill(0, at + 12, at + 32)
  writeU64(bytes, head.bornTime, at + 32)
  writeU64(bytes, head.producerId, at + 40)
  bytes.writeUInt32LE(head.sequence, at + 48)
  bytes.writeUInt32LE(crc32(bytes.subarray(at + FRAME_HEAD_BYTES, at + frameBytes)), at + 52)
  bytes.writeUInt16LE(head.queueId, at + 56)
  bytes.writeUInt16LE(head.count, at + 58)
  bytes[at + 60] = head.topicBytes
  bytes[at + 61] = head.flags ?? 0
  bytes.writeUInt16LE(0, at + 62)
  sealHead(bytes, at)
}

/** The broker's mark, BEFORE the frame is written to the log. */
export function stampFrame(
  bytes: Buffer,
  at: number,
  epoch: number,
  queueOffset: number,
  storeTime: number,
): void {
  bytes.writeUInt32LE(epoch, at + 12)
  writeU64(bytes, queueOffset, at + 16)
  writeU64(bytes, storeTime, at + 24)
  sealHead(bytes, at)
}

const sealHead = (bytes: Buffer, at: number): void => {
  bytes.writeUInt32LE(headCrc(bytes, at), at + 4)
}

const headCrc = (bytes: Buffer, at: number): number =>
  crc32(bytes.subarray(at + 8, at + FRAME_HEAD_BYTES), bytes.readUInt32LE(at))

/** A frame of one of the log's own kinds: `payload` stands where records would. */
export function frameOf(kind: Kind, payload: Uint8Array, bornTime: number): Buffer {
  const bytes = Buffer.allocUnsafe(FRAME_HEAD_BYTES + payload.length)
  bytes.set(payload, FRAME_HEAD_BYTES)
  sealFrame(bytes, 0, bytes.length, {
    kind,
    bornTime,
    producerId: 0,
    sequence: 0,
    queueId: 0,
    count: 0,
    topicBytes: 0,
  })
  return bytes
}

/** Why the bytes at `at` are not a whole, sound frame that ends at or before `end`; null when they are. */
export type FrameFault = 'short' | 'magic' | 'version' | 'length' | 'headCrc' | 'bodyCrc'
export function frameFault(bytes: Buffer, at: number, end: number): FrameFault | null {
  if (end - at < FRAME_HEAD_BYTES) return 'short'
  if (bytes.readUInt16LE(at + 8) !== MAGIC) return 'magic'
  const frameBytes = bytes.readUInt32LE(at)
  if (frameBytes < FRAME_HEAD_BYTES + bytes[at + 60]! || frameBytes > MAX_FRAME_BYTES) return 'length'
  if (bytes.readUInt32LE(at + 4) !== headCrc(bytes, at)) return 'headCrc'
  if (bytes[at + 10] !== VERSION) return 'version'
  if (at + frameBytes > end) return 'short'
  if (bytes.readUInt32LE(at + 52) !== crc32(bytes.subarray(at + FRAME_HEAD_BYTES, at + frameBytes)))
    return 'bodyCrc'
  return null
}

/** Whether a sound head stands there, of a frame that ends at or before `end`. */
export function isHeadAt(bytes: Buffer, at: number, end: number): boolean {
  if (end - at < FRAME_HEAD_BYTES || frameBytesAt(bytes, at) > end - at) return false
  const fault = frameFault(bytes, at, at + FRAME_HEAD_BYTES)
  return fault === null || fault === 'short'
}

/** True when the records of a sound frame add up: `count` of them, each whole, filling the frame to its end. */
export function recordsAddUp(bytes: Buffer, at: number): boolean {
  const end = at + bytes.readUInt32LE(at)
  let next = recordsAt(bytes, at)
  for (let left = countAt(bytes, at); left > 0; left--) {
    if (end - next < RECORD_HEAD_BYTES) return false
    const recordBytes = bytes.readUInt32LE(next)
    if (recordBytes < RECORD_HEAD_BYTES + bytes.readUInt16LE(next + 12) || next + recordBytes > end)
      return false
    next += recordBytes
  }
  return next === end
}

export const recordBytesAt = (bytes: Buffer, record: number): number => bytes.readUInt32LE(record)
export const propertyBytesAt = (bytes: Buffer, record: number): number => bytes.readUInt16LE(record + 12)
export const tagsCodeAt = (bytes: Buffer, record: number): number => bytes.readInt32LE(record + 8)

/** One property of the record at `record`, the first of its name, without decoding others. `name`: ASCII. BEFORE: it is sound. */
export function propertyAt(bytes: Buffer, record: number, name: string): string | undefined {
  const { length } = name
  let at = record + RECORD_HEAD_BYTES
  const end = at + propertyBytesAt(bytes, record)
  while (at < end) {
    let same = 0
    while (same < length && bytes[at + same] === name.charCodeAt(same)) same++
    const isFound = same === length && bytes[at + same] === 1 && at + same < end
    if (isFound) at += same + 1
    const from = at
    while (at < end && bytes[at] !== 2) at++
    if (isFound) return bytes.toString('utf8', from, at)
    at++
  }
  return undefined
}
