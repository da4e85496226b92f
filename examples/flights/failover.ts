/**
 * The failover in the middle of the demo: the master of a broker is killed while it is sent to.
 *
 * What it cost is what senders saw: the longest time for which sends to that broker waited and none was acknowledged. Time
 * in which nobody sent does not count.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { Client } from '../../actors/index.ts'

export type Failover = {
  brokerName: string
  /** The replica that was killed, and when: seconds since the demo began. */
  killed: number
  killedAtSeconds: number
  /** Who took over, at which epoch; how long after the kill its first send was acknowledged. */
  master: number | null
  epoch: number
  takenOverMs: number
  /** The longest time for which sends waited. */
  waitedMs: number
  /** How long after the kill the killed one was a slave in the sync state set; null when it was not within the limit. */
  backMs: number | null
}

/** Follows the acknowledgements of one broker. */
export class Outage {
  #isKilled = false
  #epoch = 0
  #lastAt = 0
  #waitedMs = 0
  #takenOver: { at: number; epoch: number } | null = null

  killed(): void {
    this.#isKilled = true
  }

  /** A send that began at `sentAt` is acknowledged. */
  acknowledged(sentAt: number, at: number, epoch: number): void {
    if (this.#isKilled) {
      this.#waitedMs = Math.max(this.#waitedMs, at - Math.max(this.#lastAt, sentAt))
      if (epoch > this.#epoch) this.#takenOver ??= { at, epoch }
    }
    // What the killed one acknowledged may be heard after its successor: the higher epoch stays.
    this.#epoch = Math.max(this.#epoch, epoch)
    this.#lastAt = at
  }

  get waitedMs(): number {
    return this.#waitedMs
  }

  /** The first acknowledgement by another master; null while there is none. */
  get takenOver(): { at: number; epoch: number } | null {
    return this.#takenOver
  }
}

const LOOK_MS = 100

/** Looks until `broker` has another master than `killed`, and it is served; its id, or null after the limit. */
export const newMaster = (client: Client, brokerName: string, killed: number, limitMs: number) =>
  look(limitMs, async () => {
    const { masterId } = await client.admin().broker(brokerName)
    return masterId === killed ? null : masterId
  })

/** Looks until the replica is a slave in the sync state set; when that was, or null after the limit. */
export const backInSync = (client: Client, brokerName: string, brokerId: number, limitMs: number) =>
  look(limitMs, async () => {
    const { syncStateSet, masterId, replicas } = await client.admin().broker(brokerName)
    const replica = replicas.find((one) => one.brokerId === brokerId)
    const isBack = replica?.reachable && replica.role === 'slave' && syncStateSet.includes(brokerId)
    return isBack && masterId !== null ? performance.now() : null
  })

async function look<T>(limitMs: number, seen: () => Promise<T | null>): Promise<T | null> {
  const end = performance.now() + limitMs
  while (performance.now() < end) {
    // In the midst of a failover a question may go unanswered.
    const found = await seen().catch(() => null)
    if (found !== null) return found
    await pause(LOOK_MS)
  }
  return null
}
