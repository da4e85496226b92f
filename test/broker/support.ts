/** The parts of a broker on a store in memory, with a transport that notes what is answered. */
import { BrokerState } from '../../actors/broker/broker-state.ts'
import { Delivery } from '../../actors/broker/delivery.ts'
import { Groups } from '../../actors/broker/groups.ts'
import { Ingest } from '../../actors/broker/ingest.ts'
import { type AskCoordinator, FormerOwners } from '../../actors/broker/pop/former-owners.ts'
import { Pop } from '../../actors/broker/pop/pop.ts'
import { SendBack } from '../../actors/broker/retry/send-back.ts'
import { Schedule } from '../../actors/broker/schedule/schedule.ts'
import { openStore, type Store, type StoredQueue } from '../../actors/broker/store/store.ts'
import { SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import { DEFAULT_DELAY_LEVELS, delaysOf } from '../../machines/retry-policy.ts'
import { codes } from '../../transport/codes.ts'
import { FRAME_HEAD_BYTES, kinds, RECORD_HEAD_BYTES, sealFrame } from '../../transport/frames.ts'
import type { PullRequest } from '../../transport/messages.ts'
import type { Transport } from '../../transport/transport.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { notedLog } from '../support/transports.ts'
import { type VirtualClock, virtualClock } from '../support/virtual-clock.ts'

export type FrameOptions = {
  topic?: string
  queueId?: number
  producerId?: number
  sequence?: number
  kind?: 0 | 1 | 2 | 3 | 4
  count?: number
}

/** A frame as a producer sends it. */
export function frame(bodies: readonly string[], options: FrameOptions = {}): Buffer {
  const {
    topic = 'orders',
    queueId = 0,
    producerId = 0,
    sequence = 0,
    kind = kinds.messages,
    count,
  } = options
  const records = bodies.map((body) => {
    const record = Buffer.alloc(RECORD_HEAD_BYTES + Buffer.byteLength(body))
    record.writeUInt32LE(record.length, 0)
    record.write(body, RECORD_HEAD_BYTES)
    return record
  })
  const bytes = Buffer.concat([Buffer.alloc(FRAME_HEAD_BYTES), Buffer.from(topic), ...records])
  sealFrame(bytes, 0, bytes.length, {
    ...{ kind, bornTime: 1, producerId, sequence, queueId, count: count ?? bodies.length },
    topicBytes: topic.length,
  })
  return bytes
}

export type Said = { reply: string; bytes: Buffer }

export class BrokerBench {
  readonly clock: VirtualClock = virtualClock()
  readonly log = notedLog()
  readonly said: Said[] = []
  readonly state: BrokerState
  readonly simulated: SimulatedDisk
  store!: Store
  ingest!: Ingest
  delivery!: Delivery
  groups!: Groups
  pop!: Pop
  /** Delivers nothing before a test opens it. */
  schedule!: Schedule
  sendBack!: SendBack
  /** Whether the broker takes messages. */
  isTaking = true
  /** Nobody answers before a test says what. */
  askCoordinator: AskCoordinator = (_, told) => told(null)
  #waiting: { end: number; run: () => void }[] = []

  private constructor(disk: SimulatedDisk | null, clock: VirtualClock | null) {
    if (clock) this.clock = clock
    this.state = new BrokerState(() => this.clock.monotonic())
    this.simulated = disk ?? new SimulatedDisk({ clock: this.clock, random: seededRandom(1) })
  }

  static async start(before: BrokerBench | null = null, segmentBytes?: number): Promise<BrokerBench> {
    const bench = new BrokerBench(before?.simulated ?? null, before?.clock ?? null)
    const { clock, log, state } = bench
    const world = { clock, log, random: seededRandom(2), disk: bench.simulated.mount() }
    const opening = openStore(
      world,
      { folder: '/data', cluster: 'test', broker: 'a/0', ...(segmentBytes ? { segmentBytes } : {}) },
      {
        restore: (json) => state.restore(json),
        replay: (bytes, at) => state.replay(bytes, at),
        snapshot: () => state.save(),
        stored: (position) => bench.#stored(position),
        space: () => {},
        broken: () => {},
      },
    )
    const opened = await bench.turning(opening)
    if (!opened.ok) throw new Error(opened.failure.message)
    bench.store = opened.value
    bench.store.epoch = bench.store.lastEpoch + 1
    const publish: Transport['publish'] = (reply, payload) =>
      void bench.said.push({ reply, bytes: Buffer.from(payload) })
    const transport = { publish, maxPayload: 1024 * 1024 } as Transport
    bench.groups = new Groups(bench.store, state, clock, {
      afterStored: (run) => bench.#afterStored(run),
      ownerChanged: (queue) => bench.delivery.arrived(queue),
      isPopped: () => false,
    })
    bench.ingest = new Ingest(bench.store, state, transport, clock, bench.store.epoch, (bytes, at, now) =>
      bench.schedule.take(bytes, at, now),
    )
    const owner = {
      delaysMs: delaysOf(DEFAULT_DELAY_LEVELS) as number[],
      mayDeliver: () => bench.isTaking,
      refusal: () => (bench.isTaking ? null : codes.SERVICE_NOT_AVAILABLE),
      appended: bench.ingest.appended,
      createDerived: (name: string) => {
        if (!state.topics.has(name)) bench.topic(name, { queues: 1 })
      },
      afterStored: (run: () => void) => bench.#afterStored(run),
      isOwner: bench.groups.comesFromOwner,
    }
    bench.schedule = new Schedule(bench.store, state, { clock, log }, owner)
    bench.sendBack = new SendBack(bench.store, state, clock, bench.schedule, owner)
    bench.delivery = new Delivery(
      bench.store,
      state,
      { transport, clock, log },
      bench.store.epoch,
      bench.groups,
    )
    const random = world.random
    const former = new FormerOwners(bench.groups.owners, (doubt, told) => bench.askCoordinator(doubt, told))
    bench.pop = new Pop(bench.store, state, { transport, clock, log, random }, bench.store.epoch, {
      afterStored: (run) => bench.#afterStored(run),
      vacate: (group, topic, queueIds, vacated) => former.vacate(group, topic, queueIds, vacated),
      createDerived: (topic) => {
        if (!state.topics.has(topic)) bench.topic(topic, { queues: 1 })
      },
      appended: bench.ingest.appended,
      sent: () => {},
    })
    return bench
  }

  topic(topic = 'orders', { queues = 2, perm = 6 } = {}): void {
    const config = { topic, readQueues: queues, writeQueues: queues, perm }
    this.store.appendControl(kinds.topics, Buffer.from(JSON.stringify({ set: config })))
    this.state.changeTopic({ set: config })
  }

  send(reply: string, ...frames: Buffer[]): void {
    this.ingest.receive(Buffer.concat(frames), reply)
  }

  pull(reply: string, request: Partial<PullRequest> = {}): void {
    this.delivery.pull(
      { topic: 'orders', queueId: 0, offset: 0, maxBytes: 65_536, waitMs: 0, ...request },
      reply,
    )
  }

  /** What was answered there, once. */
  answer(reply: string): Buffer | null {
    const found = this.said.filter((said) => said.reply === reply)
    if (found.length > 1) throw new Error(`'${reply}' was answered ${found.length} times`)
    return found[0]?.bytes ?? null
  }

  #afterStored(run: () => void): void {
    if (this.store.confirmPosition >= this.store.endPosition) run()
    else this.#waiting.push({ end: this.store.endPosition, run })
  }

  #arrived(queue: StoredQueue): void {
    this.delivery.arrived(queue)
    this.pop.arrived(queue)
  }

  #stored(position: number): void {
    if (!this.ingest) return
    this.ingest.answer(position)
    this.ingest.wake(position, (queue) => this.#arrived(queue))
    this.schedule.confirmed()
    const ready = this.#waiting.filter(({ end }) => end <= position)
    this.#waiting = this.#waiting.filter(({ end }) => end > position)
    for (const { run } of ready) run()
  }

  /** Lets the disk do all that it was asked for. */
  settle(): void {
    this.clock.advance(1)
  }

  async stop(): Promise<void> {
    this.schedule.close()
    await this.turning(new Promise<void>((resolve) => this.store.close(() => resolve())))
  }

  async turning<T>(promise: Promise<T>): Promise<T> {
    let isOver = false
    const watched = promise.finally(() => {
      isOver = true
    })
    while (!isOver) {
      this.clock.settle()
      await new Promise((resolve) => setImmediate(resolve))
    }
    return watched
  }
}
