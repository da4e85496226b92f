/**
 * What a broker knows beside its messages: topics, offsets, owners of queues, producers, what waits and what was popped.
 * All of it is derived from the log.
 *
 * A change is appended to the log FIRST and takes effect here by the same function that replays it after a restart,
 * so that a restarted broker, or a replica, comes to the same state.
 */
import type { Json } from '../../machines/effect.ts'
import type { QueueClaim } from '../../machines/queue-owner.ts'
import type { TopicConfig } from '../../machines/topic.ts'
import { flags, flagsAt, type Kind, kindAt, kinds, recordsAt } from '../../transport/frames.ts'
import { committedOf, type PopRecord, PopStates, type SavedPops } from './pop/pop-states.ts'
import { ProducerStates, type SavedProducer } from './producer-states.ts'
import { Retrying, type SavedRetrying } from './retry/retrying.ts'
import { type SavedSentBack, SentBack } from './retry/sent-back.ts'
import { type ScheduleChange, ScheduleState } from './schedule/schedule-state.ts'

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
  /** The same. */
  assignFloor?: number
  begun?: [group: string, [topic: string, queues: number][]][]
  producers: SavedProducer[]
  /** Missing in logs of earlier versions, as what follows. */
  schedule?: number[]
  sentBack?: SavedSentBack
  retrying?: SavedRetrying
  /** Early logs do not say it. */
  pops?: SavedPops
}

export class BrokerState {
  readonly topics = new Map<string, TopicConfig>()
  readonly offsets = new Map<string, GroupOffsets>()
  /** By group and queue: who reads it, and how often it changed hands. */
  readonly owners = new Map<string, Map<string, QueueOwnership>>()
  /** By group and topic: how many queues there were to read when the group began here. Later ones are read from their start. */
  readonly #begun = new Map<string, Map<string, number>>()
  /** The highest assignEpoch of a topic that was deleted: one of the same name NEVER grants under an earlier one again. */
  assignFloor = 0
  readonly producers: ProducerStates
  readonly schedule = new ScheduleState()
  readonly sentBack = new SentBack()
  readonly retrying = new Retrying()
  readonly pops = new PopStates()
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
      this.sentBack.forget(change.deleted)
      this.pops.forgetTopic(change.deleted)
      for (const [group, offsets] of this.offsets) {
        for (const queue of offsets.keys()) if (queue.startsWith(`${change.deleted}/`)) offsets.delete(queue)
        if (offsets.size === 0) this.offsets.delete(group)
      }
      for (const [group, owners] of this.owners) {
        for (const [queue, { assignEpoch }] of owners) {
          if (!queue.startsWith(`${change.deleted}/`)) continue
          this.assignFloor = Math.max(this.assignFloor, assignEpoch)
          owners.delete(queue)
        }
        if (owners.size === 0) this.owners.delete(group)
      }
      for (const [group, topics] of this.#begun)
        if (topics.delete(change.deleted) && topics.size === 0) this.#begun.delete(group)
    }
  }

  /** Whether the queue was not there yet when the group began to read its topic. */
  isLater(group: string, topic: string, queueId: number): boolean {
    return queueId >= (this.#begun.get(group)?.get(topic) ?? Number.POSITIVE_INFINITY)
  }

  #begin(group: string, topic: string): void {
    const config = this.topics.get(topic)
    if (config === undefined) return
    let topics = this.#begun.get(group)
    if (!topics) {
      topics = new Map()
      this.#begun.set(group, topics)
    }
    if (!topics.has(topic)) topics.set(topic, config.readQueues)
  }

  changeOffsets({ group, offsets }: OffsetChange): void {
    const known = this.#offsetsOf(group)
    for (const [topic, queueId, offset] of offsets) {
      const queue = queueOf(topic, queueId)
      if (!known.has(queue)) this.#begin(group, topic)
      this.sentBack.committed(group, queue, known.get(queue) ?? 0, offset)
      known.set(queue, offset)
      this.pops.move(group, queue, offset)
    }
  }

  changePops(record: PopRecord): void {
    for (const { group, queue, change } of record) {
      const known = this.#offsetsOf(group)
      const committed = committedOf(this.pops.apply(group, queue, change))
      if (!known.has(queue)) this.#begin(group, topicOf(queue))
      this.sentBack.committed(group, queue, known.get(queue) ?? 0, committed)
      known.set(queue, committed)
    }
  }

  #offsetsOf(group: string): GroupOffsets {
    let known = this.offsets.get(group)
    if (!known) {
      known = new Map()
      this.offsets.set(group, known)
    }
    return known
  }

  /** A frame of messages, already stamped, is in the log. */
  noteMessages(bytes: Buffer, at: number): void {
    const special = flagsAt(bytes, at)
    if (special !== 0) {
      const isSentBack = (special & flags.sentBack) !== 0
      if ((special & flags.delivered) !== 0) return this.#noteDelivered(bytes, at, isSentBack)
      if (isSentBack) this.sentBack.note(bytes, at)
      if (isSentBack && (special & flags.scheduled) !== 0) this.retrying.noteWaiting(bytes, at)
    }
    this.producers.note(bytes, at)
  }

  #noteDelivered(bytes: Buffer, at: number, wasSentBack: boolean): void {
    const queueId = this.schedule.noteDelivered(bytes, at)
    if (wasSentBack) this.retrying.noteDelivered(bytes, at, queueId)
    this.retrying.passed(queueId, this.schedule.next(queueId))
  }

  changeSchedule(change: ScheduleChange): void {
    this.schedule.change(change)
    this.retrying.passed(change.queueId, this.schedule.next(change.queueId))
  }

  /** Of a queue that was never claimed, too. */
  ownership(group: string, queue: string): QueueOwnership {
    return this.owners.get(group)?.get(queue) ?? { assignEpoch: this.assignFloor, owner: null }
  }

  changeOwner({ group, topic, queueId, assignEpoch, owner, offset }: OwnerChange): void {
    let known = this.owners.get(group)
    if (!known) {
      known = new Map()
      this.owners.set(group, known)
    }
    const queue = queueOf(topic, queueId)
    if (!known.has(queue)) this.#begin(group, topic)
    known.set(queue, { assignEpoch, owner })
    if (offset !== null) this.changeOffsets({ group, offsets: [[topic, queueId, offset]] })
  }

  /** A frame of the log, after a restart. */
  replay(bytes: Buffer, at: number): void {
    switch (kindAt(bytes, at) as Kind) {
      case kinds.messages:
        return this.noteMessages(bytes, at)
      case kinds.topics:
        return this.changeTopic(payloadOf(bytes, at) as TopicChange)
      case kinds.offsets:
        return this.changeOffsets(payloadOf(bytes, at) as OffsetChange)
      case kinds.owners:
        return this.changeOwner(payloadOf(bytes, at) as OwnerChange)
      case kinds.schedule:
        return this.changeSchedule(payloadOf(bytes, at) as ScheduleChange)
      case kinds.pops:
        return this.changePops(payloadOf(bytes, at) as PopRecord)
    }
  }

  save(): Json {
    const saved: Saved = {
      topics: [...this.topics.values()],
      dataVersion: this.dataVersion,
      offsets: [...this.offsets].map(([group, offsets]) => [group, [...offsets]]),
      owners: [...this.owners].map(([group, owners]) => [group, [...owners]]),
      assignFloor: this.assignFloor,
      begun: [...this.#begun].map(([group, topics]) => [group, [...topics]]),
      producers: this.producers.save(),
      schedule: this.schedule.save(),
      sentBack: this.sentBack.save(),
      retrying: this.retrying.save(),
      pops: this.pops.save(),
    }
    return saved as unknown as Json
  }

  restore(json: Json): void {
    const { topics, dataVersion, offsets, owners = [], assignFloor = 0, begun } = json as unknown as Saved
    const { producers, schedule, sentBack, retrying, pops = [] } = json as unknown as Saved
    this.topics.clear()
    this.offsets.clear()
    this.owners.clear()
    for (const topic of topics) this.topics.set(topic.topic, topic)
    this.dataVersion = dataVersion
    this.assignFloor = assignFloor
    for (const [group, queues] of offsets) this.offsets.set(group, new Map(queues))
    for (const [group, queues] of owners) this.owners.set(group, new Map(queues))
    this.#restoreBegun(begun)
    this.producers.restore(producers)
    this.schedule.restore(schedule)
    this.sentBack.restore(sentBack)
    this.retrying.restore(retrying)
    this.pops.restore(pops)
  }

  /** Where it is not told, all queues that there are were there when the group began. */
  #restoreBegun(begun: Saved['begun']): void {
    this.#begun.clear()
    for (const [group, topics] of begun ?? []) this.#begun.set(group, new Map(topics))
    if (begun !== undefined) return
    for (const known of [this.offsets, this.owners])
      for (const [group, queues] of known)
        for (const queue of queues.keys()) this.#begin(group, topicOf(queue))
  }
}

const topicOf = (queue: string): string => queue.slice(0, queue.lastIndexOf('/'))

const payloadOf = (bytes: Buffer, at: number): unknown =>
  JSON.parse(bytes.toString('utf8', recordsAt(bytes, at), at + bytes.readUInt32LE(at)))
