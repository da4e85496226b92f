/**
 * What the store keeps in memory of each queue: where its offsets end, and where the frames of the newest segments stand.
 *
 * A part is the index of one queue in one segment: four numbers a frame. It lives until the segment's index is on disk
 * and everyone may read the segment to its end. So all that is not confirmed is in memory, and bounds need no disk.
 *
 * RocketMQ: store/ConsumeQueue.java (one file a queue; ours is one file a segment).
 */
import { crc32 } from 'node:zlib'
import type { Segment } from './segment.ts'

/** Numbers of an entry: position in the segment, bytes of the frame, offset and store time since the part's base. */
export const ENTRY_NUMBERS = 4
const CHUNK_ENTRIES = 1024

export class StoredQueue {
  readonly topic: string
  readonly queueId: number
  /** Sorts the directory of sealed indexes. */
  readonly hash: number
  /** The offset of the next message to be appended. */
  nextOffset = 0
  /** Offsets below it are gone: expired, or of a deleted topic. */
  minOffset = 0
  /** The newest part in memory. */
  part: QueuePart | null = null
  /** The sealed segment that was read last: where the next read will most likely go on. */
  lastRead: Segment | null = null

  constructor(topic: string, queueId: number) {
    this.topic = topic
    this.queueId = queueId
    this.hash = queueHash(topic, queueId)
  }
}

const queueHash = (topic: string, queueId: number): number => crc32(topic, queueId)

export class QueuePart {
  readonly queue: StoredQueue
  readonly segment: Segment
  readonly baseOffset: number
  readonly baseTime: number
  /** The queue's part in an earlier segment, while that is in memory too. */
  previous: QueuePart | null
  count = 0
  /** Full chunks and the one that is being filled. The first one is small: most queues have few frames in a segment. */
  readonly chunks: Uint32Array[] = [new Uint32Array(4 * ENTRY_NUMBERS)]
  #lastDelta = 0

  constructor(queue: StoredQueue, segment: Segment, time: number) {
    this.queue = queue
    this.segment = segment
    this.baseOffset = queue.nextOffset
    this.baseTime = time
    this.previous = queue.part
  }

  add(position: number, bytes: number, offset: number, time: number): void {
    const index = this.count++
    const chunk = this.#chunkFor(index)
    // Wall time may jump back. The index does not follow: a search by time needs times that never fall.
    this.#lastDelta = Math.max(time - this.baseTime, this.#lastDelta)
    const at = (index % CHUNK_ENTRIES) * ENTRY_NUMBERS
    chunk[at] = position
    chunk[at + 1] = bytes
    chunk[at + 2] = offset - this.baseOffset
    chunk[at + 3] = this.#lastDelta
  }

  #chunkFor(index: number): Uint32Array {
    const { chunks } = this
    const number = Math.floor(index / CHUNK_ENTRIES)
    const chunk = chunks[number]
    if (chunk === undefined) {
      const added = new Uint32Array(CHUNK_ENTRIES * ENTRY_NUMBERS)
      chunks.push(added)
      return added
    }
    if ((index % CHUNK_ENTRIES) * ENTRY_NUMBERS < chunk.length) return chunk
    const grown = new Uint32Array(2 * chunk.length)
    grown.set(chunk)
    chunks[number] = grown
    return grown
  }

  #number(index: number, column: number): number {
    const chunk = this.chunks[Math.floor(index / CHUNK_ENTRIES)]!
    return chunk[(index % CHUNK_ENTRIES) * ENTRY_NUMBERS + column]!
  }

  /** How many of its frames end at or below a position of the segment. */
  countBelow(end: number): number {
    return firstIndex(this.count, (i) => this.positionOf(i) + this.bytesOf(i) > end)
  }

  /** The frame that contains an offset at or above the base. */
  indexOf(offset: number): number {
    const delta = offset - this.baseOffset
    return firstIndex(this.count, (i) => this.#number(i, 2) > delta) - 1
  }

  /** The first frame stored at or after a time; `count` when there is none. */
  indexOfTime(time: number): number {
    return firstIndex(this.count, (i) => this.timeOf(i) >= time)
  }

  positionOf(index: number): number {
    return this.#number(index, 0)
  }
  bytesOf(index: number): number {
    return this.#number(index, 1)
  }
  offsetOf(index: number): number {
    return this.baseOffset + this.#number(index, 2)
  }
  timeOf(index: number): number {
    return this.baseTime + this.#number(index, 3)
  }
}

/** The part to which a frame for this segment is added; made when there is none. */
export function partOf(queue: StoredQueue, segment: Segment, time: number): QueuePart {
  const part = queue.part
  if (part !== null && part.segment === segment) return part
  const opened = new QueuePart(queue, segment, time)
  queue.part = opened
  segment.parts!.push(opened)
  return opened
}

/** Forgets the parts of a segment: from now on its index file is asked. BEFORE: earlier segments were released. */
export function releaseParts(segment: Segment): void {
  for (const part of segment.parts!) {
    if (part.queue.part === part) part.queue.part = null
    else
      for (let later = part.queue.part; later !== null; later = later.previous)
        if (later.previous === part) later.previous = null
  }
  segment.parts = null
}

/** Binary search: the first index in [0, count) where `holds`, which once true stays true; `count` when nowhere. */
export function firstIndex(count: number, holds: (index: number) => boolean): number {
  let low = 0
  let high = count
  while (low < high) {
    const middle = (low + high) >>> 1
    if (holds(middle)) high = middle
    else low = middle + 1
  }
  return low
}

/** All queues of a store, by topic and id. */
export class Queues {
  readonly #topics = new Map<string, Map<number, StoredQueue>>()

  get(topic: string, queueId: number): StoredQueue {
    let queues = this.#topics.get(topic)
    if (queues === undefined) {
      queues = new Map()
      this.#topics.set(topic, queues)
    }
    let queue = queues.get(queueId)
    if (queue === undefined) {
      queue = new StoredQueue(topic, queueId)
      queues.set(queueId, queue)
    }
    return queue
  }

  find(topic: string, queueId: number): StoredQueue | undefined {
    return this.#topics.get(topic)?.get(queueId)
  }

  of(topic: string): StoredQueue[] {
    return [...(this.#topics.get(topic)?.values() ?? [])]
  }

  topics(): IterableIterator<string> {
    return this.#topics.keys()
  }

  *[Symbol.iterator](): IterableIterator<StoredQueue> {
    for (const queues of this.#topics.values()) yield* queues.values()
  }
}
