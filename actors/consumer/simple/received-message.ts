/** A message that was received, with what it is acknowledged by; and the way from a broker's answer to such messages. */
import { RETRY_PREFIX } from '../../../machines/names.ts'
import {
  countAt,
  frameBytesAt,
  frameFault,
  queueIdAt,
  queueOffsetAt,
  recordsAt,
  topicAt,
} from '../../../transport/frames.ts'
import {
  POP_HEAD_BYTES,
  popAttempt,
  popFramesAt,
  popMessages,
  popToken,
  popUntil,
} from '../../../transport/pop-exchange.ts'
import { type FrameView, IncomingMessage, viewOf } from '../incoming-message.ts'
import { handleText, type ReceiptHandle } from './receipt-handle.ts'

export class ReceivedMessage extends IncomingMessage {
  /** The group that it was received for. */
  readonly group: string
  /** Until when nobody else is given it unless it is prolonged, milliseconds since 1970 by the broker's clock. */
  readonly invisibleUntil: number
  /** @internal */ private readonly token: number
  /** @internal Where it lies, which is not where it was sent to when it is tried again. */
  private readonly storedTopic: string
  /** @internal How often it was given from there. */ private readonly attempt: number

  constructor(
    frame: FrameView,
    at: number,
    queueOffset: number,
    { group, attempt, token, until }: { group: string; attempt: number; token: number; until: number },
  ) {
    super(frame, at, queueOffset)
    this.group = group
    this.storedTopic = frame.topic
    this.attempt = attempt
    if (frame.topic === RETRY_PREFIX + group) this.showAsRetried()
    this.deliveryAttempt += attempt - 1
    this.invisibleUntil = until
    this.token = token
  }

  /** Names this delivery, for `ack` and `changeInvisible` of any consumer of the group; no longer good AFTER the next one. */
  get receiptHandle(): string {
    return handleText(this.delivery)
  }

  /** @internal */
  get delivery(): ReceiptHandle {
    const { brokerName, group, storedTopic: topic, queueId, queueOffset: offset, attempt, token } = this
    return { brokerName, group, topic, queueId, offset, attempt, token }
  }
}

/** The messages of an answer; null when it is damaged. */
export function messagesIn(answer: Buffer, brokerName: string, group: string): ReceivedMessage[] | null {
  if (answer.length < POP_HEAD_BYTES || answer.length < popFramesAt(answer)) return null
  const messages: ReceivedMessage[] = []
  const token = popToken(answer)
  const until = popUntil(answer)
  const count = popMessages(answer)
  for (let at = popFramesAt(answer); at < answer.length; at += frameBytesAt(answer, at)) {
    if (frameFault(answer, at, answer.length) !== null) return null
    const bytes = answer.subarray(at, at + frameBytesAt(answer, at))
    const frame = viewOf(bytes, topicAt(bytes, 0), brokerName, queueIdAt(bytes, 0))
    let record = recordsAt(bytes, 0)
    for (let i = 0; i < countAt(bytes, 0); i++) {
      if (messages.length >= count) return null
      const attempt = popAttempt(answer, messages.length)
      const offset = queueOffsetAt(bytes, 0) + i
      messages.push(new ReceivedMessage(frame, record, offset, { group, attempt, token, until }))
      record += bytes.readUInt32LE(record)
    }
  }
  return messages.length === count ? messages : null
}
