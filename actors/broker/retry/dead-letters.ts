/**
 * Dead letters, and the copies of messages that a broker makes of its own: whoever gives up a message, the letter is alike.
 *
 * A copy tells where it came from and keeps the message's id and time, so that whoever reads it can send it again.
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
  type SingleRecord,
  tagsCodeAt,
} from '../../../transport/records.ts'
import { idPrefix, messageIdOf } from '../../producer/batch.ts'
import { attributes } from '../../producer/message.ts'
import type { Store, StoredQueue } from '../store/store.ts'

/** A record of a stored frame: the `index`-th, which begins at the byte `at`. */
export type RecordPlace = { frame: Buffer; at: number; index: number }

/** A message without the place where it goes. */
export type MessageCopy = Omit<SingleRecord, 'topic' | 'queueId' | 'flags'>

/** Its properties are the caller's to change. */
export function copyOf({ frame, at, index }: RecordPlace): MessageCopy {
  const properties = propertiesAt(frame, at)
  const id =
    properties.get(attributes.id) ??
    messageIdOf(idPrefix(producerIdAt(frame, 0)), sequenceAt(frame, 0) + index)
  properties.set(attributes.id, id)
  if (!properties.has(names.originMessageId)) properties.set(names.originMessageId, id)
  if (!properties.has(names.retryTopic)) properties.set(names.retryTopic, topicAt(frame, 0))
  return {
    properties,
    tagsCode: tagsCodeAt(frame, at),
    body: recordBodyAt(frame, at),
    bornTime: bornTimeAt(frame, 0) + bornDeltaAt(frame, at),
    producerId: 0,
    sequence: 0,
  }
}

export type DeadLetters = {
  store: Store
  /** Makes a topic of the system's own that is missing. */
  createDerived(topic: string): void
  /** Its readers are told when it is confirmed. */
  appended(queue: StoredQueue): void
}

/**
 * Appends a copy to the group's topic of dead letters on this broker; returns its frame. `reconsumeTimes`: how often it was
 * tried again. Ask `store.accepting` BEFORE.
 */
export function bury(
  { store, createDerived, appended }: DeadLetters,
  copy: MessageCopy,
  letter: { group: string; reconsumeTimes: number; reason: string; flags: number; now: number },
): Buffer {
  const { properties } = copy
  const topic = DEAD_LETTER_PREFIX + letter.group
  properties.set(names.reconsumeTimes, `${letter.reconsumeTimes}`)
  properties.set(names.deadLetterTopic, properties.get(names.retryTopic)!)
  properties.set(names.deadLetterMessageId, properties.get(names.originMessageId)!)
  if (letter.reason !== '')
    properties.set(names.deadLetterReason, letter.reason.replace(/[\u0001\u0002]/g, ' '))
  createDerived(topic)
  const frame = frameOfOne({ ...copy, topic, queueId: 0, flags: letter.flags })
  const queue = store.queue(topic, 0)
  store.append(queue, frame, 0, frame.length, letter.now)
  appended(queue)
  return frame
}
