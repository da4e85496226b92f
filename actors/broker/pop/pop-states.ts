/**
 * The pop queues of a broker, by group and queue: derived from the log, as all that a broker knows.
 *
 * The committed offset of a queue that is popped follows from it: the lowest message that is not done. Whoever else
 * writes that offset (an operator's reset, a consumer that owns the queue) moves the group: what was given is forgotten.
 */
import {
  applyPopChange,
  committedOf,
  emptyPopQueue,
  type PopChange,
  type PopQueue,
} from '../../../machines/pop-queue.ts'

/** One record of the log. */
export type PopRecord = { group: string; queue: string; change: PopChange }[]

/** No record names many more messages: a frame of the log has its limit. */
const RECORD_MESSAGES = 5_000

/** A record in parts that fit into frames, queue by queue. */
export function partsOf(record: PopRecord): PopRecord[] {
  const parts: PopRecord[] = []
  let messages = RECORD_MESSAGES
  for (const one of record) {
    const { give, hold, done, prolong } = one.change
    if (messages >= RECORD_MESSAGES) {
      parts.push([])
      messages = 0
    }
    parts.at(-1)!.push(one)
    for (const list of [give, hold, done, prolong]) messages += list?.length ?? 0
  }
  return parts
}

/** `[offset, attempt, until, token, messageGroup]` for each entry. */
type SavedEntry = [number, number, number, number, string | null]
export type SavedPops = [group: string, [queue: string, next: number, entries: SavedEntry[]][]][]

export class PopStates {
  readonly #groups = new Map<string, Map<string, PopQueue>>()

  of(group: string, queue: string): PopQueue | undefined {
    return this.#groups.get(group)?.get(queue)
  }

  /** Whether the group has popped from the topic here. */
  knows(group: string, topic: string): boolean {
    for (const queue of this.#groups.get(group)?.keys() ?? []) if (queue.startsWith(`${topic}/`)) return true
    return false
  }

  /** The queue, named `topic/queueId`, AFTER a change; where nothing is known it begins at the change's `next`. */
  apply(group: string, queue: string, change: PopChange): PopQueue {
    let queues = this.#groups.get(group)
    if (!queues) {
      queues = new Map()
      this.#groups.set(group, queues)
    }
    const after = applyPopChange(queues.get(queue) ?? emptyPopQueue(change.next ?? 0), change)
    queues.set(queue, after)
    return after
  }

  /** The group goes on at another offset. */
  move(group: string, queue: string, offset: number): void {
    const queues = this.#groups.get(group)
    const known = queues?.get(queue)
    if (!queues || !known || (known.next === offset && known.entries.length === 0)) return
    queues.set(queue, emptyPopQueue(offset))
  }

  forgetTopic(topic: string): void {
    for (const [group, queues] of this.#groups) {
      for (const queue of queues.keys()) if (queue.startsWith(`${topic}/`)) queues.delete(queue)
      if (queues.size === 0) this.#groups.delete(group)
    }
  }

  save(): SavedPops {
    return [...this.#groups].map(([group, queues]) => [
      group,
      [...queues].map(([queue, { next, entries }]) => [queue, next, entries.map(savedEntry)]),
    ])
  }

  restore(saved: SavedPops): void {
    this.#groups.clear()
    for (const [group, queues] of saved) {
      this.#groups.set(
        group,
        new Map(queues.map(([queue, next, entries]) => [queue, { next, entries: entries.map(entryOf) }])),
      )
    }
  }
}

const savedEntry = ({
  offset,
  attempt,
  until,
  token,
  messageGroup,
}: PopQueue['entries'][number]): SavedEntry => [offset, attempt, until, token, messageGroup]
const entryOf = ([offset, attempt, until, token, messageGroup]: SavedEntry) => ({
  offset,
  attempt,
  until,
  token,
  messageGroup,
})

export { committedOf }
