/**
 * Sends a message that could not be handled back to the broker of its queue, which stores a copy to be tried again.
 *
 * RocketMQ: client/impl/consumer/DefaultMQPushConsumerImpl.java (sendMessageBack)
 */
import { ask } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import type { SendBackAnswer } from '../../transport/messages.ts'
import type { Process } from '../node/process.ts'
import type { Masters } from './commit.ts'
import type { IncomingMessage } from './incoming-message.ts'
import type { ProcessQueue } from './process-queue.ts'

const ASK_MS = 3_000
const REASON_MAX = 512

/** What became of the tries that failed, since the consumer was started. */
export type FailureCounts = {
  /** Handlers that threw, or ran for too long. */
  failed: number
  /** Messages that wait for another try, at the broker. */
  sentBack: number
  deadLetters: number
  /** Orders to a broker of which nobody knows whether it carried them out: the message is tried again here. */
  sendBackFailed: number
  /** The queue was another one's by then, or had to be asked for again: what was handled, or sent back, is given again. */
  fenced: number
  /** Handlers that ran longer than `consumeTimeoutMs`, and those of them that ended after all. */
  timedOut: number
  late: number
  /** Passed over, in broadcasting. */
  dropped: number
}

/** What became of it: 'fenced' when another one owns the queue, 'failed' when nobody knows. */
export type SentBackTo = SendBackAnswer['to'] | 'fenced' | 'failed'

export type SendMessageBack = (
  queue: ProcessQueue,
  message: IncomingMessage,
  how: { delayLevel: number; reason: string },
  told: (to: SentBackTo, why: string) => void,
) => void

export const sendMessageBack =
  (
    { world, subjects }: Process,
    { maxReconsumeTimes }: { maxReconsumeTimes: number },
    { epochOf, unreachable }: Masters,
  ): SendMessageBack =>
  (queue, message, { delayLevel, reason }, told) => {
    const { owner, ref } = queue.reader
    const { topic, brokerName, queueId } = ref
    const epoch = epochOf(brokerName)
    if (owner === undefined || epoch === 0) return void world.clock.defer(() => told('failed', 'no master'))
    const { queueOffset: offset, deliveryAttempt: attempts } = message
    const request = {
      ...{ topic, queueId, offset, owner, delayLevel, attempts, maxReconsumeTimes },
      reason: reason.slice(0, REASON_MAX),
    }
    ask(world.transport, subjects.broker(brokerName, epoch).sendBack, request, ASK_MS, (outcome) => {
      if (!outcome.ok) {
        if (outcome.failure.code === 'noResponders') unreachable(brokerName, epoch)
        return told('failed', outcome.failure.message)
      }
      const answer = outcome.value
      if (answer.code === codes.SUCCESS && 'value' in answer) return told(answer.value.to, '')
      const why = 'message' in answer ? answer.message : ''
      told(answer.code === codes.FENCED_OWNER ? 'fenced' : 'failed', why)
    })
  }

/** What a handler threw, as a sentence; it may have thrown anything, and its own text may throw again. */
export function reasonOf(thrown: unknown): string {
  try {
    if (thrown instanceof Error) return `${thrown.name}: ${thrown.message}`
    return typeof thrown === 'object' && thrown !== null ? JSON.stringify(thrown) : String(thrown)
  } catch {
    return `something of type ${typeof thrown} that has no text`
  }
}
