/**
 * The NATS home of the transport: a connection to nats-server, or to our own listener. The only file that knows the
 * `nats` package and its errors.
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
  Events,
  type Msg,
  type NatsConnection,
  NatsError,
  headers as newHeaders,
  type PublishOptions,
  type ServerInfo,
  type TlsOptions,
} from 'nats'
import { keepable, NO_BYTES } from './bytes.ts'
import { fail, type Outcome, succeed, done as succeeded } from './failures.ts'
import { checkHeader, TOO_LARGE } from './headers.ts'
import { createJoiner, MAX_WHOLE_BYTES, PART_HEADER, split } from './parts.ts'
import type { Clock, Log, Random } from './ports.ts'
import { createRequests } from './requests.ts'
import { isPattern, isSubject } from './subject-trie.ts'
import type { ConnectionState, Headers, Hear, ServerFacts, Subscription, Transport } from './transport.ts'

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
const DRAIN_MS = 5_000

/** Calls back once: with the transport, or with a failure after one connect timeout for each server. */
export function connectNats(options: NatsOptions, done: (outcome: Outcome<Transport>) => void): void {
  const { clock, connectTimeoutMs = 2_000 } = options
  const addresses = [options.servers].flat()
  const parsed = parseServers(addresses)
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
  const id = random.id()
  const watchers = new Set<(state: ConnectionState) => void>()
  const joiner = createJoiner(clock, log)
  let state: ConnectionState = 'connected'
  let maxPayload = connection.info!.max_payload
  let server = factsOf(connection.info!)
  let messages = 0
  let closers: (() => void)[] | undefined

  const report = (error: unknown) => log.error('a hearer of a message threw', { error })
  const requests = createRequests({
    clock,
    id,
    publish,
    report,
  })
  subscribe(requests.inbox, requests.hear)
  void watch()

  function publish(subject: string, payload: Uint8Array, reply = '', headers?: Headers): void {
    if (state === 'closed') throw new Error(`publish on '${subject}' AFTER the transport was closed`)
    if (!isSubject(subject))
      throw new TypeError(`'${subject}' is no subject: tokens without blanks, joined by dots`)
    if (reply !== '' && !isSubject(reply)) throw new TypeError(`'${reply}' is no subject for a reply`)
    const head = headers && packageHeaders(headers)
    if (state !== 'connected') return
    if (payload.length + (head === undefined ? 0 : headBytes(head)) <= maxPayload)
      send(subject, payload, head === undefined ? { reply } : { reply, headers: head })
    else if (payload.length > MAX_WHOLE_BYTES)
      report(
        new RangeError(`${payload.length} bytes for '${subject}' are refused: ${MAX_WHOLE_BYTES} travel`),
      )
    else
      split(payload, maxPayload, `${id}-${++messages}`, headers, (part, partHeaders, first) =>
        send(subject, part, { reply: first ? reply : '', headers: packageHeaders(partHeaders) }),
      )
  }

  /**
   * The package sends when all microtasks are done, which under load is when all callers have had their turn. A large
   * payload goes at once, so that the other side works on it meanwhile. Where the package has no such way, it waits.
   */
  function sendNow(): void {
    const { protocol } = connection as { protocol?: { flushPending?(): void } }
    protocol?.flushPending?.()
  }

  /** The package throws once it drains or is closed, which may be before anybody was told: the message is lost. */
  function send(subject: string, payload: Uint8Array, options: PublishOptions): void {
    try {
      connection.publish(subject, payload, options)
      if (payload.length >= SEND_NOW_BYTES) sendNow()
    } catch (error) {
      if (closers === undefined && !connection.isClosed()) report(error)
    }
  }

  function subscribe(pattern: string, hear: Hear, queue = ''): Subscription {
    if (closers !== undefined) throw new Error(`subscribe to '${pattern}' AFTER the transport was closed`)
    if (!isPattern(pattern)) throw new TypeError(`'${pattern}' is no subject to subscribe to`)
    if (queue !== '' && !/^\S+$/.test(queue)) throw new TypeError(`'${queue}' is no name of a queue group`)
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

  async function watch(): Promise<void> {
    for await (const { type, data } of connection.status()) {
      if (type === Events.Disconnect && state === 'connected') {
        become('reconnecting')
        joiner.clear()
        requests.failAll('disconnected')
      } else if (type === Events.Reconnect) {
        await connection.flush().then(back, () => {}) // It broke again: that is told next.
      } else if (type === Events.Error) log.warn('the NATS server reports an error', { error: data })
    }
    finish()
  }

  // Who hears this may be asked at once: the server knows all subscriptions BEFORE it is told.
  function back(): void {
    maxPayload = connection.info?.max_payload ?? maxPayload
    if (connection.info !== undefined) server = factsOf(connection.info)
    become('connected')
  }

  function become(next: ConnectionState): void {
    state = next
    for (const hear of watchers) {
      try {
        hear(next)
      } catch (error) {
        report(error)
      }
    }
  }

  function finish(): void {
    if (state === 'closed') return
    become('closed')
    joiner.clear()
    requests.failAll('closed')
    closers ??= []
    for (const done of closers) clock.defer(done)
  }

  function close(done: () => void): void {
    if (state === 'closed') clock.defer(done)
    else if (closers !== undefined) closers.push(done)
    else {
      closers = [done]
      // Draining waits for the server; without one, or with one that is stuck, it would wait for ever.
      const timer = clock.setTimeout(() => void connection.close(), DRAIN_MS)
      const closing = state === 'connected' ? connection.drain() : connection.close()
      closing.then(finish, finish).finally(() => clock.clearTimeout(timer))
    }
  }

  return {
    get maxPayload() {
      return maxPayload
    },
    get state() {
      return state
    },
    get server() {
      return server
    },
    publish,
    subscribe,
    request(subject, payload, timeoutMs, answer, headers) {
      if (closers !== undefined) requests.refuse(subject, 'closed', answer)
      else if (state !== 'connected') requests.refuse(subject, 'disconnected', answer)
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
      if (state !== 'connected') return clock.defer(() => done(broken()))
      connection.flush().then(
        () => done(succeeded),
        (error: unknown) => done(broken(error)),
      )
    },
    onState(hear) {
      watchers.add(hear)
      return () => void watchers.delete(hear)
    },
    close,
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

type Servers = { servers: string[]; more: Pick<ConnectionOptions, 'user' | 'pass' | 'token' | 'tls'> }

/** The package reads hosts and ports only: what else an address says is taken out here. */
function parseServers(addresses: readonly string[]): Outcome<Servers> {
  const found: Servers = { servers: [], more: {} }
  for (const address of addresses) {
    try {
      const { protocol, hostname, port, pathname, username, password } = new URL(
        address.includes('://') ? address : `nats://${address}`,
      )
      if (!['nats:', 'tls:'].includes(protocol) || hostname === '' || !['', '/'].includes(pathname))
        throw new TypeError('Invalid URL')
      found.servers.push(`${hostname}:${port === '' ? 4222 : port}`)
      if (protocol === 'tls:') found.more.tls = {}
      if (password !== '') {
        found.more.user = decodeURIComponent(username)
        found.more.pass = decodeURIComponent(password)
      } else if (username !== '') found.more.token = decodeURIComponent(username)
    } catch (error) {
      const what = `'${withoutLogin(address)}' is no address of a NATS server: write nats://host:4222`
      return fail('malformed', what, false, error)
    }
  }
  return succeed(found)
}

/** An address as it may be shown. */
const withoutLogin = (address: string) => address.replace(/^(\w+:\/\/)?.*@/, '$1')

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

function packageHeaders(headers: Headers) {
  const all = newHeaders()
  for (const [name, value] of Object.entries(headers)) {
    checkHeader(name, value)
    all.append(name, value)
  }
  return all
}

// A server that stands alone names no cluster.
const factsOf = ({ version, cluster, jetstream }: ServerInfo): ServerFacts => ({
  version,
  isClustered: cluster !== undefined,
  hasJetStream: jetstream === true,
})

const headBytes = (head: ReturnType<typeof newHeaders>): number => Buffer.byteLength(String(head))

function headersOf(message: Msg): Headers | undefined {
  const all = message.headers
  if (all === undefined) return undefined
  const found: [string, string][] = []
  if (all.code > 0) {
    found.push(['Status', String(all.code)])
    if (all.description !== '') found.push(['Description', all.description])
  }
  for (const [name, values] of all) found.push([name, values[0]!])
  return Object.fromEntries(found)
}
