/** A consumer in a process of its own: prints what it handles. Arguments: servers, topic, group, name. */
import { connect } from '../../actors/index.ts'

const [servers, topic, group, clientId] = process.argv.slice(2) as [string, string, string, string]
const client = await connect({ servers })
const consumer = client.consumer({ group, clientId, from: 'first', ordered: true })
consumer.subscribe(topic)
process.stdout.write(`${JSON.stringify({ ready: true, servers })}\n`)
process.once('SIGTERM', async () => {
  await client.close()
  process.exit(0)
})
await consumer.run(async ({ text }) => {
  process.stdout.write(`handled ${text}\n`)
})
