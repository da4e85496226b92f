/**
 * A message as a producer's caller writes it: its checks and its bytes.
 *
 * A message that passes `checkMessage` can be stored; one that does not is refused BEFORE anything of it is sent.
 *
 * RocketMQ: client/Validators.java, common/message/MessageDecoder.java (properties: name 0x01 value 0x02).
 */
import { sendTopicFault } from '../../machines/names.ts'
import { delayLevelFault } from '../../machines/retry-policy.ts'
import type { QueueRef } from '../../machines/topic.ts'
import { javaHash, MAX_BODY_BYTES, MAX_PROPERTY_BYTES, RECORD_HEAD_BYTES } from '../../transport/frames.ts'
import { systemProperties } from '../../transport/records.ts'
import { badInput, StateMQError } from '../errors.ts'
import { type Names, nearest } from '../options.ts'

export type OutgoingMessage = {
  topic: string
  /** 1 byte to 4 MiB. A string travels as UTF-8. */
  body: string | Uint8Array
  /** One tag, that consumers filter by. */
  tag?: string
  /** Keys to find the message by. */
  keys?: string | readonly string[]
  properties?: Readonly<Record<string, string>>
  /** Messages of one group go to one queue and are consumed in the order of their sends. */
  messageGroup?: string
  /** Chooses the queue: an index into `queues`, which are sorted by broker and id. Wins over `messageGroup`. */
  selectQueue?: (queues: readonly QueueRef[]) => number
  /** Consumers get it later: 1 to 18 for 1 s, 5 s, 10 s, 30 s, 1 min … 10 min, 20 min, 30 min, 1 h, 2 h. */
  delayLevel?: number
}

/** A copy for later: the caller may change what it gave once its call has returned. */
export function keep(message: OutgoingMessage): OutgoingMessage {
  const { body } = message
  return { ...message, body: typeof body === 'string' ? body : Buffer.from(body) }
}

/** Names under which RocketMQ keeps a message's own attributes among its properties. */
export const attributes = {
  tag: 'TAGS',
  keys: 'KEYS',
  messageGroup: '__SHARDINGKEY',
  id: 'UNIQ_KEY',
} as const
const reserved = new Set<string>([...Object.values(attributes), ...Object.values(systemProperties)])
/** What consumers do not show among a sender's own properties. */
export const hiddenProperties: ReadonlySet<string> = reserved

const BATCH_MESSAGES_MAX = 16_384
const later = ['delayMs', 'deliverAt'] as const

/** Throws what is wrong with a message: `code` MESSAGE_ILLEGAL and a sentence that says what is allowed. */
export function checkMessage(message: OutgoingMessage): void {
  if (typeof message !== 'object' || message === null)
    throw badInput('a message is an object { topic, body, … }')
  const { body, tag, keys, messageGroup, properties, selectQueue } = message
  if (typeof body === 'string' || body instanceof Uint8Array) {
    if (body.length === 0) throw badInput('the body is empty: send at least one byte')
    if (body.length > MAX_BODY_BYTES || (typeof body === 'string' && isTooLong(body))) {
      throw badInput(
        `the body is larger than ${MAX_BODY_BYTES} bytes (4 MiB): send it in parts or store it elsewhere`,
      )
    }
  } else {
    throw badInput(
      `the body is ${nameOfType(body)}: give a string or a Uint8Array, e.g. JSON.stringify(value)`,
    )
  }
  if (tag !== undefined) checkText('tag', tag)
  if (messageGroup !== undefined) checkText('messageGroup', messageGroup)
  if (keys !== undefined) {
    for (const key of typeof keys === 'string' ? [keys] : asList(keys)) {
      checkText('key', key)
      if (key !== keys && (key as string).includes(' ')) {
        throw badInput(`the key '${key}' has a blank, which RocketMQ parts keys by: leave it out`)
      }
    }
  }
  if (properties !== undefined) checkProperties(properties)
  if (selectQueue !== undefined && typeof selectQueue !== 'function') {
    throw badInput(`selectQueue is ${nameOfType(selectQueue)}: give a function from queues to an index`)
  }
  if (message.delayLevel !== undefined) {
    const fault = delayLevelFault(message.delayLevel)
    if (fault !== null) throw badInput(fault)
  }
  for (const option of later) {
    if ((message as { [name: string]: unknown })[option] !== undefined) {
      throw new StateMQError(
        'REQUEST_CODE_NOT_SUPPORTED',
        `'${option}' is not supported by this version: give a delayLevel, or send the message when it is due`,
      )
    }
  }
}

// biome-ignore format: one name a line says no more
const fields: Names<OutgoingMessage> = {
  topic: true, body: true, tag: true, keys: true, properties: true,
  messageGroup: true, selectQueue: true, delayLevel: true,
}

/** Throws for a field that is probably meant to be one of a message. Others are the caller's, and stay with it. */
export function refuseTypos(message: OutgoingMessage): void {
  for (const name of Object.keys(message)) {
    const near = Object.hasOwn(fields, name) ? null : nearest(name, Object.keys(fields))
    if (near !== null) throw badInput(`'${name}' is no field of a message: did you mean ${near}?`)
  }
}

/** Throws what is wrong with a batch: MESSAGE_ILLEGAL. Returns its first message, which speaks for all. */
export function checkBatch(messages: readonly OutgoingMessage[]): OutgoingMessage {
  if (!Array.isArray(messages) || messages.length === 0) {
    throw badInput('the batch is empty: give at least one message')
  }
  if (messages.length > BATCH_MESSAGES_MAX) {
    throw badInput(`the batch has more than ${BATCH_MESSAGES_MAX} messages: split it`)
  }
  const first = messages[0]!
  for (const message of messages) {
    checkMessage(message)
    if (message.topic !== first.topic) throw badInput('a batch has one topic: send one batch for each topic')
    if (message.messageGroup !== first.messageGroup) throw badInput('a batch has one message group')
    if (message.delayLevel !== undefined)
      throw badInput('a batch cannot be delayed: send each message with a delayLevel by itself')
  }
  return first
}

/** Throws when it is too large. RocketMQ counts what the broker will store, not only the bodies. */
export function checkBatchBytes(messages: readonly OutgoingMessage[], properties: readonly Buffer[]): void {
  let bytes = 0
  messages.forEach(({ body }, i) => {
    bytes += RECORD_HEAD_BYTES + properties[i]!.length
    bytes += typeof body === 'string' ? Buffer.byteLength(body) : body.length
  })
  if (bytes > MAX_BODY_BYTES + RECORD_HEAD_BYTES + MAX_PROPERTY_BYTES) {
    throw badInput(`the batch takes ${bytes} bytes, more than ${MAX_BODY_BYTES} (4 MiB): split it`)
  }
}

export function checkTopic(topic: unknown): asserts topic is string {
  if (typeof topic !== 'string') throw badInput(`the topic is ${nameOfType(topic)}: give a string`)
  const fault = sendTopicFault(topic)
  if (fault) throw badInput(fault.message, fault.code)
}

function checkProperties(properties: unknown): void {
  if (typeof properties !== 'object' || properties === null || Symbol.iterator in properties) {
    const given = Array.isArray(properties) ? 'a list' : nameOfType(properties)
    throw badInput(`properties are ${given}: give a plain object of strings`)
  }
  for (const [name, value] of Object.entries(properties)) {
    if (name === '') throw badInput('a property has an empty name')
    if (reserved.has(name))
      throw badInput(
        `the property '${name}' is reserved: use tag, keys, messageGroup or delayLevel, or another name`,
      )
    checkText('property name', name)
    if (value !== '') checkText(`property '${name}'`, value)
  }
}

function checkText(what: string, value: unknown): void {
  if (typeof value !== 'string') throw badInput(`the ${what} is ${nameOfType(value)}: give a string`)
  if (value === '') throw badInput(`the ${what} is empty`)
  if (/[\u0001\u0002]/.test(value))
    throw badInput(`the ${what} has a control character 1 or 2, which RocketMQ reserves`)
}

function asList(keys: unknown): readonly unknown[] {
  if (Array.isArray(keys)) return keys
  throw badInput(`keys are ${nameOfType(keys)}: give a string or a list of strings`)
}

const isTooLong = (body: string): boolean =>
  body.length * 3 > MAX_BODY_BYTES && Buffer.byteLength(body) > MAX_BODY_BYTES

const nameOfType = (value: unknown): string => (value === null ? 'null' : `of type ${typeof value}`)

const none = Buffer.alloc(0)

/** The attributes and properties as RocketMQ's text; throws MESSAGE_ILLEGAL when they exceed 32,767 bytes. */
export function encodeProperties(
  { tag, keys, messageGroup, delayLevel, properties }: OutgoingMessage,
  id?: string,
): Buffer {
  let text = ''
  if (tag !== undefined) text += `${attributes.tag}\u0001${tag}\u0002`
  if (keys !== undefined && keys.length > 0) {
    text += `${attributes.keys}\u0001${typeof keys === 'string' ? keys : keys.join(' ')}\u0002`
  }
  if (messageGroup !== undefined) text += `${attributes.messageGroup}\u0001${messageGroup}\u0002`
  if (delayLevel !== undefined) text += `${systemProperties.delayLevel}\u0001${delayLevel}\u0002`
  if (id !== undefined) text += `${attributes.id}\u0001${id}\u0002`
  if (properties !== undefined) {
    for (const name in properties) text += `${name}\u0001${properties[name]}\u0002`
  }
  if (text === '') return none
  const encoded = Buffer.from(text)
  if (encoded.length > MAX_PROPERTY_BYTES) {
    throw badInput(
      `tag, keys and properties take ${encoded.length} bytes, more than ${MAX_PROPERTY_BYTES}: move data to the body`,
    )
  }
  return encoded
}

export const tagsCodeOf = (tag: string | undefined): number => (tag === undefined ? 0 : javaHash(tag))

/** An upper bound of a record's bytes, without measuring short strings. */
export function recordBytesMax(body: string | Uint8Array, properties: Buffer): number {
  const bodyMax =
    typeof body !== 'string' ? body.length : body.length < 1_024 ? body.length * 3 : Buffer.byteLength(body)
  return RECORD_HEAD_BYTES + properties.length + bodyMax
}

/** Writes a record at `at`, where `recordBytesMax` bytes are free; returns where it ends. */
export function writeRecord(
  bytes: Buffer,
  at: number,
  bornDelta: number,
  tagsCode: number,
  properties: Buffer,
  body: string | Uint8Array,
): number {
  bytes.writeUInt32LE(bornDelta, at + 4)
  bytes.writeInt32LE(tagsCode, at + 8)
  bytes.writeUInt16LE(properties.length, at + 12)
  bytes.writeUInt16LE(0, at + 14)
  let end = at + RECORD_HEAD_BYTES
  if (properties.length > 0) {
    bytes.set(properties, end)
    end += properties.length
  }
  if (typeof body === 'string') end += bytes.write(body, end)
  else {
    bytes.set(body, end)
    end += body.length
  }
  bytes.writeUInt32LE(end - at, at)
  return end
}
