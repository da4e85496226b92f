/**
 * Dead letters: messages that were given as often as may be and never acknowledged go to a topic of their group.
 *
 * The copy tells where it came from, and keeps the message's id and time: whoever reads it can send it again. It is in
 * the log BEFORE the record that ends the message in its queue: a crash between the two leaves a copy too many, NEVER one
 * too few.
 *
 * RocketMQ: broker/processor/AbstractSendMessageProcessor.java (consumerSendMsgBack)
 */
import { DEAD_LETTER_PREFIX } from '../../../machines/names.ts'
import { PERM_READ, PERM_WRITE, type TopicConfig } from '../../../machines/topic.ts'
import { encode } from '../../../transport/codec.ts'
import {
  bornTimeAt,
  FRAME_HEAD_BYTES,
  kinds,
  producerIdAt,
  propertyAt,
  RECORD_HEAD_BYTES,
  sealFrame,
  sequenceAt,
  topicAt,
} from '../../../transport/frames.ts'
import { idPrefix, messageIdOf } from '../../producer/batch.ts'
import { attributes } from '../../producer/message.ts'
import type { BrokerState } from '../broker-state.ts'
import type { Store, StoredQueue } from '../store/store.ts'

/** A record of a stored frame: the `index`-th, which begins at the byte `at`. */
export type RecordPlace = { frame: Buffer; at: number; index: number }

export type DeadLetters = {
  store: Store
  state: BrokerState
  now: () => number
  /** A topic was made: it is announced when its record is confirmed. */
  topicMade(topic: string): void
}

/**
 * Appends a copy of a record to the group's topic of dead letters on this broker, which is made when there is none;
 * `attempts`: how many times the message was given. Returns the queue that has it. Ask `store.accepting` BEFORE.
 */
export function appendDeadLetter(
  { store, state, now, topicMade }: DeadLetters,
  group: string,
  place: RecordPlace,
  attempts: number,
): StoredQueue {
  const topic = `${DEAD_LETTER_PREFIX}${group}`
  if (!state.topics.has(topic)) {
    const set: TopicConfig = { topic, readQueues: 1, writeQueues: 1, perm: PERM_READ | PERM_WRITE }
    store.appendControl(kinds.topics, encode({ set }))
    state.changeTopic({ set })
    topicMade(topic)
  }
  const queue = store.queue(topic, 0)
  const frame = copyFor(topic, place, attempts)
  store.append(queue, frame, 0, frame.length, now())
  return queue
}

function copyFor(topic: string, { frame, at, index }: RecordPlace, attempts: number): Buffer {
  const propertyBytes = frame.readUInt16LE(at + 12)
  const bodyAt = at + RECORD_HEAD_BYTES + propertyBytes
  const added: [name: string, value: string][] = [['RECONSUME_TIMES', `${attempts}`]]
  if (propertyAt(frame, at, attributes.id) === undefined) {
    const id = messageIdOf(idPrefix(producerIdAt(frame, 0)), sequenceAt(frame, 0) + index)
    added.push([attributes.id, id])
  }
  if (propertyAt(frame, at, 'RETRY_TOPIC') === undefined) added.push(['RETRY_TOPIC', topicAt(frame, 0)])
  const properties = Buffer.concat([
    frame.subarray(at + RECORD_HEAD_BYTES, bodyAt),
    Buffer.from(added.map(([name, value]) => `${name}\u0001${value}\u0002`).join('')),
  ])
  const body = frame.subarray(bodyAt, at + frame.readUInt32LE(at))
  const recordAt = FRAME_HEAD_BYTES + topic.length
  const recordBytes = RECORD_HEAD_BYTES + properties.length + body.length
  const bytes = Buffer.alloc(recordAt + recordBytes)
  bytes.write(topic, FRAME_HEAD_BYTES, 'latin1')
  bytes.writeUInt32LE(recordBytes, recordAt)
  bytes.writeInt32LE(frame.readInt32LE(at + 8), recordAt + 8)
  bytes.writeUInt16LE(properties.length, recordAt + 12)
  properties.copy(bytes, recordAt + RECORD_HEAD_BYTES)
  body.copy(bytes, recordAt + RECORD_HEAD_BYTES + properties.length)
  sealFrame(bytes, 0, bytes.length, {
    kind: kinds.messages,
    bornTime: bornTimeAt(frame, 0) + frame.readUInt32LE(at + 4),
    producerId: 0,
    sequence: 0,
    queueId: 0,
    count: 1,
    topicBytes: topic.length,
  })
  return bytes
}
