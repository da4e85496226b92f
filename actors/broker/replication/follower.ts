/**
 * Follower: what the master of one epoch knows of one other replica.
 *
 * It has caught up WHEN it has acknowledged the end that the log had at the moment at which it was sent something: one
 * that is always a batch behind under load keeps up, one that falls behind further and further does not. One
 * whose disk is full lags from when it says so UNTIL it says that there is room. Its lease counts from when the master SENT
 * what it has heard, NEVER from when its answer came.
 *
 * RocketMQ: store/ha/autoswitch/AutoSwitchHAConnection.java; Kafka: lastCaughtUpTimeMs of a replica.
 */
import type { FollowRequest } from '../../../transport/messages.ts'
import type { Ack } from '../../../transport/stream.ts'
import type { ReplicationSettings } from './context.ts'
import type { LogStream } from './log-stream.ts'

/** So many pings in a row that reach nobody say that the process is gone. */
const LOST_PINGS = 2
const MOST_MARKS = 100

export class Follower {
  readonly brokerId: number
  readonly #settings: ReplicationSettings
  /** The newest request that was granted. */
  request: FollowRequest | null = null
  stream: LogStream | null = null
  /** When a sign of life that it has heard was sent. */
  echo = Number.NEGATIVE_INFINITY
  /** Another process claims to be this replica: since then this one has to prove that it lives. */
  challenge: { readonly processId: string; readonly at: number } | null = null
  toldLaggingAt = Number.NEGATIVE_INFINITY
  toldCaughtUpAt = Number.NEGATIVE_INFINITY
  isPinged = false
  /** As it said last. */
  isFull = false
  #lostPings = 0
  #heardAt: number
  #caughtUpAt: number
  /** The ends that the log had, not yet acknowledged: with each it has caught up with what was there at `at`. */
  #marks: { readonly end: number; at: number }[] = []

  /** From `now` on it has its time to be heard of. */
  constructor(brokerId: number, settings: ReplicationSettings, now: number) {
    this.brokerId = brokerId
    this.#settings = settings
    this.#heardAt = this.#caughtUpAt = now
  }

  /** AFTER its request was granted. What an earlier stream of it showed is no lease any more. */
  follow(request: FollowRequest, stream: LogStream, now: number): void {
    this.stream?.close()
    this.request = request
    this.stream = stream
    this.challenge = null
    this.echo = Number.NEGATIVE_INFINITY
    this.isFull = false
    this.#heard(now)
  }

  isSender({ session, incarnation, lineage }: Ack): boolean {
    const { request, stream } = this
    return stream?.session === session && request?.incarnation === incarnation && request.lineage === lineage
  }

  acknowledged({ position, unfinishedBytes, echo, isFull }: Ack, now: number): void {
    this.stream!.received(position + unfinishedBytes)
    this.echo = Math.max(this.echo, echo)
    this.isFull = isFull
    this.#heard(now)
    let covered = 0
    while (covered < this.#marks.length && this.#marks[covered]!.end <= position) covered++
    if (covered > 0) this.#caughtUpAt = Math.max(this.#caughtUpAt, this.#marks.splice(0, covered).at(-1)!.at)
  }

  /** BEFORE something is sent to it. */
  mark(end: number, now: number): void {
    const last = this.#marks.at(-1)
    if (last?.end === end) last.at = now
    else if (
      last === undefined ||
      (now - last.at >= this.#settings.beatMs && this.#marks.length < MOST_MARKS)
    )
      this.#marks.push({ end, at: now })
  }

  #heard(now: number): void {
    this.#heardAt = now
    this.#lostPings = 0
  }

  silentMs(now: number): number {
    return now - this.#heardAt
  }
  /** How long ago it had all that there was. */
  lagMs(now: number): number {
    return now - this.#caughtUpAt
  }

  /** This process stood still: what the other one said meanwhile has yet to be heard. */
  forgive(stalledMs: number, now: number): void {
    this.#heardAt = Math.min(now, this.#heardAt + stalledMs)
    this.#caughtUpAt = Math.min(now, this.#caughtUpAt + stalledMs)
  }

  pinged(reachedNobody: boolean): void {
    this.isPinged = false
    this.#lostPings = reachedNobody ? this.#lostPings + 1 : 0
  }

  isSilent(now: number): boolean {
    return this.#lostPings >= LOST_PINGS || this.silentMs(now) > this.#settings.detectMs
  }
  isLagging(now: number): boolean {
    return this.isFull || this.isSilent(now) || this.lagMs(now) > this.#settings.lagMs
  }

  /** Whether it still believes in this master. */
  holdsLease(now: number): boolean {
    return now - this.echo < this.#settings.leaseMs
  }
}
