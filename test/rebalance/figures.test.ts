import test from 'ava'
import { type Change, figuresOf, movesNeeded } from './figures.ts'
import type { Delivery, Stored } from './judge.ts'

/** One message of the queue a second; `owners` begin them in turn, each at its second. */
function queueOf(queue: string, begun: readonly [member: string, at: number][]) {
  const deliveries: Delivery[] = begun.map(([member, startedAt], offset) => ({
    ...{ member, queue, epoch: 1, offset, message: `p/${offset}`, startedAt, endedAt: startedAt },
  }))
  const stored: Stored[] = begun.map((_, offset) => ({ queue, offset, message: `p/${offset}`, at: 0 }))
  return { deliveries, stored }
}
const joined = (at: number, ...members: string[]): Change => ({ at, kind: 'joined', members })

test('figures: tell apart the pauses of queues that moved and of those that did not', (t) => {
  const moving = queueOf('q1', [
    ['a', 1_000],
    ['a', 2_000],
    ['b', 5_000],
    ['b', 6_000],
  ])
  const staying = queueOf('q2', [
    ['a', 1_000],
    ['a', 2_500],
    ['a', 6_000],
  ])
  const stored = [...moving.stored, ...staying.stored]
  const deliveries = [...moving.deliveries, ...staying.deliveries]
  const { moved, stayed } = figuresOf([joined(1_500, 'a', 'b')], stored, deliveries, 10_000)
  t.like(moved, { max: 3_000, count: 1, worst: 'q1 until 5.000 s, from a to b' })
  t.like(stayed, { max: 3_500, count: 1, worst: 'q2 until 6.000 s, from a to a' })
})

test('figures: a queue does not stand still while nothing is in it', (t) => {
  const { deliveries, stored } = queueOf('q1', [
    ['a', 1_000],
    ['a', 9_000],
  ])
  stored[1]!.at = 8_990
  t.is(figuresOf([joined(1_500, 'a')], stored, deliveries, 10_000).stayed.max, 10)
})

test('figures: a queue does not stand still while one of its messages takes long', (t) => {
  const { deliveries, stored } = queueOf('q1', [
    ['a', 1_000],
    ['a', 2_000],
    ['a', 2_100],
    ['a', 9_000],
  ])
  deliveries[1]!.endedAt = 8_500
  t.is(figuresOf([joined(2_050, 'a')], stored, deliveries, 10_000).stayed.max, 500)
})

test('figures: count the moves of a rebalance that had time to settle', (t) => {
  const queues = ['q1', 'q2', 'q3', 'q4'].map((name, i) =>
    queueOf(name, [
      ['a', 1_000],
      [i < 2 ? 'b' : 'a', 2_000],
      ['c', 9_000],
    ]),
  )
  const changes = [joined(1_500, 'a', 'b'), joined(8_000, 'a', 'b', 'c'), joined(8_500, 'c')]
  const all = queues.flatMap(({ deliveries }) => deliveries)
  t.deepEqual(figuresOf(changes, [], all, 9_500).rebalances, [{ moved: 2, needed: 2 }])
})

test('figures: as few moves are needed as leave everybody with as many queues, or one more', (t) => {
  t.is(movesNeeded(['a', 'a', 'a', 'a'], ['a', 'b']), 2)
  t.is(movesNeeded(['a', 'a', 'a'], ['a', 'b']), 1)
  t.is(movesNeeded(['a', 'a', 'b', 'b', 'c', 'c'], ['a', 'b']), 2)
  t.is(movesNeeded(['a', 'a', 'a', 'b', 'b'], ['a', 'b', 'c']), 1)
  t.is(movesNeeded(['a', 'b'], ['a', 'b', 'c']), 0)
  t.is(movesNeeded(['x', 'x'], ['a']), 2)
})
