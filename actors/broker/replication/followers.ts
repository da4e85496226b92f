/**
 * Followers: a master's side of the replication, for one mastership.
 *
 * Lets replicas follow, sends them the log, and hears what they have of it; confirmation.ts says what that amounts to. An
 * acknowledgement counts ONLY from the stream that was granted last, and only for what was sent there. Who is to be in the
 * sync state set is not decided here: who has caught up and who lags is told, again and again while it holds.
 *
 * RocketMQ: store/ha/autoswitch/AutoSwitchHAService.java
 */
import { type Member, memberOf } from '../../../machines/group-state.ts'
import { acknowledgedBy, hasCaughtUp, maximalSet } from '../../../machines/peer-replica.ts'
import { type Answer, accept, ask, serve } from '../../../transport/codec.ts'
import { codes } from '../../../transport/codes.ts'
import {
  type FollowAnswer,
  type FollowerView,
  type FollowRequest,
  followRequest,
} from '../../../transport/messages.ts'
import { readAck } from '../../../transport/stream.ts'
import type { Subscription } from '../../../transport/transport.ts'
import { Confirmation, type ConfirmationHooks, type FollowersStart } from './confirmation.ts'
import { type FollowersContext, type MasterContext, pulse, settled } from './context.ts'
import { answerTo, judge } from './follow-requests.ts'
import { Follower } from './follower.ts'
import { LogStream } from './log-stream.ts'

export type FollowersHooks = ConfirmationHooks & {
  /**
   * A level: it has all that is confirmed AT THIS MOMENT. Whoever admits it has to count the new set BEFORE this returns,
   * or to wait for the next time: a message may be confirmed without it in between.
   */
  caughtUp(brokerId: number, lineage: number, incarnation: number): void
  /** A level: a member is silent, falls behind, or has no room for more. */
  lagging(brokerId: number): void
  /** Once for each `drainFor`. */
  drained(brokerId: number): void
  alarm(code: string, message: string): void
}

/** The same alarm is given again only after so long. */
const ALARM_MS = 60_000

export class Followers {
  readonly #context: MasterContext
  readonly #hooks: FollowersHooks
  /** Every other replica. */
  readonly #others = new Map<number, Follower>()
  readonly #toldAt = new Map<string, number>()
  #subscriptions: Subscription[] = []
  readonly #confirmation: Confirmation
  #stopPulse = () => {}
  #isOpen = false
  /** The follower that must have everything. */
  #successor: number | null = null

  constructor(given: FollowersContext, start: FollowersStart, hooks: FollowersHooks) {
    const context = settled(given)
    const { clock, settings, brokerId } = context
    this.#context = context
    this.#hooks = hooks
    const now = clock.monotonic()
    // A member that the settings do not know any more counts until it is dropped.
    const ids = new Set(start.members.map((member) => member.brokerId))
    for (let id = 0; id < settings.replicas; id++) ids.add(id)
    ids.delete(brokerId)
    for (const id of ids) this.#others.set(id, new Follower(id, settings, now))
    this.#confirmation = new Confirmation(context, start, this.#others, hooks)
  }

  /** From now on slaves find this master, and what is stored counts. */
  open(): void {
    const { transport, subjects, brokerName, epoch, clock, settings } = this.#context
    const to = subjects.broker(brokerName, epoch)
    this.#isOpen = true
    this.#subscriptions = [
      serve(transport, to.follow, followRequest, (request, answer) => this.#follow(request, answer)),
      transport.subscribe(to.ack, (payload) => this.#acknowledged(payload)),
    ]
    this.#stopPulse = pulse(clock, settings.beatMs, (stalledMs) => this.#beat(stalledMs))
    this.#confirmation.open()
  }

  /** The sets that count from now on. */
  count(members: readonly Member[], pending: readonly Member[] | null): void {
    this.#confirmation.count(members, pending)
    this.#tellDrained()
  }

  /** This replica has stored, or synced, more. */
  stored(): void {
    this.#confirmation.update()
    this.#tellDrained()
  }

  /** There is more to send. */
  appended(): void {
    for (const follower of this.#others.values()) this.#push(follower)
  }

  /** Tells `drained` once this follower has stored all that the log holds, and all is confirmed; null calls it off. */
  drainFor(brokerId: number | null): void {
    this.#successor = brokerId
    this.#tellDrained()
  }

  /** Which start of that replica follows now; null when none does, or when it has fallen silent. */
  incarnationOf(brokerId: number): number | null {
    const follower = this.#others.get(brokerId)
    if (follower === undefined || follower.isLagging(this.#context.clock.monotonic())) return null
    return follower.request?.incarnation ?? null
  }

  describe(): FollowerView[] {
    const now = this.#context.clock.monotonic()
    const { endPosition } = this.#context.store
    const views: FollowerView[] = []
    for (const follower of this.#others.values()) {
      const { brokerId, request } = follower
      const member = memberOf(this.#confirmation.term.members, brokerId)
      const peer = this.#confirmation.term.peers.find((heard) => heard.brokerId === brokerId)
      if (member === undefined && request === null) continue
      const position = peer?.position ?? 0
      const lagMs = position >= endPosition ? 0 : follower.lagMs(now)
      views.push({
        brokerId,
        position,
        lagBytes: Math.max(0, endPosition - position),
        lagMs: Math.round(lagMs),
        inSync: member !== undefined && member.lineage === (peer?.lineage ?? member.lineage),
      })
    }
    return views
  }

  close(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#stopPulse()
    for (const subscription of this.#subscriptions) subscription.unsubscribe()
    for (const { stream } of this.#others.values()) stream?.close()
    this.#confirmation.close()
  }

  #tellDrained(): void {
    const successor = this.#successor
    if (successor === null || !this.#isOpen) return
    const { endPosition } = this.#context.store
    const member = memberOf(this.#confirmation.term.members, successor)
    if (member === undefined || this.#confirmation.term.confirm < endPosition) return
    if (acknowledgedBy(this.#confirmation.term, member) < endPosition) return
    this.#successor = null
    this.#hooks.drained(successor)
  }

  // ------------------------------------------------------------------------------------------ what followers say

  #follow(request: FollowRequest, answer: (answer: Answer<FollowAnswer>) => void): void {
    const refusal = judge(this.#context, request, this.#others, this.#confirmation.term.peers)
    if (refusal === 'old') return
    if (refusal !== null) {
      if (refusal.code === codes.NO_PERMISSION) this.#alarm('FOLLOWER_REFUSED', refusal.message)
      return answer(refusal)
    }
    const { store, clock } = this.#context
    const { brokerId } = request
    const granted = answerTo(request, store.lineage, store.minPosition)
    answer(accept(granted))
    if (granted.result !== 'streaming') return
    const stream = new LogStream(this.#context, request, {
      confirm: () => this.#confirmation.term.confirm,
      ended: ({ code, message }) => {
        // Whoever hears nothing more asks again, and is told where the log begins now.
        if (code !== 'missing')
          this.#alarm('LOG_UNREADABLE', `the log cannot be read to send it to broker ${brokerId}: ${message}`)
      },
    })
    const follower = this.#others.get(brokerId)!
    follower.follow(request, stream, clock.monotonic())
    // Its log may end with what it has not stored: nothing counts BEFORE it has said so, which it does when it hears this.
    this.#sendBeat(follower)
    this.#push(follower)
  }

  #acknowledged(payload: Buffer): void {
    const ack = readAck(payload)
    const follower = ack && this.#others.get(ack.brokerId)
    if (!ack || !follower || ack.epoch !== this.#confirmation.term.epoch || !follower.isSender(ack)) return
    const now = this.#context.clock.monotonic()
    if (ack.position + ack.unfinishedBytes > follower.stream!.sent || !(ack.echo <= now))
      return this.#alarm(
        'ACKNOWLEDGEMENT_IMPOSSIBLE',
        `broker ${ack.brokerId} acknowledges what it was never sent, up to ${ack.position}: it is not counted`,
      )
    const { isFull: wasFull } = follower
    follower.acknowledged(ack, now)
    this.#confirmation.heard(ack)
    this.#tellDrained()
    if (ack.isFull && !wasFull) this.#heedFull(follower)
    this.#tellCaughtUp(follower, now)
    this.#push(follower)
  }

  /** It confirms nothing more: nobody is to wait until it lags so far that it is dropped for that. */
  #heedFull({ brokerId }: Follower): void {
    const { log, brokerName } = this.#context
    if (this.#isDue(`full/${brokerId}`))
      log.warn(`the disk of ${brokerName}/${brokerId} is full: it does not count until it has room`)
    this.#watch()
  }

  #tellCaughtUp(follower: Follower, now: number): void {
    const { request } = follower
    if (!this.#isOpen || request === null || follower.isLagging(now)) return
    if (now - follower.toldCaughtUpAt < this.#context.settings.tickMs) return
    if (!hasCaughtUp(this.#confirmation.term, acknowledgedBy(this.#confirmation.term, request))) return
    follower.toldCaughtUpAt = now
    this.#hooks.caughtUp(request.brokerId, request.lineage, request.incarnation)
  }

  // ------------------------------------------------------------------------------------------ what goes to them

  #push(follower: Follower): void {
    if (this.#isOpen && this.#speaksTo(follower)) follower.stream.push()
  }

  #sendBeat(follower: Follower): void {
    if (this.#speaksTo(follower)) follower.stream.beat()
  }

  /**
   * A master that hears nobody, and is heard, must not seem well: nobody would be elected in its place. So it says
   * nothing to a follower that it does not hear, until that one acknowledges what it got before, or asks anew.
   */
  #speaksTo(follower: Follower): follower is Follower & { stream: LogStream } {
    const now = this.#context.clock.monotonic()
    if (follower.stream === null || follower.silentMs(now) > this.#context.settings.leaseMs) return false
    follower.mark(this.#context.store.endPosition, now)
    return true
  }

  #beat(stalledMs: number): void {
    const now = this.#context.clock.monotonic()
    for (const follower of this.#others.values()) {
      if (stalledMs > 0) follower.forgive(stalledMs, now)
      this.#sendBeat(follower)
    }
    this.#watch()
  }

  /** Members that are silent, fall behind, or have no room. */
  #watch(): void {
    const { clock, settings } = this.#context
    const now = clock.monotonic()
    for (const { brokerId } of maximalSet(this.#confirmation.term)) {
      const follower = this.#others.get(brokerId)
      if (follower === undefined || !this.#isOpen) continue
      if (follower.silentMs(now) > settings.lateMs) this.#ping(follower)
      if (!follower.isLagging(now) || now - follower.toldLaggingAt < settings.tickMs) continue
      follower.toldLaggingAt = now
      this.#hooks.lagging(brokerId)
    }
  }

  #ping(follower: Follower): void {
    if (follower.isPinged) return
    follower.isPinged = true
    const { control, subjects, brokerName, settings } = this.#context
    const { ping } = subjects.brokerProcess(brokerName, follower.brokerId)
    ask(control, ping, {}, settings.lateMs, (outcome) =>
      follower.pinged(!outcome.ok && outcome.failure.code === 'noResponders'),
    )
  }

  #alarm(code: string, message: string): void {
    if (this.#isDue(code)) this.#hooks.alarm(code, message)
  }

  #isDue(what: string): boolean {
    const now = this.#context.clock.monotonic()
    if (now - (this.#toldAt.get(what) ?? Number.NEGATIVE_INFINITY) < ALARM_MS) return false
    this.#toldAt.set(what, now)
    return true
  }
}
