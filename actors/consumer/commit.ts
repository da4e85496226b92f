/** Tells brokers how far queues are handled. What a broker confirmed is not told again. */
import { ask } from '../../transport/codec.ts'
import type { Process } from '../node/process.ts'
import type { ProcessQueue } from './process-queue.ts'

const ASK_MS = 3_000

/** What a consumer knows of the masters of its queues. */
export type Masters = {
  /** The mastership of a broker, 0 when none is known. */
  epochOf(brokerName: string): number
  /** Nobody listens under this epoch. */
  unreachable(brokerName: string, epoch: number): void
}

/** What no broker has confirmed is told again by the next call, and to the next master: until then it is kept here. */
export function commitOffsets(
  { world, subjects }: Process,
  { group, clientId }: { group: string; clientId: string },
  { epochOf, unreachable }: Masters,
  queues: readonly ProcessQueue[],
  isFenced: (queue: ProcessQueue) => void,
): void {
  const byBroker = new Map<string, { queue: ProcessQueue; position: number }[]>()
  for (const queue of queues) {
    const { position } = queue
    if (position <= queue.committed) continue
    const { brokerName } = queue.reader.ref
    const listed = byBroker.get(brokerName)
    if (listed) listed.push({ queue, position })
    else byBroker.set(brokerName, [{ queue, position }])
  }
  for (const [brokerName, progress] of byBroker) {
    const offsets = progress.map(({ queue, position }): [string, number, number, number] => {
      const { topic, queueId } = queue.reader.ref
      return [topic, queueId, position, queue.assignEpoch]
    })
    const epoch = epochOf(brokerName)
    const { commit } = subjects.broker(brokerName, epoch)
    ask(world.transport, commit, { group, clientId, offsets }, ASK_MS, (outcome) => {
      if (!outcome.ok && outcome.failure.code === 'noResponders') unreachable(brokerName, epoch)
      // What a master confirmed that was replaced meanwhile, the next one may not have.
      if (epochOf(brokerName) !== epoch) return
      if (outcome.ok && outcome.value.code === 0 && 'value' in outcome.value) {
        const { fenced } = outcome.value.value
        for (const { queue, position } of progress) {
          const { topic, queueId } = queue.reader.ref
          // Not ours any more, or set elsewhere: with much read ahead, the next pull would be told late.
          if (fenced.some(([name, id]) => name === topic && id === queueId)) isFenced(queue)
          else queue.committed = Math.max(queue.committed, position)
        }
      }
    })
  }
}
