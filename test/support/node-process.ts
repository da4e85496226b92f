/** A node in a process of its own, from its options as JSON: for roles together that the command line keeps apart. */
import { argv } from 'node:process'
import { type NodeOptions, startNode } from '../../actors/index.ts'

const options = JSON.parse(argv[2]!) as NodeOptions
const failed = (message: string) => {
  console.error(message)
  process.exit(1)
}
try {
  const node = await startNode({ ...options, failed })
  console.log(JSON.stringify({ ready: true, servers: node.servers }))
  process.once('SIGTERM', () => void node.close().then(() => process.exit(0)))
} catch (error) {
  failed(String(error))
}
