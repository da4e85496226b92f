/** What operators are told of a consumer group, put together from what each broker knows of it. */
import { RETRY_PREFIX } from '../../machines/names.ts'
import { type GroupMemberView, type GroupOnBroker, lagOf } from '../../transport/messages.ts'

export type GroupDescription = {
  group: string
  /** Counts the divisions of the queues. */
  generation: number
  members: GroupMemberView[]
  /** How the queues are divided; null while the group has no members. */
  allocation: string | null
  /** In what the members are not alike and should be: a sentence each. */
  disagreements: string[]
  /** Queues that several members count as theirs, by functions of their own; the group never settles. A sentence each. */
  contested: string[]
  /** The last divisions of the queues with their causes, newest first. */
  rebalances: GroupOnBroker['rebalances']
  /** Pulls and commits that were refused because another member owned the queue by then. */
  fenced: number
  /** Messages that failed and wait for their next try. They are in no lag before it is due. */
  retrying: number
  /** Members that own no queue of what they subscribed to, each with the reason. */
  idle: IdleMember[]
  queues: QueueOfGroup[]
}
export type IdleMember = { clientId: string; why: string }
/** `lag`: messages that wait. `behindSince`: when the oldest of them was stored, milliseconds since 1970. */
export type QueueOfGroup = GroupOnBroker['queues'][number] & { brokerName: string; lag: number }

type OnBroker = { brokerName: string; value: GroupOnBroker }

export function describeGroup(group: string, parts: readonly OnBroker[]): GroupDescription {
  // Each broker may coordinate it in its turn: the one with the latest division does.
  const latest = [...parts].sort((a, b) => b.value.generation - a.value.generation)[0]?.value
  const coordinator = parts.find(({ value }) => value.members.length > 0)?.value ?? latest
  const members = coordinator?.members ?? []
  const queues = parts.flatMap(({ brokerName, value }) =>
    value.queues.map((row) => ({
      brokerName,
      ...row,
      lag: lagOf(row),
    })),
  )
  const allocation = coordinator?.allocation ?? null
  // Every member reads the retry topic, too: whoever has a queue of that alone reads nothing of what it asked for.
  const asked = queues.filter(({ topic }) => topic !== RETRY_PREFIX + group)
  const owners = new Set(asked.map(({ owner }) => owner))
  return {
    group,
    generation: coordinator?.generation ?? 0,
    members,
    allocation,
    disagreements: coordinator?.disagreements ?? [],
    contested: allocation === 'custom' ? queues.flatMap(contestOver) : [],
    rebalances: coordinator?.rebalances ?? [],
    fenced: parts.reduce((sum, { value }) => sum + value.fenced, 0),
    retrying: parts.reduce((sum, { value }) => sum + value.retrying, 0),
    idle: members
      .filter(({ clientId }) => !owners.has(clientId))
      .map((member) => ({ clientId: member.clientId, why: whyIdle(member, members, asked, allocation) })),
    queues,
  }
}

/** One allocation for all NEVER gives a queue to two; functions of the members' own may. */
function contestOver({ topic, brokerName, queueId, owner, claimant }: QueueOfGroup): string[] {
  if (!claimant?.isSameList) return []
  return [`${topic}/${brokerName}/${queueId}: ${owner} has it, and ${claimant.clientId} wants it too`]
}

function whyIdle(
  member: GroupMemberView,
  members: readonly GroupMemberView[],
  queues: readonly QueueOfGroup[],
  allocation: string | null,
): string {
  const { subscriptions, share, clientId, isStatic, isSilent, isTold, sessionMs } = member
  const topics = Object.keys(subscriptions)
  const count = queues.filter(({ topic }) => topics.includes(topic)).length
  if (count === 0) return `no broker has ${topics.map((topic) => `'${topic}'`).join(' or ')} yet`
  if (isStatic && isSilent && share !== 0)
    return `it is away; its queues are kept for it, ${sessionMs / 1000} s from when it went`
  if (isSilent && share === 0) return 'nothing is heard of it: it gets no queue until it is'
  if (!isTold) return 'the queues are about to be divided: it is not told yet which are its own'
  if (share === null) return 'its own strategy gives it no queue, or others have not let go of its queues'
  if (share > 0) {
    const holders = [...new Set(queues.flatMap(({ owner }) => (owner === null ? [] : [owner])))]
    const others = holders.filter((holder) => holder !== clientId)
    return others.length === 0
      ? `its ${share} queues are being handed to it`
      : `its ${share} queues are still being handed over: ${others.slice(0, 3).join(', ')} must finish first`
  }
  const rivals = members.filter((other) => topics.some((topic) => Object.hasOwn(other.subscriptions, topic)))
  if (rivals.length > count) return `there are more members (${rivals.length}) than queues (${count})`
  return `the allocation '${allocation}' gives it no queue`
}
