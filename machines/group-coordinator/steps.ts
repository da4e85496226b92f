/** What a coordinator does, step by step: each a change of what it knows, or an order. */
import { beyond, nextOf } from '../generation.ts'
import { own } from '../own.ts'
import { rebalanced, wantedTopics } from './division.ts'
import {
  type Assignment,
  coordinator,
  type EventOf,
  type GroupCoordinatorContext,
  type GroupCoordinatorEvent,
  goneOf,
  isBehind,
  type Standing,
  type Who,
} from './vocabulary.ts'

/** More causes of one rebalance are not listed. */
const CAUSES_MAX = 8

export const who = ({ event: { clientId, instance } }: { event: Who }): Who => ({ clientId, instance })
const because = ({ causes }: GroupCoordinatorContext, cause: string): string[] =>
  causes.length < CAUSES_MAX ? [...causes, cause] : causes

/** The queues are to be divided anew, as soon as nothing else happens. */
export const outdate = coordinator.raise({ type: 'division.outdated' })

/**
 * What a coordinator knows that has just heard of another one. A leap is no division: NEVER is what was told before told
 * again under a generation that is later than the other one's.
 */
const leapt = ({ told, number }: GroupCoordinatorContext, generation: number): Assignment => ({
  generation: beyond(generation, told.generation, number),
  members: [],
})

const join = coordinator.assign(({ context, event }) => {
  const { type: _, generation, held, ...member } = event as EventOf<'member.joined'>
  const { members, told } = context
  const known = own(members, member.clientId)
  const isForeign = isBehind(context, { generation })
  const target = { ...context.target }
  for (const queue of held) target[queue] ??= member.clientId
  const cause = isForeign
    ? `${member.clientId} knows a division that another coordinator made`
    : known
      ? known.instance === member.instance
        ? `${member.clientId} changed`
        : `${member.clientId} was started anew`
      : `${member.clientId} joined`
  return {
    members: {
      ...members,
      [member.clientId]: {
        ...{ ...member, isLeaving: false, isSilent: false, rival: null },
        ...{ unheard: [], isPassedOver: false },
      },
    },
    told: isForeign ? leapt(context, generation) : told,
    target,
    causes: because(context, cause),
  }
})

const removeBecause = (what: string) =>
  coordinator.assign(({ context, event }) => {
    const { clientId } = event as Who
    const { [clientId]: _, ...members } = context.members
    return { members, causes: because(context, `${clientId} ${what}`) }
  })

const changeMember = (change: (member: Standing, event: GroupCoordinatorEvent) => Partial<Standing>) =>
  coordinator.assign(({ context: { members }, event }) => {
    const member = own(members, (event as Who).clientId)!
    return { members: { ...members, [member.clientId]: { ...member, ...change(member, event) } } }
  })
/** What it may never have heard of goes to those who live, rather than wait for its session. */
export const markSilent = coordinator.enqueueActions(({ context, event, enqueue }) => {
  const { clientId } = event as Who
  const { members } = context
  const member = own(members, clientId)!
  enqueue.assign({ members: { ...members, [clientId]: { ...member, isSilent: true } } })
  const isOther = (other: Standing): boolean => other !== member && !other.isLeaving && !other.isSilent
  if (member.unheard.length === 0 || !Object.values(members).some(isOther)) return
  const cause = `${clientId} fell silent BEFORE it said that it knows its queues`
  enqueue.assign({ causes: because(context, cause) })
  enqueue(outdate)
})
export const markLeaving = coordinator.assign(({ context, event }) => {
  const { clientId } = event as Who
  const { members } = context
  return {
    members: { ...members, [clientId]: { ...own(members, clientId)!, isLeaving: true } },
    causes: because(context, `${clientId} leaves`),
  }
})
/** It lives: whoever waits for its place waits in vain. Nothing is changed in the common case. */
export const hear = coordinator.enqueueActions(({ context, event, enqueue }) => {
  const { clientId, generation } = event as EventOf<'member.beat'>
  const { members, told } = context
  const member = own(members, clientId)!
  const { isSilent, isPassedOver } = member
  const unheard = generation === told.generation ? [] : member.unheard
  const isRivalNews = member.rival !== null && !member.rival.isRefused
  if (!isSilent && !isRivalNews && unheard.length === member.unheard.length) return
  const rival = member.rival && { ...member.rival, isRefused: true }
  const heard = { ...member, rival, unheard, isSilent: false, isPassedOver: false }
  enqueue.assign({ members: { ...members, [clientId]: heard } })
  if (!isPassedOver) return
  enqueue.assign({ causes: because(context, `${clientId} is heard of again`) })
  enqueue(outdate)
})

export const armSession = coordinator.enqueueActions(({ event, enqueue }) => {
  const { clientId, instance } = event as Who
  enqueue.cancel(`session/${clientId}`)
  enqueue.raise(
    { type: 'member.expired', clientId, instance },
    { id: `session/${clientId}`, delay: 'memberSession' },
  )
  enqueue.cancel(`silence/${clientId}`)
  enqueue.raise(
    { type: 'member.silent', clientId, instance },
    { id: `silence/${clientId}`, delay: 'silenceLimit' },
  )
})
const disarm = coordinator.enqueueActions(({ event, enqueue }) => {
  enqueue.cancel(`session/${(event as Who).clientId}`)
  enqueue.cancel(`silence/${(event as Who).clientId}`)
})

export const learnQueues = coordinator.assign(({ context, event }) => {
  const { topic, queues } = event as EventOf<'queues.changed'>
  const known = own(context.queues, topic)
  const cause = known
    ? `topic '${topic}' has ${queues.length} ${queues.length === 1 ? 'queue' : 'queues'}, and had ${known.length}`
    : `topic '${topic}' is known`
  return { queues: { ...context.queues, [topic]: queues }, causes: because(context, cause) }
})

export const rebalance = coordinator.enqueueActions(({ context, enqueue }) => {
  const { next, note } = rebalanced(context)
  enqueue.assign(next)
  enqueue({ type: 'noteRebalance', params: note })
  enqueue({ type: 'pushAssignment', params: { ...next.told!, to: null } })
})
export const rebalanceIfBetter = coordinator.enqueueActions(({ context, enqueue }) => {
  const { next, note } = rebalanced(context)
  if (note.moves > 0) enqueue(rebalance)
  else enqueue.assign({ target: next.target! })
})

export const learnLags = coordinator.assign({ lags: ({ event }) => (event as EventOf<'lags.measured'>).lags })

export const accept = { type: 'acceptMember', params: who } as const
export const push = {
  type: 'pushAssignment',
  params: ({ context: { told }, event }: { context: GroupCoordinatorContext; event: Who }) => ({
    ...told,
    to: event.clientId,
  }),
} as const
/** Of a topic that is not watched any more: should it be wanted again, a division NEVER rests on what it was then. */
const forgetUnwatched = coordinator.assign(({ context }) => {
  const wanted = new Set(wantedTopics(context))
  return {
    queues: Object.fromEntries(Object.entries(context.queues).filter(([topic]) => wanted.has(topic))),
  }
})
export const watch = [
  forgetUnwatched,
  {
    type: 'watchTopics',
    params: ({ context }: { context: GroupCoordinatorContext }) => ({ topics: wantedTopics(context) }),
  },
] as const
export const measure = {
  type: 'measureLags',
  params: ({ context }: { context: GroupCoordinatorContext }) => ({ topics: wantedTopics(context) }),
} as const

/** That an earlier rival met a living member says nothing: it may have died since. */
const isRefusedFor = (rival: Standing['rival'], { instance }: Who): boolean =>
  rival?.instance === instance && rival.isRefused

export const refused = {
  guard: { type: 'isAnothers', params: who },
  actions: [
    {
      type: 'refuseMember',
      params: ({ context, event }: { context: GroupCoordinatorContext; event: Who }) => ({
        ...who({ event }),
        isFinal: isRefusedFor(own(context.members, event.clientId)?.rival ?? null, event),
        message:
          `client id '${event.clientId}' is in use by another consumer of group '${context.group}': ` +
          'give each consumer its own, or wait until the other one is stopped',
      }),
    },
    changeMember((member, event) => ({
      rival:
        member.rival?.instance === (event as Who).instance
          ? member.rival
          : { instance: (event as Who).instance, isRefused: false },
    })),
  ],
} as const
export const rejected = { actions: { type: 'rejectBeat', params: who } } as const
export const remembers = {
  type: 'isBehind',
  params: ({ event: { generation } }: { event: { generation: number } }) => ({ generation }),
} as const
export const taken = [join, armSession, accept, ...watch, outdate] as const
export const gone = (what: string) => [removeBecause(what), disarm, outdate] as const

const doubt = ({ event }: { event: EventOf<'owners.doubted'> }) => event
/** Those who only lost their coordinator are about to join again. */
const leapAhead = coordinator.assign(({ context, event }) => {
  const { generation } = event as EventOf<'owners.doubted'>
  return isBehind(context, { generation }) ? { told: leapt(context, generation) } : {}
})
/** The last one is gone: nobody has a share any more, in a generation of its own. */
const divideAmongNobody = coordinator.assign(({ context, event }) => {
  const { told, number } = context
  const isProven = goneOf(context, event as EventOf<'owners.doubted'>) !== null
  return isProven ? {} : { told: { generation: nextOf(told.generation, number), members: [] } }
})
const reportGone = {
  type: 'reportGone',
  params: ({ context, event }: { context: GroupCoordinatorContext; event: EventOf<'owners.doubted'> }) => ({
    generation: context.told.generation,
    gone: goneOf(context, event),
  }),
} as const
const tellNothing = {
  type: 'reportGone',
  params: ({ context: { told } }: { context: GroupCoordinatorContext }) => ({
    generation: told.generation,
    gone: null,
  }),
} as const
const gathers = {
  guard: { type: 'isBehind', params: doubt },
  target: 'gathering',
  actions: [leapAhead, tellNothing],
} as const
export const doubted = {
  whileEmpty: [gathers, { actions: [divideAmongNobody, reportGone] }],
  whileGathering: { actions: [leapAhead, tellNothing] },
  whileActive: [gathers, { actions: reportGone }],
} as const
export const ofMember = { type: 'isMember', params: who } as const
