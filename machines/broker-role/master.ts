/**
 * A master: takes messages, and says which replicas count.
 *
 * One swap at a time. What is proposed counts from BEFORE it is swapped until the outcome is definite, so that nothing is
 * confirmed that one of the two sets lacks. A handover is committed only AFTER the successor has stored all, and once its
 * swap was tried, mastership is NEVER taken up again on a guess: the register says whose it is. A member that is gone and
 * may not be dropped is missed: what is sent could not be confirmed, so it is refused at once.
 */
import { assign } from 'xstate'
import { admit, type GroupState, without } from '../group-state.ts'
import {
  deposed,
  followerIn,
  memberIn,
  registerAs,
  swapOutcomes,
  swapProposal,
  writeIdIn,
  writeIdOf,
} from './transitions.ts'
import { type BrokerRoleContext, brokerRole, type EventOf, type Own } from './vocabulary.ts'

function stateOf({ head }: BrokerRoleContext): GroupState {
  const { revision: _, ...state } = head!
  return state
}
/** What is proposed at this head, by this attempt. */
const proposed = (context: BrokerRoleContext, change: Partial<GroupState>): GroupState => ({
  ...stateOf(context),
  writeId: writeIdOf(context),
  ...change,
})
const missingBut = ({ missing }: BrokerRoleContext, brokerId: number): readonly number[] =>
  missing.filter((id) => id !== brokerId)
const refuse = (message: string) => ({ type: 'refuseHandover', params: { message } }) as const
const busy = { actions: refuse('another change of this group is under way: ask again') } as const
const tried = { guard: { type: 'isProposal', params: writeIdIn }, target: 'resolving' } as const

export const master = brokerRole.createStateConfig({
  id: 'master',
  tags: 'serves-reads',
  type: 'parallel',
  entry: registerAs('master'),
  on: { 'head.changed': deposed, 'stop.requested': '#draining' },
  states: {
    service: {
      initial: 'serving',
      states: {
        serving: { tags: 'accepts-writes', always: { guard: 'isBlocked', target: 'blocked' } },
        blocked: { always: { guard: 'isFree', target: 'serving' } },
      },
    },
    membership: {
      initial: 'settled',
      states: {
        settled: {
          id: 'settled',
          entry: [
            assign({ successor: null }),
            {
              type: 'countMembers',
              params: ({ context: { head } }: Own) => ({ members: head!.syncStateSet }),
            },
          ],
          on: {
            'follower.caughtUp': [
              {
                guard: { type: 'mayAdmit', params: memberIn },
                target: 'proposing',
                actions: assign({
                  proposal: ({ context, event: { brokerId, lineage } }) =>
                    admit(stateOf(context), { brokerId, lineage }, writeIdOf(context)),
                  missing: ({ context, event: { brokerId } }) => missingBut(context, brokerId),
                }),
              },
              {
                guard: { type: 'isBack', params: memberIn },
                actions: assign({
                  missing: ({ context, event: { brokerId } }) => missingBut(context, brokerId),
                }),
              },
            ],
            'follower.lagging': [
              {
                guard: { type: 'mayDrop', params: followerIn },
                target: 'proposing',
                actions: assign({
                  proposal: ({ context, event: { brokerId } }) =>
                    proposed(context, {
                      syncStateSet: without(context.head!.syncStateSet, brokerId),
                      cause: 'shrink',
                    }),
                  missing: ({ context, event: { brokerId } }) => missingBut(context, brokerId),
                }),
              },
              {
                guard: { type: 'mustWaitFor', params: followerIn },
                actions: assign({
                  missing: ({ context, event: { brokerId } }) => [...context.missing, brokerId],
                }),
              },
            ],
            'handover.requested': [
              {
                guard: {
                  type: 'maySucceed',
                  params: ({ event: { brokerId } }: { event: EventOf<'handover.requested'> }) => ({
                    brokerId,
                  }),
                },
                target: 'handingOver',
                actions: assign({
                  successor: ({ event: { brokerId, incarnation } }) => ({ brokerId, incarnation }),
                }),
              },
              { actions: refuse('only another member of the sync state set can take over') },
            ],
          },
        },
        proposing: {
          initial: 'swapping',
          on: { 'handover.requested': busy },
          states: {
            swapping: {
              entry: swapProposal,
              on: { ...swapOutcomes('#settled', '#settled'), 'swap.unknown': tried },
            },
            resolving: { after: { swapRetry: 'swapping' } },
          },
        },
        handingOver: {
          initial: 'draining',
          on: { 'handover.requested': busy },
          states: {
            draining: {
              entry: {
                type: 'holdSends',
                params: ({ context: { successor } }: Own) => ({ brokerId: successor!.brokerId }),
              },
              after: {
                handoverLimit: {
                  target: '#settled',
                  actions: ['releaseSends', refuse('the successor did not store everything in time')],
                },
              },
              on: {
                'log.drained': {
                  guard: { type: 'isSuccessor', params: followerIn },
                  target: 'swapping',
                  actions: assign({
                    proposal: ({ context }) =>
                      proposed(context, {
                        epoch: context.epoch + 1,
                        masterId: context.successor!.brokerId,
                        masterIncarnation: context.successor!.incarnation,
                        cause: 'handover',
                      }),
                  }),
                },
              },
            },
            swapping: {
              entry: swapProposal,
              on: { ...swapOutcomes('#demoting', 'refused'), 'swap.unknown': tried },
            },
            resolving: { after: { swapRetry: 'swapping' } },
            refused: {
              entry: ['releaseSends', refuse('the group was changed meanwhile: ask again')],
              always: '#settled',
            },
          },
        },
      },
    },
  },
})
