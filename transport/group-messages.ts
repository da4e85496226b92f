/** What consumers of a group, their coordinator and the brokers of their queues say to each other, as schemas. */
import { z } from 'zod'
import { type Allocation, allocations } from '../machines/allocation/index.ts'
import { EXPRESSION_LENGTH_MAX } from '../machines/filter/filter.ts'
import type { Member, RebalanceNote } from '../machines/group-coordinator.ts'

export type { Assignment, Member } from '../machines/group-coordinator.ts'

/** Fields of most messages. */
export const whole = z.number().int().nonnegative()
export const name = z.string().min(1).max(255)

/** The longest subscription expression, in characters. */
export const SUBSCRIPTION_MAX = EXPRESSION_LENGTH_MAX

/** Who reads a queue for a group, under which grant. */
export const queueOwner = z.object({ group: name, clientId: name, assignEpoch: whole })

/** `instance` tells two processes of one client id apart. */
const claimed = {
  ...{ group: name, topic: name, queueId: whole },
  ...{ clientId: name, instance: name, generation: whole },
}
export const claimRequest = z.object({
  ...claimed,
  /** The owner is no member any more, or did not let go in time. */
  force: z.boolean(),
  /** The answer may come only when the owner lets go. */
  waits: z.boolean(),
})
export type ClaimRequest = z.infer<typeof claimRequest>
/**
 * `granted: false` names who holds the queue; `committed` is null when the group never committed there. `isLater`: the queue
 * was not there yet when the group began to read the topic.
 */
export type ClaimAnswer =
  | {
      granted: true
      assignEpoch: number
      committed: number | null
      minOffset: number
      maxOffset: number
      isLater: boolean
    }
  | { granted: false; owner: string | null; ownerGeneration: number }

/** `assignEpoch`: of the grant, 0 when it is not known. `offset`: of the next message to read, committed with the release. */
export const releaseRequest = z.object({ ...claimed, assignEpoch: whole, offset: whole.nullable() })
export type ReleaseRequest = z.infer<typeof releaseRequest>

export const commitRequest = z.object({
  group: name,
  clientId: name,
  /** [topic, queueId, offset of the next message to read, assignEpoch of the grant] */
  offsets: z.array(z.tuple([name, whole, whole, whole])),
})
export type CommitRequest = z.infer<typeof commitRequest>
/** The queues that are another one's by now, or nobody's; all others are committed. */
export type CommitAnswer = { fenced: [topic: string, queueId: number][] }

/** An operator's order: the group goes on at these offsets, whoever reads. */
export const offsetReset = z.object({
  group: name,
  topic: name,
  offsets: z.array(z.tuple([whole, whole])),
})
export type OffsetReset = z.infer<typeof offsetReset>

/** What one broker knows of a group; members only where this broker coordinates it. */
export type GroupOnBroker = {
  generation: number
  members: GroupMemberView[]
  /** How the queues are divided; null where this broker does not coordinate the group. */
  allocation: string | null
  /** In what the members are not alike and should be: a sentence each. */
  disagreements: string[]
  /** The last divisions of the queues, newest first. */
  rebalances: (RebalanceNote & { at: number })[]
  /** Pulls and commits that were refused because another member owned the queue by then. */
  fenced: number
  /** What the group could not handle and waits for its next try; AFTER its pause it is in the lag of the retry topic. */
  retrying: number
  queues: {
    topic: string
    queueId: number
    owner: string | null
    /**
     * Another member that claims it and waits until the owner lets go. `isSameList`: both go by the same list of members, so
     * the owner does not know that it should.
     */
    claimant: { clientId: string; isSameList: boolean } | null
    /** Members share it message by message, and none owns it. */
    isPopped: boolean
    /** Counts the grants of this queue. */
    assignEpoch: number
    committed: number | null
    minOffset: number
    maxOffset: number
    /** When the oldest message that was not read was stored; null when all was. */
    behindSince: number | null
  }[]
}

/** How many messages wait for a group in each queue of these topics; nothing is read from the disk for it. */
export const lagsRequest = z.object({ group: name, topics: z.array(name) })
export type LagsRequest = z.infer<typeof lagsRequest>
export type Lags = { lags: [topic: string, queueId: number, messages: number][] }

/** Messages that wait in a queue for the group. */
export const lagOf = ({
  committed,
  minOffset,
  maxOffset,
}: Pick<GroupOnBroker['queues'][number], 'committed' | 'minOffset' | 'maxOffset'>): number =>
  Math.max(0, maxOffset - Math.max(committed ?? minOffset, minOffset))

/**
 * `share`: how many queues are its own; null when it divides by a function of its own. `isTold`: whether a division has
 * given it a share, of which it was told; BEFORE that `share` is 0 and means nothing. `isSilent`: nothing was heard of it for
 * a while, or it said that it would be back; it counts as gone after `sessionMs` of that.
 */
export type GroupMemberView = Pick<
  Member,
  'clientId' | 'instance' | 'subscriptions' | 'allocation' | 'isStatic' | 'sessionMs'
> & {
  isSilent: boolean
  isTold: boolean
  share: number | null
}

const key = z.string().min(1).max(512)
const groupMember: z.ZodType<Member> = z.object({
  clientId: name,
  instance: name,
  subscriptions: z.record(name, z.string().max(SUBSCRIPTION_MAX)),
  allocation: z.enum([...(Object.keys(allocations) as Allocation[]), 'custom']),
  room: z.string().max(255),
  queues: z.array(key),
  consumerRooms: z.array(z.string().max(255)),
  isStatic: z.boolean(),
  sessionMs: whole.min(1),
})

export const joinRequest = groupMember.and(
  z.object({
    group: name,
    /** The last division that the member followed. */
    generation: whole,
    /** The keys of the queues that it has. */
    held: z.array(key),
  }),
)
export type JoinRequest = z.infer<typeof joinRequest>
/** `isFinal`: another consumer lives under this id. */
export type JoinAnswer = { accepted: true } | { accepted: false; isFinal: boolean; message: string }
const member = { group: name, clientId: name, instance: name }
export const memberBeat = z.object({ ...member, generation: whole })
export type MemberBeat = z.infer<typeof memberBeat>
/** 'leaving': it gives back what it has. 'away': it may come back within its session. */
export const memberLeave = z.object({ ...member, phase: z.enum(['leaving', 'left', 'away']) })
export type MemberLeave = z.infer<typeof memberLeave>
/** From a broker of the group's queues: are these, which own some, still members? `generation`: the latest of their claims. */
export const ownerDoubt = z.object({ group: name, clientIds: z.array(name), generation: whole })
export type OwnerDoubt = z.infer<typeof ownerDoubt>
/** `gone`: those that are no members in that generation; null: it is not known yet, ask again. */
export type OwnerDoubtAnswer = { generation: number; gone: string[] | null }
/** To one member. Thousands of members would each hear of thousands of queues if all were told everything. */
export const assignmentPush = z.object({
  group: name,
  generation: whole,
  /** Of the member that it is for. */
  instance: name,
  /** The keys of the queues that are its share; null: it divides by a function of its own. */
  queues: z.array(key).nullable(),
  /** The client ids of all members, sorted. */
  members: z.array(name),
  /** Where members divide by functions of their own: what each of them subscribes. */
  topics: z.array(z.array(name)).optional(),
})
export type AssignmentPush = z.infer<typeof assignmentPush>
