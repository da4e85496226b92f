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
import { bornTimeAt, producerIdAt, sequenceAt, topicAt } from '../../../transport/frames.ts'
import {
  bornDeltaAt,
  frameOfOne,
  systemProperties as names,
  propertiesAt,
  recordBodyAt,
  tagsCodeAt,
} from '../../../transport/records.ts'
import { idPrefix, messageIdOf } from '../../producer/batch.ts'
import { attributes } from '../../producer/message.ts'
import type { Store, StoredQueue } from '../store/store.ts'

/** A record of a stored frame: the `index`-th, which begins at the byte `at`. */
export type RecordPlace = { frame: Buffer; at: number; index: number }

export type DeadLetters = {
  store: Store
  /** Wall time, milliseconds. */
  now: number
  createDerived(topic: string): void
  /** Its readers are told when it is confirmed. */
  appended(queue: StoredQueue): void
}

/**
 * Appends a copy of a record to the group's topic of dead letters on this broker, which is made when there is none;
 * `attempts`: how many times the message was given. Ask `store.accepting` BEFORE.
 */
export function appendDeadLetter(
  { store, now, createDerived, appended }: DeadLetters,
  group: string,
  { frame, at, index }: RecordPlace,
  attempts: number,
): void {
  const topic = DEAD_LETTER_PREFIX + group
  const properties = propertiesAt(frame, at)
  const from = properties.get(names.retryTopic) ?? topicAt(frame, 0)
  const id =
    properties.get(attributes.id) ??
    messageIdOf(idPrefix(producerIdAt(frame, 0)), sequenceAt(frame, 0) + index)
  const origin = properties.get(names.originMessageId) ?? id
  properties.set(attributes.id, id)
  properties.set(names.originMessageId, origin)
  properties.set(names.retryTopic, from)
  properties.set(names.reconsumeTimes, `${attempts - 1}`)
  properties.set(names.deadLetterTopic, from)
  properties.set(names.deadLetterMessageId, origin)
  properties.set(names.deadLetterReason, `received ${attempts} times and never acknowledged`)
  const bytes = frameOfOne({
    ...{ topic, queueId: 0, flags: 0, producerId: 0, sequence: 0, properties },
    bornTime: bornTimeAt(frame, 0) + bornDeltaAt(frame, at),
    tagsCode: tagsCodeAt(frame, at),
    body: recordBodyAt(frame, at),
  })
  createDerived(topic)
  const queue = store.queue(topic, 0)
  store.append(queue, bytes, 0, bytes.length, now)
  appended(queue)
}
