/**
 * Gate: all that a broker serves while it is the master of one epoch, under that epoch's subjects.
 *
 * It is opened AFTER the epoch is marked in the log, and closed BEFORE another mastership begins. Whoever talks to a
 * closed gate reaches nobody, and knows it in one round trip.
 */
import { DEFAULT_DELAY_LEVELS, delaysOf } from '../../machines/retry-policy.ts'
import { PERM_READ, PERM_WRITE } from '../../machines/topic.ts'
import { type Answer, decode, serve } from '../../transport/codec.ts'
import { type Code, codes } from '../../transport/codes.ts'
import { pullAnswer } from '../../transport/exchange.ts'
import * as m from '../../transport/messages.ts'
import * as p from '../../transport/pop-messages.ts'
import type { Subscription } from '../../transport/transport.ts'
import type { Process } from '../node/process.ts'
import type { BrokerState } from './broker-state.ts'
import { Coordinators } from './coordinators.ts'
import { Delivery } from './delivery.ts'
import { Groups } from './groups.ts'
import { Ingest } from './ingest.ts'
import { askCoordinator, FormerOwners } from './pop/former-owners.ts'
import { Pop } from './pop/pop.ts'
import { SendBack } from './retry/send-back.ts'
import { Schedule } from './schedule/schedule.ts'
import type { Store, StoredQueue } from './store/store.ts'
import { Topics } from './topics.ts'

export type GateOptions = {
  brokerName: string
  brokerId: number
  epoch: number
  store: Store
  state: BrokerState
  /** The pause of each delay level in milliseconds; RocketMQ's by default. */
  delaysMs?: readonly number[] | undefined
}

export type GateHooks = {
  topicChanged(topic: string): void
  describe(): m.BrokerDescription
  /** Mastership is to go to another replica; answers the epoch in which that one is master. */
  handOver(brokerId: number, answer: (answered: Answer<{ epoch: number }>) => void): void
}

const DELAYS_MS = delaysOf(DEFAULT_DELAY_LEVELS) as number[]

export class Gate {
  readonly ingest: Ingest
  readonly delivery: Delivery
  readonly groups: Groups
  readonly pop: Pop
  readonly coordinators: Coordinators
  readonly schedule: Schedule
  readonly sendBack: SendBack
  readonly #topics: Topics
  readonly #process: Process
  readonly #options: GateOptions
  readonly #hooks: GateHooks
  readonly #subscriptions: Subscription[] = []
  #sends: Subscription | null = null
  #waiting: { end: number; run: () => void }[] = []
  #drained: (() => void) | null = null
  /** Where the log ended when this mastership began; null once readers may see all of that. */
  #inherited: number | null

  constructor(process: Process, options: GateOptions, hooks: GateHooks) {
    const { store, state, epoch } = options
    const { world } = process
    const afterStored = (run: () => void) => this.afterStored(run)
    this.#process = process
    this.#options = options
    this.#hooks = hooks
    this.#inherited = store.endPosition
    this.groups = new Groups(store, state, world.clock, {
      afterStored,
      ownerChanged: (queue) => this.delivery.arrived(queue),
      isPopped: (group, queue) => this.pop.isPopped(group, queue),
    })
    this.ingest = new Ingest(store, state, world.transport, world.clock, epoch, (bytes, at, now) =>
      this.schedule.take(bytes, at, now),
    )
    this.delivery = new Delivery(store, state, world, epoch, this.groups)
    this.coordinators = new Coordinators(process, options.brokerName)
    this.#topics = new Topics(store, state, afterStored, (topic) => {
      if (!state.topics.has(topic)) this.groups.owners.forget((queue) => queue.startsWith(`${topic}/`))
      hooks.topicChanged(topic)
    })
    const { appended } = this.ingest
    const createDerived = (topic: string) => {
      if (state.topics.has(topic)) return
      const config = { topic, readQueues: 1, writeQueues: 1, perm: PERM_READ | PERM_WRITE }
      this.#topics.create({ config, ifMissing: true }, () => {})
    }
    const formerOwners = new FormerOwners(this.groups.owners, (doubt, told) =>
      askCoordinator(process, doubt, told),
    )
    this.pop = new Pop(store, state, world, epoch, {
      ...{ afterStored, appended, createDerived },
      vacate: (group, topic, queueIds, vacated) => formerOwners.vacate(group, topic, queueIds, vacated),
      sent: (messages, bytes) => {
        this.delivery.counters.messagesOut += messages
        this.delivery.counters.bytesOut += bytes
      },
    })
    this.schedule = new Schedule(store, state, world, {
      delaysMs: options.delaysMs ?? DELAYS_MS,
      mayDeliver: () => this.ingest.refusal === null && !this.ingest.isHolding,
      appended,
      createDerived,
    })
    this.sendBack = new SendBack(store, state, world.clock, this.schedule, {
      isOwner: (request) => this.groups.comesFromOwner(request),
      refusal: () => this.ingest.refusal ?? (this.ingest.isHolding ? codes.SERVICE_NOT_AVAILABLE : null),
      ...{ afterStored, appended, createDerived },
    })
  }

  /** Calls back AFTER the transport knows of every subject: from then on nobody is told "no responders". */
  open(opened: () => void): void {
    const { world, subjects } = this.#process
    const { transport } = world
    const { brokerName, epoch } = this.#options
    const { describe, handOver } = this.#hooks
    const to = subjects.broker(brokerName, epoch)
    const { groups, coordinators, pop } = this
    const topics = this.#topics
    this.#sends = transport.subscribe(to.send, (request, reply) => this.ingest.receive(request, reply))
    this.#subscriptions.push(
      transport.subscribe(to.pull, (request, reply) => this.#pull(request, reply)),
      serve(transport, to.sendBack, m.sendBackRequest, (request, answer) =>
        this.sendBack.receive(request, answer),
      ),
      transport.subscribe(to.popReceive, (request, reply) => pop.receive(request, reply)),
      serve(transport, to.popWait, p.popWait, (request, answer) => pop.wait(request, answer)),
      serve(transport, to.popSettle, p.popSettle, (request, answer) => pop.settle(request, answer)),
      serve(transport, to.popLeave, p.popLeave, (request, answer) => pop.leave(request, answer)),
      serve(transport, to.createTopic, m.topicOrder, (order, answer) => topics.create(order, answer)),
      serve(transport, to.deleteTopic, m.onTopic, (order, answer) => topics.delete(order, answer)),
      serve(transport, to.queues, m.onTopic, (request, answer) => topics.queues(request, answer)),
      serve(transport, to.searchOffset, m.offsetSearch, (request, answer) =>
        topics.searchOffset(request, answer),
      ),
      serve(transport, to.claim, m.claimRequest, (request, answer) => groups.claim(request, answer)),
      serve(transport, to.release, m.releaseRequest, (request, answer) => groups.release(request, answer)),
      serve(transport, to.commit, m.commitRequest, (request, answer) => groups.commit(request, answer)),
      serve(transport, to.resetOffsets, m.offsetReset, (request, answer) => groups.reset(request, answer)),
      serve(transport, to.group, m.onGroup, ({ group }, answer) =>
        groups.describe(group, coordinators.describe(group), answer),
      ),
      serve(transport, to.groupLags, m.lagsRequest, (request, answer) => groups.lags(request, answer)),
      serve(transport, to.groups, m.nothing, (_, answer) =>
        answer({ code: 0, value: [...new Set([...groups.names(), ...coordinators.groups])].sort() }),
      ),
      serve(transport, to.describe, m.nothing, (_, answer) => answer({ code: 0, value: describe() })),
      serve(transport, to.handOver, m.successor, ({ brokerId }, answer) => handOver(brokerId, answer)),
      serve(transport, to.join, m.joinRequest, (request, answer) => coordinators.join(request, answer)),
      serve(transport, to.beat, m.memberBeat, (request, answer) => coordinators.beat(request, answer)),
      serve(transport, to.leave, m.memberLeave, (request, answer) => coordinators.leave(request, answer)),
      serve(transport, to.doubt, m.ownerDoubt, (request, answer) => coordinators.doubt(request, answer)),
    )
    transport.flush(opened)
    this.schedule.open()
  }

  #pull(bytes: Buffer, reply: string): void {
    const parsed = decode(m.pullRequest, bytes)
    if (parsed.ok) return this.delivery.pull(parsed.value, reply)
    const { epoch } = this.#options
    const head = { code: codes.INVALID_PARAMETER, epoch, nextOffset: 0, minOffset: 0, maxOffset: 0 }
    if (reply !== '') this.#process.world.transport.publish(reply, pullAnswer(head, []))
  }

  /** Runs when everything appended so far is confirmed. */
  afterStored(run: () => void): void {
    const { store } = this.#options
    if (store.confirmPosition >= store.endPosition) run()
    else this.#waiting.push({ end: store.endPosition, run })
  }

  readonly #arrived = (queue: StoredQueue): void => {
    this.delivery.arrived(queue)
    this.pop.arrived(queue)
  }

  /** Producers may be told of everything up to `position`. */
  answer(position: number): void {
    this.ingest.answer(position)
    this.#tellDrained()
  }

  /** Readers may see everything up to `position`, and whoever changed topics or offsets is told of it. */
  confirm(position: number): void {
    this.ingest.wake(position, this.#arrived)
    this.schedule.confirmed()
    if (this.#inherited !== null) {
      if (position >= this.#inherited) this.#inherited = null
      this.delivery.arrivedSomewhere()
      this.pop.arrivedSomewhere()
    }
    if (this.#waiting.length > 0) {
      const ready = this.#waiting.filter(({ end }) => end <= position)
      this.#waiting = this.#waiting.filter(({ end }) => end > position)
      for (const { run } of ready) run()
    }
    this.#tellDrained()
  }

  /** Whether messages are taken, and what a sender is told while they are not; reads and everything else go on. */
  setAccepting(refusal: Code | null): void {
    const isAnew = this.ingest.refusal !== null && refusal === null
    this.ingest.refusal = refusal
    if (isAnew) this.schedule.wake()
  }

  /** Sends that were held while mastership might have gone elsewhere go on. */
  release(): void {
    this.ingest.release()
    this.schedule.wake()
  }

  /** No new sends; calls back AFTER everything that was received is stored and answered. */
  drain(drained: () => void): void {
    this.#sends?.unsubscribe()
    this.schedule.close()
    this.#drained = drained
    this.#tellDrained()
  }

  #tellDrained(): void {
    if (!this.#drained || !this.ingest.isDrained || this.#waiting.length > 0) return
    const drained = this.#drained
    this.#drained = null
    drained()
  }

  close(): void {
    this.schedule.close()
    this.#sends?.unsubscribe()
    for (const subscription of this.#subscriptions) subscription.unsubscribe()
    this.ingest.close()
    this.delivery.close()
    this.groups.owners.close()
    this.pop.close()
    this.coordinators.close()
  }
}
