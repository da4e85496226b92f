/**
 * What travels on the control subjects, as schemas: parsed once at the border, trusted inside.
 *
 * The machines own the types they understand (machines/topic.ts); a schema here only proves that bytes have one.
 */
import { z } from 'zod'
import type { Json } from '../machines/effect.ts'
import type { Cause, GroupState, Vote } from '../machines/group-state.ts'
import type { Registration, TopicConfig } from '../machines/topic.ts'
import type { Held } from './register.ts'

export type { ClusterView, QueueRef, Registration, TopicConfig, TopicRoute } from '../machines/topic.ts'

const whole = z.number().int().nonnegative()
const name = z.string().min(1).max(255)

export const topicConfig: z.ZodType<TopicConfig> = z.object({
  topic: name,
  readQueues: whole.max(65_535),
  writeQueues: whole.max(65_535),
  perm: whole.max(15),
})

/** `ifMissing` leaves a topic that is there as it is: a client that makes topics by use says so. */
export const topicOrder = z.object({ config: topicConfig, ifMissing: z.boolean() })
export type TopicOrder = z.infer<typeof topicOrder>

export const registration: z.ZodType<Registration> = z.object({
  brokerName: name,
  brokerId: whole,
  role: z.enum(['master', 'slave']),
  epoch: whole,
  incarnation: whole,
  storeId: name,
  dataVersion: whole,
  topics: z.record(name, topicConfig),
  autoCreateTopic: z.boolean(),
})

const run = { brokerName: name, brokerId: whole, storeId: name, incarnation: whole }
export const brokerBeat = z.object({ ...run, epoch: whole, dataVersion: whole })
export type BrokerBeat = z.infer<typeof brokerBeat>

export const brokerLeave = z.object(run)
export type BrokerLeave = z.infer<typeof brokerLeave>

export const registrationRefused = z.object({
  storeId: name,
  incarnation: whole,
  code: z.string(),
  message: z.string(),
})
export type RegistrationRefused = z.infer<typeof registrationRefused>

export const nameServerStarted = z.object({ nameServerId: name })
export const nothing = z.object({})
export const onTopic = z.object({ topic: name })
export const onGroup = z.object({ group: name })

export type TopicOverview = TopicConfig & { brokers: string[] }

export const pullRequest = z.object({
  topic: name,
  queueId: whole,
  offset: whole,
  maxBytes: whole,
  /** How long the broker may hold the request while there is nothing to read; 0 = not at all. */
  waitMs: whole,
  /** Set when the queue is owned for a group; without it anybody may read (broadcasting, reader). */
  owner: z.object({ group: name, clientId: name, generation: whole }).optional(),
})
export type PullRequest = z.infer<typeof pullRequest>

export type QueueBounds = { queueId: number; minOffset: number; maxOffset: number }

export const offsetSearch = z.object({
  topic: name,
  queueId: whole,
  /** Milliseconds since 1970, or one of the ends. */
  to: z.union([whole, z.enum(['first', 'last'])]),
})
export type OffsetSearch = z.infer<typeof offsetSearch>

const owned = { group: name, topic: name, queueId: whole, clientId: name, generation: whole }
export const claimRequest = z.object({ ...owned, force: z.boolean() })
export type ClaimRequest = z.infer<typeof claimRequest>
/** `granted: false` names who holds the queue; `committed` is null when the group never committed there. */
export type ClaimAnswer =
  | { granted: true; committed: number | null; minOffset: number; maxOffset: number }
  | { granted: false; owner: string; ownerGeneration: number }

export const releaseRequest = z.object(owned)
export type ReleaseRequest = z.infer<typeof releaseRequest>

export const commitRequest = z.object({
  group: name,
  clientId: name,
  /** [topic, queueId, offset of the next message to read, generation of the claim] */
  offsets: z.array(z.tuple([name, whole, whole, whole])),
})
export type CommitRequest = z.infer<typeof commitRequest>
/** The queues that are another one's by now, or nobody's; all others are committed. */
export type CommitAnswer = { fenced: [topic: string, queueId: number][] }

export const offsetReset = z.object({
  group: name,
  topic: name,
  /** Who belongs to the group, as its coordinator tells: a queue whose owner is gone is nobody's. */
  generation: whole,
  members: z.array(name),
  offsets: z.array(z.tuple([whole, whole])),
})
export type OffsetReset = z.infer<typeof offsetReset>

/** What one broker knows of a group; members only where this broker coordinates it. */
export type GroupOnBroker = {
  generation: number
  members: Member[]
  queues: {
    topic: string
    queueId: number
    owner: string | null
    committed: number | null
    minOffset: number
    maxOffset: number
    /** When the oldest message that was not read was stored; null when all was. */
    behindSince: number | null
  }[]
}

export type BrokerDescription = {
  brokerName: string
  brokerId: number
  role: string
  epoch: number
  incarnation: number
  flush: 'sync' | 'async'
  topics: number
  groups: number
  messagesIn: number
  messagesOut: number
  /** A master's: messages that were popped, acknowledged, refused under their handles, and given up. */
  pop?: { given: number; acknowledged: number; refused: number; deadLetters: number }
  bytesIn: number
  bytesOut: number
  logBytes: number
  startedAt: number
  accepting: boolean
  /** What an acknowledged message survives: how it is replicated, and whether it is on disk by then. */
  replication: 'none' | 'sync' | 'async'
  replicas: number
  minInSync: number
  lineage: number
  /** Of the broker name, as this replica knows it; null while there is none. */
  masterId: number | null
  /** The ids of the replicas that hold all that is confirmed. */
  syncStateSet: number[]
  endPosition: number
  confirmPosition: number
  /** A master's: how far the others are. */
  followers: FollowerView[]
  /** The last changes of mastership, newest first. */
  masterships: Mastership[]
  /** What this replica had to cut from its log last: with replication async those messages had been acknowledged. */
  lastCut: { at: number; bytes: number; messages: number } | null
  alarm: { code: string; message: string } | null
}
export type FollowerView = {
  brokerId: number
  position: number
  lagBytes: number
  /** How long ago it had all that there was. */
  lagMs: number
  inSync: boolean
}
export type Mastership = { epoch: number; masterId: number | null; cause: Cause; at: number }

const groupMember = z.object({ clientId: name, instance: name, topics: z.array(name) })
export type Member = z.infer<typeof groupMember>

export const joinRequest = z.object({ group: name, generation: whole, ...groupMember.shape })
export type JoinRequest = z.infer<typeof joinRequest>
export const memberBeat = z.object({ group: name, clientId: name, instance: name, generation: whole })
export type MemberBeat = z.infer<typeof memberBeat>
export const membership = z.object({ group: name, generation: whole, members: z.array(groupMember) })
export type Membership = z.infer<typeof membership>

export const watchRequest = z.object({ leaseMs: whole.max(60_000) })

/** One hosted actor as others see it. `context` is the machine's own, plain JSON. */
export type ActorView = {
  address: string
  machine: string
  state: string
  context: unknown
  /** When it entered this state, milliseconds since 1970. */
  since: number
  /** The process that hosts it. */
  host: string
}
export const transition = z.object({
  address: name,
  at: z.number(),
  /** The type of the event that caused it. */
  event: z.string(),
  from: z.string(),
  to: z.string(),
  context: z.unknown(),
})
export type Transition = z.infer<typeof transition>

/** A sign of life of one replica. */
export const replicaBeat = z.object({
  brokerName: name,
  brokerId: whole,
  /** The process that hosts it: two processes that claim one replica are told apart by it. */
  processId: name,
  storeId: name,
  incarnation: whole,
  lineage: whole,
  epoch: whole,
  role: z.enum(['starting', 'waiting', 'slave', 'promoting', 'master', 'demoting', 'stopping', 'halted']),
  lastEpoch: whole,
  endPosition: whole,
  confirmPosition: whole,
  replicas: whole,
  minInSync: whole,
  replication: z.enum(['sync', 'async']),
})
export type ReplicaBeat = z.infer<typeof replicaBeat>

export const vote: z.ZodType<Vote> = z.object({
  brokerId: whole,
  incarnation: whole,
  lineage: whole,
  promisedEpoch: whole,
  lastEpoch: whole,
  endPosition: whole,
  hearsMaster: z.boolean(),
})

const member = z.object({ brokerId: whole, lineage: whole })
/** What the register holds for a broker group. */
export const groupState: z.ZodType<GroupState> = z.object({
  writeId: z.string(),
  epoch: whole,
  masterId: whole.nullable(),
  masterIncarnation: whole,
  syncStateSet: z.array(member),
  replicas: whole,
  minInSync: whole,
  replication: z.enum(['sync', 'async']),
  cause: z.enum(['boot', 'failover', 'handover', 'shrink', 'expand', 'unclean']),
  unclean: z.boolean(),
})

/** Names one replica of a broker. */
export const onReplica = z.object({ brokerName: name, brokerId: whole })
export const successor = z.object({ brokerId: whole })

export const followRequest = z.object({
  brokerId: whole,
  storeId: name,
  processId: name,
  incarnation: whole,
  lineage: whole,
  /** The end of its log, which may not be stored yet, and the epoch of its last frame. Acknowledges nothing. */
  position: whole,
  lastEpoch: whole,
  /** Drawn once for each process and then counted up modulo 2^32: the newest request of a process counts. */
  session: whole.max(0xffffffff),
})
export type FollowRequest = z.infer<typeof followRequest>
/** 'diverging': cut, and ask again. 'gone': the log begins later here; begin anew at `minPosition`. */
export type FollowAnswer =
  | { result: 'streaming'; position: number }
  | { result: 'diverging'; epoch: number; end: number }
  | { result: 'gone'; minPosition: number }

export const readRequest = z.object({ key: name })
export const swapRequest = z.object({ key: name, expected: whole, value: z.json() })
export type SwapRequest = { key: string; expected: number; value: Json }
export const held: z.ZodType<Held> = z.object({ revision: whole.min(1), value: z.json() })
export type SwapAnswer = { result: 'ok'; revision: number } | { result: 'conflict'; held: Held | null }

const brokerRoute = z.object({
  brokerName: name,
  epoch: whole,
  incarnation: whole,
  dataVersion: whole,
  readQueues: whole,
  writeQueues: whole,
  perm: whole,
})
export const topicRoute = z.object({
  topic: name,
  nameServerId: name,
  revision: whole,
  brokers: z.array(brokerRoute),
})
export const clusterView = z.object({
  nameServerId: name,
  revision: whole,
  brokers: z.array(
    z.object({
      brokerName: name,
      brokerId: whole,
      role: z.enum(['master', 'slave']),
      epoch: whole,
      incarnation: whole,
      autoCreateTopic: z.boolean(),
      topics: whole,
    }),
  ),
})
