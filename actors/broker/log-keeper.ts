/**
 * Keeps the log of one broker: opens the store, and closes, cuts and opens it again when a master's log says so.
 *
 * The store and all that is derived from it change TOGETHER: whoever holds one of them asks again after `cut` or `empty`.
 * These take their turn: the store is never opened twice and never cut while it is open.
 */
import { type Outcome, succeed } from '../../transport/failures.ts'
import type { World } from '../node/world.ts'
import { BrokerState } from './broker-state.ts'
import { SCHEDULE_TOPIC } from './schedule/schedule-state.ts'
import { type Cut, cutLog, emptyLog } from './store/cut.ts'
import { openStore, type Store, type StoreHooks, type StoreOptions } from './store/store.ts'

export type LogKeeperHooks = Pick<StoreHooks, 'stored' | 'appended' | 'space' | 'broken'>

export class LogKeeper {
  readonly #world: World
  readonly #options: StoreOptions
  readonly #hooks: LogKeeperHooks
  #state: BrokerState
  #store: Store | null = null
  #turn: Promise<unknown> = Promise.resolve()
  /** What was cut last. */
  lastCut: { at: number; bytes: number; messages: number } | null = null

  constructor(world: World, options: StoreOptions, hooks: LogKeeperHooks) {
    this.#world = world
    this.#options = options
    this.#hooks = hooks
    this.#state = this.#emptyState()
  }

  /** Null before it is opened, and while it is cut. */
  get store(): Store | null {
    return this.#store
  }

  get state(): BrokerState {
    return this.#state
  }

  open(opened: (outcome: Outcome<Store>) => void): void {
    this.#inTurn(() => this.#open(), opened)
  }

  /** Cuts what the group's log does not hold. */
  cut(position: number, done: (outcome: Outcome<Store>) => void): void {
    this.#inTurn(() => this.#anew(() => cutLog(this.#world, this.#options.folder, position)), done)
  }

  /** Drops everything and begins at a position. */
  empty(position: number, done: (outcome: Outcome<Store>) => void): void {
    this.#inTurn(
      () =>
        this.#anew(async () => {
          const emptied = await emptyLog(this.#world, this.#options.folder, position)
          return emptied.ok ? succeed(null) : emptied
        }),
      done,
    )
  }

  /** Drops the end of a log that broke off inside the state which begins a segment. */
  reopen(done: (outcome: Outcome<Store>) => void): void {
    this.#inTurn(() => this.#anew(null), done)
  }

  close(closed: (outcome: Outcome<void>) => void): void {
    this.#inTurn(() => this.#close(), closed)
  }

  #inTurn<T>(work: () => Promise<T>, done: (value: T) => void): void {
    this.#turn = this.#turn.then(async () => done(await work()))
  }

  async #open(): Promise<Outcome<Store>> {
    const state = this.#emptyState()
    const hooks = this.#hooks
    const outcome = await openStore(this.#world, this.#options, {
      restore: (json) => state.restore(json),
      replay: (bytes, at) => state.replay(bytes, at),
      snapshot: () => state.save(),
      isNeeded: (queues) => state.schedule.waitsBefore(queues[SCHEDULE_TOPIC] ?? []),
      ...hooks,
    })
    if (!outcome.ok) return outcome
    this.#state = state
    this.#store = outcome.value
    return outcome
  }

  async #anew(change: (() => Promise<Outcome<Cut | null>>) | null): Promise<Outcome<Store>> {
    this.lastCut = change === null ? this.lastCut : null
    const closed = await this.#close()
    if (!closed.ok) return closed
    const cut: Outcome<Cut | null> | null = change === null ? null : await change()
    if (cut?.ok === false) return cut
    if (cut?.value && cut.value.cutBytes > 0) {
      const { cutBytes: bytes, cutMessages: messages } = cut.value
      this.lastCut = { at: this.#world.clock.now(), bytes, messages }
    }
    const opened = await this.#open()
    // A store tells changes only, and what the last one told is over.
    if (opened.ok) this.#hooks.space(opened.value.accepting ? 'ok' : 'full')
    return opened
  }

  #close(): Promise<Outcome<void>> {
    const store = this.#store
    this.#store = null
    if (store === null) return Promise.resolve({ ok: true, value: undefined })
    return new Promise((resolve) => store.close(resolve))
  }

  #emptyState(): BrokerState {
    return new BrokerState(() => this.#world.clock.monotonic())
  }
}
