/**
 * Who waits for messages of a topic for a group. They are told that there are some; they are given none here.
 *
 * A consumer may thus wait at every broker at once and receive at the one that tells: what is given to somebody who has
 * something already, or who is gone, would be invisible to all for its time. Of those that wait for one group one is
 * told at a time; it receives, and if it leaves something the next one is told. Whoever is told and does not come, for
 * it is busy with other messages, holds the others up for SECOND_MS.
 *
 * RocketMQ: broker/longpolling/PopLongPollingService.java
 */
import type { Clock } from '../../node/world.ts'

const LOOK_MS = 250
const SECOND_MS = 10

export type Waiter = {
  readonly clientId: string
  readonly isOrdered: boolean
  /** On the monotonic clock. */
  readonly until: number
  readonly tell: (isReady: boolean) => void
}

export type WaitsHooks = {
  /** Wall time, milliseconds. */
  now(): number
  /** When something may be had; in the past or now: at once. Infinity: nothing is known to come. Wall time. */
  readyAt(group: string, topic: string, isOrdered: boolean): number
}

export class Waits {
  readonly #clock: Clock
  readonly #hooks: WaitsHooks
  /** By topic, then by group; no list is empty. */
  readonly #topics = new Map<string, Map<string, Waiter[]>>()
  #timer: unknown = null
  #timerAt = Number.POSITIVE_INFINITY

  constructor(clock: Clock, hooks: WaitsHooks) {
    this.#clock = clock
    this.#hooks = hooks
  }

  add(group: string, topic: string, waiter: Waiter): void {
    const readyAt = this.#hooks.readyAt(group, topic, waiter.isOrdered)
    if (readyAt <= this.#hooks.now() || waiter.until <= this.#clock.monotonic())
      return waiter.tell(readyAt <= this.#hooks.now())
    let groups = this.#topics.get(topic)
    if (!groups) {
      groups = new Map()
      this.#topics.set(topic, groups)
    }
    const waiting = groups.get(group)
    if (waiting) waiting.push(waiter)
    else groups.set(group, [waiter])
    this.#lookAt(readyAt)
  }

  /** Something new is stored in a queue of the topic. Called for every frame: costs nothing while nobody waits. */
  arrived(topic: string): void {
    const groups = this.#topics.get(topic)
    if (groups === undefined) return
    for (const [group, waiting] of [...groups]) this.#tellFirst(topic, groups, group, waiting)
  }

  /** Nobody knows where: all look. */
  arrivedSomewhere(): void {
    this.#look()
  }

  /** Something became free for the group, or was left over: whoever waits longest is told. */
  freed(group: string, topic: string): void {
    const groups = this.#topics.get(topic)
    const waiting = groups?.get(group)
    if (groups === undefined || waiting === undefined) return
    const readyAt = this.#hooks.readyAt(group, topic, waiting[0]!.isOrdered)
    if (readyAt <= this.#hooks.now()) this.#tellFirst(topic, groups, group, waiting)
    else this.#lookAt(readyAt)
  }

  leave(group: string, clientId: string): void {
    this.#tellThose((other, waiter) => (other === group && waiter.clientId === clientId ? false : null))
  }

  #tellFirst(topic: string, groups: Map<string, Waiter[]>, group: string, waiting: Waiter[]): void {
    const first = waiting.shift()
    if (waiting.length === 0) groups.delete(group)
    if (groups.size === 0) this.#topics.delete(topic)
    if (waiting.length > 0) this.#lookAt(this.#hooks.now() + SECOND_MS)
    first?.tell(true)
  }

  /** Tells those for which `answer` is not null. */
  #tellThose(answer: (group: string, waiter: Waiter, topic: string) => boolean | null): void {
    const told: [Waiter, boolean][] = []
    for (const [topic, groups] of this.#topics) {
      for (const [group, waiting] of groups) {
        const left = waiting.filter((waiter) => {
          const isReady = answer(group, waiter, topic)
          if (isReady !== null) told.push([waiter, isReady])
          return isReady === null
        })
        if (left.length > 0) groups.set(group, left)
        else groups.delete(group)
      }
      if (groups.size === 0) this.#topics.delete(topic)
    }
    for (const [waiter, isReady] of told) waiter.tell(isReady)
  }

  /** Wall time may jump: it is looked at again and again. Runs only while somebody waits. */
  #lookAt(readyAt: number): void {
    const now = this.#clock.monotonic()
    const at = now + Math.max(1, Math.min(LOOK_MS, readyAt - this.#hooks.now()))
    if (this.#timer !== null && this.#timerAt <= at) return
    this.#clock.clearTimeout(this.#timer)
    this.#timerAt = at
    this.#timer = this.#clock.setTimeout(() => this.#look(), at - now)
  }

  #look(): void {
    this.#clock.clearTimeout(this.#timer)
    this.#timer = null
    const now = this.#hooks.now()
    const monotonic = this.#clock.monotonic()
    let next = Number.POSITIVE_INFINITY
    this.#tellThose((group, { isOrdered, until }, topic) => {
      const readyAt = this.#hooks.readyAt(group, topic, isOrdered)
      next = Math.min(next, readyAt)
      return readyAt <= now ? true : until <= monotonic ? false : null
    })
    if (this.#topics.size > 0) this.#lookAt(next)
  }

  close(): void {
    this.#tellThose(() => false)
    this.#clock.clearTimeout(this.#timer)
    this.#timer = null
  }
}
