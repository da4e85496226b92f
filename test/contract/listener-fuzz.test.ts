/**
 * Whatever bytes come, from whoever: the listener answers or hangs up on that ONE connection, and nobody else notices.
 *
 * A failure names its seed; STATEMQ_SEED repeats the run.
 */
import test from 'ava'
import { createHub } from '../../transport/memory.ts'
import { createParser, type Orders, Violation } from '../../transport/nats-parser.ts'
import { openRaw } from '../support/raw-client.ts'
import { seededRandom, seedOfRun } from '../support/seeded-random.ts'
import {
  ask,
  clock,
  closeListener,
  listen,
  notedLog,
  openListener,
  random,
  serve,
} from '../support/transports.ts'

const seed = seedOfRun()
const chance = seededRandom(seed)
const hint = `STATEMQ_SEED=${seed}`
const MAX_PAYLOAD = 10_000
const MODERN = 'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n'

/** What a parser makes of chunks: the orders, then the violation if there is one. */
function read(chunks: readonly Buffer[]): string[] {
  const orders: string[] = []
  const note =
    (name: string) =>
    (...args: unknown[]) =>
      void orders.push(
        `${name} ${args.map((one) => (Buffer.isBuffer(one) ? one.toString('latin1') : one)).join('|')}`,
      )
  const parser = createParser({
    maxPayload: MAX_PAYLOAD,
    headers: true,
    connect: note('connect'),
    ping: note('ping'),
    pong: note('pong'),
    publish: note('publish'),
    subscribe: note('subscribe'),
    unsubscribe: note('unsubscribe'),
  } satisfies Orders)
  try {
    for (const chunk of chunks) parser.read(chunk)
  } catch (error) {
    if (!(error instanceof Violation)) throw error
    orders.push(`violation: ${error.message}`)
  }
  return orders
}

const same = (one: string[], other: string[]) => one.join('\n') === other.join('\n')

const pick = <T>(all: readonly T[]): T => all[chance.below(all.length)]!
const subject = () => pick(['a', 'a.b', 'a.*', '>', 'a..b', 'größe', 'x'.repeat(1 + chance.below(40))])
const noise = (bytes: number) => Buffer.from(Array.from({ length: bytes }, () => chance.below(256)))

/** A stream that a client might send. */
function stream(orders: number): Buffer {
  const parts: (string | Buffer)[] = [MODERN]
  for (let i = 0; i < orders; i++) {
    const payload = noise(chance.below(4) === 0 ? chance.below(3_000) : chance.below(20))
    const block = `NATS/1.0\r\nN: ${i}\r\n\r\n`
    const end = pick(['\r\n', '\r\n', '\n'])
    const kind = chance.below(8)
    if (kind < 3) parts.push(`PUB ${subject()} ${pick(['', 'r.1 '])}${payload.length}${end}`, payload, '\r\n')
    else if (kind < 5)
      parts.push(
        `hpub ${subject()}\t${block.length}  ${block.length + payload.length}${end}${block}`,
        payload,
        '\r\n',
      )
    else if (kind === 5) parts.push(`SUB ${subject()} ${pick(['', 'g '])}${chance.below(9)}${end}`)
    else if (kind === 6) parts.push(`UNSUB ${chance.below(9)}${pick(['', ' 2'])}${end}`)
    else parts.push(pick(['PING', 'PONG', '+OK']) + end)
  }
  return Buffer.concat(parts.map((part) => Buffer.from(part as string)))
}

/** The same, spoilt: bits flipped, bytes put in or taken out, or cut short. */
function spoilt(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes)
  const at = chance.below(copy.length)
  const kind = chance.below(5)
  if (kind === 0) return copy.subarray(0, at)
  if (kind === 1) return Buffer.concat([copy.subarray(0, at), noise(1 + chance.below(30)), copy.subarray(at)])
  if (kind === 2) return Buffer.concat([copy.subarray(0, at), copy.subarray(at + 1 + chance.below(10))])
  if (kind === 3) return noise(1 + chance.below(2_000))
  for (let i = 0; i <= chance.below(4); i++) copy[chance.below(copy.length)]! ^= 1 << chance.below(8)
  return copy
}

function cuts(bytes: Buffer, mostBytes: number): Buffer[] {
  const chunks: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const end = at + 1 + chance.below(mostBytes)
    chunks.push(bytes.subarray(at, end))
    at = end
  }
  return chunks
}

test('listener: a stream means the same, at whatever byte it is cut in two', (t) => {
  const bytes = stream(12)
  const whole = read([bytes])
  t.false(whole.at(-1)!.startsWith('violation'), hint)
  const differ: string[] = []
  for (let at = 0; at <= bytes.length; at++)
    if (!same(read([bytes.subarray(0, at), bytes.subarray(at)]), whole)) differ.push(`cut at ${at}`)
  t.deepEqual(differ, [], hint)
  t.deepEqual(read([...bytes].map((byte) => Buffer.from([byte]))), whole, hint)
})

test('listener: a spoilt stream means the same, however it is cut', (t) => {
  const differ: string[] = []
  for (let round = 0; round < 500; round++) {
    const bytes = spoilt(stream(1 + chance.below(8)))
    const whole = read([bytes])
    for (const mostBytes of [1, 7, 500])
      if (!same(read(cuts(bytes, mostBytes)), whole)) differ.push(`round ${round}`)
  }
  t.deepEqual(differ, [], hint)
})

test('listener: lines near the largest size mean the same, however they are cut', (t) => {
  const differ: string[] = []
  for (const name of ['PUB ', 'PING ', 'SUB  ', 'NOPE ', 'connect ', '+OK'])
    for (let bytes = 4_080; bytes < 4_180; bytes += 1 + chance.below(3))
      for (const end of ['', '\n', '\r\n']) {
        const line = Buffer.from(name.padEnd(bytes, pick(['x', ' '])) + end)
        for (const mostBytes of [1, 4_000])
          if (!same(read(cuts(line, mostBytes)), read([line]))) differ.push(`${bytes} bytes of ${name}`)
      }
  t.deepEqual(differ, [], hint)
})

test('listener: a line that never ends is refused when it passes the largest size', (t) => {
  const endless = Array.from({ length: 100 }, () => Buffer.from('x'.repeat(100)))
  const orders = read([Buffer.from('PUB '), ...endless])
  t.deepEqual(orders, ['violation: a control line of more than 4 KiB'])
})

test('listener: no bytes from anybody disturb a bystander', async (t) => {
  const log = notedLog()
  const hub = createHub({ clock, random, maxPayload: MAX_PAYLOAD, log })
  const listener = await openListener({ hub, log })
  const inside = hub.connect()
  serve(inside, 'bystander.echo', (text) => text)
  const heard = listen(inside, 'bystander.news')
  const bystander = await openRaw(listener.port)
  bystander.send(`${MODERN}SUB bystander.r.* 1\r\nSUB bystander.own 2\r\n`)
  await bystander.sync()

  const rounds = 150
  for (let round = 0; round < rounds; round++) {
    const attackers = await Promise.all([0, 1].map(() => openRaw(listener.port)))
    for (const attacker of attackers) for (const chunk of cuts(spoilt(stream(10)), 700)) attacker.send(chunk)
    const text = String(round).padStart(4, '0')
    bystander.send(
      `PUB bystander.echo bystander.r.${round} 4\r\n${text}\r\nPUB bystander.own 4\r\n${text}\r\n`,
    )
    bystander.send(`PUB bystander.news 4\r\n${text}\r\n`)
    await bystander.until(`MSG bystander.r.${round} `)
    for (const attacker of attackers) attacker.destroy()
  }
  await bystander.sync()
  await heard.until(rounds)
  const expected = Array.from({ length: rounds }, (_, round) => String(round).padStart(4, '0'))
  const told = (beginning: string) =>
    bystander.heard
      .filter((line) => line.startsWith(beginning))
      .map((line) => JSON.parse(line.split(' ').at(-1)!))
  t.deepEqual(told('MSG bystander.r.'), expected, hint)
  t.deepEqual(told('MSG bystander.own'), expected, hint)
  t.deepEqual(heard.texts, expected, hint)
  t.deepEqual(
    log.lines.filter((line) => line.includes('threw')),
    [],
    hint,
  )

  bystander.destroy()
  await closeListener(listener)
  t.is(listener.connections, 0)
  t.is(await ask(inside, 'a.b'), 'noResponders', 'a subscription outlived its connection')
})
