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
import { identityPath } from './store/layout.ts'
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
  readonly #options: StoreOptions
  /** What has no room is tried again and again: that is told once. */
  #lacksRoom = false
  #isClosed = false

  constructor(world: World, options: StoreOptions, { tell, stored, appended }: ReplicaDiskHooks) {
    this.#world = world
    this.#tell = tell
    this.#options = options
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

  /** Whether its folder is a broker's already; NOTHING is touched. */
  hasData(told: (hasData: boolean) => void): void {
    this.#world.disk.readFile(identityPath(this.#options.folder), (read) =>
      told(!read.ok || read.value !== null),
    )
  }

  load(): void {
    this.#durable.read((read) => {
      if (this.#isClosed) return
      if (!read.ok) return this.#tell({ type: 'store.failed', ...alarmOf(read.failure) })
      if (read.value.replicated && !this.#options.replicated)
        return this.#tell({ type: 'store.failed', ...notAlone(this.#options) })
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
    const change = this.#options.replicated ? { ...start, replicated: true } : start
    this.#durable.save(change, (outcome) => {
      if (!outcome.ok) return this.#tell({ type: 'incarnation.failed', ...alarmOf(outcome.failure) })
      this.store?.forgetLoss()
      persisted()
    })
  }

  persistEpoch(epoch: number): void {
    this.#durable.save({ promisedEpoch: epoch }, (outcome) => {
      this.#heedRoom(outcome)
      this.#tell(
        outcome.ok
          ? { type: 'epoch.persisted', epoch }
          : { type: 'epoch.failed', ...alarmOf(outcome.failure) },
      )
    })
  }

  truncate(to: number): void {
    this.#keeper.cut(to, (outcome) => {
      this.#heedRoom(outcome)
      if (!outcome.ok) return this.#tell({ type: 'log.failed', ...alarmOf(outcome.failure) })
      const { lastCut } = this
      if (lastCut) {
        this.#world.log.warn(
          `broker/${this.#options.broker}: ${lastCut.bytes} bytes with ${lastCut.messages} messages were cut from the end of the ` +
            'log: no later master has them',
        )
      }
      this.#tell({ type: 'log.truncated' })
    })
  }

  #heedRoom(outcome: Outcome<unknown>): void {
    const lackedRoom = this.#lacksRoom
    this.#lacksRoom = !outcome.ok && outcome.failure.code === 'diskFull'
    if (outcome.ok || !this.#lacksRoom || lackedRoom) return
    const { message } = outcome.failure
    this.#world.log.warn(`broker/${this.#options.broker}: ${message}: tried again until there is room`)
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

/** It would begin epochs by itself that the others know as another's: two logs with one epoch would pass for equal. */
const notAlone = ({ broker, folder }: StoreOptions) => ({
  code: 'inUse',
  message:
    `${folder} is ${broker}, one of several replicas, and replication 'none' would make it a master beside the others: ` +
    "give replication 'sync' or 'async', as before. To go on with this copy alone, stop the others for good and set " +
    `"replicated" to false in ${folder}/broker.json`,
})

const alarmOf = ({ code, message }: Failure) => ({ code, message })
