/**
 * One member of the group, in a process of its own: notes in its journal what it handles and what it owns.
 *
 * Most messages are handled at once; now and then one of each queue takes long, at any rate of messages: so that something
 * is in flight whenever the member is to let go of queues, is killed or stands still. SIGTERM: it leaves the group as a program does that closes its client.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../../actors/index.ts'
import type { Allocation } from '../../machines/allocation/index.ts'
import { queueKey } from '../../machines/topic.ts'
import { Journal, sharedClock } from './journal.ts'

export type MemberOptions = {
  servers: string
  topic: string
  group: string
  clientId: string
  ordered: boolean
  allocation: Allocation
  concurrency: number
  journal: string
}

/** Once in so much time each queue has a message that takes so long. */
const SLOW_EVERY_MS = 2_500
const SLOW_MS = 250

const options = JSON.parse(process.argv[2]!) as MemberOptions
const { servers, topic, group, clientId, ordered, allocation, concurrency } = options
const journal = new Journal(options.journal)
/** By queue, when the last one began that took long. */
const slowAt = new Map<string, number>()
const client = await connect({ servers })
const consumer = client.consumer({ group, clientId, from: 'first', ordered, allocation, concurrency })
consumer.assignment$.subscribe((owned) => {
  journal.note(['a', sharedClock(), owned.map((one) => [queueKey(one), one.assignEpoch])])
  void journal.written()
})
process.stdout.write(`${JSON.stringify({ ready: true, servers })}\n`)
process.once('SIGTERM', async () => {
  await client.close()
  journal.close()
  process.exit(0)
})
await consumer.subscribe(topic).run(async (message, context) => {
  const { queueOffset, text } = message
  const queue = queueKey(message)
  const name = text.slice(0, text.indexOf(' '))
  const epoch = context.assignEpoch
  const now = sharedClock()
  const isSlow = now - (slowAt.get(queue) ?? 0) > SLOW_EVERY_MS
  if (isSlow) slowAt.set(queue, now)
  journal.note([isSlow ? 's' : 'h', now, queue, queueOffset, epoch, name])
  await journal.written()
  if (!isSlow) return
  await sleep(SLOW_MS)
  journal.note(['e', sharedClock(), queue, queueOffset, epoch])
  await journal.written()
})
