/**
 * GroupCoordinator: who belongs to one consumer group, and which queues are whose share. Hosted by one broker.
 *
 * Every member sees the same division under the same generation: a generation is NEVER used for two divisions, not even by
 * two coordinators, and none goes back. What is then between two members is settled by the broker of each queue, whatever
 * they were told.
 * A coordinator keeps nothing on disk. One that starts anew learns that it had a predecessor from a member that remembers
 * a later generation; it leaps ahead of all that one may have said, and gathers: those who only lost their coordinator
 * still hold their queues, and a division without them would move queues for nothing. Nobody is told one until they had
 * time to join again.
 *
 *   empty ──joined──▶ settling ──settleWindow──▶ stable ──joined, left, expired, queues changed──▶ settling
 *     └─joined, and remembers more─▶ gathering ──gatherWindow──▶ stable        the last one is gone: ──▶ empty
 *
 * A member of which nothing is heard for a while may be dead: it keeps the share that it said it knows, and gets NOTHING
 * new until it is heard of again, for what it was given would wait a second session. What it never said it knows goes to
 * the others at once. Should it live, each broker holds back the next owner until it has let go.
 *
 * A member that leaves stays one until it has given everything back, but has no share any more. One that is static keeps
 * its share while it is away, for its session; the next instance of it takes its place. Two that live under one id are
 * told apart by their instance, and the second is refused.
 *
 * Whoever finds a queue in the hands of one that does not answer asks here. That one counts as gone AFTER a division was
 * told that is later than its claim and has no share for it, and NEVER while others may be about to join again.
 *
 * RocketMQ: broker/client/ConsumerManager.java, ConsumerGroupInfo.java; client/impl/consumer/RebalanceImpl.java
 */
import {
  accept,
  armSession,
  doubted,
  gone,
  hear,
  learnLags,
  learnQueues,
  markLeaving,
  markSilent,
  measure,
  ofMember,
  outdate,
  push,
  rebalance,
  rebalanceIfBetter,
  refused,
  rejected,
  remembers,
  taken,
  watch,
  who,
} from './group-coordinator/steps.ts'
import { coordinator, type EventOf } from './group-coordinator/vocabulary.ts'

export { allocationOf, disagreementsOf } from './group-coordinator/division.ts'
export type * from './group-coordinator/vocabulary.ts'

const left = [
  { guard: { type: 'isLast', params: who }, target: '#empty', actions: gone('left') },
  { guard: ofMember, actions: gone('left') },
] as const
const expired = [
  { guard: { type: 'isLast', params: who }, target: '#empty', actions: gone('was not heard of any more') },
  { guard: ofMember, actions: gone('was not heard of any more') },
] as const
const leaving = { guard: ofMember, actions: [markLeaving, outdate] } as const

export const groupCoordinatorMachine = coordinator.createMachine({
  id: 'groupCoordinator',
  context: ({ input }) => ({
    ...input,
    members: {},
    queues: {},
    target: {},
    told: { generation: 0, members: [] },
    lags: {},
    causes: [],
  }),
  initial: 'empty',
  on: {
    'member.silent': { guard: ofMember, actions: markSilent },
    'queues.changed': {
      guard: {
        type: 'isNews',
        params: ({ event: { topic, queues } }: { event: EventOf<'queues.changed'> }) => ({ topic, queues }),
      },
      actions: [learnQueues, outdate],
    },
  },
  states: {
    empty: {
      id: 'empty',
      entry: watch,
      on: {
        'member.joined': [
          { guard: remembers, target: 'gathering', actions: taken },
          { target: 'active', actions: taken },
        ],
        'member.beat': rejected,
        // Nothing is watched.
        'queues.changed': {},
        'owners.doubted': doubted.whileEmpty,
      },
    },
    /** Others are about to join again, who hold queues. */
    gathering: {
      id: 'gathering',
      after: { gatherWindow: [{ guard: 'isDeserted', target: 'empty' }, { target: 'active.asking' }] },
      on: {
        'member.joined': [refused, { actions: taken }],
        'member.beat': [{ guard: ofMember, actions: [hear, armSession] }, rejected],
        'member.leaving': leaving,
        // NEVER is it over early: of those who hold queues perhaps none has joined again yet.
        'member.left': { guard: ofMember, actions: gone('left') },
        'member.expired': { guard: ofMember, actions: gone('was not heard of any more') },
        'owners.doubted': doubted.whileGathering,
      },
    },
    active: {
      initial: 'settling',
      on: {
        'member.joined': [
          refused,
          { guard: remembers, target: 'gathering', actions: taken },
          {
            guard: { type: 'isRepeated', params: ({ event }: { event: EventOf<'member.joined'> }) => event },
            actions: [hear, armSession, accept, push],
          },
          { actions: taken },
        ],
        'member.beat': [
          // Another coordinator, a predecessor that lived on for a moment, told it a later division: it is to say so.
          { guard: remembers, ...rejected },
          {
            guard: {
              type: 'missedPush',
              params: ({ event: { clientId, instance, generation } }: { event: EventOf<'member.beat'> }) => ({
                clientId,
                instance,
                generation,
              }),
            },
            actions: [hear, armSession, push],
          },
          { guard: ofMember, actions: [hear, armSession] },
          rejected,
        ],
        'member.leaving': leaving,
        'member.left': left,
        'member.expired': expired,
        'owners.doubted': doubted.whileActive,
      },
      states: {
        settling: {
          after: { settleWindow: 'asking' },
        },
        /** A topic may be new here: its queues are being asked for. */
        asking: {
          always: { guard: 'knowsQueues', target: 'dividing' },
          after: { askLimit: 'dividing' },
        },
        dividing: {
          always: [
            { guard: 'isByLag', target: 'measuring' },
            { target: 'stable', actions: rebalance },
          ],
        },
        measuring: {
          entry: measure,
          on: { 'lags.measured': { target: 'stable', actions: [learnLags, rebalance] } },
          after: { askLimit: { target: 'stable', actions: rebalance } },
        },
        /** All are told. */
        stable: {
          initial: 'resting',
          // What happened while the queues were asked for may be in the division already.
          on: { 'division.outdated': { guard: 'hasCauses', target: 'settling' } },
          states: {
            resting: { after: { lagInterval: { guard: 'isByLag', target: 'looking' } } },
            /** Whether the lags have become so uneven that queues should move. */
            looking: {
              entry: measure,
              on: { 'lags.measured': { target: 'resting', actions: [learnLags, rebalanceIfBetter] } },
              after: { askLimit: 'resting' },
            },
          },
        },
      },
    },
  },
})
