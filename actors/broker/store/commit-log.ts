/**
 * The commit log in memory: what is appended is there at once, in its segment and in the index of its queue.
 *
 * A segment BEGINS with the state that all before it add up to; on a replica it begins exactly where it begins on the
 * master, so that all replicas have the same files. Epochs NEVER fall along the log. How it comes to the disk is the
 * writer's (log-writer.ts).
 *
 * RocketMQ: store/CommitLog.java.
 */
import type { EpochStart } from '../../../machines/epoch-starts.ts'
import type { Failure } from '../../../transport/failures.ts'
import { countAt, frameBytesAt, frameOf, type Kind, stampFrame } from '../../../transport/frames.ts'
import type { Clock, Disk, DiskFile, Log } from '../../node/world.ts'
import type { Checkpoint } from './checkpoint.ts'
import { partOf, type Queues, type StoredQueue } from './consume-queue.ts'
import { HotTail } from './hot-tail.ts'
import { retained } from './lineage.ts'
import { LogWriter, type WriterHooks, type WriterOptions } from './log-writer.ts'
import type { Recovered } from './recovery.ts'
import { Segment } from './segment.ts'
import { noteFrame, stateFrames, stateOf } from './state.ts'
import type { StoreHooks } from './store.ts'

/** Times in an index are 32 bits of milliseconds: a segment is closed long before they run over. */
const MOST_SEGMENT_MS = 2 ** 31

export type LogOptions = WriterOptions & { readonly segmentBytes: number; readonly hotBytes: number }
export type LogHooks = WriterHooks &
  Pick<StoreHooks, 'snapshot'> & { readonly appended: (endPosition: number) => void }

export class CommitLog {
  epoch: number
  /** Of the last frame. */
  lastEpoch: number
  starts: readonly EpochStart[]
  /** The last frame was made here, rather than taken over from another log or found at start. */
  isOwn = false
  readonly segments: Segment[]
  readonly hot: HotTail
  readonly writer: LogWriter
  endPosition: number
  /** Where appends go; null until the first one. */
  active: Segment | null
  /** Of all segments from here on the parts were in memory at start. */
  readonly readFrom: number

  readonly #clock: Clock
  readonly #options: LogOptions
  readonly #hooks: LogHooks
  readonly #queues: Queues
  #deferred = false

  /** BEFORE: all bytes of the segments are synced; `file` is the last segment's. */
  constructor(
    world: { readonly clock: Clock; readonly disk: Disk; readonly log: Log },
    options: LogOptions,
    hooks: LogHooks,
    found: Recovered & { readonly file: DiskFile | null; readonly checkpoint: Checkpoint },
  ) {
    this.#clock = world.clock
    this.#options = options
    this.#hooks = hooks
    this.#queues = found.queues
    this.segments = found.segments
    this.starts = found.starts
    this.epoch = this.lastEpoch = found.lastEpoch
    this.readFrom = found.readFrom
    this.hot = new HotTail(options.hotBytes)
    this.active = found.segments.at(-1) ?? null
    this.endPosition = found.end
    const { file, checkpoint } = found
    this.writer = new LogWriter(world, options, hooks, this, { target: this.active, file, checkpoint })
  }

  get minPosition(): number {
    return this.segments.find(({ removed }) => !removed)?.start ?? this.endPosition
  }
  /** Why nothing can be appended; null when it can. */
  get failure(): Failure | null {
    return this.writer.failure
  }
  /** Its last segment has begun, and the state that it begins with is not complete. */
  get endsInState(): boolean {
    return this.active !== null && this.active.stateBytes === 0
  }

  append(queue: StoredQueue, bytes: Buffer, at: number, length: number, time: number): number {
    if (frameBytesAt(bytes, at) !== length) throw new Error(`a frame of another length than ${length}`)
    const segment = this.#segmentFor(length, time)
    const offset = queue.nextOffset
    stampFrame(bytes, at, this.epoch, offset, time)
    partOf(queue, segment, time).add(segment.bytes, length, offset, time)
    queue.nextOffset = offset + countAt(bytes, at)
    this.take(segment, bytes, at, length, time, this.epoch)
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
    this.take(segment, frame, 0, frame.length, time, this.epoch)
    return position
  }

  /** BEFORE a frame of its own. */
  #checkOwn(): void {
    if (this.writer.closed || this.failure !== null)
      throw new Error('append to a store that is closed or broken')
    if (this.epoch < this.lastEpoch) throw new Error(`epoch ${this.epoch} after epoch ${this.lastEpoch}`)
    if (this.endsInState) throw new Error('append to a log that ends inside a state: close it and open it')
    this.isOwn = true
  }

  #segmentFor(length: number, time: number): Segment {
    this.#checkOwn()
    const active = this.active
    if (active === null) return this.begin(time)
    if (active.bytes + length > this.#options.segmentBytes || time - active.firstTime > MOST_SEGMENT_MS)
      if (active.bytes > active.stateBytes) return this.begin(time)
    return active
  }

  /** Begins a segment with the state of this moment. */
  begin(time: number): Segment {
    this.#checkOwn()
    const lastTime = this.active?.lastTime ?? 0
    const epochs = retained(this.starts, this.minPosition)
    const state = stateOf(this.#queues, lastTime, epochs, this.#hooks.snapshot())
    const segment = this.beginSegment(time)
    for (const frame of stateFrames(state, time)) {
      stampFrame(frame, 0, this.epoch, 0, time)
      this.take(segment, frame, 0, frame.length, time, this.epoch)
    }
    segment.stateBytes = segment.bytes
    return segment
  }

  /** Begins a segment; its state is still to come. */
  beginSegment(time: number): Segment {
    const before = this.active
    const segment = new Segment(this.endPosition, 0, false)
    segment.firstTime = time
    segment.lastTime = before?.lastTime ?? 0
    if (before !== null) {
      before.sealed = true
      before.next = segment
    }
    this.segments.push(segment)
    this.active = segment
    this.writer.begun(segment)
    return segment
  }

  /** The bytes of one frame become the end of the log. */
  take(segment: Segment, bytes: Buffer, at: number, length: number, time: number, epoch: number): void {
    if (epoch !== this.lastEpoch) this.#beginEpoch(epoch)
    this.hot.append(bytes, at, length, this.endPosition)
    this.endPosition += length
    segment.bytes += length
    if (time > segment.lastTime) segment.lastTime = time
    if (this.#deferred) return
    this.#deferred = true
    this.#clock.defer(this.#ship)
  }

  #beginEpoch(epoch: number): void {
    this.starts = [...this.starts, { epoch, start: this.endPosition }]
    this.lastEpoch = epoch
  }

  readonly #ship = (): void => {
    this.#deferred = false
    if (!this.writer.closed && this.failure === null) this.#hooks.appended(this.endPosition)
    this.writer.ship()
  }
}
