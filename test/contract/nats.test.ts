/** What only the NATS home can do: reach or miss a server, log in, outlive what the server does. */

import net from 'node:net'
import { inspect } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { createHub } from '../../transport/memory.ts'
import { startNatsServer } from '../support/nats-server.ts'
import {
  ask,
  clock,
  close,
  closeListener,
  connectTo,
  openListener,
  random,
  reaches,
  tryConnect,
} from '../support/transports.ts'
import { until } from '../support/until.ts'

/** A port that nobody is given, so nobody listens there. */
const DESERTED = 1

test('nats: a server that is not there is a failure that names it and what to do', async (t) => {
  const outcome = await tryConnect([`nats://me:secret@127.0.0.1:${DESERTED}`])
  t.false(outcome.ok)
  if (outcome.ok) return
  const { code, retryable, message, cause } = outcome.failure
  t.is(code, 'disconnected')
  t.true(retryable)
  t.regex(message, /no NATS server answers at nats:\/\/127\.0\.0\.1:1 /)
  t.regex(message, /start one with 'nats-server' or 'statemq start'/)
  t.notRegex(message, /secret/)
  t.true(cause instanceof Error)
})

test('nats: a server that says nothing is given up after the time to connect', async (t) => {
  const sockets: net.Socket[] = []
  const mute = net.createServer((socket) => void sockets.push(socket))
  const port = await new Promise<number>((resolve) => {
    mute.listen(0, '127.0.0.1', () => resolve((mute.address() as net.AddressInfo).port))
  })
  const outcome = await tryConnect(`nats://127.0.0.1:${port}`, { connectTimeoutMs: 100 })
  t.is(outcome.ok ? 'ok' : outcome.failure.code, 'disconnected')
  for (const socket of sockets) socket.destroy()
  mute.close()
})

/** A server that a test lets stand still: then it takes connections, and says nothing. */
async function openHalting(t: ExecutionContext) {
  const sockets: net.Socket[] = []
  const heard: Buffer[] = []
  let isHalted = false
  const greet = (socket: net.Socket) =>
    void socket.write('INFO {"version":"2.9.10","proto":1,"headers":true,"max_payload":1048576}\r\n')
  const server = net.createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    socket.on('data', (bytes) => {
      heard.push(bytes)
      const pings = String(bytes).split('PING\r\n').length - 1
      if (pings > 0 && !socket.isPaused()) socket.write('PONG\r\n'.repeat(pings))
    })
    if (!isHalted) greet(socket)
  })
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as net.AddressInfo).port))
  })
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return {
    sockets,
    url: `nats://127.0.0.1:${port}`,
    halt() {
      isHalted = true
    },
    goOn() {
      isHalted = false
      for (const socket of sockets) if (!socket.destroyed) greet(socket)
    },
    /** How often clients have introduced themselves. */
    introductions: () => Buffer.concat(heard).toString().split('CONNECT {').length - 1,
  }
}

test('nats: after a server stood still for longer than a dial takes, each client has ONE socket', async (t) => {
  const { sockets, url, halt, goOn } = await openHalting(t)
  const outcome = await tryConnect(url, { connectTimeoutMs: 1_000 })
  if (!outcome.ok) return t.fail(outcome.failure.message)
  halt()
  sockets[0]!.destroy()
  await until('two dials were given up, and a third has begun', () => sockets.length > 3)
  goOn()
  await until('it is connected again', () => outcome.value.state === 'connected')
  await until(
    () => `one socket is left of ${sockets.length}`,
    () => sockets.filter(({ destroyed }) => !destroyed).length === 1,
    20_000,
  )
  t.is(outcome.value.state, 'connected')
  await close(outcome.value)
})

test('nats: a server that reads nothing any more is given up, however much waits to be sent', async (t) => {
  const { sockets, url, introductions } = await openHalting(t)
  const outcome = await tryConnect(url, { pingIntervalMs: 50 })
  if (!outcome.ok) return t.fail(outcome.failure.message)
  sockets[0]!.pause()
  const bytes = Buffer.alloc(1024 * 1024)
  for (let i = 0; i < 64; i++) outcome.value.publish('subject', bytes)
  await until('it has connected anew', () => introductions() > 1, 20_000)
  t.true(sockets.length > 1)
  await close(outcome.value)
})

test('nats: of several addresses, in one text too, one where nobody listens is passed over', async (t) => {
  const there = await openListener({ hub: createHub({ clock, random }) })
  for (const servers of [`nats://127.0.0.1:${DESERTED},${there.url}`, [`127.0.0.1:${DESERTED}`, there.url]]) {
    const outcome = await tryConnect(servers)
    t.true(outcome.ok)
    if (outcome.ok) await close(outcome.value)
  }
  await closeListener(there)
})

test('nats: an address that is none is a failure', async (t) => {
  for (const servers of [
    '',
    'nats://',
    'http//x:y',
    'http://x',
    '127.0.0.1:port',
    'nats://a%zz@h',
    'nats://h/path',
  ]) {
    const outcome = await tryConnect(servers)
    t.is(outcome.ok ? 'ok' : outcome.failure.code, 'malformed', servers)
    if (!outcome.ok) t.regex(outcome.failure.message, /write nats:\/\/host:4222/)
  }
})

test('nats: a failure NEVER shows a login, however it is printed', async (t) => {
  for (const servers of [
    'nats://me:secret@h:port',
    'nats://me:s%zzecret@h',
    'nats://secret@h/path',
    'me:secret@ h',
  ]) {
    const outcome = await tryConnect(servers)
    t.is(outcome.ok ? 'ok' : outcome.failure.code, 'malformed', servers)
    t.notRegex(inspect(outcome, { depth: 10, showHidden: true }), /secret/, servers)
  }
})

test('nats: the first of several servers that answers is taken', async (t) => {
  const here = await openListener({ hub: createHub({ clock, random }) })
  const outcome = await tryConnect([`nats://127.0.0.1:${DESERTED}`, here.url])
  t.true(outcome.ok)
  if (outcome.ok) await close(outcome.value)
  await closeListener(here)
})

test('nats: users, passwords and tokens are taken from options and from addresses', async (t) => {
  const byUser = await startNatsServer({ config: 'authorization { user: "me", password: "s3cr/t" }' })
  const byToken = await startNatsServer({ config: 'authorization { token: "t0k" }' })
  t.teardown(() => Promise.all([byUser.stop(), byToken.stop()]).then(() => {}))
  const logins = [
    tryConnect(byUser.url, { user: 'me', pass: 's3cr/t' }),
    tryConnect(`nats://me:s3cr%2Ft@127.0.0.1:${byUser.port}`),
    tryConnect(byToken.url, { token: 't0k' }),
    tryConnect(`nats://t0k@127.0.0.1:${byToken.port}`),
  ]
  for (const outcome of await Promise.all(logins)) {
    t.true(outcome.ok, outcome.ok ? '' : outcome.failure.message)
    if (outcome.ok) await close(outcome.value)
  }
  const denied = await tryConnect(byUser.url, { user: 'me', pass: 'wrong' })
  t.false(denied.ok)
  if (!denied.ok) {
    t.false(denied.failure.retryable)
    t.regex(denied.failure.message, /refuses the user, token or credentials/)
  }
})

test('nats: credentials that do not parse are a failure', async (t) => {
  const listener = await openListener({ hub: createHub({ clock, random }) })
  const outcome = await tryConnect(listener.url, { creds: 'no credentials' })
  t.false(outcome.ok)
  if (!outcome.ok) t.regex(outcome.failure.message, /refuses the user, token or credentials/)
  await closeListener(listener)
})

test('nats: a server without TLS is a failure for who asks for TLS', async (t) => {
  const listener = await openListener({ hub: createHub({ clock, random }) })
  const outcome = await tryConnect(`tls://127.0.0.1:${listener.port}`)
  t.is(outcome.ok ? 'ok' : outcome.failure.code, 'disconnected')
  await closeListener(listener)
})

test('nats: the largest payload is that of the server, also after it came back with another', async (t) => {
  const hub = (maxPayload: number) => createHub({ clock, random, maxPayload })
  const small = await openListener({ hub: hub(100_000) })
  const transport = await connectTo(small.url)
  t.is(transport.maxPayload, 100_000)
  const broken = reaches(transport, 'reconnecting')
  await closeListener(small)
  await broken
  const large = await openListener({ hub: hub(200_000), port: small.port })
  await reaches(transport, 'connected')
  t.is(transport.maxPayload, 200_000)
  await close(transport)
  await closeListener(large)
})

test('nats: requests are answered again after the server was killed', async (t) => {
  const server = await startNatsServer()
  t.teardown(server.stop)
  const [one, other] = [await connectTo(server.url), await connectTo(server.url)]
  other.subscribe('echo', (payload, reply) => other.publish(reply, payload))
  for (let round = 0; round < 2; round++) {
    const broken = [reaches(one, 'reconnecting'), reaches(other, 'reconnecting')]
    await server.kill()
    await Promise.all(broken)
    await server.restart()
    await Promise.all([reaches(one, 'connected'), reaches(other, 'connected')])
    t.is(await ask(one, 'echo', `round ${round}`), `round ${round}`)
  }
  await Promise.all([close(one), close(other)])
})
