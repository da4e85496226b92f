/** `statemq consume --pop`: messages one by one from a consumer that shares its queues, for the loop that prints them. */
import type { Incoming, SimpleConsumer } from '../face.ts'

/** A message that is received and not printed would be hidden from all others for its time: few are fetched at once. */
const RECEIVE_MAX = 32

/** At most `limit` messages; ends when the consumer is closed, and closes it. */
export async function* popped(consumer: SimpleConsumer, limit: number): AsyncGenerator<Incoming, void> {
  try {
    for (let left = limit; left > 0; ) {
      const messages = await consumer.receive(Math.min(left, RECEIVE_MAX))
      left -= messages.length
      for (const message of messages)
        yield Object.assign(message, { ack: () => consumer.ack(message.receiptHandle) })
    }
  } finally {
    await consumer.close()
  }
}
