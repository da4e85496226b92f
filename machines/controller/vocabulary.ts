/**
 * The words of a controller: what it knows, hears and orders, and the guards of its chart (controller.ts).
 */
import { setup } from 'xstate'
import { effect } from '../effect.ts'
import {
  boot,
  compareLogs,
  type GroupSettings,
  type GroupState,
  type Head,
  isEligible,
  memberOf,
  type Vote,
} from '../group-state.ts'

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

export const controller = setup({
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
export function winnerOf({ head, reason }: ControllerContext, votes: readonly Vote[]): Vote | null {
  const eligible = votes.filter((vote) => isEligible(head!, vote)).sort(compareLogs)
  const others = eligible.filter(({ brokerId }) => brokerId !== head!.masterId)
  return (reason === 'notPromoted' || reason === 'resigned' ? others[0] : null) ?? eligible[0] ?? null
}

export const writeIdOf = ({ controllerId, head }: ControllerContext): string =>
  `controller/${controllerId}@${head?.revision ?? 0}`

export const signIn = ({
  event: { brokerId, incarnation, lineage, epoch, role },
}: {
  event: Sign
}): Sign => ({
  brokerId,
  incarnation,
  lineage,
  epoch,
  role,
})
const headIn = ({ event: { head } }: { event: { head: Head } }) => ({ head })
export const votesIn = ({ event: { votes } }: { event: { votes: Vote[] } }) => ({ votes })

export const hearHead = controller.assign({
  head: ({ context, event }) => ('head' in event && event.head ? event.head : context.head),
})
export const because = (reason: Reason) => controller.assign({ reason })
export const ballotBecause = (reason: Reason) => ({ target: '#balloting', actions: because(reason) }) as const
export const learnSettings = controller.assign({
  settings: ({ context, event }) => ('settings' in event ? event.settings : context.settings),
})
export const masterIs = { type: 'isMaster', params: signIn } as const
export const restarted = {
  guard: { type: 'hasRestarted', params: signIn },
  target: '#balloting',
  actions: [learnSettings, because('restarted')],
} as const
export const resigned = {
  guard: { type: 'hasResigned', params: signIn },
  target: '#balloting',
  actions: [learnSettings, because('resigned')],
} as const
/** What is there counts, however old it is: a swap from anything else would never succeed. */
export const anew = {
  'register.regressed': { target: '#reading', actions: controller.assign({ head: null }) },
} as const
/** Somebody has changed it: the head says who is master. */
export const newer = {
  guard: { type: 'isNews', params: headIn },
  target: '#tracking',
  actions: hearHead,
} as const
