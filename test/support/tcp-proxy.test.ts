/** The proxy against a server that echoes, and what it finds in NATS's protocol against a nats-server. */
import { once } from 'node:events'
import net from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { natsPayloads } from './nats-payloads.ts'
import { startNatsServer } from './nats-server.ts'
import { seededRandom } from './seeded-random.ts'
import { startProxy, type TcpProxyOptions } from './tcp-proxy.ts'
import { close, connectTo, flush, listen } from './transports.ts'
import { until } from './until.ts'

/** A server that sends back what it receives, and ends when its client ends. */
async function startEcho(t: ExecutionContext) {
  const sockets: net.Socket[] = []
  const received: Buffer[] = []
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket)
    socket.on('data', (chunk) => {
      received.push(chunk)
      socket.write(chunk)
    })
    socket.on('end', () => socket.end())
    socket.on('error', () => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return {
    port: (server.address() as net.AddressInfo).port,
    sockets,
    received: () => Buffer.concat(received).toString('latin1'),
  }
}

async function proxyTo(t: ExecutionContext, port: number, options?: TcpProxyOptions) {
  const proxy = await startProxy(port, options)
  t.teardown(() => proxy.close())
  return proxy
}

async function clientOf(t: ExecutionContext, port: number) {
  const socket = net.connect({ host: '127.0.0.1', port, noDelay: true })
  const received: Buffer[] = []
  let ending: 'none' | 'ended' | 'reset' = 'none'
  socket.on('data', (chunk) => received.push(chunk))
  socket.on('end', () => {
    ending = 'ended'
  })
  socket.on('error', () => {
    ending = 'reset'
  })
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  return {
    socket,
    bytes: () => Buffer.concat(received),
    received: () => Buffer.concat(received).toString('latin1'),
    ending: () => ending,
  }
}

async function echoing(t: ExecutionContext) {
  const echo = await startEcho(t)
  const proxy = await proxyTo(t, echo.port)
  return { echo, proxy, client: await clientOf(t, proxy.port) }
}

test('proxy: bytes of many connections come as they were sent, and an end passes', async (t) => {
  const echo = await startEcho(t)
  const proxy = await proxyTo(t, echo.port)
  const sent = Array.from({ length: 8 }, (_, index) => Buffer.alloc(3_000_000, `${index}abc`))
  const clients = await Promise.all(sent.map(() => clientOf(t, proxy.port)))
  for (const [index, { socket }] of clients.entries()) socket.end(sent[index]!)
  await until('all have ended', () => clients.every(({ ending }) => ending() === 'ended'))
  for (const [index, { bytes }] of clients.entries()) t.true(bytes().equals(sent[index]!))
  await until('nothing is left', () => proxy.connections === 0)
})

test('proxy: delayed bytes come AFTER their delay and in order, whatever the jitter', async (t) => {
  const { proxy, client } = await echoing(t)
  proxy.delay(40, 30)
  const sent = Array.from({ length: 50 }, (_, index) => `${index},`)
  const sentAt = performance.now()
  for (const text of sent) {
    client.socket.write(text)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await until('the first is back', () => client.received().length > 0)
  t.true(performance.now() - sentAt >= 79) // Both ways; a timer may be a part of a millisecond early.
  await until('all is back', () => client.received().length === sent.join('').length)
  t.is(client.received(), sent.join(''))
})

test('proxy: in a cut towards the server bytes are swallowed, and answers still come', async (t) => {
  const { echo, proxy, client } = await echoing(t)
  await until('it is connected', () => echo.sockets.length === 1)
  proxy.cut('in')
  client.socket.write('lost')
  await until('it is swallowed', () => proxy.swallowedBytes === 4)
  echo.sockets[0]!.write('from the server')
  await until('it came', () => client.received() === 'from the server')
  t.is(echo.received(), '')
  t.is(client.ending(), 'none')
})

test('proxy: in a cut towards clients bytes are swallowed, and orders still come', async (t) => {
  const { echo, proxy, client } = await echoing(t)
  proxy.cut('out')
  client.socket.write('order')
  await until('its echo is swallowed', () => proxy.swallowedBytes === 5)
  t.is(echo.received(), 'order')
  t.is(client.received(), '')
  t.is(client.ending(), 'none')
})

test('proxy: in a cut ends and resets do not pass', async (t) => {
  const { echo, proxy, client } = await echoing(t)
  const other = await clientOf(t, proxy.port)
  await until('both are connected', () => echo.sockets.length === 2)
  proxy.cut('both')
  echo.sockets[0]!.resetAndDestroy()
  echo.sockets[1]!.end('x')
  await until('it is swallowed', () => proxy.swallowedBytes === 1)
  t.deepEqual([client.ending(), other.ending()], ['none', 'none'])
  proxy.heal()
  await until('both learn of it', () => client.ending() === 'reset' && other.ending() === 'reset')
})

test('proxy: AFTER a cut connections that lost bytes are reset, and others go on', async (t) => {
  const { proxy, client } = await echoing(t)
  const other = await clientOf(t, proxy.port)
  proxy.cut('both')
  client.socket.write('lost')
  await until('it is swallowed', () => proxy.swallowedBytes === 4)
  proxy.heal()
  await until('it is told', () => client.ending() !== 'none')
  t.is(client.ending(), 'reset')
  other.socket.write('hello')
  await until('the other goes on', () => other.received() === 'hello')
  const newcomer = await clientOf(t, proxy.port)
  newcomer.socket.write('new')
  await until('a new one works', () => newcomer.received() === 'new')
})

test('proxy: held bytes wait, and come when it is healed', async (t) => {
  const { echo, proxy, client } = await echoing(t)
  proxy.hold('out')
  client.socket.write('hello')
  await until('the echo waits', () => proxy.waitingBytes === 5)
  t.is(echo.received(), 'hello')
  t.is(client.received(), '')
  proxy.heal()
  await until('it comes', () => client.received() === 'hello')
})

test('proxy: a sender whose bytes are held feels it', async (t) => {
  const { proxy, client } = await echoing(t)
  proxy.hold('in')
  const sent = Buffer.alloc(64 * 1024 * 1024, 'abcdefg')
  client.socket.write(sent)
  await until('it reads no more', () => proxy.waitingBytes > 1024 * 1024)
  t.true(client.socket.writableLength > 0)
  t.true(proxy.waitingBytes < 2 * 1024 * 1024)
  proxy.heal()
  await until('all is back', () => client.socket.bytesRead === sent.length)
  t.true(client.bytes().equals(sent))
})

test('proxy: a reset ends all connections at both sides, and new ones are taken', async (t) => {
  const { echo, proxy, client } = await echoing(t)
  await until('it is connected', () => echo.sockets.length === 1)
  proxy.reset()
  await until('both sides know', () => client.ending() !== 'none' && echo.sockets[0]!.destroyed)
  t.is(client.ending(), 'reset')
  const newcomer = await clientOf(t, proxy.port)
  newcomer.socket.write('new')
  await until('a new one works', () => newcomer.received() === 'new')
})

test('proxy: a server that is not there resets its clients', async (t) => {
  const echo = await startEcho(t)
  const proxy = await proxyTo(t, echo.port)
  await proxy.close() // A port where nobody listens now.
  const second = await proxyTo(t, proxy.port)
  const client = await clientOf(t, second.port)
  await until('it is told', () => client.ending() !== 'none')
  t.is(client.ending(), 'reset')
})

test('proxy: damage changes one bit, AT MOST as often as it is told to, and spares what is small', async (t) => {
  const { proxy, client } = await echoing(t)
  proxy.corrupt({ direction: 'out', times: 1, largerThan: 10 })
  client.socket.write('0123456789')
  await until('the small one is back', () => client.received().length === 10)
  t.is(client.received(), '0123456789')
  const sent = Buffer.alloc(1_000, 'x')
  client.socket.write(sent)
  await until('the large one is back', () => client.received().length === 1_010)
  t.is(bitsThatDiffer(client.bytes().subarray(10), sent), 1)
  client.socket.write(sent)
  await until('the next one is back', () => client.received().length === 2_010)
  t.true(client.bytes().subarray(1_010).equals(sent))
  t.is(proxy.damagedBytes, 1)
})

function bitsThatDiffer(a: Buffer, b: Buffer): number {
  let bits = 0
  for (let at = 0; at < a.length; at++) {
    for (let left = a[at]! ^ b[at]!; left > 0; left &= left - 1) bits++
  }
  return bits
}

// ----------------------------------------------------------------------------------------------------------- NATS

test('proxy: damage of payloads only leaves the protocol of NATS whole', async (t) => {
  const server = await startNatsServer()
  t.teardown(() => server.stop())
  const proxy = await proxyTo(t, server.port, { findPieces: natsPayloads })
  const [sender, hearer] = await Promise.all([
    connectTo(`nats://127.0.0.1:${proxy.port}`),
    connectTo(server.url),
  ])
  t.teardown(() => Promise.all([sender, hearer].map(close)))
  const { heard, until: hears } = listen(hearer, 'a.*')
  await flush(hearer)
  proxy.corrupt({ direction: 'in', payloadsOnly: true, largerThan: 3 })
  const body = Buffer.alloc(2_000, 'x')
  for (let n = 0; n < 500; n++) {
    sender.publish('a.small', Buffer.from('xyz'))
    sender.publish('a.headed', body, '', { name: 'value' })
    sender.publish('a.large', body)
    if (n % 10 === 0) await flush(sender)
  }
  await hears(1_500)
  for (const { subject, payload, headers } of heard) {
    t.deepEqual(headers, subject === 'a.headed' ? { name: 'value' } : undefined)
    if (subject === 'a.small') t.is(payload.toString(), 'xyz')
    else t.true(bitsThatDiffer(payload, body) > 0)
  }
  t.is(sender.state, 'connected')
})

test('payloads: the same bytes are found however the stream is cut', (t) => {
  const stream = Buffer.from(
    [
      'INFO {"max_payload":1048576}\r\nPUB a 5\r\nabcde\r\nPING\r\nPUB b.7 _INBOX.1 3\r\n\r\n1\r\nPUB c 0\r\n\r\n',
      'HPUB d 12 16\r\nNATS/1.0\r\n\r\nPUB \r\n+OK\r\nMSG a 9 11\r\nPUB x 3\r\nab\r\nhmsg e 1 r 12 12\r\nNATS/1.0\r\n\r\n\r\n',
      'MSG f 1 2\r\nzz\r\n',
    ].join(''),
  )
  const expected = ['abcde', '\r\n1', 'PUB ', 'PUB x 3\r\nab', 'zz']
  const random = seededRandom(7)
  for (let round = 0; round < 500; round++) {
    const find = natsPayloads()
    let found = ''
    const sizes: number[] = []
    for (let at = 0; at < stream.length; ) {
      const chunk = stream.subarray(at, at + 1 + random.below(round % 40 === 0 ? 1_000 : 12))
      for (const { from, to, bytes } of find(chunk)) {
        found += chunk.toString('latin1', from, to)
        sizes.push(bytes)
      }
      at += chunk.length
    }
    t.is(found, expected.join(''))
    t.deepEqual([...new Set(sizes)], [5, 3, 4, 11, 2])
  }
})
