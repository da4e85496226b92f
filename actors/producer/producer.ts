/**
 * Producer: sends messages, each awaited on its own, shipped in frames.
 *
 * A promise of `send` resolves AFTER the broker stored the message as durably as the broker is configured to, and
 * rejects when that did not happen within `timeoutMs`, all tries together. A send costs no timer and no turn of the loop
 * of its own.
 *
 * RocketMQ: client/producer/DefaultMQProducer.java, client/impl/producer/DefaultMQProducerImpl.java
 */
import type { TopicRoute } from '../../machines/topic.ts'
import { StateMQError } from '../errors.ts'
import type { Process } from '../node/process.ts'
import type { Receipt, Reject, Resolve } from './batch.ts'
import { BrokerHealth } from './broker-health.ts'
import { BufferPool } from './buffer-pool.ts'
import {
  checkBatch,
  checkBatchBytes,
  checkMessage,
  checkTopic,
  encodeProperties,
  keep,
  type OutgoingMessage,
  refuseTypos,
  tagsCodeOf,
} from './message.ts'
import { Pipe, type PipeOwner } from './pipe.ts'
import { checkOptions, type ProducerOptions } from './producer-options.ts'
import { watchRoute } from './route.ts'
import { type SenderOwner, TopicSender } from './topic-sender.ts'
import { Turn } from './turn.ts'
import { type Destination, WaitingRoom } from './waiting-room.ts'

const ignore = () => {}

const readOnly = (topic: string): StateMQError =>
  new StateMQError(
    'NO_PERMISSION',
    `'${topic}' may be read and not written: see 'statemq topic show ${topic}'`,
    {
      retryable: false,
    },
  )

export class Producer {
  readonly group: string
  readonly #process: Process
  readonly #released: () => void
  readonly #timeoutMs: number
  readonly #createTopics: boolean
  readonly #destinations = new Map<string, Destination>()
  readonly #pipes = new Map<string, Pipe>()
  readonly #room: WaitingRoom
  readonly #health: BrokerHealth
  readonly #turn: Turn
  readonly #owner: SenderOwner & PipeOwner
  #isClosed = false
  #closing: Promise<void> | null = null

  constructor(process: Process, options: ProducerOptions, released: () => void) {
    checkOptions(options)
    const { group = 'DEFAULT_PRODUCER', timeoutMs = 3_000, createTopics = true } = options
    const { bufferBytes = 64 * 1024 * 1024, waitingMax = 65_535 } = options
    const { clock } = process.world
    this.group = group
    this.#process = process
    this.#released = released
    this.#timeoutMs = timeoutMs
    this.#createTopics = createTopics
    this.#health = new BrokerHealth(clock)
    this.#turn = new Turn(clock, {
      began: (now) => this.#health.recheck(now),
      ending: () => this.#room.admit(),
    })
    const wantAdmission = () => this.#turn.open()
    this.#room = new WaitingRoom({ clock, bufferBytes, waitingMax, timeoutMs, wantAdmission })
    this.#owner = this.#ownerOfLanes()
  }

  /** Stores one message. Rejects with a StateMQError whose `code` says why and `retryable` whether to try again. */
  send(message: OutgoingMessage): Promise<Receipt> {
    return new Promise((resolve, reject) => this.#accept(message, resolve, reject))
  }

  /** @internal Sends under an id that the message had before. */
  sendAs(message: OutgoingMessage, id: string): Promise<Receipt> {
    return new Promise((resolve, reject) => this.#accept(message, resolve, reject, id))
  }

  /** Sends and does not wait: what becomes of the message is not told. Throws when the message is illegal. */
  sendOneway(message: OutgoingMessage): void {
    this.#accept(message, ignore, ignore)
  }

  /** Stores messages of one topic in one queue, one after the other, all or none. At most 4 MiB together. */
  sendBatch(messages: readonly OutgoingMessage[]): Promise<Receipt[]> {
    return new Promise((resolve, reject) => {
      this.#refuseWhenClosed()
      const first = checkBatch(messages)
      const encoded = messages.map((message) => encodeProperties(message))
      checkBatchBytes(messages, encoded)
      const receipts: Receipt[] = []
      const stored: Resolve = (receipt) => {
        if (receipts.push(receipt) === encoded.length) resolve(receipts)
      }
      const destination = this.#destinations.get(first.topic) ?? this.#firstOf(first)
      const { sender } = destination
      if (this.#mayGo(destination)) this.#placeBatch(sender, messages, encoded, stored, reject)
      else {
        const kept = messages.map(keep)
        this.#room.enter(destination, reject, (deadline) =>
          this.#placeBatch(sender, kept, encoded, stored, reject, deadline),
        )
      }
    })
  }

  /** Resolves AFTER everything sent so far is settled. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#isClosed = true
    await new Promise<void>((resolve) => this.#room.whenEmpty(resolve))
    for (const { route } of this.#destinations.values()) route.stop()
    for (const pipe of this.#pipes.values()) pipe.close()
    this.#released()
  }

  #refuseWhenClosed(): void {
    if (this.#isClosed) {
      throw new StateMQError('CLOSED', 'the producer is closed: make a new one with client.producer()')
    }
  }

  #accept(message: OutgoingMessage, resolve: Resolve, reject: Reject, id?: string): void {
    this.#refuseWhenClosed()
    checkMessage(message)
    const properties = encodeProperties(message, id)
    const destination = this.#destinations.get(message.topic) ?? this.#firstOf(message)
    const { sender } = destination
    if (this.#mayGo(destination)) this.#place(sender, message, properties, resolve, reject, id)
    else {
      const kept = keep(message)
      this.#room.enter(destination, reject, (deadline) =>
        this.#place(sender, kept, properties, resolve, reject, id, deadline),
      )
    }
  }

  #mayGo({ sender }: Destination): boolean {
    return this.#room.isFree && sender.hasRoute
  }

  #place(
    sender: TopicSender,
    message: OutgoingMessage,
    properties: Buffer,
    resolve: Resolve,
    reject: Reject,
    id?: string,
    deadline?: number,
  ): void {
    const turn = this.#turn
    if (!turn.isOpen) turn.open()
    const { body } = message
    const bornTime = turn.wallNow
    const lane = sender.laneFor(message)
    const batch = lane.batchFor(
      body.length,
      message.messageGroup !== undefined || message.selectQueue !== undefined,
      message.delayLevel !== undefined,
      bornTime,
      deadline ?? turn.now + this.#timeoutMs,
    )
    this.#room.bufferedBytes += batch.add(
      tagsCodeOf(message.tag),
      properties,
      body,
      bornTime,
      resolve,
      reject,
      id,
    )
    const { pipe } = lane
    if (!lane.isListed || !pipe.isWanted) pipe.list(lane)
    pipe.added()
  }

  /** One frame, which keeps to its queue. */
  #placeBatch(
    sender: TopicSender,
    messages: readonly OutgoingMessage[],
    properties: readonly Buffer[],
    resolve: Resolve,
    reject: Reject,
    deadline?: number,
  ): void {
    this.#turn.open()
    const { now, wallNow } = this.#turn
    const lane = sender.laneFor(messages[0]!)
    const batch = lane.batchAlone(true, wallNow, deadline ?? now + this.#timeoutMs)
    messages.forEach(({ tag, body }, i) => {
      this.#room.bufferedBytes += batch.add(tagsCodeOf(tag), properties[i]!, body, wallNow, resolve, reject)
    })
    lane.pipe.list(lane)
  }

  /** A topic's first message is looked at more closely than the others, whose sending would be slower for it. */
  #firstOf(message: OutgoingMessage): Destination {
    const { topic } = message
    checkTopic(topic)
    refuseTypos(message)
    const destination: Destination = {
      sender: new TopicSender(this.#owner, topic),
      route: watchRoute(this.#process, {
        topic,
        createTopic: this.#createTopics,
        announced: (route) => this.#routed(destination, route),
        answered: () => this.#refuseReadOnly(destination),
        missing: (error) => this.#room.unroutable(destination, error),
      }),
    }
    this.#destinations.set(topic, destination)
    return destination
  }

  #routed(destination: Destination, route: TopicRoute): void {
    destination.sender.setRoute(route)
    if (destination.sender.hasRoute) this.#room.routed(destination)
    else this.#refuseReadOnly(destination)
  }

  #refuseReadOnly(destination: Destination): void {
    const { isReadOnly, topic } = destination.sender
    if (isReadOnly) this.#room.unroutable(destination, readOnly(topic))
  }

  /** What the old master did says nothing of the new one. */
  #renewed(pipe: Pipe): void {
    this.#health.forget(pipe.brokerName)
    pipe.forsake()
    for (const { sender } of this.#destinations.values()) sender.wake(pipe)
  }

  #pipeTo(brokerName: string): Pipe {
    let pipe = this.#pipes.get(brokerName)
    if (!pipe) {
      pipe = new Pipe(this.#owner, brokerName)
      this.#pipes.set(brokerName, pipe)
    }
    return pipe
  }

  #ownerOfLanes(): SenderOwner & PipeOwner {
    const { world, subjects } = this.#process
    const { clock, random, transport } = world
    return {
      transport,
      subjects,
      clock,
      pool: new BufferPool(),
      turn: this.#turn,
      health: this.#health,
      timeoutMs: this.#timeoutMs,
      attemptMs: Math.max(200, this.#timeoutMs / 2),
      newProducerId: () => 1 + random.below(2 ** 53 - 2),
      random: (bound) => random.below(bound),
      grew: (bytes) => {
        this.#room.bufferedBytes += bytes
      },
      released: (bytes) => this.#room.release(bytes),
      answered: (brokerName, tookMs) => this.#health.observe(brokerName, tookMs),
      deleted: (topic) => this.#destinations.get(topic)?.route.deleted(),
      unreachable: (brokerName, epoch) => {
        for (const { route } of this.#destinations.values()) route.unreachable(brokerName, epoch)
      },
      silent: (brokerName, epoch) => {
        for (const { route } of this.#destinations.values()) route.silent(brokerName, epoch)
      },
      renewed: (pipe) => this.#renewed(pipe),
      wantFlush: (pipe) => this.#turn.want(pipe),
      pipe: (brokerName) => this.#pipeTo(brokerName),
    }
  }
}
