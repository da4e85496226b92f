/** What a broker has confirmed as committed, by whatever master. */
import test from 'ava'
import { commitOffsets } from '../../actors/consumer/commit.ts'
import type { ProcessQueue } from '../../actors/consumer/process-queue.ts'
import type { Process } from '../../actors/node/process.ts'
import { accept, encode } from '../../transport/codec.ts'
import { type Outcome, succeed } from '../../transport/failures.ts'
import { subjectsOf } from '../../transport/subjects.ts'

/** A queue of which `position` is to be told, and the answers that are awaited. */
function bench(position: number) {
  const asked: ((outcome: Outcome<Buffer>) => void)[] = []
  const transport = {
    request: (_: string, __: Uint8Array, ___: number, answer: (typeof asked)[0]) => asked.push(answer),
  }
  const process = { subjects: subjectsOf('test'), world: { transport } } as unknown as Process
  const ref = { topic: 'orders', brokerName: 'a', queueId: 0 }
  const queue = { position, committed: -1, assignEpoch: 1, reader: { ref } } as unknown as ProcessQueue
  const masters = { epoch: 3, epochOf: () => masters.epoch, unreachable: () => {} }
  return {
    queue,
    masters,
    commit: () => commitOffsets(process, { group: 'g', clientId: 'c' }, masters, [queue], () => {}),
    asked,
    answer: () => asked.shift()!(succeed(Buffer.from(encode(accept({ fenced: [] }))))),
  }
}

test('commit: what a master confirmed is not told again', (t) => {
  const { queue, commit, asked, answer } = bench(7)
  commit()
  answer()
  t.is(queue.committed, 7)
  commit()
  t.is(asked.length, 0)
})

test('commit: what a master confirmed that was replaced meanwhile is told to the next one', (t) => {
  const { queue, masters, commit, asked, answer } = bench(7)
  commit()
  masters.epoch = 4
  queue.committed = -1
  answer()
  t.is(queue.committed, -1)
  commit()
  t.is(asked.length, 1)
})
