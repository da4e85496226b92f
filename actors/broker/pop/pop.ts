/**
 * Pop: several consumers of a group share a queue, message by message.
 *
 * What is given, acknowledged or prolonged is one record for all that was asked in one go. It takes effect here when it
 * is in the log, and is answered AFTER the replicas have confirmed it: whoever is master next knows of it.
 * Of one group and topic AT MOST ONE receive is under way: what it chooses nobody else chooses.
 *
 * A redelivery is in place: the message is read again where it is stored, and keeps its offset.
 *
 * RocketMQ: broker/processor/PopMessageProcessor.java, AckMessageProcessor.java, ChangeInvisibleTimeProcessor.java;
 * there a message that is not acknowledged is written again, to a retry topic.
 */

import { groupFault } from '../../../machines/names.ts'
import { dueAt, hasWork, isDue } from '../../../machines/pop-queue.ts'
import { PERM_READ, queueCountOf } from '../../../machines/topic.ts'
import { type Answer, accept, decode, encode, refuse } from '../../../transport/codec.ts'
import { type Code, codes } from '../../../transport/codes.ts'
import { kinds } from '../../../transport/frames.ts'
import { POP_HEAD_BYTES, popAnswer } from '../../../transport/pop-exchange.ts'
import {
  type PopLeave,
  type PopRequest,
  type PopSettle,
  type PopSettleAnswer,
  type PopWait,
  type PopWaitAnswer,
  popRequest,
} from '../../../transport/pop-messages.ts'
import type { World } from '../../node/world.ts'
import { type BrokerState, queueOf } from '../broker-state.ts'
import { Filters } from '../filters.ts'
import { ForwardTime } from '../forward-time.ts'
import { bury, copyOf } from '../retry/dead-letters.ts'
import type { Store, StoredQueue } from '../store/store.ts'
import { type Collected, collect } from './collect.ts'
import { LastFrames } from './last-frames.ts'
import { type PopRecord, partsOf } from './pop-states.ts'
import { Poppers } from './poppers.ts'
import { type RecordFilter, recordFilterOf } from './records.ts'
import { Settles } from './settles.ts'
import { Waits } from './waits.ts'

const ANSWER_BYTES_MAX = 1024 * 1024
const NOT_MASTER = 'this replica is no longer master'
/** A number that JSON and the wire carry exactly, and that nobody guesses. */
const TOKENS = 2 ** 52

export type PopFault = { code: Code; message: string }

export type PopHooks = {
  afterStored(run: () => void): void
  /**
   * Frees queues whose owners are gone; tells what is in the way of popping them, null when nothing is. Calls back perhaps
   * BEFORE it returns.
   */
  vacate(
    group: string,
    topic: string,
    queueIds: readonly number[],
    vacated: (fault: PopFault | null) => void,
  ): void
  createDerived(topic: string): void
  /** A message was appended: the readers of its queue are told when it is confirmed. */
  appended(queue: StoredQueue): void
  /** Went out, for the broker's own count. */
  sent(messages: number, bytes: number): void
}

export type PopCounters = { given: number; acknowledged: number; refused: number; deadLetters: number }

type Tell<T> = (answer: Answer<T>) => void
type Receive = { request: PopRequest; reply: string; wants: RecordFilter }
type Lane = {
  waiting: Receive[]
  turn: number
}

export class Pop {
  readonly #filters = new Filters()
  readonly counters: PopCounters = { given: 0, acknowledged: 0, refused: 0, deadLetters: 0 }
  readonly #store: Store
  readonly #state: BrokerState
  readonly #world: Pick<World, 'transport' | 'clock' | 'random' | 'log'>
  readonly #epoch: number
  readonly #hooks: PopHooks
  readonly #waits: Waits
  readonly #frames: LastFrames
  /** The receives of one group and topic, the first of which is under way. */
  readonly #lanes = new Map<string, Lane>()
  readonly #settles: Settles
  readonly #poppers: Poppers
  /** A message NEVER stays invisible for longer because the clock was set back. */
  readonly #time: ForwardTime
  #isClosed = false

  constructor(
    store: Store,
    state: BrokerState,
    world: Pick<World, 'transport' | 'clock' | 'random' | 'log'>,
    epoch: number,
    hooks: PopHooks,
  ) {
    this.#store = store
    this.#state = state
    this.#world = world
    this.#epoch = epoch
    this.#hooks = hooks
    this.#frames = new LastFrames(store)
    this.#poppers = new Poppers(world.clock)
    this.#time = new ForwardTime(world.clock)
    const now = () => this.#time.now()
    this.#settles = new Settles(state, world.clock, this.counters, {
      now,
      record: (record) => this.#record(record),
      afterStored: hooks.afterStored,
      freed: (group, topic) => this.#waits.freed(group, topic),
    })
    this.#waits = new Waits(world.clock, {
      now,
      readyAt: (group, topic, isOrdered) => this.#readyAt(group, topic, isOrdered),
    })
  }

  /** Whether the group shares the queue message by message: it is not for one member to own. */
  isPopped(group: string, queue: string): boolean {
    const topic = queue.slice(0, queue.lastIndexOf('/'))
    if (this.#poppers.has(group, topic)) return true
    const now = this.#time.now()
    return this.#state.pops.of(group, queue)?.entries.some((entry) => !isDue(entry, now)) ?? false
  }

  // ------------------------------------------------------------------------------------------------------- receive

  receive(bytes: Buffer, reply: string): void {
    const parsed = decode(popRequest, bytes)
    if (!parsed.ok) return this.#refuse(reply, codes.INVALID_PARAMETER, parsed.failure.message)
    const request = parsed.value
    const wants = recordFilterOf(this.#filters, request.filter)
    if (typeof wants === 'object') return this.#refuse(reply, codes.SUBSCRIPTION_PARSE_FAILED, wants.fault)
    const fault = this.#faultOf(request)
    if (fault) return this.#refuse(reply, fault.code, fault.message)
    const { group, topic } = request
    this.#hooks.vacate(group, topic, this.#queueIds(topic), (owned) => {
      if (this.#isClosed) this.#refuse(reply, codes.NOT_MASTER, NOT_MASTER)
      else if (owned) this.#refuse(reply, owned.code, owned.message)
      else this.#enter({ request, reply, wants })
    })
  }

  #enter(receive: Receive): void {
    const { request } = receive
    const key = laneOf(request.group, request.topic)
    let lane = this.#lanes.get(key)
    if (!lane) {
      lane = { waiting: [], turn: 0 }
      this.#lanes.set(key, lane)
    }
    this.#poppers.received(request.group, request.topic, request.clientId)
    lane.waiting.push(receive)
    if (lane.waiting.length === 1) this.#run(lane)
  }

  #faultOf({ group, topic }: PopRequest): PopFault | null {
    const fault = groupFault(group)
    if (fault) return { code: codes.INVALID_PARAMETER, message: fault.message }
    const config = this.#state.topics.get(topic)
    if (!config) return { code: codes.TOPIC_NOT_EXIST, message: `there is no topic '${topic}'` }
    if ((config.perm & PERM_READ) === 0)
      return { code: codes.NO_PERMISSION, message: `topic '${topic}' may not be read` }
    return null
  }

  #queueIds(topic: string): number[] {
    const config = this.#state.topics.get(topic)
    return Array.from({ length: config ? queueCountOf(config) : 0 }, (_, queueId) => queueId)
  }

  /** Carries out the first receive of a lane, then those that came meanwhile. */
  #run(lane: Lane): void {
    const { request, wants, reply } = lane.waiting[0]!
    const { clock, log, transport } = this.#world
    const queueIds = this.#queueIds(request.topic)
    const turn = queueIds.length === 0 ? 0 : lane.turn++ % queueIds.length
    const options = {
      ...{
        store: this.#store,
        frames: this.#frames,
        state: this.#state,
        request,
        wants,
        now: this.#time.now(),
      },
      bytesMax: Math.min(ANSWER_BYTES_MAX, transport.maxPayload) - POP_HEAD_BYTES - request.max * 2,
      failed: (failure: { message: string }, topic: string, queueId: number) =>
        log.error('a read failed', { topic, queueId, failure }),
    }
    collect(options, [...queueIds.slice(turn), ...queueIds.slice(0, turn)], (found) => {
      if (this.#isClosed) return
      this.#give(request, reply, found)
      lane.waiting.shift()
      if (lane.waiting.length > 0) clock.defer(() => this.#isClosed || this.#run(lane))
      this.#waits.freed(request.group, request.topic)
    })
  }

  #give({ group, invisibleMs }: PopRequest, reply: string, found: Collected): void {
    const { clock, random, transport } = this.#world
    const { record, pieces, attempts, dead, hasMore, failure } = found
    const { createDerived, appended } = this.#hooks
    // In the log BEFORE the record that ends them in their queue: a crash between the two leaves a copy too many, NEVER one too few.
    const letters = { store: this.#store, createDerived, appended }
    for (const { place, attempts: times } of dead) {
      const reason = `received ${times} times and never acknowledged`
      const letter = { group, reconsumeTimes: times - 1, reason, flags: 0, now: clock.now() }
      bury(letters, copyOf(place), letter)
    }
    const isGiving = attempts.length > 0
    const token = isGiving ? random.below(TOKENS) : 0
    const until = isGiving ? this.#time.now() + invisibleMs : 0
    if (isGiving) for (const { change } of record) if (change.give) Object.assign(change, { token, until })
    this.#record(record)
    this.counters.given += attempts.length
    this.counters.deadLetters += dead.length
    const code = isGiving ? codes.SUCCESS : failure === null ? codes.PULL_NOT_FOUND : codes.SYSTEM_ERROR
    const text = isGiving ? '' : (failure ?? '')
    const answer = popAnswer({ code, epoch: this.#epoch, hasMore, token, until, text }, attempts, pieces)
    this.#hooks.afterStored(() => {
      this.#hooks.sent(attempts.length, answer.length)
      if (reply !== '') transport.publish(reply, answer)
    })
  }

  #record(record: PopRecord): void {
    for (const part of partsOf(record)) {
      this.#store.appendControl(kinds.pops, encode(part))
      this.#state.changePops(part)
    }
  }

  #refuse(reply: string, code: Code, text: string): void {
    const head = { code, epoch: this.#epoch, hasMore: false, token: 0, until: 0, text }
    if (reply !== '') this.#world.transport.publish(reply, popAnswer(head, [], []))
  }

  // ---------------------------------------------------------------------------------------------------------- wait

  wait({ group, topic, clientId, ordered, waitMs }: PopWait, answer: Tell<PopWaitAnswer>): void {
    if (!this.#state.topics.has(topic))
      return answer(refuse(codes.TOPIC_NOT_EXIST, `there is no topic '${topic}'`))
    this.#waits.add(group, topic, {
      clientId,
      isOrdered: ordered,
      until: this.#world.clock.monotonic() + waitMs,
      tell: (isReady) => answer(accept({ isReady })),
    })
  }

  leave({ group, clientId }: PopLeave, answer: Tell<Record<string, never>>): void {
    this.#waits.leave(group, clientId)
    this.#poppers.left(group, clientId)
    answer(accept({}))
  }

  arrived(queue: StoredQueue): void {
    this.#waits.arrived(queue.topic)
  }

  arrivedSomewhere(): void {
    this.#waits.arrivedSomewhere()
  }

  #readyAt(group: string, topic: string, isOrdered: boolean): number {
    const now = this.#time.now()
    let earliest = Number.POSITIVE_INFINITY
    for (const queueId of this.#queueIds(topic)) {
      const pop = this.#state.pops.of(group, queueOf(topic, queueId))
      // Where the group begins is noted by its first receive.
      if (!pop) return 0
      const { maxOffset } = this.#store.bounds(this.#store.queue(topic, queueId))
      if (hasWork(pop, maxOffset, now, isOrdered)) return 0
      earliest = Math.min(earliest, dueAt(pop, now, isOrdered))
    }
    return earliest
  }

  // -------------------------------------------------------------------------------------------------------- settle

  settle(request: PopSettle, answer: Tell<PopSettleAnswer>): void {
    this.#settles.add(request, answer)
  }

  /** This mastership is over: whoever waits asks the next master, which knows all that was answered. */
  close(): void {
    this.#isClosed = true
    this.#settles.close()
    this.#waits.close()
    for (const { waiting } of this.#lanes.values())
      for (const { reply } of waiting) this.#refuse(reply, codes.NOT_MASTER, NOT_MASTER)
    this.#lanes.clear()
  }
}

const laneOf = (group: string, topic: string): string => `${group} ${topic}`
