/** inTurn: one step AFTER another, now or later, without a stack that grows. */
import test from 'ava'
import { inTurn } from '../../actors/broker/pop/in-turn.ts'

test('in turn: a hundred thousand steps that call back at once do not deepen the stack', (t) => {
  let steps = 0
  let finished = 0
  const step = (_: number, next: () => void) => {
    steps++
    next()
  }
  inTurn(
    Array.from({ length: 100_000 }, (_, i) => i),
    step,
    () => finished++,
  )
  t.deepEqual([steps, finished], [100_000, 1])
})

test('in turn: a step begins AFTER the one before has called back', (t) => {
  const held: (() => void)[] = []
  const begun: number[] = []
  let isOver = false
  inTurn(
    [1, 2, 3],
    (item, next) => {
      begun.push(item)
      if (item === 2) next()
      else held.push(next)
    },
    () => {
      isOver = true
    },
  )
  t.deepEqual(begun, [1])
  held.shift()!()
  t.deepEqual(begun, [1, 2, 3])
  t.false(isOver)
  held.shift()!()
  t.true(isOver)
})

test('in turn: it ends early when a step says so', (t) => {
  const begun: number[] = []
  let finished = 0
  inTurn(
    [1, 2, 3],
    (item, next) => {
      begun.push(item)
      next(item < 2)
    },
    () => finished++,
  )
  t.deepEqual([begun, finished], [[1, 2], 1])
})
