/**
 * SendBack: a message that a consumer could not handle becomes a copy that is tried again later, or a dead letter.
 *
 * Answered AFTER the copy is confirmed: from then on the original counts as finished. Only the owner of the queue may
 * send back. The same message is copied AT MOST ONCE while it is not committed.
 *
 * RocketMQ: broker/processor/AbstractSendMessageProcessor.java (consumerSendMsgBack)
 */
import { DEAD_LETTER_PREFIX, groupFault, RETRY_PREFIX } from '../../../machines/names.ts'
import { verdictOf } from '../../../machines/retry-policy.ts'
import { type Answer, accept, refuse } from '../../../transport/codec.ts'
import { type Code, codes } from '../../../transport/codes.ts'
import { bornTimeAt, flags, producerIdAt, queueOffsetAt, sequenceAt } from '../../../transport/frames.ts'
import type { PullRequest, SendBackAnswer, SendBackRequest } from '../../../transport/messages.ts'
import {
  bornDeltaAt,
  frameOfOne,
  systemProperties as names,
  type Properties,
  propertiesAt,
  recordBodyAt,
  recordOf,
  tagsCodeAt,
} from '../../../transport/records.ts'
import type { Clock } from '../../node/world.ts'
import { idPrefix, messageIdOf } from '../../producer/batch.ts'
import { attributes } from '../../producer/message.ts'
import { type BrokerState, queueOf } from '../broker-state.ts'
import type { Schedule } from '../schedule/schedule.ts'
import { waitingFrame } from '../schedule/waiting.ts'
import type { Store, StoredQueue } from '../store/store.ts'

/** What it needs of the gate it belongs to. */
export type SendBackOwner = {
  isOwner(request: Pick<PullRequest, 'topic' | 'queueId' | 'owner'>): boolean
  /** Why no message is taken at the moment; null while they are. */
  refusal(): Code | null
  afterStored(run: () => void): void
  appended(queue: StoredQueue): void
  createDerived(topic: string): void
}

type Tell = (answer: Answer<SendBackAnswer>) => void

export class SendBack {
  readonly counters = { sentBack: 0, deadLetters: 0, repeated: 0, fenced: 0 }
  readonly #store: Store
  readonly #state: BrokerState
  readonly #clock: Clock
  readonly #schedule: Schedule
  readonly #owner: SendBackOwner

  constructor(store: Store, state: BrokerState, clock: Clock, schedule: Schedule, owner: SendBackOwner) {
    this.#store = store
    this.#state = state
    this.#clock = clock
    this.#schedule = schedule
    this.#owner = owner
  }

  receive(request: SendBackRequest, answer: Tell): void {
    const { topic, queueId, offset } = request
    const fault = groupFault(request.owner.group)
    if (fault) return answer(refuse(codes.INVALID_PARAMETER, fault.message))
    if (this.#settled(request, answer)) return
    const queue = this.#store.queue(topic, queueId)
    this.#store.read(queue, offset, 1, (outcome) => {
      if (!outcome.ok) return answer(refuse(codes.SYSTEM_ERROR, outcome.failure.message))
      const frame = outcome.value.frames[0]
      const record = frame ? recordOf(frame, offset) : -1
      if (frame === undefined || record < 0)
        return answer(refuse(codes.QUERY_NOT_FOUND, `there is no message ${offset} in ${topic}/${queueId}`))
      // The disk was read meanwhile: the queue may have changed hands, the message may have been sent back.
      if (this.#settled(request, answer)) return
      const told = this.#copy(request, frame, record)
      this.#owner.afterStored(() => answer(accept(told)))
    })
  }

  /** Answers what needs no copy. */
  #settled(request: SendBackRequest, answer: Tell): boolean {
    const { topic, queueId, offset, owner } = request
    const config = this.#state.topics.get(topic)
    const refusal = this.#owner.refusal()
    const queue = queueOf(topic, queueId)
    if (config === undefined || queueId >= Math.max(config.readQueues, config.writeQueues))
      answer(refuse(codes.TOPIC_NOT_EXIST, `there is no queue ${queueId} of a topic '${topic}'`))
    else if (!this.#owner.isOwner(request)) {
      this.counters.fenced++
      answer(refuse(codes.FENCED_OWNER, `${owner.clientId} does not own ${queue} for '${owner.group}'`))
    } else if (
      offset < (this.#state.offsets.get(owner.group)?.get(queue) ?? 0) ||
      this.#state.sentBack.has(owner.group, queue, offset)
    ) {
      this.counters.repeated++
      this.#owner.afterStored(() => answer(accept({ to: 'done' })))
    } else if (refusal !== null)
      answer(refuse(refusal, 'the broker takes no messages at the moment: it is tried again'))
    else return false
    return true
  }

  #copy(request: SendBackRequest, frame: Buffer, record: number): SendBackAnswer {
    const { topic, queueId, offset, attempts, maxReconsumeTimes, delayLevel, owner, reason } = request
    const properties = propertiesAt(frame, record)
    const told = Number(properties.get(names.reconsumeTimes) ?? 0)
    // A try that the consumer made by itself, because nothing could be sent back, counts too.
    const reconsumeTimes = Math.max(Number.isSafeInteger(told) ? told : 0, attempts - 1)
    const index = offset - queueOffsetAt(frame, 0)
    const id =
      properties.get(attributes.id) ??
      messageIdOf(idPrefix(producerIdAt(frame, 0)), sequenceAt(frame, 0) + index)
    properties.set(attributes.id, id)
    properties.set(names.originMessageId, properties.get(names.originMessageId) ?? id)
    if (!properties.has(names.retryTopic)) properties.set(names.retryTopic, topic)
    properties.set(names.sentBackFrom, `${queueOf(topic, queueId)}/${offset}`)
    const message = {
      properties,
      tagsCode: tagsCodeAt(frame, record),
      body: recordBodyAt(frame, record),
      bornTime: bornTimeAt(frame, 0) + bornDeltaAt(frame, record),
      producerId: 0,
      sequence: 0,
    }
    const verdict = verdictOf({ reconsumeTimes, maxReconsumeTimes, delayLevel })
    const now = this.#clock.now()
    if (verdict.to === 'retry') {
      const level = verdict.delayLevel
      properties.set(names.reconsumeTimes, `${reconsumeTimes + 1}`)
      const dueTime = this.#schedule.dueTime(level)
      const goesTo = { topic: RETRY_PREFIX + owner.group, queueId: 0, dueTime }
      // Members are to know of the topic, and who of them reads it, BEFORE the message is due.
      this.#owner.createDerived(goesTo.topic)
      const special = flags.scheduled | flags.sentBack
      this.#schedule.append(waitingFrame({ ...message, flags: special }, goesTo, level), level, now)
      this.counters.sentBack++
      return { to: 'retry', delayLevel: level, dueTime }
    }
    properties.set(names.reconsumeTimes, `${reconsumeTimes}`)
    this.#bury(properties, message, DEAD_LETTER_PREFIX + owner.group, reason, now)
    return { to: 'deadLetters' }
  }

  #bury(
    properties: Properties,
    message: Omit<Parameters<typeof frameOfOne>[0], 'topic' | 'queueId' | 'flags'>,
    topic: string,
    reason: string,
    now: number,
  ): void {
    properties.set(names.deadLetterTopic, properties.get(names.retryTopic)!)
    properties.set(names.deadLetterMessageId, properties.get(names.originMessageId)!)
    if (reason !== '') properties.set(names.deadLetterReason, reason.replace(/[\u0001\u0002]/g, ' '))
    this.#owner.createDerived(topic)
    const frame = frameOfOne({ ...message, topic, queueId: 0, flags: flags.sentBack })
    const queue = this.#store.queue(topic, 0)
    this.#store.append(queue, frame, 0, frame.length, now)
    this.#state.noteMessages(frame, 0)
    this.#owner.appended(queue)
    this.counters.deadLetters++
  }
}
