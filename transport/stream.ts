/**
 * The stream between a master and a slave: the bytes of the log, and what the slave has of them. Binary.
 *
 *   data   0 u32 epoch   4 u32 session   8 u64 from   16 u64 confirm   24 u64 end   32 f64 sentAt   40 u32 headCrc
 *          44 whole frames
 *   ack    0 u32 epoch   4 u32 session   8 u32 brokerId   12 u32 lineage   16 u32 incarnation   20 u32 unfinishedBytes
 *          24 u64 position   32 f64 echo   40 u32 flags (1: the disk is full)   44 u32 headCrc
 *
 * `session` names one request to follow: what belongs to an earlier one is not heard. `sentAt` is the master's monotonic
 * time, `echo` the last that the slave has heard: by it the master knows until when the slave would not be promoted.
 * `headCrc` is the CRC-32 of what stands before it: a position with one wrong bit would confirm what nobody has. Frames
 * carry checksums of their own.
 */
import { crc32 } from 'node:zlib'
import { readU64, writeU64 } from './frames.ts'

export const DATA_HEAD_BYTES = 44
export const ACK_BYTES = 48
const CRC_BYTES = 4
const DISK_FULL = 1

export type DataHead = {
  epoch: number
  session: number
  /** The log position of the first byte that follows. Without bytes: a sign of life, and where the stream stands. */
  from: number
  confirm: number
  /** The end of the master's log. */
  end: number
  sentAt: number
}

export function writeDataHead(bytes: Buffer, head: DataHead): void {
  bytes.writeUInt32LE(head.epoch, 0)
  bytes.writeUInt32LE(head.session, 4)
  writeU64(bytes, head.from, 8)
  writeU64(bytes, head.confirm, 16)
  writeU64(bytes, head.end, 24)
  bytes.writeDoubleLE(head.sentAt, 32)
  seal(bytes, DATA_HEAD_BYTES)
}

function seal(bytes: Buffer, headBytes: number): void {
  const at = headBytes - CRC_BYTES
  bytes.writeUInt32LE(crc32(bytes.subarray(0, at)), at)
}
function isSound(bytes: Buffer, headBytes: number): boolean {
  const at = headBytes - CRC_BYTES
  return bytes.readUInt32LE(at) === crc32(bytes.subarray(0, at))
}

/** Null when it is no data message, or its head was damaged. */
export const readDataHead = (bytes: Buffer): DataHead | null =>
  bytes.length < DATA_HEAD_BYTES || !isSound(bytes, DATA_HEAD_BYTES)
    ? null
    : {
        epoch: bytes.readUInt32LE(0),
        session: bytes.readUInt32LE(4),
        from: readU64(bytes, 8),
        confirm: readU64(bytes, 16),
        end: readU64(bytes, 24),
        sentAt: bytes.readDoubleLE(32),
      }

export type Ack = {
  epoch: number
  session: number
  brokerId: number
  lineage: number
  incarnation: number
  /** Stored up to here. */
  position: number
  /** Received beyond `position`, of a state whose rest has not come: they count for the credit, and for nothing else. */
  unfinishedBytes: number
  echo: number
  /** The disk of the slave is full: beyond `position` nothing is stored until there is room. */
  isFull: boolean
}

export function ackBytes(ack: Ack): Buffer {
  const bytes = Buffer.allocUnsafe(ACK_BYTES)
  bytes.writeUInt32LE(ack.epoch, 0)
  bytes.writeUInt32LE(ack.session, 4)
  bytes.writeUInt32LE(ack.brokerId, 8)
  bytes.writeUInt32LE(ack.lineage, 12)
  bytes.writeUInt32LE(ack.incarnation, 16)
  bytes.writeUInt32LE(ack.unfinishedBytes, 20)
  writeU64(bytes, ack.position, 24)
  bytes.writeDoubleLE(ack.echo, 32)
  bytes.writeUInt32LE(ack.isFull ? DISK_FULL : 0, 40)
  seal(bytes, ACK_BYTES)
  return bytes
}

/** Null when it is no acknowledgement, or was damaged. */
export const readAck = (bytes: Buffer): Ack | null =>
  bytes.length !== ACK_BYTES || !isSound(bytes, ACK_BYTES)
    ? null
    : {
        epoch: bytes.readUInt32LE(0),
        session: bytes.readUInt32LE(4),
        brokerId: bytes.readUInt32LE(8),
        lineage: bytes.readUInt32LE(12),
        incarnation: bytes.readUInt32LE(16),
        unfinishedBytes: bytes.readUInt32LE(20),
        position: readU64(bytes, 24),
        echo: bytes.readDoubleLE(32),
        isFull: (bytes.readUInt32LE(40) & DISK_FULL) !== 0,
      }
