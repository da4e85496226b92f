/**
 * What a broker knows beside its messages: topics, committed offsets, producers. All of it is derived from the log.
 *
 * A change is appended to the log FIRST and takes effect here by the same function that replays it after a restart,
 * so that a restarted broker, or a replica, comes to the same state.
 */
import type { Json } from '../../machines/effect.ts'
import type { TopicConfig } from '../../machines/topic.ts'
import { type Kind, kindAt, kinds, recordsAt } from '../../transport/frames.ts'
import { committedOf, type PopRecord, PopStates, type SavedPops } from './pop/pop-states.ts'
import { ProducerStates, type SavedProducer } from './producer-states.ts'

/** Offsets of one group: queue `topic/queueId` to the offset of the next message to read. */
export type GroupOffsets = Map<string, number>
export const queueOf = (topic: string, queueId: number): string => `${topic}/${queueId}`

/** What the log's own frames carry, as JSON. */
export type TopicChange = { set: TopicConfig } | { deleted: string }
export type OffsetChange = { group: string; offsets: [topic: string, queueId: number, offset: number][] }

type Saved = {
  topics: TopicConfig[]
  dataVersion: number
  offsets: [group: string, [queue: string, offset: number][]][]
  producers: SavedProducer[]
  /** Early logs do not say it. */
  pops?: SavedPops
}

export class BrokerState {
  readonly topics = new Map<string, TopicConfig>()
  readonly offsets = new Map<string, GroupOffsets>()
  readonly producers: ProducerStates
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
      this.pops.forgetTopic(change.deleted)
      for (const [group, offsets] of this.offsets) {
        for (const queue of offsets.keys()) if (queue.startsWith(`${change.deleted}/`)) offsets.delete(queue)
        if (offsets.size === 0) this.offsets.delete(group)
      }
    }
  }

  changeOffsets({ group, offsets }: OffsetChange): void {
    const known = this.#offsetsOf(group)
    for (const [topic, queueId, offset] of offsets) {
      const queue = queueOf(topic, queueId)
      known.set(queue, offset)
      this.pops.move(group, queue, offset)
    }
  }

  changePops(record: PopRecord): void {
    for (const { group, queue, change } of record)
      this.#offsetsOf(group).set(queue, committedOf(this.pops.apply(group, queue, change)))
  }

  #offsetsOf(group: string): GroupOffsets {
    let known = this.offsets.get(group)
    if (!known) {
      known = new Map()
      this.offsets.set(group, known)
    }
    return known
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
      case kinds.pops:
        return this.changePops(payloadOf(bytes, at) as PopRecord)
    }
  }

  save(): Json {
    const saved: Saved = {
      topics: [...this.topics.values()],
      dataVersion: this.dataVersion,
      offsets: [...this.offsets].map(([group, offsets]) => [group, [...offsets]]),
      producers: this.producers.save(),
      pops: this.pops.save(),
    }
    return saved as unknown as Json
  }

  restore(json: Json): void {
    const { topics, dataVersion, offsets, producers, pops = [] } = json as unknown as Saved
    this.topics.clear()
    this.offsets.clear()
    for (const topic of topics) this.topics.set(topic.topic, topic)
    this.dataVersion = dataVersion
    for (const [group, queues] of offsets) this.offsets.set(group, new Map(queues))
    this.producers.restore(producers)
    this.pops.restore(pops)
  }
}

const payloadOf = (bytes: Buffer, at: number): unknown =>
  JSON.parse(bytes.toString('utf8', recordsAt(bytes, at), at + bytes.readUInt32LE(at)))
