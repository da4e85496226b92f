/**
 * Producer: sends messages, each awaited on its own, shipped in frames.
 *
 * A promise of `send` resolves AFTER the broker stored the message as durably as the broker is configured to, and
 * rejects when that did not happen within `timeoutMs`, all tries together. Memory is bounded: beyond `bufferBytes`
 * sends wait for room, and beyond `waitingMax` waiting sends they are refused.
 *
 * RocketMQ: client/producer/DefaultMQProducer.java, client/impl/producer/DefaultMQProducerImpl.java
 */
import { type FaultTable, isAvailable, observe } from '../../machines/latency-fault-tolerance.ts'
import { groupFault } from '../../machines/names.ts'
import type { TopicRoute } from '../../machines/topic.ts'
import { MAX_BODY_BYTES, MAX_PROPERTY_BYTES, RECORD_HEAD_BYTES } from '../../transport/frames.ts'
import { badInput, StateMQError } from '../errors.ts'
import type { Process } from '../node/process.ts'
import { type Names, refuseUnknown } from '../options.ts'
import type { Batch, Receipt, Reject, Resolve } from './batch.ts'
import { BufferPool } from './buffer-pool.ts'
import { checkMessage, checkTopic, encodeProperties, type OutgoingMessage, tagsCodeOf } from './message.ts'
import { Pipe, type PipeOwner } from './pipe.ts'
import { type RouteWatch, watchRoute } from './route.ts'
import { type SenderOwner, TopicSender } from './topic-sender.ts'

export type ProducerOptions = {
  /** Names the producers of one application. */
  group?: string
  /** For all tries of a send together; default 3,000. */
  timeoutMs?: number
  /** Create an unknown topic on every broker that allows it; default true. */
  createTopics?: boolean
  /** Bytes of messages that are under way or gathered; default 64 MiB. */
  bufferBytes?: number
  /** Sends that wait for room in the buffer or for a route; default 65,535. */
  waitingMax?: number
}

// biome-ignore format: one name a line says no more
const producerOptions: Names<ProducerOptions> = {
  group: true, timeoutMs: true, createTopics: true, bufferBytes: true,
  waitingMax: true,
}

/** A send that waits for room or for a route. */
type Parked = { go: Go; reject: Reject; deadline: number; destination: Destination }
type Go = (sender: TopicSender, deadline: number) => void
type Destination = { sender: TopicSender; route: RouteWatch; parked: Parked[] }

const SWEEP_MS = 50
const RECHECK_MS = 500
const BATCH_MESSAGES_MAX = 16_384
const ignore = () => {}

export class Producer {
  readonly group: string
  readonly #process: Process
  readonly #released: () => void
  readonly #timeoutMs: number
  readonly #createTopics: boolean
  readonly #bufferBytes: number
  readonly #waitingMax: number
  readonly #destinations = new Map<string, Destination>()
  readonly #pipes = new Map<string, Pipe>()
  readonly #owner: SenderOwner & PipeOwner
  #wanted: Pipe[] = []
  #isTurnOpen = false
  #turn = 0
  #now = 0
  #wallNow = 0
  /** Bytes of every message that is not settled, heads of frames included. */
  #buffered = 0
  #waiting: Parked[] = []
  #parkedCount = 0
  #sweepTimer: unknown = null
  #faults: FaultTable = {}
  #healthVersion = 0
  #recheckAt = Number.POSITIVE_INFINITY
  #isClosed = false
  #closing: Promise<void> | null = null
  #drained: (() => void) | null = null

  constructor(process: Process, options: ProducerOptions, released: () => void) {
    checkOptions(options)
    const { group = 'DEFAULT_PRODUCER', timeoutMs = 3_000 } = options
    this.group = group
    this.#process = process
    this.#released = released
    this.#timeoutMs = timeoutMs
    this.#createTopics = options.createTopics ?? true
    this.#bufferBytes = options.bufferBytes ?? 64 * 1024 * 1024
    this.#waitingMax = options.waitingMax ?? 65_535
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
        if (receipts.push(receipt) === messages.length) resolve(receipts)
      }
      const fill = (batch: Batch) => {
        messages.forEach(({ tag, body }, i) => {
          batch.add(tagsCodeOf(tag), encoded[i]!, body, this.#wallNow, stored, reject)
        })
      }
      const go = (sender: TopicSender, deadline?: number) => {
        this.#openTurn()
        const lane = sender.laneFor(first)
        const until = deadline ?? this.#now + this.#timeoutMs
        this.#buffered += lane.addClosed(this.#wallNow, until, this.#timeoutMs, fill)
        lane.pipe.list(lane)
      }
      const destination = this.#destinationOf(first.topic)
      if (this.#mayGo(destination)) go(destination.sender)
      else this.#park(destination, reject, go)
    })
  }

  /** Resolves AFTER everything sent so far is settled. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#isClosed = true
    if (this.#buffered > 0 || this.#parkedCount > 0) {
      await new Promise<void>((resolve) => {
        this.#drained = resolve
      })
    }
    this.#process.world.clock.clearTimeout(this.#sweepTimer)
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
    const destination = this.#destinations.get(message.topic) ?? this.#destinationOf(message.topic)
    if (this.#mayGo(destination)) this.#place(destination.sender, message, properties, resolve, reject, id)
    else {
      // The caller may change what it gave once `send` has returned.
      const body = typeof message.body === 'string' ? message.body : Buffer.from(message.body)
      const kept = { ...message, body }
      this.#park(destination, reject, (sender, deadline) =>
        this.#place(sender, kept, properties, resolve, reject, id, deadline),
      )
    }
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
    if (!this.#isTurnOpen) this.#openTurn()
    const lane = sender.laneFor(message)
    const add = message.delayLevel === undefined ? lane.add : lane.addDelayed
    this.#buffered += add.call(
      lane,
      tagsCodeOf(message.tag),
      properties,
      message.body,
      message.messageGroup !== undefined || message.selectQueue !== undefined,
      this.#wallNow,
      deadline ?? this.#now + this.#timeoutMs,
      this.#timeoutMs,
      resolve,
      reject,
      id,
    )
    const { pipe } = lane
    if (!lane.isListed || !pipe.isWanted) pipe.list(lane)
    pipe.added()
  }

  #mayGo(destination: Destination): boolean {
    return this.#buffered < this.#bufferBytes && this.#waiting.length === 0 && destination.sender.hasRoute
  }

  #park(destination: Destination, reject: Reject, go: Go): void {
    if (this.#parkedCount >= this.#waitingMax) {
      throw new StateMQError(
        'TOO_MANY_REQUESTS',
        `${this.#waitingMax} sends wait already: await sends, or raise waitingMax or bufferBytes`,
        { retryable: true },
      )
    }
    const { clock } = this.#process.world
    this.#parkedCount++
    this.#await({ go, reject, deadline: clock.monotonic() + this.#timeoutMs, destination })
    this.#sweepTimer ??= clock.setTimeout(() => this.#sweep(), SWEEP_MS)
  }

  /** For room, or for a route. */
  #await(parked: Parked): void {
    const { destination } = parked
    if (destination.sender.hasRoute) this.#waiting.push(parked)
    else {
      destination.parked.push(parked)
      destination.route.want()
    }
  }

  #resume(parked: Parked): void {
    const { go, reject, deadline, destination } = parked
    if (!destination.sender.hasRoute) return this.#await(parked) // The topic was deleted meanwhile.
    this.#parkedCount--
    try {
      go(destination.sender, deadline)
    } catch (error) {
      reject(error as StateMQError)
    }
  }

  /** There is room again: the sends that waited for it go first. */
  #drainWaiting(): void {
    let gone = 0
    while (gone < this.#waiting.length && this.#buffered < this.#bufferBytes) {
      this.#resume(this.#waiting[gone++]!)
    }
    if (gone > 0) this.#waiting.splice(0, gone)
  }

  /** Rejects what waited for longer than its time. Runs only while something waits. */
  #sweep(): void {
    this.#sweepTimer = null
    const { clock } = this.#process.world
    const now = clock.monotonic()
    const expire = (parked: Parked[], why: string) => {
      let expired = 0
      while (expired < parked.length && parked[expired]!.deadline <= now) expired++
      for (const { reject } of parked.splice(0, expired)) {
        this.#parkedCount--
        reject(new StateMQError('TIMED_OUT', why, { retryable: true }))
      }
    }
    expire(
      this.#waiting,
      `no room within ${this.#timeoutMs} ms: the brokers take messages slower than they are sent`,
    )
    for (const { parked, sender, route } of this.#destinations.values()) {
      expire(parked, `no route for '${sender.topic}' within ${this.#timeoutMs} ms: ${route.trouble}`)
    }
    if (this.#parkedCount > 0) this.#sweepTimer = clock.setTimeout(() => this.#sweep(), SWEEP_MS)
    this.#tellDrained()
  }

  #tellDrained(): void {
    if (this.#drained && this.#buffered === 0 && this.#parkedCount === 0) this.#drained()
  }

  #destinationOf(topic: string): Destination {
    const known = this.#destinations.get(topic)
    if (known) return known
    checkTopic(topic)
    const destination: Destination = {
      sender: new TopicSender(this.#owner, topic),
      parked: [],
      route: watchRoute(this.#process, {
        topic,
        createTopic: this.#createTopics,
        announced: (route) => this.#routed(destination, route),
        missing: (error) => {
          for (const { reject } of destination.parked.splice(0)) {
            this.#parkedCount--
            reject(error)
          }
          this.#tellDrained()
        },
      }),
    }
    this.#destinations.set(topic, destination)
    return destination
  }

  #routed({ sender, parked }: Destination, route: TopicRoute): void {
    sender.setRoute(route)
    if (!sender.hasRoute) return
    this.#waiting.push(...parked.splice(0))
    this.#drainWaiting()
  }

  #openTurn(): void {
    if (this.#isTurnOpen) return
    this.#isTurnOpen = true
    this.#turn++
    const { clock } = this.#process.world
    this.#now = clock.monotonic()
    this.#wallNow = clock.now()
    if (this.#now >= this.#recheckAt) {
      this.#recheckAt = this.#now + RECHECK_MS
      this.#healthVersion++
    }
    clock.defer(this.#endTurn)
  }

  readonly #endTurn = (): void => {
    this.#isTurnOpen = false
    const wanted = this.#wanted
    this.#wanted = []
    for (const pipe of wanted) pipe.flush()
  }

  #observe(brokerName: string, tookMs: number): void {
    const failed = tookMs === Number.POSITIVE_INFINITY
    if (!failed && tookMs < FAULT_LATENCY_MS && this.#faults[brokerName] === undefined) return
    const now = this.#process.world.clock.monotonic()
    this.#faults = observe(this.#faults, brokerName, failed ? 0 : tookMs, now, {
      isolated: failed,
      reachable: !failed,
    })
    this.#recheckAt = now + RECHECK_MS
    this.#healthVersion++
  }

  /** What the old master did says nothing of the new one. */
  #renewed(pipe: Pipe): void {
    const { [pipe.brokerName]: _, ...others } = this.#faults
    this.#faults = others
    this.#healthVersion++
    pipe.forsake()
    for (const { sender } of this.#destinations.values()) sender.wake(pipe)
  }

  #ownerOfLanes(): SenderOwner & PipeOwner {
    const { world, subjects } = this.#process
    const { clock, random, transport } = world
    const producer = this
    return {
      transport,
      subjects,
      pool: new BufferPool(),
      attemptMs: Math.max(200, this.#timeoutMs / 2),
      get turn() {
        return producer.#turn
      },
      get healthVersion() {
        return producer.#healthVersion
      },
      monotonic: () => clock.monotonic(),
      setTimeout: (run, ms) => clock.setTimeout(run, ms),
      clearTimeout: (id) => clock.clearTimeout(id),
      newProducerId: () => 1 + random.below(2 ** 53 - 2),
      random: (bound) => random.below(bound),
      isUsable: (brokerName) => isAvailable(this.#faults, brokerName, clock.monotonic()),
      deleted: (topic) => this.#destinations.get(topic)?.route.deleted(),
      grew: (bytes) => {
        this.#buffered += bytes
      },
      released: (bytes) => {
        this.#buffered -= bytes
        if (this.#waiting.length > 0) this.#drainWaiting()
        if (this.#isClosed) this.#tellDrained()
      },
      answered: (brokerName, tookMs) => this.#observe(brokerName, tookMs),
      unreachable: (brokerName, epoch) => {
        for (const { route } of this.#destinations.values()) route.unreachable(brokerName, epoch)
      },
      silent: (brokerName, epoch) => {
        for (const { route } of this.#destinations.values()) route.silent(brokerName, epoch)
      },
      renewed: (pipe) => this.#renewed(pipe),
      wantFlush: (pipe) => {
        pipe.isWanted = true
        this.#wanted.push(pipe)
        this.#openTurn()
      },
      pipe: (brokerName) => {
        let pipe = this.#pipes.get(brokerName)
        if (!pipe) {
          pipe = new Pipe(this.#owner, brokerName)
          this.#pipes.set(brokerName, pipe)
        }
        return pipe
      },
    }
  }
}

/** Below this RocketMQ's table isolates nobody. */
const FAULT_LATENCY_MS = 550

function checkOptions(options: ProducerOptions): void {
  const invalid = (message: string): never => {
    throw badInput(message, 'INVALID_PARAMETER')
  }
  refuseUnknown('a producer', options, producerOptions)
  const { group, timeoutMs, bufferBytes, waitingMax } = options
  if (group !== undefined && typeof group !== 'string') return invalid('the group is no string')
  const fault = group === undefined ? null : groupFault(group)
  if (fault) invalid(fault.message)
  for (const [name, value] of Object.entries({ timeoutMs, bufferBytes, waitingMax })) {
    if (value === undefined || (typeof value === 'number' && value > 0)) continue
    invalid(`${name} is ${value}: give a number above 0`)
  }
}

function checkBatch(messages: readonly OutgoingMessage[]): OutgoingMessage {
  if (!Array.isArray(messages) || messages.length === 0) {
    throw badInput('the batch is empty: give at least one message')
  }
  if (messages.length > BATCH_MESSAGES_MAX) {
    throw badInput(`the batch has more than ${BATCH_MESSAGES_MAX} messages: split it`)
  }
  const first = messages[0]!
  for (const message of messages) {
    checkMessage(message)
    if (message.topic !== first.topic) throw badInput('a batch has one topic: send one batch for each topic')
    if (message.messageGroup !== first.messageGroup) throw badInput('a batch has one message group')
    if (message.delayLevel !== undefined)
      throw badInput('a batch cannot be delayed: send each message with a delayLevel by itself')
  }
  return first
}

/** RocketMQ counts what the broker will store, not only the bodies. */
function checkBatchBytes(messages: readonly OutgoingMessage[], properties: readonly Buffer[]): void {
  let bytes = 0
  messages.forEach(({ body }, i) => {
    bytes += RECORD_HEAD_BYTES + properties[i]!.length
    bytes += typeof body === 'string' ? Buffer.byteLength(body) : body.length
  })
  if (bytes > MAX_BODY_BYTES + RECORD_HEAD_BYTES + MAX_PROPERTY_BYTES) {
    throw badInput(`the batch takes ${bytes} bytes, more than ${MAX_BODY_BYTES} (4 MiB): split it`)
  }
}
