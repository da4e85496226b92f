/**
 * MessageStream: turns a handler that is called into messages that are asked for. Each is unhandled until its caller
 * acknowledges it; what is never asked for, or never acknowledged, goes to whoever reads the queue next. NEVER is an
 * acknowledgement taken for a message that is given again because its queue was lost.
 */
import { type QueueRef, queueKey } from '../../machines/topic.ts'
import { badInput } from '../errors.ts'
import { type MessageContext, unhandled } from './handler.ts'
import type { IncomingMessage } from './incoming-message.ts'

/** A message of `messages()`: the offset moves when it is acknowledged. FENCED_OWNER after the consumer was closed, or its queue was lost. */
export type PulledMessage = IncomingMessage & { ack(): Promise<void> }

/** `isLost`: whoever reads its queue next is given it, too. */
type Out = { message: PulledMessage; context: MessageContext; isLost: boolean; letGo(): void }

export class MessageStream {
  #ready: Out[] = []
  readonly #given = new Set<Out>()
  #isHeld = false
  #wake: () => void = () => {}

  /** The handler. */
  readonly offer = (message: IncomingMessage, context: MessageContext): Promise<unknown> =>
    new Promise((settle) => {
      const ack = async () => {
        this.#given.delete(out)
        settle(out.isLost ? unhandled : undefined)
        if (!out.isLost) return
        throw badInput('the consumer let go of this message: it is given again', 'FENCED_OWNER')
      }
      const letGo = () => {
        out.isLost = true
        settle(unhandled)
      }
      const out: Out = { message: Object.assign(message, { ack }), context, isLost: false, letGo }
      this.#ready.push(out)
      this.#wake()
    })

  /** The next message; null when there is none and `isOver` says so. */
  async next(isOver: () => boolean): Promise<PulledMessage | null> {
    while (!isOver()) {
      const next = this.#isHeld ? undefined : this.#ready.shift()
      if (next) {
        this.#given.add(next)
        return next.message
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    return null
  }

  /** Whoever waits is to look whether it is over. */
  wake(): void {
    this.#wake()
  }

  /** Nothing is given while it is held. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld
    this.#wake()
  }

  /** AFTER the queue has stopped: it is not ours any more, or is to be given back, which waits for nobody's asking. */
  dropUnreadOf(ref: QueueRef): void {
    const key = queueKey(ref)
    const left: Out[] = []
    for (const ready of this.#ready) {
      if (queueKey(ready.context.queue) === key) ready.letGo()
      else left.push(ready)
    }
    this.#ready = left
  }

  /** The same of a queue that is lost: what its caller still has is not heard of any more, and keeps its place until then. */
  lose(ref: QueueRef): void {
    const key = queueKey(ref)
    for (const out of this.#given) if (queueKey(out.context.queue) === key) out.isLost = true
    this.dropUnreadOf(ref)
  }

  /** AFTER the queues have stopped: they give out no more. */
  dropUnread(): void {
    for (const { letGo } of this.#ready.splice(0)) letGo()
  }

  dropUnacknowledged(): void {
    for (const { letGo } of this.#given) letGo()
  }
}
