/**
 * Where reading a queue begins, and who is asked for it.
 *
 * Its master, for nobody else knows where a queue ends: a group that began where a slave says would begin too early for
 * ever. ONLY who reads without a group is told by a slave, while there is no master.
 */
import type { QueueRef } from '../../machines/topic.ts'
import { ask } from '../../transport/codec.ts'
import type { Failure } from '../../transport/failures.ts'
import type { OffsetSearch } from '../../transport/messages.ts'
import type { Subject } from '../../transport/subjects.ts'
import { badInput } from '../errors.ts'
import type { Process } from '../node/process.ts'
import type { World } from '../node/world.ts'

const ASK_MS = 5_000
const REPLICA_MS = 1_000
const PAUSE_MS = 200

/** Where a reader begins: an end of the queue, a time, or an offset. */
export type StartPosition = 'first' | 'last' | { time: number } | { offset: number }

/** Where a user wants to go: in all queues, or in the one that is named. Times are milliseconds since 1970. */
export type SeekPosition =
  | 'first'
  | 'last'
  | { time: Date | number; queue?: QueueRef }
  | { offset: number; queue?: QueueRef }

/** Throws INVALID_PARAMETER for what is no place, such as a negative offset. */
export function positionOf(to: SeekPosition): StartPosition {
  const invalid = (message: string) => badInput(`seek: ${message}`, 'INVALID_PARAMETER')
  if (to === 'first' || to === 'last') return to
  if (typeof to !== 'object' || to === null || !('time' in to || 'offset' in to)) {
    throw invalid("give 'first', 'last', { time } or { offset }")
  }
  if ('time' in to) {
    const time = to.time instanceof Date ? to.time.getTime() : to.time
    if (!Number.isFinite(time) || time < 0) throw invalid('the time is no date')
    return { time }
  }
  if (!Number.isSafeInteger(to.offset) || to.offset < 0) {
    throw invalid(`offset ${to.offset}: give a whole number from 0 on`)
  }
  return { offset: to.offset }
}

type Answered = (offset: number | null, failure: Failure['code'] | null) => void

function askFor(
  { transport }: Pick<World, 'transport'>,
  subject: Subject<OffsetSearch, { offset: number }>,
  request: OffsetSearch,
  timeoutMs: number,
  answered: Answered,
): void {
  ask(transport, subject, request, timeoutMs, (outcome) => {
    if (!outcome.ok) answered(null, outcome.failure.code)
    else answered('value' in outcome.value ? outcome.value.value.offset : null, null)
  })
}

const searchOf = ({ topic, queueId }: QueueRef, from: 'first' | 'last' | { time: number }): OffsetSearch => ({
  topic,
  queueId,
  to: typeof from === 'string' ? from : from.time,
})

/** Turns a start position into an offset by asking the master; null when it does not answer. */
export function findOffset(
  { world, subjects }: Process,
  ref: QueueRef,
  epoch: number,
  from: StartPosition,
  found: (offset: number | null) => void,
): void {
  if (typeof from === 'object' && 'offset' in from) return found(from.offset)
  const { searchOffset } = subjects.broker(ref.brokerName, epoch)
  askFor(world, searchOffset, searchOf(ref, from), ASK_MS, (offset) => found(offset))
}

export type Found = {
  offset: number
  /** Told by a slave: the next master may know of more. */
  isShort: boolean
}

export type ReplicaSearch = {
  /** The mastership to ask, 0 when none is known. */
  epoch(): number
  /** The broker does not answer under this epoch. */
  unreachable(epoch: number): void
  /** Nobody waits for it any more. */
  isOver(): boolean
}

/**
 * The same by what is confirmed, for those who disturb nobody: while there is no master, a slave answers. Asked again for
 * a while: a master is elected meanwhile, or a slave finds out that there is none. Null when nobody answers.
 */
export function findConfirmed(
  { world, subjects }: Process,
  ref: QueueRef,
  search: ReplicaSearch,
  from: StartPosition,
  found: (found: Found | null) => void,
): void {
  if (typeof from === 'object' && 'offset' in from) return found({ offset: from.offset, isShort: false })
  const { clock } = world
  const request = searchOf(ref, from)
  const until = clock.monotonic() + ASK_MS

  const askMaster = (): void => {
    const epoch = search.epoch()
    if (epoch === 0) return askReplicas()
    const { searchOffset } = subjects.broker(ref.brokerName, epoch)
    askFor(world, searchOffset, request, ASK_MS, (offset, failure) => {
      if (offset !== null) return found({ offset, isShort: false })
      if (failure !== 'noResponders' && failure !== 'timedOut') return found(null)
      search.unreachable(epoch)
      askReplicas()
    })
  }
  const askReplicas = (): void => {
    const { searchOffset } = subjects.replicas(ref.brokerName)
    askFor(world, searchOffset, request, REPLICA_MS, (offset, failure) => {
      if (offset !== null) return found({ offset, isShort: true })
      if (failure === 'closed' || search.isOver() || clock.monotonic() >= until) return found(null)
      clock.setTimeout(askMaster, PAUSE_MS)
    })
  }
  askMaster()
}
