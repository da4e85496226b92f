/**
 * One mastership: all that a broker does as the master of one epoch, from the epoch's first record on.
 *
 * A position is stored here first; it is confirmed when the replicas that count have it too, and then readers see it.
 * Producers are told when it may be answered: with replication 'async' that is earlier than confirmed, within a bound.
 * AFTER `close` nothing of it answers, and sends that were not confirmed are answered by "no longer master".
 */
import type { Member } from '../../machines/group-state.ts'
import { codes } from '../../transport/codes.ts'
import { kinds } from '../../transport/frames.ts'
import type { Process } from '../node/process.ts'
import type { BrokerState } from './broker-state.ts'
import { Gate, type GateHooks } from './gate.ts'
import { Followers } from './replication/followers.ts'
import type { ReplicationOptions } from './replication/options.ts'
import type { Store } from './store/store.ts'

export type MastershipOptions = {
  brokerName: string
  brokerId: number
  epoch: number
  store: Store
  state: BrokerState
  flush: 'sync' | 'async'
  members: Member[]
  minInSync: number
  /** As the group has agreed for this epoch; what this replica was started with counts from the next one on. */
  mode: 'sync' | 'async'
  /** Null: there are no other replicas. */
  replication: ReplicationOptions | null
  delaysMs?: readonly number[] | undefined
}

export type MastershipHooks = GateHooks & {
  /** The epoch's first record is stored. */
  marked(): void
  followerCaughtUp(brokerId: number, lineage: number): void
  followerLagging(brokerId: number): void
  /** While sends are held: the successor has stored everything. */
  drained(brokerId: number): void
}

export class Mastership {
  readonly gate: Gate
  readonly followers: Followers | null
  readonly #store: Store
  readonly #hooks: MastershipHooks
  #members: Member[]
  #markerEnd: number | null

  constructor(process: Process, options: MastershipOptions, hooks: MastershipHooks) {
    const { brokerName, brokerId, epoch, store, members, replication } = options
    this.#store = store
    this.#hooks = hooks
    this.#members = members
    const confirm = store.confirmPosition
    store.epoch = epoch
    store.appendControl(kinds.epoch, Buffer.from(JSON.stringify({ brokerName, brokerId, epoch })))
    this.#markerEnd = store.endPosition
    this.gate = new Gate(process, options, hooks)
    this.followers = replication && this.#follow(process, options, replication, confirm)
  }

  #follow(
    { world, subjects, id: processId }: Process,
    options: MastershipOptions,
    replication: ReplicationOptions,
    confirm: number,
  ): Followers {
    const { brokerName, brokerId, epoch, store, flush, members, minInSync, mode } = options
    const { clock, log } = world
    const { stream: transport, control } = replication
    return new Followers(
      {
        transport,
        control,
        clock,
        log,
        subjects,
        brokerName,
        brokerId,
        storeId: store.storeId,
        processId,
        epoch,
        store,
        settings: { ...replication, ...replication.failover, flush, replication: mode },
      },
      { members, minInSync, markerEnd: this.#markerEnd!, confirm },
      {
        confirmed: (position) => {
          store.confirmLimit = position
          this.gate.confirm(store.confirmPosition)
        },
        answerable: (position) => this.gate.answer(position),
        caughtUp: (id, lineage) => this.#hooks.followerCaughtUp(id, lineage),
        lagging: (id) => this.#hooks.followerLagging(id),
        drained: (id) => this.#hooks.drained(id),
        alarm: (code, message) => log.error(`broker/${brokerName}/${brokerId}: ${message}`, { code }),
      },
    )
  }

  open(opened: () => void): void {
    this.followers?.open()
    this.gate.open(opened)
  }

  /** The log grew, in memory. */
  appended(): void {
    this.followers?.appended()
  }

  /** More of the log is stored on this disk. */
  stored(position: number): void {
    if (this.#markerEnd !== null && this.#store.storedPosition >= this.#markerEnd) {
      this.#markerEnd = null
      this.#hooks.marked()
    }
    if (this.followers) return this.followers.stored()
    this.gate.confirm(position)
    this.gate.answer(position)
  }

  /** These replicas count, and `pending` too until it is known which of the two sets holds. */
  count(members: Member[] | null, pending: Member[] | null): void {
    if (members) this.#members = members
    this.followers?.count(this.#members, pending)
  }

  /** What a sender is told while no message is taken; null while they are. */
  setAccepting(accepts: boolean, isDiskFull: boolean): void {
    if (accepts) this.gate.setAccepting(null)
    else this.gate.setAccepting(isDiskFull ? codes.SERVICE_NOT_AVAILABLE : codes.IN_SYNC_REPLICAS_NOT_ENOUGH)
  }

  /** Which start of that replica follows; null when none does. */
  incarnationOf(brokerId: number): number | null {
    return this.followers?.incarnationOf(brokerId) ?? null
  }

  /** The member that is nearest to having everything, to take over from one that stops. */
  get heir(): number | null {
    const views = this.followers?.describe() ?? []
    const able = views.filter(
      ({ inSync, brokerId }) => inSync && this.#isMember(brokerId) && this.incarnationOf(brokerId) !== null,
    )
    return able.sort((a, b) => a.lagBytes - b.lagBytes)[0]?.brokerId ?? null
  }

  #isMember(brokerId: number): boolean {
    return this.#members.some((member) => member.brokerId === brokerId)
  }

  hold(successor: number): void {
    this.gate.ingest.hold()
    this.followers?.drainFor(successor)
  }

  release(): void {
    this.followers?.drainFor(null)
    this.gate.release()
  }

  drain(drained: () => void): void {
    this.gate.drain(drained)
  }

  close(): void {
    this.gate.close()
    this.followers?.close()
  }
}
