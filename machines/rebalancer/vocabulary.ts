/** What a rebalancer knows, hears and orders. */
import { setup } from 'xstate'
import { effect } from '../effect.ts'
import { areRivals, nextOf } from '../generation.ts'
import type { Member } from '../group-coordinator.ts'

/**
 * claiming: asked for, and perhaps granted. refused: another one holds it, it is asked for again. owned: granted.
 * draining: to be given back, what was read of it is being finished.
 */
export type HoldingStatus = 'claiming' | 'refused' | 'owned' | 'draining'
export type Holding = {
  status: HoldingStatus
  /** Of the division that the claim rests on. */
  generation: number
  /** Of the grant. It fences: whoever owns the queue under a later one has overtaken us. */
  assignEpoch: number
  /** Who was said to hold it; null when nobody was. */
  owner: string | null
  /** Whether the claim waits until the owner lets go. */
  waits: boolean
  /** Nothing was asked since the last answer: the next retry asks. */
  isDue: boolean
  /** In which round of first claims it was asked for: those of one round run out of patience together. */
  round: number
}

export type RebalancerInput = { group: string; member: Member }
export type RebalancerContext = RebalancerInput & {
  /** Of the division that we follow. */
  generation: number
  /** The latest heard of anywhere: a broker may know a later one than a coordinator that started anew. */
  latest: number
  /** The client ids of all members. */
  members: string[]
  /** The keys of the queues that are this member's share. */
  target: string[]
  held: Record<string, Holding>
  round: number
}

export type Claim = { queue: string; generation: number }
/** Who holds the queue, and since which generation. */
export type Refusal = Claim & { owner: string | null; ownerGeneration: number }
/** What is heard of one queue; `queue` is a key, `generation` the claim's. */
export type QueueNews =
  | ({ type: 'queue.claimed'; assignEpoch: number } & Claim)
  | ({ type: 'claim.refused' } & Refusal)
  /** Nobody knows whether it was granted. */
  | ({ type: 'claim.failed' } & Claim)
  /** Finished, committed and released; with what was ordered. */
  | ({ type: 'queue.drained'; assignEpoch: number } & Claim)
  /** The broker refused a pull or a commit under this grant: another one owns the queue, or it is to be read anew. */
  | { type: 'queue.fenced'; queue: string; assignEpoch: number }

export type RebalancerEvent =
  /** `share`: the keys of our queues, null when we are not in the list. */
  | { type: 'members.changed'; generation: number; members: string[]; share: string[] | null }
  | { type: 'join.accepted' }
  | { type: 'join.failed'; code: string; message: string }
  /** `isFinal`: another consumer lives under this id. */
  | { type: 'join.refused'; code: string; message: string; isFinal: boolean }
  | { type: 'beat.rejected' }
  | { type: 'beat.failed' }
  | QueueNews
  /** Many at once: a member may have thousands of queues, and each event costs as much as it has. */
  | { type: 'queues.heard'; news: QueueNews[] }
  | { type: 'retry.elapsed' }
  | { type: 'handOff.elapsed'; round: number }
  | { type: 'consumer.closed' }

export type Membership = { generation: number; members: string[]; share: string[] | null }
export type Who = { group: string; clientId: string; instance: string }
export type Grant = { queue: string; assignEpoch: number }

export const ownedOf = ({ held }: Pick<RebalancerContext, 'held'>): Grant[] =>
  Object.entries(held)
    .filter(([, { status }]) => status === 'owned')
    .map(([queue, { assignEpoch }]) => ({ queue, assignEpoch }))

/**
 * The generation that the group must have reached for a broker to refuse us like this. A rival of ours is a predecessor's,
 * whose members may live: our coordinator is to hear of it.
 */
export const generationBehind = (
  { generation }: Pick<RebalancerContext, 'generation'>,
  { ownerGeneration }: Pick<Refusal, 'ownerGeneration'>,
): number =>
  areRivals(ownerGeneration, generation) ? nextOf(Math.max(ownerGeneration, generation), 0) : ownerGeneration

const isSettled = ({ target, held }: RebalancerContext): boolean =>
  target.length === Object.keys(held).length && target.every((queue) => held[queue]?.status === 'owned')

export const rebalancer = setup({
  types: {} as { input: RebalancerInput; context: RebalancerContext; events: RebalancerEvent },
  actions: {
    /** Answers join.accepted, join.refused or join.failed; members.changed follows soon. `held`: keys. */
    joinGroup: effect<Member & { group: string; generation: number; held: string[] }>('joinGroup'),
    /** Answers beat.rejected or beat.failed, or nothing. */
    sendBeat: effect<Who & { generation: number }>('sendBeat'),
    /** It goes on as a member until all is given back. */
    announceLeaving: effect<Who>('announceLeaving'),
    /** `isAway`: it may come back within its session and keeps its share until then. */
    leaveGroup: effect<Who & { isAway: boolean }>('leaveGroup'),
    /** Asks the queue's broker. Answers queue.claimed, claim.refused or claim.failed, exactly once. */
    claimQueue: effect<Claim & { force: boolean; waits: boolean }>('claimQueue'),
    /**
     * Stop pulling, finish what was read, commit, release; then queue.drained, whatever failed. Idempotent. `assignEpoch`
     * 0: it was never read, and what is released is all that was claimed up to this generation.
     */
    drainQueue: effect<Claim & { assignEpoch: number }>('drainQueue'),
    /** It is another one's: forget what was read, commit nothing. */
    dropQueue: effect<Claim>('dropQueue'),
    announceAssignment: effect<{ owned: Grant[]; generation: number }>('announceAssignment'),
    reportRefused: effect<{ code: string; message: string; isFinal: boolean }>('reportRefused'),
  },
  guards: {
    /** A division that is not older than ours and has us in it. */
    isOurs: ({ context }, { generation, share }: Membership) =>
      generation >= context.generation && share !== null,
    isNewer: ({ context }, { generation }: Membership) => generation > context.generation,
    isOvertaken: ({ context }, { news }: { news: readonly QueueNews[] }) =>
      news.some(
        (told) => told.type === 'claim.refused' && generationBehind(context, told) > context.generation,
      ),
    isBalanced: ({ context }) => isSettled(context) && context.target.length > 0,
    isIdle: ({ context }) => isSettled(context) && context.target.length === 0,
    isUnsettled: ({ context }) => !isSettled(context),
    holdsNothing: ({ context }) => Object.keys(context.held).length === 0,
    isStatic: ({ context }) => context.member.isStatic,
    /** It never had a place: there is nothing to go on with. */
    isTurnedAway: ({ context }, { isFinal }: { isFinal: boolean }) => isFinal && context.generation === 0,
  },
  delays: {
    joinRetry: 500,
    beatInterval: 2_000,
    /** Between two claims of a queue of which nobody knows whose it is. */
    claimRetry: 200,
    /** How long an owner that is alive may take to finish. */
    handOffLimit: 30_000,
    /** How long it may take to give everything back at last. Whoever waits for handlers for another time says so. */
    leaveLimit: 35_000,
  },
})
