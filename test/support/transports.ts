/** Moves on transports, as promises, and the homes on which the contract is held. */
import { realClock, realRandom } from '../../actors/node/real-world.ts'
import type { Log } from '../../actors/node/world.ts'
import type { Outcome } from '../../transport/failures.ts'
import { createHub, type MemoryTransport } from '../../transport/memory.ts'
import { connectNats } from '../../transport/nats.ts'
import { type Listener, type ListenerOptions, startListener } from '../../transport/nats-listener.ts'
import type { Headers, Transport } from '../../transport/transport.ts'
import { type NatsServerOptions, startNatsServer } from './nats-server.ts'

export const clock = realClock
export const random = realRandom()

/** A log that is read by the test. */
export function notedLog(): Log & { readonly lines: string[]; readonly fields: unknown[] } {
  const lines: string[] = []
  const fields: unknown[] = []
  const note = (line: string, more?: unknown) => {
    lines.push(line)
    fields.push(more)
  }
  return { lines, fields, info: note, warn: note, error: note }
}

export const request = (
  transport: Transport,
  subject: string,
  payload: Uint8Array | string,
  timeoutMs = 60_000,
) =>
  new Promise<Outcome<Buffer>>((resolve) =>
    transport.request(subject, Buffer.from(payload), timeoutMs, resolve),
  )

/** The answer as text, or the code of the failure. */
export async function ask(transport: Transport, subject: string, payload = '', timeoutMs = 60_000) {
  const outcome = await request(transport, subject, payload, timeoutMs)
  return outcome.ok ? outcome.value.toString() : outcome.failure.code
}

export const flush = (transport: Transport) =>
  new Promise<Outcome<void>>((resolve) => transport.flush(resolve))

export const close = (transport: Transport) => new Promise<void>((resolve) => transport.close(resolve))

/** Resolves when the connection is in that state. */
export const reaches = (transport: Transport, state: Transport['state']) =>
  new Promise<void>((resolve) => {
    if (transport.state === state) return resolve()
    const stop = transport.onState((next) => {
      if (next !== state) return
      stop()
      resolve()
    })
  })

export type Heard = { payload: Buffer; reply: string; subject: string; headers: Headers | undefined }

/** Subscribes and keeps what it hears. */
export function listen(transport: Transport, pattern: string, queue?: string) {
  const heard: Heard[] = []
  let waiting: { count: number; resolve: () => void }[] = []
  const subscription = transport.subscribe(
    pattern,
    (payload, reply, subject, headers) => {
      heard.push({ payload, reply, subject, headers })
      waiting = waiting.filter(({ count, resolve }) => heard.length < count || resolve())
    },
    queue,
  )
  return {
    heard,
    subscription,
    get texts() {
      return heard.map(({ payload }) => payload.toString())
    },
    /** Resolves when it has heard so many. */
    async until(count: number): Promise<Heard[]> {
      if (heard.length < count)
        await new Promise<void>((resolve) => waiting.push({ count, resolve: () => resolve() }))
      return heard
    },
  }
}

/** Answers every request with what `answer` makes of it. */
export function serve(
  transport: Transport,
  pattern: string,
  answer: (text: string) => string,
  queue?: string,
) {
  return transport.subscribe(
    pattern,
    (payload, reply) => transport.publish(reply, Buffer.from(answer(payload.toString()))),
    queue,
  )
}

/** Waits until the hub or server knows the subscriptions of all of these. */
export const ready = (...transports: Transport[]) => Promise.all(transports.map(flush))

/** One place where transports meet. */
export interface Station {
  connect(log?: Log): Promise<Transport>
  /** Where a NATS client finds it; undefined in memory. */
  readonly port: number | undefined
  /** All connections break and none can be made, until `restore`. */
  interrupt(): Promise<void>
  restore(): Promise<void>
  stop(): Promise<void>
}

export type Home = {
  readonly name: string
  /** Whether payloads above `maxPayload` travel in parts. */
  readonly splits: boolean
  start(options?: { maxPendingBytes?: number }): Promise<Station>
}

export const homes: readonly Home[] = [
  { name: 'memory', splits: false, start: startMemory },
  { name: 'nats on the listener', splits: true, start: startOnListener },
  { name: 'nats on nats-server', splits: true, start: startOnServer },
]

async function startMemory(): Promise<Station> {
  const logs = new Set<Log>()
  const all =
    (level: 'info' | 'warn' | 'error'): Log['info'] =>
    (...line) =>
      logs.forEach((log) => {
        log[level](...line)
      })
  const hub = createHub({ clock, random, log: { info: all('info'), warn: all('warn'), error: all('error') } })
  const members: MemoryTransport[] = []
  return {
    port: undefined,
    async connect(log) {
      if (log !== undefined) logs.add(log)
      const transport = hub.connect()
      members.push(transport)
      return transport
    },
    interrupt: async () => members.forEach((member) => void member.sever()),
    restore: async () => members.forEach((member) => void member.mend()),
    stop: async () => {},
  }
}

async function startOnListener(options: { maxPendingBytes?: number } = {}): Promise<Station> {
  const hub = createHub({ clock, random, log: notedLog() })
  let listener = await openListener({ hub, ...options })
  const { port } = listener
  const clients = natsClients(listener.url)
  return {
    port,
    connect: clients.connect,
    interrupt: () => closeListener(listener),
    async restore() {
      listener = await openListener({ hub, port, ...options })
      await clients.back()
    },
    async stop() {
      await clients.close()
      await closeListener(listener)
    },
  }
}

async function startOnServer({ maxPendingBytes }: { maxPendingBytes?: number } = {}): Promise<Station> {
  const options: NatsServerOptions =
    maxPendingBytes === undefined
      ? {}
      : { config: `max_pending: ${maxPendingBytes}\nwrite_deadline: "500ms"` }
  const server = await startNatsServer(options)
  const clients = natsClients(server.url)
  return {
    port: server.port,
    connect: clients.connect,
    interrupt: server.kill,
    async restore() {
      await server.restart()
      await clients.back()
    },
    async stop() {
      await clients.close()
      await server.stop()
    },
  }
}

function natsClients(url: string) {
  const transports: Transport[] = []
  const open = () => transports.filter(({ state }) => state !== 'closed')
  return {
    async connect(log?: Log) {
      const transport = await connectTo(url, log)
      transports.push(transport)
      return transport
    },
    back: () => Promise.all(open().map((transport) => reaches(transport, 'connected'))),
    close: () => Promise.all(open().map(close)),
  }
}

export const tryConnect = (
  servers: string | string[],
  more: Partial<Parameters<typeof connectNats>[0]> = {},
) =>
  new Promise<Outcome<Transport>>((resolve) =>
    connectNats({ servers, clock, random, log: notedLog(), ...more }, resolve),
  )

export async function connectTo(url: string, log: Log = notedLog()): Promise<Transport> {
  // A test never fails because the machine is slow.
  const outcome = await tryConnect(url, { log, connectTimeoutMs: 20_000 })
  if (!outcome.ok) throw new Error(outcome.failure.message)
  return outcome.value
}

export const tryListen = (options: Partial<ListenerOptions> & Pick<ListenerOptions, 'hub'>) =>
  new Promise<Outcome<Listener>>((resolve) =>
    startListener({ clock, random, log: notedLog(), port: 0, ...options }, resolve),
  )

export async function openListener(
  options: Partial<ListenerOptions> & Pick<ListenerOptions, 'hub'>,
): Promise<Listener> {
  const outcome = await tryListen(options)
  if (!outcome.ok) throw new Error(outcome.failure.message)
  return outcome.value
}

export const closeListener = (listener: Listener) =>
  new Promise<void>((resolve) => listener.close(() => resolve()))
