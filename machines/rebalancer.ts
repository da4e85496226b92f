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
import { enqueueActions, setup } from 'xstate'
import { effect } from './effect.ts'
import type { Member } from './group-coordinator.ts'

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
}
export type RebalancerEvent =
  /** `share`: the keys of our queues, null when we are not in the list. */
  | { type: 'members.changed'; generation: number; members: string[]; share: string[] | null }
  | { type: 'join.accepted' }
  | { type: 'join.failed'; code: string; message: string }
  /** `isFinal`: another consumer lives under this id. */
  | { type: 'join.refused'; code: string; message: string; isFinal: boolean }
  | { type: 'beat.rejected' }
  | { type: 'beat.failed' }
  /** Answers to a claim; `queue` is a key, `generation` the claim's. */
  | ({ type: 'queue.claimed'; assignEpoch: number } & Claim)
  | ({ type: 'claim.refused' } & Refusal)
  /** Nobody knows whether it was granted. */
  | ({ type: 'claim.failed' } & Claim)
  /** Finished, committed and released; with what was ordered. */
  | ({ type: 'queue.drained'; assignEpoch: number } & Claim)
  /** The broker refused a pull or a commit under this grant: another one owns the queue, or it is to be read anew. */
  | { type: 'queue.fenced'; queue: string; assignEpoch: number }
  | { type: 'retry.elapsed'; queue: string }
  | { type: 'handOff.elapsed'; queue: string }
  | { type: 'consumer.closed' }

type Membership = { generation: number; members: string[]; share: string[] | null }
type Claim = { queue: string; generation: number }
/** Who holds the queue, and since which generation. */
type Refusal = Claim & { owner: string | null; ownerGeneration: number }

export const ownedOf = ({ held }: RebalancerContext): string[] =>
  Object.keys(held)
    .filter((queue) => held[queue]?.status === 'owned')
    .sort()

const isMember = ({ members }: RebalancerContext, clientId: string | null): boolean =>
  clientId !== null && members.includes(clientId)

/**
 * The generation that the group must have reached for a broker to refuse us like this. An owner that our list does not
 * have cannot come from our coordinator: a predecessor made another list of the same generation.
 */
const generationBehind = (context: RebalancerContext, { owner, ownerGeneration }: Refusal): number =>
  ownerGeneration === context.generation && !isMember(context, owner) ? ownerGeneration + 1 : ownerGeneration

const isWanted = ({ target }: RebalancerContext, queue: string): boolean => target.includes(queue)

const isClaimed = ({ held }: RebalancerContext, queue: string): boolean =>
  held[queue]?.status === 'claiming' || held[queue]?.status === 'refused'

/** Whether the claim that was answered is the last one that was made. */
const isAwaited = (context: RebalancerContext, { queue, generation }: Claim): boolean =>
  isClaimed(context, queue) && context.held[queue]?.generation === generation

/** Whether it is the drain that was ordered last that has ended: one of an earlier grant says nothing of this one. */
const isDrained = (
  { held }: RebalancerContext,
  { queue, generation, assignEpoch }: Claim & { assignEpoch: number },
): boolean =>
  held[queue]?.status === 'draining' &&
  held[queue].generation === generation &&
  held[queue].assignEpoch === assignEpoch

/** Whether we read the queue under that very grant. */
const isRead = ({ held }: RebalancerContext, queue: string, assignEpoch: number): boolean =>
  (held[queue]?.status === 'owned' || held[queue]?.status === 'draining') &&
  held[queue].assignEpoch === assignEpoch

const isSettled = (context: RebalancerContext): boolean =>
  context.target.length === Object.keys(context.held).length &&
  context.target.every((queue) => context.held[queue]?.status === 'owned')

const rebalancer = setup({
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
     * Stop pulling, finish what was read, commit, release; then queue.drained, whatever failed. Idempotent. `assignEpoch` 0: it
     * was never read, and what is released is all that was claimed up to this generation.
     */
    drainQueue: effect<Claim & { assignEpoch: number }>('drainQueue'),
    /** It is another one's: forget what was read, commit nothing. */
    dropQueue: effect<Claim>('dropQueue'),
    announceAssignment: effect<{ owned: string[]; generation: number }>('announceAssignment'),
    reportRefused: effect<{ code: string; message: string; isFinal: boolean }>('reportRefused'),
  },
  guards: {
    /** A division that is not older than ours and has us in it. */
    isOurs: ({ context }, { generation, share }: Membership) =>
      generation >= context.generation && share !== null,
    isNewer: ({ context }, { generation }: Membership) => generation > context.generation,
    isOvertaken: ({ context }, refusal: Refusal) => generationBehind(context, refusal) > context.generation,
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
  },
})

type Who = { group: string; clientId: string; instance: string }
type Args = Parameters<Parameters<typeof rebalancer.enqueueActions>[0]>[0]

/** Asks for a queue, in the generation that we know now. */
function claim(
  { context, enqueue }: Args,
  queue: string,
  { force = false, waits = false, owner = null as string | null } = {},
): Holding {
  const { generation } = context
  enqueue({ type: 'claimQueue', params: { queue, generation, force, waits } })
  return { status: 'claiming', generation, assignEpoch: 0, owner, waits }
}

function claimFirst(args: Args, queue: string): Holding {
  armHandOff(args, queue)
  return claim(args, queue)
}

function armHandOff({ enqueue }: Args, queue: string): void {
  enqueue.cancel(`handOff/${queue}`)
  enqueue.raise({ type: 'handOff.elapsed', queue }, { id: `handOff/${queue}`, delay: 'handOffLimit' })
}

function retryLater({ enqueue }: Args, queue: string): void {
  enqueue.cancel(`retry/${queue}`)
  enqueue.raise({ type: 'retry.elapsed', queue }, { id: `retry/${queue}`, delay: 'claimRetry' })
}

function stopClaiming({ enqueue }: Args, queue: string): void {
  enqueue.cancel(`retry/${queue}`)
  enqueue.cancel(`handOff/${queue}`)
}

function drain(args: Args, queue: string, holding: Holding): Holding {
  const { generation, assignEpoch } = holding
  stopClaiming(args, queue)
  args.enqueue({ type: 'drainQueue', params: { queue, generation, assignEpoch } })
  return { ...holding, status: 'draining' }
}

const without = (held: RebalancerContext['held'], queue: string): RebalancerContext['held'] => {
  const { [queue]: _, ...others } = held
  return others
}

/**
 * Claims what is wanted and not held, takes what a member held that is gone, gives back what is held and not wanted, and
 * touches nothing else.
 */
const reconcile = rebalancer.enqueueActions((args) => {
  const { context, enqueue } = args
  const held: RebalancerContext['held'] = {}
  const wanted = new Set(context.target)
  const members = new Set(context.members)
  for (const [queue, holding] of Object.entries(context.held)) {
    const { status, owner } = holding
    const isClaim = status === 'claiming' || status === 'refused'
    if (isClaim && wanted.has(queue) && owner !== null && !members.has(owner)) {
      args.enqueue.cancel(`retry/${queue}`)
      held[queue] = claim(args, queue, { force: true, owner })
    } else if (wanted.has(queue) || status === 'draining') held[queue] = holding
    else if (status === 'refused') stopClaiming(args, queue)
    else held[queue] = drain(args, queue, holding)
  }
  for (const queue of wanted) held[queue] ??= claimFirst(args, queue)
  enqueue.assign({ held })
  if (ownedOf({ ...context, held }).length < ownedOf(context).length) enqueue(announce)
})

const hold = ({ context, enqueue }: Args, queue: string, holding: Holding): void =>
  enqueue.assign({ held: { ...context.held, [queue]: holding } })

function own(args: Args, { queue, generation, assignEpoch }: Claim & { assignEpoch: number }): void {
  stopClaiming(args, queue)
  hold(args, queue, { status: 'owned', generation, assignEpoch, owner: null, waits: false })
  args.enqueue(announce)
}

/** Perhaps granted, and not wanted any more. What is being finished of the queue, under another grant, goes on. */
function giveBack(args: Args, { queue, generation }: Claim): void {
  const before = args.context.held[queue]
  const drained = drain(args, queue, {
    status: 'claiming',
    generation,
    assignEpoch: 0,
    owner: null,
    waits: false,
  })
  if (before?.status !== 'draining') hold(args, queue, drained)
}

/** Whoever holds it is a member: the next claim waits until it lets go. Or it is not, and nobody can let go. */
function heedRefusal(args: Args, refusal: Refusal): void {
  const { context, enqueue } = args
  const { queue, owner } = refusal
  const behind = generationBehind(context, refusal)
  enqueue.assign({ latest: Math.max(context.latest, behind) })
  if (!isAwaited(context, refusal)) return
  const holding = context.held[queue]!
  const isGone = owner !== null && !isMember(context, owner)
  if (behind <= context.generation && isGone)
    return hold(args, queue, claim(args, queue, { force: true, owner }))
  if (behind <= context.generation && !holding.waits) {
    return hold(args, queue, claim(args, queue, { waits: true, owner }))
  }
  retryLater(args, queue)
  hold(args, queue, { ...holding, status: 'refused', owner, waits: false })
}

function askLater(args: Args, { queue }: Claim): void {
  retryLater(args, queue)
  hold(args, queue, { ...args.context.held[queue]!, waits: false })
}

function askAgain(args: Args, queue: string): void {
  const owner = args.context.held[queue]?.owner ?? null
  hold(args, queue, claim(args, queue, { force: owner !== null && !isMember(args.context, owner), owner }))
}

function takeByForce(args: Args, queue: string): void {
  const owner = args.context.held[queue]?.owner ?? null
  armHandOff(args, queue)
  hold(args, queue, claim(args, queue, { force: true, owner }))
}

function forget(args: Args, queue: string): void {
  const held = without(args.context.held, queue)
  if (isWanted(args.context, queue)) held[queue] = claimFirst(args, queue)
  args.enqueue.assign({ held })
}

function drop(args: Args, queue: string): void {
  const { context, enqueue } = args
  const { generation } = context.held[queue]!
  enqueue({ type: 'dropQueue', params: { queue, generation } })
  const held = without(context.held, queue)
  if (isWanted(context, queue)) held[queue] = claimFirst(args, queue)
  enqueue.assign({ held })
  enqueue(announce)
}

const announce = {
  type: 'announceAssignment',
  params: ({ context }: { context: RebalancerContext }) => ({
    owned: ownedOf(context),
    generation: context.generation,
  }),
} as const
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
  }),
  initial: 'joining',
  on: {
    'queue.claimed': [
      {
        guard: ({ context, event }) => isAwaited(context, event),
        actions: enqueueActions((args) => own(args, args.event)),
      },
      {
        guard: ({ context, event }) => !isWanted(context, event.queue),
        actions: enqueueActions((args) => giveBack(args, args.event)),
      },
    ],
    'claim.refused': { actions: enqueueActions((args) => heedRefusal(args, args.event)) },
    'claim.failed': [
      {
        guard: ({ context, event }) => isAwaited(context, event),
        actions: enqueueActions((args) => askLater(args, args.event)),
      },
      {
        guard: ({ context, event }) => !isWanted(context, event.queue),
        actions: enqueueActions((args) => giveBack(args, args.event)),
      },
    ],
    'queue.drained': {
      guard: ({ context, event }) => isDrained(context, event),
      actions: enqueueActions((args) => forget(args, args.event.queue)),
    },
    'queue.fenced': {
      guard: ({ context, event }) => isRead(context, event.queue, event.assignEpoch),
      actions: enqueueActions((args) => drop(args, args.event.queue)),
    },
    'retry.elapsed': {
      guard: ({ context, event }) => isClaimed(context, event.queue),
      actions: enqueueActions((args) => askAgain(args, args.event.queue)),
    },
    'handOff.elapsed': {
      guard: ({ context, event }) => isClaimed(context, event.queue),
      actions: enqueueActions((args) => takeByForce(args, args.event.queue)),
    },
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
        // Our coordinator is behind, or we are: joining again tells which.
        'claim.refused': [
          {
            guard: { type: 'isOvertaken', params: ({ event }) => event },
            target: '#joining',
            actions: enqueueActions((args) => heedRefusal(args, args.event)),
          },
          { actions: enqueueActions((args) => heedRefusal(args, args.event)) },
        ],
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
      after: { handOffLimit: 'left' },
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
