/**
 * The answer to a receive, little endian:
 *   0 u16 code   2 u16 flags (1: there is more)   4 u32 epoch   8 u32 messages   12 u32 textBytes
 *  16 u64 token of this delivery   24 u64 until when the messages are invisible, milliseconds since 1970
 *  32 text (why it was refused), then for each message a u16: the how-manieth delivery it is; then frames.
 *
 * The frames hold EXACTLY the messages that are given, in that order. Where a stored frame holds others too it is cut
 * at the borders of its records: each piece is a frame with a head of its own, whose sequence, offset and time stamps
 * are those of its messages, so that nothing tells it from a frame that was sent so. Bodies are copied once, into the
 * answer.
 */
import type { Code } from './codes.ts'
import {
  bornTimeAt,
  epochAt,
  FRAME_HEAD_BYTES,
  frameBytesAt,
  kinds,
  producerIdAt,
  queueIdAt,
  queueOffsetAt,
  readU64,
  recordsAt,
  sealFrame,
  sequenceAt,
  stampFrame,
  storeTimeAt,
  writeU64,
} from './frames.ts'

export const POP_HEAD_BYTES = 32
const MORE = 1

/** Records of one frame that follow each other: from the byte `from` to the byte `to`, the first being the `index`-th. */
export type Piece = { frame: Buffer; index: number; count: number; from: number; to: number }

export type PopHead = {
  code: Code
  epoch: number
  hasMore: boolean
  token: number
  until: number
  text: string
}

export function popAnswer(head: PopHead, attempts: readonly number[], pieces: readonly Piece[]): Buffer {
  const text = Buffer.from(head.text)
  let bytes = POP_HEAD_BYTES + text.length + attempts.length * 2
  for (const piece of pieces) bytes += pieceBytes(piece)
  const answer = Buffer.allocUnsafe(bytes)
  answer.writeUInt16LE(head.code, 0)
  answer.writeUInt16LE(head.hasMore ? MORE : 0, 2)
  answer.writeUInt32LE(head.epoch, 4)
  answer.writeUInt32LE(attempts.length, 8)
  answer.writeUInt32LE(text.length, 12)
  writeU64(answer, head.token, 16)
  writeU64(answer, head.until, 24)
  let at = POP_HEAD_BYTES + text.copy(answer, POP_HEAD_BYTES)
  for (const attempt of attempts) at = answer.writeUInt16LE(attempt, at)
  for (const piece of pieces) at = writePiece(answer, at, piece)
  return answer
}

/** What a piece takes in an answer. */
export const pieceBytes = ({ frame, from, to }: Piece): number => recordsAt(frame, 0) + to - from

function writePiece(bytes: Buffer, at: number, { frame, index, count, from, to }: Piece): number {
  const headBytes = recordsAt(frame, 0)
  if (from === headBytes && to === frameBytesAt(frame, 0)) return at + frame.copy(bytes, at, 0, to)
  frame.copy(bytes, at, 0, headBytes)
  const end = at + headBytes + frame.copy(bytes, at + headBytes, from, to)
  sealFrame(bytes, at, end - at, {
    kind: kinds.messages,
    bornTime: bornTimeAt(frame, 0),
    producerId: producerIdAt(frame, 0),
    sequence: sequenceAt(frame, 0) + index,
    queueId: queueIdAt(frame, 0),
    count,
    topicBytes: headBytes - FRAME_HEAD_BYTES,
  })
  stampFrame(bytes, at, epochAt(frame, 0), queueOffsetAt(frame, 0) + index, storeTimeAt(frame, 0))
  return end
}

export const popHasMore = (answer: Buffer): boolean => (answer.readUInt16LE(2) & MORE) !== 0
export const popMessages = (answer: Buffer): number => answer.readUInt32LE(8)
export const popToken = (answer: Buffer): number => readU64(answer, 16)
export const popUntil = (answer: Buffer): number => readU64(answer, 24)
export const popText = (answer: Buffer): string =>
  answer.toString('utf8', POP_HEAD_BYTES, POP_HEAD_BYTES + answer.readUInt32LE(12))
export const popAttempt = (answer: Buffer, message: number): number =>
  answer.readUInt16LE(POP_HEAD_BYTES + answer.readUInt32LE(12) + message * 2)
/** Where the frames begin. */
export const popFramesAt = (answer: Buffer): number =>
  POP_HEAD_BYTES + answer.readUInt32LE(12) + popMessages(answer) * 2
