/**
 * WaitingRoom: the sends that cannot go yet, because too many bytes are under way or their topic has no route.
 *
 * Memory is bounded: beyond `bufferBytes` sends wait here, and beyond `waitingMax` waiting ones they are refused. They
 * go in the order in which they came, BEFORE any that comes after them, and at the end of a turn: NEVER from inside the
 * call that made room, which may be half-way through a lane. Each goes, or is rejected, AT MOST ONCE, and in its time.
 * A timer runs only while something waits.
 *
 * RocketMQ: client/impl/producer/DefaultMQProducerImpl.java (semaphoreAsyncSendNum, semaphoreAsyncSendSize)
 */
import type { Clock } from '../../transport/ports.ts'
import { StateMQError } from '../errors.ts'
import type { Reject } from './batch.ts'
import type { RouteWatch } from './route.ts'
import type { TopicSender } from './topic-sender.ts'

/** One topic: how its messages go, and what is known of its route. */
export type Destination = { readonly sender: TopicSender; readonly route: RouteWatch }

/** `deadline`: of the send, on the monotonic clock. It may throw, which rejects the send. */
type Go = (deadline: number) => void
type Waiting = { destination: Destination; go: Go; reject: Reject; deadline: number }

export type WaitingRoomOptions = {
  clock: Clock
  bufferBytes: number
  waitingMax: number
  timeoutMs: number
  /** Asks for `admit` at the end of this turn. */
  wantAdmission(): void
}

const SWEEP_MS = 50

export class WaitingRoom {
  /** Of every message that is not settled, heads of frames included. */
  bufferedBytes = 0
  readonly #options: WaitingRoomOptions
  readonly #bufferBytes: number
  #forRoom: Waiting[] = []
  readonly #forRoute = new Map<Destination, Waiting[]>()
  #count = 0
  #sweepTimer: unknown = null
  #emptied: (() => void) | null = null

  constructor(options: WaitingRoomOptions) {
    this.#options = options
    this.#bufferBytes = options.bufferBytes
  }

  /** Whether a send that has a route may go at once. */
  get isFree(): boolean {
    return this.bufferedBytes < this.#bufferBytes && this.#forRoom.length === 0
  }

  /** So many bytes are settled. */
  release(bytes: number): void {
    this.bufferedBytes -= bytes
    if (this.#forRoom.length > 0) this.#options.wantAdmission()
    if (this.#emptied !== null) this.#tellEmptied()
  }

  /** `go` is called when there is a route and room, `reject` when that takes too long. Throws when too many wait. */
  enter(destination: Destination, reject: Reject, go: Go): void {
    const { clock, waitingMax, timeoutMs } = this.#options
    if (this.#count >= waitingMax) {
      throw new StateMQError(
        'TOO_MANY_REQUESTS',
        `${waitingMax} sends wait already: await sends, or raise waitingMax or bufferBytes`,
        { retryable: true },
      )
    }
    this.#count++
    this.#queue({ destination, go, reject, deadline: clock.monotonic() + timeoutMs })
    this.#sweepTimer ??= clock.setTimeout(() => this.#sweep(), SWEEP_MS)
  }

  /** For room, or for a route. */
  #queue(waiting: Waiting): void {
    const { destination } = waiting
    if (destination.sender.hasRoute) return void this.#forRoom.push(waiting)
    const others = this.#forRoute.get(destination)
    if (others) others.push(waiting)
    else this.#forRoute.set(destination, [waiting])
    destination.route.want()
  }

  /** There is a route: those that waited for it wait for room now. */
  routed(destination: Destination): void {
    for (const waiting of this.#takeOut(destination)) this.#forRoom.push(waiting)
    if (this.#forRoom.length > 0) this.#options.wantAdmission()
  }

  /** There is no route, and there will be none. */
  unroutable(destination: Destination, error: StateMQError): void {
    for (const { reject } of this.#takeOut(destination)) {
      this.#count--
      reject(error)
    }
    this.#tellEmptied()
  }

  #takeOut(destination: Destination): Waiting[] {
    const waiting = this.#forRoute.get(destination) ?? []
    this.#forRoute.delete(destination)
    return waiting
  }

  /** At the end of a turn: lets go as many as there is room for. */
  admit(): void {
    if (this.#forRoom.length === 0) return
    const now = this.#options.clock.monotonic()
    let gone = 0
    while (gone < this.#forRoom.length && this.bufferedBytes < this.#bufferBytes) {
      this.#admitOne(this.#forRoom[gone++]!, now)
    }
    this.#forRoom.splice(0, gone)
    this.#tellEmptied()
  }

  #admitOne(waiting: Waiting, now: number): void {
    const { destination, go, reject, deadline } = waiting
    if (deadline > now && !destination.sender.hasRoute) return this.#queue(waiting) // The topic was deleted meanwhile.
    this.#count--
    if (deadline <= now) return reject(this.#noRoom())
    try {
      go(deadline)
    } catch (error) {
      reject(error as StateMQError)
    }
  }

  /** Rejects what waited for longer than its time. Who waits in front need not have come first: a route was late. */
  #sweep(): void {
    this.#sweepTimer = null
    const { clock, timeoutMs } = this.#options
    const now = clock.monotonic()
    this.#forRoom = this.#expire(this.#forRoom, now, () => this.#noRoom())
    for (const [destination, waiting] of this.#forRoute) {
      const left = this.#expire(waiting, now, () => {
        const { sender, route } = destination
        return timedOut(`no route for '${sender.topic}' within ${timeoutMs} ms: ${route.trouble}`)
      })
      if (left.length > 0) this.#forRoute.set(destination, left)
      else this.#forRoute.delete(destination)
    }
    if (this.#count > 0) this.#sweepTimer = clock.setTimeout(() => this.#sweep(), SWEEP_MS)
    this.#tellEmptied()
  }

  #expire(all: Waiting[], now: number, why: () => StateMQError): Waiting[] {
    const left = all.filter(({ deadline }) => deadline > now)
    if (left.length === all.length) return all
    for (const { reject, deadline } of all) {
      if (deadline > now) continue
      this.#count--
      reject(why())
    }
    return left
  }

  #noRoom(): StateMQError {
    const { timeoutMs } = this.#options
    return timedOut(
      `no room within ${timeoutMs} ms: the brokers take messages slower than they are sent, or this process is too busy to send them`,
    )
  }

  /** Calls back once nothing is under way and nothing waits. */
  whenEmpty(emptied: () => void): void {
    this.#emptied = emptied
    this.#tellEmptied()
  }

  #tellEmptied(): void {
    if (this.#emptied === null || this.bufferedBytes > 0 || this.#count > 0) return
    const emptied = this.#emptied
    this.#emptied = null
    this.#options.clock.clearTimeout(this.#sweepTimer)
    emptied()
  }
}

const timedOut = (why: string): StateMQError => new StateMQError('TIMED_OUT', why, { retryable: true })
