/** What users of the library import. */
export type { Allocate, Allocation } from '../machines/allocation/index.ts'
export type { FilterExpression } from '../machines/filter/filter.ts'
export type { QueueRef, TopicConfig, TopicRoute } from '../machines/topic.ts'
export type {
  ActorView,
  BrokerDescription,
  FollowerView,
  GroupMemberView,
  Mastership,
  TopicOverview,
  Transition,
} from '../transport/messages.ts'
export type { Transport } from '../transport/transport.ts'
export type { Admin, TopicDescription } from './admin/admin.ts'
export type { BrokerOverview, ReachableReplica, Replica, UnreachableReplica } from './admin/brokers.ts'
export type { DeadLetter, DeadLetterWithBody } from './admin/dead-letters.ts'
export type { Durability } from './admin/durability.ts'
export type { GroupDescription, IdleMember, QueueOfGroup } from './admin/groups.ts'
export type { Inspect } from './admin/inspect.ts'
export type { OffsetChange, OffsetPosition } from './admin/offsets.ts'
export { type Client, type ConnectOptions, connect } from './client.ts'
export type { Assignment, Closed, Consumer, PulledMessage } from './consumer/consumer.ts'
export type { ConsumerOptions } from './consumer/consumer-options.ts'
export type { FlowOptions } from './consumer/flow-control.ts'
export type { Handler, MessageContext } from './consumer/handler.ts'
export type { IncomingMessage } from './consumer/incoming-message.ts'
export type { Reader, ReaderOptions } from './consumer/reader.ts'
export type { FailureCounts } from './consumer/send-back.ts'
export type { ReceivedMessage } from './consumer/simple/received-message.ts'
export type { SimpleConsumer } from './consumer/simple/simple-consumer.ts'
export type { SimpleConsumerOptions } from './consumer/simple/simple-options.ts'
export type { SeekPosition } from './consumer/start-position.ts'
export { type ErrorCode, StateMQError } from './errors.ts'
export {
  type BrokerProcess,
  type BrokerProcessOptions,
  startBrokerProcess,
} from './node/broker-process.ts'
export { type Node, type NodeOptions, type Role, startNode } from './node/node.ts'
export type { Receipt } from './producer/batch.ts'
export type { OutgoingMessage } from './producer/message.ts'
export type { Producer } from './producer/producer.ts'
export type { ProducerOptions } from './producer/producer-options.ts'
export { createTestCluster, type TestCluster, type TestClusterOptions } from './test-cluster.ts'
