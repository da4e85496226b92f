/**
 * How a node talks: over a nats-server, over its own listener, or over the transport of another node in this process.
 *
 * Clients' messages, the bytes of replication and signs of life travel on connections of their own: a backlog on one
 * NEVER delays another, and a connection that the server drops for being slow takes only its own with it.
 */
import { createHub, type Hub } from '../../transport/memory.ts'
import { connectNats } from '../../transport/nats.ts'
import { type Listener, startListener } from '../../transport/nats-listener.ts'
import type { Transport } from '../../transport/transport.ts'
import { errorOfFailure } from '../errors.ts'
import { type FailoverOptions, failoverOf } from './failover.ts'
import { type LocalWorld, serversOf } from './surroundings.ts'

export type WayOptions = {
  servers?: string | readonly string[]
  listen?: { port: number; host?: string }
  transport?: Transport
  failover?: FailoverOptions
}

export type Way = {
  /** For clients' messages and everything small. */
  readonly transport: Transport
  /** Where clients connect. */
  readonly servers: string
  /** What a thread of this process would connect to; null where only this loop can talk. */
  readonly url: string | readonly string[] | null
  /** One more connection; its name is for people. */
  connect(name: string): Promise<Transport>
  leave(): Promise<void>
}

const LISTENER_PAYLOAD = 8 * 1024 * 1024

export async function attach(options: WayOptions, local: LocalWorld, name: string): Promise<Way> {
  const { transport, listen, servers } = options
  if (transport) {
    return { transport, servers: 'shared', url: null, connect: async () => transport, leave: async () => {} }
  }
  if (listen) return listenAt(listen, local, name)
  const given = serversOf(servers)
  const open: Transport[] = []
  const { pingMs: pingIntervalMs } = failoverOf(options.failover)
  const connect = (as: string): Promise<Transport> =>
    new Promise((resolve, reject) =>
      connectNats({ servers: given, name: as, pingIntervalMs, ...local }, (outcome) => {
        if (!outcome.ok) return reject(errorOfFailure(outcome.failure))
        open.push(outcome.value)
        resolve(outcome.value)
      }),
    )
  const own = await connect(name)
  return {
    transport: own,
    servers: [given].flat().join(','),
    url: given,
    connect: (purpose) => connect(`${name}-${purpose}`),
    leave: () => closeAll(open),
  }
}

async function listenAt(
  listen: { port: number; host?: string },
  local: LocalWorld,
  name: string,
): Promise<Way> {
  const { clock, random, log } = local
  const hub: Hub = createHub({ clock, random, log, maxPayload: LISTENER_PAYLOAD })
  const listener = await new Promise<Listener>((resolve, reject) =>
    startListener({ hub, ...local, ...listen }, (outcome) =>
      outcome.ok ? resolve(outcome.value) : reject(errorOfFailure(outcome.failure)),
    ),
  )
  const open: Transport[] = []
  const connect = (as: string): Transport => {
    const member = hub.connect(as)
    open.push(member)
    return member
  }
  return {
    transport: connect(name),
    servers: listener.url,
    url: null,
    connect: async (purpose) => connect(`${name}-${purpose}`),
    async leave() {
      await closeAll(open)
      await new Promise<void>((closed) => listener.close(closed))
    },
  }
}

/** The last one opened goes first: what everything else stands on goes last. */
async function closeAll(open: Transport[]): Promise<void> {
  for (const transport of open.splice(0).reverse()) {
    await new Promise<void>((closed) => transport.close(closed))
  }
}
