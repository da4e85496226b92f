/**
 * Rebalancer: one consumer's side of dividing the queues of a group.
 *
 * The coordinator tells each member its share. What is then between two members is settled by the broker of each queue,
 * which grants it to AT MOST ONE. So a clean hand-over needs no word between them: the old owner finishes what it has,
 * commits and releases; the new one's claim waits at the broker until then. A claim is forced only when the owner is no
 * member any more, or did not let go within `handOffLimit`; the owner is then fenced.
 *
 * Losing the coordinator takes no queue away: what is held goes on while the member joins again.
 * A queue is held AT MOST ONCE, and every answer to a claim is acted on: one that comes too late is given back.
 *
 *   joining ──told──▶ member ──beat failed──▶ joining            a queue:  claiming ──▶ owned ──▶ draining ──▶ (gone)
 *      └──closed──▶ leaving ◀──closed──┘                                     │ ▲          └fenced┐
 *                      └──nothing held──▶ left                               ▼ └─retry── refused ◀┘
 *
 * RocketMQ: client/impl/consumer/RebalanceImpl.java, RebalancePushImpl.java
 */
import { announce, heed, newsOf, reconcile, retry, takeByForce } from './rebalancer/holdings.ts'
import {
  type Membership,
  type RebalancerContext,
  type RebalancerEvent,
  rebalancer,
  type Who,
} from './rebalancer/vocabulary.ts'

export type * from './rebalancer/vocabulary.ts'
export { ownedOf } from './rebalancer/vocabulary.ts'

const who = ({ context: { group, member } }: { context: RebalancerContext }): Who => ({
  group,
  clientId: member.clientId,
  instance: member.instance,
})
const beat = {
  type: 'sendBeat',
  params: ({ context }: { context: RebalancerContext }) => ({
    ...who({ context }),
    generation: context.generation,
  }),
} as const
/** A beat of one that was told nothing since it joined. */
const unheard = {
  type: 'sendBeat',
  params: ({ context }: { context: RebalancerContext }) => ({ ...who({ context }), generation: 0 }),
} as const
const told = ({ event: { generation, members, share } }: { event: Membership }): Membership => ({
  generation,
  members,
  share,
})

const adopt = rebalancer.assign(({ context, event }) => {
  if (!('share' in event)) return {}
  const { generation, members, share } = event
  return { generation, latest: Math.max(context.latest, generation), members, target: share ?? [] }
})
const aimAtNothing = rebalancer.assign({ target: [] })

const joined = {
  guard: { type: 'isOurs', params: told },
  target: 'member',
  actions: [adopt, reconcile],
} as const
const changed = [
  { guard: { type: 'isOurs', params: told }, actions: [adopt, reconcile] },
  // A newer list without us: the coordinator took us for dead.
  { guard: { type: 'isNewer', params: told }, target: '#joining' },
] as const

/** Our coordinator is behind, or we are: joining again tells which. */
const refusedWhileMember = [
  {
    guard: {
      type: 'isOvertaken',
      params: ({ event }: { event: RebalancerEvent }) => ({ news: newsOf(event) }),
    },
    target: '#joining',
    actions: heed,
  },
  { actions: heed },
] as const
const refusal = {
  type: 'reportRefused',
  params: ({
    event: { code, message, isFinal },
  }: {
    event: { code: string; message: string; isFinal: boolean }
  }) => ({ code, message, isFinal }),
} as const

export const rebalancerMachine = rebalancer.createMachine({
  id: 'rebalancer',
  context: ({ input }) => ({
    ...input,
    generation: 0,
    latest: 0,
    members: [],
    target: [],
    held: {},
    round: 0,
  }),
  initial: 'joining',
  on: {
    'queue.claimed': { actions: heed },
    'claim.refused': { actions: heed },
    'claim.failed': { actions: heed },
    'queue.drained': { actions: heed },
    'queue.fenced': { actions: heed },
    'queues.heard': { actions: heed },
    'retry.elapsed': { actions: retry },
    'handOff.elapsed': { actions: takeByForce },
  },
  states: {
    joining: {
      id: 'joining',
      initial: 'asking',
      on: { 'members.changed': joined, 'consumer.closed': 'leaving' },
      states: {
        asking: {
          entry: {
            type: 'joinGroup',
            params: ({ context: { group, member, latest, held } }) => ({
              group,
              ...member,
              generation: latest,
              held: Object.keys(held).filter((queue) => held[queue]?.status === 'owned'),
            }),
          },
          on: {
            'join.accepted': 'awaited',
            'join.failed': 'waiting',
            'join.refused': [
              {
                guard: { type: 'isTurnedAway', params: ({ event: { isFinal } }) => ({ isFinal }) },
                target: '#refused',
                actions: refusal,
              },
              { target: 'waiting', actions: refusal },
            ],
          },
        },
        waiting: { after: { joinRetry: 'asking' } },
        /** Taken in; the share is told as soon as the queues are divided anew, or again when a beat says that it was not heard. */
        awaited: {
          after: { beatInterval: { target: 'awaited', reenter: true, actions: unheard } },
          on: { 'beat.rejected': 'asking', 'beat.failed': 'asking' },
        },
      },
    },
    member: {
      type: 'parallel',
      on: {
        'members.changed': changed,
        'claim.refused': refusedWhileMember,
        'queues.heard': refusedWhileMember,
        'beat.rejected': '#joining',
        'beat.failed': '#joining',
        'consumer.closed': 'leaving',
      },
      states: {
        heart: {
          initial: 'beating',
          states: {
            beating: { entry: beat, after: { beatInterval: { target: 'beating', reenter: true } } },
          },
        },
        balance: {
          initial: 'moving',
          states: {
            moving: {
              always: [
                { guard: 'isBalanced', target: 'balanced' },
                { guard: 'isIdle', target: 'idle' },
              ],
            },
            /** All that is ours is held, and nothing else. */
            balanced: { always: { guard: 'isUnsettled', target: 'moving' } },
            /** The same, and nothing is ours: there are more members than queues. */
            idle: { entry: announce, always: { guard: 'isUnsettled', target: 'moving' } },
          },
        },
      },
    },
    leaving: {
      entry: [aimAtNothing, reconcile],
      initial: 'announcing',
      always: { guard: 'holdsNothing', target: 'left' },
      after: { leaveLimit: 'left' },
      states: {
        announcing: {
          always: [
            { guard: 'isStatic', target: 'draining' },
            { target: 'draining', actions: { type: 'announceLeaving', params: who } },
          ],
        },
        // It is a member until all is given back, so that nobody takes a queue by force.
        draining: { after: { beatInterval: { target: 'draining', reenter: true, actions: beat } } },
      },
    },
    left: {
      type: 'final',
      entry: {
        type: 'leaveGroup',
        params: ({ context }) => ({ ...who({ context }), isAway: context.member.isStatic }),
      },
    },
    /** Another consumer lives under this id. */
    refused: { id: 'refused', type: 'final' },
  },
})
