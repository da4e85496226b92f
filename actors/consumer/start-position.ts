/** Where reading a queue begins, and who is asked for it: its master, for nobody else knows where a queue ends. */
import type { QueueRef } from '../../machines/topic.ts'
import { ask } from '../../transport/codec.ts'
import type { Process } from '../node/process.ts'

const ASK_MS = 5_000

/** Where a reader begins: an end of the queue, a time, or an offset. */
export type StartPosition = 'first' | 'last' | { time: number } | { offset: number }

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
