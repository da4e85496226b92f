/**
 * One NATS client on the listener: its options, its subscriptions, and what it is told.
 *
 * What an order does, which errors end the connection and which do not, and the order of the answers are those of
 * nats-server 2.9; the transcripts of both are compared by a test.
 */
import type { Socket } from 'node:net'
import { NO_RESPONDERS_BLOCK } from './headers.ts'
import { createParser, type Orders, Violation } from './nats-parser.ts'
import { createOutbox } from './outbox.ts'
import type { Log } from './ports.ts'
import { isPattern, isSubject } from './subject-trie.ts'
import type { Ear, Member, Switchboard } from './switchboard.ts'

export interface Connection {
  /** Writes what has gathered. */
  flush(): void
  /** Pings a client that has been silent since the last check, and cuts off one that does not answer. */
  checkAlive(maxPingsOut: number): void
  /** Writes what has gathered, takes no more, and hangs up; `error` is told to the client first. */
  end(error?: string): void
  /** Hangs up at once. */
  cut(why: string): void
}

export type ConnectionOptions = {
  readonly board: Switchboard
  readonly socket: Socket
  readonly id: number
  /** The listener's half of INFO. */
  readonly info: Readonly<Record<string, unknown>>
  readonly maxPendingBytes: number
  readonly log: Log
  /** There is something to flush at the end of this turn. Called once until the next flush. */
  readonly touched: (connection: Connection) => void
}

/** How long a client that was told goodbye may take to hang up. */
const GOODBYE_MS = 1_000

// What nats-server assumes until the client says otherwise.
const assumed = {
  verbose: true,
  pedantic: true,
  echo: true,
  headers: false,
  no_responders: false,
  protocol: 0,
}

export function serveConnection(options: ConnectionOptions): Connection {
  const { board, socket, id, log, maxPendingBytes } = options
  const name = `nats-client-${id}`
  const subscriptions = new Map<string, Ear & { max: number; taken: number }>()
  const outbox = createOutbox(socket)
  let client = assumed
  let open = true
  let dirty = false
  let silent = false
  let pingsOut = 0

  const member: Member = {
    name,
    get echo() {
      return client.echo
    },
    get wantsNoResponders() {
      return client.no_responders
    },
  }

  const orders: Orders = {
    maxPayload: board.maxPayload,
    get headers() {
      return client.headers
    },
    connect(json) {
      client = { ...client, ...parseOptions(json) }
      if (client.protocol < 0 || client.protocol > 1)
        throw new Violation(`protocol ${client.protocol}`, 'invalid client protocol')
      if (client.no_responders && !client.headers)
        throw new Violation('no_responders without headers', 'no responders requires headers support')
      acknowledge()
    },
    ping: () => tell('PONG\r\n'),
    pong() {
      pingsOut = 0
    },
    publish(subject, reply, block, payload) {
      if (client.pedantic && !isSubject(subject)) tell("-ERR 'Invalid Publish Subject'\r\n")
      acknowledge()
      board.publish(member, subject, payload, reply, block, true)
    },
    subscribe(pattern, queue, sid) {
      if (!isPattern(pattern)) return tell("-ERR 'Invalid Subject'\r\n")
      acknowledge()
      if (subscriptions.has(sid)) return // After a reconnect a client may name a subscription twice.
      const ear = { member, pattern, queue, max: 0, taken: 0, take: takerOf(sid) }
      subscriptions.set(sid, ear)
      board.listen(ear)
    },
    unsubscribe(sid, max) {
      acknowledge()
      const ear = subscriptions.get(sid)
      if (ear === undefined) return
      if (max > ear.taken) ear.max = max
      else drop(sid)
    },
  }

  const takerOf =
    (sid: string): Ear['take'] =>
    (payload, reply, subject, block) => {
      const ear = subscriptions.get(sid)
      if (ear === undefined) return false
      // The notice is no message: it does not count against a limit.
      if (block !== NO_RESPONDERS_BLOCK && ++ear.taken === ear.max) drop(sid)
      const to = reply === '' ? `${subject} ${sid} ` : `${subject} ${sid} ${reply} `
      if (block === undefined || !client.headers) tell(`MSG ${to}${payload.length}\r\n`)
      else {
        tell(`HMSG ${to}${block.length} ${block.length + payload.length}\r\n`)
        outbox.bytes(block)
      }
      outbox.bytes(payload)
      outbox.text('\r\n')
      if (outbox.pendingBytes > maxPendingBytes) connection.cut('it reads too slowly')
      return true
    }

  function drop(sid: string): void {
    board.leave(subscriptions.get(sid)!)
    subscriptions.delete(sid)
  }

  function tell(text: string): void {
    outbox.text(text)
    if (dirty) return
    dirty = true
    options.touched(connection)
  }

  function acknowledge(): void {
    if (client.verbose) tell('+OK\r\n')
  }

  function leave(): void {
    open = false
    for (const ear of subscriptions.values()) board.leave(ear)
    subscriptions.clear()
  }

  const parser = createParser(orders)
  socket.on('data', (chunk) => {
    if (!open) return // It was told goodbye; reading on lets the goodbye arrive.
    silent = false
    try {
      parser.read(chunk)
    } catch (error) {
      if (!(error instanceof Violation)) throw error
      log.warn('a NATS client broke the protocol and was disconnected', { client: name, why: error.message })
      connection.end(error.tell)
    }
  })
  socket.on('error', () => {}) // A 'close' follows.
  socket.on('close', leave)

  const connection: Connection = {
    flush() {
      dirty = false
      if (!socket.destroyed) outbox.flush()
    },
    checkAlive(maxPingsOut) {
      if (!open) return
      if (!silent) {
        silent = true
        pingsOut = 0
      } else if (pingsOut++ < maxPingsOut) tell('PING\r\n')
      else connection.end('Stale Connection')
    },
    end(error) {
      if (!open) return
      leave()
      if (error !== undefined) outbox.text(`-ERR '${error}'\r\n`)
      connection.flush()
      socket.end()
      const timer = board.clock.setTimeout(() => socket.destroy(), GOODBYE_MS)
      socket.on('close', () => board.clock.clearTimeout(timer))
    },
    cut(why) {
      if (!open) return
      leave()
      log.warn('a NATS client was cut off', { client: name, why, pendingBytes: outbox.pendingBytes })
      socket.destroy()
    },
  }

  const { address = '', port = 0 } = socket.address() as { address?: string; port?: number }
  tell(`INFO ${JSON.stringify({ ...options.info, client_id: id, host: address, port })}\r\n`)
  return connection
}

/** Only what the listener heeds, each with the type it must have. */
function parseOptions(json: string): Partial<typeof assumed> {
  let options: unknown
  try {
    options = JSON.parse(json)
  } catch {
    throw new Violation('CONNECT with options that are no JSON')
  }
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw new Violation('CONNECT with options that are no object')
  const known = Object.entries(options).filter(
    ([key, value]) => Object.hasOwn(assumed, key) && value !== null,
  )
  for (const [key, value] of known)
    if (typeof value !== typeof assumed[key as keyof typeof assumed])
      throw new Violation(`CONNECT with a '${key}' of the wrong type`)
  return Object.fromEntries(known)
}
