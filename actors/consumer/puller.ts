/**
 * Puller: asks for what follows in one queue, and knows whom to ask.
 *
 * AT MOST ONE pull is under way; an answer to one that was given up is NEVER heard. A master holds a pull until there is
 * something. While it does not answer and no newer one is known, replicas that have lost it too are asked for what is
 * confirmed, and the master now and then: it may only have lost its connection for a moment.
 *
 * RocketMQ: client/impl/consumer/PullMessageService.java, docs/cn/SlaveActingMasterMode.md
 */
import type { QueueRef } from '../../machines/topic.ts'
import { encode } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { answerCode, PULL_HEAD_BYTES } from '../../transport/exchange.ts'
import type { Outcome } from '../../transport/failures.ts'
import type { PullRequest } from '../../transport/messages.ts'
import type { Process } from '../node/process.ts'

export type PullerHooks = {
  /** The mastership to ask, 0 when none is known. */
  epoch(): number
  /** The broker does not answer under this epoch. */
  unreachable(epoch: number): void
  /** The master has answered with this code; it is not NOT_MASTER. */
  answered(code: number, answer: Buffer): void
  /** A replica has frames, or has left some out. Returns whether anything of it is new. */
  found(answer: Buffer): boolean
  /** Another pull may go. */
  ready(): void
}

/** What is asked for. */
export type Wanted = Pick<PullRequest, 'offset' | 'maxBytes' | 'owner' | 'filter'>

const WAIT_MS = 15_000
const ANSWER_MS = 5_000
const PAUSE_MS = 200
const AT_ONCE_MS = 1_000
/** How often a master that does not answer is asked again. */
const LOST_MS = 500

export class Puller {
  readonly #process: Process
  readonly #ref: QueueRef
  readonly #hooks: PullerHooks
  /** Names the pull under way. */
  #pull = 0
  #isAsking = false
  #pause: unknown = null
  /** The mastership that did not answer; -1 while none is missed. */
  #lostEpoch = -1
  /** When a master was asked last, or was found lost. */
  #masterAskedAt = 0

  constructor(process: Process, ref: QueueRef, hooks: PullerHooks) {
    this.#process = process
    this.#ref = ref
    this.#hooks = hooks
  }

  /** Neither is a pull under way nor does it pause. */
  get isIdle(): boolean {
    return !this.#isAsking && this.#pause === null
  }

  /** Since when the master holds a pull without a word; null while it is not waited for. */
  get waitsSince(): number | null {
    const epoch = this.#hooks.epoch()
    return this.#isAsking && epoch !== 0 && epoch !== this.#lostEpoch ? this.#masterAskedAt : null
  }

  /** Call only while it is idle. */
  ask(wanted: Wanted): void {
    const epoch = this.#hooks.epoch()
    const isLost = epoch === 0 || epoch === this.#lostEpoch
    if (!isLost) return this.#askMaster(wanted, epoch, WAIT_MS)
    const isDue = this.#process.world.clock.monotonic() - this.#masterAskedAt >= LOST_MS
    if (epoch !== 0 && isDue) this.#askMaster(wanted, epoch, 0)
    else this.#askReplicas(wanted, epoch)
  }

  /** Gives up what is under way: nothing of it is heard any more. */
  stop(): void {
    this.#pull++
    this.#isAsking = false
    this.#process.world.clock.clearTimeout(this.#pause)
    this.#pause = null
  }

  /** The master changed: what was asked of the old one will not be answered. */
  renew(): void {
    this.stop()
    this.#lostEpoch = -1
  }

  /** Says that it is ready after a while. */
  rest(): void {
    this.#pause ??= this.#process.world.clock.setTimeout(() => {
      this.#pause = null
      this.#hooks.ready()
    }, PAUSE_MS)
  }

  /** Nobody answers as the master of this epoch, though it holds a pull: what replicas have is read instead. */
  lose(epoch: number): void {
    if (!this.#isAsking || epoch !== this.#hooks.epoch() || epoch === this.#lostEpoch) return
    this.#pull++
    this.#isAsking = false
    this.#lost(epoch)
    this.#hooks.ready()
  }

  #lost(epoch: number): void {
    this.#lostEpoch = epoch
    this.#masterAskedAt = this.#process.world.clock.monotonic()
  }

  #askMaster(wanted: Wanted, epoch: number, waitMs: number): void {
    const { subjects, world } = this.#process
    this.#masterAskedAt = world.clock.monotonic()
    const { pull } = subjects.broker(this.#ref.brokerName, epoch)
    const timeoutMs = waitMs + (waitMs === 0 ? AT_ONCE_MS : ANSWER_MS)
    this.#request(pull, { ...wanted, waitMs }, timeoutMs, (outcome) => {
      if (outcome.ok) return this.#heard(outcome.value, epoch)
      const { code } = outcome.failure
      if (code === 'closed') return 'wait'
      if (code !== 'timedOut') this.#hooks.unreachable(epoch)
      // A connection that broke is our own: it says nothing of the master.
      if (code !== 'noResponders' && code !== 'timedOut') return 'rest'
      this.#lost(epoch)
      return 'ready'
    })
  }

  #heard(answer: Buffer, epoch: number): Next {
    const code = answer.length < PULL_HEAD_BYTES ? codes.SYSTEM_ERROR : answerCode(answer)
    if (code === codes.NOT_MASTER) {
      this.#hooks.unreachable(epoch)
      this.#lost(epoch)
      return 'ready'
    }
    this.#lostEpoch = -1
    this.#hooks.answered(code, answer)
    return 'wait'
  }

  /** Whatever else they answer, they have nothing new: only a master says where the queue begins and ends. */
  #askReplicas(wanted: Wanted, epoch: number): void {
    const { pull } = this.#process.subjects.replicas(this.#ref.brokerName)
    this.#request(pull, { ...wanted, waitMs: 0 }, AT_ONCE_MS, (outcome) => {
      if (!outcome.ok && outcome.failure.code === 'closed') return 'wait'
      if (outcome.ok && brings(outcome.value) && this.#hooks.found(outcome.value)) return 'ready'
      this.#hooks.unreachable(epoch)
      return 'rest'
    })
  }

  #request(
    subject: string,
    request: Wanted & { waitMs: number },
    timeoutMs: number,
    answered: (outcome: Outcome<Buffer>) => Next,
  ): void {
    const { topic, queueId } = this.#ref
    const pull = ++this.#pull
    this.#isAsking = true
    const payload = encode({ topic, queueId, ...request })
    this.#process.world.transport.request(subject, payload, timeoutMs, (outcome) => {
      if (pull !== this.#pull) return
      this.#isAsking = false
      const next = answered(outcome)
      if (pull !== this.#pull) return // Who heard the answer has stopped it, or has asked for more.
      if (next === 'ready') this.#hooks.ready()
      else if (next === 'rest') this.rest()
    })
  }
}

/** What follows an answer: another pull, at once or after a while, or whatever who heard it decides. */
type Next = 'ready' | 'rest' | 'wait'

/** With frames, or with how far nothing is wanted. */
function brings(answer: Buffer): boolean {
  if (answer.length < PULL_HEAD_BYTES) return false
  const code = answerCode(answer)
  return code === codes.SUCCESS || code === codes.PULL_RETRY_IMMEDIATELY
}
