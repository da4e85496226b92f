/**
 * What must hold in every world of a broker group, and the history that it takes to say so.
 *
 * The history is what an outsider knows: what was ever confirmed, what readers saw, who began which epoch and where. It is
 * part of a world, so two ways to the same replicas with different pasts are two worlds.
 */
import { type GroupState, type Head, isSameMastership, memberOf } from '../../machines/group-state.ts'
import type { Term } from '../../machines/peer-replica.ts'
import type { Abilities } from './abilities.ts'
import type { Course } from './course.ts'
import { endOf, epochOfEntry, type Output, type Replica } from './replica-words.ts'

export type History = {
  /** The entry at each position that was ever confirmed. */
  confirmed: readonly number[]
  /** What readers saw beyond that. */
  visible: readonly number[]
  /** Of each epoch that began: who began it. */
  begun: readonly { epoch: number; by: string }[]
  /** Epochs that were handed over. */
  handedOver: readonly number[]
}
export const noHistory: History = { confirmed: [], visible: [], begun: [], handedOver: [] }

export const names = {
  oneMaster: 'S1 OneMasterPerEpoch',
  monotonic: 'S2 EpochMonotonic',
  leader: 'S3 LeaderCompleteness',
  candidate: 'S4 CandidateCompleteness',
  immutable: 'S5 CommittedImmutable',
  matching: 'S6 LogMatching',
  copies: 'S8 MinCopies',
  confirmed: 'S9 NoTruncateBelowConfirm',
  quorum: 'S10 QuorumSuperset',
  inSet: 'S11 MasterInSss',
  strict: 'S12 StrictMinIsr',
  tooFew: 'NoSendWithTooFewThere',
  stale: 'S13 StaleNeverAcks',
  handover: 'S16 HandoverLossless',
  noLog: 'NoLogWhileCut',
  served: 'L1 EventuallyServed',
}

const holds = ({ log, begin }: Replica, entries: readonly number[]): boolean =>
  entries.every((entry, position) => position < begin || log[position - begin] === entry)

export function properties(course: Course) {
  const { worlds } = course
  const { configuration, rules, ids } = worlds
  const { minInSync, losses = 0, unclean = 0 } = configuration
  const replicaAt = (world: Int32Array, id: number) => worlds.replicaAt(world, id)
  const head = (world: Int32Array) => worlds.head(world)
  const breaks = (property: string) => course.breaks(property)
  /** A person has ordered that messages may be lost: what was promised before is void. */
  const isUnclean = (world: Int32Array) => worlds.budgetLeft(world, 'unclean') < unclean
  /** Of a replica that believes to be master. */
  const termOf = (world: Int32Array, id: number) =>
    course.abilities(world[id]!, id).isServing ? replicaAt(world, id).term : null

  // ------------------------------------------------------------------------------------------- what a step tells

  function after(history: History, output: Output, id: number, world: Int32Array): History {
    if (output.type === 'marked') return marked(history, output.epoch, id, world)
    if (output.type === 'confirmed') return confirmed(history, output, id, world)
    return history
  }

  function marked(history: History, epoch: number, id: number, world: Int32Array): History {
    const replica = replicaAt(world, id)
    const by = `${id}.${replica.incarnation}`
    const known = history.begun.find((begun) => begun.epoch === epoch)
    if (known && known.by !== by) breaks(names.oneMaster)
    const begun = known ? history.begun : [...history.begun, { epoch, by }].sort((a, b) => a.epoch - b.epoch)
    // Whoever is late for its own epoch may lack what a newer one confirmed.
    const isStale = head(world)?.epoch !== epoch
    if (!isStale && !isUnclean(world) && !holds(replica, history.confirmed)) breaks(names.leader)
    return { ...history, begun }
  }
  function confirmed(
    history: History,
    { epoch, to, visible }: { epoch: number; to: number; visible: number },
    id: number,
    world: Int32Array,
  ): History {
    if (isUnclean(world)) return history
    const replica = replicaAt(world, id)
    const at = (position: number) => replica.log[position - replica.begin]!
    const shown = [...history.confirmed, ...history.visible]
    for (let position = replica.begin; position < Math.min(visible, shown.length); position++) {
      if (at(position) !== shown[position]) breaks(names.immutable)
    }
    if (to <= history.confirmed.length && visible <= shown.length) return history
    const entries = [...history.confirmed]
    for (let position = entries.length; position < to; position++) {
      entries.push(at(position))
      judge(epoch, position, at(position), world)
    }
    if (new Set(entries.map(epochOfEntry)).size >= 3) course.saw('entries of three epochs are confirmed')
    const seen = shown.slice(entries.length)
    for (let position = entries.length + seen.length; position < visible; position++) seen.push(at(position))
    return { ...history, confirmed: entries, visible: seen }
  }
  /** An entry is confirmed in an epoch, and whoever sent it is told so. */
  function judge(epoch: number, position: number, entry: number, world: Int32Array) {
    const others = ids.map((id) => replicaAt(world, id))
    const copies = others.filter(
      ({ log, begin, hasLost }) => !hasLost && (position < begin || log[position - begin] === entry),
    )
    if (copies.length < minInSync && worlds.budgetLeft(world, 'losses') === losses) breaks(names.copies)
    for (const { log, begin } of others) {
      const newer = log.findIndex((other) => epochOfEntry(other) > epoch)
      if (newer >= 0 && begin + newer <= position) breaks(names.stale)
    }
  }

  /** No send is taken in an epoch that was handed over, nor while fewer are there than must be in sync. */
  function onSend({ handedOver }: History, { termEpoch, hasTooFew }: Abilities): string | null {
    if (hasTooFew) return names.tooFew
    return handedOver.includes(termEpoch) ? names.handover : null
  }

  function onSwap(before: Head | null, now: GroupState, id: number, world: Int32Array): string | null {
    if (
      before &&
      (now.epoch < before.epoch || (now.epoch === before.epoch && !isSameMastership(before, now)))
    )
      return names.monotonic
    const [were, are] = [before?.syncStateSet.length ?? 0, now.syncStateSet.length]
    if (!now.unclean && are < were && are < minInSync) return names.strict
    return now.cause === 'handover' ? onHandover(now, id, world) : null
  }
  /** Whatever the old master took is confirmed, and the new one has it. */
  function onHandover({ masterId, syncStateSet }: GroupState, id: number, world: Int32Array): string | null {
    const old = replicaAt(world, id)
    const { log, begin, lineage, hasLost } = replicaAt(world, masterId!)
    // Whoever loses power while mastership is on its way has lost; another is elected, and nothing confirmed with it.
    const isWhole = !hasLost && memberOf(syncStateSet, masterId!)?.lineage === lineage
    if (old.term === null || !isWhole) return null
    const isThere = old.log.every((entry, i) => old.begin + i < begin || log[old.begin + i - begin] === entry)
    return isThere && old.confirm === endOf(old) ? null : names.handover
  }

  // ------------------------------------------------------------------------------------------ what a world tells

  function of(world: Int32Array, history: History): string | null {
    const now = head(world)
    const terms = ids.map((id) => termOf(world, id))
    if (terms.filter(Boolean).length > 1) course.saw('two believe to be master')
    return (now && (ofHead(world, now, history) ?? ofTerm(now, terms))) ?? ofLogs(world)
  }
  function ofHead(world: Int32Array, now: Head, { confirmed }: History): string | null {
    if (now.masterId !== null && !memberOf(now.syncStateSet, now.masterId)) return names.inSet
    if (isUnclean(world)) return null
    for (const { brokerId, lineage } of now.syncStateSet) {
      const replica = replicaAt(world, brokerId)
      if (replica.lineage === lineage && !replica.hasLost && !holds(replica, confirmed))
        return names.candidate
    }
    return null
  }
  function ofTerm(now: Head, terms: readonly (Term | null)[]): string | null {
    const term = now.masterId === null ? null : terms[now.masterId]
    if (!term || term.epoch !== now.epoch) return null
    const counted = rules.maximalSet(term)
    return now.syncStateSet.every(({ brokerId }) => memberOf(counted, brokerId)) ? null : names.quorum
  }
  function ofLogs(world: Int32Array): string | null {
    if (isUnclean(world)) return null
    for (const a of ids) {
      for (let b = a + 1; b < ids.length; b++) {
        const [one, other] = [replicaAt(world, a), replicaAt(world, b)]
        const limit = Math.min(one.confirm, other.confirm)
        for (let at = Math.max(one.begin, other.begin); at < limit; at++) {
          if (one.log[at - one.begin] !== other.log[at - other.begin]) return names.matching
        }
      }
    }
    return null
  }

  return { after, onSend, onSwap, of }
}
