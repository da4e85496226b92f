/** The checker itself: what it must find, and what it must not take for a fault. */
import test from 'ava'
import type { SwapOutcome } from '../../transport/register.ts'
import { faultIn, type SwapEvent } from './linearizable.ts'

const ok = (revision: number): SwapOutcome => ({ result: 'ok', revision })
const conflict = (revision: number, value: string): SwapOutcome => ({
  result: 'conflict',
  held: revision === 0 ? null : { revision, value },
})
const unknown: SwapOutcome = {
  result: 'unknown',
  failure: { code: 'timedOut', retryable: true, message: 'no answer' },
}

/** From then until then: a swap by `value` of what was expected. */
const swap = (
  [invokedAt, answeredAt]: [number, number],
  value: string,
  expected: number,
  outcome: SwapOutcome,
): SwapEvent => ({ client: `client of ${value}`, invokedAt, answeredAt, expected, value, outcome })

const fine: Record<string, SwapEvent[]> = {
  'nothing at all': [],
  'one swap after the other': [swap([0, 1], 'a', 0, ok(1)), swap([2, 3], 'b', 1, ok(2))],
  'a race that one wins': [
    swap([0, 5], 'a', 0, conflict(1, 'b')),
    swap([1, 4], 'b', 0, ok(1)),
    swap([2, 3], 'c', 0, conflict(1, 'b')),
  ],
  'a conflict that tells of a swap that is not answered yet': [
    swap([0, 9], 'a', 0, ok(1)),
    swap([1, 2], 'b', 0, conflict(1, 'a')),
  ],
  'an unknown swap that was done': [swap([0, 1], 'a', 0, unknown), swap([2, 3], 'a', 0, conflict(1, 'a'))],
  'an unknown swap that was not done': [swap([0, 1], 'a', 0, unknown), swap([2, 3], 'b', 0, ok(1))],
  'an unknown swap that is done long AFTER it was told': [
    swap([0, 1], 'a', 1, unknown),
    swap([2, 3], 'b', 0, ok(1)),
    swap([4, 5], 'c', 0, conflict(1, 'b')),
    swap([6, 7], 'c', 1, conflict(2, 'a')),
  ],
  'a conflict where nothing is': [swap([0, 1], 'a', 3, conflict(0, ''))],
  'many unknown swaps of which any was done': [
    ...['a', 'b', 'c', 'd'].map((value) => swap([0, 1], value, 0, unknown)),
    swap([2, 3], 'e', 0, conflict(1, 'c')),
    swap([4, 5], 'f', 1, ok(2)),
  ],
}

const wrong: Record<string, SwapEvent[]> = {
  'two winners of one revision': [swap([0, 3], 'a', 0, ok(1)), swap([1, 2], 'b', 0, ok(1))],
  'a winner that expected what is gone': [
    swap([0, 1], 'a', 0, ok(1)),
    swap([2, 3], 'b', 1, ok(2)),
    swap([4, 5], 'c', 1, ok(2)),
  ],
  'a swap that was lost': [swap([0, 1], 'a', 0, ok(1)), swap([2, 3], 'b', 1, conflict(0, ''))],
  'a value that goes back': [
    swap([0, 1], 'a', 0, ok(1)),
    swap([2, 3], 'b', 1, ok(2)),
    swap([4, 5], 'c', 0, conflict(1, 'a')),
  ],
  'a value that nobody wrote': [swap([0, 1], 'a', 0, ok(1)), swap([2, 3], 'b', 0, conflict(1, 'x'))],
  'a conflict that tells of a swap that began later': [
    swap([0, 1], 'b', 0, conflict(1, 'a')),
    swap([2, 3], 'a', 0, ok(1)),
  ],
  'a conflict with what was expected': [swap([0, 1], 'a', 0, ok(1)), swap([2, 3], 'b', 1, conflict(1, 'a'))],
  'an unknown swap that was done twice': [
    swap([0, 1], 'a', 0, unknown),
    swap([2, 3], 'b', 0, conflict(1, 'a')),
    swap([4, 5], 'b', 1, conflict(2, 'a')),
  ],
  'an unknown swap that was done and undone': [
    swap([0, 1], 'a', 0, unknown),
    swap([2, 3], 'b', 0, conflict(1, 'a')),
    swap([4, 5], 'b', 0, ok(1)),
  ],
  'a revision that is left out': [swap([0, 1], 'a', 0, ok(2))],
}

for (const [title, history] of Object.entries(fine))
  test(`linearizable: explains ${title}`, (t) => t.is(faultIn(history), null))

for (const [title, history] of Object.entries(wrong))
  test(`linearizable: finds ${title}`, (t) => t.regex(faultIn(history) ?? '', /none of these fits/))

test('linearizable: a long race is looked at in no time', (t) => {
  const rounds = Array.from({ length: 200 }, (_, round) => {
    const at = round * 20
    const win = swap([at, at + 11], `${round}/0`, round, ok(round + 1))
    const lose = [1, 2, 3, 4, 5].map((writer) =>
      swap([at + writer, at + 12 + writer], `${round}/${writer}`, round, conflict(round + 1, `${round}/0`)),
    )
    const lost = swap([at, at + 11], `${round}/x`, round, unknown)
    return [win, ...lose, lost]
  }).flat()
  t.is(faultIn(rounds), null)
  t.not(faultIn([...rounds, swap([4_001, 4_002], 'late', 7, ok(8))]), null)
})
