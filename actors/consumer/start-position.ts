/** Where reading a queue begins, and who is asked for it: its master, for nobody else knows where a queue ends. */
import type { QueueRef } from '../../machines/topic.ts'
import { ask } from '../../transport/codec.ts'
import { badInput } from '../errors.ts'
import type { Process } from '../node/process.ts'

const ASK_MS = 5_000

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

/** Turns a start position into an offset by asking the broker; null when it does not answer. */
export function findOffset(
  { world, subjects }: Process,
  { topic, brokerName, queueId }: QueueRef,
  epoch: number,
  from: StartPosition,
  found: (offset: number | null) => void,
): void {
  if (typeof from === 'object' && 'offset' in from) return found(from.offset)
  const to = typeof from === 'string' ? from : from.time
  ask(
    world.transport,
    subjects.broker(brokerName, epoch).searchOffset,
    { topic, queueId, to },
    ASK_MS,
    (outcome) => {
      found(
        outcome.ok && outcome.value.code === 0 && 'value' in outcome.value
          ? outcome.value.value.offset
          : null,
      )
    },
  )
}
