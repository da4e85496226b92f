/**
 * Retry and dead letters: what fails is tried again later, holds up nothing, and is not lost when it fails for good.
 *
 * A payment whose bank does not answer is tried again by the ladder of delay levels, while the others go on. One that
 * can never succeed becomes a dead letter at once: somebody looks at it, and sends it again when the cause is mended.
 * The till is a static member: started anew under its `instanceId` within its session it gets its queues back, and
 * nobody else has to give one up meanwhile.
 *
 * Run it: `npm start` in one terminal, then `node dist/examples/retry.js` in another.
 */
// In a project of your own: from 'statemq'.
import { connect, type IncomingMessage } from '../actors/index.ts'

const client = await connect()
const admin = client.admin()
await admin.createTopic('payments', { queues: 2 })
const known = new Set(['ann', 'bob'])

/** The till, on a connection of its own. What it booked is told to `booked`. */
async function startTill(booked: (message: IncomingMessage) => void) {
  const own = await connect()
  const consumer = own.consumer({ group: 'till', instanceId: 'till-1', from: 'first' }).subscribe('payments')
  await consumer.run((message, context) => {
    const { payer } = message.json<{ payer: string }>()
    if (!known.has(payer)) {
      context.delayLevel = -1 // No pause helps: a dead letter at once.
      throw new Error(`nobody knows ${payer}`)
    }
    if (payer === 'bob' && message.deliveryAttempt === 1) {
      context.delayLevel = 1 // Again in a second; without this line in 10 s, then 30 s, 1 min … 2 h.
      throw new Error('the bank does not answer')
    }
    console.log(`booked ${payer}, try ${message.deliveryAttempt}`)
    booked(message)
  })
  return own
}

/** Resolves when `count` more payments of this run are booked. */
function expecting(count: number): { booked(message: IncomingMessage): void; all: Promise<void> } {
  let booked = (_: IncomingMessage): void => {}
  const all = new Promise<void>((resolve) => {
    let left = count
    booked = () => {
      if (--left === 0) resolve()
    }
  })
  return { booked, all }
}

const first = expecting(2)
let till = await startTill(first.booked)
const producer = client.producer({ group: 'shop' })
for (const payer of ['ann', 'bob', 'cleo']) {
  await producer.send({ topic: 'payments', keys: payer, body: JSON.stringify({ payer }) })
}
await first.all
await till.close()

// What `statemq dead-letter list till` prints, and `statemq dead-letter resend till --message ID` does.
const [letter] = await admin.deadLetters('till', { max: 1 })
console.log(`dead: ${letter!.keys.join()}, tried ${letter!.attempts} time, ${letter!.reason}`)
known.add('cleo')
const second = expecting(1)
till = await startTill(second.booked)
await admin.resendDeadLetters('till', { messageIds: [letter!.messageId] })
await second.all

await till.close()
await client.close()
