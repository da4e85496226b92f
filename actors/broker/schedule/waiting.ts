/**
 * The two shapes of a message that is due later: as it waits, and as it is delivered.
 *
 * It waits in a frame of its own, under its sender's number, so that a repeated send is recognised as always; its
 * properties say when it is due and where it then goes. Delivered it is what its sender sent, under the id that the
 * sender was told.
 *
 * RocketMQ: broker/util/HookUtils.java (transformDelayLevelMessage), broker/schedule/ScheduleMessageService.java
 */
import {
  bornTimeAt,
  countAt,
  flags,
  flagsAt,
  producerIdAt,
  queueIdAt,
  queueOffsetAt,
  recordsAt,
  sequenceAt,
  topicAt,
} from '../../../transport/frames.ts'
import {
  bornDeltaAt,
  frameOfOne,
  systemProperties as names,
  type Properties,
  propertiesAt,
  recordBodyAt,
  type SingleRecord,
  tagsCodeAt,
} from '../../../transport/records.ts'
import { idPrefix, messageIdOf } from '../../producer/batch.ts'
import { attributes } from '../../producer/message.ts'
import { SCHEDULE_TOPIC, schedulerIdOf } from './schedule-state.ts'

/** Where and when a message is to be delivered. */
export type Destination = { topic: string; queueId: number; dueTime: number }

/** What a sender asks for; null when it is no message that can wait. */
export function levelAsked(bytes: Buffer, at: number): number | null {
  if (countAt(bytes, at) !== 1) return null
  const text = propertiesAt(bytes, recordsAt(bytes, at)).get(names.delayLevel)
  return text !== undefined && /^[1-9]\d?$/.test(text) ? Number(text) : null
}

/** The frame that a sender sent, as it waits. */
export function waitingOf(bytes: Buffer, at: number, level: number, dueTime: number): Buffer {
  const record = recordsAt(bytes, at)
  return waitingFrame(
    {
      ...partsOf(bytes, record),
      bornTime: bornTimeAt(bytes, at) + bornDeltaAt(bytes, record),
      producerId: producerIdAt(bytes, at),
      sequence: sequenceAt(bytes, at),
      flags: flags.scheduled,
    },
    { topic: topicAt(bytes, at), queueId: queueIdAt(bytes, at), dueTime },
    level,
  )
}

/** Any message, as it waits for its time. */
export function waitingFrame(
  message: Omit<SingleRecord, 'topic' | 'queueId'>,
  { topic, queueId, dueTime }: Destination,
  level: number,
): Buffer {
  message.properties.set(names.delayLevel, `${level}`)
  message.properties.set(names.dueTime, `${dueTime}`)
  message.properties.set(names.realTopic, topic)
  message.properties.set(names.realQueueId, `${queueId}`)
  return frameOfOne({ ...message, topic: SCHEDULE_TOPIC, queueId: level - 1 })
}

export const destinationOf = (properties: Properties): Destination => ({
  topic: properties.get(names.realTopic) ?? '',
  queueId: Number(properties.get(names.realQueueId)),
  dueTime: Number(properties.get(names.dueTime)),
})

/** The frame that goes to the real topic: the record of what is delivered, too. */
export function deliveredOf(frame: Buffer, properties: Properties, topic: string, queueId: number): Buffer {
  const record = recordsAt(frame, 0)
  for (const name of [
    names.delayLevel,
    names.dueTime,
    names.realTopic,
    names.realQueueId,
    names.sentBackFrom,
  ])
    properties.delete(name)
  if (!properties.has(attributes.id))
    properties.set(attributes.id, messageIdOf(idPrefix(producerIdAt(frame, 0)), sequenceAt(frame, 0)))
  return frameOfOne({
    ...partsOf(frame, record),
    properties,
    topic,
    queueId,
    flags: flags.delivered | (flagsAt(frame, 0) & flags.sentBack),
    bornTime: bornTimeAt(frame, 0),
    producerId: schedulerIdOf(queueIdAt(frame, 0)),
    sequence: queueOffsetAt(frame, 0) % 2 ** 32,
  })
}

const partsOf = (bytes: Buffer, record: number) => ({
  tagsCode: tagsCodeAt(bytes, record),
  properties: propertiesAt(bytes, record),
  body: recordBodyAt(bytes, record),
})
