/**
 * The commit log: appends to memory at once, writes to disk by itself.
 *
 * All that is appended in one turn of the loop goes out in ONE write; while a write is under way the next one gathers.
 * Bytes count as stored AFTER their write, with flush 'sync' AFTER the sync that follows it. A segment's file is made
 * only AFTER the segment before it is synced. After a failed write NOTHING beyond it counts as stored, and what it may
 * have left half-written is cut off before anything else is written.
 *
 *   writing ──full──▶ cutting ──▶ waiting for room ──▶ writing        any other failure ──▶ broken, for ever
 *
 * RocketMQ: store/CommitLog.java (GroupCommitService, FlushRealTimeService).
 */
import type { Failure, Outcome } from '../../../transport/failures.ts'
import { countAt, frameBytesAt, frameOf, type Kind, stampFrame } from '../../../transport/frames.ts'
import type { Clock, Disk, DiskFile, Log } from '../../node/world.ts'
import { checkpointBytes } from './checkpoint.ts'
import { partOf, type Queues, type StoredQueue } from './consume-queue.ts'
import { HotTail } from './hot-tail.ts'
import { checkpointPath, segmentPath } from './layout.ts'
import { Segment } from './segment.ts'
import { noteFrame, stateFrames, stateOf } from './state.ts'
import type { StoreHooks } from './store.ts'

/** Room is asked for again so often while the disk is full. */
const RETRY_MS = 1000
/** Times in an index are 32 bits of milliseconds: a segment is closed long before they run over. */
const MOST_SEGMENT_MS = 2 ** 31

export type LogOptions = {
  readonly folder: string
  readonly flush: 'sync' | 'async'
  readonly flushIntervalMs: number
  readonly segmentBytes: number
  readonly hotBytes: number
}

export type LogHooks = Pick<StoreHooks, 'snapshot' | 'broken'> & {
  stored(endPosition: number): void
  full(isFull: boolean): void
  /** All of a segment is written and synced. */
  sealed(segment: Segment): void
}

export class CommitLog {
  epoch: number
  readonly segments: Segment[]
  readonly hot: HotTail
  endPosition: number
  storedPosition: number
  failure: Failure | null = null

  readonly #clock: Clock
  readonly #disk: Disk
  readonly #log: Log
  readonly #options: LogOptions
  readonly #hooks: LogHooks
  readonly #queues: Queues
  readonly #bootId: string | null

  /** Where appends go; null until the first one. */
  #active: Segment | null
  /** Where writes go, and its file once it is open. */
  #target: Segment | null
  #file: DiskFile | null
  #writtenPosition: number
  #syncedPosition: number
  #checkpointed: number
  /** A write, or whatever must end before the next one. */
  #busy = false
  #syncing = false
  #checkpointing = false
  #deferred = false
  #full = false
  #timer: unknown = null
  #retry: unknown = null
  #closed = false
  #closing: ((outcome: Outcome<void>) => void) | null = null

  /** BEFORE: all bytes of the segments are synced; `file` is the last segment's. */
  constructor(
    world: { readonly clock: Clock; readonly disk: Disk; readonly log: Log },
    options: LogOptions,
    hooks: LogHooks,
    found: {
      readonly segments: Segment[]
      readonly queues: Queues
      readonly lastEpoch: number
      readonly file: DiskFile | null
      readonly bootId: string | null
    },
  ) {
    this.#clock = world.clock
    this.#disk = world.disk
    this.#log = world.log
    this.#options = options
    this.#hooks = hooks
    this.#queues = found.queues
    this.#bootId = found.bootId
    this.#file = found.file
    this.segments = found.segments
    this.epoch = found.lastEpoch
    this.hot = new HotTail(options.hotBytes)
    this.#active = this.#target = found.segments.at(-1) ?? null
    const end = this.#active?.end ?? 0
    this.endPosition = this.storedPosition = end
    this.#writtenPosition = this.#syncedPosition = this.#checkpointed = end
  }

  append(queue: StoredQueue, bytes: Buffer, at: number, length: number, time: number): number {
    if (frameBytesAt(bytes, at) !== length) throw new Error(`a frame of another length than ${length}`)
    const segment = this.#segmentFor(length, time)
    const offset = queue.nextOffset
    stampFrame(bytes, at, this.epoch, offset, time)
    partOf(queue, segment, time).add(segment.bytes, length, offset, time)
    queue.nextOffset = offset + countAt(bytes, at)
    this.#take(segment, bytes, at, length, time)
    return offset
  }

  appendControl(kind: Kind, payload: Uint8Array): number {
    return this.#appendOwn(frameOf(kind, payload, this.#clock.now()))
  }

  noteDropped(topic: string): void {
    this.#appendOwn(noteFrame({ dropped: topic }, this.#clock.now()))
  }

  #appendOwn(frame: Buffer): number {
    const time = this.#clock.now()
    const segment = this.#segmentFor(frame.length, time)
    const position = this.endPosition
    stampFrame(frame, 0, this.epoch, 0, time)
    this.#take(segment, frame, 0, frame.length, time)
    return position
  }

  #mustBeOpen(): void {
    if (this.#closed || this.failure !== null) throw new Error('append to a store that is closed or broken')
  }

  #segmentFor(length: number, time: number): Segment {
    this.#mustBeOpen()
    const active = this.#active
    if (active === null) return this.begin(time)
    if (active.bytes + length > this.#options.segmentBytes || time - active.firstTime > MOST_SEGMENT_MS)
      if (active.bytes > active.stateBytes) return this.begin(time)
    return active
  }

  /** Begins a segment. Its first bytes say what all segments before it add up to. */
  begin(time: number): Segment {
    this.#mustBeOpen()
    const before = this.#active
    const segment = new Segment(this.endPosition, 0, false)
    segment.firstTime = time
    segment.lastTime = before?.lastTime ?? 0
    const state = stateOf(this.#queues, segment.lastTime, this.#hooks.snapshot())
    if (before !== null) {
      before.sealed = true
      before.next = segment
    }
    this.segments.push(segment)
    this.#active = segment
    this.#target ??= segment
    for (const frame of stateFrames(state, time)) {
      stampFrame(frame, 0, this.epoch, 0, time)
      this.#take(segment, frame, 0, frame.length, time)
    }
    segment.stateBytes = segment.bytes
    return segment
  }

  #take(segment: Segment, bytes: Buffer, at: number, length: number, time: number): void {
    this.hot.append(bytes, at, length, this.endPosition)
    this.endPosition += length
    segment.bytes += length
    if (time > segment.lastTime) segment.lastTime = time
    if (this.#deferred || this.#busy) return
    this.#deferred = true
    this.#clock.defer(this.#ship)
  }

  /** Writes what there is to write. Whatever ends calls it again. */
  readonly #ship = (): void => {
    this.#deferred = false
    const target = this.#target
    if (this.#busy || this.#retry !== null || this.failure !== null || target === null)
      return this.#tryToClose()
    if (this.#writtenPosition === target.end && target.next !== null) this.#turnTo(target, target.next)
    else if (this.#writtenPosition === this.endPosition) this.#tryToClose()
    else if (this.#file === null) this.#open(target)
    else this.#write(this.#file, target)
  }

  #write(file: DiskFile, target: Segment): void {
    const from = this.#writtenPosition
    const to = target.end
    this.#busy = true
    file.write(this.hot.between(from, to), from - target.start, (outcome) => {
      if (!outcome.ok) return this.#failed(outcome.failure, file, from - target.start)
      // A sync failed meanwhile: nothing counts any more.
      if (this.failure !== null) return this.#rest()
      this.#writtenPosition = to
      if (this.#options.flush === 'async') return this.#stored(to)
      this.#sync(file, (isSynced) => (isSynced ? this.#stored(to) : this.#rest()))
    })
  }

  #rest(): void {
    this.#busy = false
    this.#tryToClose()
  }

  #stored(position: number): void {
    this.#busy = false
    this.storedPosition = position
    this.hot.release(position)
    if (this.#full) {
      this.#full = false
      this.#hooks.full(false)
    }
    this.#armTimer()
    this.#hooks.stored(position)
    this.#ship()
  }

  /** Syncs what is written. A failed sync is final: the system may have dropped the bytes it could not write. */
  #sync(file: DiskFile, then: (isSynced: boolean) => void): void {
    const position = this.#writtenPosition
    this.#syncing = true
    file.sync((outcome) => {
      this.#syncing = false
      if (outcome.ok) this.#syncedPosition = Math.max(this.#syncedPosition, position)
      else this.#break(outcome.failure)
      then(outcome.ok)
    })
  }

  #open(target: Segment): void {
    this.#busy = true
    this.#disk.open(segmentPath(this.#options.folder, target.start), (outcome) => {
      if (!outcome.ok) return this.#failed(outcome.failure, null, 0)
      this.#busy = false
      this.#file = outcome.value.file
      this.#ship()
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
        this.#ship()
      })
    if (this.#syncedPosition === target.end) turn()
    else this.#sync(file, (isSynced) => (isSynced ? turn() : this.#rest()))
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
    this.#ship()
  }

  #break(failure: Failure): void {
    if (this.failure !== null) return
    this.failure = failure
    this.#log.error(`the log in ${this.#options.folder} is broken: ${failure.message}`)
    this.#hooks.broken(failure)
  }

  #armTimer(): void {
    if (this.#timer !== null || this.#closed) return
    this.#timer = this.#clock.setTimeout(this.#tick, this.#options.flushIntervalMs)
  }

  /** Now and then: syncs what is written, then notes how far. */
  readonly #tick = (): void => {
    this.#timer = null
    const file = this.#file
    if (this.failure !== null || this.#closed) return
    if (file === null || this.#syncing) return this.#armTimer()
    if (this.#syncedPosition === this.#writtenPosition) return this.#checkpoint(() => {})
    this.#sync(file, (isSynced) => {
      if (isSynced) this.#checkpoint(() => {})
      this.#ship()
    })
  }

  /** One at a time: two that replace the same file at once would get in each other's way. */
  #checkpoint(done: () => void): void {
    const synced = this.#syncedPosition
    if (synced === this.#checkpointed || this.#checkpointing) return done()
    this.#checkpointed = synced
    this.#checkpointing = true
    const bytes = checkpointBytes({ synced, bootId: this.#bootId })
    this.#disk.replaceFile(checkpointPath(this.#options.folder), bytes, (outcome) => {
      if (!outcome.ok) this.#log.warn(`the checkpoint could not be written: ${outcome.failure.message}`)
      this.#checkpointing = false
      done()
      this.#tryToClose()
    })
  }

  close(done: (outcome: Outcome<void>) => void): void {
    this.#closed = true
    this.#closing = done
    this.#clock.clearTimeout(this.#timer)
    this.tryAgain()
    this.#ship()
  }

  /** Closes when nothing is under way and all is written, or cannot be. */
  #tryToClose(): void {
    const done = this.#closing
    if (done === null || this.#busy || this.#syncing || this.#checkpointing || this.#deferred) return
    const unwritten = this.#writtenPosition < this.endPosition
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
    if (file === null) return end({ ok: true, value: undefined })
    file.sync((outcome) => {
      if (!outcome.ok) return end(outcome)
      this.#syncedPosition = this.#writtenPosition
      this.#checkpoint(() => end(outcome))
    })
  }
}

const diskFull = (folder: string): Failure => ({
  code: 'diskFull',
  retryable: false,
  message: `the disk of ${folder} is full: what was appended last is not stored`,
})
