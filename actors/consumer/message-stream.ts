/**
 * MessageStream: turns a handler that is called into messages that are asked for. Each is unhandled until its caller
 * acknowledges it; what is never asked for, or never acknowledged, goes to whoever reads the queue next.
 */
import { badInput } from '../errors.ts'
import { unhandled } from './dispatcher.ts'
import type { IncomingMessage } from './incoming-message.ts'

/** A message of `messages()`: the offset moves when it is acknowledged. FENCED_OWNER after the consumer was closed. */
export type PulledMessage = IncomingMessage & { ack(): Promise<void> }

type Ready = { message: PulledMessage; letGo(): void }

export class MessageStream {
  readonly #ready: Ready[] = []
  readonly #given = new Set<() => void>()
  #wake: () => void = () => {}

  /** The handler. */
  readonly offer = (message: IncomingMessage): Promise<unknown> =>
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
      this.#ready.push({ message: Object.assign(message, { ack }), letGo })
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

  /** AFTER the queues have stopped: they give out no more. */
  dropUnread(): void {
    for (const { letGo } of this.#ready.splice(0)) letGo()
  }

  dropUnacknowledged(): void {
    for (const letGo of this.#given) letGo()
  }
}
