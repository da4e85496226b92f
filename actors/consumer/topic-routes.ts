/**
 * The routes of a consumer's topics: which queues there are, and under which epoch each broker is asked.
 *
 * Queues that were there when a topic was seen first are begun where the consumer says; those that appear later are read
 * from their start, for nothing of them was there before.
 */
import { type QueueRef, queueKey, readQueuesOf, type TopicRoute } from '../../machines/topic.ts'
import type { Process } from '../node/process.ts'
import { type RouteWatch, watchRoute } from '../producer/route.ts'
import type { Masters } from './commit.ts'

export type TopicRoutesHooks = {
  queuesChanged(topic: string, queues: QueueRef[]): void
  /** The broker has another master than before. */
  masterChanged(brokerName: string): void
}

export class TopicRoutes implements Masters {
  readonly #process: Process
  readonly #hooks: TopicRoutesHooks
  /** Its queues appear when the first message fails, and are always read from their start. */
  readonly #retryTopic: string
  readonly #routes = new Map<string, RouteWatch>()
  readonly #epochs = new Map<string, number>()
  readonly #initial = new Set<string>()
  readonly #seen = new Set<string>()
  readonly #unseen = new Map<string, (() => void)[]>()

  constructor(process: Process, retryTopic: string, hooks: TopicRoutesHooks) {
    this.#process = process
    this.#retryTopic = retryTopic
    this.#hooks = hooks
  }

  readonly epochOf = (brokerName: string): number => this.#epochs.get(brokerName) ?? 0

  /** Nobody listens there under this epoch. */
  readonly unreachable = (brokerName: string, epoch: number): void => {
    for (const route of this.#routes.values()) route.unreachable(brokerName, epoch)
  }

  unreachableFor({ topic, brokerName }: QueueRef, epoch: number): void {
    this.#routes.get(topic)?.unreachable(brokerName, epoch)
  }

  isInitial(ref: QueueRef): boolean {
    return this.#initial.has(queueKey(ref))
  }

  /** Runs once it is known which queues the topic had at first. */
  whenSeen(topic: string, run: () => void): void {
    if (this.#seen.has(topic)) return run()
    this.#unseen.set(topic, [...(this.#unseen.get(topic) ?? []), run])
  }

  watch(topic: string): void {
    const { log } = this.#process.world
    const route = watchRoute(this.#process, {
      topic,
      createTopic: false,
      announced: (announced) => this.#announced(announced),
      missing: () => {
        if (!this.#seen.has(topic) && topic !== this.#retryTopic)
          log.warn(`there is no topic '${topic}' yet: waiting for it`)
        this.#saw(topic)
        this.#hooks.queuesChanged(topic, [])
      },
    })
    this.#routes.set(topic, route)
  }

  #announced(route: TopicRoute): void {
    const { topic } = route
    const queues = readQueuesOf(route)
    if (!this.#seen.has(topic) && topic !== this.#retryTopic)
      for (const queue of queues) this.#initial.add(queueKey(queue))
    // It is gone: should it be made anew, all of it is new.
    if (queues.length === 0)
      for (const queue of this.#initial) if (queue.startsWith(`${topic}/`)) this.#initial.delete(queue)
    for (const { brokerName, epoch } of route.brokers) {
      if (epoch <= this.epochOf(brokerName)) continue
      this.#epochs.set(brokerName, epoch)
      this.#hooks.masterChanged(brokerName)
    }
    this.#saw(topic)
    this.#hooks.queuesChanged(topic, queues)
  }

  #saw(topic: string): void {
    this.#seen.add(topic)
    const waiting = this.#unseen.get(topic) ?? []
    this.#unseen.delete(topic)
    for (const run of waiting) run()
  }

  stop(): void {
    for (const route of this.#routes.values()) route.stop()
    this.#unseen.clear()
  }
}
