/**
 * Recovery: from whatever a crash left to a log that ends with a sound frame.
 *
 * Only the last segment is read: what comes before it was synced before it was made. A torn tail is cut, and the cut is
 * synced BEFORE anything is appended, so that what was cut never comes back behind new frames. Damage to anything else
 * stops the start and changes NOTHING on disk: acknowledged messages are NEVER dropped in silence.
 *
 * RocketMQ: store/CommitLog.java (recoverNormally, recoverAbnormally).
 */

import type { EpochStart } from '../../../machines/epoch-starts.ts'
import {
  countAt,
  epochAt,
  type FrameFault,
  frameBytesAt,
  kindAt,
  kinds,
  queueIdAt,
  queueOffsetAt,
  storeTimeAt,
  topicAt,
} from '../../../transport/frames.ts'
import type { Disk, DiskFile, Log } from '../../node/world.ts'
import { must, need, refuse, withFile } from './asking.ts'
import type { Checkpoint } from './checkpoint.ts'
import { partOf, Queues } from './consume-queue.ts'
import { damaged, reasonOf } from './damage.ts'
import { checkpointPath, indexFolder, indexPath, logFolder, segmentPath, startOf } from './layout.ts'
import { startsAt } from './lineage.ts'
import { findSound, scanFile } from './scan.ts'
import { Segment } from './segment.ts'
import { eachQueue, noteAt, readState, type State, StateGatherer } from './state.ts'
import type { StoreHooks } from './store.ts'

export type Recovered = {
  readonly segments: Segment[]
  readonly queues: Queues
  readonly lastEpoch: number
  readonly starts: readonly EpochStart[]
  readonly end: number
  /** Of all segments from here on the parts are in memory. */
  readonly readFrom: number
}

type Place = { readonly disk: Disk; readonly log: Log; readonly folder: string }
type Owner = Pick<StoreHooks, 'restore' | 'replay'>
/** What helps to tell a torn tail from damage. */
type Known = { readonly synced: number; readonly lostPower: boolean }
/** What is to be done about the end of the log, once all of it was judged. */
type Repair = { readonly path: string; readonly keep: number; readonly warning: string }

/**
 * `confirmed`: how far readers may read at first; segments that they may not read to the end are read too, for their
 * parts. Infinity when nobody but this store says what is confirmed. Throws what `attempt` turns into a failure.
 */
export async function recover(
  place: Place,
  checkpoint: Checkpoint | null,
  bootId: string | null,
  confirmed: number,
  owner: Owner,
): Promise<Recovered> {
  const { disk, log, folder } = place
  const segments = await listSegments(place)
  const repairs: Repair[] = []
  const known = {
    synced: checkpoint?.synced ?? 0,
    // After a power cut, later pages may have reached the disk and earlier ones not.
    lostPower: checkpoint?.bootId != null && bootId !== null && checkpoint.bootId !== bootId,
  }
  let found: Reading | null = null
  while (segments.length > 0) {
    const segment = segments.at(-1)!
    found = await readLast(place, segment, known, owner, repairs)
    if (found !== null) break
    segments.pop()
    // That it was begun tells that all before it is synced.
    known.synced = Math.max(known.synced, segment.start)
    const before = segments.at(-1)
    if (before !== undefined) before.next = null
  }
  const end = segments.at(-1)?.end ?? checkpoint?.base ?? 0
  if (checkpoint !== null && end < checkpoint.synced) {
    refuse(
      'malformed',
      `the log in ${folder} ends at position ${end}, but it was synced to ${checkpoint.synced}: ` +
        `bytes that were safe are gone. To start with what is left, remove ${checkpointPath(folder)}`,
    )
  }
  const first = segments.findLastIndex(({ start }) => start <= confirmed)
  const from = Math.max(0, first)
  const again = from < segments.length - 1 ? await readParts(place, segments.slice(from)) : null
  for (const { path, keep, warning } of repairs) {
    log.warn(warning)
    if (keep === 0) await need<void>((done) => disk.remove(path, done))
    else await withFile(disk, path, (file) => cut(file, keep))
  }
  await removeOrphans(place, segments)
  if (found === null) return { segments, queues: new Queues(), lastEpoch: 0, starts: [], end, readFrom: end }
  const queues = again ?? found.queues
  raiseMinOffsets(queues, must(await readState(disk, folder, segments[0]!.start)))
  const { lastEpoch, starts } = found
  return { segments, queues, lastEpoch, starts, end, readFrom: segments[from]!.start }
}

const nobody: Owner = { restore() {}, replay() {} }

/** Reads segments for their parts only. Of the last one, what is to be cut is left out. */
async function readParts({ disk, folder }: Place, segments: readonly Segment[]): Promise<Queues> {
  const queues = new Queues()
  for (const segment of segments) {
    const path = segmentPath(folder, segment.start)
    const { bytes, sealed } = segment
    const reading = new Reading(segment, path, nobody, queues)
    const { end, fault } = await withFile(disk, path, (file) =>
      scanFile(file, bytes, 0, (frames, at, position) => reading.take(frames, at, position)),
    )
    if (fault !== null || end !== bytes) must(damaged(path, end, fault ?? 'short'))
    segment.sealed = sealed
  }
  return queues
}

async function cut(file: DiskFile, keep: number): Promise<void> {
  await need<void>((done) => file.truncate(keep, done))
  await need<void>((done) => file.sync(done))
}

/** The segments by their names. A gap between two of them is damage: a file is missing or was cut. */
export async function listSegments({ disk, folder }: Pick<Place, 'disk' | 'folder'>): Promise<Segment[]> {
  const names = await need<string[]>((done) => disk.list(logFolder(folder), done))
  const starts = names.map((name) => startOf(name, 'log')).filter((start) => start !== null)
  const segments: Segment[] = []
  for (const [i, start] of starts.entries()) {
    const path = segmentPath(folder, start)
    const size = await withFile(disk, path, async (_, size) => size)
    const next = starts[i + 1]
    if (next !== undefined && start + size !== next)
      must(damaged(path, size, `it ends here, the next begins at ${next}`))
    const segment = new Segment(start, size, next !== undefined)
    const before = segments.at(-1)
    if (before !== undefined) before.next = segment
    segments.push(segment)
  }
  return segments
}

/** Reads the last segment; null when nothing in it is sound, and the one before is the last in truth. */
async function readLast(
  { disk, folder }: Place,
  segment: Segment,
  known: Known,
  owner: Owner,
  repairs: Repair[],
): Promise<Reading | null> {
  const path = segmentPath(folder, segment.start)
  return withFile(disk, path, async (file, size) => {
    const reading = new Reading(segment, path, owner)
    const { end, fault } = await scanFile(file, size, 0, (bytes, at, position) =>
      reading.take(bytes, at, position),
    )
    const keep = reading.begun ? end : 0
    if (fault !== null) {
      await judge(file, size, reading, end, fault, known)
      const lost = `${size - keep} bytes are cut from the end of ${path}, at byte ${keep}: ${reasonOf(fault)}`
      repairs.push({ path, keep, warning: `the log has a torn end: ${lost}` })
    } else if (keep === 0) {
      repairs.push({ path, keep, warning: `${path} was begun and holds no whole state yet: it is removed` })
    }
    if (keep === 0) return null
    segment.bytes = keep
    return reading
  })
}

/** Throws when what is not sound at `end` is damage rather than a torn tail. */
async function judge(
  file: DiskFile,
  size: number,
  reading: Reading,
  end: number,
  fault: FrameFault,
  known: Known,
): Promise<void> {
  if (reading.segment.start + end < known.synced) must(damaged(file.path, end, fault))
  // The length is covered by the body's checksum only, so a frame that seems cut short may have a damaged length and
  // whole frames behind it.
  const sound = await findSound(file, size, end + 1, (bytes, at) => reading.mayFollow(bytes, at))
  if (sound !== null && !known.lostPower)
    must(damaged(file.path, end, `${reasonOf(fault)}, and a sound frame follows at byte ${sound}`))
}

/** What a segment says, frame by frame: the queues with their parts, and all else to the owner. */
export class Reading {
  readonly segment: Segment
  readonly queues: Queues
  lastEpoch = 0
  starts: readonly EpochStart[] = []
  /** The state at its beginning was read to its end. */
  begun = false
  readonly #path: string
  readonly #owner: Owner
  readonly #gatherer = new StateGatherer()

  /** With the queues of the segments before it, it goes on with them. */
  constructor(segment: Segment, path: string, owner: Owner, queues = new Queues()) {
    this.segment = segment
    this.queues = queues
    this.#path = path
    this.#owner = owner
    segment.sealed = false
    segment.parts = []
  }

  take(bytes: Buffer, at: number, position: number): boolean {
    const frameBytes = frameBytesAt(bytes, at)
    const epoch = epochAt(bytes, at)
    if (epoch > this.lastEpoch) {
      this.starts = [...this.starts, { epoch, start: this.segment.start + position }]
      this.lastEpoch = epoch
    }
    this.segment.bytes = position + frameBytes
    if (!this.begun) {
      this.#begin(bytes, at, position)
      return true
    }
    const kind = kindAt(bytes, at)
    if (kind === kinds.messages) this.#messages(bytes, at, position, frameBytes)
    else if (kind === kinds.state) dropMessages(this.queues, noteAt(bytes, at).dropped)
    this.segment.lastTime = Math.max(this.segment.lastTime, storeTimeAt(bytes, at))
    this.#owner.replay(bytes, at, this.segment.start + position)
    return true
  }

  #begin(bytes: Buffer, at: number, position: number): void {
    if (!this.#gatherer.take(bytes, at))
      must(damaged(this.#path, position, 'a segment begins with its state, and this is not it'))
    const state = this.#gatherer.state
    if (state === null) return
    this.begun = true
    this.segment.stateBytes = this.segment.bytes
    this.segment.firstTime = storeTimeAt(bytes, at)
    this.segment.lastTime = Math.max(state.lastTime, this.segment.firstTime)
    this.starts = startsAt(state.epochs ?? [], this.lastEpoch, this.segment.start)
    eachQueue(state, (topic, queueId, nextOffset, minOffset) =>
      Object.assign(this.queues.get(topic, queueId), { nextOffset, minOffset }),
    )
    this.#owner.restore(state.derived)
  }

  #messages(bytes: Buffer, at: number, position: number, frameBytes: number): void {
    const queue = this.queues.get(topicAt(bytes, at), queueIdAt(bytes, at))
    const offset = queueOffsetAt(bytes, at)
    if (offset !== queue.nextOffset)
      must(
        damaged(this.#path, position, `offset ${offset} where ${queue.nextOffset} of ${queue.topic} is due`),
      )
    const time = storeTimeAt(bytes, at)
    partOf(queue, this.segment, time).add(position, frameBytes, offset, time)
    queue.nextOffset = offset + countAt(bytes, at)
  }

  /** Whether a sound frame behind bytes that are not can be one of this log, rather than a copy inside a message. */
  mayFollow(bytes: Buffer, at: number): boolean {
    if (epochAt(bytes, at) < this.lastEpoch) return false
    if (kindAt(bytes, at) !== kinds.messages) return true
    const queue = this.queues.find(topicAt(bytes, at), queueIdAt(bytes, at))
    return queue === undefined || queueOffsetAt(bytes, at) >= queue.nextOffset
  }
}

/** The messages of a topic are gone; its offsets go on, so that nobody takes new messages for old ones. */
export function dropMessages(queues: Queues, topic: string): void {
  for (const queue of queues.of(topic)) queue.minOffset = queue.nextOffset
}

/** What stands before the oldest segment is gone. */
export function raiseMinOffsets(queues: Queues, oldest: State): void {
  eachQueue(oldest, (topic, queueId, nextOffset) => {
    const queue = queues.get(topic, queueId)
    queue.minOffset = Math.max(queue.minOffset, nextOffset)
  })
}

/** Indexes whose segment is gone: the crash came between the two removals. */
async function removeOrphans({ disk, folder }: Place, segments: readonly Segment[]): Promise<void> {
  const known = new Set(segments.map(({ start }) => start))
  for (const name of await need<string[]>((done) => disk.list(indexFolder(folder), done))) {
    const start = startOf(name, 'index')
    if (start !== null && !known.has(start))
      await need<void>((done) => disk.remove(indexPath(folder, start), done))
  }
}
