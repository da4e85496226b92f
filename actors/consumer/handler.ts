/**
 * What a user's handler is given with each message, and what it may say back: when the message is tried again, or that
 * nobody will handle it.
 *
 * One try is one object. What a handler writes into it counts for THIS try only, and only when it fails.
 */
import type { QueueRef } from '../../machines/topic.ts'
import type { IncomingMessage } from './incoming-message.ts'
import type { ProcessQueue } from './process-queue.ts'

export type MessageContext = {
  readonly group: string
  readonly queue: QueueRef
  /** Messages of the queue that were stored after this one, when the broker last told. */
  readonly behind: number
  /** Of the ownership under which it is handled. It rises with each owner: others can refuse what an older one writes. */
  readonly assignEpoch: number
  /**
   * BEFORE it throws, a handler may say when the message is tried again: 0 (default) as the ladder says (10 s, 30 s, 1
   * min, …), 1 to 18 that delay level, -1 never again: it becomes a dead letter. Not heard in order.
   */
  delayLevel: number
  /**
   * In order, BEFORE it throws: how long its queue stands still this time, milliseconds, kept within 10 and 30,000. 0
   * (default): as the consumer's `suspendMs` says, twice as long each time.
   */
  suspendMs: number
}

/** What it returns, or its promise resolves to, is ignored, except `unhandled`. */
export type Handler = (message: IncomingMessage, context: MessageContext) => unknown

/** Of a queue that is given back, or lost: the message was not handled, and is not given to this handler again. */
export const unhandled = Symbol('unhandled')

/** One try. Looked at by few handlers: it costs one small object and computes on demand. */
export class Try implements MessageContext {
  readonly group: string
  /** Set by few; without a slot in each object. */
  declare delayLevel: number
  declare suspendMs: number
  /** @internal */ readonly processQueue: ProcessQueue
  /** @internal */ readonly message: IncomingMessage

  constructor(group: string, queue: ProcessQueue, message: IncomingMessage) {
    this.group = group
    this.processQueue = queue
    this.message = message
  }

  get queue(): QueueRef {
    return this.processQueue.reader.ref
  }

  get assignEpoch(): number {
    return this.processQueue.assignEpoch
  }

  get behind(): number {
    return Math.max(0, this.processQueue.reader.maxOffset - this.message.queueOffset - 1)
  }
}
Try.prototype.delayLevel = 0
Try.prototype.suspendMs = 0
