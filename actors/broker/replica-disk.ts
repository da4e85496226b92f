/**
 * What one replica keeps on its disk, the log and what it remembers beside it; carries out the role's orders about both.
 *
 * Each order is answered by ONE event, AFTER the disk has done it. Closed is closed: what was asked for earlier is done
 * BEFORE, and NOTHING is opened or written AFTER, so that whoever starts from the folder next has it alone.
 */
import type { BrokerRoleEvent } from '../../machines/broker-role.ts'
import type { Failure, Outcome } from '../../transport/failures.ts'
import type { World } from '../node/world.ts'
import type { BrokerState } from './broker-state.ts'
import { type Durable, DurableFile } from './durable.ts'
import { LogKeeper } from './log-keeper.ts'
import type { Store, StoreOptions } from './store/store.ts'

export type ReplicaDiskHooks = {
  tell(event: BrokerRoleEvent): void
  /** Of the store: see StoreHooks. */
  stored(position: number): void
  appended(): void
}

export class ReplicaDisk {
  readonly #world: World
  readonly #tell: ReplicaDiskHooks['tell']
  readonly #durable: DurableFile
  readonly #keeper: LogKeeper
  readonly #broker: string
  #isClosed = false

  constructor(world: World, options: StoreOptions, { tell, stored, appended }: ReplicaDiskHooks) {
    this.#world = world
    this.#tell = tell
    this.#broker = options.broker
    this.#durable = new DurableFile(world, options.folder)
    this.#keeper = new LogKeeper(world, options, {
      stored,
      appended,
      space: (space) => tell({ type: space === 'full' ? 'disk.filled' : 'disk.freed' }),
      broken: (failure) => tell({ type: 'log.failed', ...alarmOf(failure) }),
    })
  }

  /** Null before it is opened, and while it is cut. */
  get store(): Store | null {
    return this.#keeper.store
  }
  get state(): BrokerState {
    return this.#keeper.state
  }
  get lastCut(): LogKeeper['lastCut'] {
    return this.#keeper.lastCut
  }
  get remembered(): Durable {
    return this.#durable.value
  }

  load(): void {
    this.#durable.read((read) => {
      if (this.#isClosed) return
      if (!read.ok) return this.#tell({ type: 'store.failed', ...alarmOf(read.failure) })
      this.#keeper.open((outcome) => {
        if (!outcome.ok) return this.#tell({ type: 'store.failed', ...alarmOf(outcome.failure) })
        const { lastEpoch, mayHaveLost, accepting } = outcome.value
        const { incarnation, promisedEpoch, lineage } = this.remembered
        const epoch = Math.max(promisedEpoch, lastEpoch)
        this.#tell({ type: 'store.loaded', epoch, incarnation, lineage, mayHaveLost })
        if (!accepting) this.#tell({ type: 'disk.filled' })
      })
    })
  }

  /** Success is not told here: there is more to do BEFORE the others may hear of this start. */
  persistIncarnation(start: Pick<Durable, 'incarnation' | 'lineage'>, persisted: () => void): void {
    this.#durable.save(start, (outcome) => {
      if (!outcome.ok) return this.#tell({ type: 'incarnation.failed', ...alarmOf(outcome.failure) })
      this.store?.forgetLoss()
      persisted()
    })
  }

  persistEpoch(epoch: number): void {
    this.#durable.save({ promisedEpoch: epoch }, (outcome) =>
      this.#tell(
        outcome.ok
          ? { type: 'epoch.persisted', epoch }
          : { type: 'epoch.failed', ...alarmOf(outcome.failure) },
      ),
    )
  }

  truncate(to: number): void {
    this.#keeper.cut(to, (outcome) => {
      if (!outcome.ok) return this.#tell({ type: 'log.failed', ...alarmOf(outcome.failure) })
      const { lastCut } = this
      if (lastCut) {
        this.#world.log.warn(
          `broker/${this.#broker}: ${lastCut.bytes} bytes with ${lastCut.messages} messages were cut from the end of the ` +
            'log: no later master has them',
        )
      }
      this.#tell({ type: 'log.truncated' })
    })
  }

  empty(position: number): void {
    this.#keeper.empty(position, (outcome) =>
      this.#tell(outcome.ok ? { type: 'log.emptied' } : { type: 'log.failed', ...alarmOf(outcome.failure) }),
    )
  }

  /** Drops the end of a log that broke off inside the state which begins a segment. Tells nothing. */
  reopen(done: (outcome: Outcome<Store>) => void): void {
    this.#keeper.reopen(done)
  }

  /** `clean`: a log that could not be stored whole is a failure. */
  closeStore(clean: boolean): void {
    this.close((outcome) =>
      this.#tell(
        clean && !outcome.ok
          ? { type: 'store.failed', ...alarmOf(outcome.failure) }
          : { type: 'store.closed' },
      ),
    )
  }

  /** The same; tells nothing. */
  close(closed: (outcome: Outcome<void>) => void): void {
    this.#isClosed = true
    this.#durable.settle(() => this.#keeper.close(closed))
  }
}

const alarmOf = ({ code, message }: Failure) => ({ code, message })
