/**
 * Confirmation: how far the log of a master is confirmed, and what producers may be told.
 *
 * Both are positions that NEVER go back, told AFTER they hold. Confirmed is what every member of the sets that count has
 * acknowledged in this epoch. A master that is alone in a set counts only what is synced: what is confirmed is in two
 * places, or on a disk.
 *
 * With replication 'async' producers are told earlier: AT MOST `maxLagBytes` ahead of the slowest member, and only while
 * every member holds the lease. A deposed master therefore falls silent BEFORE another one begins.
 *
 * RocketMQ: store/ha/autoswitch/AutoSwitchHAService.java (computeConfirmOffset)
 */
import type { Member } from '../../../machines/group-state.ts'
import {
  type Acknowledgement,
  acknowledgedBy,
  confirmedPosition,
  heardFrom,
  maximalSet,
  type Term,
} from '../../../machines/peer-replica.ts'
import type { MasterContext } from './context.ts'
import type { Follower } from './follower.ts'

export type FollowersStart = Readonly<Pick<Term, 'members' | 'minInSync' | 'markerEnd' | 'confirm'>>

export type ConfirmationHooks = {
  /** All below is confirmed, and may be shown to readers. Rises with every call. */
  confirmed(position: number): void
  /** Producers may be told that all below is stored. Rises with every call, AFTER `confirmed`. */
  answerable(position: number): void
}

export class Confirmation {
  term: Term
  readonly #context: MasterContext
  readonly #followers: ReadonlyMap<number, Follower>
  readonly #hooks: ConfirmationHooks
  #answerable: number
  #isOpen = false

  constructor(
    context: MasterContext,
    start: FollowersStart,
    followers: ReadonlyMap<number, Follower>,
    hooks: ConfirmationHooks,
  ) {
    const { epoch, brokerId } = context
    const { members, minInSync, markerEnd, confirm } = start
    this.#context = context
    this.#followers = followers
    this.#hooks = hooks
    this.term = { epoch, brokerId, members, minInSync, markerEnd, confirm, pending: null, peers: [] }
    this.#answerable = confirm
  }

  open(): void {
    this.#isOpen = true
    this.#heedSet()
    this.update()
  }

  close(): void {
    if (this.#isOpen) this.#flush(this.#context.settings.flush)
    this.#isOpen = false
  }

  count(members: readonly Member[], pending: readonly Member[] | null): void {
    this.term = { ...this.term, members, pending }
    if (this.#isOpen) this.#heedSet()
    this.update()
  }

  heard(acknowledgement: Acknowledgement): void {
    this.term = heardFrom(this.term, acknowledgement)
    this.update()
  }

  /** Something may have changed: tells what has. */
  update(): void {
    if (!this.#isOpen) return
    const { store } = this.#context
    const own = this.#isAlone ? Math.min(store.storedPosition, store.syncedPosition) : store.storedPosition
    const confirm = confirmedPosition(this.term, own)
    if (confirm > this.term.confirm) {
      this.term = { ...this.term, confirm }
      this.#hooks.confirmed(confirm)
    }
    const answerable = this.#answerableOf(own)
    if (!this.#isOpen || answerable <= this.#answerable) return
    this.#answerable = answerable
    this.#hooks.answerable(answerable)
  }

  #answerableOf(own: number): number {
    const { term } = this
    const { settings, clock, brokerId } = this.#context
    if (settings.replication === 'sync' || term.members.length < term.minInSync) return term.confirm
    const now = clock.monotonic()
    let answerable = own
    for (const member of maximalSet(term)) {
      if (member.brokerId === brokerId) continue
      const acknowledged = acknowledgedBy(term, member)
      const holdsLease = this.#followers.get(member.brokerId)?.holdsLease(now) ?? false
      if (!holdsLease || acknowledged < 0) return term.confirm
      answerable = Math.min(answerable, acknowledged + settings.maxLagBytes)
    }
    return Math.max(term.confirm, answerable)
  }

  /** In one of the sets that may hold: in neither one copy in memory may be all there is. */
  get #isAlone(): boolean {
    const { members, pending } = this.term
    const isAlone = (set: readonly Member[]) =>
      set.length === 1 && set[0]!.brokerId === this.#context.brokerId
    return this.#context.settings.replicas > 1 && (isAlone(members) || (pending !== null && isAlone(pending)))
  }

  #heedSet(): void {
    this.#flush(this.#isAlone ? 'sync' : this.#context.settings.flush)
  }

  #flush(flush: 'sync' | 'async'): void {
    const { store } = this.#context
    if (store.flush !== flush) store.flush = flush
  }
}
