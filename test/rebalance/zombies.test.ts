import test from 'ava'
import type { Delivery, Fault } from './judge.ts'
import { zombiesOf } from './zombies.ts'

const given = (member: string, epoch: number, startedAt: number): Delivery => ({
  ...{ member, queue: 'q', epoch, offset: startedAt, message: 'p/0', startedAt, endedAt: startedAt },
})
const paused: Fault = { member: 'a', kind: 'paused', from: 100, to: 20_000 }

test('zombies: what a member begins after it woke counts when the queue has a later owner', (t) => {
  const deliveries = [given('a', 1, 50), given('b', 2, 12_000), given('a', 1, 20_010), given('a', 1, 20_250)]
  t.deepEqual(zombiesOf([paused], deliveries), { woke: 1, begun: 2, longestMs: 250 })
})

test('zombies: what a member begins of queues that are still its own does not count', (t) => {
  t.deepEqual(zombiesOf([paused], [given('a', 1, 50), given('a', 1, 20_010)]), {
    woke: 1,
    begun: 0,
    longestMs: 0,
  })
})
