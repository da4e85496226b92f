/**
 * The listener: the memory hub spoken over NATS's client protocol on a TCP port, so that any NATS client in any
 * language attaches to a cluster that has no nats-server.
 *
 * It listens on 127.0.0.1 unless told otherwise and knows no passwords: for more than one machine there is nats-server.
 * Each connection is written once a turn of the loop. A client that reads too slowly, or does not answer pings, is cut
 * off and NEVER holds up another.
 */
import { createServer } from 'node:net'
import { fail, type Outcome, succeed } from './failures.ts'
import { type Connection, serveConnection } from './nats-connection.ts'
import type { Clock, Log, Random } from './ports.ts'
import type { Switchboard } from './switchboard.ts'

export type ListenerOptions = {
  readonly hub: Switchboard
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly host?: string
  /** 0 for any free one. */
  readonly port: number
  /** A client that is silent for so long is pinged. */
  readonly pingIntervalMs?: number
  readonly maxPingsOut?: number
  /** A client with more unread bytes than this is cut off. */
  readonly maxPendingBytes?: number
}

export interface Listener {
  readonly port: number
  readonly url: string
  readonly connections: number
  /** Writes what is under way, hangs up on all clients and gives the port back. */
  close(done: () => void): void
}

export function startListener(options: ListenerOptions, done: (outcome: Outcome<Listener>) => void): void {
  const { hub, clock, random, log, host = '127.0.0.1', port } = options
  const { pingIntervalMs = 30_000, maxPingsOut = 2, maxPendingBytes = 64 * 1024 * 1024 } = options
  const connections = new Set<Connection>()
  let touched: Connection[] = []
  let clients = 0
  let emptied = () => {}

  const info = {
    server_id: random.id(),
    server_name: 'statemq',
    version: '2.9.10', // The level of the protocol that this speaks; clients decide by it what to ask for.
    proto: 1,
    headers: true,
    max_payload: hub.maxPayload,
  }

  function touch(connection: Connection): void {
    if (touched.push(connection) === 1) clock.defer(flush)
  }

  function flush(): void {
    const all = touched
    touched = []
    for (const connection of all) connection.flush()
  }

  const server = createServer({ noDelay: true }, (socket) => {
    const connection = serveConnection({
      board: hub,
      socket,
      id: ++clients,
      info,
      maxPendingBytes,
      log,
      touched: touch,
    })
    connections.add(connection)
    socket.on('close', () => {
      connections.delete(connection)
      if (connections.size === 0) emptied()
    })
  })

  let timer: unknown
  function checkAll(): void {
    for (const connection of connections) connection.checkAlive(maxPingsOut)
    timer = clock.setTimeout(checkAll, pingIntervalMs)
  }

  function close(closed: () => void): void {
    clock.clearTimeout(timer)
    server.close(() => {
      if (connections.size === 0) closed()
      else emptied = closed // The last sockets tell of their end just after the server.
    })
    // AFTER the messages that have arrived were heard, so that answers given at once still go out.
    hub.later(() => {
      for (const connection of connections) connection.end()
    })
  }

  server.once('error', (error: NodeJS.ErrnoException) => done(cannotListen(host, port, error)))
  server.listen(port, host, () => {
    server.removeAllListeners('error')
    server.on('error', (error) => log.error('the NATS listener failed', { error }))
    timer = clock.setTimeout(checkAll, pingIntervalMs)
    const bound = (server.address() as { port: number }).port
    done(
      succeed({
        port: bound,
        url: `nats://${host.includes(':') ? `[${host}]` : host}:${bound}`,
        get connections() {
          return connections.size
        },
        close,
      }),
    )
  })
}

function cannotListen(host: string, port: number, error: NodeJS.ErrnoException): Outcome<never> {
  if (error.code === 'EADDRINUSE')
    return fail(
      'inUse',
      `port ${port} of ${host} is taken by another program: stop that program, choose another port, or give port 0 for any free one`,
      false,
      error,
    )
  return fail('ioError', `cannot listen on port ${port} of ${host}: ${error.message}`, false, error)
}
