/** Messages that are asked for, without a consumer: what becomes of those that are given, and of those that are not. */
import test from 'ava'
import { type MessageContext, unhandled } from '../../actors/consumer/handler.ts'
import type { IncomingMessage } from '../../actors/consumer/incoming-message.ts'
import { MessageStream, type PulledMessage } from '../../actors/consumer/message-stream.ts'

const queue = (queueId: number) => ({ topic: 'orders', brokerName: 'a', queueId })

/** Holds a message of each of these queues; `ended` says what the dispatcher heard of each. */
function bench(...queueIds: number[]) {
  const stream = new MessageStream()
  const ended: unknown[] = queueIds.map(() => 'runs')
  queueIds.forEach((queueId, i) => {
    const context = { queue: queue(queueId) } as unknown as MessageContext
    void stream.offer({ queueId } as unknown as IncomingMessage, context).then((value) => {
      ended[i] = value
    })
  })
  const next = async () => (await stream.next(() => false)) as PulledMessage
  return { stream, ended, next }
}

test('stream: an acknowledgement is refused when the queue was lost meanwhile, and keeps its place until then', async (t) => {
  const { stream, ended, next } = bench(0, 1, 0)
  const [first, second] = [await next(), await next()]
  stream.lose(queue(0))
  await Promise.resolve()
  t.deepEqual(ended, ['runs', 'runs', unhandled])
  await t.throwsAsync(first.ack(), { code: 'FENCED_OWNER', message: /given again/ })
  await second.ack()
  t.deepEqual(ended, [unhandled, undefined, unhandled])
})

test('stream: what was acknowledged in time stays so when the queue is lost', async (t) => {
  const { stream, ended, next } = bench(0)
  const message = await next()
  await message.ack()
  stream.lose(queue(0))
  await t.notThrowsAsync(message.ack())
  t.deepEqual(ended, [undefined])
})

test('stream: of a queue that is given back, what its caller has may still be acknowledged', async (t) => {
  const { stream, ended, next } = bench(0, 0)
  const message = await next()
  stream.dropUnreadOf(queue(0))
  await message.ack()
  t.deepEqual(ended, [undefined, unhandled])
})

test('stream: nothing is given while it is held, and a caller that waits goes on afterwards', async (t) => {
  const { stream, next } = bench(3)
  stream.hold(true)
  let given: PulledMessage | null = null
  const giving = next().then((message) => {
    given = message
  })
  await new Promise<void>((resolve) => setImmediate(resolve))
  t.is(given, null)
  stream.hold(false)
  await giving
  t.is((given as PulledMessage | null)?.queueId, 3)
})
