/**
 * Names: which names topics, groups, brokers and clusters may have.
 *
 * A name becomes one token of a subject and a part of file names on every broker, so what is let in here is safe in
 * both. Each function returns null when the name is fine, else a sentence that says what is allowed.
 *
 * RocketMQ: common/topic/TopicValidator.java, client/Validators.java
 */

export type NameFault = { code: 'MESSAGE_ILLEGAL' | 'INVALID_PARAMETER'; message: string }

export const RETRY_PREFIX = '%RETRY%'
export const DEAD_LETTER_PREFIX = '%DLQ%'

const TOPIC_LENGTH_MAX = 127
/** Made of a group's name and a topic's. */
const DERIVED_TOPIC_LENGTH_MAX = 255
const GROUP_LENGTH_MAX = 120
const BROKER_LENGTH_MAX = 127

const topicCharacters = /^[%|a-zA-Z0-9_-]+$/
const plainCharacters = /^[a-zA-Z0-9_-]+$/
/** `room@broker` tells the machine room of a broker (machines/allocation/machine-room.ts). */
const brokerCharacters = /^[a-zA-Z0-9_-]+(@[a-zA-Z0-9_-]+)?$/

/** Only the system itself writes to these. */
const closedTopics: readonly string[] = [
  'SCHEDULE_TOPIC_XXXX',
  'RMQ_SYS_TRANS_HALF_TOPIC',
  'RMQ_SYS_TRANS_OP_HALF_TOPIC',
  'TRANS_CHECK_MAX_TIME_TOPIC',
  'SELF_TEST_TOPIC',
  'OFFSET_MOVED_EVENT',
]

/** Made by a broker for a group that needs it. */
export const isDerived = (topic: string): boolean =>
  topic.startsWith(RETRY_PREFIX) || topic.startsWith(DEAD_LETTER_PREFIX)

/** Of any topic. */
export const topicFault = (topic: string): NameFault | null =>
  nameFault('topic', topic, topicCharacters, isDerived(topic) ? DERIVED_TOPIC_LENGTH_MAX : TOPIC_LENGTH_MAX)

/** Of a topic that a client reads, or that an operator makes, changes or deletes. */
export function ownTopicFault(topic: string): NameFault | null {
  if (!closedTopics.includes(topic)) return topicFault(topic)
  return {
    code: 'INVALID_PARAMETER',
    message: `topic '${topic}' belongs to the system: give the name of a topic of your own`,
  }
}

/** Of a topic that a client sends to. */
export function sendTopicFault(topic: string): NameFault | null {
  const fault = topicFault(topic)
  if (fault) return { ...fault, code: 'MESSAGE_ILLEGAL' }
  if (!closedTopics.includes(topic)) return null
  return {
    code: 'MESSAGE_ILLEGAL',
    message: `topic '${topic}' belongs to the system, which alone writes to it: send to a topic of your own`,
  }
}

export const groupFault = (group: string): NameFault | null =>
  nameFault('group', group, topicCharacters, GROUP_LENGTH_MAX)

export const brokerNameFault = (brokerName: string): NameFault | null =>
  nameFault('broker name', brokerName, brokerCharacters, BROKER_LENGTH_MAX)

export const roomFault = (room: string): NameFault | null =>
  nameFault('machine room', room, plainCharacters, BROKER_LENGTH_MAX)

export const clusterNameFault = (cluster: string): NameFault | null =>
  nameFault('cluster name', cluster, plainCharacters, BROKER_LENGTH_MAX)

function nameFault(noun: string, name: string, allowed: RegExp, lengthMax: number): NameFault | null {
  const rule = `a ${noun} has 1 to ${lengthMax} characters out of ${spelled(allowed)}`
  if (name.trim() === '') return { code: 'INVALID_PARAMETER', message: `the ${noun} is blank: ${rule}` }
  if (!allowed.test(name))
    return { code: 'INVALID_PARAMETER', message: `${noun} '${name}' is illegal: ${rule}` }
  if (name.length <= lengthMax) return null
  return { code: 'INVALID_PARAMETER', message: `the ${noun} has ${name.length} characters: ${rule}` }
}

function spelled(allowed: RegExp): string {
  if (allowed === topicCharacters) return 'a-z A-Z 0-9 _ - % |'
  return allowed === plainCharacters ? 'a-z A-Z 0-9 _ -' : 'a-z A-Z 0-9 _ -, and one @ after its machine room'
}
