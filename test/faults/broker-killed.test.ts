/** A broker's process dies, again and again, while messages are sent: what was acknowledged is there, once, in order. */
import test from 'ava'
import { type Client, connect, type IncomingMessage, type Receipt, StateMQError } from '../../actors/index.ts'
import { startNatsServer } from '../support/nats-server.ts'
import { Processes, type Running, temporaryFolder } from '../support/processes.ts'
import { until } from '../support/until.ts'

const GROUPS = 40
const IN_FLIGHT = 500

type Sent = { readonly body: string; readonly group: string | null; receipt: Receipt | null; code: string }

/** Sends `count` messages, `IN_FLIGHT` at a time: of every two one has a group. Each is awaited and never sent again. */
async function sendAll(
  client: Client,
  topic: string,
  count: number,
  progress: (settled: number) => void,
): Promise<Sent[]> {
  const producer = client.producer({ group: 'faults', timeoutMs: 20_000 })
  const all: Sent[] = []
  let settled = 0
  const worker = async () => {
    while (all.length < count) {
      const number = all.length
      const group = number % 2 === 0 ? `group-${(number / 2) % GROUPS}` : null
      const sent: Sent = { body: `${number}`, group, receipt: null, code: '' }
      all.push(sent)
      try {
        sent.receipt = await producer.send({
          topic,
          body: sent.body,
          ...(group === null ? {} : { messageGroup: group }),
        })
      } catch (error) {
        sent.code = error instanceof StateMQError ? error.code : String(error)
      }
      progress(++settled)
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker))
  await producer.close()
  return all
}

/** All messages of a topic, queue by queue. */
async function readAll(client: Client, topic: string): Promise<IncomingMessage[]> {
  const { queues } = await client.admin().topic(topic)
  const stored = queues.reduce((sum, { minOffset, maxOffset }) => sum + maxOffset - minOffset, 0)
  const reader = client.reader({ topic })
  const found: IncomingMessage[] = []
  await until(`all ${stored} messages of '${topic}' are read`, async () => {
    for (;;) {
      const more = await reader.poll(10_000, 100)
      found.push(...more)
      if (more.length === 0) return found.length >= stored
    }
  })
  await reader.close()
  return found
}

for (const flush of ['sync', 'async'] as const) {
  test(`a broker that is killed: loses, doubles and reorders nothing that it acknowledged, with flush ${flush}`, async (t) => {
    t.timeout(300_000)
    const messages = 100_000
    const kills = 10
    const nats = await startNatsServer()
    t.teardown(() => nats.stop())
    const dir = await temporaryFolder(t)
    const processes = new Processes(t)
    await processes.start('node', '--roles', 'nameServer', '--nats', nats.url)
    const startBroker = (name: string) =>
      processes.start(
        'node',
        '--roles',
        'broker',
        '--broker',
        name,
        '--nats',
        nats.url,
        '--dir',
        dir,
        '--flush',
        flush,
      )
    let victim: Running = await startBroker('broker-a')
    await startBroker('broker-b')

    const client = await connect({ servers: nats.url })
    t.teardown(() => client.close())
    await client.admin().createTopic('payments', { queues: 4 })

    let killed = 0
    let restarting: Promise<void> = Promise.resolve()
    const killAndRestart = async () => {
      await victim.kill()
      victim = await startBroker('broker-a')
    }
    const began = performance.now()
    const sent = await sendAll(client, 'payments', messages, (settled) => {
      if (killed < kills && settled > ((killed + 1) * messages) / (kills + 2)) {
        killed++
        restarting = restarting.then(killAndRestart)
      }
    })
    await restarting
    t.log(`sent in ${Math.round(performance.now() - began)} ms`)
    t.is(killed, kills)

    const stored = await readAll(client, 'payments')
    const copies = new Map<string, IncomingMessage[]>()
    for (const message of stored) copies.set(message.text, [...(copies.get(message.text) ?? []), message])
    t.log(`read in ${Math.round(performance.now() - began)} ms`)
    const refused = sent.filter(({ receipt }) => receipt === null)
    t.log(`${refused.length} of ${messages} not acknowledged, ${stored.length - copies.size} stored twice`)

    const places = new Map(
      stored.map((message) => [`${message.brokerName}/${message.queueId}/${message.queueOffset}`, message]),
    )
    const lost = sent.filter(({ receipt, body }) => {
      if (receipt === null) return false
      const { brokerName, queueId, queueOffset, messageId } = receipt
      const found = places.get(`${brokerName}/${queueId}/${queueOffset}`)
      return found?.text !== body || found.messageId !== messageId
    })
    t.deepEqual(lost.slice(0, 5), [], `${lost.length} acknowledged messages are not where their receipts say`)

    const ordered = sent.filter(({ group }) => group !== null)
    const doubled = ordered.filter(({ body }) => (copies.get(body)?.length ?? 0) > 1)
    t.deepEqual(doubled.slice(0, 5), [], `${doubled.length} messages of a group are stored twice`)
    const strangers = [...copies.values()].filter(
      (same) => new Set(same.map(({ messageId }) => messageId)).size > 1,
    )
    t.deepEqual(strangers.slice(0, 5), [], 'copies of one message have two ids')

    for (let group = 0; group < GROUPS; group++) {
      const inOrder = stored
        .filter(({ messageGroup }) => messageGroup === `group-${group}`)
        .map(({ text }) => Number(text))
      t.deepEqual(
        inOrder,
        [...inOrder].sort((a, b) => a - b),
        `group-${group} is out of order`,
      )
    }
  })
}
