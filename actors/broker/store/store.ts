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
import type { Failure, Outcome } from '../../../transport/failures.ts'
import { done } from '../../../transport/failures.ts'
import type { Kind } from '../../../transport/frames.ts'
import type { DiskFile, World } from '../../node/world.ts'
import { ask, attempt, must, need } from './asking.ts'
import { type Checkpoint, readBootId, readCheckpoint, sealedText } from './checkpoint.ts'
import type { StoredQueue } from './consume-queue.ts'
import { finishCut } from './cut.ts'
import { type Identity, readIdentity, writeIdentity } from './identity.ts'
import { checkpointPath, segmentPath } from './layout.ts'
import { OpenedStore } from './opened-store.ts'
import { type Recovered, recover } from './recovery.ts'
import type { RetentionOptions } from './retention.ts'
import type { State } from './state.ts'

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
  /**
   * At start, BEFORE any replay: what `snapshot` gave when the last segment was begun. Not called on an empty log; when
   * that takes over another replica's, then it is.
   */
  restore(derived: Json): void
  /**
   * At start, for every frame after that snapshot, in order; and for every frame that `appendVerbatim` took, AFTER it
   * is appended. `bytes` is the store's: valid during the call only.
   */
  replay(bytes: Buffer, at: number, position: number): void
  /** Called inside an append that begins a segment: the owner's state AFTER all frames appended so far, none beyond. */
  snapshot(): Json
  /**
   * Whether an expired segment has to stay: `queues` are the next offsets at its end, as a state says them. Not asked
   * where the disk is so full that the oldest go whatever they hold.
   */
  isNeeded?(queues: State['queues']): boolean
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

/** The bytes are true ONLY until the turn of the loop ends in which they are given. `end` is the position after them. */
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
  /** What was appended last waits for room on the disk: nothing more is stored until there is some. */
  readonly lacksRoom: boolean
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

/** Opens the store of a folder, or makes one. A failure leaves the folder as it was found, but finishes a cut. */
export const openStore = (
  world: StoreWorld,
  options: StoreOptions,
  hooks: StoreHooks,
): Promise<Outcome<Store>> =>
  attempt(async () => {
    const { disk, log } = world
    const { folder, cluster, broker } = options
    // Looked at BEFORE the lock is taken: not even that is written into a folder that is not ours.
    const known = await readIdentity(disk, folder, cluster, broker)
    const lock = await need<{ release(): void }>((done) => disk.lock(folder, done))
    try {
      await finishCut(world, folder)
      const bootId = await readBootId(disk)
      const before = await readCheckpoint(disk, folder, log)
      const limit = options.replicated === true ? (before?.confirmed ?? 0) : Number.POSITIVE_INFINITY
      // Without a checkpoint nothing is confirmed, and all of the log would have to be read to know the offsets there.
      const readFrom = before === null ? Number.POSITIVE_INFINITY : limit
      const found = await recover({ disk, log, folder }, before, bootId, readFrom, hooks)
      const confirmLimit = Math.min(limit, found.end)
      const checkpoint: Checkpoint = {
        synced: found.end,
        bootId,
        confirmed: confirmLimit,
        mayHaveLost: mayHaveLost(before, known, bootId, found),
        flush: options.flush ?? 'async',
        closed: false,
        base: found.segments[0]?.start ?? found.end,
      }
      const identity =
        known ?? (await writeIdentity(world, folder, cluster, broker, found.segments.length === 0))
      const file = await openLast(world, folder, found, before, checkpoint)
      return new OpenedStore(world, options, hooks, {
        ...found,
        file,
        checkpoint,
        storeId: identity.storeId,
        confirmLimit: options.replicated === true ? confirmLimit : limit,
        release: lock.release,
      })
    } catch (error) {
      lock.release()
      throw error
    }
  })

/** Whether bytes that had counted as stored may be gone. When it cannot be known, they may. */
function mayHaveLost(
  before: Checkpoint | null,
  identity: Identity | null,
  bootId: string | null,
  { segments, end }: Recovered,
): boolean {
  // A checkpoint is written by the first start: it was removed, or is damaged.
  if (before === null) return identity !== null || segments.length > 0
  if (before.mayHaveLost || end < before.confirmed || (identity === null && segments.length > 0)) return true
  if (before.closed || before.flush === 'sync') return false
  return bootId === null || before.bootId !== bootId
}

/** Makes safe what was found: from here on it is known to survive a power cut. */
async function openLast(
  { disk }: StoreWorld,
  folder: string,
  { segments, end }: Recovered,
  before: Checkpoint | null,
  checkpoint: Checkpoint,
): Promise<DiskFile | null> {
  const last = segments.at(-1)
  let file: DiskFile | null = null
  if (last !== undefined) {
    const path = segmentPath(folder, last.start)
    const isSynced = before?.synced === end && before.bootId === checkpoint.bootId
    file = (await need<{ file: DiskFile }>((done) => disk.open(path, done))).file
    const synced = isSynced ? done : await ask<void>(file.sync.bind(file))
    if (!synced.ok) await ask<void>(file.close.bind(file))
    must(synced)
  }
  const bytes = sealedText(checkpoint)
  await need<void>((done) => disk.replaceFile(checkpointPath(folder), bytes, done))
  return file
}
