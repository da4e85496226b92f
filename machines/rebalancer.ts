/**
 * Rebalancer: one consumer's side of dividing the queues of a group.
 *
 * Each member computes its own share from the list of members that all have alike. What is then between two members is
 * settled by the broker of each queue, which grants it to AT MOST ONE. So a clean hand-over needs no coordinator: the
 * old owner finishes what it has, commits and releases; the new one claims until it is granted. A claim is forced only
 * when its owner is no member any more, or did not let go within `handOffLimit`; the owner is then fenced.
 *
 * Losing the coordinator takes no queue away: what is held goes on while the member joins again.
 * A queue is held AT MOST ONCE, and every answer to a claim is acted on: one that comes too late is given back.
 *
 *   joining ──welcomed──▶ member ──beat failed──▶ joining        a queue:  claiming ──▶ owned ──▶ draining ──▶ (gone)
 *      └──closed──▶ leaving ◀──closed──┘                                     │ ▲          └fenced┐
 *                      └──nothing held──▶ left                               ▼ └─retry── refused ◀┘
 *
 * RocketMQ: client/impl/consumer/RebalanceImpl.java, RebalancePushImpl.java
 */
import { assign, enqueueActions, setup } from 'xstate'
import { type Allocation, allocateFor } from './allocation/index.ts'
import { effect } from './effect.ts'
import type { Member } from './group-coordinator.ts'
import { type QueueRef, queueKey } from './topic.ts'

/**
 * claiming: asked for, and perhaps granted. refused: another one holds it, it is asked for again. owned: granted.
 * draining: to be given back, what was read of it is being finished.
 */
export type HoldingStatus = 'claiming' | 'refused' | 'owned' | 'draining'
/** `generation`: of the claim. It fences: whoever owns a queue under a later one has overtaken us. */
export type Holding = { status: HoldingStatus; generation: number }

export type RebalancerInput = {
  group: string
  clientId: string
  instance: string
  topics: string[]
  allocation: Allocation
}
export type RebalancerContext = RebalancerInput & {
  /** Of the list of members. */
  generation: number
  /** The latest heard of anywhere: a broker may know a later one than a coordinator that started anew. */
  latest: number
  members: Member[]
  /** Of each topic whose route is known, the queues to read. */
  queues: Record<string, QueueRef[]>
  /** The keys of the queues that are this member's share. */
  target: string[]
  held: Record<string, Holding>
}
export type RebalancerEvent =
  | { type: 'member.welcomed'; generation: number; members: Member[] }
  | { type: 'members.changed'; generation: number; members: Member[] }
  | { type: 'join.failed'; code: string; message: string }
  | { type: 'join.refused'; code: string; message: string }
  | { type: 'beat.rejected' }
  | { type: 'beat.failed' }
  | { type: 'queues.changed'; topic: string; queues: QueueRef[] }
  /** Answers to a claim; `queue` is a key, `generation` the claim's. */
  | { type: 'queue.claimed'; queue: string; generation: number }
  | ({ type: 'claim.refused' } & Refusal)
  /** Nobody knows whether it was granted. */
  | { type: 'claim.failed'; queue: string; generation: number }
  /** Finished, committed and released. */
  | { type: 'queue.drained'; queue: string }
  /** The broker refused a pull or a commit under this generation: another one owns the queue. */
  | { type: 'queue.fenced'; queue: string; generation: number }
  | { type: 'retry.elapsed'; queue: string; owner: string | null }
  | { type: 'handOff.elapsed'; queue: string }
  | { type: 'consumer.closed' }

type Membership = { generation: number; members: Member[] }
type Claim = { queue: string; generation: number }
/** Who holds the queue, and since which generation. */
type Refusal = Claim & { owner: string; ownerGeneration: number }

/** The share of this member. Only those who subscribe a topic count for it. */
export const shareOf = ({ clientId, topics, members, queues, allocation }: RebalancerContext): string[] =>
  topics.flatMap((topic) => {
    const clientIds = members
      .filter((member) => member.topics.includes(topic))
      .map((member) => member.clientId)
    return allocateFor(allocation)(clientId, queues[topic] ?? [], clientIds).map(queueKey)
  })

export const ownedOf = ({ held }: RebalancerContext): string[] =>
  Object.keys(held)
    .filter((queue) => held[queue]?.status === 'owned')
    .sort()

const isMember = ({ members }: RebalancerContext, clientId: string): boolean =>
  members.some((member) => member.clientId === clientId)

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

/** Whether we read the queue under that very claim. */
const isRead = ({ held }: RebalancerContext, { queue, generation }: Claim): boolean =>
  (held[queue]?.status === 'owned' || held[queue]?.status === 'draining') &&
  held[queue].generation === generation

const isSettled = (context: RebalancerContext): boolean =>
  context.topics.every((topic) => context.queues[topic]) &&
  context.target.length === Object.keys(context.held).length &&
  context.target.every((queue) => context.held[queue]?.status === 'owned')

const rebalancer = setup({
  types: {} as { input: RebalancerInput; context: RebalancerContext; events: RebalancerEvent },
  actions: {
    /** Answers member.welcomed, join.refused or join.failed. */
    joinGroup: effect<Member & { group: string; generation: number }>('joinGroup'),
    /** Answers beat.rejected or beat.failed, or nothing. */
    sendBeat: effect<{ group: string; clientId: string; instance: string; generation: number }>('sendBeat'),
    leaveGroup: effect<{ group: string; clientId: string; instance: string }>('leaveGroup'),
    /** Asks the queue's broker. Answers queue.claimed, claim.refused or claim.failed, exactly once. */
    claimQueue: effect<{ queue: string; generation: number; force: boolean }>('claimQueue'),
    /** Stop pulling, finish what was read, commit, release what was claimed up to this generation; then queue.drained,
     * whatever failed. Idempotent. */
    drainQueue: effect<Claim>('drainQueue'),
    /** It is another one's: forget what was read, commit nothing. */
    dropQueue: effect<Claim>('dropQueue'),
    announceAssignment: effect<{ owned: string[]; generation: number }>('announceAssignment'),
    reportRefused: effect<{ code: string; message: string }>('reportRefused'),
  },
  guards: {
    /** A list that is not older than ours and has us in it. */
    isOurs: ({ context: { generation, clientId, instance } }, told: Membership) =>
      told.generation >= generation &&
      told.members.some((member) => member.clientId === clientId && member.instance === instance),
    isOvertaken: ({ context }, refusal: Refusal) => generationBehind(context, refusal) > context.generation,
    isNewer: ({ context }, { generation }: Membership) => generation > context.generation,
    isBalanced: ({ context }) => isSettled(context) && context.target.length > 0,
    isIdle: ({ context }) => isSettled(context) && context.target.length === 0,
    isUnsettled: ({ context }) => !isSettled(context),
    holdsNothing: ({ context }) => Object.keys(context.held).length === 0,
  },
  delays: {
    joinRetry: 500,
    beatInterval: 2_000,
    /** Between two claims of a queue that another one holds. */
    claimRetry: 200,
    /** How long an owner that is alive may take to finish. */
    handOffLimit: 30_000,
  },
})

type Args = Parameters<Parameters<typeof rebalancer.enqueueActions>[0]>[0]

/** Asks for a queue, in the generation that we know now. */
function claim({ context, enqueue }: Args, queue: string, force: boolean): Holding {
  const { generation } = context
  enqueue({ type: 'claimQueue', params: { queue, generation, force } })
  return { status: 'claiming', generation }
}

function claimFirst(args: Args, queue: string): Holding {
  armHandOff(args, queue)
  return claim(args, queue, false)
}

function armHandOff({ enqueue }: Args, queue: string): void {
  enqueue.cancel(`handOff/${queue}`)
  enqueue.raise({ type: 'handOff.elapsed', queue }, { id: `handOff/${queue}`, delay: 'handOffLimit' })
}

function retryLater({ enqueue }: Args, queue: string, owner: string | null): void {
  enqueue.cancel(`retry/${queue}`)
  enqueue.raise({ type: 'retry.elapsed', queue, owner }, { id: `retry/${queue}`, delay: 'claimRetry' })
}

function stopClaiming({ enqueue }: Args, queue: string): void {
  enqueue.cancel(`retry/${queue}`)
  enqueue.cancel(`handOff/${queue}`)
}

function drain(args: Args, queue: string, generation: number): Holding {
  stopClaiming(args, queue)
  args.enqueue({ type: 'drainQueue', params: { queue, generation } })
  return { status: 'draining', generation }
}

const without = (held: RebalancerContext['held'], queue: string): RebalancerContext['held'] => {
  const { [queue]: _, ...others } = held
  return others
}

/** Claims what is wanted and not held, gives back what is held and not wanted, and touches nothing else. */
const reconcile = rebalancer.enqueueActions((args) => {
  const { context, enqueue } = args
  const held: RebalancerContext['held'] = {}
  const wanted = new Set(context.target)
  for (const [queue, holding] of Object.entries(context.held)) {
    if (wanted.has(queue) || holding.status === 'draining') held[queue] = holding
    else if (holding.status === 'refused') stopClaiming(args, queue)
    else held[queue] = drain(args, queue, holding.generation)
  }
  for (const queue of wanted) held[queue] ??= claimFirst(args, queue)
  enqueue.assign({ held })
  if (ownedOf({ ...context, held }).length < ownedOf(context).length) enqueue(announce)
})

function own(args: Args, { queue, generation }: Claim): void {
  const { context, enqueue } = args
  stopClaiming(args, queue)
  enqueue.assign({ held: { ...context.held, [queue]: { status: 'owned', generation } } })
  enqueue(announce)
}

/** Perhaps granted, and not wanted any more. */
function giveBack(args: Args, { queue, generation }: Claim): void {
  args.enqueue.assign({ held: { ...args.context.held, [queue]: drain(args, queue, generation) } })
}

function askLater(
  args: Args,
  { queue, generation }: Claim,
  status: HoldingStatus,
  owner: string | null,
): void {
  retryLater(args, queue, owner)
  args.enqueue.assign({ held: { ...args.context.held, [queue]: { status, generation } } })
}

function heedRefusal(args: Args, refusal: Refusal): void {
  const { context, enqueue } = args
  enqueue.assign({ latest: Math.max(context.latest, generationBehind(context, refusal)) })
  if (isAwaited(context, refusal)) askLater(args, refusal, 'refused', refusal.owner)
}

function askAgain(args: Args, queue: string, force: boolean): void {
  args.enqueue.assign({ held: { ...args.context.held, [queue]: claim(args, queue, force) } })
}

function takeByForce(args: Args, queue: string): void {
  armHandOff(args, queue)
  askAgain(args, queue, true)
}

function forget(args: Args, queue: string): void {
  const held = without(args.context.held, queue)
  if (isWanted(args.context, queue)) held[queue] = claimFirst(args, queue)
  args.enqueue.assign({ held })
}

function drop(args: Args, { queue, generation }: Claim): void {
  const { context, enqueue } = args
  const held = without(context.held, queue)
  enqueue({ type: 'dropQueue', params: { queue, generation } })
  if (isWanted(context, queue)) {
    held[queue] = { status: 'refused', generation }
    retryLater(args, queue, null)
  }
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
const beat = {
  type: 'sendBeat',
  params: ({ context: { group, clientId, instance, generation } }: { context: RebalancerContext }) => ({
    group,
    clientId,
    instance,
    generation,
  }),
} as const
const told = ({ event: { generation, members } }: { event: Membership }): Membership => ({
  generation,
  members,
})

const adopt = rebalancer.assign(({ context, event }) => {
  if (!('members' in event)) return {}
  const { generation, members } = event
  return { generation, latest: Math.max(context.latest, generation), members }
})
const learnQueues = rebalancer.assign(({ context, event }) =>
  event.type === 'queues.changed' ? { queues: { ...context.queues, [event.topic]: event.queues } } : {},
)
const aim = rebalancer.assign(({ context }) => ({ target: shareOf(context) }))

const joined = {
  guard: { type: 'isOurs', params: told },
  target: 'member',
  actions: [adopt, aim, reconcile],
} as const
const changed = [
  { guard: { type: 'isOurs', params: told }, actions: [adopt, aim, reconcile] },
  // A newer list without us: the coordinator took us for dead.
  { guard: { type: 'isNewer', params: told }, target: '#joining' },
] as const

export const rebalancerMachine = rebalancer.createMachine({
  id: 'rebalancer',
  context: ({ input }) => ({
    ...input,
    generation: 0,
    latest: 0,
    members: [],
    queues: {},
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
        actions: enqueueActions((args) => askLater(args, args.event, 'claiming', null)),
      },
      {
        guard: ({ context, event }) => !isWanted(context, event.queue),
        actions: enqueueActions((args) => giveBack(args, args.event)),
      },
    ],
    'queue.drained': {
      guard: ({ context, event }) => context.held[event.queue]?.status === 'draining',
      actions: enqueueActions((args) => forget(args, args.event.queue)),
    },
    'queue.fenced': {
      guard: ({ context, event }) => isRead(context, event),
      actions: enqueueActions((args) => drop(args, args.event)),
    },
    'retry.elapsed': {
      guard: ({ context, event }) => isClaimed(context, event.queue),
      actions: enqueueActions((args) => {
        const { owner, queue } = args.event
        askAgain(args, queue, owner !== null && !isMember(args.context, owner))
      }),
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
      on: {
        'member.welcomed': joined,
        'members.changed': joined,
        'queues.changed': { actions: learnQueues },
        'consumer.closed': 'leaving',
      },
      states: {
        asking: {
          entry: {
            type: 'joinGroup',
            params: ({ context: { group, clientId, instance, topics, latest } }) => ({
              group,
              clientId,
              instance,
              topics,
              generation: latest,
            }),
          },
          on: {
            'join.failed': 'waiting',
            'join.refused': {
              target: 'waiting',
              actions: {
                type: 'reportRefused',
                params: ({ event: { code, message } }) => ({ code, message }),
              },
            },
          },
        },
        waiting: { after: { joinRetry: 'asking' } },
      },
    },
    member: {
      type: 'parallel',
      on: {
        'member.welcomed': changed,
        'members.changed': changed,
        'queues.changed': { actions: [learnQueues, aim, reconcile] },
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
      entry: [assign({ target: [] }), reconcile],
      initial: 'draining',
      always: { guard: 'holdsNothing', target: 'left' },
      after: { handOffLimit: 'left' },
      states: {
        // It is a member until all is given back, so that nobody takes a queue by force.
        draining: { after: { beatInterval: { target: 'draining', reenter: true, actions: beat } } },
      },
    },
    left: {
      type: 'final',
      entry: {
        type: 'leaveGroup',
        params: ({ context: { group, clientId, instance } }) => ({ group, clientId, instance }),
      },
    },
  },
})
