/**
 * The index of a sealed segment: where the frames of each queue stand in it. One file for all queues.
 *
 *   head     64 bytes, then the directory (48 bytes a queue, sorted by hash), the CRC of every page, the names of topics
 *   entries  four u32 a frame: position in the segment, bytes, offset and store time since the queue's base here.
 *            Sorted by queue, then offset; read in pages of 4,096
 *
 * The directory lists EVERY queue that was known, with its first offset here and the first one after it, so a search over
 * segments can go the right way at each. Head and pages are checked against their CRC when they are read.
 * Derived: a missing or damaged index is made again from its segment.
 */
import { crc32 } from 'node:zlib'
import { readU64, writeU64 } from '../../../transport/frames.ts'
import { ENTRY_NUMBERS, firstIndex, type QueuePart, type StoredQueue } from './consume-queue.ts'
import type { Segment } from './segment.ts'

export const ENTRY_BYTES = 4 * ENTRY_NUMBERS
export const PAGE_ENTRIES = 4096
export const PAGE_BYTES = PAGE_ENTRIES * ENTRY_BYTES
export const HEAD_BYTES = 64
const QUEUE_BYTES = 48
const MAGIC = 0x51_4d_53_31

/** A queue's place in an index. */
export type QueueRange = {
  readonly startOffset: number
  readonly endOffset: number
  readonly baseTime: number
  readonly firstEntry: number
  readonly count: number
}

type Row = {
  readonly queue: StoredQueue
  readonly part: QueuePart | null
  readonly start: number
  readonly end: number
}

/** What a segment holds of a queue. Everything newer is still in memory: the parts after it tell where it ended. */
function rowOf(queue: StoredQueue, segment: Segment): Row {
  let end = queue.nextOffset
  for (let part = queue.part; part !== null && part.segment.start >= segment.start; part = part.previous) {
    if (part.segment === segment) return { queue, part, start: part.baseOffset, end }
    end = part.baseOffset
  }
  return { queue, part: null, start: end, end }
}

/** The whole file for a segment whose parts are in memory. */
export function indexBytes(segment: Segment, queues: Iterable<StoredQueue>): Buffer {
  const rows = [...queues].map((queue) => rowOf(queue, segment)).sort((a, b) => a.queue.hash - b.queue.hash)
  const names = new Map<string, number>()
  let nameBytes = 0
  let entryCount = 0
  for (const { queue, part } of rows) {
    entryCount += part?.count ?? 0
    if (names.has(queue.topic)) continue
    names.set(queue.topic, nameBytes)
    nameBytes += 1 + queue.topic.length
  }
  const pageCount = Math.ceil(entryCount / PAGE_ENTRIES)
  const crcsAt = HEAD_BYTES + rows.length * QUEUE_BYTES
  const namesAt = crcsAt + 4 * pageCount
  const headBytes = namesAt + nameBytes
  const bytes = Buffer.alloc(headBytes + entryCount * ENTRY_BYTES)

  for (const [topic, at] of names) {
    bytes[namesAt + at] = topic.length
    bytes.write(topic, namesAt + at + 1, 'latin1')
  }
  let firstEntry = 0
  rows.forEach(({ queue, part, start, end }, i) => {
    const at = HEAD_BYTES + i * QUEUE_BYTES
    bytes.writeUInt32LE(queue.hash, at)
    bytes.writeUInt32LE(names.get(queue.topic)!, at + 4)
    bytes.writeUInt32LE(queue.queueId, at + 8)
    bytes.writeUInt32LE(part?.count ?? 0, at + 12)
    bytes.writeUInt32LE(firstEntry, at + 16)
    writeU64(bytes, start, at + 24)
    writeU64(bytes, end, at + 32)
    writeU64(bytes, part?.baseTime ?? 0, at + 40)
    if (part === null) return
    writeEntries(bytes, headBytes + firstEntry * ENTRY_BYTES, part)
    firstEntry += part.count
  })
  for (let page = 0; page < pageCount; page++) {
    const from = headBytes + page * PAGE_BYTES
    bytes.writeUInt32LE(crc32(bytes.subarray(from, from + PAGE_BYTES)), crcsAt + 4 * page)
  }
  bytes.writeUInt32LE(MAGIC, 0)
  bytes.writeUInt32LE(headBytes, 8)
  bytes.writeUInt32LE(rows.length, 12)
  bytes.writeUInt32LE(entryCount, 16)
  bytes.writeUInt32LE(namesAt, 20)
  writeU64(bytes, segment.start, 24)
  writeU64(bytes, segment.bytes, 32)
  writeU64(bytes, segment.firstTime, 40)
  writeU64(bytes, segment.lastTime, 48)
  bytes.writeUInt32LE(crc32(bytes.subarray(8, headBytes)), 4)
  return bytes
}

function writeEntries(bytes: Buffer, at: number, { chunks, count }: QueuePart): void {
  let left = count * ENTRY_NUMBERS
  for (const chunk of chunks)
    for (let i = 0; i < chunk.length && left > 0; i++, left--) {
      bytes.writeUInt32LE(chunk[i]!, at)
      at += 4
    }
}

/** How many bytes of a file are its head; null when they are no index of this segment. */
export function headBytesOf(bytes: Buffer, segment: Segment): number | null {
  if (bytes.length < HEAD_BYTES || bytes.readUInt32LE(0) !== MAGIC) return null
  const sound = readU64(bytes, 24) === segment.start && readU64(bytes, 32) === segment.bytes
  return sound ? bytes.readUInt32LE(8) : null
}

/** The head of an index in memory: answers which entries are a queue's. */
export class IndexHead {
  readonly bytes: Buffer
  readonly #queueCount: number
  readonly #entryCount: number
  readonly #namesAt: number

  private constructor(bytes: Buffer) {
    this.bytes = bytes
    this.#queueCount = bytes.readUInt32LE(12)
    this.#entryCount = bytes.readUInt32LE(16)
    this.#namesAt = bytes.readUInt32LE(20)
  }

  /** Null when the bytes do not match their checksum. */
  static from(bytes: Buffer): IndexHead | null {
    return crc32(bytes.subarray(8)) === bytes.readUInt32LE(4) ? new IndexHead(bytes) : null
  }

  get lastTime(): number {
    return readU64(this.bytes, 48)
  }

  /** Undefined for a queue that did not exist when the segment was sealed. */
  find(queue: StoredQueue): QueueRange | undefined {
    const { bytes } = this
    const rowAt = (i: number) => HEAD_BYTES + i * QUEUE_BYTES
    let i = firstIndex(this.#queueCount, (row) => bytes.readUInt32LE(rowAt(row)) >= queue.hash)
    for (; i < this.#queueCount && bytes.readUInt32LE(rowAt(i)) === queue.hash; i++) {
      const at = rowAt(i)
      if (bytes.readUInt32LE(at + 8) !== queue.queueId || this.#nameAt(at) !== queue.topic) continue
      return {
        count: bytes.readUInt32LE(at + 12),
        firstEntry: bytes.readUInt32LE(at + 16),
        startOffset: readU64(bytes, at + 24),
        endOffset: readU64(bytes, at + 32),
        baseTime: readU64(bytes, at + 40),
      }
    }
    return undefined
  }

  #nameAt(row: number): string {
    const at = this.#namesAt + this.bytes.readUInt32LE(row + 4)
    return this.bytes.toString('latin1', at + 1, at + 1 + this.bytes[at]!)
  }

  /** Where a page stands in the file. */
  pagePlace(page: number): { at: number; length: number } {
    const entries = Math.min(PAGE_ENTRIES, this.#entryCount - page * PAGE_ENTRIES)
    return { at: this.bytes.length + page * PAGE_BYTES, length: entries * ENTRY_BYTES }
  }

  isSound(page: number, bytes: Buffer): boolean {
    const crcsAt = HEAD_BYTES + this.#queueCount * QUEUE_BYTES
    return crc32(bytes) === this.bytes.readUInt32LE(crcsAt + 4 * page)
  }
}

/** The numbers of an entry in a page. */
export const entryPosition = (page: Buffer, at: number): number => page.readUInt32LE(at * ENTRY_BYTES)
export const entryBytes = (page: Buffer, at: number): number => page.readUInt32LE(at * ENTRY_BYTES + 4)
export const entryOffset = (page: Buffer, at: number): number => page.readUInt32LE(at * ENTRY_BYTES + 8)
export const entryTime = (page: Buffer, at: number): number => page.readUInt32LE(at * ENTRY_BYTES + 12)
