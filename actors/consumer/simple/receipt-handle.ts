/**
 * Receipt handles: text that names ONE delivery of a message: whoever has it may acknowledge the message.
 *
 * It says which broker gave the message, to which group, and holds the token that the broker drew. It is opaque: nothing
 * in it is promised but that `acknowledge` and `changeInvisible` understand it, in any process.
 *
 * RocketMQ: common/consumer/ReceiptHandle.java
 */
import { badInput } from '../../errors.ts'

export type ReceiptHandle = {
  brokerName: string
  group: string
  topic: string
  queueId: number
  offset: number
  attempt: number
  token: number
}

const HANDLE_CHARACTERS_MAX = 2_048

export const handleText = ({
  brokerName,
  group,
  topic,
  queueId,
  offset,
  attempt,
  token,
}: ReceiptHandle): string =>
  Buffer.from([brokerName, group, topic, queueId, offset, attempt, token].join(' ')).toString('base64url')

/** Throws INVALID_RECEIPT_HANDLE for text that is none. */
export function handleOf(text: unknown): ReceiptHandle {
  const parts =
    typeof text === 'string' && text.length <= HANDLE_CHARACTERS_MAX && /^[\w-]+$/.test(text)
      ? Buffer.from(text, 'base64url').toString().split(' ')
      : []
  const [brokerName, group, topic, ...rest] = parts
  const numbers = rest.map((part) => (/^\d{1,16}$/.test(part) ? Number(part) : Number.NaN))
  if (numbers.length !== 4 || !numbers.every(Number.isSafeInteger) || !brokerName || !group || !topic) {
    throw badInput(
      'this is no receipt handle: give the message, or its receiptHandle as it was received',
      'INVALID_RECEIPT_HANDLE',
    )
  }
  const [queueId, offset, attempt, token] = numbers as [number, number, number, number]
  return { brokerName, group, topic, queueId, offset, attempt, token }
}
