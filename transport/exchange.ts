/**
 * The two binary exchanges of the data plane.
 *
 * Send: the request is frames, one after the other, of any queues of one broker. The answer, little endian:
 *   0 u16 code of the whole   2 u16 frames   4 u32 epoch, then for each frame 16 bytes:
 *   0 u16 code   2 u16 0   4 u32 0   8 u64 queueOffset of its first message
 *
 * Pull: the request is a PullRequest. The answer:
 *   0 u16 code   2 u16 0   4 u32 epoch   8 u64 nextOffset   16 u64 minOffset   24 u64 maxOffset, then frames verbatim
 *
 * An answer whose first code is not SUCCESS and that is only a head refuses the whole request.
 */
import type { Code } from './codes.ts'
import { readU64, writeU64 } from './frames.ts'

export const SEND_HEAD_BYTES = 8
export const SEND_RESULT_BYTES = 16
export const PULL_HEAD_BYTES = 32

export function sendAnswer(code: Code, frames: number, epoch: number): Buffer {
  const answer = Buffer.alloc(SEND_HEAD_BYTES + frames * SEND_RESULT_BYTES)
  answer.writeUInt16LE(code, 0)
  answer.writeUInt16LE(frames, 2)
  answer.writeUInt32LE(epoch, 4)
  return answer
}

export function setSendResult(answer: Buffer, frame: number, code: Code, queueOffset: number): void {
  const at = SEND_HEAD_BYTES + frame * SEND_RESULT_BYTES
  answer.writeUInt16LE(code, at)
  writeU64(answer, queueOffset, at + 8)
}

export const answerCode = (answer: Buffer): number => answer.readUInt16LE(0)
export const answerEpoch = (answer: Buffer): number => answer.readUInt32LE(4)
export const sendResults = (answer: Buffer): number => answer.readUInt16LE(2)
export const sendResultCode = (answer: Buffer, frame: number): number =>
  answer.readUInt16LE(SEND_HEAD_BYTES + frame * SEND_RESULT_BYTES)
export const sendResultOffset = (answer: Buffer, frame: number): number =>
  readU64(answer, SEND_HEAD_BYTES + frame * SEND_RESULT_BYTES + 8)

export type PullHead = { code: Code; epoch: number; nextOffset: number; minOffset: number; maxOffset: number }

/** The head of an answer with the frames behind it, in one piece. */
export function pullAnswer(head: PullHead, frames: readonly Buffer[]): Buffer {
  let bytes = PULL_HEAD_BYTES
  for (const frame of frames) bytes += frame.length
  const answer = Buffer.allocUnsafe(bytes)
  answer.writeUInt16LE(head.code, 0)
  answer.writeUInt16LE(0, 2)
  answer.writeUInt32LE(head.epoch, 4)
  writeU64(answer, head.nextOffset, 8)
  writeU64(answer, head.minOffset, 16)
  writeU64(answer, head.maxOffset, 24)
  let at = PULL_HEAD_BYTES
  for (const frame of frames) at += frame.copy(answer, at)
  return answer
}

export const pullNextOffset = (answer: Buffer): number => readU64(answer, 8)
export const pullMinOffset = (answer: Buffer): number => readU64(answer, 16)
export const pullMaxOffset = (answer: Buffer): number => readU64(answer, 24)
