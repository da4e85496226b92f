/**
 * How much a rebalance costs: for how long queues stood still, and how many moved against how many had to.
 *
 * A queue stands still while nobody handles a message of it, although there is one.
 */
import { percentile } from '../sim/failover-times.ts'
import type { Delivery, Stored } from './judge.ts'

/** `members`: who is there from then on. */
export type Change = {
  at: number
  kind: 'joined' | 'left' | 'killed' | 'paused' | 'resumed'
  members: string[]
}

/** `worst` says where and when the longest was. */
export type Times = { p50: number; p99: number; max: number; count: number; worst: string }
type Pause = { ms: number; what: string }
export type Rebalance = { moved: number; needed: number }
export type Figures = {
  /** The longest pause of each queue after each change of the members. */
  moved: Times
  stayed: Times
  rebalances: Rebalance[]
}

/** A change that is followed by another one sooner is no rebalance to count the moves of. */
const SETTLED_MS = 2_000

export function figuresOf(
  changes: readonly Change[],
  stored: readonly Stored[],
  deliveries: readonly Delivery[],
  until: number,
): Figures {
  const storedAt = byQueue(stored)
  const begun = byQueue(deliveries)
  const moved: Pause[] = []
  const stayed: Pause[] = []
  const owners: Map<string, string>[] = changes.map(() => new Map())
  const last = new Map<string, string>()
  for (const [queue, all] of begun) {
    const times = timesByOffset(storedAt.get(queue) ?? [])
    const sorted = all.sort((a, b) => a.startedAt - b.startedAt)
    const busyUntil = endsOf(sorted)
    let i = 0
    for (const [k, { at }] of changes.entries()) {
      const end = Math.min(until, changes[k + 1]?.at ?? until)
      for (; i < sorted.length && sorted[i]!.startedAt <= at; i++);
      if (i === 0) continue
      const owner = sorted[i - 1]!.member
      owners[k]!.set(queue, owner)
      let longest: Pause = { ms: 0, what: '' }
      let isMoved = false
      for (; i < sorted.length && sorted[i]!.startedAt <= end; i++) {
        const { startedAt, offset, member } = sorted[i]!
        const before = sorted[i - 1]!
        const ms = startedAt - Math.max(busyUntil[i - 1]!, times[offset] ?? 0)
        if (ms > longest.ms) longest = { ms, what: pauseBetween(before, sorted[i]!) }
        if (member !== owner) isMoved = true
      }
      ;(isMoved ? moved : stayed).push(longest)
    }
    const lastBefore = sorted.findLast(({ startedAt }) => startedAt <= until)
    if (lastBefore) last.set(queue, lastBefore.member)
  }
  return {
    moved: timesOf(moved),
    stayed: timesOf(stayed),
    rebalances: rebalancesOf(changes, owners, last, until),
  }
}

function byQueue<T extends { queue: string }>(all: readonly T[]): Map<string, T[]> {
  const queues = new Map<string, T[]>()
  for (const one of all) {
    const others = queues.get(one.queue)
    if (others) others.push(one)
    else queues.set(one.queue, [one])
  }
  return queues
}

/** Until when any of those up to here was handled. */
function endsOf(sorted: readonly Delivery[]): number[] {
  let last = 0
  return sorted.map(({ startedAt, endedAt }) => {
    last = Math.max(last, endedAt ?? startedAt)
    return last
  })
}

function timesByOffset(stored: readonly Stored[]): number[] {
  const times: number[] = []
  for (const { offset, at } of stored) times[offset] = at
  return times
}

function rebalancesOf(
  changes: readonly Change[],
  owners: readonly ReadonlyMap<string, string>[],
  last: ReadonlyMap<string, string>,
  until: number,
): Rebalance[] {
  return changes.flatMap(({ at, members }, k) => {
    const before = owners[k]!
    const after = owners[k + 1] ?? last
    if ((changes[k + 1]?.at ?? until) - at < SETTLED_MS || before.size === 0) return []
    const moved = [...before].filter(([queue, owner]) => after.get(queue) !== owner).length
    return [{ moved, needed: movesNeeded([...before.values()], members) }]
  })
}

/** The fewest moves after which every member has as many queues as every other, or one more. */
export function movesNeeded(owners: readonly string[], members: readonly string[]): number {
  const each = Math.floor(owners.length / members.length)
  const extra = owners.length % members.length
  const counts = members.map((member) => owners.filter((owner) => owner === member).length)
  const kept = counts.reduce((sum, count) => sum + Math.min(count, each), 0)
  return owners.length - kept - Math.min(extra, counts.filter((count) => count > each).length)
}

const pauseBetween = (before: Delivery, after: Delivery): string =>
  `${after.queue} until ${(after.startedAt / 1_000).toFixed(3)} s, from ${before.member} to ${after.member}`

function timesOf(pauses: readonly Pause[]): Times {
  const all = pauses.map(({ ms }) => ms)
  const at = (share: number) => Math.round(percentile(all, share) * 10) / 10
  const worst = pauses.reduce((a, b) => (b.ms > a.ms ? b : a), { ms: 0, what: 'none' }).what
  return { p50: at(0.5), p99: at(0.99), max: at(1), count: pauses.length, worst }
}
