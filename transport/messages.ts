/**
 * What travels on the control subjects, as schemas: parsed once at the border, trusted inside.
 *
 * The machines own the types they understand (machines/topic.ts); a schema here only proves that bytes have one.
 */
import { z } from 'zod'
import type { Json } from '../machines/effect.ts'
import { EXPRESSION_LENGTH_MAX } from '../machines/filter/filter.ts'
import type { Cause, GroupState, Vote } from '../machines/group-state.ts'
import { DELAY_LEVEL_MAX, TO_DEAD_LETTERS } from '../machines/retry-policy.ts'
import type { Registration, TopicConfig } from '../machines/topic.ts'
import { name, queueOwner, whole } from './group-messages.ts'
import type { Held } from './register.ts'

export type { ClusterView, QueueRef, Registration, TopicConfig, TopicRoute } from '../machines/topic.ts'

export * from './group-messages.ts'

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
  /** Which messages are wanted, as one text (machines/filter/filter.ts); without it all are. */
  filter: z.string().max(EXPRESSION_LENGTH_MAX).optional(),
  /** Set when the queue is owned for a group; without it anybody may read (broadcasting, reader). */
  owner: queueOwner.optional(),
})
export type PullRequest = z.infer<typeof pullRequest>

/** From the owner of a queue: its handler failed on the message at `offset`. */
export const sendBackRequest = z.object({
  topic: name,
  queueId: whole,
  offset: whole,
  owner: queueOwner,
  /** 0: the ladder decides. -1: no more tries. Otherwise the level of machines/retry-policy.ts. */
  delayLevel: z.number().int().min(TO_DEAD_LETTERS).max(DELAY_LEVEL_MAX),
  /** How often it was handled, this time included. */
  attempts: whole.min(1),
  maxReconsumeTimes: whole,
  /** Why the handler failed, for people. */
  reason: z.string().max(512),
})
export type SendBackRequest = z.infer<typeof sendBackRequest>
/** 'done': it was sent back already, or is committed. */
export type SendBackAnswer =
  | { to: 'retry'; delayLevel: number; dueTime: number }
  | { to: 'deadLetters' }
  | { to: 'done' }

export type QueueBounds = { queueId: number; minOffset: number; maxOffset: number }

export const offsetSearch = z.object({
  topic: name,
  queueId: whole,
  /** Milliseconds since 1970, or one of the ends. */
  to: z.union([whole, z.enum(['first', 'last'])]),
})
export type OffsetSearch = z.infer<typeof offsetSearch>

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
  /** Messages that wait for their time: sent with a delay, or to be tried again. */
  waiting: number
  /** Since this replica became master: handed out when due, and dropped as their topic was gone. */
  delivered: number
  dropped: number
  /** Since this replica became master: what consumers could not handle, and what of it is dead. */
  sentBack: number
  deadLetters: number
  logBytes: number
  startedAt: number
  accepting: boolean
  /** It stores nothing more of what producers or its master send until there is room on its disk. */
  diskFull: boolean
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

const replicaOfSet = z.object({ brokerId: whole, lineage: whole })
/** What the register holds for a broker group. */
export const groupState: z.ZodType<GroupState> = z.object({
  writeId: z.string(),
  epoch: whole,
  masterId: whole.nullable(),
  masterIncarnation: whole,
  syncStateSet: z.array(replicaOfSet),
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
