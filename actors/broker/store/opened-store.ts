/**
 * A store that is open: puts the log, its readers, its indexes and its retention together.
 *
 * Readers NEVER see a byte at or above `confirmPosition`. What it promises is said in store.ts.
 *
 * RocketMQ: store/DefaultMessageStore.java.
 */
import type { EpochStart, Lineage } from '../../../machines/epoch-starts.ts'
import type { Outcome } from '../../../transport/failures.ts'
import type { Kind } from '../../../transport/frames.ts'
import type { DiskFile } from '../../node/world.ts'
import { BlockCache } from './block-cache.ts'
import type { Checkpoint } from './checkpoint.ts'
import { CommitLog } from './commit-log.ts'
import type { Queues, StoredQueue } from './consume-queue.ts'
import { told } from './lineage.ts'
import { LogReader } from './log-reader.ts'
import { OpenFiles } from './open-files.ts'
import { Reader } from './reader.ts'
import { dropMessages, type Recovered } from './recovery.ts'
import { ReplicaAppend } from './replica-append.ts'
import { RETENTION, Retention } from './retention.ts'
import { SealedIndexes, Sealing } from './sealed-indexes.ts'
import type { Bounds, LogBytes, ReadResult, Store, StoreHooks, StoreOptions, StoreWorld } from './store.ts'

export type Opened = Recovered & {
  readonly file: DiskFile | null
  /** As it stands on disk. */
  readonly checkpoint: Checkpoint
  readonly storeId: string
  readonly confirmLimit: number
  readonly release: () => void
}

export class OpenedStore implements Store {
  readonly folder: string
  readonly storeId: string
  mayHaveLost: boolean
  readonly #log: CommitLog
  readonly #queues: Queues
  readonly #files: OpenFiles
  readonly #reader: Reader
  readonly #sealing: Sealing
  readonly #retention: Retention
  readonly #hooks: StoreHooks
  readonly #release: () => void
  readonly #logReader: LogReader
  readonly #replicaAppend: ReplicaAppend
  #confirmLimit: number
  /** The last write found no room; the last check found too little. */
  #noRoom = false
  #littleRoom = false
  #closed = false

  constructor(world: StoreWorld, options: StoreOptions, hooks: StoreHooks, found: Opened) {
    const { folder } = options
    this.folder = folder
    this.storeId = found.storeId
    this.mayHaveLost = found.checkpoint.mayHaveLost
    this.#confirmLimit = found.confirmLimit
    this.#hooks = hooks
    this.#release = found.release
    this.#queues = found.queues
    this.#files = new OpenFiles(world.disk)
    const indexes = new SealedIndexes(world.disk, world.log, folder, this.#files)
    const cache = new BlockCache(folder, this.#files, options.cacheBytes ?? 16 * 1024 * 1024)
    this.#sealing = new Sealing(
      indexes,
      found.queues,
      () => this.confirmPosition,
      ({ message }) => world.log.warn(`an index could not be written: ${message}`),
    )
    this.#log = new CommitLog(
      world,
      {
        folder,
        flush: options.flush ?? 'async',
        flushIntervalMs: options.flushIntervalMs ?? 500,
        segmentBytes: options.segmentBytes ?? 256 * 1024 * 1024,
        hotBytes: options.hotBytes ?? 8 * 1024 * 1024,
      },
      {
        snapshot: () => hooks.snapshot(),
        broken: (failure) => hooks.broken(failure),
        appended: (endPosition) => hooks.appended?.(endPosition),
        noted: () => ({ confirmed: this.confirmPosition, mayHaveLost: this.mayHaveLost }),
        full: (isFull) => this.#heed(isFull, this.#littleRoom),
        sealed: (segment) => this.#sealing.add(segment),
        stored: (endPosition) => {
          this.#sealing.release()
          hooks.stored(endPosition)
        },
      },
      found,
    )
    this.#reader = new Reader(folder, this.#log, cache, indexes, () => this.confirmPosition)
    this.#logReader = new LogReader(folder, this.#log, this.#files)
    this.#replicaAppend = new ReplicaAppend(this.#log, found.queues, hooks)
    for (const segment of found.segments)
      if (segment.sealed && segment.parts !== null) this.#sealing.add(segment)
    const retention = { ...RETENTION, ...options.retention }
    const parts = { log: this.#log, queues: found.queues, cache, indexes }
    const checked = (isFull: boolean) => {
      this.#heed(this.#noRoom, isFull)
      this.#log.writer.tryAgain()
      this.#sealing.write()
    }
    this.#retention = new Retention(
      world,
      folder,
      retention,
      parts,
      checked,
      (queues) => hooks.isNeeded?.(queues) ?? false,
    )
  }

  get epoch(): number {
    return this.#log.epoch
  }
  set epoch(epoch: number) {
    this.#log.epoch = epoch
  }
  get accepting(): boolean {
    return !(this.#noRoom || this.#littleRoom || this.#closed) && this.#log.failure === null
  }
  get lastEpoch(): number {
    return this.#log.lastEpoch
  }
  get epochStarts(): readonly EpochStart[] {
    return told(this.#log.starts, this.#log.minPosition)
  }
  get lineage(): Lineage {
    return { starts: this.epochStarts, end: this.#log.endPosition }
  }
  get minPosition(): number {
    return this.#log.minPosition
  }
  get endPosition(): number {
    return this.#log.endPosition
  }
  get lacksRoom(): boolean {
    return this.#noRoom
  }
  get storedPosition(): number {
    return this.#log.writer.storedPosition
  }
  get syncedPosition(): number {
    return this.#log.writer.syncedPosition
  }
  get endsInState(): boolean {
    return this.#log.endsInState
  }
  get flush(): 'sync' | 'async' {
    return this.#log.writer.flush
  }
  set flush(flush: 'sync' | 'async') {
    this.#log.writer.flush = flush
  }
  get confirmPosition(): number {
    return Math.min(this.#log.writer.storedPosition, this.#confirmLimit)
  }
  get confirmLimit(): number {
    return this.#confirmLimit
  }
  set confirmLimit(position: number) {
    this.#confirmLimit = position
    this.#sealing.release()
    this.#log.writer.remind()
  }

  forgetLoss(): void {
    this.mayHaveLost = false
    this.#log.writer.remind()
  }

  queue(topic: string, queueId: number): StoredQueue {
    return this.#queues.get(topic, queueId)
  }
  queuesOf(topic: string): readonly StoredQueue[] {
    return this.#queues.of(topic)
  }
  append(queue: StoredQueue, bytes: Buffer, at: number, length: number, storeTime: number): number {
    return this.#log.append(queue, bytes, at, length, storeTime)
  }
  appendControl(kind: Exclude<Kind, 0 | 4>, payload: Uint8Array): number {
    return this.#log.appendControl(kind, payload)
  }
  appendVerbatim(bytes: Buffer): Outcome<void> {
    return this.#replicaAppend.append(bytes)
  }
  readLog(position: number, maxBytes: number, done: (outcome: Outcome<LogBytes>) => void): void {
    this.#logReader.read(position, maxBytes, done)
  }
  dropQueues(topic: string): void {
    this.#log.noteDropped(topic)
    dropMessages(this.#queues, topic)
  }
  bounds(queue: StoredQueue): Bounds {
    return this.#reader.bounds(queue)
  }
  read(
    queue: StoredQueue,
    offset: number,
    maxBytes: number,
    done: (outcome: Outcome<ReadResult>) => void,
  ): void {
    this.#reader.read(queue, offset, maxBytes, done)
  }
  offsetByTime(queue: StoredQueue, time: number, done: (outcome: Outcome<number>) => void): void {
    this.#reader.offsetByTime(queue, time, done)
  }

  #heed(noRoom: boolean, littleRoom: boolean): void {
    const before = this.#noRoom || this.#littleRoom
    this.#noRoom = noRoom
    this.#littleRoom = littleRoom
    const now = noRoom || littleRoom
    if (before !== now) this.#hooks.space(now ? 'full' : 'ok')
  }

  close(done: (outcome: Outcome<void>) => void): void {
    if (this.#closed) return done({ ok: true, value: undefined })
    this.#closed = true
    this.#retention.close(() =>
      this.#log.writer.close((outcome) =>
        this.#sealing.close(() =>
          this.#files.close(() => {
            this.#release()
            done(outcome)
          }),
        ),
      ),
    )
  }
}
