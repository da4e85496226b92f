/**
 * How many messages of each group wait for their next try. Derived from the log: a copy that waits counts from its frame on,
 * until the frame that delivers it. What was delivered is in the group's retry topic, and in its lag.
 *
 * NEVER more than waits there: what left the log before its time is forgotten with the last copy of its level at the latest.
 */
import { RETRY_PREFIX } from '../../../machines/names.ts'
import { queueIdAt, queueOffsetAt, recordsAt, topicAt } from '../../../transport/frames.ts'
import { propertiesAt, systemProperties } from '../../../transport/records.ts'

/** The copies that wait in one queue of the schedule. */
type Level = { /** Behind the last of them. */ end: number; readonly groups: Map<string, number> }
export type SavedRetrying = [queueId: number, end: number, [group: string, messages: number][]][]

export class Retrying {
  readonly #levels = new Map<number, Level>()

  of(group: string): number {
    let messages = 0
    for (const { groups } of this.#levels.values()) messages += groups.get(group) ?? 0
    return messages
  }

  /** A copy that waits is in the log. */
  noteWaiting(bytes: Buffer, at: number): void {
    const group = groupOf(propertiesAt(bytes, recordsAt(bytes, at)).get(systemProperties.realTopic) ?? '')
    if (group === null) return
    const queueId = queueIdAt(bytes, at)
    let level = this.#levels.get(queueId)
    if (!level) {
      level = { end: 0, groups: new Map() }
      this.#levels.set(queueId, level)
    }
    level.end = queueOffsetAt(bytes, at) + 1
    level.groups.set(group, (level.groups.get(group) ?? 0) + 1)
  }

  /** One that waited in that queue was delivered. */
  noteDelivered(bytes: Buffer, at: number, queueId: number): void {
    const group = groupOf(topicAt(bytes, at))
    const groups = this.#levels.get(queueId)?.groups
    const messages = (group !== null && groups?.get(group)) || 0
    if (messages > 1) groups!.set(group!, messages - 1)
    else if (messages === 1) groups!.delete(group!)
  }

  /** Nothing waits in that queue below `next`. */
  passed(queueId: number, next: number): void {
    const level = this.#levels.get(queueId)
    if (level && level.end <= next) this.#levels.delete(queueId)
  }

  save(): SavedRetrying {
    return [...this.#levels].map(([queueId, { end, groups }]) => [queueId, end, [...groups]])
  }

  /** Logs of earlier versions do not tell. */
  restore(saved: SavedRetrying = []): void {
    this.#levels.clear()
    for (const [queueId, end, groups] of saved) this.#levels.set(queueId, { end, groups: new Map(groups) })
  }
}

const groupOf = (topic: string): string | null =>
  topic.startsWith(RETRY_PREFIX) ? topic.slice(RETRY_PREFIX.length) : null
