/**
 * What the commands need of the library, and no more.
 *
 * The commands are written against these types and are handed the library by the door (bin/statemq.ts), where the
 * compiler holds the two against each other. A command can thus be run in a test without a cluster.
 */
import type { Observable } from 'rxjs'
import type { ActorView, GroupMemberView, TopicOverview, Transition } from '../../../transport/messages.ts'
import type { Transport } from '../../../transport/transport.ts'
import type { BrokerProcess, BrokerProcessOptions } from '../../node/broker-process.ts'
import type { BrokerOverview, Replica } from '../brokers.ts'
import type { DeadLetter } from '../dead-letters.ts'
import type { Durability } from '../durability.ts'

export type {
  ActorView,
  BrokerOverview,
  BrokerProcess,
  BrokerProcessOptions,
  DeadLetter,
  Durability,
  GroupMemberView,
  Replica,
  TopicOverview,
  Transition,
}

export interface Library {
  connect(options: { servers: string; cluster: string }): Promise<Client>
  startNode(options: NodeOptions): Promise<RunningNode>
  startBrokerProcess(options: BrokerProcessOptions): BrokerProcess
}

export interface NodeOptions {
  roles: Role[]
  cluster: string
  broker?: BrokerOptions
  register?: RegisterHome
  failover?: { detectMs: number }
  /** Brokers and the register keep their data below it. */
  dir?: string
  /** Exactly one of the three says over what the node talks. */
  servers?: string
  listen?: { port: number }
  transport?: Transport
  /** A role failed for good after it had served: the node does not do its work any more. */
  failed?: (message: string) => void
}
export type Role = 'nameServer' | 'broker' | 'controller' | 'register'
export type Flush = 'sync' | 'async'
export type Replication = 'none' | 'sync' | 'async'
export type RegisterHome = 'served' | 'jetstream'

export interface BrokerOptions {
  name: string
  id: number
  flush: Flush
  autoCreateTopic: boolean
  replication?: Replication
  replicas?: number
  minInSync?: number
}

export interface RunningNode {
  /** Where clients connect: the listener's address with its true port, or what was given. */
  readonly servers: string
  /** For more nodes in this process. */
  readonly transport: Transport
  close(): Promise<void>
}

export interface Client {
  producer(options: { group: string }): Producer
  consumer(options: ConsumerOptions): Consumer
  simpleConsumer(options: SimpleConsumerOptions): SimpleConsumer
  admin(): Admin
  inspect(): Inspect
  /** Drains: what was accepted is carried out, then the connection ends. */
  close(): Promise<void>
}

export interface Outgoing {
  topic: string
  body: string | Uint8Array
  tag?: string
  keys?: string[]
  properties?: Record<string, string>
  messageGroup?: string
  delayLevel?: number
}
export interface Receipt {
  messageId: string
  topic: string
  brokerName: string
  queueId: number
  queueOffset: number
}
export interface Producer {
  send(message: Outgoing): Promise<Receipt>
}

export interface ConsumerOptions {
  group: string
  messageModel: 'clustering' | 'broadcasting'
  from: Position
  ordered: boolean
}
export type Position = 'first' | 'last' | Date
export interface Consumer {
  subscribe(topic: string, expression?: string): unknown
  messages(): AsyncGenerator<Incoming, void>
  close(): Promise<unknown>
}
export interface SimpleConsumerOptions {
  group: string
  subscriptions: { topic: string; expression: string }[]
  from: 'first' | 'last'
  ordered: boolean
}
export interface SimpleConsumer {
  /** An empty list when none came in time, or when it is closed. */
  receive(max: number): Promise<Received[]>
  ack(receiptHandle: string): Promise<void>
  close(): Promise<void>
}
export type Received = Omit<Incoming, 'ack'> & { readonly receiptHandle: string }

export interface Incoming {
  readonly topic: string
  readonly brokerName: string
  readonly queueId: number
  readonly queueOffset: number
  readonly messageId: string
  readonly tag: string | undefined
  readonly keys: readonly string[]
  readonly messageGroup: string | undefined
  readonly bornTime: number
  readonly storeTime: number
  readonly properties: Readonly<Record<string, string>>
  readonly body: Uint8Array
  ack(): unknown
}

export interface Admin {
  createTopic(topic: string, options: { queues: number; perm?: number }): Promise<unknown>
  deleteTopic(topic: string): Promise<unknown>
  topics(): Promise<TopicOverview[]>
  topic(topic: string): Promise<TopicDescription>
  route(topic: string): Promise<Route>
  groups(): Promise<string[]>
  group(group: string): Promise<GroupDescription>
  resetOffsets(
    group: string,
    topic: string,
    to: Position | number,
    options: { dryRun: boolean; create?: boolean },
  ): Promise<OffsetChange[]>
  cloneOffsets(
    from: string,
    to: string,
    options: { topic?: string; dryRun: boolean },
  ): Promise<(OffsetChange & { topic: string })[]>
  deadLetters(group: string, options: { max: number }): Promise<DeadLetter[]>
  deadLetter(group: string, messageId: string): Promise<DeadLetter & { body: Uint8Array }>
  resendDeadLetters(
    group: string,
    which: { messageIds: readonly string[] } | { all: true },
  ): Promise<Receipt[]>
  brokers(): Promise<Replica[]>
  broker(name: string): Promise<BrokerOverview>
  promote(name: string, id: number, options: { unclean: boolean }): Promise<{ epoch: number }>
}
export interface TopicDescription {
  topic: string
  queues: { brokerName: string; queueId: number; minOffset: number; maxOffset: number }[]
  durability: (Durability & { brokerName: string })[]
}
export interface Route {
  topic: string
  nameServerId: string
  revision: number
  brokers: { brokerName: string; epoch: number; readQueues: number; writeQueues: number; perm: number }[]
}
export interface GroupDescription {
  group: string
  generation: number
  members: GroupMemberView[]
  allocation: string | null
  disagreements: string[]
  contested: string[]
  rebalances: {
    generation: number
    causes: string[]
    members: number
    queues: number
    moves: number
    at: number
  }[]
  fenced: number
  /** Members that own no queue, each with the reason. */
  idle: { clientId: string; why: string }[]
  queues: {
    topic: string
    brokerName: string
    queueId: number
    owner: string | null
    claimant: { clientId: string; isSameList: boolean } | null
    assignEpoch: number
    committed: number | null
    minOffset: number
    maxOffset: number
    lag: number
    behindSince: number | null
    isPopped: boolean
  }[]
}
export interface OffsetChange {
  brokerName: string
  queueId: number
  from: number | null
  to: number
}

export interface Inspect {
  actors(): Promise<ActorView[]>
  actor(address: string): Promise<ActorView>
  watch(address: string): Observable<Transition>
}
