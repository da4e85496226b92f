/** Which of two generations says more than the other. */
import test from 'ava'
import fc from 'fast-check'
import { areRivals, beyond, countOf, generationOf, isLater, nextOf } from '../../machines/generation.ts'

const OWN = 5
const OTHER = 3

test('generation: of one coordinator each counts on from the one before it', (t) => {
  const first = nextOf(0, OWN)
  t.is(first, generationOf(1, OWN))
  t.true(isLater(nextOf(first, OWN), first))
  t.false(isLater(first, first))
  t.false(areRivals(nextOf(first, OWN), first))
})

test('generation: any is later than none, and none is a rival of nothing', (t) => {
  t.true(isLater(generationOf(1, OWN), 0))
  t.false(isLater(0, 0))
  t.false(areRivals(0, generationOf(1, OWN)))
})

test('generation: one of another coordinator is later only when that has heard of the other one', (t) => {
  const predecessor = generationOf(7, OTHER)
  for (const count of [1, 6, 7, 8, 40_000]) {
    const stranger = generationOf(count, OWN)
    t.true(areRivals(stranger, predecessor))
    t.false(isLater(stranger, predecessor))
    t.false(isLater(predecessor, stranger))
  }
  // What it was told last may be some divisions behind what its predecessor said last.
  const successor = nextOf(beyond(generationOf(4, OTHER), 0, OWN), OWN)
  t.true(isLater(successor, predecessor))
  t.false(areRivals(successor, predecessor))
})

test('generation: EXACTLY one holds of two that differ: the one is later, the other is, or they are rivals', (t) => {
  const generation = fc
    .tuple(fc.integer({ min: 1, max: 300_000 }), fc.constantFrom(OWN, OTHER, 0))
    .map(([count, number]) => generationOf(count, number))
  fc.assert(
    fc.property(generation, generation, (a, b) => {
      const holds = [isLater(a, b), isLater(b, a), areRivals(a, b)].filter(Boolean).length
      return areRivals(a, b) === areRivals(b, a) && holds === (a === b ? 0 : 1)
    }),
  )
  fc.assert(
    fc.property(generation, generation, (a, b) => {
      const leapt = beyond(a, b, OWN)
      return isLater(leapt, a) && isLater(leapt, b) && countOf(leapt) > Math.max(countOf(a), countOf(b))
    }),
  )
  t.pass()
})
