import test from 'ava'
import fc from 'fast-check'
import {
  admit,
  boot,
  compareLogs,
  elect,
  electUnclean,
  type GroupState,
  isEligible,
  isSameMastership,
  memberOf,
  type Vote,
  withMember,
  without,
} from '../../machines/group-state.ts'

const member = (brokerId: number, lineage = 0) => ({ brokerId, lineage })
const state = (change: Partial<GroupState> = {}): GroupState => ({
  writeId: 'w',
  epoch: 5,
  masterId: 0,
  masterIncarnation: 3,
  syncStateSet: [member(0), member(1), member(2)],
  replicas: 3,
  minInSync: 2,
  replication: 'sync',
  cause: 'failover',
  unclean: false,
  ...change,
})
const vote = (brokerId: number, change: Partial<Vote> = {}): Vote => ({
  brokerId,
  incarnation: 1,
  lineage: 0,
  promisedEpoch: 5,
  lastEpoch: 5,
  endPosition: 100,
  hearsMaster: false,
  ...change,
})
const anyVote = fc.record({
  brokerId: fc.nat(4),
  incarnation: fc.nat(3),
  lineage: fc.nat(2),
  promisedEpoch: fc.nat(6),
  lastEpoch: fc.nat(6),
  // Far apart: a difference of 32 bits would have another sign.
  endPosition: fc.constantFrom(0, 1, 2 ** 31, 2 ** 33, 2 ** 53 - 1),
  hearsMaster: fc.boolean(),
})
const anySet = fc.uniqueArray(fc.record({ brokerId: fc.nat(4), lineage: fc.nat(2) }), {
  selector: ({ brokerId }) => brokerId,
  minLength: 1,
})

test('group state: the newer log comes first, then the longer one, then the lower id', (t) => {
  const newer = vote(2, { lastEpoch: 6, endPosition: 1 })
  const longer = vote(1, { endPosition: 2 ** 33 })
  t.deepEqual([vote(4), longer, vote(3), newer].sort(compareLogs), [newer, longer, vote(3), vote(4)])
})

test('group state: whoever compares logs finds the same one first', (t) => {
  fc.assert(
    fc.property(fc.uniqueArray(anyVote, { selector: ({ brokerId }) => brokerId, minLength: 1 }), (votes) => {
      t.deepEqual([...votes].sort(compareLogs)[0], [...votes].reverse().sort(compareLogs)[0])
    }),
  )
  t.pass()
})

test('group state: an election keeps the winner, adds nobody, and NEVER drops below what must be in sync', (t) => {
  fc.assert(
    fc.property(
      anySet,
      fc.array(anyVote),
      fc.integer({ min: 1, max: 3 }),
      (syncStateSet, others, minInSync) => {
        const group = state({ syncStateSet, minInSync })
        const winner = { ...vote(syncStateSet[0]!.brokerId), lineage: syncStateSet[0]!.lineage }
        t.true(isEligible(group, winner))
        const votes = [winner, ...others]
        const elected = elect(group, winner, votes, 'x')
        t.truthy(memberOf(elected.syncStateSet, winner.brokerId))
        for (const kept of elected.syncStateSet) t.deepEqual(memberOf(syncStateSet, kept.brokerId), kept)
        t.true(elected.syncStateSet.length >= Math.min(minInSync, syncStateSet.length))
        t.true(
          votes.every(({ promisedEpoch }) => promisedEpoch < elected.epoch) && elected.epoch > group.epoch,
        )
      },
    ),
  )
})

test('group state: members that did not answer, or came back as others, are dropped', (t) => {
  const elected = elect(state({ minInSync: 1 }), vote(1), [vote(1), vote(2, { lineage: 1 })], 'x')
  t.deepEqual(elected.syncStateSet, [member(1)])
})

test('group state: only a member with the log it was admitted with is eligible', (t) => {
  const group = state({ syncStateSet: [member(0), member(1, 2)] })
  t.true(isEligible(group, vote(1, { lineage: 2 })))
  t.false(isEligible(group, vote(1, { lineage: 1 })))
  t.false(isEligible(group, vote(1, { lineage: 3 })))
  t.false(isEligible(group, vote(2)))
})

test('group state: a person may order another; that is told until every replica has been in the set', (t) => {
  const ordered = electUnclean(state(), vote(1, { lineage: 4 }), [vote(1, { lineage: 4 })], 'x')
  t.like(ordered, { syncStateSet: [member(1, 4)], unclean: true, cause: 'unclean', epoch: 6 })
  t.true(elect(ordered, vote(1, { lineage: 4 }), [], 'y').unclean)
  const two = admit(ordered, member(0), 'y')
  t.like(two, { syncStateSet: [member(0), member(1, 4)], unclean: true, cause: 'expand', writeId: 'y' })
  t.false(admit(two, member(2), 'z').unclean)
})

test('group state: begins with the longest log, AFTER all have voted', (t) => {
  const settings = { replicas: 3, minInSync: 2, replication: 'async' } as const
  t.is(boot(settings, [vote(0), vote(2)], 'x'), null)
  t.is(boot(settings, [], 'x'), null)
  const votes = [vote(0), vote(1, { lastEpoch: 8, promisedEpoch: 2, incarnation: 7, lineage: 1 }), vote(2)]
  t.deepEqual(boot(settings, votes, 'x'), {
    writeId: 'x',
    epoch: 9,
    masterId: 1,
    masterIncarnation: 7,
    syncStateSet: [member(1, 1)],
    replicas: 3,
    minInSync: 2,
    replication: 'async',
    cause: 'boot',
    unclean: false,
  })
})

test('group state: a set is sorted and holds each replica once', (t) => {
  fc.assert(
    fc.property(fc.array(fc.record({ brokerId: fc.nat(4), lineage: fc.nat(2) })), (members) => {
      const set = members.reduce<ReturnType<typeof withMember>>(withMember, [])
      const ids = set.map(({ brokerId }) => brokerId)
      t.deepEqual(ids, [...new Set(members.map(({ brokerId }) => brokerId))].sort())
      for (const { brokerId } of set) {
        t.deepEqual(
          memberOf(set, brokerId),
          members.findLast((known) => known.brokerId === brokerId),
        )
        t.is(memberOf(without(set, brokerId), brokerId), undefined)
      }
    }),
  )
  t.pass()
})

test('group state: a mastership is an epoch of one start of one process', (t) => {
  t.true(isSameMastership(state(), state({ writeId: 'x', syncStateSet: [], cause: 'shrink' })))
  t.false(isSameMastership(state(), state({ epoch: 6 })))
  t.false(isSameMastership(state(), state({ masterId: 1 })))
  t.false(isSameMastership(state(), state({ masterIncarnation: 4 })))
})
