/**
 * A slave's side of the replication from one epoch to the next: at most one Following at a time, and what outlives it.
 *
 * That is the LEASE: until when some master may still answer on this replica's account. It begins when this start of
 * the replica does, for its earlier start may have followed, and it NEVER falls.
 */
import type { BrokerRoleEvent } from '../../machines/broker-role.ts'
import type { Process } from '../node/process.ts'
import type { ReplicaDisk } from './replica-disk.ts'
import { leaseFrom, sessions } from './replication/context.ts'
import { Following } from './replication/following.ts'
import type { ReplicationOptions } from './replication/options.ts'

export type FollowingsOptions = { brokerName: string; brokerId: number; replication: ReplicationOptions }

export class Followings {
  readonly #process: Process
  readonly #disk: ReplicaDisk
  readonly #options: FollowingsOptions
  readonly #tell: (event: BrokerRoleEvent) => void
  readonly #nextSession: () => number
  #current: Following | null = null
  /** Monotonic time; null before it began. */
  #leaseEndsAt: number | null = null
  #leaseTimer: unknown = null

  constructor(
    process: Process,
    disk: ReplicaDisk,
    options: FollowingsOptions,
    tell: (event: BrokerRoleEvent) => void,
  ) {
    this.#process = process
    this.#disk = disk
    this.#options = options
    this.#tell = tell
    this.#nextSession = sessions(process.world.random)
  }

  beginLease(): void {
    const { clock } = this.#process.world
    this.#leaseEndsAt ??= leaseFrom(clock.monotonic(), this.#options.replication.failover.leaseMs)
  }

  /** Tells lease.expired. */
  awaitLease(epoch: number): void {
    const { clock } = this.#process.world
    const left = Math.max(0, (this.#leaseEndsAt ?? 0) - clock.monotonic())
    clock.clearTimeout(this.#leaseTimer)
    this.#leaseTimer = clock.setTimeout(() => this.#tell({ type: 'lease.expired', epoch }), left)
  }

  follow(epoch: number, masterId: number): void {
    const { world, subjects, id: processId } = this.#process
    const { brokerName, brokerId, replication } = this.#options
    const { incarnation, lineage } = this.#disk.remembered
    const store = this.#disk.store!
    const tell = this.#tell
    this.#current = new Following(
      {
        ...{ transport: replication.stream, clock: world.clock, log: world.log, subjects },
        ...{ brokerName, brokerId, masterId, epoch, processId, incarnation, lineage },
        ...{ store, storeId: store.storeId },
        nextSession: this.#nextSession,
        leaseEndsAt: this.#leaseEndsAt ?? 0,
        settings: replication.failover,
      },
      {
        started: () => tell({ type: 'stream.started', epoch }),
        caughtUp: () => tell({ type: 'stream.caughtUp', epoch }),
        behind: () => tell({ type: 'stream.behind', epoch }),
        silent: () => tell({ type: 'master.silent', epoch }),
        heard: () => tell({ type: 'master.heard', epoch }),
        diverged: (to, confirm) => tell({ type: 'log.diverged', epoch, to, confirm }),
        gone: (minPosition) => tell({ type: 'log.gone', epoch, minPosition }),
        refused: (code, message) => tell({ type: 'replica.refused', code, message }),
        confirmed: (position) => {
          store.confirmLimit = position
        },
        broken: ({ code, message }) => tell({ type: 'log.failed', code, message }),
      },
    )
  }

  stop(): void {
    if (this.#current) this.#leaseEndsAt = this.#current.leaseEndsAt
    this.#current?.close()
    this.#current = null
  }

  /** More of the log is stored on this disk. */
  stored(position: number): void {
    this.#current?.stored(position)
  }

  /** Whether it has heard its master within the last while. */
  get hearsMaster(): boolean {
    return this.#current?.hearsMaster(this.#options.replication.failover.hearMs) ?? false
  }

  close(): void {
    this.#process.world.clock.clearTimeout(this.#leaseTimer)
    this.stop()
  }
}
