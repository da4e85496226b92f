/**
 * What is appended, on its way to the disk.
 *
 * All that is appended in one turn of the loop goes out in ONE write; while a write is under way the next one gathers.
 * Bytes count as stored AFTER their write, with flush 'sync' AFTER the sync that follows it. A segment's file is made
 * only AFTER the segment before it is synced. After a failed write NOTHING beyond it counts as stored, and what it may
 * have left half-written is cut off before anything else is written. A segment of which a part of its state is written
 * does not count at all: after a crash it would not be there.
 *
 *   writing ──full──▶ cutting ──▶ waiting for room ──▶ writing        any other failure ──▶ broken, for ever
 *
 * RocketMQ: store/CommitLog.java (GroupCommitService, FlushRealTimeService).
 */
import type { Failure, Outcome } from '../../../transport/failures.ts'
import type { Clock, Disk, DiskFile, Log } from '../../node/world.ts'
import { type Checkpoint, CheckpointFile } from './checkpoint.ts'
import type { HotTail } from './hot-tail.ts'
import { segmentPath } from './layout.ts'
import type { Segment } from './segment.ts'

/** Room is asked for again so often while the disk is full. */
const RETRY_MS = 1000

export type WriterOptions = {
  readonly folder: string
  readonly flush: 'sync' | 'async'
  readonly flushIntervalMs: number
}

export type WriterHooks = {
  /** More is stored, or more is synced. */
  stored(endPosition: number): void
  full(isFull: boolean): void
  /** All of a segment is written and synced. */
  sealed(segment: Segment): void
  broken(failure: Failure): void
  /** What the next checkpoint tells beside what is synced. */
  noted(): Pick<Checkpoint, 'confirmed' | 'mayHaveLost'>
}

/** What is to be written. */
type Appended = { readonly hot: HotTail; readonly endPosition: number }

export class LogWriter {
  storedPosition: number
  failure: Failure | null = null
  closed = false

  readonly #clock: Clock
  readonly #disk: Disk
  readonly #log: Log
  readonly #options: WriterOptions
  readonly #hooks: WriterHooks
  readonly #appended: Appended
  readonly #checkpoint: CheckpointFile
  readonly #opened: Checkpoint

  /** Where writes go, and its file once it is open. */
  #target: Segment | null
  #file: DiskFile | null
  #written: number
  #synced: number
  #flush: 'sync' | 'async'
  /** A write, or whatever must end before the next one. */
  #busy = false
  #syncing = false
  #full = false
  #timer: unknown = null
  #retry: unknown = null
  #closing: ((outcome: Outcome<void>) => void) | null = null

  /** BEFORE: all that was appended is synced; `file` is the last segment's. */
  constructor(
    world: { readonly clock: Clock; readonly disk: Disk; readonly log: Log },
    options: WriterOptions,
    hooks: WriterHooks,
    appended: Appended,
    found: {
      readonly target: Segment | null
      readonly file: DiskFile | null
      readonly checkpoint: Checkpoint
    },
  ) {
    this.#clock = world.clock
    this.#disk = world.disk
    this.#log = world.log
    this.#options = options
    this.#hooks = hooks
    this.#appended = appended
    this.#target = found.target
    this.#file = found.file
    this.#opened = found.checkpoint
    this.#checkpoint = new CheckpointFile(world, options.folder, found.checkpoint)
    this.#flush = options.flush
    this.storedPosition = this.#written = this.#synced = appended.endPosition
  }

  /** A segment was begun: it is written when all before it is. */
  begun(segment: Segment): void {
    this.#target ??= segment
  }

  get syncedPosition(): number {
    return this.#counted(this.#synced)
  }

  get flush(): 'sync' | 'async' {
    return this.#flush
  }
  set flush(flush: 'sync' | 'async') {
    this.#flush = flush
    if (!this.closed && !this.#syncBeside()) this.#noteFlush()
  }

  /** Until the disk says otherwise, a restart relies on it that all that is stored is synced. */
  get #isSync(): boolean {
    return this.#flush === 'sync' || this.#checkpoint.flush === 'sync'
  }

  /** How much counts of what is written or synced up to a position. */
  #counted(position: number): number {
    const target = this.#target
    if (target === null || position <= target.start) return position
    const { start, stateBytes } = target
    return stateBytes > 0 && position >= start + stateBytes ? position : start
  }

  /** Writes what there is to write. Whatever ends calls it again. */
  readonly ship = (): void => {
    const target = this.#target
    if (this.#busy || this.#retry !== null || this.failure !== null || target === null)
      return this.#tryToClose()
    if (this.#written === target.end && target.next !== null) this.#turnTo(target, target.next)
    else if (this.#written === this.#appended.endPosition) this.#tryToClose()
    else if (this.#file === null) this.#open(target)
    else this.#write(this.#file, target)
  }

  #write(file: DiskFile, target: Segment): void {
    const from = this.#written
    const to = target.end
    this.#busy = true
    file.write(this.#appended.hot.between(from, to), from - target.start, (outcome) => {
      if (!outcome.ok) return this.#failed(outcome.failure, file, from - target.start)
      // A sync failed meanwhile: nothing counts any more.
      if (this.failure !== null) return this.#rest()
      this.#written = to
      if (!this.#isSync) return this.#stored(to)
      this.#sync(file, (isSynced) => (isSynced ? this.#stored(to) : this.#rest()))
    })
  }

  #rest(): void {
    this.#busy = false
    this.#tryToClose()
  }

  #stored(position: number): void {
    this.#busy = false
    this.storedPosition = Math.max(this.storedPosition, this.#counted(position))
    this.#appended.hot.release(position)
    if (this.#full) {
      this.#full = false
      this.#hooks.full(false)
    }
    this.remind()
    this.#noteFlush()
    this.#hooks.stored(this.storedPosition)
    this.ship()
  }

  /** Syncs what is written. A failed sync is final: the system may have dropped the bytes it could not write. */
  #sync(file: DiskFile, then: (isSynced: boolean) => void): void {
    const position = this.#written
    this.#syncing = true
    file.sync((outcome) => {
      this.#syncing = false
      if (outcome.ok) this.#synced = Math.max(this.#synced, position)
      else this.#break(outcome.failure)
      then(outcome.ok)
    })
  }

  /** Syncs what counts already, while writes go on. False when nothing of that kind is to be done. */
  #syncBeside(): boolean {
    const file = this.#file
    const isDue = this.#synced < this.#written && this.failure === null
    if (this.#flush === 'async' || this.#busy || this.#syncing || file === null || !isDue) return false
    this.#sync(file, (isSynced) => this.#syncedBeside(isSynced))
    return true
  }

  #syncedBeside(isSynced: boolean): void {
    if (isSynced) {
      this.#hooks.stored(this.storedPosition)
      // More may have been written while this one was under way.
      if (!this.#syncBeside()) this.#note(false, () => {})
    }
    this.ship()
  }

  /** A restart is to judge by what counts now: the sooner it is noted, the better. */
  #noteFlush(): void {
    if (this.#flush === this.#checkpoint.flush) return
    if (this.#flush === 'async' || this.syncedPosition >= this.storedPosition) this.#note(false, () => {})
  }

  #open(target: Segment): void {
    this.#busy = true
    this.#disk.open(segmentPath(this.#options.folder, target.start), (outcome) => {
      if (!outcome.ok) return this.#failed(outcome.failure, null, 0)
      this.#busy = false
      this.#file = outcome.value.file
      this.ship()
    })
  }

  /** A segment is written to its end: makes it safe, then goes on with the next. */
  #turnTo(target: Segment, next: Segment): void {
    if (this.#syncing) return
    const file = this.#file!
    this.#busy = true
    const turn = () =>
      file.close(() => {
        this.#busy = false
        this.#file = null
        this.#target = next
        this.#hooks.sealed(target)
        this.ship()
      })
    if (this.#synced === target.end) return turn()
    this.#sync(file, (isSynced) => {
      if (!isSynced) return this.#rest()
      this.#hooks.stored(this.storedPosition)
      turn()
    })
  }

  #failed(failure: Failure, file: DiskFile | null, keep: number): void {
    const giveUp = (final: Failure) => {
      this.#break(final)
      this.#rest()
    }
    if (failure.code !== 'diskFull') return giveUp(failure)
    if (!this.#full) {
      this.#full = true
      this.#log.warn(`${failure.message}: nothing is stored until there is room`)
      this.#hooks.full(true)
    }
    const wait = () => {
      this.#retry = this.#clock.setTimeout(() => this.tryAgain(), RETRY_MS)
      this.#rest()
    }
    if (file === null) return wait()
    // A crash now must find a log that ends with a frame, and what is cut must not be found behind shorter bytes later.
    file.truncate(keep, (outcome) => (outcome.ok ? wait() : giveUp(outcome.failure)))
  }

  /** There may be room again. */
  tryAgain(): void {
    if (this.#retry === null) return
    this.#clock.clearTimeout(this.#retry)
    this.#retry = null
    this.ship()
  }

  #break(failure: Failure): void {
    if (this.failure !== null) return
    this.failure = failure
    this.#log.error(`the log in ${this.#options.folder} is broken: ${failure.message}`)
    this.#hooks.broken(failure)
  }

  /** There is something to be synced or noted in a while. */
  remind(): void {
    if (this.#timer !== null || this.closed) return
    this.#timer = this.#clock.setTimeout(this.#tick, this.#options.flushIntervalMs)
  }

  /** Now and then: syncs what is written, then notes how far. */
  readonly #tick = (): void => {
    this.#timer = null
    const file = this.#file
    if (this.failure !== null || this.closed) return
    if (this.#syncing) return this.remind()
    if (file === null || this.#synced === this.#written) return this.#note(false, () => {})
    this.#sync(file, (isSynced) => this.#syncedBeside(isSynced))
  }

  #note(closed: boolean, done: () => void): void {
    const synced = this.syncedPosition
    const { bootId, base } = this.#opened
    const flush = this.#flush === 'sync' && synced >= this.storedPosition ? 'sync' : 'async'
    this.#checkpoint.write({ synced, bootId, ...this.#hooks.noted(), flush, closed, base }, (isWritten) => {
      if (!isWritten) this.remind()
      done()
      this.#tryToClose()
    })
  }

  close(done: (outcome: Outcome<void>) => void): void {
    this.closed = true
    this.#closing = done
    this.#clock.clearTimeout(this.#timer)
    this.tryAgain()
    this.ship()
  }

  /** Closes when nothing is under way and all is written, or cannot be. */
  #tryToClose(): void {
    const done = this.#closing
    if (done === null || this.#busy || this.#syncing || this.#checkpoint.busy) return
    const unwritten = this.#written < this.#appended.endPosition
    if (unwritten && this.failure === null && this.#retry === null) return
    const failure =
      this.failure ?? (this.#retry !== null && unwritten ? diskFull(this.#options.folder) : null)
    this.#clock.clearTimeout(this.#retry)
    this.#busy = true
    const file = this.#file
    const end = (outcome: Outcome<void>): void => {
      this.#closing = null
      if (file === null) done(outcome)
      else file.close((closed) => done(outcome.ok ? closed : outcome))
    }
    if (failure !== null) return end({ ok: false, failure })
    const note = () => this.#note(true, () => end({ ok: true, value: undefined }))
    if (file === null) return note()
    file.sync((outcome) => {
      if (!outcome.ok) return end(outcome)
      this.#synced = this.#written
      note()
    })
  }
}

const diskFull = (folder: string): Failure => ({
  code: 'diskFull',
  retryable: false,
  message: `the disk of ${folder} is full: what was appended last is not stored`,
})
