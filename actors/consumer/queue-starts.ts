/**
 * Where queues are begun of which nothing is committed, while that is not known yet: a broker is asked until it answers.
 *
 * A queue is sought AT MOST ONCE at a time: whoever seeks it again, or stops, is the last to be heard.
 */
import { type QueueRef, queueKey } from '../../machines/topic.ts'
import type { Process } from '../node/process.ts'
import type { ConsumerSettings } from './consumer-options.ts'
import type { LocalOffsets } from './local-offsets.ts'
import type { ProcessQueue } from './process-queue.ts'
import { findOffset } from './start-position.ts'
import type { TopicRoutes } from './topic-routes.ts'

const RETRY_MS = 1_000

export type QueueStartsOptions = {
  settings: Pick<ConsumerSettings, 'from'>
  routes: TopicRoutes
  /** Of a broadcasting consumer that has a name. */
  offsets: LocalOffsets | null
}
/**
 * `bounds`: what is stored, where that is known. `isLater`: the queue appeared AFTER the group had begun, whoever saw it.
 * `before`: it was read already, and its broker was away.
 */
export type Sought = {
  bounds: { minOffset: number; maxOffset: number } | null
  isLater?: boolean
  before?: ProcessQueue | undefined
}
type Search = { retry: unknown }

export class QueueStarts {
  readonly #process: Process
  readonly #options: QueueStartsOptions
  readonly #searches = new Map<string, Search>()
  #isClosed = false

  constructor(process: Process, options: QueueStartsOptions) {
    this.#process = process
    this.#options = options
  }

  /** One that was read before goes on where it was; where it ends below that, it is another one of the same name. */
  find(ref: QueueRef, sought: Sought, found: (offset: number) => void): void {
    const { settings, routes, offsets } = this.#options
    const { bounds, before } = sought
    const key = queueKey(ref)
    const search = this.#begin(key)
    const end = (offset: number) => {
      this.#searches.delete(key)
      found(offset)
    }
    routes.whenSeen(ref.topic, () => {
      if (this.#isOver(key, search)) return
      const left = before?.position
      const isLater = sought.isLater || !routes.isInitial(ref) || offsets?.knows(ref.topic)
      const from = left !== undefined ? 'last' : isLater ? 'first' : settings.from
      if (bounds && from === 'first') return end(bounds.minOffset)
      if (bounds && from === 'last') return end(bounds.maxOffset)
      findOffset(this.#process, ref, routes.epochOf(ref.brokerName), from, (offset) => {
        if (this.#isOver(key, search)) return
        if (offset === null) search.retry = this.#later(() => this.find(ref, sought, found))
        else if (left === undefined) end(offset)
        else if (left <= offset) end(left)
        else this.find(ref, { bounds }, found)
      })
    })
  }

  /** Goes on AFTER what runs of `before` has ended, unless its queue was stopped meanwhile. */
  afterDrain(before: ProcessQueue, goOn: () => void): void {
    const key = queueKey(before.reader.ref)
    const search = this.#begin(key)
    before.drain(() => {
      if (this.#isOver(key, search)) return
      this.#searches.delete(key)
      goOn()
    })
  }

  #begin(key: string): Search {
    this.stop(key)
    const search = { retry: null }
    this.#searches.set(key, search)
    return search
  }

  #isOver(key: string, search: Search): boolean {
    return this.#isClosed || this.#searches.get(key) !== search
  }

  #later(run: () => void): unknown {
    return this.#process.world.clock.setTimeout(run, RETRY_MS)
  }

  stop(key: string): void {
    this.#process.world.clock.clearTimeout(this.#searches.get(key)?.retry)
    this.#searches.delete(key)
  }

  /** Of a topic only these queues are still wanted. */
  keepOnly(topic: string, wanted: ReadonlySet<string>): void {
    for (const key of this.#searches.keys())
      if (key.startsWith(`${topic}/`) && !wanted.has(key)) this.stop(key)
  }

  /** Nothing is found any more. */
  close(): void {
    this.#isClosed = true
    for (const key of [...this.#searches.keys()]) this.stop(key)
  }
}
