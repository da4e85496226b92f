/**
 * Controller: elects the master of one broker group. Any number of controllers may act for a group at once.
 *
 * Everything it decides is one compare-and-swap on the state of the group, from the revision that it had read BEFORE it
 * asked for votes: of two controllers, one wins and the other learns of it. It elects ONLY a member of the sync state set
 * that still has the lineage it was admitted with; when there is none it waits and says so, for whoever it chose else would
 * lose confirmed messages. It elects anew only AFTER the master is gone: unreachable or silent twice in a row, and no
 * member of the set hears it either; or started anew, for a process does not continue the epoch of an earlier one.
 *
 *   reading ──▶ tracking (healthy ⇄ probing) ──gone──▶ balloting ──▶ committing ──▶ announced ──▶ tracking
 *      └─never written─▶ booting ─all have voted──────────────────────▲                └─not promoted─▶ balloting
 *                                              nobody eligible: stalled, until somebody is, or a person orders it
 *
 * RocketMQ: controller/impl/manager/ReplicasInfoManager.java, controller/elect/impl/DefaultElectPolicy.java
 */
import { assign } from 'xstate'
import { committing } from './controller/committing.ts'
import { tracking } from './controller/tracking.ts'
import {
  anew,
  ballotBecause,
  type ControllerContext,
  controller,
  learnSettings,
  masterIs,
  newer,
  resigned,
  restarted,
  signIn,
  votesIn,
  winnerOf,
  writeIdOf,
} from './controller/vocabulary.ts'
import { boot, elect, electUnclean, type GroupState, type Vote } from './group-state.ts'

export type { ControllerContext, ControllerEvent, ControllerInput, Sign } from './controller/vocabulary.ts'

const propose = (build: (context: ControllerContext, votes: readonly Vote[]) => GroupState) =>
  controller.assign({
    proposal: ({ context, event }) => ('votes' in event ? build(context, event.votes) : context.proposal),
  })
const collectVotes = {
  type: 'collectVotes',
  params: ({ context: { head, settings } }: { context: ControllerContext }) => ({
    // A member that the settings do not know any more holds what was confirmed all the same.
    replicas: Math.max(
      head?.replicas ?? 0,
      settings?.replicas ?? 0,
      ...(head?.syncStateSet.map(({ brokerId }) => brokerId + 1) ?? []),
    ),
  }),
} as const

export const controllerMachine = controller.createMachine({
  id: 'controller',
  context: ({ input: { controllerId, brokerName } }) => ({
    controllerId,
    brokerName,
    settings: null,
    head: null,
    unanswered: 0,
    reason: null,
    proposal: null,
    ordered: null,
  }),
  initial: 'reading',
  on: { 'beat.heard': { actions: learnSettings } },
  states: {
    reading: {
      id: 'reading',
      entry: 'readHead',
      after: { headRetry: { target: 'reading', reenter: true } },
      on: { 'head.changed': newer, 'register.empty': 'booting' },
    },
    booting: {
      entry: collectVotes,
      after: { bootRetry: { target: 'booting', reenter: true } },
      on: {
        'head.changed': newer,
        'votes.collected': {
          guard: { type: 'mayBoot', params: votesIn },
          target: 'committing',
          actions: propose((context, votes) => boot(context.settings!, votes, writeIdOf(context))!),
        },
      },
    },
    tracking,
    balloting: {
      id: 'balloting',
      entry: collectVotes,
      on: {
        ...anew,
        'head.changed': newer,
        'votes.collected': [
          { guard: { type: 'isHeard', params: votesIn }, target: 'tracking' },
          {
            guard: { type: 'hasCandidate', params: votesIn },
            target: 'committing',
            actions: propose((context, votes) =>
              elect(context.head!, winnerOf(context, votes)!, votes, writeIdOf(context), context.settings),
            ),
          },
          { target: 'stalled' },
        ],
      },
    },
    committing,
    announced: {
      id: 'announced',
      entry: assign({ reason: null }),
      after: { promoteLimit: ballotBecause('notPromoted') },
      on: {
        ...anew,
        'head.changed': newer,
        'beat.heard': [
          { guard: masterIs, target: 'tracking', actions: learnSettings },
          restarted,
          resigned,
          { actions: learnSettings },
        ],
      },
    },
    stalled: {
      entry: {
        type: 'raiseAlarm',
        params: ({ context: { brokerName, head } }) => ({
          code: 'NO_CLEAN_CANDIDATE',
          message:
            `${brokerName} has no master, and no replica that holds all confirmed messages can be reached ` +
            `(${head!.syncStateSet.map(({ brokerId }) => `${brokerName}/${brokerId}`).join(', ')} would do): start one of them`,
        }),
      },
      after: { stalledRetry: 'balloting' },
      on: {
        ...anew,
        'head.changed': newer,
        'beat.heard': [
          { guard: { type: 'isCandidate', params: signIn }, target: 'balloting', actions: learnSettings },
          { actions: learnSettings },
        ],
        'unclean.ordered': {
          target: 'ordered',
          actions: assign({ ordered: ({ event }) => event.brokerId }),
        },
      },
    },
    /** A person takes the loss: asks for votes once more, for the log of whom it ordered must be there. */
    ordered: {
      entry: collectVotes,
      on: {
        ...anew,
        'head.changed': newer,
        'votes.collected': [
          {
            guard: { type: 'hasOrdered', params: votesIn },
            target: 'committing',
            actions: propose((context, votes) =>
              electUnclean(
                context.head!,
                votes.find(({ brokerId }) => brokerId === context.ordered)!,
                votes,
                writeIdOf(context),
                context.settings,
              ),
            ),
          },
          { target: 'stalled' },
        ],
      },
    },
  },
})
