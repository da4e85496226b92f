/**
 * The store: one commit log for all queues of a broker, and what is derived from it.
 *
 * THE LOG IS THE ONLY TRUTH. Queue indexes, checkpoint and the owner's control state are derived from it and may be
 * deleted while the store is stopped. Readers NEVER see a byte at or above `confirmPosition`.
 *
 * RocketMQ: store/DefaultMessageStore.java.
 */
import type { Json } from '../../../machines/effect.ts'
import type { EpochStart, Lineage } from '../../../machines/epoch-starts.ts'
import { done, type Failure, type Outcome } from '../../../transport/failures.ts'
import type { Kind } from '../../../transport/frames.ts'
import type { DiskFile, World } from '../../node/world.ts'
import { ask, attempt, must, need } from './asking.ts'
import { BlockCache } from './block-cache.ts'
import { type Checkpoint, checkpointBytes, readBootId, readCheckpoint } from './checkpoint.ts'
import { CommitLog } from './commit-log.ts'
import type { Queues, StoredQueue } from './consume-queue.ts'
import { type Identity, readIdentity, writeIdentity } from './identity.ts'
import { checkpointPath, segmentPath } from './layout.ts'
import { OpenFiles } from './open-files.ts'
import { Reader } from './reader.ts'
import { dropMessages, type Recovered, recover } from './recovery.ts'
import { RETENTION, Retention, type RetentionOptions } from './retention.ts'
import { SealedIndexes, Sealing } from './sealed-indexes.ts'

export type { StoredQueue } from './consume-queue.ts'
export type { RetentionOptions } from './retention.ts'

export type StoreWorld = Pick<World, 'clock' | 'random' | 'disk' | 'log'>

export type StoreOptions = {
  readonly folder: string
  /** Kept in `statemq.json`: a folder of another broker is refused. */
  readonly cluster: string
  readonly broker: string
  /** 'sync': bytes count as stored AFTER fdatasync (group commit). 'async': after the write. */
  readonly flush?: 'sync' | 'async'
  readonly flushIntervalMs?: number
  readonly segmentBytes?: number
  /** Of the newest bytes, so many are served from memory. */
  readonly hotBytes?: number
  /** Blocks of older bytes kept in memory, for all queues together. */
  readonly cacheBytes?: number
  /** Others say what is confirmed: after a restart readers see ONLY what was known to be, until `confirmLimit` rises. */
  readonly replicated?: boolean
  readonly retention?: Partial<RetentionOptions>
}

/** What the owner (the broker) contributes and hears. */
export type StoreHooks = {
  /** At start, BEFORE any replay: what `snapshot` gave when the last segment was begun. Not called on an empty log. */
  restore(derived: Json): void
  /**
   * At start, for every frame after that snapshot, in order; and for every frame that `appendVerbatim` took, AFTER it
   * is appended. `bytes` is the store's: valid during the call only.
   */
  replay(bytes: Buffer, at: number, position: number): void
  /** Called inside an append that begins a segment: the owner's state AFTER all frames appended so far, none beyond. */
  snapshot(): Json
  /** Once for each turn of the loop in which something was appended, BEFORE it is written: to send it elsewhere. */
  appended?(endPosition: number): void
  /**
   * Once for each write: all bytes below `endPosition` are stored on this disk. Also, with the same position again, when
   * only `syncedPosition` has risen.
   */
  stored(endPosition: number): void
  /** 'full': writes of messages are to be refused; reads go on. Called on changes only. */
  space(state: 'ok' | 'full'): void
  /** The disk failed: nothing appended after the last `stored` is or will be acknowledged. Close and start again. */
  broken(failure: Failure): void
}

export type ReadStatus = 'found' | 'atEnd' | 'belowMin' | 'aboveMax'
export type ReadResult = {
  /** 'found': at least one frame. 'atEnd': `offset` is the next one to come. Otherwise nothing was read. */
  readonly status: ReadStatus
  /** Whole frames in order, each a view; the first contains the offset asked for. They stay valid for ever. */
  readonly frames: readonly Buffer[]
  /** Where to go on: after the last frame; for 'belowMin' the min offset, for 'aboveMax' the max offset. */
  readonly nextOffset: number
  readonly minOffset: number
  readonly maxOffset: number
}

/** The bytes stay valid for ever. `end` is the position after them. */
export type LogBytes = { readonly bytes: Buffer; readonly end: number }

export type Bounds = { readonly minOffset: number; readonly maxOffset: number }

export interface Store {
  readonly folder: string
  readonly storeId: string
  /** Stamped into every frame. The owner sets it when it becomes master. Starts as `lastEpoch`. */
  epoch: number
  /** The epoch of the log's last frame; 0 when there is none. */
  readonly lastEpoch: number
  /** Where the epochs begin that the log holds frames of. The first one may have begun before `minPosition`. */
  readonly epochStarts: readonly EpochStart[]
  /** The same, with the end of the log: to be compared with another replica's. */
  readonly lineage: Lineage
  /**
   * Since the last `forgetLoss`, a restart may have lost bytes that had counted as stored. Said again at every start
   * until it is forgotten: a crash BEFORE the owner has noted it must not hide it.
   */
  readonly mayHaveLost: boolean
  /** To be called AFTER the owner has noted, on disk, that something may be lost. */
  forgetLoss(): void
  /** False while the disk is full, and for ever when the store is broken or closed. BEFORE a message append, ask. */
  readonly accepting: boolean
  /** The first byte kept, the end of what was appended, and the end of what this disk has. */
  readonly minPosition: number
  readonly endPosition: number
  readonly storedPosition: number
  /** The end of what survives a power cut. */
  readonly syncedPosition: number
  /** As the option; may be set at any time. 'sync' syncs at once what is not; it takes back NOTHING that was stored. */
  flush: 'sync' | 'async'
  /**
   * The log ends inside the state that begins a segment: the rest of it was not received. Such an end is never stored,
   * and NOTHING of one's own may be appended: close and open, and it is gone.
   */
  readonly endsInState: boolean
  /** The end of what readers may see: the smaller of `storedPosition` and `confirmLimit`. */
  readonly confirmPosition: number
  /** The replication's say: Infinity when there is none. It only rises while the store is open. */
  confirmLimit: number

  /** The handle of a queue; made when unknown. Keep it: the hot path takes handles, not names. */
  queue(topic: string, queueId: number): StoredQueue
  /** The queues of a topic, those of a deleted topic too. */
  queuesOf(topic: string): readonly StoredQueue[]
  /** Stamps the messages frame at `bytes[at … at + length]` and appends it; returns the queue offset of its first message. */
  append(queue: StoredQueue, bytes: Buffer, at: number, length: number, storeTime: number): number
  /** Appends a frame of the log's own kinds; returns its position in the log. Apply it AFTER this returns. */
  appendControl(kind: Exclude<Kind, 0 | 4>, payload: Uint8Array): number
  /**
   * Appends frames that another replica's log holds at exactly `endPosition`, unchanged: whole, sound and stamped. A
   * segment begins where it begins there. A failure is told BEFORE anything is appended. On an empty log the first
   * complete state is restored.
   */
  appendVerbatim(bytes: Buffer): Outcome<void>
  /**
   * Whole frames from a position, which is where a frame begins: up to `maxBytes` but at least one, fewer where memory,
   * disk or a segment ends; none at the end of the log. Frames that are not stored yet too, and beyond what is
   * confirmed. Calls back BEFORE it returns when all is in memory. Failure 'missing': the log does not hold that
   * position, or no longer.
   */
  readLog(position: number, maxBytes: number, done: (outcome: Outcome<LogBytes>) => void): void
  /** The topic's messages are gone at once, its offsets are never used again. Survives restarts. */
  dropQueues(topic: string): void

  bounds(queue: StoredQueue): Bounds
  /** Up to `maxBytes` but at least one frame. Calls back BEFORE it returns when all is in memory. */
  read(
    queue: StoredQueue,
    offset: number,
    maxBytes: number,
    done: (outcome: Outcome<ReadResult>) => void,
  ): void
  /** The first offset whose frame was stored at or after `time`; the max offset when there is none. */
  offsetByTime(queue: StoredQueue, time: number, done: (outcome: Outcome<number>) => void): void
  /** Stores what was appended, syncs, writes the checkpoint and lets go of the folder. */
  close(done: (outcome: Outcome<void>) => void): void
}

/** Opens the store of a folder, or makes one. A failure leaves the folder as it was found. */
export const openStore = (
  world: StoreWorld,
  options: StoreOptions,
  hooks: StoreHooks,
): Promise<Outcome<Store>> =>
  attempt(async () => {
    const { disk, log } = world
    const { folder, cluster, broker } = options
    // Looked at BEFORE the lock is taken: not even that is written into a folder that is not ours.
    let identity = await readIdentity(disk, folder, cluster, broker)
    const lock = await need<{ release(): void }>((done) => disk.lock(folder, done))
    try {
      const bootId = await readBootId(disk)
      const checkpoint = await readCheckpoint(disk, folder, log)
      const found = await recover({ disk, log, folder }, checkpoint, bootId, hooks)
      identity ??= await writeIdentity(world, folder, cluster, broker, found.segments.length === 0)
      const file = await openLast(world, folder, found, checkpoint, bootId)
      return new OpenedStore(world, options, hooks, {
        ...found,
        file,
        bootId,
        identity,
        release: lock.release,
      })
    } catch (error) {
      lock.release()
      throw error
    }
  })

/** Makes safe what was found: from here on it is known to survive a power cut. */
async function openLast(
  { disk }: StoreWorld,
  folder: string,
  { segments }: Recovered,
  checkpoint: Checkpoint | null,
  bootId: string | null,
): Promise<DiskFile | null> {
  const last = segments.at(-1)
  const end = last?.end ?? 0
  const isKnown = checkpoint?.synced === end && checkpoint.bootId === bootId
  let file: DiskFile | null = null
  if (last !== undefined) {
    const path = segmentPath(folder, last.start)
    file = (await need<{ file: DiskFile }>((done) => disk.open(path, done))).file
    const synced = isKnown ? done : await ask<void>(file.sync.bind(file))
    if (!synced.ok) await ask<void>(file.close.bind(file))
    must(synced)
  }
  if (isKnown) return file
  const bytes = checkpointBytes({ synced: end, bootId })
  await need<void>((done) => disk.replaceFile(checkpointPath(folder), bytes, done))
  return file
}

type Opened = Recovered & {
  readonly file: DiskFile | null
  readonly bootId: string | null
  readonly identity: Identity
  readonly release: () => void
}

class OpenedStore implements Store {
  readonly folder: string
  readonly storeId: string
  readonly lastEpoch: number
  readonly #log: CommitLog
  readonly #queues: Queues
  readonly #files: OpenFiles
  readonly #reader: Reader
  readonly #sealing: Sealing
  readonly #retention: Retention
  readonly #hooks: StoreHooks
  readonly #release: () => void
  #confirmLimit = Number.POSITIVE_INFINITY
  /** The last write found no room; the last check found too little. */
  #noRoom = false
  #littleRoom = false
  #closed = false

  constructor(world: StoreWorld, options: StoreOptions, hooks: StoreHooks, found: Opened) {
    const { folder } = options
    this.folder = folder
    this.storeId = found.identity.storeId
    this.lastEpoch = found.lastEpoch
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
    const retention = { ...RETENTION, ...options.retention }
    const parts = { log: this.#log, queues: found.queues, cache, indexes }
    this.#retention = new Retention(world, folder, retention, parts, (isFull) => {
      this.#heed(this.#noRoom, isFull)
      this.#log.tryAgain()
      this.#sealing.write()
    })
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
  get minPosition(): number {
    return this.#log.segments.find(({ removed }) => !removed)?.start ?? 0
  }
  get endPosition(): number {
    return this.#log.endPosition
  }
  get storedPosition(): number {
    return this.#log.storedPosition
  }
  get confirmPosition(): number {
    return Math.min(this.#log.storedPosition, this.#confirmLimit)
  }
  get confirmLimit(): number {
    return this.#confirmLimit
  }
  set confirmLimit(position: number) {
    this.#confirmLimit = position
    this.#sealing.release()
  }

  readonly epochStarts: readonly EpochStart[] = []
  readonly mayHaveLost = false
  readonly endsInState = false
  flush: 'sync' | 'async' = 'async'
  get lineage(): Lineage {
    return { starts: this.epochStarts, end: this.endPosition }
  }
  get syncedPosition(): number {
    throw new Error('not there yet')
  }
  forgetLoss(): void {
    throw new Error('not there yet')
  }
  appendVerbatim(_bytes: Buffer): Outcome<void> {
    throw new Error('not there yet')
  }
  readLog(_position: number, _maxBytes: number, _done: (outcome: Outcome<LogBytes>) => void): void {
    throw new Error('not there yet')
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
      this.#log.close((outcome) =>
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
