/**
 * Pop in figures: messages a second that ONE simple consumer receives and acknowledges, one by one, over the built-in
 * listener; the broker is a process of its own.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from '../../actors/index.ts'
import { POP_MESSAGES_MAX } from '../../transport/pop-messages.ts'
import { commandLine, fail } from '../support/program.ts'
import { launch, stop } from './sides.ts'

const usage = `usage: node dist/test/bench/pop.js [options]
  --messages N        default 100000
  --max N             messages that one receive asks for; default 32
  --loops N           receives that wait at a time; default 4
  --size BYTES        of a body; default 128
example: node dist/test/bench/pop.js --messages 20000 --loops 8
`

const { whole } = commandLine(usage, { messages: '100000', max: '32', loops: '4', size: '128' })
const [messages, max] = [whole('messages', 1), whole('max', 1)]
const [loops, size] = [whole('loops', 1), whole('size', 1)]
if (max > POP_MESSAGES_MAX) fail(`--max ${max}: give at most ${POP_MESSAGES_MAX}`)

const dir = mkdtempSync(join(tmpdir(), 'statemq-bench-'))
const { child, ready } = await launch(['start', '--port', '0', '--dir', dir])
try {
  const client = await connect({ servers: ready.servers })
  await client.admin().createTopic('bench', { queues: 4 })
  const producer = client.producer({ timeoutMs: 30_000 })
  const body = Buffer.alloc(size, 'x')
  for (let sent = 0; sent < messages; sent += 10_000)
    await Promise.all(
      Array.from({ length: Math.min(10_000, messages - sent) }, () =>
        producer.send({ topic: 'bench', body }),
      ),
    )

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
