/** What a coordinator of a group knows, hears and orders. */
import { setup } from 'xstate'
import type { Allocation } from '../allocation/index.ts'
import { effect } from '../effect.ts'
import { areRivals, isLater } from '../generation.ts'
import { own } from '../own.ts'
import type { QueueRef } from '../topic.ts'
import { allocationOf, wantedTopics } from './division.ts'

/** 'custom': each member divides by a function of its own. */
export type GroupAllocation = Allocation | 'custom'

export type Member = {
  /** Chosen by the operator or made up: names the consumer, and decides its place in the allocation. */
  clientId: string
  /** Made up at each start: tells two processes of one client id apart. */
  instance: string
  /** What it wants of which topic. */
  subscriptions: Record<string, string>
  allocation: GroupAllocation
  /** Its machine room, '' when it did not say. */
  room: string
  /** The keys of its queues, for 'by-config'. */
  queues: string[]
  /** The machine rooms whose brokers are read, for 'by-machine-room'. */
  consumerRooms: string[]
  /** Whether it keeps its share while it is away for less than its session. */
  isStatic: boolean
  /** It is dropped when nothing is heard of it for so long. */
  sessionMs: number
}

/** A member as all are told of it. */
export type Assigned = {
  clientId: string
  instance: string
  topics: string[]
  /** The keys of the queues that are its share; null: it divides by a function of its own. */
  queues: string[] | null
}
/** What all members are told alike, sorted by client id. */
export type Assignment = { generation: number; members: Assigned[] }

export type Standing = Member & {
  /** It gives back what it has: it gets nothing any more, and nothing of it may be taken by force. */
  isLeaving: boolean
  /** Nothing was heard of it for a while, or it is away: another instance may take its place. */
  isSilent: boolean
  /** Another instance that wants its place, and whether this one was heard of since: then both live. */
  rival: { instance: string; isRefused: boolean } | null
  /** The keys of the queues that it was given, and has not said yet that it knows. A static one keeps all it was given. */
  unheard: string[]
  /** The queues were divided while it was silent, and it got nothing new. */
  isPassedOver: boolean
}

export type GroupCoordinatorInput = {
  group: string
  /** Below COORDINATORS, by chance: no other coordinator of the group has it, neither before nor after. */
  number: number
}
export type GroupCoordinatorContext = GroupCoordinatorInput & {
  members: Record<string, Standing>
  /** Of each topic that is known, the queues to read. */
  queues: Record<string, QueueRef[]>
  /** By queue key: whose share it was last. */
  target: Record<string, string>
  /** What was said last. */
  told: Assignment
  /** By queue key: how many messages wait. */
  lags: Record<string, number>
  /** What has happened since the last division. */
  causes: string[]
}
export type GroupCoordinatorEvent =
  /** `generation`: the last one the member knew, 0 when it is new. `held`: the keys of the queues it has. */
  | ({ type: 'member.joined'; generation: number; held: string[] } & Member)
  | ({ type: 'member.beat'; generation: number } & Who)
  /** It begins to give back what it has. */
  | ({ type: 'member.leaving' } & Who)
  | ({ type: 'member.left' } & Who)
  /** Nothing was heard of it for a while, it said that it would be away, or nobody listened when it was told its share. */
  | ({ type: 'member.silent' } & Who)
  | ({ type: 'member.expired' } & Who)
  | { type: 'queues.changed'; topic: string; queues: QueueRef[] }
  | { type: 'lags.measured'; lags: Record<string, number> }
  /** A broker has queues that these own, and nobody reads. `generation`: the latest that a claim of theirs rested on. */
  | ({ type: 'owners.doubted' } & Doubt)
  /** Of its own: who belongs to the group, or what it reads, is not as it was when the queues were divided. */
  | { type: 'division.outdated' }

export type Who = { clientId: string; instance: string }
export type Doubt = { clientIds: string[]; generation: number }
export type EventOf<T> = Extract<GroupCoordinatorEvent, { type: T }>

export type RebalanceNote = {
  /** How many divisions there were with this one. */
  generation: number
  causes: string[]
  members: number
  queues: number
  /** Queues whose share they are not any more. */
  moves: number
}

export const isMember = ({ members }: GroupCoordinatorContext, { clientId, instance }: Who): boolean =>
  own(members, clientId)?.instance === instance

/** Who of these is no member: only a division that is later than their claims, and was told without them, proves it. */
export function goneOf({ members, told }: GroupCoordinatorContext, doubt: Doubt): string[] | null {
  const absent = doubt.clientIds.filter((clientId) => own(members, clientId) === undefined)
  if (absent.length === 0) return []
  const isTold = told.members.some(({ clientId }) => absent.includes(clientId))
  return isTold || !isLater(told.generation, doubt.generation) ? null : absent
}

/** That division was not made here: another coordinator has made it, and its members may live and hold queues. */
export const isBehind = (
  { told }: GroupCoordinatorContext,
  { generation }: { generation: number },
): boolean => isLater(generation, told.generation) || areRivals(generation, told.generation)

export const coordinator = setup({
  types: {} as {
    input: GroupCoordinatorInput
    context: GroupCoordinatorContext
    events: GroupCoordinatorEvent
  },
  actions: {
    /** Answers the join of one member: it is told its share soon. */
    acceptMember: effect<Who>('acceptMember'),
    /** Answers the join. `isFinal`: the other one lives; else it may just not be known yet that it is gone. */
    refuseMember: effect<Who & { message: string; isFinal: boolean }>('refuseMember'),
    /** To all members, or to one that missed it. Answers member.silent for each whose process has ended. */
    pushAssignment: effect<Assignment & { to: string | null }>('pushAssignment'),
    /** Answers a beat: you are no member, join. */
    rejectBeat: effect<Who>('rejectBeat'),
    /** Answers queues.changed for each topic, and again whenever they change. */
    watchTopics: effect<{ topics: string[] }>('watchTopics'),
    /** Answers lags.measured. */
    measureLags: effect<{ topics: string[] }>('measureLags'),
    noteRebalance: effect<RebalanceNote>('noteRebalance'),
    /** Answers owners.doubted. `gone`: who is no member in that generation; null: it is not known yet. */
    reportGone: effect<{ generation: number; gone: string[] | null }>('reportGone'),
  },
  guards: {
    isMember: ({ context }, who: Who) => isMember(context, who),
    isLast: ({ context }, who: Who) => isMember(context, who) && Object.keys(context.members).length === 1,
    isAnothers: ({ context: { members } }, { clientId, instance }: Who) => {
      const known = own(members, clientId)
      return known !== undefined && known.instance !== instance && !known.isSilent
    },
    isRepeated: (
      { context },
      { type: _, generation: __, held: ___, ...member }: EventOf<'member.joined'>,
    ) => {
      const known = own(context.members, member.clientId)
      return known !== undefined && JSON.stringify({ ...known, ...member }) === JSON.stringify(known)
    },
    missedPush: ({ context }, { generation, ...who }: Who & { generation: number }) =>
      isMember(context, who) && generation < context.told.generation,
    isNews: ({ context }, { topic, queues }: { topic: string; queues: QueueRef[] }) =>
      JSON.stringify(own(context.queues, topic)) !== JSON.stringify(queues),
    knowsQueues: ({ context }) => wantedTopics(context).every((topic) => own(context.queues, topic)),
    hasCauses: ({ context: { causes } }) => causes.length > 0,
    isBehind: ({ context }, known: { generation: number }) => isBehind(context, known),
    isDeserted: ({ context: { members } }) => Object.keys(members).length === 0,
    isByLag: ({ context }) => allocationOf(context) === 'lag-aware',
  },
  delays: {
    /** Members that come and go together make one rebalance. */
    settleWindow: 50,
    /** For the queues of a topic, and for lags. */
    askLimit: 1_000,
    gatherWindow: 4_000,
    /** Two beats and a half: another instance of the same id may take its place. */
    silenceLimit: 5_000,
    memberSession: ({ context, event }) => own(context.members, (event as Who).clientId)?.sessionMs ?? 10_000,
    /** Between two looks at the lags. */
    lagInterval: 10_000,
  },
})
