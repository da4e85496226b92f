/**
 * Retention: what leaves the log, and when writes are refused.
 *
 * Whole sealed segments leave, the oldest first, NEVER one that not everybody may read yet, nor, because of its age, one
 * that its owner still needs. Above `expireRatio` of the
 * disk in use all expired ones go at once (below it one a check, so that the disk has time for others); above
 * `forceRatio` the oldest go even if unexpired; above `fullRatio` messages are refused while reads go on.
 *
 * RocketMQ: store/DefaultMessageStore.java (CleanCommitLogService), with its ratios.
 */
import type { Outcome } from '../../../transport/failures.ts'
import type { Clock, Disk, Log } from '../../node/world.ts'
import { ask, attempt, must, need } from './asking.ts'
import type { BlockCache } from './block-cache.ts'
import type { CommitLog } from './commit-log.ts'
import type { Queues } from './consume-queue.ts'
import { indexPath, segmentPath } from './layout.ts'
import { raiseMinOffsets } from './recovery.ts'
import type { SealedIndexes } from './sealed-indexes.ts'
import type { Segment } from './segment.ts'
import { readState, type State } from './state.ts'

export type RetentionOptions = {
  /** A segment expires so long after its last frame was stored. */
  readonly retentionMs: number
  readonly checkMs: number
  readonly expireRatio: number
  readonly forceRatio: number
  readonly fullRatio: number
}

export const RETENTION: RetentionOptions = {
  retentionMs: 72 * 3_600_000,
  checkMs: 10_000,
  expireRatio: 0.75,
  forceRatio: 0.85,
  fullRatio: 0.9,
}

export class Retention {
  readonly #world: { readonly clock: Clock; readonly disk: Disk; readonly log: Log }
  readonly #folder: string
  readonly #options: RetentionOptions
  readonly #log: CommitLog
  readonly #queues: Queues
  readonly #cache: BlockCache
  readonly #indexes: SealedIndexes
  /** Hears after every check whether the disk is too full for messages. */
  readonly #checked: (isFull: boolean) => void
  readonly #isNeeded: (queues: State['queues']) => boolean
  #timer: unknown = null
  #checking: Promise<void> | null = null
  #closed = false

  constructor(
    world: { readonly clock: Clock; readonly disk: Disk; readonly log: Log },
    folder: string,
    options: RetentionOptions,
    parts: { log: CommitLog; queues: Queues; cache: BlockCache; indexes: SealedIndexes },
    checked: (isFull: boolean) => void,
    isNeeded: (queues: State['queues']) => boolean = () => false,
  ) {
    this.#world = world
    this.#folder = folder
    this.#options = options
    this.#log = parts.log
    this.#queues = parts.queues
    this.#cache = parts.cache
    this.#indexes = parts.indexes
    this.#checked = checked
    this.#isNeeded = isNeeded
    this.#arm()
  }

  #arm(): void {
    this.#timer = this.#world.clock.setTimeout(() => {
      this.#checking = this.#check().then(() => {
        this.#checking = null
        if (!this.#closed) this.#arm()
      })
    }, this.#options.checkMs)
  }

  async #check(): Promise<void> {
    const outcome = await attempt(() => this.#clean())
    if (!outcome.ok) this.#world.log.warn(`old segments could not be removed: ${outcome.failure.message}`)
  }

  async #clean(): Promise<void> {
    const { expireRatio, forceRatio, fullRatio } = this.#options
    this.#closeIdle()
    for (let removed = 0; !this.#closed; removed++) {
      const used = await this.#usedRatio()
      const oldest = this.#log.segments[0]
      const state = oldest === undefined || this.#closed ? null : await this.#stateAfter(oldest)
      const isDue =
        used >= forceRatio || (this.#isExpired(oldest, state) && (used >= expireRatio || removed === 0))
      if (oldest === undefined || state === null || !isDue || this.#closed) {
        if (!this.#closed) this.#checked(used >= fullRatio)
        return
      }
      await this.#expire(oldest, state, used)
    }
  }

  /** A segment that nobody adds to would otherwise never leave. A replica that follows begins none of its own. */
  #closeIdle(): void {
    const { active, isOwn } = this.#log
    if (active === null || !isOwn || active.bytes === active.stateBytes || this.#log.failure !== null) return
    const now = this.#world.clock.now()
    if (now - active.lastTime > this.#options.retentionMs) this.#log.begin(now)
  }

  async #usedRatio(): Promise<number> {
    const { totalBytes, freeBytes } = await need<{ totalBytes: number; freeBytes: number }>((done) =>
      this.#world.disk.space(this.#folder, done),
    )
    return totalBytes === 0 ? 0 : 1 - freeBytes / totalBytes
  }

  /** The state that the segment after this one begins with; null when this one has to stay. */
  async #stateAfter(segment: Segment): Promise<State | null> {
    const { next } = segment
    // With its parts in memory it is being indexed or not confirmed; and the next one must be on disk to stand alone.
    if (
      segment.parts !== null ||
      next === null ||
      next.start + next.stateBytes > this.#log.writer.storedPosition
    )
      return null
    return must(await readState(this.#world.disk, this.#folder, next.start))
  }

  #isExpired(segment: Segment | undefined, after: State | null): boolean {
    if (segment === undefined || after === null) return false
    if (this.#world.clock.now() - after.lastTime <= this.#options.retentionMs) return false
    return !this.#isNeeded(after.queues)
  }

  async #expire(segment: Segment, after: State, used: number): Promise<void> {
    const { disk, log } = this.#world
    const path = segmentPath(this.#folder, segment.start)
    segment.removed = true
    raiseMinOffsets(this.#queues, after)
    await new Promise<void>((done) => this.#cache.forget(segment, done))
    await new Promise<void>((done) => this.#indexes.forget(segment, done))
    // The log first: an index without a segment is removed at the next start, a gap in the log would stop it.
    await need<void>((done) => disk.remove(path, done))
    this.#log.segments.shift()
    const rest: Outcome<void> = await ask((done) => disk.remove(indexPath(this.#folder, segment.start), done))
    if (!rest.ok) log.warn(rest.failure.message)
    log.info(`${path} has left the log`, { bytes: segment.bytes, diskUsed: `${Math.round(used * 100)} %` })
  }

  close(done: () => void): void {
    this.#closed = true
    this.#world.clock.clearTimeout(this.#timer)
    if (this.#checking === null) done()
    else this.#checking.then(done)
  }
}
