/**
 * The NATS home of the transport: a connection to nats-server, or to our own listener. It and its parts
 * (nats-headers.ts, nats-lifetime.ts, nats-sockets.ts) are all that knows the `nats` package, and nobody else knows its
 * errors.
 *
 * - While the connection is down nothing is kept for later: a publish is lost, a request fails 'disconnected' at once.
 *   The package would keep some of it and lose some, and a heartbeat that comes late is worse than none.
 *   Subscriptions survive; the package tries to reconnect for ever, about every 150 ms.
 * - A payload above the server's `max_payload` travels in parts (parts.ts). A queue group would scatter them, so its
 *   members NEVER hear such a message: they answer 'tooLarge' to who asked.
 * - Bytes heard are views of memory that the package does not use again, or copies where a view would keep alive much
 *   more than itself. Bytes to send are read once, at the end of the turn: they must not change before that.
 */
import {
  type ConnectionOptions,
  connect,
  credsAuthenticator,
  type Msg,
  type NatsConnection,
  NatsError,
  type PublishOptions,
  type TlsOptions,
} from 'nats'
import { keepable, NO_BYTES } from './bytes.ts'
import { fail, type Outcome, succeed, done as succeeded } from './failures.ts'
import { TOO_LARGE } from './headers.ts'
import { addressesIn, parseAddresses, type Servers, withoutLogin } from './nats-addresses.ts'
import { headBytes, headersOf, packageHeaders } from './nats-headers.ts'
import { Lifetime } from './nats-lifetime.ts'
import { keepOneSocket } from './nats-sockets.ts'
import { createJoiner, type Joiner, MAX_WHOLE_BYTES, PART_HEADER, split } from './parts.ts'
import type { Clock, Log, Random } from './ports.ts'
import { createRequests } from './requests.ts'
import { checkPublish, checkSubscribe } from './subject-checks.ts'
import { isSubject } from './subject-trie.ts'
import type { Hear, Transport } from './transport.ts'

export type NatsOptions = {
  /** `nats://host:port`, one or several; `nats://user:password@host` and `nats://token@host` work too. */
  readonly servers: string | readonly string[]
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** What the server's monitoring calls this connection. */
  readonly name?: string
  readonly token?: string
  readonly user?: string
  readonly pass?: string
  /** The CONTENT of a `.creds` file. */
  readonly creds?: string
  readonly tls?: TlsOptions
  /** For each server that is tried. */
  readonly connectTimeoutMs?: number
  /** A connection whose server leaves two pings in a row unanswered is given up at the next; default 5,000. */
  readonly pingIntervalMs?: number
}

const RECONNECT_MS = 100
const SEND_NOW_BYTES = 16 * 1024
const PING_INTERVAL_MS = 5_000

/** Calls back once: with the transport, or with a failure after one connect timeout for each server. */
export function connectNats(options: NatsOptions, done: (outcome: Outcome<Transport>) => void): void {
  const { clock, connectTimeoutMs = 2_000 } = options
  const addresses = addressesIn(options.servers)
  const parsed = parseAddresses(addresses)
  if (!parsed.ok) {
    clock.defer(() => done(parsed))
    return
  }

  let waiting = true
  const answer = (outcome: Outcome<Transport>) => {
    if (!waiting) return
    waiting = false
    clock.clearTimeout(timer)
    done(outcome)
  }
  // The package's own time-out does not cover the look-up of the server's name.
  const timer = clock.setTimeout(
    () => answer(unreachable(addresses, new Error('no answer in time'))),
    connectTimeoutMs * addresses.length + 100,
  )
  connect(packageOptions(options, parsed.value, connectTimeoutMs)).then(
    (connection) => {
      if (waiting) answer(succeed(transportOver(connection, options)))
      else void connection.close()
    },
    (error: unknown) => answer(unreachable(addresses, error)),
  )
}

function transportOver(connection: NatsConnection, { clock, random, log }: NatsOptions): Transport {
  keepOneSocket(connection)
  const id = random.id()
  const joiner = createJoiner(clock, log)
  const report = (error: unknown) => log.error('a hearer of a message threw', { error })
  const lost = (code: 'disconnected' | 'closed') => {
    joiner.clear()
    requests.failAll(code)
  }
  const lifetime = new Lifetime({ connection, clock, log, lost, report })
  const parts: Parts = { connection, lifetime, joiner, id, log, report }
  const publish = publisherOver(parts)
  const subscribe = subscriberOver(parts, publish)
  const requests = createRequests({ clock, id, publish, report })
  subscribe(requests.inbox, requests.hear)
  void lifetime.watch()

  return {
    get maxPayload() {
      return lifetime.maxPayload
    },
    get state() {
      return lifetime.state
    },
    get server() {
      return lifetime.server
    },
    publish,
    subscribe,
    request(subject, payload, timeoutMs, answer, headers) {
      if (lifetime.isEnding) requests.refuse(subject, 'closed', answer)
      else if (lifetime.state !== 'connected') requests.refuse(subject, 'disconnected', answer)
      else if (payload.length > MAX_WHOLE_BYTES) requests.refuse(subject, 'tooLarge', answer)
      else requests.request(subject, payload, timeoutMs, answer, headers)
    },
    flush(done) {
      const broken = (cause?: unknown) =>
        fail(
          'disconnected',
          'the connection broke before all was sent: what was published may be lost',
          true,
          cause,
        )
      if (lifetime.state !== 'connected') return clock.defer(() => done(broken()))
      connection.flush().then(
        () => done(succeeded),
        (error: unknown) => done(broken(error)),
      )
    },
    onState: (hear) => lifetime.onState(hear),
    close: (done) => lifetime.close(done),
  }
}

/** What publishing and subscribing share. */
type Parts = {
  readonly connection: NatsConnection
  readonly lifetime: Lifetime
  readonly joiner: Joiner
  /** Unlike that of any other transport at the same server. */
  readonly id: string
  readonly log: Log
  readonly report: (error: unknown) => void
}

function publisherOver({ connection, lifetime, id, report }: Parts): Transport['publish'] {
  let messages = 0

  return function publish(subject, payload, reply = '', headers) {
    checkPublish(lifetime.state === 'closed', subject, reply)
    const head = headers && packageHeaders(headers)
    if (lifetime.state !== 'connected') return
    if (payload.length + (head === undefined ? 0 : headBytes(head)) <= lifetime.maxPayload)
      send(subject, payload, head === undefined ? { reply } : { reply, headers: head })
    else if (payload.length > MAX_WHOLE_BYTES)
      report(
        new RangeError(`${payload.length} bytes for '${subject}' are refused: ${MAX_WHOLE_BYTES} travel`),
      )
    else
      split(payload, lifetime.maxPayload, `${id}-${++messages}`, headers, (part, partHeaders, first) =>
        send(subject, part, { reply: first ? reply : '', headers: packageHeaders(partHeaders) }),
      )
  }

  /** The package throws once it drains or is closed, which may be before anybody was told: the message is lost. */
  function send(subject: string, payload: Uint8Array, options: PublishOptions): void {
    try {
      connection.publish(subject, payload, options)
      if (payload.length >= SEND_NOW_BYTES) sendNow()
    } catch (error) {
      if (!lifetime.isEnding && !connection.isClosed()) report(error)
    }
  }

  /**
   * The package sends when all microtasks are done, which under load is when all callers have had their turn. A large
   * payload goes at once, so that the other side works on it meanwhile. Where the package has no such way, it waits.
   */
  function sendNow(): void {
    const { protocol } = connection as { protocol?: { flushPending?(): void } }
    protocol?.flushPending?.()
  }
}

function subscriberOver(
  { connection, lifetime, joiner, log, report }: Parts,
  publish: Transport['publish'],
): Transport['subscribe'] {
  return function subscribe(pattern: string, hear: Hear, queue = '') {
    checkSubscribe(lifetime.isEnding, pattern, queue)
    const literal = isSubject(pattern)
    let open = true

    const take = (message: Msg): void => {
      const headers = headersOf(message)
      const subject = literal ? pattern : message.subject // Decoding it is not free.
      const place = headers?.[PART_HEADER]
      if (place === undefined) hear(keepable(message.data), message.reply ?? '', subject, headers)
      else if (queue !== '') refuseParts(subject, message.reply ?? '')
      else {
        const whole = joiner.join(subscription, message.data, place, message.reply ?? '', headers!)
        if (whole !== undefined) hear(whole.payload, whole.reply, subject, whole.headers)
      }
    }
    const callback = (error: NatsError | null, message: Msg): void => {
      if (error !== null) log.error('the server refuses a subscription', { subject: pattern, error })
      else if (open) {
        try {
          take(message)
        } catch (thrown) {
          report(thrown) // It would end the package's reader.
        }
      }
    }
    const subscription = connection.subscribe(pattern, queue === '' ? { callback } : { callback, queue })
    return {
      unsubscribe() {
        open = false
        subscription.unsubscribe()
      },
    }
  }

  // Only the first part carries a reply subject, so who asked is told once.
  function refuseParts(subject: string, reply: string): void {
    log.warn('a message larger than the server carries came to a queue group and was refused', { subject })
    if (reply !== '') publish(reply, NO_BYTES, '', { Status: TOO_LARGE })
  }
}

function packageOptions(
  options: NatsOptions,
  { servers, more }: Servers,
  connectTimeoutMs: number,
): ConnectionOptions {
  const { random, name, token, user, pass, creds, tls } = options
  return {
    servers,
    timeout: connectTimeoutMs,
    noAsyncTraces: true,
    maxReconnectAttempts: -1,
    ignoreAuthErrorAbort: true,
    pingInterval: options.pingIntervalMs ?? PING_INTERVAL_MS,
    reconnectDelayHandler: () => RECONNECT_MS + random.below(RECONNECT_MS),
    ...more,
    ...(name === undefined ? {} : { name }),
    ...(token === undefined ? {} : { token }),
    ...(user === undefined ? {} : { user }),
    ...(pass === undefined ? {} : { pass }),
    ...(creds === undefined ? {} : { authenticator: credsAuthenticator(Buffer.from(creds)) }),
    ...(tls === undefined ? {} : { tls }),
  }
}

function unreachable(addresses: readonly string[], error: unknown): Outcome<never> {
  const where = addresses.map(withoutLogin).join(', ')
  const code = error instanceof NatsError ? error.code : ''
  const denied = ['AUTHORIZATION_VIOLATION', 'BAD_AUTHENTICATION', 'BAD_CREDS', 'AUTHENTICATION_TIMEOUT']
  if (denied.includes(code))
    return fail(
      'disconnected',
      `the NATS server at ${where} refuses the user, token or credentials given`,
      false,
      error,
    )
  const why = error instanceof Error ? error.message : String(error)
  return fail(
    'disconnected',
    `no NATS server answers at ${where} (${why}): start one with 'nats-server' or 'statemq start', or name another address`,
    true,
    error,
  )
}
