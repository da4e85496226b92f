/**
 * OwnedQueues: the queues that a consumer reads at the moment, from the grant to the last commit.
 *
 * A queue is read from where the group has committed, and handed to the dispatcher. What another one owns by now is
 * forgotten and NEVER committed. When the process stood still for as long as its session, others may own its queues: what
 * was handled is committed, and nothing more begins BEFORE the brokers have said that the queues are still ours. It is
 * noticed when something is about to begin, so at most what is left of the turn in which the process stopped still does.
 */
import { type QueueRef, queueKey } from '../../machines/topic.ts'
import type { Process } from '../node/process.ts'
import { commitOffsets } from './commit.ts'
import type { ConsumerSettings } from './consumer-options.ts'
import type { Dispatcher } from './dispatcher.ts'
import { FlowControl } from './flow-control.ts'
import type { Assignment } from './group-member.ts'
import type { LocalOffsets } from './local-offsets.ts'
import { ProcessQueue } from './process-queue.ts'
import type { Granted } from './queue-claims.ts'
import { QueueReader } from './queue-reader.ts'
import { QueueStarts } from './queue-starts.ts'
import { Standstill } from './standstill.ts'
import { type Subscribed, unfiltered } from './subscribed.ts'
import type { TopicRoutes } from './topic-routes.ts'

const COMMIT_MS = 1_000

export type OwnedQueuesOptions = {
  settings: ConsumerSettings
  filters: ReadonlyMap<string, Subscribed>
  routes: TopicRoutes
  /** Of a broadcasting consumer that has a name. */
  offsets: LocalOffsets | null
}
export type OwnedQueuesHooks = {
  /** A pull or a commit under this grant was refused, or it has to be asked for again. */
  fenced(queue: QueueRef, assignEpoch: number): void
  /** The process stood still for long: they were stopped, and have to be asked for again. */
  doubted(queues: readonly Assignment[]): void
}

export class OwnedQueues {
  readonly #process: Process
  readonly #options: OwnedQueuesOptions
  readonly #hooks: OwnedQueuesHooks
  readonly #flow: FlowControl
  readonly #queues = new Map<string, ProcessQueue>()
  /** Queues that were taken from us, and how far they were handled. */
  readonly #dropped = new Map<string, ProcessQueue>()
  readonly #starts: QueueStarts
  /** Null where nobody else could own them. */
  readonly #standstill: Standstill | null
  #dispatcher: Dispatcher | null = null
  #timer: unknown = null
  #isSuspended = false
  #isChanged = false
  #isClosed = false

  constructor(process: Process, options: OwnedQueuesOptions, hooks: OwnedQueuesHooks) {
    this.#process = process
    this.#options = options
    this.#hooks = hooks
    const { flow, messageModel, sessionMs } = options.settings
    this.#starts = new QueueStarts(process, options)
    this.#flow = new FlowControl(flow)
    const isGroup = messageModel === 'clustering'
    this.#standstill = isGroup ? new Standstill(process.world.clock, sessionMs, () => this.#wokeUp()) : null
  }

  start(dispatcher: Dispatcher): void {
    this.#dispatcher = dispatcher
    if (this.#standstill === null) return
    const { clock } = this.#process.world
    const tick = () => {
      this.#timer = clock.setTimeout(tick, COMMIT_MS)
      if (!this.look()) this.#commit(this.list)
    }
    this.#timer = clock.setTimeout(tick, COMMIT_MS)
  }

  /** BEFORE messages are given out. After a standstill it stops the queues. */
  readonly look = (): boolean => this.#standstill?.look() ?? false

  get list(): ProcessQueue[] {
    return [...this.#queues.values()]
  }

  get positions(): [queue: string, offset: number][] {
    return [...this.#queues].map(([key, { position }]) => [key, position])
  }

  get cached(): { messages: number; bytes: number } {
    let messages = 0
    for (const { reader } of this.#queues.values()) messages += reader.cachedMessages
    return { messages, bytes: this.#flow.budget.cachedBytes }
  }

  suspend(): void {
    this.#isSuspended = true
    this.#dispatcher?.setQueues([])
  }

  resume(): void {
    this.#isSuspended = false
    this.#dispatcher?.setQueues(this.list)
    for (const { reader } of this.#queues.values()) reader.want()
    this.#dispatcher?.give()
  }

  // ------------------------------------------------------------------------------------------ in a group

  granted(ref: QueueRef, claim: Granted): void {
    if (this.#queues.get(queueKey(ref))?.assignEpoch === claim.assignEpoch) return // Told twice.
    this.#afterRunning(this.#dropped.get(queueKey(ref)), () => this.#read(ref, claim))
  }

  #read(ref: QueueRef, { assignEpoch, committed, minOffset, maxOffset, isLater }: Granted): void {
    const before = this.#dropped.get(queueKey(ref))
    this.#dropped.delete(queueKey(ref))
    // Nobody else owned the queue meanwhile: what is handled is known here best.
    if (before && before.assignEpoch >= assignEpoch && before.position > (committed ?? -1)) {
      return this.#own(ref, assignEpoch, before.position, committed ?? -1)
    }
    if (committed !== null) return this.#own(ref, assignEpoch, committed, committed)
    this.#starts.find(ref, { bounds: { minOffset, maxOffset }, isLater }, (offset) => {
      this.#own(ref, assignEpoch, offset, -1)
      // Else an owner that follows before the first commit would begin somewhere else.
      const queue = this.#queues.get(queueKey(ref))
      if (queue) this.#commit([queue])
    })
  }

  /** In order, NEVER do two messages of a queue run at a time: one that was given out under an earlier grant ends first. */
  #afterRunning(before: ProcessQueue | undefined, goOn: () => void): void {
    if (!before || before.running === 0 || !this.#options.settings.ordered) return goOn()
    this.#starts.afterDrain(before, goOn)
  }

  /** Finishes what runs, then tells where the next owner goes on; null for nothing new. */
  giveBack(ref: QueueRef, drained: (offset: number | null) => void): void {
    const key = queueKey(ref)
    this.#starts.stop(key)
    const queue = this.#queues.get(key)
    if (!queue) return drained(null)
    queue.drain(() => {
      if (this.#queues.get(key) === queue) drained(queue.position) // Else it was fenced meanwhile.
    })
  }

  /** Another one owns it, or it is to be read anew: what runs still ends, and counts no more. */
  drop(ref: QueueRef): void {
    this.#queues.get(queueKey(ref))?.lose()
    this.#leave(ref)
  }

  #leave(ref: QueueRef): void {
    const queue = this.#queues.get(queueKey(ref))
    if (queue) this.#dropped.set(queueKey(ref), queue)
    this.forget(ref)
  }

  forget(ref: QueueRef): void {
    const key = queueKey(ref)
    this.#starts.stop(key)
    const queue = this.#queues.get(key)
    if (queue) this.#options.offsets?.keep(key, queue.position)
    queue?.stop()
    this.#queues.delete(key)
    this.#changed()
  }

  #wokeUp(): void {
    // Where nobody took a queue meanwhile, what was handled is not handled again.
    this.#commit(this.list)
    // Those that are stopped already are being given back.
    const reading = this.list.filter(({ isStopped }) => !isStopped)
    for (const queue of reading) queue.stop()
    if (reading.length === 0) return
    this.#hooks.doubted(reading.map(({ reader: { ref }, assignEpoch }) => ({ ...ref, assignEpoch })))
  }

  #commit(queues: readonly ProcessQueue[]): void {
    const { settings, routes } = this.#options
    commitOffsets(this.#process, settings, routes, queues, ({ reader, assignEpoch, isStopped }) => {
      if (!isStopped) this.#hooks.fenced(reader.ref, assignEpoch)
    })
  }

  /** Who owns a queue is in the log; what was committed last may have been lost with the old master. */
  masterChanged(brokerName: string): void {
    for (const queue of this.#queues.values()) {
      if (queue.reader.ref.brokerName !== brokerName || queue.isStopped) continue
      queue.committed = -1
      queue.reader.again()
    }
  }

  // ------------------------------------------------------------------------------------------ broadcasting

  /** These are all queues of the topic, and all are ours. Calls back when each is read, and AT ONCE when none is new. */
  readAll(topic: string, queues: readonly QueueRef[], settled: () => void): void {
    const wanted = new Set(queues.map(queueKey))
    for (const [key, { reader }] of this.#queues) {
      if (reader.ref.topic === topic && !wanted.has(key)) this.#leave(reader.ref)
    }
    this.#starts.keepOnly(topic, wanted)
    const missing = queues.filter((ref) => !this.#queues.has(queueKey(ref)))
    let left = missing.length
    for (const ref of missing) {
      const before = this.#dropped.get(queueKey(ref))
      const begin = (offset: number) => {
        this.#dropped.delete(queueKey(ref))
        this.#own(ref, 0, offset, -1)
        if (--left === 0) settled()
      }
      const kept = this.#options.offsets?.of(queueKey(ref))
      if (kept === undefined || before) this.#starts.find(ref, { bounds: null, before }, begin)
      else begin(kept)
    }
    if (missing.length === 0) settled()
  }

  // --------------------------------------------------------------------------------------------------------

  /** What runs still ends, and counts no more. */
  #startAnew(queue: ProcessQueue, offset: number): void {
    const { ref } = queue.reader
    queue.lose()
    this.forget(ref)
    this.#afterRunning(queue, () => this.#own(ref, queue.assignEpoch, offset, -1))
  }

  #own(ref: QueueRef, assignEpoch: number, offset: number, committed: number): void {
    const key = queueKey(ref)
    if (this.#isClosed || this.#queues.has(key)) return
    const { settings, filters, routes } = this.#options
    const { group, clientId, messageModel, flow } = settings
    const hooks = {
      epoch: () => routes.epochOf(ref.brokerName),
      arrived: this.#dispatcher!.give,
      unreachable: (epoch: number) => routes.unreachableFor(ref, epoch),
      fenced: () => this.#hooks.fenced(ref, assignEpoch),
      mayPull: () => !this.#isSuspended && queue.isWithinSpan,
      // What is not finished is handled again, whatever became of what followed.
      rewound: (end: number) => this.#startAnew(queue, Math.min(end, queue.position)),
    }
    const owner = messageModel === 'clustering' ? { group, clientId, assignEpoch } : undefined
    const { filter, text } = filters.get(ref.topic) ?? unfiltered
    const limits = this.#flow.limitsOf(ref.topic)
    const { budget } = this.#flow
    const reader = new QueueReader(this.#process, ref, hooks, { limits, budget, owner, filter: text })
    const queue = new ProcessQueue(reader, { filter, assignEpoch, offset, committed, span: flow.span })
    this.#queues.set(key, queue)
    this.#changed()
    reader.start(offset)
  }

  /** Thousands of queues may come and go in one turn of the loop: the dispatcher is told once. */
  #changed(): void {
    this.#flow.budget.setQueues(this.#queues.size)
    if (this.#isChanged) return
    this.#isChanged = true
    this.#process.world.clock.defer(() => {
      this.#isChanged = false
      const queues = this.list
      this.#flow.divide(queues)
      this.#dispatcher!.setQueues(this.#isSuspended ? [] : queues)
      this.#dispatcher!.give()
    })
  }

  /** No new queue is read from now on; those that are given back still finish what runs. */
  close(): void {
    this.#isClosed = true
    this.#starts.close()
  }

  /** Waits for nothing more. */
  stop(): void {
    const { clock } = this.#process.world
    this.#starts.close()
    clock.clearTimeout(this.#timer)
    for (const queue of this.#queues.values()) queue.stop()
    this.#queues.clear()
    this.#dropped.clear()
  }
}
