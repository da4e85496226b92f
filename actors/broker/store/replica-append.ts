/**
 * Taking over frames that another replica's log holds, byte for byte.
 *
 * All of them are looked at BEFORE the first one is appended: frames that do not follow change nothing. What they mean
 * takes effect by the functions that a restart uses. A segment begins where the master's does, with the master's state;
 * only on an EMPTY log is that state restored: everywhere else the replica's own has come to the same.
 *
 * RocketMQ: store/CommitLog.java (appendData), store/ha/DefaultHAClient.java.
 */
import { done, fail, type Outcome } from '../../../transport/failures.ts'
import {
  countAt,
  epochAt,
  FRAME_HEAD_BYTES,
  frameBytesAt,
  kindAt,
  kinds,
  queueIdAt,
  queueOffsetAt,
  sequenceAt,
  storeTimeAt,
  topicAt,
} from '../../../transport/frames.ts'
import type { CommitLog } from './commit-log.ts'
import { partOf, type Queues, type StoredQueue } from './consume-queue.ts'
import { startsAt } from './lineage.ts'
import { dropMessages, raiseMinOffsets } from './recovery.ts'
import type { Segment } from './segment.ts'
import { eachQueue, noteAt, type State, StateGatherer } from './state.ts'
import type { StoreHooks } from './store.ts'

export class ReplicaAppend {
  readonly #log: CommitLog
  readonly #queues: Queues
  readonly #owner: Pick<StoreHooks, 'restore' | 'replay'>
  /** Of the state that is being received: how many parts it has, and which one is due. No state: 0 parts. */
  #parts = 0
  #due = 0
  /** Puts the first state of an empty log together; null when the log has one. */
  #first: StateGatherer | null
  /** The queues whose next offset was changed to look ahead, and what it was before. */
  readonly #touched: StoredQueue[] = []
  readonly #before: number[] = []

  constructor(log: CommitLog, queues: Queues, owner: Pick<StoreHooks, 'restore' | 'replay'>) {
    this.#log = log
    this.#queues = queues
    this.#owner = owner
    this.#first = new StateGatherer()
  }

  /** See Store.appendVerbatim. */
  append(bytes: Buffer): Outcome<void> {
    const { failure, writer, endPosition } = this.#log
    if (failure !== null) return { ok: false, failure }
    if (writer.closed) return fail('closed', 'the store is closed')
    // Whatever made its first segment, it has a state then.
    if (this.#log.segments.length > 0 && this.#parts === 0) this.#first = null
    const fault = this.#faultIn(bytes)
    for (let i = this.#touched.length - 1; i >= 0; i--) this.#touched[i]!.nextOffset = this.#before[i]!
    this.#touched.length = 0
    this.#before.length = 0
    if (fault !== null) return fail('malformed', `frames do not follow position ${endPosition}: ${fault}`)
    this.#log.isOwn = false
    for (let at = 0; at < bytes.length; at += frameBytesAt(bytes, at)) this.#take(bytes, at)
    return done
  }

  /** Why the frames cannot be appended; null when they can. */
  #faultIn(bytes: Buffer): string | null {
    let epoch = this.#log.lastEpoch
    let parts = this.#parts
    let due = this.#due
    const first = this.#first?.copy() ?? null
    for (let at = 0; at < bytes.length; at += frameBytesAt(bytes, at)) {
      const fault = lengthFault(bytes, at)
      if (fault !== null) return fault
      if (epochAt(bytes, at) < epoch) return `a frame of epoch ${epochAt(bytes, at)} after epoch ${epoch}`
      epoch = epochAt(bytes, at)
      const kind = kindAt(bytes, at)
      const count = countAt(bytes, at)
      const isState = kind === kinds.state && count > 0
      if (parts > 0 || isState) {
        if (parts === 0) parts = count
        if (!isState || count !== parts || sequenceAt(bytes, at) !== due)
          return `part ${due} of the ${parts} of a state is due`
        first?.take(bytes, at)
        due++
        if (due < parts) continue
        parts = due = 0
        if (first?.state != null)
          eachQueue(first.state, (topic, queueId, next) =>
            this.#lookAhead(this.#queues.get(topic, queueId), next),
          )
      } else if (first !== null && first.state === null) return 'a log begins with a state, and this is none'
      else if (kind === kinds.messages) {
        const queue = this.#queues.get(topicAt(bytes, at), queueIdAt(bytes, at))
        const offset = queueOffsetAt(bytes, at)
        if (offset !== queue.nextOffset)
          return `offset ${offset} where ${queue.nextOffset} of queue ${queue.queueId} of ${queue.topic} is due`
        this.#lookAhead(queue, offset + count)
      }
    }
    return null
  }

  #lookAhead(queue: StoredQueue, nextOffset: number): void {
    this.#touched.push(queue)
    this.#before.push(queue.nextOffset)
    queue.nextOffset = nextOffset
  }

  #take(bytes: Buffer, at: number): void {
    const log = this.#log
    const length = frameBytesAt(bytes, at)
    const time = storeTimeAt(bytes, at)
    const epoch = epochAt(bytes, at)
    const kind = kindAt(bytes, at)
    if (epoch > log.epoch) log.epoch = epoch
    if (kind === kinds.state && countAt(bytes, at) > 0) return this.#takeState(bytes, at, length, time, epoch)
    const segment = log.active!
    const position = log.endPosition
    if (kind === kinds.messages) {
      const queue = this.#queues.get(topicAt(bytes, at), queueIdAt(bytes, at))
      const offset = queueOffsetAt(bytes, at)
      partOf(queue, segment, time).add(segment.bytes, length, offset, time)
      queue.nextOffset = offset + countAt(bytes, at)
    }
    log.take(segment, bytes, at, length, time, epoch)
    if (kind === kinds.state) dropMessages(this.#queues, noteAt(bytes, at).dropped)
    this.#owner.replay(bytes, at, position)
  }

  #takeState(bytes: Buffer, at: number, length: number, time: number, epoch: number): void {
    const log = this.#log
    const segment = this.#parts === 0 ? log.beginSegment(time) : log.active!
    this.#parts = countAt(bytes, at)
    this.#due++
    log.take(segment, bytes, at, length, time, epoch)
    this.#first?.take(bytes, at)
    if (this.#due < this.#parts) return
    this.#parts = this.#due = 0
    segment.stateBytes = segment.bytes
    const state = this.#first?.state ?? null
    this.#first = null
    if (state !== null) this.#restore(segment, state, epoch)
  }

  #restore(segment: Segment, state: State, epoch: number): void {
    eachQueue(state, (topic, queueId, nextOffset, minOffset) =>
      Object.assign(this.#queues.get(topic, queueId), { nextOffset, minOffset }),
    )
    raiseMinOffsets(this.#queues, state)
    segment.lastTime = Math.max(segment.lastTime, state.lastTime)
    this.#log.starts = startsAt(state.epochs ?? [], epoch, segment.start)
    this.#owner.restore(state.derived)
  }
}

function lengthFault(bytes: Buffer, at: number): string | null {
  if (bytes.length - at < FRAME_HEAD_BYTES) return 'they end inside a frame'
  const length = frameBytesAt(bytes, at)
  if (length < FRAME_HEAD_BYTES) return 'a frame has an impossible length'
  return length > bytes.length - at ? 'they end inside a frame' : null
}
