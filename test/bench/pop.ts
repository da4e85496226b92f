/**
 * Pop in figures: messages a second that ONE simple consumer receives and acknowledges, one by one, over the built-in
 * listener; the broker is a process of its own.
 *
 *   node dist/test/bench/pop.js [--messages 100000] [--max 32] [--loops 4] [--size 128]
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { connect } from '../../actors/index.ts'
import { launch, stop } from './sides.ts'

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '100000' },
    max: { type: 'string', default: '32' },
    loops: { type: 'string', default: '4' },
    size: { type: 'string', default: '128' },
  },
})
const [messages, max, loops, size] = [values.messages, values.max, values.loops, values.size].map(Number) as [
  number,
  number,
  number,
  number,
]

const dir = mkdtempSync(join(tmpdir(), 'statemq-bench-'))
const { child, ready } = await launch(['start', '--port', '0', '--dir', dir])
try {
  const client = await connect({ servers: ready.servers })
  await client.admin().createTopic('bench', { queues: 4 })
  const producer = client.producer({ timeoutMs: 30_000 })
  const body = Buffer.alloc(size, 'x')
  for (let sent = 0; sent < messages; sent += 10_000)
    await Promise.all(Array.from({ length: 10_000 }, () => producer.send({ topic: 'bench', body })))

  const consumer = client.simpleConsumer({
    group: 'pop',
    subscriptions: [{ topic: 'bench' }],
    from: 'first',
  })
  let received = 0
  let acknowledged = 0
  const began = performance.now()
  const loop = async () => {
    while (received < messages) {
      const given = await consumer.receive(max, 1_000)
      received += given.length
      await Promise.all(given.map((message) => consumer.ack(message)))
      acknowledged += given.length
    }
  }
  await Promise.all(Array.from({ length: loops }, loop))
  const seconds = (performance.now() - began) / 1_000
  await client.close()
  console.log(
    JSON.stringify({
      messages,
      max,
      loops,
      size,
      acknowledged,
      perSecond: Math.round(acknowledged / seconds),
    }),
  )
} finally {
  await stop(child)
  rmSync(dir, { recursive: true, force: true })
}
