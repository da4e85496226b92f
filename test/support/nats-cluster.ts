/** Real nats-servers that form one cluster with JetStream, each as nats-server.ts starts it. */
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { type NatsServer, startNatsServer } from './nats-server.ts'

/** The servers know each other's ports BEFORE any of them starts. */
export async function startNatsCluster(size: number): Promise<NatsServer[]> {
  const ports = await freePorts(size)
  const routes = ports.map((port) => `"nats://127.0.0.1:${port}"`).join(', ')
  const servers = ports.map((port, i) =>
    startNatsServer({
      jetstream: true,
      config: `server_name: n${i}\ncluster { name: c, listen: "127.0.0.1:${port}", routes: [${routes}] }`,
    }),
  )
  return Promise.all(servers)
}

/**
 * Below those that a system gives to whoever asks for any: while the servers start, they and all other tests ask for many,
 * and NONE of them is given one of these.
 */
const FROM = 20_000
const PORTS = 12_000

async function freePorts(count: number): Promise<number[]> {
  const holders: Server[] = []
  while (holders.length < count) {
    const holder = createServer()
    const isMine = once(holder, 'listening').then(
      () => true,
      () => false,
    )
    holder.listen(FROM + Math.floor(Math.random() * PORTS), '127.0.0.1')
    if (await isMine) holders.push(holder)
  }
  const ports = holders.map((holder) => (holder.address() as { port: number }).port)
  await Promise.all(holders.map((holder) => once(holder.close(), 'close')))
  return ports
}
