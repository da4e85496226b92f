/** Real nats-servers that form one cluster with JetStream, each as nats-server.ts starts it. */
import { once } from 'node:events'
import { createServer } from 'node:net'
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

async function freePorts(count: number): Promise<number[]> {
  const holders = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(holders.map((holder) => once(holder, 'listening')))
  const ports = holders.map((holder) => (holder.address() as { port: number }).port)
  await Promise.all(holders.map((holder) => once(holder.close(), 'close')))
  return ports
}
