/** Members that stood still until others had their queues: how long they took themselves for the owner when they woke. */
import type { Delivery, Fault } from './judge.ts'

export type Zombies = {
  /** Members that woke. */
  woke: number
  /** Messages that they began although the queue had a later owner. */
  begun: number
  /** From waking to the last of these. */
  longestMs: number
}

export function zombiesOf(faults: readonly Fault[], deliveries: readonly Delivery[]): Zombies {
  const pauses = faults.filter(({ kind }) => kind === 'paused')
  const members = new Set(pauses.map(({ member }) => member))
  /** By queue: when each epoch was seen first. */
  const epochs = new Map<string, Map<number, number>>()
  for (const { queue, epoch, startedAt } of deliveries) {
    let begins = epochs.get(queue)
    if (begins === undefined) {
      begins = new Map()
      epochs.set(queue, begins)
    }
    begins.set(epoch, Math.min(begins.get(epoch) ?? Number.POSITIVE_INFINITY, startedAt))
  }
  let begun = 0
  let longestMs = 0
  for (const { member, queue, epoch, startedAt } of deliveries) {
    if (!members.has(member)) continue
    const isFollowed = [...epochs.get(queue)!].some(([other, at]) => other > epoch && at < startedAt)
    if (!isFollowed) continue
    begun++
    const wokeAt = Math.max(
      ...pauses.filter((one) => one.member === member && one.to <= startedAt).map(({ to }) => to),
    )
    longestMs = Math.max(longestMs, Math.round(startedAt - wokeAt))
  }
  return { woke: pauses.length, begun, longestMs }
}
