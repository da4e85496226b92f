/**
 * Following: a slave's side of the replication, for one epoch.
 *
 * It takes bytes ONLY where its own log ends, in the stream that it asked for last, and AFTER every frame of them was
 * checked: what does not fit is not taken at all, and the stream is asked for anew from the own end. It acknowledges
 * AFTER the bytes are stored, and NEVER in an epoch that this replica has not promised: then there is no Following. That
 * its disk is full goes with every acknowledgement: the master need not find it out by waiting.
 *
 *   asking ──streaming──▶ streaming       diverging, gone or refused ──▶ over, until it is closed
 *     ▲──── nothing fits, or nothing comes ────┘
 *
 * RocketMQ: store/ha/autoswitch/AutoSwitchHAClient.java
 */
import { cutPosition, lastEpochOf } from '../../../machines/epoch-starts.ts'
import { type Answer, ask } from '../../../transport/codec.ts'
import { type CodeName, codeName, codes } from '../../../transport/codes.ts'
import type { Failure, Outcome } from '../../../transport/failures.ts'
import { frameBytesAt, frameFault } from '../../../transport/frames.ts'
import type { FollowAnswer } from '../../../transport/messages.ts'
import { ackBytes, DATA_HEAD_BYTES, type DataHead, readDataHead } from '../../../transport/stream.ts'
import type { Subscription } from '../../../transport/transport.ts'
import { type FollowingContext, leaseFrom, pulse, type SlaveContext, settled } from './context.ts'

export type FollowingHooks = {
  /** The master streams: this log is a prefix of its. */
  started(): void
  /** Levels: whether this replica had all that the master had, a short while ago. */
  caughtUp(): void
  behind(): void
  silent(): void
  heard(): void
  /** The logs are equal up to `to` at most; `confirm` is what is known here to be confirmed. */
  diverged(to: number, confirm: number): void
  gone(minPosition: number): void
  /** The master refuses this replica for good. */
  refused(code: CodeName, message: string): void
  /** All below is confirmed and held here. Rises with every call. */
  confirmed(position: number): void
  /** The store does not take what the master sends, again and again. */
  broken(failure: Failure): void
}

/** So often the store may refuse the bytes at one position. */
const MOST_REFUSALS = 5
/** Something that goes wrong again and again is told once in so long. */
const WARN_MS = 5_000
/** The first pause after nobody listened; each is twice as long as the one before. */
const OPEN_MS = 10
export class Following {
  readonly #context: SlaveContext
  readonly #hooks: FollowingHooks
  readonly #subscription: Subscription
  readonly #stopPulse: () => void
  #state: 'asking' | 'streaming' | 'over' = 'asking'
  /** The stream that is heard; null between two requests. */
  #session: number | null = null
  #timer: unknown = null
  #askedAt = Number.NEGATIVE_INFINITY
  #retryMs: number
  #openMs = OPEN_MS
  #isSilent = false
  /** When something of this epoch's master came; and of the present stream. */
  #heardAt: number
  #streamedAt: number
  #leaseEndsAt: number
  /** The newest sign of life of this stream. */
  #echo = 0
  #confirmed: number
  /** The end of this log without an unfinished state. */
  #wholeEnd: number
  #caughtUpAt = Number.NEGATIVE_INFINITY
  #wasCaughtUp: boolean | null = null
  #toldAt = Number.NEGATIVE_INFINITY
  #warnedAt = Number.NEGATIVE_INFINITY
  #refusals = { position: -1, count: 0 }

  constructor(given: FollowingContext, hooks: FollowingHooks) {
    const context = settled(given)
    const { transport, clock, subjects, brokerName, brokerId, epoch, settings, store } = context
    this.#context = context
    this.#hooks = hooks
    this.#retryMs = settings.followRetryMinMs
    this.#confirmed = Math.min(store.confirmLimit, store.endPosition)
    this.#wholeEnd = store.endsInState ? store.storedPosition : store.endPosition
    const now = clock.monotonic()
    this.#heardAt = this.#streamedAt = now
    this.#leaseEndsAt = context.leaseEndsAt
    const { data } = subjects.brokerProcess(brokerName, brokerId)
    this.#subscription = transport.subscribe(data(epoch), (payload) => this.#hear(payload))
    this.#stopPulse = pulse(clock, settings.beatMs, (stalledMs) => this.#beat(stalledMs))
    this.#ask()
  }

  hearsMaster(windowMs: number): boolean {
    return this.#context.clock.monotonic() - this.#heardAt < windowMs
  }

  /** Monotonic time. BEFORE it the master may still answer on this replica's account. Holds AFTER `close`, too. */
  get leaseEndsAt(): number {
    return this.#leaseEndsAt
  }

  /** The store has stored more. */
  stored(_position: number): void {
    this.#acknowledge()
  }

  close(): void {
    this.#end()
    this.#stopPulse()
    this.#subscription.unsubscribe()
  }

  #end(): void {
    this.#state = 'over'
    this.#session = null
    this.#context.clock.clearTimeout(this.#timer)
  }

  // ------------------------------------------------------------------------------------------ asking

  #ask(): void {
    const { transport, clock, subjects, settings, store, nextSession } = this.#context
    const { brokerName, brokerId, processId, incarnation, lineage, epoch } = this.#context
    const session = nextSession()
    this.#session = session
    this.#askedAt = this.#streamedAt = clock.monotonic()
    this.#echo = 0
    const own = store.lineage
    const request = {
      ...{ brokerId, processId, incarnation, lineage, session },
      storeId: this.#context.storeId,
      position: own.end,
      lastEpoch: lastEpochOf(own),
    }
    const { follow } = subjects.broker(brokerName, epoch)
    ask(transport, follow, request, settings.followRetryMaxMs, (outcome) => {
      if (this.#session !== session || this.#state !== 'asking') return
      if (outcome.ok) this.#answered(outcome.value)
      else this.#askLater(outcome.failure.code === 'noResponders' ? this.#untilOpen() : this.#backOff())
    })
  }

  /** A master that was just elected opens in a moment, and confirms nothing until it is followed. */
  #untilOpen(): number {
    const ms = Math.min(this.#openMs, this.#context.settings.followRetryMinMs)
    this.#openMs = 2 * ms
    return ms
  }

  #backOff(): number {
    const { followRetryMaxMs } = this.#context.settings
    const ms = this.#retryMs
    this.#retryMs = Math.min(2 * ms, followRetryMaxMs)
    return ms
  }

  #askLater(ms: number): void {
    if (this.#state === 'over') return
    const { clock } = this.#context
    this.#state = 'asking'
    this.#session = null
    clock.clearTimeout(this.#timer)
    this.#timer = clock.setTimeout(() => this.#ask(), ms)
  }

  /** What comes does not fit. Asks at once, but not more often than it would be answered. */
  #askAnew(reason: string): void {
    const { clock, settings } = this.#context
    this.#warn(`what the master sends does not fit: ${reason}. The stream is asked for anew`)
    this.#askLater(Math.max(0, this.#askedAt + settings.followRetryMinMs - clock.monotonic()))
  }

  #warn(message: string): void {
    const { clock, log, epoch, masterId, store } = this.#context
    const now = clock.monotonic()
    if (now - this.#warnedAt < WARN_MS) return
    this.#warnedAt = now
    log.warn(message, { epoch, masterId, endPosition: store.endPosition })
  }

  #answered(answer: Answer<FollowAnswer>): void {
    this.#heardNow()
    if (this.#state === 'over') return
    if (!('value' in answer)) {
      if (answer.code !== codes.NO_PERMISSION) {
        this.#warn(`the master does not let this replica follow yet: ${answer.message}`)
        return this.#askLater(this.#backOff())
      }
      this.#end()
      return this.#hooks.refused(codeName(answer.code), answer.message)
    }
    const { value } = answer
    if (value.result === 'streaming') return this.#start()
    this.#end()
    if (value.result === 'gone') return this.#hooks.gone(value.minPosition)
    const { lineage, confirmLimit } = this.#context.store
    this.#hooks.diverged(cutPosition(lineage, value), Math.min(confirmLimit, lineage.end))
  }

  #start(): void {
    this.#state = 'streaming'
    this.#retryMs = this.#context.settings.followRetryMinMs
    this.#wasCaughtUp = null
    this.#hooks.started()
  }

  // ------------------------------------------------------------------------------------------ the stream

  #hear(payload: Buffer): void {
    const head = readDataHead(payload)
    if (head === null || head.epoch !== this.#context.epoch || this.#state === 'over') return
    this.#heardNow()
    if (head.session !== this.#session) return
    this.#streamedAt = this.#heardAt
    // Bytes may overtake the answer that announces them.
    if (this.#state === 'asking') this.#start()
    if (this.#session !== head.session) return
    const reason = this.#faultOf(head, payload) ?? this.#take(payload)
    if (reason !== null) return this.#askAnew(reason)
    const { store, clock } = this.#context
    this.#echo = Math.max(this.#echo, head.sentAt)
    if (store.endPosition >= head.end) this.#caughtUpAt = clock.monotonic()
    this.#heedConfirm(head.confirm)
    // Bytes are acknowledged when they are stored.
    if (payload.length === DATA_HEAD_BYTES) this.#acknowledge()
    this.#tellLevel(clock.monotonic())
  }

  #faultOf({ from, confirm, end }: DataHead, payload: Buffer): string | null {
    const { endPosition } = this.#context.store
    if (from !== endPosition) return `it goes on at ${from}, this log ends at ${endPosition}`
    if (confirm > end || from + payload.length - DATA_HEAD_BYTES > end) return 'its head contradicts itself'
    for (let at = DATA_HEAD_BYTES; at < payload.length; at += frameBytesAt(payload, at)) {
      const fault = frameFault(payload, at, payload.length)
      if (fault !== null) return `the frame at ${from + at - DATA_HEAD_BYTES} is damaged (${fault})`
    }
    return null
  }

  #take(payload: Buffer): string | null {
    if (payload.length === DATA_HEAD_BYTES) return null
    const { store } = this.#context
    const position = store.endPosition
    const taken: Outcome<void> = store.appendVerbatim(payload.subarray(DATA_HEAD_BYTES))
    if (taken.ok) {
      if (!store.endsInState) this.#wholeEnd = store.endPosition
      return null
    }
    const { failure } = taken
    const count = this.#refusals.position === position ? this.#refusals.count + 1 : 1
    this.#refusals = { position, count }
    if (count >= MOST_REFUSALS) {
      this.#end()
      this.#hooks.broken(failure)
    }
    return failure.message
  }

  /** The master's log and this one are equal up to the own end, so what is confirmed there is confirmed here. */
  #heedConfirm(confirm: number): void {
    const position = Math.min(confirm, this.#context.store.endPosition)
    if (position <= this.#confirmed) return
    this.#confirmed = position
    this.#hooks.confirmed(position)
  }

  #acknowledge(): void {
    if (this.#state !== 'streaming' || this.#session === null) return
    const { transport, subjects, store } = this.#context
    const { brokerName, brokerId, lineage, incarnation, epoch } = this.#context
    const { storedPosition, endPosition, endsInState, lacksRoom } = store
    const ack = ackBytes({
      ...{ epoch, brokerId, lineage, incarnation },
      session: this.#session,
      position: storedPosition,
      unfinishedBytes: endsInState ? endPosition - this.#wholeEnd : 0,
      echo: this.#echo,
      isFull: lacksRoom,
    })
    transport.publish(subjects.broker(brokerName, epoch).ack, ack)
  }

  // ------------------------------------------------------------------------------------------ time

  #heardNow(): void {
    const { clock, settings } = this.#context
    this.#heardAt = clock.monotonic()
    this.#leaseEndsAt = Math.max(this.#leaseEndsAt, leaseFrom(this.#heardAt, settings.leaseMs))
    if (!this.#isSilent) return
    this.#isSilent = false
    this.#wasCaughtUp = null
    this.#hooks.heard()
  }

  #beat(stalledMs: number): void {
    if (this.#state === 'over') return
    const { clock, settings } = this.#context
    const now = clock.monotonic()
    this.#heardAt = Math.min(now, this.#heardAt + stalledMs)
    this.#streamedAt = Math.min(now, this.#streamedAt + stalledMs)
    if (!this.#isSilent && now - this.#heardAt > settings.detectMs) {
      this.#isSilent = true
      this.#hooks.silent()
    }
    if (this.#state !== 'streaming') return
    if (now - this.#streamedAt > settings.followRetryMaxMs) this.#askLater(0)
    else this.#tellLevel(now)
  }

  #tellLevel(now: number): void {
    if (this.#state !== 'streaming' || this.#isSilent) return
    const { settings } = this.#context
    const isCaughtUp = now - this.#caughtUpAt <= settings.lagMs
    if (isCaughtUp === this.#wasCaughtUp && now - this.#toldAt < settings.tickMs) return
    this.#wasCaughtUp = isCaughtUp
    this.#toldAt = now
    if (isCaughtUp) this.#hooks.caughtUp()
    else this.#hooks.behind()
  }
}
