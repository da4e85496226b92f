/**
 * MessageStream: turns a handler that is called into messages that are asked for. Each is unhandled until its caller
 * acknowledges it; what is never asked for, or never acknowledged, goes to whoever reads the queue next.
 */
import { type QueueRef, queueKey } from '../../machines/topic.ts'
import { badInput } from '../errors.ts'
import { type MessageContext, unhandled } from './dispatcher.ts'
import type { IncomingMessage } from './incoming-message.ts'

/** A message of `messages()`: the offset moves when it is acknowledged. FENCED_OWNER after the consumer was closed. */
export type PulledMessage = IncomingMessage & { ack(): Promise<void> }

type Ready = { message: PulledMessage; context: MessageContext; letGo(): void }

export class MessageStream {
  #ready: Ready[] = []
  readonly #given = new Set<() => void>()
  #wake: () => void = () => {}

  /** The handler. */
  readonly offer = (message: IncomingMessage, context: MessageContext): Promise<unknown> =>
    new Promise((settle) => {
      let isLetGo = false
      const letGo = () => {
        isLetGo = true
        settle(unhandled)
      }
      const ack = async () => {
        if (isLetGo) throw badInput('the consumer let go of this message: it is given again', 'FENCED_OWNER')
        this.#given.delete(letGo)
        settle(undefined)
      }
      this.#ready.push({ message: Object.assign(message, { ack }), context, letGo })
      this.#wake()
    })

  /** The next message; null when there is none and `isOver` says so. */
  async next(isOver: () => boolean): Promise<PulledMessage | null> {
    while (!isOver()) {
      const next = this.#ready.shift()
      if (next) {
        this.#given.add(next.letGo)
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

  /** AFTER the queue has stopped: it is not ours any more, or is to be given back, which waits for nobody's asking. */
  dropUnreadOf(ref: QueueRef): void {
    const key = queueKey(ref)
    const left: Ready[] = []
    for (const ready of this.#ready) {
      if (queueKey(ready.context.queue) === key) ready.letGo()
      else left.push(ready)
    }
    this.#ready = left
  }

  /** AFTER the queues have stopped: they give out no more. */
  dropUnread(): void {
    for (const { letGo } of this.#ready.splice(0)) letGo()
  }

  dropUnacknowledged(): void {
    for (const letGo of this.#given) letGo()
  }
}
