/**
 * Pipe: one producer's way to one broker. It ships what its lanes have gathered, many frames in one request.
 *
 * No fixed linger: a request leaves at the end of the loop turn, or as soon as `SHIP_MESSAGES` are gathered, so that
 * the broker works on the first while the rest of the turn is gathered. While `REQUESTS_MAX` are under way the next one
 * grows. So an idle pipe adds no delay and a busy one ships large requests.
 */
import { codeName, codes, isRetryable } from '../../transport/codes.ts'
import {
  answerCode,
  answerEpoch,
  SEND_HEAD_BYTES,
  SEND_RESULT_BYTES,
  sendResultCode,
  sendResultOffset,
  sendResults,
} from '../../transport/exchange.ts'
import { type Failure, fail, type Outcome } from '../../transport/failures.ts'
import type { Clock } from '../../transport/ports.ts'
import type { Subjects } from '../../transport/subjects.ts'
import type { Transport } from '../../transport/transport.ts'
import { errorOfFailure, errorOfRefusal } from '../errors.ts'
import type { Batch, BatchFailure } from './batch.ts'
import type { BufferPool } from './buffer-pool.ts'
import type { Lane } from './lane.ts'

/** The broker remembers the last eight frames of a lane; no more may be under way. */
const REQUESTS_MAX = 4
const REQUEST_BYTES = 512 * 1024
/** Settling so many takes a producer about as long as storing them takes a broker: both work at once. */
const SHIP_MESSAGES = 256
/** A broker that answers nothing for so long may have died with its requests: who is master now is asked again. */
const SILENCE_MS = 300

/** What a pipe needs of the producer it belongs to. */
export type PipeOwner = {
  readonly transport: Transport
  readonly subjects: Subjects
  readonly pool: BufferPool
  readonly clock: Clock
  /** Asks for `flush` at the end of this turn of the loop. */
  wantFlush(pipe: Pipe): void
  /** How long a request may take before it is tried again. */
  readonly attemptMs: number
  answered(brokerName: string, tookMs: number): void
  unreachable(brokerName: string, epoch: number): void
  /** It has answered nothing for a while; it may only be slow. */
  silent(brokerName: string, epoch: number): void
}

export class Pipe {
  readonly brokerName: string
  /** True while the producer has it on its list of pipes to flush. */
  isWanted = false
  readonly #owner: PipeOwner
  /** 0 while the broker has no master that is known: nobody listens there, and a request learns it at once. */
  #epoch = 0
  #subject: string
  #underWay = 0
  #heardAt = 0
  #look: unknown = null
  #gathered = 0
  #lanes: Lane[] = []
  /** What to tell each request that is under way. */
  readonly #waiting: ((outcome: Outcome<Buffer>) => void)[] = []

  constructor(owner: PipeOwner, brokerName: string) {
    this.#owner = owner
    this.brokerName = brokerName
    this.#subject = owner.subjects.broker(brokerName, 0).send
  }

  get epoch(): number {
    return this.#epoch
  }

  /** The broker's mastership that requests go to from now on. An older one NEVER replaces a newer. */
  setEpoch(epoch: number): boolean {
    if (epoch <= this.#epoch) return false
    this.#epoch = epoch
    this.#subject = this.#owner.subjects.broker(this.brokerName, epoch).send
    return true
  }

  /** What was asked of an older mastership will not be answered: it is settled now, and asked of the new one. */
  forsake(): void {
    for (const answered of [...this.#waiting]) answered(deposed)
  }

  /** Its producer is closed: everything is settled. */
  close(): void {
    this.#owner.clock.clearTimeout(this.#look)
  }

  /** The lane has something to ship. */
  list(lane: Lane): void {
    if (!lane.isListed) {
      lane.isListed = true
      this.#lanes.push(lane)
    }
    if (!this.isWanted && this.#underWay < REQUESTS_MAX) this.#owner.wantFlush(this)
  }

  /** A message was added to one of its lanes. */
  added(): void {
    if (++this.#gathered >= SHIP_MESSAGES && this.#underWay < REQUESTS_MAX) this.flush()
  }

  flush(): void {
    this.isWanted = false
    this.#gathered = 0
    while (this.#underWay < REQUESTS_MAX && this.#lanes.length > 0) {
      const lanes: Lane[] = []
      const batches: Batch[] = []
      this.#gather(lanes, batches)
      if (batches.length === 0) return
      this.#ship(lanes, batches)
    }
  }

  #gather(lanes: Lane[], batches: Batch[]): void {
    let bytes = 0
    let next = 0
    while (next < this.#lanes.length) {
      const lane = this.#lanes[next]!
      // A frame larger than a whole request travels alone.
      const batch = lane.take(batches.length === 0 ? Number.MAX_SAFE_INTEGER : REQUEST_BYTES - bytes)
      if (batch !== null) {
        lanes.push(lane)
        batches.push(batch)
        bytes += batch.size
        if (bytes >= REQUEST_BYTES) break
      } else if (lane.hasMore) break
      else {
        lane.isListed = false
        next++
      }
    }
    if (next > 0) this.#lanes.splice(0, next)
  }

  #ship(lanes: Lane[], batches: Batch[]): void {
    const { transport, attemptMs, pool } = this.#owner
    const epoch = this.#epoch
    const began = this.#owner.clock.monotonic()
    let bytes = 0
    let deadline = 0
    for (const batch of batches) {
      bytes += batch.size
      if (batch.deadline > deadline) deadline = batch.deadline
    }
    const buffer = pool.take(bytes)
    const request = buffer.subarray(0, bytes)
    let at = 0
    for (const batch of batches) at += batch.copyTo(request, at)
    const answered = (outcome: Outcome<Buffer>) => {
      const place = this.#waiting.indexOf(answered)
      if (place < 0) return // It came after the request was forsaken.
      this.#waiting.splice(place, 1)
      this.#underWay--
      if (outcome !== deposed) {
        this.#heardAt = this.#owner.clock.monotonic()
        this.#owner.answered(this.brokerName, outcome.ok ? this.#heardAt - began : Number.POSITIVE_INFINITY)
      }
      if (this.#tell(lanes, batches, outcome, epoch)) this.#owner.unreachable(this.brokerName, epoch)
      if (batches.every(({ failure }) => failure === null)) pool.give(buffer)
      if (this.#lanes.length > 0 && !this.isWanted) this.#owner.wantFlush(this)
    }
    this.#waiting.push(answered)
    if (this.#underWay++ === 0) this.#heardAt = began
    this.#look ??= this.#owner.clock.setTimeout(() => this.#lookForSilence(), SILENCE_MS)
    transport.request(this.#subject, request, Math.max(1, Math.min(attemptMs, deadline - began)), answered)
  }

  /** Goes on while requests are under way. */
  #lookForSilence(): void {
    this.#look = null
    if (this.#underWay === 0) return
    if (this.#owner.clock.monotonic() - this.#heardAt >= SILENCE_MS)
      this.#owner.silent(this.brokerName, this.#epoch)
    this.#look = this.#owner.clock.setTimeout(() => this.#lookForSilence(), SILENCE_MS)
  }

  /** Tells each lane what became of its frame; true when this broker is no longer the one to talk to. */
  #tell(lanes: readonly Lane[], batches: readonly Batch[], outcome: Outcome<Buffer>, asked: number): boolean {
    if (!outcome.ok) {
      const failure = this.#failureOf(outcome.failure, asked)
      for (let i = 0; i < batches.length; i++) refuse(lanes[i]!, batches[i]!, failure)
      return true
    }
    const answer = outcome.value
    const code = answer.length < SEND_HEAD_BYTES ? codes.SUCCESS : answerCode(answer)
    const isWhole = answer.length >= SEND_HEAD_BYTES + batches.length * SEND_RESULT_BYTES
    if (code !== codes.SUCCESS || !isWhole || sendResults(answer) !== batches.length) {
      const failure = code === codes.SUCCESS ? this.#failureOf(garbled.failure, asked) : this.#refusalOf(code)
      for (let i = 0; i < batches.length; i++) refuse(lanes[i]!, batches[i]!, failure)
      return code === codes.NOT_MASTER
    }
    const epoch = answerEpoch(answer)
    for (let i = 0; i < batches.length; i++) {
      const result = sendResultCode(answer, i)
      if (result === codes.SUCCESS) lanes[i]!.stored(batches[i]!, sendResultOffset(answer, i), epoch)
      else refuse(lanes[i]!, batches[i]!, this.#refusalOf(result))
    }
    return false
  }

  #failureOf(failure: Failure, asked: number): BatchFailure {
    const { code } = failure
    const message =
      code === 'noResponders'
        ? `${this.brokerName} has no master that answers${asked === 0 ? '' : `, nobody listens under epoch ${asked}`}`
        : `sending to ${this.brokerName}: ${failure.message}`
    const error = errorOfFailure({
      ...failure,
      message: code === 'noResponders' ? `${message}: see 'statemq broker list'` : message,
    })
    return {
      error,
      unknown: code === 'timedOut' || code === 'disconnected' || code === 'malformed',
      never: false,
      retryable: code !== 'closed' && code !== 'tooLarge',
    }
  }

  #refusalOf(code: number): BatchFailure {
    const error = errorOfRefusal(code, `${this.brokerName} refused the message: ${adviceFor(code)}`)
    // A master that is deposed says so of frames that it may have stored already.
    return {
      error,
      unknown: code === codes.NOT_MASTER,
      never: code === codes.OUT_OF_ORDER_SEQUENCE,
      retryable: isRetryable(codeName(code)),
    }
  }
}

const deposed = fail('disconnected', 'the broker has a new master, which may not have heard of it', true)
const garbled = fail('malformed', 'the answer does not fit what was sent', true)

function refuse(lane: Lane, batch: Batch, failure: BatchFailure): void {
  batch.failure = failure
  lane.refused(batch)
}

function adviceFor(code: number): string {
  switch (code) {
    case codes.SERVICE_NOT_AVAILABLE:
      return 'its disk is nearly full, it takes no more messages until old ones expire or space is freed'
    case codes.TOPIC_NOT_EXIST:
      return "it does not know the topic: create it with 'statemq topic create'"
    case codes.NO_PERMISSION:
      return "the topic is not writable there: see 'statemq topic show'"
    case codes.NOT_MASTER:
      return "its master was deposed, and the next one is not known yet: see 'statemq broker list'"
    case codes.IN_SYNC_REPLICAS_NOT_ENOUGH:
      return "fewer of its replicas are in sync than it needs: see 'statemq broker list'"
    case codes.SYSTEM_BUSY:
      return 'more is sent to it than it can store'
    case codes.CORRUPT_FRAME:
      return 'the bytes were damaged on the way'
    case codes.OUT_OF_ORDER_SEQUENCE:
      return 'an earlier message of the same queue is missing'
    default:
      return `code ${code} ${codeName(code)}`
  }
}
