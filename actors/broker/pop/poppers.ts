/**
 * Who pops: the clients that have received from a topic for a group lately, and have not left. Nobody may own its queues
 * meanwhile. One that has died without a word is forgotten, too.
 */
import type { Clock } from '../../node/world.ts'

/** For so long a client that has received counts. */
const POPPED_MS = 30_000

export class Poppers {
  readonly #clock: Clock
  /** By group and topic: when each client received last, on the monotonic clock; the earliest first. */
  readonly #clients = new Map<string, Map<string, number>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  received(group: string, topic: string, clientId: string): void {
    const key = keyOf(group, topic)
    const clients = this.#lately(key) ?? new Map<string, number>()
    clients.delete(clientId)
    clients.set(clientId, this.#clock.monotonic())
    this.#clients.set(key, clients)
  }

  left(group: string, clientId: string): void {
    for (const [key, clients] of this.#clients) {
      if (!key.startsWith(`${group} `)) continue
      clients.delete(clientId)
      if (clients.size === 0) this.#clients.delete(key)
    }
  }

  has(group: string, topic: string): boolean {
    return this.#lately(keyOf(group, topic)) !== undefined
  }

  /** How many are remembered. */
  get size(): number {
    let size = 0
    for (const clients of this.#clients.values()) size += clients.size
    return size
  }

  #lately(key: string): Map<string, number> | undefined {
    const clients = this.#clients.get(key)
    const since = this.#clock.monotonic() - POPPED_MS
    for (const [clientId, receivedAt] of clients ?? []) {
      if (receivedAt > since) return clients
      clients!.delete(clientId)
    }
    this.#clients.delete(key)
    return undefined
  }
}

const keyOf = (group: string, topic: string): string => `${group} ${topic}`
