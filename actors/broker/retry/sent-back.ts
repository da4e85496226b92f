/**
 * Which messages a group has sent back, while they are not committed: one that is sent back again, because the answer
 * was lost or the consumer died, is copied AT MOST ONCE. Derived from the log: the copies say of which message they are.
 */
import { DEAD_LETTER_PREFIX, RETRY_PREFIX } from '../../../machines/names.ts'
import { recordsAt, topicAt } from '../../../transport/frames.ts'
import { propertiesAt, systemProperties } from '../../../transport/records.ts'

type Queues = Map<string, Set<number>>
export type SavedSentBack = [group: string, [queue: string, offsets: number[]][]][]

export class SentBack {
  readonly #groups = new Map<string, Queues>()

  /** `queue`: `topic/queueId`. */
  has(group: string, queue: string, offset: number): boolean {
    return this.#groups.get(group)?.get(queue)?.has(offset) ?? false
  }

  /** Of one queue; undefined for none. */
  offsets(group: string, queue: string): ReadonlySet<number> | undefined {
    return this.#groups.get(group)?.get(queue)
  }

  /** A copy is in the log. */
  note(bytes: Buffer, at: number): void {
    const properties = propertiesAt(bytes, recordsAt(bytes, at))
    const goesTo = properties.get(systemProperties.realTopic) ?? topicAt(bytes, at)
    const from = properties.get(systemProperties.sentBackFrom) ?? ''
    const group = groupOf(goesTo)
    const slash = from.lastIndexOf('/')
    if (group === null || slash < 0) return
    const queue = from.slice(0, slash)
    let queues = this.#groups.get(group)
    if (!queues) {
      queues = new Map()
      this.#groups.set(group, queues)
    }
    const offset = Number(from.slice(slash + 1))
    const offsets = queues.get(queue)
    if (offsets) offsets.add(offset)
    else queues.set(queue, new Set([offset]))
  }

  /**
   * The group's committed offset of a queue was `before` and is `offset`: what is below is finished. Where an operator
   * sets it back, all is handled anew, and may be sent back anew.
   */
  committed(group: string, queue: string, before: number, offset: number): void {
    const queues = this.#groups.get(group)
    const offsets = queues?.get(queue)
    if (!queues || !offsets) return
    if (offset < before) offsets.clear()
    else for (const sent of offsets) if (sent < offset) offsets.delete(sent)
    if (offsets.size === 0) queues.delete(queue)
    if (queues.size === 0) this.#groups.delete(group)
  }

  /** The topic is gone. */
  forget(topic: string): void {
    for (const [group, queues] of this.#groups) {
      for (const queue of queues.keys()) if (queue.startsWith(`${topic}/`)) queues.delete(queue)
      if (queues.size === 0) this.#groups.delete(group)
    }
  }

  save(): SavedSentBack {
    return [...this.#groups].map(([group, queues]) => [
      group,
      [...queues].map(([queue, offsets]) => [queue, [...offsets]]),
    ])
  }

  restore(saved: SavedSentBack = []): void {
    this.#groups.clear()
    for (const [group, queues] of saved)
      this.#groups.set(group, new Map(queues.map(([queue, offsets]) => [queue, new Set(offsets)])))
  }
}

function groupOf(topic: string): string | null {
  for (const prefix of [RETRY_PREFIX, DEAD_LETTER_PREFIX])
    if (topic.startsWith(prefix)) return topic.slice(prefix.length)
  return null
}
