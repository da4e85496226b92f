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
import { assign, setup } from 'xstate'
import { effect } from './effect.ts'
import {
  boot,
  compareLogs,
  elect,
  electUnclean,
  type GroupSettings,
  type GroupState,
  type Head,
  isEligible,
  memberOf,
  type Vote,
} from './group-state.ts'

export type ControllerInput = { controllerId: string; brokerName: string }
export type ControllerContext = {
  /** Names ONE RUN of a controller. */
  controllerId: string
  brokerName: string
  /** How the group is meant to be, as its replicas tell; null before the first of them. */
  settings: GroupSettings | null
  head: Head | null
  /** Probes in a row that the master has not answered. */
  unanswered: number
  /** Why the master is to be replaced. */
  reason: Reason | null
  /** The swap that is under way. */
  proposal: GroupState | null
  /** Whom a person has ordered to be master, though it may have lost messages. */
  ordered: number | null
}
type Reason = 'unreachable' | 'silent' | 'restarted' | 'resigned' | 'notPromoted' | 'noMaster'

/** A sign of life of one replica. */
export type Sign = {
  brokerId: number
  incarnation: number
  lineage: number
  epoch: number
  role: 'starting' | 'waiting' | 'slave' | 'promoting' | 'master' | 'demoting' | 'stopping' | 'halted'
}

export type ControllerEvent =
  | { type: 'head.changed'; head: Head }
  /** The register holds nothing for this group. */
  | { type: 'register.empty' }
  /** It holds something older than it did. */
  | { type: 'register.regressed' }
  | ({ type: 'beat.heard'; settings: GroupSettings } & Sign)
  | ({ type: 'probe.answered' } & Sign)
  /** Nobody listens there: the process is gone, or its connection. */
  | { type: 'probe.unreachable'; brokerId: number }
  | { type: 'probe.silent'; brokerId: number }
  | { type: 'votes.collected'; votes: Vote[] }
  | { type: 'swap.succeeded'; writeId: string; revision: number }
  | { type: 'swap.conflicted'; writeId: string; head: Head | null }
  | { type: 'swap.unknown'; writeId: string }
  | { type: 'unclean.ordered'; brokerId: number }

const controller = setup({
  types: {} as { input: ControllerInput; context: ControllerContext; events: ControllerEvent },
  actions: {
    /** Answers head.changed or register.empty; or nothing. */
    readHead: effect('readHead'),
    /** Answers probe.*. */
    probeMaster: effect<{ brokerId: number }>('probeMaster'),
    /** Asks the replicas with ids below `replicas`. Answers votes.collected with the votes that came in time. */
    collectVotes: effect<{ replicas: number }>('collectVotes'),
    /** Answers swap.*. */
    swapState: effect<{ expected: number; state: GroupState }>('swapState'),
    raiseAlarm: effect<{ code: string; message: string }>('raiseAlarm'),
  },
  guards: {
    isNews: ({ context }, { head }: { head: Head }) =>
      context.head === null || head.revision > context.head.revision,
    /** It lives and is, or is about to be, the master that the head names. */
    isMaster: ({ context: { head } }, sign: Sign) =>
      names(head, sign) &&
      (sign.role === 'master' || sign.role === 'promoting') &&
      sign.epoch === head!.epoch,
    /** The master's process was started anew, maybe on an empty folder: it does not continue its epoch. */
    hasRestarted: ({ context: { head } }, { brokerId, incarnation, lineage }: Sign) =>
      head !== null &&
      brokerId === head.masterId &&
      (incarnation > head.masterIncarnation ||
        lineage > (memberOf(head.syncStateSet, brokerId)?.lineage ?? lineage)),
    /** It lives and will not be master. */
    hasResigned: ({ context: { head } }, sign: Sign) =>
      names(head, sign) && (sign.role === 'halted' || sign.role === 'stopping'),
    isFromMaster: ({ context: { head } }, sign: Sign) => names(head, sign),
    hasNoMaster: ({ context: { head } }) => head?.masterId === null,
    isGone: ({ context: { unanswered } }) => unanswered >= 2,
    /** Whoever cannot be reached from here is not gone while others hear it. */
    isHeard: ({ context: { head, reason } }, { votes }: { votes: readonly Vote[] }) =>
      (reason === 'unreachable' || reason === 'silent') &&
      votes.some(
        (vote) =>
          (vote.brokerId === head!.masterId && vote.incarnation === head!.masterIncarnation) ||
          (vote.hearsMaster && memberOf(head!.syncStateSet, vote.brokerId) !== undefined),
      ),
    mayBoot: ({ context }, { votes }: { votes: readonly Vote[] }) =>
      context.settings !== null && boot(context.settings, votes, '') !== null,
    hasCandidate: ({ context }, { votes }: { votes: readonly Vote[] }) => winnerOf(context, votes) !== null,
    hasOrdered: ({ context: { ordered } }, { votes }: { votes: readonly Vote[] }) =>
      votes.some(({ brokerId }) => brokerId === ordered),
    isCandidate: ({ context: { head } }, { brokerId, lineage }: Sign) =>
      memberOf(head!.syncStateSet, brokerId)?.lineage === lineage,
    isProposal: ({ context }, { writeId }: { writeId: string }) => writeId === context.proposal?.writeId,
    isOtherProposal: ({ context }, { writeId }: { writeId: string }) => writeId !== context.proposal?.writeId,
    holdsProposal: ({ context }, { head }: { head: Head | null }) =>
      head !== null && head.writeId === context.proposal?.writeId,
    holdsOther: (_, { head }: { head: Head | null }) => head !== null,
  },
  delays: {
    headRetry: 1_000,
    bootRetry: 200,
    masterLate: 250,
    probePause: 50,
    swapRetry: 200,
    promoteLimit: 3_000,
    stalledRetry: 500,
  },
})

const names = (head: Head | null, { brokerId, incarnation }: Sign): boolean =>
  head !== null && brokerId === head.masterId && incarnation === head.masterIncarnation

/** The longest log of those that may be elected. Who was elected and did not serve is tried again only for want of others. */
function winnerOf({ head, reason }: ControllerContext, votes: readonly Vote[]): Vote | null {
  const eligible = votes.filter((vote) => isEligible(head!, vote)).sort(compareLogs)
  const others = eligible.filter(({ brokerId }) => brokerId !== head!.masterId)
  return (reason === 'notPromoted' || reason === 'resigned' ? others[0] : null) ?? eligible[0] ?? null
}

const writeIdOf = ({ controllerId, head }: ControllerContext): string =>
  `controller/${controllerId}@${head?.revision ?? 0}`

const signIn = ({ event: { brokerId, incarnation, lineage, epoch, role } }: { event: Sign }): Sign => ({
  brokerId,
  incarnation,
  lineage,
  epoch,
  role,
})
const headIn = ({ event: { head } }: { event: { head: Head } }) => ({ head })
const held = ({ event: { head } }: { event: { head: Head | null } }) => ({ head })
const votesIn = ({ event: { votes } }: { event: { votes: Vote[] } }) => ({ votes })
const writeIdIn = ({ event: { writeId } }: { event: { writeId: string } }) => ({ writeId })

const hearHead = controller.assign({
  head: ({ context, event }) => ('head' in event && event.head ? event.head : context.head),
})
const because = (reason: Reason) => controller.assign({ reason })
const ballotBecause = (reason: Reason) => ({ target: '#balloting', actions: because(reason) }) as const
const countUnanswered = controller.assign({ unanswered: ({ context }) => context.unanswered + 1 })
const learnSettings = controller.assign({
  settings: ({ context, event }) => ('settings' in event ? event.settings : context.settings),
})
const propose = (build: (context: ControllerContext, votes: readonly Vote[]) => GroupState) =>
  controller.assign({
    proposal: ({ context, event }) => ('votes' in event ? build(context, event.votes) : context.proposal),
  })
const masterIs = { type: 'isMaster', params: signIn } as const
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
const restarted = { guard: { type: 'hasRestarted', params: signIn }, ...ballotBecause('restarted') } as const
const resigned = { guard: { type: 'hasResigned', params: signIn }, ...ballotBecause('resigned') } as const
const elected = { target: '#tracking', actions: hearHead } as const
const newer = { guard: { type: 'isNews', params: headIn }, ...elected } as const
/** What is there counts, however old it is: a swap from anything else would never succeed. */
const anew = {
  'register.regressed': { target: '#reading', actions: controller.assign({ head: null }) },
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
    tracking: {
      id: 'tracking',
      initial: 'healthy',
      on: {
        ...anew,
        'head.changed': { ...newer, reenter: true },
        'beat.heard': [
          { guard: masterIs, target: '.healthy', reenter: true, actions: learnSettings },
          restarted,
          resigned,
          { actions: learnSettings },
        ],
      },
      states: {
        healthy: {
          entry: controller.assign({ unanswered: 0, reason: null }),
          always: { guard: 'hasNoMaster', ...ballotBecause('noMaster') },
          after: { masterLate: 'probing' },
        },
        probing: {
          entry: {
            type: 'probeMaster',
            params: ({ context: { head } }) => ({ brokerId: head!.masterId! }),
          },
          on: {
            'probe.answered': [
              { guard: masterIs, target: 'healthy' },
              restarted,
              resigned,
              // It lives and has yet to learn that it is master.
              { target: '#announced' },
            ],
            'probe.unreachable': { target: 'doubting', actions: [countUnanswered, because('unreachable')] },
            'probe.silent': { target: 'doubting', actions: [countUnanswered, because('silent')] },
          },
        },
        doubting: {
          always: { guard: 'isGone', target: '#balloting' },
          after: { probePause: 'probing' },
        },
      },
    },
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
    committing: {
      initial: 'swapping',
      states: {
        swapping: {
          entry: {
            type: 'swapState',
            params: ({ context: { head, proposal } }) => ({
              expected: head?.revision ?? 0,
              state: proposal!,
            }),
          },
          on: {
            'swap.succeeded': {
              guard: { type: 'isProposal', params: writeIdIn },
              target: '#announced',
              actions: assign({
                head: ({ context, event }) => ({ ...context.proposal!, revision: event.revision }),
                proposal: null,
              }),
            },
            'swap.conflicted': [
              // The answer to an earlier swap.
              { guard: { type: 'isOtherProposal', params: writeIdIn } },
              {
                guard: { type: 'holdsProposal', params: held },
                target: '#announced',
                actions: [hearHead, assign({ proposal: null })],
              },
              {
                guard: { type: 'holdsOther', params: held },
                target: '#tracking',
                actions: [hearHead, assign({ proposal: null })],
              },
              { target: '#reading', actions: assign({ head: null, proposal: null }) },
            ],
            'swap.unknown': { guard: { type: 'isProposal', params: writeIdIn }, target: 'resolving' },
          },
        },
        resolving: { after: { swapRetry: 'swapping' } },
      },
    },
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
          { guard: { type: 'isCandidate', params: signIn }, target: 'balloting' },
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
