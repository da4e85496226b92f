/**
 * Senders at full load, which hold back only while the members of the group are far behind.
 *
 * Every message group has one sender: its messages are numbered, so whoever reads a queue sees whether they are in
 * order. How far behind the group is, is judged by the queue in the middle: the queues of a member that stands still or
 * was killed may be as far behind as they are.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, type Producer, StateMQError } from '../../actors/index.ts'
import { queueKey } from '../../machines/topic.ts'
import { sharedClock } from './journal.ts'
import type { Stored } from './judge.ts'

const GROUPS_PER_QUEUE = 8
const BURST = 4
const BODY_BYTES = 64
const LOOK_MS = 200
const TIMEOUT_MS = 60_000

export type LoadSettings = { topic: string; group: string; queues: number; lagMax: number; rateMax: number }

export class Load {
  readonly stored: Stored[] = []
  readonly failed: string[] = []
  readonly #client: Client
  readonly #producer: Producer
  readonly #settings: LoadSettings
  readonly #running: Promise<unknown>
  readonly #queues = new Map<string, string>()
  readonly #beganAt = sharedClock()
  #isHeld = false
  #isOver = false
  heldMs = 0

  constructor(client: Client, settings: LoadSettings) {
    this.#client = client
    this.#settings = settings
    this.#producer = client.producer({ timeoutMs: TIMEOUT_MS })
    const senders = Array.from({ length: settings.queues * GROUPS_PER_QUEUE }, (_, i) => this.#send(`p${i}`))
    this.#running = Promise.all([...senders, this.#look()])
    this.#running.catch(() => {})
  }

  /** No more is sent, and what is under way is awaited. */
  async stop(): Promise<void> {
    this.#isOver = true
    await this.#running
    await this.#producer.close()
  }

  abandon(): void {
    this.#isOver = true
  }

  /** More was sent than `rateMax` a second. */
  get #isAhead(): boolean {
    return this.stored.length > ((sharedClock() - this.#beganAt) / 1_000) * this.#settings.rateMax
  }

  async #send(messageGroup: string): Promise<void> {
    for (let sequence = 0; !this.#isOver; sequence += BURST) {
      while ((this.#isHeld || this.#isAhead) && !this.#isOver) await sleep(LOOK_MS / 4)
      await Promise.all(Array.from({ length: BURST }, (_, i) => this.#sendOne(messageGroup, sequence + i)))
    }
  }

  async #sendOne(messageGroup: string, sequence: number): Promise<void> {
    const message = `${messageGroup}/${sequence}`
    const body = `${message} `.padEnd(BODY_BYTES, '.')
    try {
      const receipt = await this.#producer.send({ topic: this.#settings.topic, body, messageGroup })
      const key = queueKey(receipt)
      const queue = this.#queues.get(key) ?? key
      this.#queues.set(key, queue)
      this.stored.push({ queue, offset: receipt.queueOffset, message, at: sharedClock() })
    } catch (error) {
      if (!(error instanceof StateMQError)) throw error
      this.failed.push(error.code)
    }
  }

  async #look(): Promise<void> {
    while (!this.#isOver) {
      await sleep(LOOK_MS)
      const lags = await lagsOf(this.#client, this.#settings.group)
      const middle = lags?.sort((a, b) => a - b)[lags.length >> 1] ?? 0
      this.#isHeld = middle > this.#settings.lagMax
      if (this.#isHeld) this.heldMs += LOOK_MS
    }
  }
}

/** By queue; null while nobody can tell. */
export async function lagsOf(client: Client, group: string): Promise<number[] | null> {
  try {
    return (await client.admin().group(group)).queues.map(({ lag }) => lag)
  } catch (error) {
    if (error instanceof StateMQError) return null
    throw error
  }
}
