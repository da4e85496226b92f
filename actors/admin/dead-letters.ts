/**
 * Dead letters: what a group could not handle in all its tries, to be looked at and sent again.
 *
 * A dead letter stays where it is until its time is over, sent again or not. What is sent again keeps its id, so that
 * groups which had handled it may know it, and says in the property RESENT_FROM where it came from.
 *
 * RocketMQ: rocketmq-dashboard service/impl/DlqMessageServiceImpl.java
 */
import { DEAD_LETTER_PREFIX } from '../../machines/names.ts'
import { compareText } from '../../machines/topic.ts'
import { systemProperties as names } from '../../transport/records.ts'
import type { IncomingMessage } from '../consumer/incoming-message.ts'
import { Reader } from '../consumer/reader.ts'
import { badInput, StateMQError } from '../errors.ts'
import type { Receipt } from '../producer/batch.ts'
import { Producer } from '../producer/producer.ts'
import type { Masters } from './masters.ts'

/** Which dead letters of a group there are; `body` where one is asked for. */
export type DeadLetter = {
  messageId: string
  /** Where it was sent to. */
  topic: string
  tag: string | undefined
  keys: string[]
  properties: Record<string, string>
  /** How often it was handled. */
  attempts: number
  /** What the last handler threw, as far as it could be told. */
  reason: string | undefined
  /** When its sender made it, and when it died; milliseconds since 1970. */
  bornTime: number
  time: number
  /** Where it lies. */
  brokerName: string
  queueOffset: number
}
export type DeadLetterWithBody = DeadLetter & { body: Buffer }

/** By what a message that was sent again is known. */
const RESENT_FROM = 'RESENT_FROM'
const PAGE = 200
const WAIT_MS = 1_000
/** A queue that gives nothing for so many polls has lost its master, or its messages. */
const IDLE_POLLS = 10

export class DeadLetters {
  readonly #masters: Masters
  readonly #group: string
  readonly #topic: string

  constructor(masters: Masters, group: string) {
    this.#masters = masters
    this.#group = group
    this.#topic = DEAD_LETTER_PREFIX + group
  }

  /** The newest first. */
  async list(max: number): Promise<DeadLetter[]> {
    if (!(Number.isInteger(max) && max > 0))
      throw badInput(`max ${max}: give a whole number above 0`, 'INVALID_PARAMETER')
    const found: DeadLetter[] = []
    for await (const message of this.#read(max)) found.push(letterOf(message))
    found.sort(
      (a, b) => b.time - a.time || compareText(a.brokerName, b.brokerName) || b.queueOffset - a.queueOffset,
    )
    return found.slice(0, max)
  }

  /** Throws QUERY_NOT_FOUND. When a message died several times, the last. */
  async show(messageId: string): Promise<DeadLetterWithBody> {
    let found: IncomingMessage | null = null
    for await (const message of this.#read()) if (message.messageId === messageId) found = message
    if (found === null) throw this.#unknown([messageId])
    return { ...letterOf(found), body: found.body }
  }

  /** Nothing is sent when one of the ids is unknown. Each message is sent once, however often it died. */
  async resend(messageIds: readonly string[] | 'all'): Promise<Receipt[]> {
    if (messageIds !== 'all') await this.#checkAll(messageIds)
    const wanted = messageIds === 'all' ? null : new Set(messageIds)
    const sent = new Set<string>()
    const receipts: Receipt[] = []
    const producer = new Producer(this.#masters.process, { createTopics: false }, () => {})
    let page: IncomingMessage[] = []
    const sendPage = async () => {
      const sending = page.map((message) => producer.sendAs(resent(message, this.#topic), message.messageId))
      page = []
      const outcomes = await Promise.allSettled(sending)
      for (const outcome of outcomes) if (outcome.status === 'fulfilled') receipts.push(outcome.value)
      const failed = outcomes.find((outcome) => outcome.status === 'rejected')
      if (failed) throw halfWay(failed.reason, receipts.length)
    }
    try {
      for await (const message of this.#read()) {
        const { messageId } = message
        if (sent.has(messageId) || (wanted && !wanted.has(messageId))) continue
        sent.add(messageId)
        if (page.push(message) === PAGE) await sendPage()
      }
      await sendPage()
    } finally {
      await producer.close()
    }
    return receipts
  }

  async #checkAll(messageIds: readonly string[]): Promise<void> {
    const left = new Set(messageIds)
    for await (const { messageId } of this.#read()) left.delete(messageId)
    if (left.size > 0) throw this.#unknown([...left])
  }

  #unknown(ids: readonly string[]): StateMQError {
    return new StateMQError(
      'QUERY_NOT_FOUND',
      `'${this.#group}' has no dead letter ${ids.join(', ')}: see 'statemq dead-letter list ${this.#group}'`,
      { retryable: false },
    )
  }

  /** All that are there now, or the last `max` of each queue; in the order of their queues. */
  async *#read(max = Number.POSITIVE_INFINITY): AsyncGenerator<IncomingMessage, void, undefined> {
    const { process } = this.#masters
    const topic = this.#topic
    const route = await this.#masters.ask(
      process.subjects.nameServer.route,
      { topic },
      `the route of '${topic}'`,
    )
    if (route === null) return
    const reader = new Reader(process, { topic, from: 'last' }, () => {})
    try {
      let left = 0
      for (const { brokerName, epoch } of route.brokers) {
        const what = `the dead letters on ${brokerName}`
        const master = { brokerName, epoch }
        const rows = await this.#masters.on(master, what, (to) => [to.queues, { topic }] as const)
        for (const { queueId, minOffset, maxOffset } of rows) {
          const offset = Math.max(minOffset, maxOffset - max)
          left += maxOffset - offset
          await reader.seek({ offset, queue: { topic, brokerName, queueId } })
        }
      }
      for (let idle = 0; left > 0 && idle < IDLE_POLLS; ) {
        const found = await reader.poll(Math.min(PAGE, left), WAIT_MS)
        idle = found.length === 0 ? idle + 1 : 0
        left -= found.length
        yield* found
      }
    } finally {
      await reader.close()
    }
  }
}

function letterOf(message: IncomingMessage): DeadLetter {
  const { messageId, tag, keys, properties, bornTime, storeTime: time, brokerName, queueOffset } = message
  return {
    messageId,
    topic: message.attribute(names.deadLetterTopic) ?? message.topic,
    ...{ tag, keys, properties },
    attempts: 1 + Number(message.attribute(names.reconsumeTimes) ?? 0),
    reason: message.attribute(names.deadLetterReason),
    ...{ bornTime, time, brokerName, queueOffset },
  }
}

function resent(message: IncomingMessage, from: string) {
  const { body, tag, keys, messageGroup, properties } = message
  return {
    topic: message.attribute(names.deadLetterTopic) ?? '',
    body,
    ...(tag === undefined ? {} : { tag }),
    ...(keys.length === 0 ? {} : { keys }),
    ...(messageGroup === undefined ? {} : { messageGroup }),
    properties: { ...properties, [RESENT_FROM]: from },
  }
}

function halfWay(reason: unknown, sent: number): unknown {
  if (!(reason instanceof StateMQError) || sent === 0) return reason
  const { code, message, retryable } = reason
  return new StateMQError(code, `${sent} were sent again, then: ${message}`, { retryable, cause: reason })
}
