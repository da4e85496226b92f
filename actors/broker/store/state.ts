/**
 * State frames: how old segments can be dropped without losing what they said.
 *
 * Every segment BEGINS with the state that all segments before it add up to: the next and the first offset of every queue,
 * and what the owner derived. One state may be larger than a frame, so it is split: `sequence` of `count` in the heads.
 * A state frame further inside a segment is a note of the store itself: a topic's messages were dropped.
 */
import type { Json } from '../../../machines/effect.ts'
import type { EpochStart } from '../../../machines/epoch-starts.ts'
import { type Outcome, succeed } from '../../../transport/failures.ts'
import {
  countAt,
  FRAME_HEAD_BYTES,
  frameBytesAt,
  kindAt,
  kinds,
  MAX_FRAME_BYTES,
  sealFrame,
  sequenceAt,
} from '../../../transport/frames.ts'
import type { Disk } from '../../node/world.ts'
import type { Queues } from './consume-queue.ts'
import { damaged } from './damage.ts'
import { segmentPath } from './layout.ts'
import { scanFrames } from './scan.ts'

export type State = {
  /** By topic: queue id, next offset, min offset, and again. */
  readonly queues: Readonly<Record<string, readonly number[]>>
  /** Store time of the last frame before this segment. */
  readonly lastTime: number
  /** Where the epochs begin that the log held frames of. Segments of early stores do not say it. */
  readonly epochs?: readonly EpochStart[]
  readonly derived: Json
}

/** What the store notes for itself inside a segment. */
export type Note = { readonly dropped: string }

export function stateOf(
  queues: Queues,
  lastTime: number,
  epochs: readonly EpochStart[],
  derived: Json,
): State {
  const topics: Record<string, number[]> = {}
  for (const topic of queues.topics())
    topics[topic] = queues
      .of(topic)
      .flatMap(({ queueId, nextOffset, minOffset }) => [queueId, nextOffset, minOffset])
  return { queues: topics, lastTime, epochs, derived }
}

export function eachQueue(
  state: State,
  hear: (topic: string, queueId: number, nextOffset: number, minOffset: number) => void,
): void {
  for (const [topic, numbers] of Object.entries(state.queues))
    for (let i = 0; i + 2 < numbers.length; i += 3) hear(topic, numbers[i]!, numbers[i + 1]!, numbers[i + 2]!)
}

export const noteFrame = (note: Note, bornTime: number): Buffer =>
  stateFrame(Buffer.from(JSON.stringify(note)), 0, 0, bornTime)

export function stateFrames(state: State, bornTime: number, maxBytes = MAX_FRAME_BYTES): Buffer[] {
  const payload = Buffer.from(JSON.stringify(state))
  const partBytes = maxBytes - FRAME_HEAD_BYTES
  const count = Math.ceil(payload.length / partBytes)
  return Array.from({ length: count }, (_, i) =>
    stateFrame(payload.subarray(i * partBytes, (i + 1) * partBytes), i, count, bornTime),
  )
}

function stateFrame(payload: Buffer, sequence: number, count: number, bornTime: number): Buffer {
  const bytes = Buffer.allocUnsafe(FRAME_HEAD_BYTES + payload.length)
  payload.copy(bytes, FRAME_HEAD_BYTES)
  sealFrame(bytes, 0, bytes.length, {
    kind: kinds.state,
    bornTime,
    producerId: 0,
    sequence,
    queueId: 0,
    count,
    topicBytes: 0,
  })
  return bytes
}

/** The note in a state frame that stands inside a segment. */
export function noteAt(bytes: Buffer, at: number): Note {
  return JSON.parse(bytes.toString('utf8', at + FRAME_HEAD_BYTES, at + frameBytesAt(bytes, at)))
}

/** Puts a state together, part by part. */
export class StateGatherer {
  #parts: Buffer[] = []
  state: State | null = null

  /** One that has heard the same. */
  copy(): StateGatherer {
    const copy = new StateGatherer()
    copy.#parts = [...this.#parts]
    return copy
  }

  /** False when the frame is not the part that is due. */
  take(bytes: Buffer, at: number): boolean {
    const count = countAt(bytes, at)
    if (kindAt(bytes, at) !== kinds.state || count === 0 || sequenceAt(bytes, at) !== this.#parts.length)
      return false
    this.#parts.push(Buffer.from(bytes.subarray(at + FRAME_HEAD_BYTES, at + frameBytesAt(bytes, at))))
    if (this.#parts.length < count) return true
    this.state = JSON.parse(Buffer.concat(this.#parts).toString('utf8'))
    this.#parts = []
    return true
  }
}

/** The state that a segment begins with. */
export async function readState(disk: Disk, folder: string, start: number): Promise<Outcome<State>> {
  const path = segmentPath(folder, start)
  const gatherer = new StateGatherer()
  const scanned = await scanFrames(
    disk,
    path,
    0,
    (bytes, at) => gatherer.take(bytes, at) && gatherer.state === null,
  )
  if (!scanned.ok) return scanned
  return gatherer.state === null
    ? damaged(path, scanned.value.end, scanned.value.fault ?? 'no state')
    : succeed(gatherer.state)
}
