/**
 * Acknowledgements and changes of invisible times: all that comes in one turn of the loop is one record.
 *
 * Each item is held against what is known AFTER all that came before it. What is refused changes nothing, and is counted.
 *
 * RocketMQ: broker/processor/AckMessageProcessor.java, ChangeInvisibleTimeProcessor.java
 */
import { deliveryOf, type PopChange, type PopQueue } from '../../../machines/pop-queue.ts'
import { type Answer, accept, refuse } from '../../../transport/codec.ts'
import { codes } from '../../../transport/codes.ts'
import type { PopSettle, PopSettleAnswer } from '../../../transport/pop-messages.ts'
import type { Clock } from '../../node/world.ts'
import { type BrokerState, queueOf } from '../broker-state.ts'
import type { PopRecord } from './pop-states.ts'

export type SettlesHooks = {
  /** Wall time, milliseconds. */
  now(): number
  /** Into the log, and applied there. */
  record(record: PopRecord): void
  afterStored(run: () => void): void
  /** Something may be given now that waited. */
  freed(group: string, topic: string): void
}

type Tell = (answer: Answer<PopSettleAnswer>) => void

type Touched = {
  group: string
  queue: string
  pop: PopQueue
  change: PopChange
  done: Set<number>
}

export class Settles {
  readonly #state: BrokerState
  readonly #clock: Clock
  readonly #counters: { acknowledged: number; refused: number }
  readonly #hooks: SettlesHooks
  #waiting: { request: PopSettle; answer: Tell }[] = []
  #isClosed = false

  constructor(
    state: BrokerState,
    clock: Clock,
    counters: { acknowledged: number; refused: number },
    hooks: SettlesHooks,
  ) {
    this.#state = state
    this.#clock = clock
    this.#counters = counters
    this.#hooks = hooks
  }

  /** Answered AFTER the record is confirmed. */
  add(request: PopSettle, answer: Tell): void {
    this.#waiting.push({ request, answer })
    if (this.#waiting.length === 1) this.#clock.defer(() => this.#settleAll())
  }

  #settleAll(): void {
    const settles = this.#waiting
    this.#waiting = []
    if (this.#isClosed) return
    const now = this.#hooks.now()
    const touched = new Map<string, Touched>()
    const answers: (() => void)[] = []
    for (const { request, answer } of settles) {
      const faults: PopSettleAnswer['faults'] = []
      for (const [item, [topic, queueId, ...rest]] of request.items.entries()) {
        const fault = this.#settleOne(touched, request.group, queueOf(topic, queueId), rest, now)
        if (fault !== null) faults.push([item, fault])
      }
      this.#counters.refused += faults.length
      answers.push(() => answer(accept({ faults })))
    }
    this.#hooks.record(
      [...touched.values()]
        .filter(({ change }) => change.done || change.prolong)
        .map(({ group, queue, change }) => ({ group, queue, change })),
    )
    for (const { group, queue } of touched.values())
      this.#hooks.freed(group, queue.slice(0, queue.lastIndexOf('/')))
    this.#hooks.afterStored(() => {
      for (const tell of answers) tell()
    })
  }

  #settleOne(
    touched: Map<string, Touched>,
    group: string,
    queue: string,
    [offset, attempt, token, invisibleMs]: [number, number, number, number | null],
    now: number,
  ): 'done' | 'stale' | 'unknown' | null {
    const key = `${group} ${queue}`
    let touch = touched.get(key)
    if (!touch) {
      const pop = this.#state.pops.of(group, queue)
      if (!pop) return 'unknown'
      touch = { group, queue, pop, change: {}, done: new Set() }
      touched.set(key, touch)
    }
    const { change, done, pop } = touch
    if (done.has(offset)) return 'done'
    const entry = deliveryOf(pop, { offset, attempt, token })
    if (typeof entry === 'string') return entry
    if (invisibleMs === null) {
      done.add(offset)
      change.done ??= []
      change.done.push(offset)
      this.#counters.acknowledged++
    } else {
      change.prolong ??= []
      change.prolong.push([offset, now + invisibleMs])
    }
    return null
  }

  /** What is recorded is answered by the next master; what is not, was not done. */
  close(): void {
    this.#isClosed = true
    for (const { answer } of this.#waiting.splice(0))
      answer(refuse(codes.NOT_MASTER, 'this replica is no longer master'))
  }
}
