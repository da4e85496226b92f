/**
 * TopicSender: which queue the next message of one topic goes to.
 *
 * Round robin over the writable queues of all masters, from a random start, as RocketMQ does; brokers that were slow
 * or failed are left out for the time that RocketMQ's table gives, and when none is left, those that did not even answer. Of a topic with very many queues, one loop turn
 * uses a window of neighbouring queues and the next turn the window after it: the spread is as even, the frames are
 * larger.
 *
 * RocketMQ: client/impl/producer/TopicPublishInfo.java, client/latency/MQFaultStrategy.java,
 * client/producer/selector/SelectMessageQueueByHash.java
 */
import { PERM_WRITE, type QueueRef, type TopicRoute } from '../../machines/topic.ts'
import { javaHash } from '../../transport/frames.ts'
import { badInput } from '../errors.ts'
import type { BrokerHealth } from './broker-health.ts'
import { Lane, type LaneOwner } from './lane.ts'
import type { OutgoingMessage } from './message.ts'
import type { Pipe } from './pipe.ts'
import type { Turn } from './turn.ts'

const WINDOW = 16

/** What the sender of one topic needs of the producer. */
export type SenderOwner = Omit<LaneOwner, 'topic' | 'topicBytes' | 'elsewhere' | 'deleted'> & {
  /** A broker says that it has no such topic. */
  deleted(topic: string): void
  random(bound: number): number
  pipe(brokerName: string): Pipe
  /** The broker has a new master: what waits for one is to be tried again, whatever its topic. */
  renewed(pipe: Pipe): void
  readonly turn: Pick<Turn, 'number'>
  readonly health: Pick<BrokerHealth, 'version' | 'isUsable' | 'preferred'>
}

export class TopicSender {
  readonly topic: string
  readonly topicBytes: Buffer
  readonly #owner: SenderOwner
  readonly #laneOwner: LaneOwner
  readonly #lanesByQueue = new Map<string, Lane>()
  #lanes: Lane[] = []
  #queues: QueueRef[] = []
  #isReadOnly = false
  #usable: readonly Lane[] = []
  #healthVersion = -1
  #turn = -1
  #first: number
  #taken = 0

  constructor(owner: SenderOwner, topic: string) {
    this.#owner = owner
    this.topic = topic
    this.topicBytes = Buffer.from(topic, 'latin1')
    this.#first = owner.random(2 ** 20)
    this.#laneOwner = {
      topic,
      topicBytes: this.topicBytes,
      pool: owner.pool,
      clock: owner.clock,
      timeoutMs: owner.timeoutMs,
      newProducerId: () => owner.newProducerId(),
      released: (bytes) => owner.released(bytes),
      grew: (bytes) => owner.grew(bytes),
      deleted: () => owner.deleted(topic),
      elsewhere: (lane) => this.#elsewhere(lane),
    }
  }

  get hasRoute(): boolean {
    return this.#lanes.length > 0
  }

  /** The topic is there, and no broker takes messages for it. */
  get isReadOnly(): boolean {
    return this.#isReadOnly
  }

  get lanes(): Iterable<Lane> {
    return this.#lanesByQueue.values()
  }

  setRoute(route: TopicRoute): void {
    const lanes: Lane[] = []
    const queues: QueueRef[] = []
    const renewed = new Set<Pipe>()
    for (const { brokerName, epoch, perm, writeQueues } of route.brokers) {
      const pipe = this.#owner.pipe(brokerName)
      if (pipe.setEpoch(epoch)) renewed.add(pipe)
      for (let queueId = 0; queueId < writeQueues; queueId++) {
        if ((perm & PERM_WRITE) === 0) break
        const key = `${brokerName}/${queueId}`
        let lane = this.#lanesByQueue.get(key)
        if (!lane) {
          lane = new Lane(this.#laneOwner, pipe, queueId)
          this.#lanesByQueue.set(key, lane)
        }
        lanes.push(lane)
        queues.push({ topic: this.topic, brokerName, queueId })
      }
    }
    this.#lanes = lanes
    this.#queues = queues
    this.#isReadOnly = lanes.length === 0 && route.brokers.length > 0
    this.#healthVersion = -1
    for (const pipe of renewed) this.#owner.renewed(pipe)
    for (const [key, lane] of this.#lanesByQueue) {
      if (lane.isEmpty && !lanes.includes(lane)) this.#lanesByQueue.delete(key)
    }
  }

  /** What waits for this broker is tried now. */
  wake(pipe: Pipe): void {
    for (const lane of this.#lanesByQueue.values()) if (lane.pipe === pipe) lane.wake()
  }

  /** The lane of the next message. Call only while there is a route. */
  laneFor(message: OutgoingMessage): Lane {
    if (message.selectQueue !== undefined) return this.#selected(message.selectQueue)
    if (message.messageGroup !== undefined) {
      return this.#lanes[Math.abs(javaHash(message.messageGroup) % this.#lanes.length)]!
    }
    return this.nextLane()
  }

  nextLane(): Lane {
    if (this.#healthVersion !== this.#owner.health.version) this.#look()
    const usable = this.#usable
    const { number } = this.#owner.turn
    if (this.#turn !== number) {
      this.#turn = number
      this.#first = (this.#first + Math.min(this.#taken, WINDOW)) % usable.length
      this.#taken = 0
    }
    const step = usable.length <= WINDOW ? this.#taken : this.#taken % WINDOW
    this.#taken++
    return usable[(this.#first + step) % usable.length]!
  }

  #look(): void {
    const { health } = this.#owner
    this.#healthVersion = health.version
    const led = this.#lanes.filter(({ pipe }) => pipe.epoch > 0)
    this.#usable = led.length > 0 ? health.preferred(led) : this.#lanes
  }

  #selected(select: (queues: readonly QueueRef[]) => number): Lane {
    const index = select(this.#queues)
    const lane = this.#lanes[index]
    if (!lane) {
      throw badInput(`selectQueue gave ${index}: give a whole number from 0 to ${this.#lanes.length - 1}`)
    }
    return lane
  }

  #elsewhere(lane: Lane): Lane | null {
    const { health, random } = this.#owner
    const others = this.#lanes.filter(
      ({ brokerName, pipe, isOpen }) => brokerName !== lane.brokerName && pipe.epoch > 0 && isOpen,
    )
    const usable = others.filter(({ brokerName }) => health.isUsable(brokerName))
    // Between brokers that are only slow nothing moves: it would go to and fro.
    const preferred = usable.length > 0 ? usable : health.preferred([lane, ...others])
    return preferred.length === 0 || preferred.includes(lane) ? null : preferred[random(preferred.length)]!
  }
}
