/**
 * SendBack: a message that a consumer could not handle becomes a copy that is tried again later, or a dead letter.
 *
 * Answered AFTER the copy is confirmed: from then on the original counts as finished. Only the owner of the queue may
 * send back. The same message is copied AT MOST ONCE while it is not committed.
 *
 * RocketMQ: broker/processor/AbstractSendMessageProcessor.java (consumerSendMsgBack)
 */
import { groupFault, RETRY_PREFIX } from '../../../machines/names.ts'
import { verdictOf } from '../../../machines/retry-policy.ts'
import { queueCountOf } from '../../../machines/topic.ts'
import { type Answer, accept, refuse } from '../../../transport/codec.ts'
import { type Code, codes } from '../../../transport/codes.ts'
import { flags, queueOffsetAt } from '../../../transport/frames.ts'
import type { PullRequest, SendBackAnswer, SendBackRequest } from '../../../transport/messages.ts'
import { systemProperties as names, recordOf } from '../../../transport/records.ts'
import type { Clock } from '../../node/world.ts'
import { type BrokerState, queueOf } from '../broker-state.ts'
import type { Schedule } from '../schedule/schedule.ts'
import { waitingFrame } from '../schedule/waiting.ts'
import type { Store, StoredQueue } from '../store/store.ts'
import { bury, copyOf } from './dead-letters.ts'

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
    if (config === undefined || queueId >= queueCountOf(config))
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

  #copy(request: SendBackRequest, frame: Buffer, at: number): SendBackAnswer {
    const { topic, queueId, offset, attempts, maxReconsumeTimes, delayLevel, owner, reason } = request
    const copy = copyOf({ frame, at, index: offset - queueOffsetAt(frame, 0) })
    const { properties } = copy
    const told = Number(properties.get(names.reconsumeTimes) ?? 0)
    // A try that the consumer made by itself, because nothing could be sent back, counts too.
    const reconsumeTimes = Math.max(Number.isSafeInteger(told) ? told : 0, attempts - 1)
    properties.set(names.sentBackFrom, `${queueOf(topic, queueId)}/${offset}`)
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
      this.#schedule.append(waitingFrame({ ...copy, flags: special }, goesTo, level), level, now)
      this.counters.sentBack++
      return { to: 'retry', delayLevel: level, dueTime }
    }
    const { createDerived, appended } = this.#owner
    const letter = { group: owner.group, reconsumeTimes, reason, flags: flags.sentBack, now }
    this.#state.noteMessages(bury({ store: this.#store, createDerived, appended }, copy, letter), 0)
    this.counters.deadLetters++
    return { to: 'deadLetters' }
  }
}
