/**
 * A whole cluster in the simulated World, and what can be done to it: crash, restart, pause, sever, partition, fill.
 * A broker is one process, or several replicas with a disk each and controllers that elect among them.
 *
 * The nodes and clients are those of production. What senders and consumers see goes into the history.
 */
import { type Client, connect } from '../../actors/client.ts'
import type { Consumer } from '../../actors/consumer/consumer.ts'
import type { FrameView, IncomingMessage } from '../../actors/consumer/incoming-message.ts'
import type { StateMQError } from '../../actors/errors.ts'
import { type Node, startNode } from '../../actors/node/node.ts'
import { SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import type { Random } from '../../actors/node/world.ts'
import type { Receipt } from '../../actors/producer/batch.ts'
import type { OutgoingMessage } from '../../actors/producer/message.ts'
import type { Producer } from '../../actors/producer/producer.ts'
import type { Allocation } from '../../machines/allocation/index.ts'
import { type QueueRef, queueKey } from '../../machines/topic.ts'
import { ask } from '../../transport/codec.ts'
import { producerIdAt, sequenceAt } from '../../transport/frames.ts'
import type { BrokerDescription } from '../../transport/messages.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import type { Happened, HistoryEvent, LoggedMessage } from '../support/history.ts'
import { FailoverTimes } from './failover-times.ts'
import { BrokerGroupsOfSimulation, differenceOf } from './groups.ts'
import type { RegisterTrouble } from './register-link.ts'
import { listenToWire, type Wire } from './wire.ts'
import type { SimulatedProcess, SimulatedWorld } from './world.ts'

const CLUSTER = 'sim'
const START_MS = 30_000
const DIR = 'data'
/** One send of so many, and those with it, is to be delivered later. */
const DELAYED_OF = 20

export type BrokerShape = {
  name: string
  flush: 'sync' | 'async'
  segmentBytes: number
  /** Missing: it is the only replica. */
  group?: { replication: 'sync' | 'async'; replicas: number; minInSync: number; maxLagBytes: number }
}
export type GroupShape = {
  group: string
  ordered: boolean
  allocation: Allocation
  concurrency: number
  handleMsMax: number
  /** Of how many deliveries one handler throws; 0 for none. */
  oneFailsOf: number
}
export type SenderShape = {
  topic: string
  /** Message groups it uses; 0 for none. */
  messageGroups: number
  everyMs: number
  bodyBytesMax: number
  timeoutMs: number
}

export type Replica = BrokerShape & {
  id: number
  /** What people call it. */
  label: string
  disk: SimulatedDisk
  slowMs: number
  process: SimulatedProcess | null
  node: Node | null
  starts: number
  /** Its disk failed it: it need not come up, and need not stay. */
  isExcused: boolean
}
type Server = { name: string; process: SimulatedProcess | null; node: Node | null; starts: number }
type Member = GroupShape & {
  name: string
  process: SimulatedProcess
  client: Client | null
  consumer: Consumer | null
  owned: string[]
  isLeaving: boolean
}
type Sender = {
  name: string
  process: SimulatedProcess
  client: Client | null
  sequence: number
  nextSend: unknown
}

export class Cluster {
  readonly world: SimulatedWorld
  readonly history: Happened[] = []
  /** All replicas of all brokers. */
  readonly brokers: Replica[] = []
  readonly nameServers: Server[] = []
  readonly controllers: Server[] = []
  readonly groups: BrokerGroupsOfSimulation
  readonly failovers = new FailoverTimes()
  /** Silence after which a replica counts as gone; undefined for production's own. */
  detectMs: number | undefined
  readonly members: Member[] = []
  readonly senders: Sender[] = []
  readonly counts = { sent: 0, stored: 0, failed: 0, delivered: 0 }
  readonly #topics = new Map<string, number>()
  readonly #noDisk: SimulatedDisk
  readonly #wire: Wire
  readonly #random: Random
  readonly #faults = new Set<string>()
  #observer!: Client
  #observerProcess!: SimulatedProcess
  #consumers = 0

  constructor(world: SimulatedWorld) {
    this.world = world
    this.#random = world.fork()
    this.#noDisk = new SimulatedDisk({ clock: world.clock, random: world.fork() })
    this.groups = new BrokerGroupsOfSimulation(world, (event) => this.happened(event))
    this.#wire = listenToWire({
      happened: (event) => this.happened(event),
      beat: (beat, from) => this.groups.heard(beat, from),
      monotonic: () => world.clock.monotonic(),
    })
    world.network.tap = this.#wire.hear
  }

  happened(event: HistoryEvent): void {
    this.history.push({ ...event, at: this.world.clock.monotonic() })
    this.world.note(JSON.stringify(event))
  }

  tell(who: string, what: string): void {
    this.world.tell(who, what)
  }

  /** What awaits the cluster, awaited while time passes. */
  async settle<T>(promise: Promise<T>, what: string, limitMs = START_MS): Promise<T> {
    let outcome: { ok: true; value: T } | { ok: false; error: unknown } | null = null
    promise.then(
      (value) => {
        outcome = { ok: true, value }
      },
      (error: unknown) => {
        outcome = { ok: false, error }
      },
    )
    if (!(await this.world.until(() => outcome !== null, limitMs)))
      throw new Error(`${what}: not within ${limitMs} ms`)
    const { ok, ...ended } = outcome! as { ok: boolean; value?: T; error?: unknown }
    if (ok) return ended.value as T
    throw new Error(`${what}: ${ended.error}`, { cause: ended.error })
  }

  // -------------------------------------------------------------------------------------------------- faults

  /** Something is wrong from now on, until what comes back is called. */
  fault(who: string, what: string): () => void {
    const fault = `${who} ${what}`
    this.tell(who, what)
    this.#faults.add(fault)
    this.happened({ type: 'fault.began', fault })
    this.failovers.disturbed(this.world.clock.monotonic())
    return () => {
      if (!this.#faults.delete(fault)) return
      this.happened({ type: 'fault.ended', fault })
      this.failovers.disturbed(this.world.clock.monotonic())
    }
  }

  get isFaulty(): boolean {
    return this.#faults.size > 0
  }

  // -------------------------------------------------------------------------- name servers and controllers

  addNameServer(name: string): void {
    const server: Server = { name, process: null, node: null, starts: 0 }
    this.nameServers.push(server)
    this.startServer(server)
  }

  addController(name: string): void {
    const server: Server = { name, process: null, node: null, starts: 0 }
    this.controllers.push(server)
    this.startServer(server)
  }

  startServer(server: Server): void {
    const process = this.world.process(`${server.name}.${++server.starts}`, this.#noDisk)
    server.process = process
    const isController = this.controllers.includes(server)
    const started = startNode({
      cluster: CLUSTER,
      roles: [isController ? 'controller' : 'nameServer'],
      ...(isController ? { register: process.register, ...this.#failover } : {}),
      transport: process.world.transport,
      world: process.world,
      failed: (message) => this.world.faults.push(`${process.name} gave up: ${message}`),
    })
    started.then(
      (node) => {
        server.node = node
      },
      (error) => this.world.faults.push(`${process.name} did not start: ${error}`),
    )
  }

  get #failover(): { failover?: { detectMs: number } } {
    return this.detectMs === undefined ? {} : { failover: { detectMs: this.detectMs } }
  }

  crashServer(server: Server): void {
    this.fault(server.name, 'crashes')()
    server.process?.kill()
    server.process = null
    server.node = null
  }

  // ------------------------------------------------------------------------------------------------ brokers

  addBroker(shape: BrokerShape): void {
    const { name, group } = shape
    if (group) this.groups.form(name, group.replication, group.maxLagBytes)
    for (let id = 0; id < (group?.replicas ?? 1); id++) {
      const random = this.world.fork()
      const replica: Replica = {
        ...shape,
        id,
        label: group ? `${name}/${id}` : name,
        slowMs: 0,
        process: null,
        node: null,
        starts: 0,
        isExcused: false,
        disk: new SimulatedDisk({
          clock: { ...clockOf(this.world), setTimeout: (run, ms) => this.world.clock.after(ms, run) },
          random,
          latencyMs: () => 0.02 + random.next() * 0.3 + random.next() * replica.slowMs,
        }),
      }
      this.brokers.push(replica)
      this.startBroker(replica)
    }
  }

  startBroker(broker: Replica): void {
    const process = this.world.process(`${broker.label}.${++broker.starts}`, broker.disk)
    broker.process = process
    broker.node = null
    const { name, id, flush, segmentBytes, group } = broker
    const started = startNode({
      cluster: CLUSTER,
      roles: ['broker'],
      broker: { name, flush, segmentBytes, ...(group ? { id, ...group } : {}) },
      ...(group ? { register: process.register, ...this.#failover } : {}),
      dir: DIR,
      transport: process.world.transport,
      world: process.world,
      failed: (message) => this.#brokerFailed(broker, process, `gave up: ${message}`),
    })
    started.then(
      (node) => {
        if (broker.process === process) broker.node = node
        this.tell(process.name, 'serves')
      },
      (error: StateMQError) =>
        this.#brokerFailed(broker, process, `did not start: ${error.code} ${error.message}`),
    )
  }

  #brokerFailed(broker: Replica, process: SimulatedProcess, what: string): void {
    this.tell(process.name, what)
    if (!broker.isExcused) this.world.faults.push(`${process.name} ${what}`)
    if (broker.process === process) this.#end(broker)
  }

  #end(broker: Replica): void {
    broker.process?.kill()
    broker.process = null
    broker.node = null
    broker.disk.crash({ losesUnsynced: false })
  }

  crashBroker(broker: Replica, { losesPower = false, isSeen = true } = {}): void {
    const { process, name, id, group } = broker
    const at = this.world.clock.monotonic()
    const { epoch = 0, masterId } = this.groups.head(name) ?? {}
    const isWhole = this.failovers.isCalm(at) && this.groupTrouble(name) === null
    this.fault(
      broker.label,
      `crashes${losesPower ? ', its machine loses power' : ''}${isSeen ? '' : ', unseen'}`,
    )()
    if (group && masterId === id && process?.isAlive)
      this.failovers.killed({ broker: name, epoch, at, isSeen, isClean: isWhole })
    process?.kill(isSeen)
    if (!isSeen) this.world.clock.after(15_000, () => process?.bury())
    if (losesPower && broker.flush === 'async')
      this.happened({ type: 'tail.lost', broker: name, replica: id })
    broker.process = null
    broker.node = null
    broker.disk.crash({ losesUnsynced: losesPower })
  }

  /** A clean stop; the process is gone AFTER it has drained. */
  stopBroker(broker: Replica): void {
    const { node, process } = broker
    if (!node || !process) return
    const end = this.fault(broker.label, 'stops')
    broker.node = null
    node.close().then(() => {
      end()
      this.tell(process.name, 'has stopped')
      this.#checkTimers(process)
      if (broker.process === process) this.#end(broker)
    })
  }

  replicasOf(brokerName: string): Replica[] {
    return this.brokers.filter(({ name }) => name === brokerName)
  }

  /** The names of all brokers, and of those with several replicas. */
  get brokerNames(): string[] {
    return [...new Set(this.brokers.map(({ name }) => name))]
  }
  get groupNames(): string[] {
    return [...new Set(this.brokers.flatMap(({ name, group }) => (group ? [name] : [])))]
  }

  /** Whom the register names master, when that process is there. */
  masterOf(brokerName: string): Replica | undefined {
    const masterId = this.groups.head(brokerName)?.masterId
    return this.replicasOf(brokerName).find(({ id, process }) => id === masterId && process?.isAlive)
  }

  slavesOf(brokerName: string): Replica[] {
    const master = this.masterOf(brokerName)
    return this.replicasOf(brokerName).filter((replica) => replica !== master && replica.process?.isAlive)
  }

  /** Asks a master to let this replica take over; what comes of it is only told. */
  handOver(successor: Replica): void {
    const { name, id, label } = successor
    const { epoch = 0 } = this.groups.head(name) ?? {}
    const { handOver } = subjectsOf(CLUSTER).broker(name, epoch)
    this.tell(label, 'is to take over')
    ask(this.#observerProcess.world.transport, handOver, { brokerId: id }, 5_000, (outcome) => {
      const words = outcome.ok ? JSON.stringify(outcome.value) : outcome.failure.message
      this.tell(label, `takes over: ${words}`)
    })
  }

  fillDisk(broker: Replica, bytesLeft: number): () => void {
    const end = this.fault(broker.label, `has ${bytesLeft} bytes of disk left`)
    broker.isExcused = true
    this.happened({ type: 'disk.filled', broker: broker.name })
    broker.disk.totalBytes = broker.disk.usedBytes + bytesLeft
    return () => {
      broker.disk.totalBytes = Number.MAX_SAFE_INTEGER
      end()
    }
  }

  failDisk(
    broker: Replica,
    operation: 'write' | 'sync',
    code: 'diskFull' | 'ioError',
    times?: number,
  ): () => void {
    const end = this.fault(broker.label, `fails to ${operation}: ${code}`)
    broker.isExcused = true
    const stop = broker.disk.fail({ operation, code, ...(times === undefined ? {} : { times }) })
    return () => {
      stop()
      end()
    }
  }

  slowDisk(broker: Replica, ms: number): () => void {
    const end = this.fault(broker.label, `has a disk that takes ${ms} ms`)
    broker.slowMs = ms
    return () => {
      broker.slowMs = 0
      end()
    }
  }

  // ---------------------------------------------------------------------------------------------- processes

  /** All that can be paused, severed and so on. */
  get processes(): SimulatedProcess[] {
    return [
      ...this.nameServers,
      ...this.controllers,
      ...this.brokers,
      ...this.senders,
      ...this.members,
    ].flatMap(({ process }) => (process?.isAlive ? process : []))
  }

  pause(process: SimulatedProcess): () => Promise<void> {
    const end = this.fault(process.name, 'is paused')
    process.pause()
    return async () => {
      end()
      this.tell(process.name, 'goes on')
      await process.resume()
    }
  }

  sever(process: SimulatedProcess): () => void {
    const end = this.fault(process.name, 'loses its connection')
    process.sever()
    return () => {
      end()
      this.tell(process.name, 'is connected again')
      process.mend()
    }
  }

  /** Nothing of what the one says reaches the other; `isTold`: and it is told so when it asks. */
  partition(from: { name: string }, to: { name: string }, isTold = false): () => void {
    const end = this.fault(from.name, `does not reach ${to.name}`)
    this.world.network.block(from.name, to.name, isTold)
    return () => {
      this.world.network.unblock(from.name, to.name)
      this.tell(from.name, `reaches ${to.name} again`)
      end()
    }
  }

  delay(process: SimulatedProcess, ms: number): () => void {
    const end = this.fault(process.name, `has a connection that takes ${ms} ms`)
    this.world.network.slow(process.name, ms)
    return () => {
      this.world.network.slow(process.name, 0)
      end()
    }
  }

  /** What the one says reaches the other late. */
  delayLink(from: { name: string }, to: { name: string }, ms: number): () => void {
    const end = this.fault(from.name, `needs ${ms} ms to reach ${to.name}`)
    this.world.network.slow(`${from.name}>${to.name}`, ms)
    return () => {
      this.world.network.slow(`${from.name}>${to.name}`, 0)
      end()
    }
  }

  disturbRegister(trouble: RegisterTrouble): () => void {
    const { register } = this.world
    const { oneLostOf, delayMs } = trouble
    const end = this.fault(
      'the register',
      `loses one message of ${oneLostOf} and takes ${delayMs} ms for others`,
    )
    register.trouble = trouble
    return () => {
      if (register.trouble === trouble) register.trouble = null
      end()
    }
  }

  jumpClock(process: SimulatedProcess, ms: number): void {
    this.tell(process.name, `its wall clock jumps by ${ms} ms`)
    process.jump(ms)
  }

  // ------------------------------------------------------------------------------------------------ clients

  async start(topics: Record<string, number>): Promise<void> {
    this.#observerProcess = this.world.process('observer', this.#noDisk)
    this.#observer = await connectAs(this.#observerProcess)
    const all = [...this.nameServers, ...this.controllers, ...this.brokers]
    const isUp = () => all.every(({ node }) => node) && this.groupTrouble() === null
    if (!(await this.world.until(isUp, START_MS)))
      throw new Error(`the cluster did not start: ${this.groupTrouble()}`)
    await this.world.advance(500)
    for (const [topic, queues] of Object.entries(topics)) {
      this.#topics.set(topic, queues)
      await this.settle(this.#observer.admin().createTopic(topic, { queues }), `creating ${topic}`)
    }
  }

  addMember(shape: GroupShape, topic: string): Member {
    const name = `${shape.group}-${++this.#consumers}`
    const process = this.world.process(name, this.#noDisk)
    const member: Member = {
      ...shape,
      name,
      process,
      client: null,
      consumer: null,
      owned: [],
      isLeaving: false,
    }
    this.members.push(member)
    this.tell(name, 'joins')
    connectAs(process).then((client) => {
      const { group, ordered, allocation, concurrency } = shape
      const consumer = client.consumer({
        group,
        ordered,
        allocation,
        concurrency,
        clientId: name,
        from: 'first',
      })
      member.client = client
      member.consumer = consumer
      consumer.assignment$.subscribe((owned) => {
        member.owned = owned.map(queueKey)
        this.world.note(`${name} owns ${member.owned.join(' ')}`)
      })
      consumer.subscribe(topic)
      void consumer.run((message, { queue }) => this.#handle(member, message, queue))
    })
    return member
  }

  /** `from`: the queue it was read from, which may be the group's retry queue. */
  #handle(member: Member, message: IncomingMessage, from: QueueRef): unknown {
    const { name: consumer, group, process, ordered, handleMsMax, oneFailsOf } = member
    const { random, world } = process
    const { queueOffset: offset, epoch, messageId, deliveryAttempt: attempt } = message
    const read = { group, consumer, queue: queueKey(from) }
    const id = nameOf(message.text)
    this.counts.delivered++
    this.happened({
      ...{
        type: 'message.delivered',
        ...read,
        offset,
        epoch,
        message: id,
        messageId,
        attempt,
        isOrdered: ordered,
      },
    })
    const finish = () => {
      if (!process.isAlive) return
      if (oneFailsOf > 0 && random.below(oneFailsOf) === 0) {
        this.happened({ type: 'handler.failed', ...read, offset })
        throw new Error('this handler fails')
      }
      this.happened({ type: 'message.handled', ...read, offset })
    }
    if (random.below(3) === 0) return finish()
    const ms = 1 + random.below(random.below(20) === 0 ? handleMsMax * 10 : handleMsMax)
    return new Promise<void>((resolve) => world.clock.setTimeout(resolve, ms)).then(finish)
  }

  leave(member: Member): void {
    const { client, name, process } = member
    if (!client || member.isLeaving) return
    member.isLeaving = true
    this.tell(name, 'leaves')
    client.close().then(() => {
      this.tell(name, 'has left')
      this.#checkTimers(process)
      this.#gone(member)
    })
  }

  crashMember(member: Member, isSeen = true): void {
    this.fault(member.name, `crashes${isSeen ? '' : ', unseen'}`)()
    const { process } = member
    process.kill(isSeen)
    if (!isSeen) this.world.clock.after(15_000, () => process.bury())
    this.#gone(member)
  }

  #gone(member: Member): void {
    member.process.kill()
    this.members.splice(this.members.indexOf(member), 1)
    this.happened({ type: 'consumer.gone', group: member.group, consumer: member.name })
  }

  addSender(name: string, shape: SenderShape): Sender {
    const process = this.world.process(name, this.#noDisk)
    const sender: Sender = { name, process, client: null, sequence: 0, nextSend: null }
    this.senders.push(sender)
    connectAs(process).then((client) => {
      const producer = client.producer({ timeoutMs: shape.timeoutMs })
      sender.client = client
      const { clock } = process.world
      const again = () => {
        this.#send(sender, shape, producer)
        sender.nextSend = clock.setTimeout(again, 1 + process.random.below(shape.everyMs * 2))
      }
      again()
    })
    return sender
  }

  #send(sender: Sender, { topic, messageGroups, bodyBytesMax }: SenderShape, producer: Producer): void {
    const { random } = sender.process
    const inGroup = messageGroups > 0 && random.below(3) > 0
    const messageGroup = inGroup ? `${sender.name}-${random.below(messageGroups)}` : null
    const messages = Array.from({ length: 1 + random.below(random.below(5) === 0 ? 8 : 2) }, () => {
      const sequence = sender.sequence++
      const message = `${sender.name}/${sequence}`
      this.counts.sent++
      const body = `${message} ${'.'.repeat(random.below(bodyBytesMax))}`
      const { length: bytes } = body
      this.happened({ type: 'send.invoked', message, sender: sender.name, sequence, messageGroup, bytes })
      return { message, out: outgoing(topic, body, messageGroup) }
    })
    const stored = (message: string, receipt: Receipt) => {
      if (!sender.process.isAlive) return
      this.counts.stored++
      const { queueOffset: offset, epoch, messageId, brokerName } = receipt
      const queue = queueKey(receipt)
      const now = this.world.clock.monotonic()
      const answeredAt = this.#wire.answeredAt(queue, offset, epoch) ?? now
      this.happened({ type: 'send.stored', message, queue, offset, epoch, messageId, answeredAt })
      this.failovers.acknowledged(brokerName, epoch, now)
    }
    const failed = (message: string, { code }: StateMQError) => {
      if (!sender.process.isAlive) return
      this.counts.failed++
      this.happened({ type: 'send.failed', message, code })
    }
    if (messages.length > 1 && random.below(2) === 0) {
      producer.sendBatch(messages.map(({ out }) => out)).then(
        (receipts) => {
          for (const [i, receipt] of receipts.entries()) stored(messages[i]!.message, receipt)
        },
        (error) => {
          for (const { message } of messages) failed(message, error)
        },
      )
      return
    }
    for (const { message, out } of messages) {
      const isDelayed = messageGroup === null && sender.sequence % DELAYED_OF === 0
      const delayed = (receipt: Receipt) => {
        if (!sender.process.isAlive) return
        this.counts.stored++
        const { brokerName: broker, messageId } = receipt
        this.happened({ type: 'send.delayed', message, broker, messageId })
      }
      producer.send(isDelayed ? { ...out, delayLevel: 1 + (sender.sequence % 3) } : out).then(
        (receipt) => (isDelayed ? delayed(receipt) : stored(message, receipt)),
        (error) => failed(message, error),
      )
    }
  }

  // ------------------------------------------------------------------------------------------------ the end

  stopSending(): void {
    for (const { process, nextSend } of this.senders) process.world.clock.clearTimeout(nextSend)
  }

  /** Everything that was down comes up. What else is wrong was ended by whoever began it. */
  restartAll(): void {
    for (const broker of this.brokers) if (!broker.process) this.startBroker(broker)
    for (const server of [...this.nameServers, ...this.controllers])
      if (!server.process) this.startServer(server)
  }

  /** Why a replicated broker, of all or this one, is not yet as it should be. */
  groupTrouble(brokerName?: string): string | null {
    for (const name of this.groupNames) {
      if (brokerName !== undefined && brokerName !== name) continue
      const trouble = this.groups.trouble(name, this.replicasOf(name).length)
      if (trouble !== null) return trouble
    }
    return null
  }

  /** What a person does about brokers that wait for one. */
  orderLastResorts(): void {
    for (const brokerName of this.groupNames) {
      const brokerId = this.groups.lastResort(brokerName, this.replicasOf(brokerName).length)
      if (brokerId === null) continue
      this.orderUnclean(brokerName, brokerId, () => {})
    }
  }

  /** Calls back with the code of the answer; null when nobody answered. */
  orderUnclean(brokerName: string, brokerId: number, answered: (code: number | null) => void): void {
    const { electUnclean } = subjectsOf(CLUSTER).controller
    this.tell('person', `orders ${brokerName}/${brokerId} to be master, whatever is lost`)
    ask(this.#observerProcess.world.transport, electUnclean, { brokerName, brokerId }, 1_000, (outcome) =>
      answered(outcome.ok ? outcome.value.code : null),
    )
  }

  /** A replica that had to cut its log says so for as long as it runs. */
  async checkToldCuts(): Promise<void> {
    const subjects = subjectsOf(CLUSTER)
    for (const { name, id, process, group } of this.brokers) {
      if (!process || !group) continue
      const { describe } = subjects.brokerProcess(name, id)
      const { transport } = this.#observerProcess.world
      const asked = new Promise<BrokerDescription['lastCut']>((resolve, reject) =>
        ask(transport, describe, {}, 1_000, (outcome) => {
          if (outcome.ok && 'value' in outcome.value) resolve(outcome.value.value.lastCut)
          else reject(new Error(JSON.stringify(outcome)))
        }),
      )
      const told = await this.settle(asked, `asking ${process.name}`)
      const known = this.groups.lastCutOf(process.name)
      if (told?.bytes !== known?.bytes || told?.messages !== known?.messages)
        this.world.faults.push(`${process.name} cut ${known?.messages} messages and tells ${told?.messages}`)
    }
  }

  /** AFTER nothing is written any more, the disks of all replicas hold the same log. */
  compareLogs(): void {
    for (const brokerName of this.groupNames) {
      const onDisk = this.replicasOf(brokerName).map(({ label, disk, id }) => {
        return { label, disk, folder: `${DIR}/${brokerName}-${id}` }
      })
      const difference = differenceOf(onDisk)
      if (difference !== null) this.world.faults.push(difference)
    }
  }

  /** What a group says of its queues, and why it is not settled; null when it is. */
  async look(
    group: string,
  ): Promise<{ event: Extract<HistoryEvent, { type: 'group.settled' }>; trouble: string | null }> {
    const { queues } = await this.settle(this.#observer.admin().group(group), `looking at ${group}`)
    const members = this.members.filter((member) => member.group === group)
    const owned = Object.fromEntries(members.map(({ name, owned }) => [name, owned]))
    const rows = queues.map((row) => ({ ...row, queue: queueKey(row) }))
    const expected = [...this.#topics.values()].reduce(
      (sum, queues) => sum + queues * this.brokerNames.length,
      0,
    )
    const trouble =
      rows.length < expected
        ? `${rows.length} queues of ${expected} are known`
        : (rows
            .map(({ queue, owner, committed, minOffset, maxOffset }) => {
              const says = Object.keys(owned).filter((name) => owned[name]!.includes(queue))
              if (says.length !== 1 || says[0] !== owner)
                return `${queue} belongs to ${owner}, and ${says.join(' and ') || 'nobody'} reads it`
              if ((committed ?? minOffset) !== maxOffset)
                return `${queue} ends at ${maxOffset}, ${owner} committed ${committed}`
              return null
            })
            .find((words) => words !== null) ?? null)
    const seen = rows.map(({ queue, owner, committed, minOffset, maxOffset }) => {
      return { queue, owner, committed, minOffset, maxOffset }
    })
    const waiting = await this.#waiting()
    return {
      event: { type: 'group.settled', group, queues: seen, owned },
      trouble: trouble ?? (waiting > 0 ? `${waiting} messages wait to be tried again` : null),
    }
  }

  async #waiting(): Promise<number> {
    const replicas = await this.settle(this.#observer.admin().brokers(), 'looking at the brokers')
    return replicas.reduce((sum, replica) => sum + (replica.reachable ? replica.waiting : 0), 0)
  }

  /** The logs, from first to last, as a reader sees them. */
  async readLogs(): Promise<void> {
    for (const topic of this.#topics.keys()) {
      const { queues } = await this.settle(this.#observer.admin().topic(topic), `looking at ${topic}`)
      const logs = new Map(
        queues.map(({ brokerName, queueId, minOffset, maxOffset }) => [
          queueKey({ topic, brokerName, queueId }),
          { minOffset, maxOffset, messages: [] as LoggedMessage[] },
        ]),
      )
      const reader = this.#observer.reader({ topic })
      let left = queues.reduce((sum, { minOffset, maxOffset }) => sum + maxOffset - minOffset, 0)
      for (let idle = 0; left > 0 && idle < 10; ) {
        const found = await this.settle(reader.poll(1_000, 1_000), `reading ${topic}`)
        idle = found.length === 0 ? idle + 1 : 0
        left -= found.length
        for (const message of found) {
          const { queueOffset: offset, epoch, messageId, text } = message
          const logged = { offset, epoch, message: nameOf(text), messageId, frame: frameOf(message) }
          logs.get(queueKey(message))!.messages.push(logged)
        }
      }
      await reader.close()
      for (const [queue, log] of logs) this.happened({ type: 'log.read', queue, ...log })
    }
  }

  /** Everything is closed as its owner would close it. */
  async close(): Promise<void> {
    const closing = async (
      who: { process: SimulatedProcess | null },
      close: () => Promise<void> | undefined,
    ) => {
      const { process } = who
      if (!process) return
      await this.settle(Promise.resolve(close()), `closing ${process.name}`, 60_000)
      this.#checkTimers(process)
      process.kill()
    }
    for (const sender of this.senders) await closing(sender, () => sender.client?.close())
    for (const member of [...this.members]) await closing(member, () => member.client?.close())
    for (const broker of this.brokers) await closing(broker, () => broker.node?.close())
    for (const server of this.controllers) await closing(server, () => server.node?.close())
    for (const server of this.nameServers) await closing(server, () => server.node?.close())
  }

  /** What was closed leaves nothing behind that would keep its process from ending. */
  #checkTimers(process: SimulatedProcess): void {
    const { timers } = process
    if (timers > 0) this.world.faults.push(`${process.name} was closed and left ${timers} timers`)
  }

  /** Chance of the schedule's own. */
  pick<T>(all: readonly T[]): T | undefined {
    return all.length === 0 ? undefined : all[this.#random.below(all.length)]
  }
}

const clockOf = ({ clock }: SimulatedWorld) => ({
  now: () => clock.now(),
  monotonic: () => clock.monotonic(),
  clearTimeout: (timer: never) => clock.clearTimeout(timer),
  defer: (run: () => void) => clock.defer(run),
})

const connectAs = ({ world }: SimulatedProcess): Promise<Client> =>
  connect({ cluster: CLUSTER, transport: world.transport, world })

const outgoing = (topic: string, body: string, messageGroup: string | null): OutgoingMessage =>
  messageGroup === null ? { topic, body } : { topic, body, messageGroup }

/** Which frame of which producer it came in: the id that a message has unless it was moved. */
function frameOf(message: IncomingMessage): string {
  const { bytes } = (message as unknown as { frame: FrameView }).frame
  const id = producerIdAt(bytes, 0)
  // What a broker delivers when it is due it numbers itself.
  return `${id < 2 ** 53 ? id : `${message.brokerName} ${id}`}-${sequenceAt(bytes, 0)}`
}

/** A body is the message's own name, a blank and padding. */
const nameOf = (body: string): string => body.slice(0, body.indexOf(' '))
