/** The listener as a server: its port, its patience with clients, its end; and the official client on it. */
import test from 'ava'
import { connect, Empty, headers, StringCodec } from 'nats'
import { realClock } from '../../actors/node/real-world.ts'
import { createHub } from '../../transport/memory.ts'
import { openRaw } from '../support/raw-client.ts'
import {
  ask,
  clock,
  close,
  closeListener,
  listen,
  notedLog,
  openListener,
  random,
  ready,
  serve,
  tryListen,
} from '../support/transports.ts'
import { virtualClock } from '../support/virtual-clock.ts'

const newHub = () => createHub({ clock, random })
const QUIET = 'CONNECT {"verbose":false}\r\n'

test('listener: it tells the port that it was given', async (t) => {
  const listener = await openListener({ hub: newHub() })
  t.is(listener.url, `nats://127.0.0.1:${listener.port}`)
  t.true(listener.port > 0)
  await closeListener(listener)
})

test('listener: a port that is taken is a failure that says what to do', async (t) => {
  const listener = await openListener({ hub: newHub() })
  const outcome = await tryListen({ hub: newHub(), port: listener.port })
  t.false(outcome.ok)
  if (outcome.ok) return
  t.is(outcome.failure.code, 'inUse')
  t.regex(
    outcome.failure.message,
    new RegExp(`port ${listener.port} of 127\\.0\\.0\\.1 is taken.*choose another port`),
  )
  await closeListener(listener)
  const again = await openListener({ hub: newHub(), port: listener.port })
  t.is(again.port, listener.port)
  await closeListener(again)
})

test('listener: an address that this machine does not have is a failure', async (t) => {
  const outcome = await tryListen({ hub: newHub(), host: '192.0.2.1' })
  t.is(outcome.ok ? 'ok' : outcome.failure.code, 'ioError')
})

test('listener: actors in this process and clients on sockets are one audience', async (t) => {
  const hub = newHub()
  const listener = await openListener({ hub })
  const inside = hub.connect()
  const outside = await openRaw(listener.port)
  const ear = listen(inside, 'to.inside')
  serve(inside, 'echo', (text) => `inside says ${text}`)
  outside.send(`${QUIET}SUB to.outside 1\r\nSUB r 2\r\nPUB to.inside 5\r\nhello\r\nPUB echo r 2\r\nhi\r\n`)
  await outside.sync()
  await ear.until(1)
  inside.publish('to.outside', Buffer.from('well'), 'back', { Note: 'unheard' })
  await outside.until('MSG to.outside')
  t.deepEqual(ear.texts, ['hello'])
  t.deepEqual(outside.heard.filter((line) => line.startsWith('MSG')).sort(), [
    'MSG r 2 14 "inside says hi"',
    'MSG to.outside 1 back 4 "well"',
  ])
  outside.destroy()
  await closeListener(listener)
})

test('listener: a silent client is pinged, and cut off when it does not answer', async (t) => {
  const time = virtualClock()
  const log = notedLog()
  const patient = { ...time, defer: realClock.defer }
  const listener = await openListener({
    hub: newHub(),
    clock: patient,
    log,
    pingIntervalMs: 1_000,
    maxPingsOut: 2,
  })
  const [alive, dead] = [await openRaw(listener.port), await openRaw(listener.port)]
  dead.playDead()
  for (const client of [alive, dead]) client.send(QUIET)
  for (let i = 0; i < 10 && !dead.isClosed; i++) {
    await Promise.all([alive.sync(), i === 0 ? dead.sync() : undefined])
    time.advance(1_000)
    await alive.sync() // What it was told before this, it has heard.
  }
  await dead.closed
  t.is(dead.heard.at(-1), "-ERR 'Stale Connection'")
  await alive.sync()
  t.false(alive.isClosed)
  alive.destroy()
  await closeListener(listener)
})

test('listener: a client that does not read is cut off, and its backlog is let go', async (t) => {
  const hub = newHub()
  const log = notedLog()
  const listener = await openListener({ hub, log, maxPendingBytes: 1024 * 1024 })
  const slow = await openRaw(listener.port)
  const inside = hub.connect()
  slow.send(`${QUIET}SUB flood 1\r\n`)
  await slow.sync()
  slow.stopReading()
  const payload = Buffer.alloc(64 * 1024)
  let sent = 0
  while (log.lines.length === 0 && sent < 10_000) {
    inside.publish('flood', payload)
    sent++
    await ready(inside)
  }
  t.deepEqual(log.lines, ['a NATS client was cut off'])
  slow.resumeReading()
  await slow.closed
  t.is(await ask(inside, 'flood'), 'noResponders')
  await closeListener(listener)
})

test('listener: closing writes what is under way and hangs up', async (t) => {
  const hub = newHub()
  const listener = await openListener({ hub })
  const inside = hub.connect()
  const client = await openRaw(listener.port)
  client.send(`${QUIET}SUB last 1\r\n`)
  await client.sync()
  for (let i = 0; i < 100; i++) inside.publish('last', Buffer.alloc(10_000))
  const closed = closeListener(listener)
  await client.closed
  await closed
  t.is(client.heard.filter((line) => line.startsWith('MSG last')).length, 100)
  t.is(listener.connections, 0)
  t.is(await ask(inside, 'last'), 'noResponders')
  await close(inside)
})

test('listener: the official client publishes, subscribes, groups, requests and drains', async (t) => {
  const listener = await openListener({ hub: newHub() })
  const text = StringCodec()
  const servers = `127.0.0.1:${listener.port}`
  const [one, two] = [await connect({ servers, name: 'one' }), await connect({ servers, noEcho: true })]

  const heard: string[] = []
  const all = one.subscribe('news.>', { callback: (_, message) => void heard.push(message.subject) })
  const groups = [one, two].map((client) => client.subscribe('news.*', { queue: 'g' }))
  const limited = one.subscribe('news.*', { max: 2 })
  two.subscribe('echo', {
    callback: (_, message) =>
      void message.respond(message.data, message.headers && { headers: message.headers }),
  })
  await Promise.all([one.flush(), two.flush()])

  for (let i = 0; i < 10; i++) one.publish(`news.${i}`, text.encode('x'))
  await one.flush()
  await two.flush()
  t.deepEqual(
    heard,
    Array.from({ length: 10 }, (_, i) => `news.${i}`),
  )
  t.is(groups[0]!.getReceived() + groups[1]!.getReceived(), 10)
  t.is(limited.getReceived(), 2)

  const head = headers()
  head.append('Trace', 'a')
  head.append('Trace', 'b')
  const answer = await one.request('echo', text.encode('hi'), { timeout: 60_000, headers: head })
  t.is(text.decode(answer.data), 'hi')
  t.deepEqual(answer.headers!.values('Trace'), ['a', 'b'])
  t.is((await t.throwsAsync(one.request('nobody', Empty, { timeout: 60_000 })))!.message, '503')
  const many = await Promise.all(
    Array.from({ length: 500 }, (_, i) => one.request('echo', text.encode(String(i)), { timeout: 60_000 })),
  )
  t.true(many.every(({ data }, i) => text.decode(data) === String(i)))
  const large = new Uint8Array(3_000_000).fill(7)
  t.deepEqual((await one.request('echo', large, { timeout: 60_000 })).data.length, large.length)

  await all.drain()
  await one.drain()
  t.true(one.isClosed())
  await two.close()
  await closeListener(listener)
})

test('listener: the official client is told of a payload above the limit', async (t) => {
  const listener = await openListener({ hub: createHub({ clock, random, maxPayload: 1_000 }) })
  const client = await connect({ servers: `127.0.0.1:${listener.port}` })
  t.is(client.info!.max_payload, 1_000)
  t.throws(() => client.publish('a', new Uint8Array(1_001)), { message: 'MAX_PAYLOAD_EXCEEDED' })
  await client.close()
  await closeListener(listener)
})
