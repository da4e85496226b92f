/**
 * What a broker knows beside its messages: topics, committed offsets, owners of queues, producers. All of it is derived from the log.
 *
 * A change is appended to the log FIRST and takes effect here by the same function that replays it after a restart,
 * so that a restarted broker, or a replica, comes to the same state.
 */
import type { Json } from '../../machines/effect.ts'
import type { QueueClaim } from '../../machines/queue-owner.ts'
import type { TopicConfig } from '../../machines/topic.ts'
import { type Kind, kindAt, kinds, recordsAt } from '../../transport/frames.ts'
import { ProducerStates, type SavedProducer } from './producer-states.ts'

/** Offsets of one group: queue `topic/queueId` to the offset of the next message to read. */
export type GroupOffsets = Map<string, number>
export const queueOf = (topic: string, queueId: number): string => `${topic}/${queueId}`

/** What the log's own frames carry, as JSON. */
export type TopicChange = { set: TopicConfig } | { deleted: string }
export type OffsetChange = { group: string; offsets: [topic: string, queueId: number, offset: number][] }

export type QueueOwnership = { assignEpoch: number; owner: QueueClaim | null }
/** `offset`: committed at the same time, or set by an operator. */
export type OwnerChange = {
  group: string
  topic: string
  queueId: number
  offset: number | null
} & QueueOwnership

type Saved = {
  topics: TopicConfig[]
  dataVersion: number
  offsets: [group: string, [queue: string, offset: number][]][]
  /** Logs of early versions do not say it. */
  owners?: [group: string, [queue: string, owner: QueueOwnership][]][]
  producers: SavedProducer[]
}

export class BrokerState {
  readonly topics = new Map<string, TopicConfig>()
  readonly offsets = new Map<string, GroupOffsets>()
  /** By group and queue: who reads it, and how often it changed hands. */
  readonly owners = new Map<string, Map<string, QueueOwnership>>()
  readonly producers: ProducerStates
  /** Counts the changes of the topic table. */
  dataVersion = 0

  constructor(monotonic: () => number) {
    this.producers = new ProducerStates(monotonic)
  }

  changeTopic(change: TopicChange): void {
    this.dataVersion++
    if ('set' in change) this.topics.set(change.set.topic, change.set)
    else {
      this.topics.delete(change.deleted)
      for (const [group, offsets] of this.offsets) {
        for (const queue of offsets.keys()) if (queue.startsWith(`${change.deleted}/`)) offsets.delete(queue)
        if (offsets.size === 0) this.offsets.delete(group)
      }
      for (const [group, owners] of this.owners) {
        for (const queue of owners.keys()) if (queue.startsWith(`${change.deleted}/`)) owners.delete(queue)
        if (owners.size === 0) this.owners.delete(group)
      }
    }
  }

  changeOffsets({ group, offsets }: OffsetChange): void {
    let known = this.offsets.get(group)
    if (!known) {
      known = new Map()
      this.offsets.set(group, known)
    }
    for (const [topic, queueId, offset] of offsets) known.set(queueOf(topic, queueId), offset)
  }

  changeOwner({ group, topic, queueId, assignEpoch, owner, offset }: OwnerChange): void {
    let known = this.owners.get(group)
    if (!known) {
      known = new Map()
      this.owners.set(group, known)
    }
    known.set(queueOf(topic, queueId), { assignEpoch, owner })
    if (offset !== null) this.changeOffsets({ group, offsets: [[topic, queueId, offset]] })
  }

  /** A frame of the log, after a restart. */
  replay(bytes: Buffer, at: number): void {
    switch (kindAt(bytes, at) as Kind) {
      case kinds.messages:
        return this.producers.note(bytes, at)
      case kinds.topics:
        return this.changeTopic(payloadOf(bytes, at) as TopicChange)
      case kinds.offsets:
        return this.changeOffsets(payloadOf(bytes, at) as OffsetChange)
      case kinds.owners:
        return this.changeOwner(payloadOf(bytes, at) as OwnerChange)
    }
  }

  save(): Json {
    const saved: Saved = {
      topics: [...this.topics.values()],
      dataVersion: this.dataVersion,
      offsets: [...this.offsets].map(([group, offsets]) => [group, [...offsets]]),
      owners: [...this.owners].map(([group, owners]) => [group, [...owners]]),
      producers: this.producers.save(),
    }
    return saved as unknown as Json
  }

  restore(json: Json): void {
    const { topics, dataVersion, offsets, owners = [], producers } = json as unknown as Saved
    this.topics.clear()
    this.offsets.clear()
    this.owners.clear()
    for (const topic of topics) this.topics.set(topic.topic, topic)
    this.dataVersion = dataVersion
    for (const [group, queues] of offsets) this.offsets.set(group, new Map(queues))
    for (const [group, queues] of owners) this.owners.set(group, new Map(queues))
    this.producers.restore(producers)
  }
}

const payloadOf = (bytes: Buffer, at: number): unknown =>
  JSON.parse(bytes.toString('utf8', recordsAt(bytes, at), at + bytes.readUInt32LE(at)))
