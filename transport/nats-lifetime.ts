/**
 * The lifetime of a connection to a NATS server: connected, reconnecting, and at last closed.
 *
 * Whoever watches hears of a connection that is back AFTER the server knows all its subscriptions, so that others may be
 * asked to write at once. Closing waits for what is under way, NEVER longer than `DRAIN_MS`; it is told ONCE to each
 * who asked for it.
 */
import { Events, type NatsConnection, type ServerInfo } from 'nats'
import type { Clock, Log } from './ports.ts'
import type { ConnectionState, ServerFacts } from './transport.ts'

const DRAIN_MS = 5_000

export type LifetimeOptions = {
  readonly connection: NatsConnection
  readonly clock: Clock
  readonly log: Log
  /** AFTER the state has changed: what waits for the server waits in vain. */
  readonly lost: (code: 'disconnected' | 'closed') => void
  /** Hears what a watcher throws. */
  readonly report: (error: unknown) => void
}

export class Lifetime {
  state: ConnectionState = 'connected'
  /** Of the server that it is connected to, or was last. */
  maxPayload: number
  server: ServerFacts
  readonly #options: LifetimeOptions
  readonly #watchers = new Set<(state: ConnectionState) => void>()
  /** Who asked for the end; undefined until somebody does. */
  #closers: (() => void)[] | undefined

  constructor(options: LifetimeOptions) {
    const { info } = options.connection
    this.#options = options
    this.maxPayload = info!.max_payload
    this.server = factsOf(info!)
  }

  /** Nothing new may begin: it is closed, or about to be. */
  get isEnding(): boolean {
    return this.#closers !== undefined
  }

  onState(hear: (state: ConnectionState) => void): () => void {
    this.#watchers.add(hear)
    return () => void this.#watchers.delete(hear)
  }

  /** Resolves when the connection is closed for good. */
  async watch(): Promise<void> {
    const { connection, lost, log } = this.#options
    for await (const { type, data } of connection.status()) {
      if (type === Events.Disconnect && this.state === 'connected') {
        this.#become('reconnecting')
        lost('disconnected')
      } else if (type === Events.Reconnect) {
        await connection.flush().then(this.#back, () => {}) // It broke again: that is told next.
      } else if (type === Events.Error) log.warn('the NATS server reports an error', { error: data })
    }
    this.#finish()
  }

  readonly #back = (): void => {
    const { info } = this.#options.connection
    this.maxPayload = info?.max_payload ?? this.maxPayload
    if (info !== undefined) this.server = factsOf(info)
    this.#become('connected')
  }

  #become(next: ConnectionState): void {
    this.state = next
    for (const hear of this.#watchers) {
      try {
        hear(next)
      } catch (error) {
        this.#options.report(error)
      }
    }
  }

  readonly #finish = (): void => {
    if (this.state === 'closed') return
    this.#become('closed')
    this.#options.lost('closed')
    this.#closers ??= []
    for (const done of this.#closers) this.#options.clock.defer(done)
  }

  close(done: () => void): void {
    const { connection, clock } = this.#options
    if (this.state === 'closed') clock.defer(done)
    else if (this.#closers !== undefined) this.#closers.push(done)
    else {
      this.#closers = [done]
      // Draining waits for the server; without one, or with one that is stuck, it would wait for ever.
      const timer = clock.setTimeout(() => void connection.close(), DRAIN_MS)
      const closing = this.state === 'connected' ? connection.drain() : connection.close()
      closing.then(this.#finish, this.#finish).finally(() => clock.clearTimeout(timer))
    }
  }
}

// A server that stands alone names no cluster.
const factsOf = ({ version, cluster, jetstream }: ServerInfo): ServerFacts => ({
  version,
  isClustered: cluster !== undefined,
  hasJetStream: jetstream === true,
})
