/** Answers requests, for comparison: what one round trip through NATS to another Node process costs. */
import { connect } from 'nats'

const nc = await connect({ servers: process.argv[2]! })
nc.subscribe('bench.echo', { callback: (_, message) => message.respond() })
await nc.flush()
process.send!('ready')
