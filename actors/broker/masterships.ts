/**
 * The masterships of one replica, one AFTER the other.
 *
 * One begins with its epoch's first record, in a log that is whole: a log that broke off inside a state is opened anew
 * BEFORE, and when the mastership is over by then it NEVER begins. `current` is null between two of them, and for good
 * AFTER `close`.
 */
import type { BrokerRoleEvent } from '../../machines/broker-role.ts'
import type { Head, Member } from '../../machines/group-state.ts'
import type { Process } from '../node/process.ts'
import type { GateHooks } from './gate.ts'
import { Mastership, type MastershipOptions } from './mastership.ts'
import type { ReplicaDisk } from './replica-disk.ts'
import type { Store } from './store/store.ts'

/** What is the same in all of them. */
export type MastershipsOptions = Pick<
  MastershipOptions,
  'brokerName' | 'brokerId' | 'flush' | 'replication' | 'delaysMs'
>
export type MastershipsHooks = GateHooks & { tell(event: BrokerRoleEvent): void }

/** The epoch, and what the group has agreed on for it. */
export type Term = Pick<Head, 'epoch' | 'minInSync' | 'replication'> & { members: Member[] }

export class Masterships {
  readonly #process: Process
  readonly #disk: ReplicaDisk
  readonly #options: MastershipsOptions
  readonly #hooks: MastershipsHooks
  /** The store is opened anew for a marker; `instead`: what to do when that mastership is over by then. */
  #reopening: { instead: (() => void) | null } | null = null
  current: Mastership | null = null

  constructor(process: Process, disk: ReplicaDisk, options: MastershipsOptions, hooks: MastershipsHooks) {
    this.#process = process
    this.#disk = disk
    this.#options = options
    this.#hooks = hooks
  }

  /** Tells epoch.marked AFTER the epoch's first record is stored here, or epoch.failed. */
  begin(term: Term): void {
    const store = this.#disk.store!
    if (!store.endsInState) return this.#begin(store, term)
    const turn: { instead: (() => void) | null } = { instead: null }
    this.#reopening = turn
    this.#disk.reopen((outcome) => {
      this.#reopening = null
      const { instead } = turn
      if (!outcome.ok) {
        const { code, message } = outcome.failure
        this.#hooks.tell({ type: instead ? 'log.failed' : 'epoch.failed', code, message })
      } else if (instead) instead()
      else this.#begin(outcome.value, term)
    })
  }

  #begin(store: Store, { epoch, members, minInSync, replication: mode }: Term): void {
    const { tell, ...hooks } = this.#hooks
    this.current = new Mastership(
      this.#process,
      { ...this.#options, store, state: this.#disk.state, epoch, members, minInSync, mode },
      {
        ...hooks,
        marked: () => tell({ type: 'epoch.marked', epoch }),
        followerCaughtUp: (brokerId, lineage) =>
          tell({ type: 'follower.caughtUp', epoch, brokerId, lineage }),
        followerLagging: (brokerId) => tell({ type: 'follower.lagging', epoch, brokerId }),
        drained: (brokerId) => tell({ type: 'log.drained', epoch, brokerId }),
      },
    )
  }

  open(epoch: number): void {
    this.current!.open(() => this.#hooks.tell({ type: 'gate.opened', epoch }))
  }

  /** Tells gate.drained: with `drain` AFTER all who are in are answered, else at once; also when there is no mastership. */
  end({ drain }: { drain: boolean }): void {
    const ending = this.current
    const ended = () => {
      if (this.current === ending) this.#drop()
      this.#hooks.tell({ type: 'gate.drained' })
    }
    if (this.#reopening) this.#reopening.instead = ended
    else if (drain && ending) ending.drain(ended)
    else ended()
  }

  /** At once; nothing is told. */
  close(): void {
    if (this.#reopening) this.#reopening.instead = () => {}
    this.#drop()
  }

  #drop(): void {
    this.current?.close()
    this.current = null
  }
}
