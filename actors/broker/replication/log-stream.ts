/**
 * One follower's stream: the bytes of the log from where its own end, pushed as soon as they are appended.
 *
 * With replication 'async' it is gathered for a moment first: nobody waits for it, and one message costs what many do.
 * NEVER more is on its way than the window beyond what the follower has acknowledged, so a slow one costs neither side
 * memory. At most one read is under way, and between two chunks everybody else gets a turn: who catches up on a large
 * log does not hold up those who send. What is lost on the way is not sent again: the follower sees the gap and asks anew.
 *
 * RocketMQ: store/ha/autoswitch/AutoSwitchHAConnection.java (WriteSocketService)
 */
import type { Failure } from '../../../transport/failures.ts'
import { DATA_HEAD_BYTES, writeDataHead } from '../../../transport/stream.ts'
import type { LogBytes } from '../store/store.ts'
import type { MasterContext } from './context.ts'

export type LogStreamHooks = {
  /** Of the whole log, at this moment. */
  confirm(): number
  /** The log cannot be read where this stream stands: it has ended. 'missing': that part was removed meanwhile. */
  ended(failure: Failure): void
}

export class LogStream {
  readonly session: number
  /** The end of what was sent. */
  sent: number
  readonly #context: MasterContext
  readonly #hooks: LogStreamHooks
  readonly #subject: string
  readonly #chunkBytes: number
  /** What the follower has for certain: the window begins here. */
  #received: number
  /** A frame that is larger than what may be on its way now. */
  #kept: LogBytes | null = null
  #isReading = false
  #isDeferred = false
  /** Its timer, while little is gathered to be sent at once. */
  #gathering: unknown = null
  #isOpen = true

  constructor(
    context: MasterContext,
    to: { readonly brokerId: number; readonly session: number; readonly position: number },
    hooks: LogStreamHooks,
  ) {
    const { transport, subjects, brokerName, epoch, settings } = context
    this.#context = context
    this.#hooks = hooks
    this.session = to.session
    this.sent = this.#received = to.position
    this.#subject = subjects.brokerProcess(brokerName, to.brokerId).data(epoch)
    const most = Math.min(settings.chunkBytes, settings.windowBytes, transport.maxPayload - DATA_HEAD_BYTES)
    this.#chunkBytes = Math.max(1, most)
  }

  /** The follower has it up to here. */
  received(position: number): void {
    this.#received = Math.max(this.#received, position)
  }

  /** Sends what there is, as far as the window allows; little is gathered first, where nobody waits for it. */
  push(): void {
    if (!this.#isReady) return
    const { store, settings, clock } = this.#context
    if (this.#kept !== null) return this.#fits(this.#kept.bytes.length) ? this.#send(this.#kept) : undefined
    const bytes = store.endPosition - this.sent
    if (bytes <= 0 || !this.#fits(Math.min(bytes, this.#chunkBytes))) return
    if (settings.replication === 'sync' || bytes >= this.#chunkBytes) return this.#read()
    this.#gathering ??= clock.setTimeout(() => {
      this.#gathering = null
      if (this.#isReady && this.#kept === null) this.#read()
    }, settings.gatherMs)
  }

  get #isReady(): boolean {
    return this.#isOpen && !this.#isReading && !this.#isDeferred
  }

  /** Alone on its way goes whatever is there. */
  #fits(bytes: number): boolean {
    const onItsWay = this.sent - this.#received
    return onItsWay === 0 || onItsWay + bytes <= this.#context.settings.windowBytes
  }

  #read(): void {
    this.#isReading = true
    this.#context.store.readLog(this.sent, this.#chunkBytes, (outcome) => {
      this.#isReading = false
      if (!this.#isOpen) return
      if (!outcome.ok) {
        this.close()
        return this.#hooks.ended(outcome.failure)
      }
      const { bytes, end } = outcome.value
      if (this.#fits(bytes.length)) this.#send(outcome.value)
      else this.#kept = { bytes: Buffer.from(bytes), end }
    })
  }

  #send({ bytes, end }: LogBytes): void {
    this.#kept = null
    if (bytes.length === 0) return
    this.#publish(bytes)
    this.sent = end
    if (this.sent < this.#context.store.endPosition) this.#pushLater()
  }

  #pushLater(): void {
    this.#isDeferred = true
    this.#context.clock.defer(() => {
      this.#isDeferred = false
      this.push()
    })
  }

  /** A sign of life, with what is new beside the log itself. */
  beat(): void {
    if (this.#isOpen) this.#publish(null)
  }

  #publish(bytes: Buffer | null): void {
    const { transport, clock, epoch, store } = this.#context
    const message = Buffer.allocUnsafe(DATA_HEAD_BYTES + (bytes?.length ?? 0))
    writeDataHead(message, {
      epoch,
      session: this.session,
      from: this.sent,
      confirm: this.#hooks.confirm(),
      end: store.endPosition,
      sentAt: clock.monotonic(),
    })
    bytes?.copy(message, DATA_HEAD_BYTES)
    transport.publish(this.#subject, message)
  }

  close(): void {
    this.#context.clock.clearTimeout(this.#gathering)
    this.#gathering = null
    this.#isOpen = false
    this.#kept = null
  }
}
