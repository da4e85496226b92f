import test from 'ava'
import fc from 'fast-check'
import {
  type Acknowledgement,
  acknowledgedBy,
  confirmedPosition,
  hasCaughtUp,
  heardFrom,
  maximalSet,
  type Term,
} from '../../machines/peer-replica.ts'

const member = (brokerId: number, lineage = 0) => ({ brokerId, lineage })
const term = (change: Partial<Term> = {}): Term => ({
  epoch: 5,
  brokerId: 0,
  markerEnd: 10,
  minInSync: 1,
  members: [member(0), member(1)],
  pending: null,
  peers: [],
  confirm: 0,
  ...change,
})
const heard = (brokerId: number, position: number, lineage = 0, epoch = 5): Acknowledgement => ({
  epoch,
  brokerId,
  lineage,
  position,
})
const hearing = (from: Term, ...heards: Acknowledgement[]) => heards.reduce(heardFrom, from)
const anyHeard = fc.record({
  epoch: fc.integer({ min: 4, max: 6 }),
  brokerId: fc.integer({ min: 1, max: 3 }),
  lineage: fc.nat(2),
  position: fc.nat(20),
})

test('peer replica: confirmed is what EVERY member has acknowledged', (t) => {
  const three = term({ members: [member(0), member(1), member(2)] })
  t.is(confirmedPosition(hearing(three, heard(1, 30)), 50), 0)
  t.is(confirmedPosition(hearing(three, heard(1, 30), heard(2, 20)), 50), 20)
  t.is(confirmedPosition(hearing(three, heard(1, 30), heard(2, 40)), 25), 25)
  t.is(confirmedPosition(term({ members: [member(0)] }), 50), 50)
})

test('peer replica: a member that was not heard of in this epoch has acknowledged nothing', (t) => {
  t.is(acknowledgedBy(term(), member(1)), -1)
  t.is(acknowledgedBy(hearing(term(), heard(1, 30, 0, 4)), member(1)), -1)
  t.is(acknowledgedBy(hearing(term(), heard(1, 30, 0, 6)), member(1)), -1)
})

test('peer replica: what was acknowledged with another lineage proves nothing', (t) => {
  t.is(acknowledgedBy(hearing(term(), heard(1, 30, 1)), member(1, 0)), -1)
  t.is(acknowledgedBy(hearing(term(), heard(1, 30, 1)), member(1, 1)), 30)
  t.is(confirmedPosition(hearing(term(), heard(1, 30, 1)), 50), 0)
})

test('peer replica: a new lineage begins anew, and an old one is not heard any more', (t) => {
  const later = hearing(term(), heard(1, 30), heard(1, 5, 1))
  t.is(acknowledgedBy(later, member(1, 1)), 5)
  t.is(hearing(later, heard(1, 30)), later)
})

test('peer replica: while a change is under way both sets count', (t) => {
  const changing = term({ members: [member(0), member(1)], pending: [member(0), member(2)] })
  t.deepEqual(maximalSet(changing), [member(0), member(1), member(2)])
  t.is(confirmedPosition(hearing(changing, heard(1, 30)), 50), 0)
  t.is(confirmedPosition(hearing(changing, heard(1, 30), heard(2, 20)), 50), 20)
})

test('peer replica: fewer than must be in sync confirm nothing', (t) => {
  const few = term({ members: [member(0)], minInSync: 2, confirm: 7 })
  t.is(confirmedPosition(few, 50), 7)
  t.is(confirmedPosition({ ...few, pending: [member(0), member(1)] }, 50), 7)
})

test('peer replica: whatever is heard in whatever order, confirmed NEVER goes back nor ahead of a member', (t) => {
  fc.assert(
    fc.property(fc.array(anyHeard), fc.nat(30), fc.nat(2), (heards, stored, lineage) => {
      let now = term({ members: [member(0), member(1, lineage)], pending: [member(0), member(2)] })
      for (const one of heards) {
        now = heardFrom(now, one)
        const confirm = confirmedPosition(now, stored)
        t.true(confirm >= now.confirm)
        const truly = [member(1, lineage), member(2)].map((who) =>
          Math.max(
            -1,
            ...heards
              .filter((a) => a.epoch === 5 && a.brokerId === who.brokerId && a.lineage === who.lineage)
              .map(({ position }) => position),
          ),
        )
        t.true(confirm === now.confirm || confirm <= Math.min(stored, ...truly))
        now = { ...now, confirm }
      }
    }),
  )
})

test('peer replica: hearing the same twice, or in another order, makes no difference', (t) => {
  const one = fc
    .array(anyHeard)
    .chain((heards) =>
      fc.tuple(fc.constant(heards), fc.shuffledSubarray(heards, { minLength: heards.length })),
    )
  fc.assert(
    fc.property(one, ([heards, shuffled]) => {
      const expected = hearing(term(), ...heards)
      t.deepEqual(hearing(term(), ...shuffled), expected)
      t.deepEqual(hearing(expected, ...shuffled), expected)
    }),
  )
  t.pass()
})

test('peer replica: has caught up who has all that is confirmed and the beginning of the epoch', (t) => {
  t.false(hasCaughtUp(term({ confirm: 0 }), 9))
  t.true(hasCaughtUp(term({ confirm: 0 }), 10))
  t.false(hasCaughtUp(term({ confirm: 20 }), 19))
  t.true(hasCaughtUp(term({ confirm: 20 }), 20))
})
