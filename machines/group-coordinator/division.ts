/**
 * How a group's queues are divided, as functions of what its coordinator knows: they change nothing.
 */
import { type AllocationInput, allocations } from '../allocation/index.ts'
import { countOf, nextOf } from '../generation.ts'
import { RETRY_PREFIX } from '../names.ts'
import { own } from '../own.ts'
import { compareText, type QueueRef, queueKey, queueOfKey } from '../topic.ts'
import type {
  Assigned,
  GroupAllocation,
  GroupCoordinatorContext,
  Member,
  RebalanceNote,
  Standing,
} from './vocabulary.ts'

const topicsOf = ({ subscriptions }: Member): string[] => Object.keys(subscriptions).sort(compareText)

const listOf = ({ members }: GroupCoordinatorContext): Standing[] =>
  Object.values(members).sort((a, b) => compareText(a.clientId, b.clientId))

/** All topics that somebody wants, sorted. */
export const wantedTopics = (context: GroupCoordinatorContext): string[] =>
  [...new Set(Object.values(context.members).flatMap(topicsOf))].sort(compareText)

/** By what the group divides: as its first member says. */
export const allocationOf = (context: GroupCoordinatorContext): GroupAllocation =>
  listOf(context)[0]?.allocation ?? 'averagely'

/** Members of one group are to want the same: RocketMQ's most common silent fault. A sentence for each topic that is not alike. */
export function disagreementsOf(
  members: readonly Pick<Member, 'clientId' | 'subscriptions' | 'allocation'>[],
): string[] {
  const told = (what: string, saying: (member: (typeof members)[number]) => string): string[] => {
    const by = new Map<string, string[]>()
    for (const member of members) by.set(saying(member), [...(by.get(saying(member)) ?? []), member.clientId])
    if (by.size < 2) return []
    const shown = [...by].map(
      ([said, ids]) => `${said} (${ids.slice(0, 3).join(', ')}${ids.length > 3 ? ', …' : ''})`,
    )
    return [`${what}: ${shown.join(' and ')}`]
  }
  const topics = [...new Set(members.flatMap(({ subscriptions }) => Object.keys(subscriptions)))].sort(
    compareText,
  )
  return [
    ...topics.flatMap((topic) =>
      told(`topic '${topic}'`, ({ subscriptions }) => own(subscriptions, topic) ?? 'not subscribed'),
    ),
    ...told('allocation', ({ allocation }) => allocation),
  ]
}

const give = (shares: Map<string, QueueRef[]>, clientId: string, queues: readonly QueueRef[]): void => {
  shares.set(clientId, [...(shares.get(clientId) ?? []), ...queues])
}

/** What a member has of a topic whose queues nobody knows: losing the name servers takes no queue away. */
const keptOf = ({ target }: GroupCoordinatorContext, topic: string, clientId: string): QueueRef[] =>
  Object.keys(target)
    .filter((queue) => target[queue] === clientId)
    .map(queueOfKey)
    .filter((queue) => queue.topic === topic)

/**
 * Whoever is silent may be dead: it keeps what it knows to be its own, and gets NOTHING new, which would wait for its
 * session. The others divide the rest. When all are silent nobody is more likely to live than another.
 */
function setAside(
  { target }: GroupCoordinatorContext,
  members: readonly Standing[],
  queues: readonly QueueRef[],
): { kept: ReadonlyMap<string, QueueRef[]>; rest: readonly QueueRef[]; takers: readonly Standing[] } {
  const takers = members.filter(({ isSilent }) => !isSilent)
  if (takers.length === members.length || takers.length === 0)
    return { kept: new Map(), rest: queues, takers: members }
  const silent = members.filter(({ isSilent }) => isSilent)
  const kept = new Map(silent.map(({ clientId }): [string, QueueRef[]] => [clientId, []]))
  const unheard = new Set(silent.flatMap((member) => member.unheard))
  const rest: QueueRef[] = []
  for (const queue of queues) {
    const key = queueKey(queue)
    const its = unheard.has(key) ? undefined : kept.get(own(target, key) ?? '')
    ;(its ?? rest).push(queue)
  }
  return { kept, rest, takers }
}

/** Each member once that is told: what of its share is news to it, and whether it got nothing new. */
function standingAfter(
  { members, target }: GroupCoordinatorContext,
  told: readonly Assigned[],
): GroupCoordinatorContext['members'] {
  const after = (clientId: string, queues: readonly string[]): Standing => {
    const member = own(members, clientId)!
    const before = new Set(member.unheard)
    const isNews = (queue: string): boolean => own(target, queue) !== clientId || before.has(queue)
    return {
      ...member,
      unheard: member.isStatic ? [] : queues.filter(isNews),
      isPassedOver: member.isSilent && !member.isLeaving,
    }
  }
  return Object.fromEntries(told.map(({ clientId, queues }) => [clientId, after(clientId, queues ?? [])]))
}

/** The shares of all members, by client id. */
function divide(context: GroupCoordinatorContext): Map<string, QueueRef[]> {
  const allocation = allocationOf(context)
  const shares = new Map<string, QueueRef[]>()
  if (allocation === 'custom') return shares
  const able = listOf(context).filter(({ isLeaving }) => !isLeaving)
  for (const topic of wantedTopics(context)) {
    const members = able.filter(({ subscriptions }) => own(subscriptions, topic) !== undefined)
    if (members.length === 0) continue
    const known = own(context.queues, topic)
    if (known === undefined) {
      for (const { clientId } of members) give(shares, clientId, keptOf(context, topic, clientId))
      continue
    }
    const { kept, rest, takers } = setAside(context, members, known)
    for (const [clientId, queues] of kept) give(shares, clientId, queues)
    const input: AllocationInput = {
      queues: rest,
      members: takers.map(({ clientId, room, queues, consumerRooms }) => ({
        ...{ clientId, room, queues, consumerRooms },
      })),
      previous: context.target,
      lags: context.lags,
    }
    // No configuration names the queues of the retry topic, and nothing that failed may be left to nobody.
    const isUnnamed = allocation === 'by-config' && topic === RETRY_PREFIX + context.group
    const by = isUnnamed ? 'averagely' : allocation
    for (const [clientId, queues] of Object.entries(allocations[by](input))) {
      give(shares, clientId, queues)
    }
  }
  return shares
}

/** The next division, and what is to be said of it. */
export function rebalanced(context: GroupCoordinatorContext): {
  next: Partial<GroupCoordinatorContext>
  note: RebalanceNote
} {
  const isCustom = allocationOf(context) === 'custom'
  const shares = divide(context)
  const members = listOf(context).map((member) => ({
    clientId: member.clientId,
    instance: member.instance,
    topics: member.isLeaving ? [] : topicsOf(member),
    queues: isCustom ? null : (shares.get(member.clientId) ?? []).map(queueKey),
  }))
  const target: Record<string, string> = {}
  for (const { clientId, queues } of members) for (const queue of queues ?? []) target[queue] = clientId
  const generation = nextOf(context.told.generation, context.number)
  const moves = Object.entries(context.target).filter(
    ([queue, clientId]) => target[queue] !== clientId,
  ).length
  return {
    next: { members: standingAfter(context, members), told: { generation, members }, target, causes: [] },
    note: {
      generation: countOf(generation),
      causes: context.causes,
      members: members.length,
      queues: Object.keys(target).length,
      moves,
    },
  }
}
