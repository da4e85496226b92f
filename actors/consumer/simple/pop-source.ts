/**
 * One broker of one topic, as a simple consumer receives from it.
 *
 * A broker that has nothing is asked to tell when it has, and is not asked for messages before: a wait gives nothing, so
 * that one may wait at every broker and receive at the one that tells. AT MOST ONE wait is under way.
 *
 *   open ──gave nothing──▶ waiting ──it tells, or the wait is over──▶ open
 *     └──no answer──▶ pausing ──▶ open
 */
import { ask, encode } from '../../../transport/codec.ts'
import { codes, isRetryable } from '../../../transport/codes.ts'
import { answerCode } from '../../../transport/exchange.ts'
import type { FailureCode } from '../../../transport/failures.ts'
import { POP_HEAD_BYTES, popHasMore, popText } from '../../../transport/pop-exchange.ts'
import type { PopRequest } from '../../../transport/pop-messages.ts'
import { errorOfFailure, errorOfRefusal, StateMQError } from '../../errors.ts'
import type { Process } from '../../node/process.ts'
import { messagesIn, type ReceivedMessage } from './received-message.ts'

const WAIT_MS = 15_000
const ANSWER_MS = 5_000
const PAUSE_MS = 200
/** It told of something that another one has taken. */
const TAKEN_MS = 20
const REFUSED_MS = 5_000

export type PopSourceHooks = {
  /** The mastership to ask, 0 when none is known. */
  epoch(): number
  /** It may be asked for messages. */
  opened(): void
  unreachable(epoch: number): void
  /** It has no such topic. */
  deleted(): void
  /** That it is refused is no error: it is asked again later. */
  mayBeRefused(): boolean
}

/** `error`: the broker did not answer, or said that it cannot now. */
export type Popped = { messages: ReceivedMessage[]; error: StateMQError | null }

const nothing: Popped = { messages: [], error: null }

/** Of which mastership, and in which turn of this source. */
type Asked = { epoch: number; turn: number }

export class PopSource {
  readonly topic: string
  readonly brokerName: string
  readonly #process: Process
  readonly #hooks: PopSourceHooks
  #state: 'open' | 'waiting' | 'pausing' = 'open'
  /** It told that there is something, and nothing has been received since. */
  #hasTold = false
  /** Names the mastership that is being asked; an answer of an older one is not heard. */
  #turn = 0
  #pause: unknown = null
  #receiving = new Set<() => void>()
  #isClosed = false

  constructor(process: Process, topic: string, brokerName: string, hooks: PopSourceHooks) {
    this.topic = topic
    this.brokerName = brokerName
    this.#process = process
    this.#hooks = hooks
  }

  get isOpen(): boolean {
    return this.#state === 'open'
  }

  /** Rejects with a refusal that a repetition does not help. */
  receive(request: PopRequest): Promise<Popped> {
    const epoch = this.#hooks.epoch()
    if (epoch === 0) {
      this.#hooks.unreachable(0)
      return Promise.resolve(this.#failed(noMaster(this.brokerName)))
    }
    const { world, subjects } = this.#process
    const turn = this.#turn
    return new Promise((resolve, reject) => {
      const giveUp = () => resolve(nothing)
      this.#receiving.add(giveUp)
      const { popReceive } = subjects.broker(this.brokerName, epoch)
      world.transport.request(popReceive, encode(request), ANSWER_MS, (outcome) => {
        if (!this.#receiving.delete(giveUp)) return
        if (outcome.ok) {
          const answered = this.#answered(outcome.value, request, { epoch, turn })
          return answered instanceof StateMQError ? reject(answered) : resolve(answered)
        }
        const { failure } = outcome
        this.#lost(failure.code, epoch)
        const message = `${this.brokerName} does not answer: ${failure.message}`
        resolve(this.#failed(errorOfFailure({ ...failure, message, retryable: true })))
      })
    })
  }

  /** What became of the request; an error where a repetition does not help. */
  #answered(answer: Buffer, request: PopRequest, asked: Asked): Popped | StateMQError {
    const code = answer.length < POP_HEAD_BYTES ? codes.SYSTEM_ERROR : answerCode(answer)
    if (code === codes.SUCCESS) return this.#given(answer, request.group)
    if (code !== codes.PULL_NOT_FOUND) return this.#refused(code, answer, asked.epoch)
    const wasTaken = this.#hasTold && !popHasMore(answer)
    this.#hasTold = false
    if (wasTaken) this.#rest(TAKEN_MS)
    else if (!popHasMore(answer) && asked.turn === this.#turn) this.#wait(request, asked.epoch)
    return nothing
  }

  #given(answer: Buffer, group: string): Popped {
    this.#hasTold = false
    const { topic, brokerName } = this
    const messages = messagesIn(answer, brokerName, group)
    if (messages) return { messages, error: null }
    this.#process.world.log.error('an answer was damaged on its way: its messages come again', {
      topic,
      brokerName,
    })
    return nothing
  }

  #refused(code: number, answer: Buffer, epoch: number): Popped | StateMQError {
    const error = errorOfRefusal(
      code,
      `receiving from '${this.topic}' on ${this.brokerName}: ${textOf(answer)}`,
    )
    const isPassing =
      code === codes.NOT_MASTER || (isRetryable(error.code as 'NOT_MASTER') && code !== codes.NO_PERMISSION)
    if (!isPassing && this.#hooks.mayBeRefused()) {
      this.#rest(REFUSED_MS)
      return nothing
    }
    if (!isPassing) return new StateMQError(error.code, error.message, { retryable: false })
    if (code === codes.NOT_MASTER) this.#hooks.unreachable(epoch)
    if (code === codes.TOPIC_NOT_EXIST) this.#hooks.deleted()
    return this.#failed(error)
  }

  #failed(error: StateMQError): Popped {
    this.#rest(PAUSE_MS)
    return { messages: [], error }
  }

  #lost(code: FailureCode, epoch: number): void {
    if (code !== 'closed') this.#hooks.unreachable(epoch)
  }

  #rest(ms: number): void {
    if (this.#isClosed || this.#state !== 'open') return
    this.#state = 'pausing'
    this.#pause = this.#process.world.clock.setTimeout(() => this.#open(), ms)
  }

  #wait({ group, topic, clientId, ordered }: PopRequest, epoch: number): void {
    if (this.#isClosed || this.#state !== 'open') return
    this.#state = 'waiting'
    const { world, subjects } = this.#process
    const turn = this.#turn
    const request = { group, topic, clientId, ordered, waitMs: WAIT_MS }
    const { popWait } = subjects.broker(this.brokerName, epoch)
    ask(world.transport, popWait, request, WAIT_MS + ANSWER_MS, (outcome) => {
      if (turn !== this.#turn || this.#state !== 'waiting') return
      this.#hasTold = outcome.ok && 'value' in outcome.value && outcome.value.value.isReady
      if (!outcome.ok) this.#lost(outcome.failure.code, epoch)
      if (outcome.ok) return this.#open()
      this.#state = 'open'
      this.#rest(PAUSE_MS)
    })
  }

  #open(): void {
    this.#process.world.clock.clearTimeout(this.#pause)
    this.#pause = null
    this.#state = 'open'
    if (!this.#isClosed) this.#hooks.opened()
  }

  /** The broker has another master: what was asked of the old one will not be answered. */
  again(): void {
    this.#turn++
    this.#hasTold = false
    for (const giveUp of this.#receiving) giveUp()
    this.#receiving.clear()
    this.#open()
  }

  close(): void {
    this.#isClosed = true
    this.again()
  }
}

const noMaster = (brokerName: string): StateMQError =>
  new StateMQError('SERVICE_NOT_AVAILABLE', `no master of ${brokerName} is known: see 'statemq broker list'`)

const textOf = (answer: Buffer): string =>
  answer.length < POP_HEAD_BYTES ? 'the answer makes no sense' : popText(answer)
