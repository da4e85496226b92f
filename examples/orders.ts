/**
 * Orders: what happens to one order is handled in the order in which it happened; different orders go side by side.
 *
 * The message group is the promise: messages of one group go to one queue, a queue has at most one reader in a
 * consumer group, and `ordered` gives that reader one message of a queue at a time.
 *
 * Run it: `npm start` in one terminal, then `node dist/examples/orders.js` in another.
 */
import { setTimeout as pause } from 'node:timers/promises'
// In a project of your own: from 'statemq'.
import { connect } from '../actors/index.ts'

const orders = ['A-1', 'B-2', 'C-3']
const steps = ['created', 'paid', 'shipped']

const client = await connect()
await client.admin().createTopic('orders', { queues: 4 })

const seen = new Map(orders.map((order): [string, string[]] => [order, []]))
let left = orders.length * steps.length
const everything = new Promise<void>((resolve) => {
  const consumer = client.consumer({ group: 'fulfilment', ordered: true, from: 'first' })
  consumer.subscribe('orders')
  void consumer.run(async (message) => {
    // Work that takes now longer, now shorter: without order, 'shipped' would overtake 'paid' here.
    await pause(Math.random() * 20)
    console.log(
      `${message.messageGroup} ${message.text.padEnd(8)} queue ${message.queueId} of ${message.brokerName}`,
    )
    seen.get(message.messageGroup!)?.push(message.text)
    if (--left === 0) resolve()
  })
})

const producer = client.producer({ group: 'shop' })
// All at once: what keeps the order is the message group, not waiting for each send.
const sends = steps.flatMap((step) =>
  orders.map((order) => producer.send({ topic: 'orders', messageGroup: order, tag: step, body: step })),
)
await Promise.all(sends)
await everything

for (const [order, own] of seen) console.log(`${order}: ${own.join(', ')}`)
// Commits and leaves the group. Run this again: it goes on where it stopped and sees no old message.
await client.close()
