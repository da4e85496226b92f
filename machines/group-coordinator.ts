/**
 * GroupCoordinator: who belongs to one consumer group. Hosted by one broker; each member divides the queues itself.
 *
 * Every member sees the same list under the same generation: a generation is NEVER used for two lists, and never goes
 * back. A coordinator keeps nothing on disk. One that starts anew learns that it had a predecessor from a member that
 * remembers a later generation; it leaps ahead of all that one may have said, and gathers: those who only lost their
 * coordinator still hold their queues, and a list without them would move queues for nothing. Nobody is told a list
 * until they had time to join again.
 *
 *   empty ──joined──▶ active ──joined, and remembers more──▶ gathering ──gatherWindow──▶ active
 *     └──joined, and remembers more──▶ gathering                  the last one left or expired: ──▶ empty
 *
 * RocketMQ: broker/client/ConsumerManager.java, ConsumerGroupInfo.java
 */
import { setup } from 'xstate'
import { effect } from './effect.ts'
import { compareText } from './topic.ts'

export type Member = {
  /** Chosen by the operator or made up: names the consumer, and decides its place in the allocation. */
  clientId: string
  /** Made up at each start: tells two processes of one client id apart. */
  instance: string
  /** Sorted. */
  topics: string[]
}

export type GroupCoordinatorInput = { group: string }
export type GroupCoordinatorContext = {
  group: string
  generation: number
  members: Record<string, Member>
}
export type GroupCoordinatorEvent =
  /** `generation`: the last one the member knew, 0 when it is new. */
  | ({ type: 'member.joined'; generation: number } & Member)
  | { type: 'member.beat'; clientId: string; instance: string; generation: number }
  | { type: 'member.left'; clientId: string; instance: string }
  | { type: 'member.expired'; clientId: string; instance: string }

type Who = { clientId: string; instance: string }
type Membership = { generation: number; members: Member[] }

/** The list that members are told: sorted, so that equal memberships are equal bytes. */
export const membershipOf = ({ generation, members }: GroupCoordinatorContext): Membership => ({
  generation,
  members: Object.values(members).sort((a, b) => compareText(a.clientId, b.clientId)),
})

const isMember = ({ members }: GroupCoordinatorContext, { clientId, instance }: Who): boolean =>
  members[clientId]?.instance === instance

const isAnothers = ({ members }: GroupCoordinatorContext, { clientId, instance }: Who): boolean =>
  members[clientId] !== undefined && members[clientId].instance !== instance

/** Whether a join changes nothing: a member asks again because the answer was lost. */
const isRepeated = (context: GroupCoordinatorContext, joined: Member & { generation: number }): boolean =>
  isMember(context, joined) &&
  JSON.stringify(context.members[joined.clientId]?.topics) ===
    JSON.stringify([...joined.topics].sort(compareText))

function membersAfter({ members }: GroupCoordinatorContext, event: GroupCoordinatorEvent) {
  const { [event.clientId]: _, ...others } = members
  if (event.type !== 'member.joined') return others
  const { clientId, instance, topics } = event
  return { ...others, [clientId]: { clientId, instance, topics: [...topics].sort(compareText) } }
}

const coordinator = setup({
  types: {} as {
    input: GroupCoordinatorInput
    context: GroupCoordinatorContext
    events: GroupCoordinatorEvent
  },
  actions: {
    /** Answers the join of one member. */
    welcomeMember: effect<Who & Membership>('welcomeMember'),
    /** To all members. */
    pushMembers: effect<Membership>('pushMembers'),
    refuseMember: effect<Who & { code: string; message: string }>('refuseMember'),
    /** Answers a beat: you are no member, join. */
    rejectBeat: effect<Who>('rejectBeat'),
  },
  guards: {
    isAnothers: ({ context }, who: Who) => isAnothers(context, who),
    remembersMore: ({ context }, { generation }: { generation: number }) => generation > context.generation,
    isLast: ({ context }, who: Who) => isMember(context, who) && Object.keys(context.members).length === 1,
    isMember: ({ context }, who: Who) => isMember(context, who),
  },
  delays: { memberSession: 10_000, gatherWindow: 4_000 },
})

const who = ({ event: { clientId, instance } }: { event: Who }): Who => ({ clientId, instance })

/** More lists than a predecessor can have made without any of its members hearing of one. */
const LEAP = 1_000

const generationAfter = ({ generation }: GroupCoordinatorContext, event: GroupCoordinatorEvent): number =>
  event.type === 'member.joined' && event.generation > generation ? event.generation + LEAP : generation + 1

const change = coordinator.assign(({ context, event }) => ({
  generation: generationAfter(context, event),
  members: membersAfter(context, event),
}))

const armSession = coordinator.enqueueActions(({ event: { clientId, instance }, enqueue }) => {
  const id = `session/${clientId}`
  enqueue.cancel(id)
  enqueue.raise({ type: 'member.expired', clientId, instance }, { id, delay: 'memberSession' })
})
const cancelSession = coordinator.enqueueActions(({ event, enqueue }) => {
  enqueue.cancel(`session/${event.clientId}`)
})

const welcome = {
  type: 'welcomeMember',
  params: ({ context, event }: { context: GroupCoordinatorContext; event: Who }) => ({
    ...who({ event }),
    ...membershipOf(context),
  }),
} as const
const push = {
  type: 'pushMembers',
  params: ({ context }: { context: GroupCoordinatorContext }) => membershipOf(context),
} as const
const refused = {
  guard: { type: 'isAnothers', params: who },
  actions: {
    type: 'refuseMember',
    params: ({ context, event }: { context: GroupCoordinatorContext; event: Who }) => ({
      ...who({ event }),
      code: 'NO_PERMISSION',
      message:
        `client id '${event.clientId}' is in use by another consumer of group '${context.group}': ` +
        'give each consumer its own, or wait until the other one is stopped',
    }),
  },
} as const
const rejected = { actions: { type: 'rejectBeat', params: who } } as const
const remembered = {
  guard: {
    type: 'remembersMore',
    params: ({ event: { generation } }: { event: { generation: number } }) => ({ generation }),
  },
  target: '#gathering',
  actions: [change, armSession],
} as const
const lastGone = {
  guard: { type: 'isLast', params: who },
  target: '#empty',
  actions: [change, cancelSession],
} as const

export const groupCoordinatorMachine = coordinator.createMachine({
  id: 'groupCoordinator',
  context: ({ input: { group } }) => ({ group, generation: 0, members: {} }),
  initial: 'empty',
  states: {
    empty: {
      id: 'empty',
      on: {
        'member.joined': [remembered, { target: 'active', actions: [change, armSession, welcome] }],
        'member.beat': rejected,
      },
    },
    gathering: {
      id: 'gathering',
      after: { gatherWindow: { target: 'active', actions: push } },
      on: {
        'member.joined': [refused, { actions: [change, armSession] }],
        'member.beat': [{ guard: { type: 'isMember', params: who }, actions: armSession }, rejected],
        'member.left': [
          lastGone,
          { guard: { type: 'isMember', params: who }, actions: [change, cancelSession] },
        ],
        'member.expired': [lastGone, { guard: { type: 'isMember', params: who }, actions: change }],
      },
    },
    active: {
      on: {
        'member.joined': [
          refused,
          remembered,
          { guard: ({ context, event }) => isRepeated(context, event), actions: [armSession, welcome] },
          { actions: [change, armSession, welcome, push] },
        ],
        'member.beat': [
          {
            // Another coordinator, a predecessor that lived on for a moment, told it a later list: it is to say so.
            guard: ({ context, event }) => event.generation > context.generation,
            ...rejected,
          },
          {
            // It missed a push.
            guard: ({ context, event }) =>
              isMember(context, event) && event.generation !== context.generation,
            actions: [armSession, push],
          },
          { guard: { type: 'isMember', params: who }, actions: armSession },
          rejected,
        ],
        'member.left': [
          lastGone,
          { guard: { type: 'isMember', params: who }, actions: [change, cancelSession, push] },
        ],
        'member.expired': [lastGone, { guard: { type: 'isMember', params: who }, actions: [change, push] }],
      },
    },
  },
})
