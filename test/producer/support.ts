/**
 * One producer's lanes without a producer: time is virtual, and each request waits until the test answers it.
 *
 * `Wire` is the broker's side: it shows the frames of every request and answers as a broker, or as a broken network.
 */

import type { StateMQError } from '../../actors/errors.ts'
import type { Receipt } from '../../actors/producer/batch.ts'
import { BufferPool } from '../../actors/producer/buffer-pool.ts'
import { encodeProperties, type OutgoingMessage, tagsCodeOf } from '../../actors/producer/message.ts'
import { Pipe, type PipeOwner } from '../../actors/producer/pipe.ts'
import { type SenderOwner, TopicSender } from '../../actors/producer/topic-sender.ts'
import type { TopicRoute } from '../../machines/topic.ts'
import { codes } from '../../transport/codes.ts'
import { sendAnswer, setSendResult } from '../../transport/exchange.ts'
import { fail, type Outcome, succeed } from '../../transport/failures.ts'
import {
  bornTimeAt,
  countAt,
  flagsAt,
  frameBytesAt,
  frameFault,
  producerIdAt,
  queueIdAt,
  RECORD_HEAD_BYTES,
  recordsAddUp,
  recordsAt,
  sequenceAt,
} from '../../transport/frames.ts'
import { type Subjects, subjectsOf } from '../../transport/subjects.ts'
import type { Transport } from '../../transport/transport.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { type VirtualClock, virtualClock } from '../support/virtual-clock.ts'

/** A frame as the broker sees it. */
export type Frame = {
  producerId: number
  sequence: number
  queueId: number
  count: number
  flags: number
  bodies: string[]
  properties: string[]
  bornTimes: number[]
}

export function framesIn(request: Buffer): Frame[] {
  const frames: Frame[] = []
  for (let at = 0; at < request.length; at += frameBytesAt(request, at)) {
    const fault = frameFault(request, at, request.length)
    if (fault !== null) throw new Error(`a frame at ${at} of ${request.length} is broken: ${fault}`)
    if (!recordsAddUp(request, at)) throw new Error(`the records of the frame at ${at} do not add up`)
    const bodies: string[] = []
    const properties: string[] = []
    const bornTimes: number[] = []
    let record = recordsAt(request, at)
    for (let left = countAt(request, at); left > 0; left--) {
      const bodyAt = record + RECORD_HEAD_BYTES + request.readUInt16LE(record + 12)
      properties.push(request.toString('utf8', record + RECORD_HEAD_BYTES, bodyAt))
      bornTimes.push(bornTimeAt(request, at) + request.readUInt32LE(record + 4))
      bodies.push(request.toString('utf8', bodyAt, record + request.readUInt32LE(record)))
      record += request.readUInt32LE(record)
    }
    frames.push({
      producerId: producerIdAt(request, at),
      sequence: sequenceAt(request, at),
      queueId: queueIdAt(request, at),
      count: countAt(request, at),
      flags: flagsAt(request, at),
      bodies,
      properties,
      bornTimes,
    })
  }
  return frames
}

/** A request that waits for its answer. */
export class Asked {
  readonly brokerName: string
  readonly epoch: number
  readonly bytes: number
  readonly timeoutMs: number
  readonly frames: Frame[]
  readonly #answer: (outcome: Outcome<Buffer>) => void
  isAnswered = false

  constructor(
    subject: string,
    payload: Uint8Array,
    timeoutMs: number,
    answer: (outcome: Outcome<Buffer>) => void,
  ) {
    const [, , , brokerName, epoch] = subject.split('.')
    this.brokerName = brokerName!
    this.epoch = Number(epoch)
    this.bytes = payload.length
    this.timeoutMs = timeoutMs
    this.frames = framesIn(Buffer.from(payload))
    this.#answer = answer
  }

  get bodies(): string[] {
    return this.frames.flatMap(({ bodies }) => bodies)
  }

  /** Stored: each frame under the offset that is given for it. */
  store(...offsets: number[]): void {
    this.results(...this.frames.map((_, i) => ({ code: codes.SUCCESS, offset: offsets[i] ?? 0 })))
  }

  results(...results: { code: number; offset?: number }[]): void {
    const answer = sendAnswer(codes.SUCCESS, this.frames.length, this.epoch)
    results.forEach(({ code, offset = 0 }, i) => {
      setSendResult(answer, i, code as never, offset)
    })
    this.reply(succeed(answer))
  }

  refuse(code: number): void {
    this.reply(succeed(sendAnswer(code as never, 0, this.epoch)))
  }

  fail(code: 'timedOut' | 'noResponders' | 'disconnected' | 'closed' | 'tooLarge'): void {
    this.reply(fail(code, code, code !== 'closed' && code !== 'tooLarge'))
  }

  reply(outcome: Outcome<Buffer>): void {
    this.isAnswered = true
    this.#answer(outcome)
  }
}

/** What became of one message. */
export type Fate = { body: string; receipt: Receipt | null; error: StateMQError | null }

export class Bench {
  readonly clock: VirtualClock = virtualClock()
  readonly subjects: Subjects = subjectsOf('test')
  readonly pipes = new Map<string, Pipe>()
  readonly unusable = new Set<string>()
  /** Did not answer at all; they are unusable, too. */
  readonly dead = new Set<string>()
  readonly observed: [brokerName: string, tookMs: number][] = []
  readonly unreachable: [brokerName: string, epoch: number][] = []
  readonly silent: [brokerName: string, epoch: number][] = []
  readonly deleted: string[] = []
  readonly requests: Asked[] = []
  readonly fates: Fate[] = []
  readonly sender: TopicSender
  readonly owner: SenderOwner & PipeOwner
  /** Bytes that the lanes say are in use. */
  buffered = 0
  readonly turn = { number: 0 }
  readonly health = {
    version: 0,
    isUsable: (brokerName: string) => !this.unusable.has(brokerName),
    preferred: <Q extends { readonly brokerName: string }>(queues: readonly Q[]): readonly Q[] => {
      const usable = queues.filter(({ brokerName }) => !this.unusable.has(brokerName))
      const alive = queues.filter(({ brokerName }) => !this.dead.has(brokerName))
      return usable.length > 0 ? usable : alive.length > 0 ? alive : queues
    },
  }
  readonly budgetMs: number
  #wanted: Pipe[] = []
  #ids = 0

  constructor({ topic = 'orders', seed = 1, attemptMs = 1_500, budgetMs = 3_000 } = {}) {
    this.budgetMs = budgetMs
    const random = seededRandom(seed)
    const request: Transport['request'] = (subject, payload, timeoutMs, answer) =>
      void this.requests.push(new Asked(subject, payload, timeoutMs, answer))
    this.owner = {
      transport: { request } as Transport,
      subjects: this.subjects,
      attemptMs,
      pool: new BufferPool(),
      turn: this.turn,
      health: this.health,
      clock: this.clock,
      timeoutMs: budgetMs,
      newProducerId: () => ++this.#ids,
      random: (bound) => random.below(bound),
      deleted: (topic) => void this.deleted.push(topic),
      grew: (bytes) => {
        this.buffered += bytes
      },
      released: (bytes) => {
        this.buffered -= bytes
      },
      answered: (brokerName, tookMs) => void this.observed.push([brokerName, tookMs]),
      unreachable: (brokerName, epoch) => void this.unreachable.push([brokerName, epoch]),
      silent: (brokerName, epoch) => void this.silent.push([brokerName, epoch]),
      renewed: (pipe) => {
        pipe.forsake()
        this.sender.wake(pipe)
      },
      wantFlush: (pipe) => {
        pipe.isWanted = true
        this.#wanted.push(pipe)
      },
      pipe: (brokerName) => {
        let pipe = this.pipes.get(brokerName)
        if (!pipe) {
          pipe = new Pipe(this.owner, brokerName)
          this.pipes.set(brokerName, pipe)
        }
        return pipe
      },
    }
    this.sender = new TopicSender(this.owner, topic)
  }

  /** Brokers with their epoch and number of queues. */
  route(...brokers: { name: string; epoch?: number; queues?: number; perm?: number }[]): void {
    const route: TopicRoute = {
      topic: this.sender.topic,
      nameServerId: 'n',
      revision: 1,
      brokers: brokers.map(({ name, epoch = 1, queues = 1, perm = 6 }) => ({
        ...{ brokerName: name, epoch, incarnation: 1, dataVersion: 1 },
        ...{ readQueues: queues, writeQueues: queues, perm },
      })),
    }
    this.sender.setRoute(route)
  }

  send(body: string, message: Partial<OutgoingMessage> = {}): Fate {
    const fate: Fate = { body, receipt: null, error: null }
    this.fates.push(fate)
    const outgoing = { topic: this.sender.topic, body, ...message }
    const lane = this.sender.laneFor(outgoing)
    const now = this.clock.monotonic()
    const batch = lane.batchFor(
      body.length,
      outgoing.messageGroup !== undefined || outgoing.selectQueue !== undefined,
      outgoing.delayLevel !== undefined,
      this.clock.now(),
      now + this.budgetMs,
    )
    this.buffered += batch.add(
      tagsCodeOf(outgoing.tag),
      encodeProperties(outgoing),
      body,
      this.clock.now(),
      (receipt) => {
        if (fate.receipt !== null || fate.error !== null) throw new Error(`'${body}' is settled twice`)
        fate.receipt = receipt
      },
      (error) => {
        if (fate.receipt !== null || fate.error !== null) throw new Error(`'${body}' is settled twice`)
        fate.error = error
      },
    )
    lane.pipe.list(lane)
    return fate
  }

  /** A frame of the caller's own. */
  sendBatch(bodies: readonly string[]): Fate[] {
    const fates = bodies.map((body): Fate => ({ body, receipt: null, error: null }))
    this.fates.push(...fates)
    const lane = this.sender.laneFor({ topic: this.sender.topic, body: bodies[0]! })
    const now = this.clock.monotonic()
    const batch = lane.batchAlone(true, this.clock.now(), now + this.budgetMs)
    for (const fate of fates) {
      this.buffered += batch.add(
        0,
        Buffer.alloc(0),
        fate.body,
        this.clock.now(),
        (receipt) => {
          fate.receipt = receipt
        },
        (error) => {
          fate.error = error
        },
      )
    }
    lane.pipe.list(lane)
    return fates
  }

  /** Ends the turn of the loop: what was gathered is shipped. Returns the requests that were made. */
  endTurn(): Asked[] {
    this.turn.number++
    const before = this.requests.length
    for (let wanted = this.#wanted; wanted.length > 0; wanted = this.#wanted) {
      this.#wanted = []
      for (const pipe of wanted) pipe.flush()
    }
    return this.requests.slice(before)
  }

  /** Lets time pass and ends the turn. */
  after(ms: number): Asked[] {
    const before = this.requests.length
    this.clock.advance(ms)
    this.endTurn()
    return this.requests.slice(before)
  }

  get open(): Asked[] {
    return this.requests.filter(({ isAnswered }) => !isAnswered)
  }
}
