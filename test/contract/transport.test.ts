/**
 * The contract of the transport, held on all of its homes: each test runs on the memory hub, on the `nats` package
 * against our listener, and on the `nats` package against a real nats-server.
 */
import test, { type ExecutionContext } from 'ava'
import type { Outcome } from '../../transport/failures.ts'
import type { ConnectionState, Transport } from '../../transport/transport.ts'
import { openRaw } from '../support/raw-client.ts'
import {
  ask,
  close,
  flush,
  type Home,
  homes,
  listen,
  notedLog,
  reaches,
  ready,
  request,
  type Station,
  serve,
} from '../support/transports.ts'

type Body = (t: ExecutionContext, station: Station, home: Home) => Promise<void>

/** One fact, on every home that `where` picks, each time in a place of its own. */
function fact(title: string, body: Body, where: (home: Home) => boolean = () => true): void {
  for (const home of homes.filter(where))
    test.serial(`${home.name}: ${title}`, async (t) => {
      const station = await home.start()
      t.teardown(station.stop)
      await body(t, station, home)
    })
}

const pair = (station: Station) => Promise.all([station.connect(), station.connect()])

fact('a message reaches a subscription with its subject and without headers', async (t, station) => {
  const [one, other] = await pair(station)
  const ear = listen(other, 'orders.paid')
  await ready(other)
  one.publish('orders.paid', Buffer.from('A-1'))
  const [heard] = await ear.until(1)
  t.deepEqual(heard, { payload: Buffer.from('A-1'), reply: '', subject: 'orders.paid', headers: undefined })
})

fact('a publisher hears what it publishes', async (t, station) => {
  const transport = await station.connect()
  const ear = listen(transport, 'orders.paid')
  transport.publish('orders.paid', Buffer.from('A-1'))
  await ear.until(1)
  t.deepEqual(ear.texts, ['A-1'])
})

fact('a star stands for one token and a final > for one or more', async (t, station) => {
  const [one, other] = await pair(station)
  const star = listen(other, 'a.*.c')
  const rest = listen(other, 'a.>')
  const all = listen(other, '>')
  await ready(other)
  for (const subject of ['a', 'a.b', 'a.b.c', 'a.b.c.d', 'x.b.c', 'end.a'])
    one.publish(subject, Buffer.from(subject))
  const inbox = (texts: string[]) => texts.filter((text) => text !== '')
  while (!all.texts.includes('end.a')) await all.until(all.heard.length + 1)
  t.deepEqual(star.texts, ['a.b.c'])
  t.deepEqual(rest.texts, ['a.b', 'a.b.c', 'a.b.c.d'])
  t.deepEqual(inbox(all.texts), ['a', 'a.b', 'a.b.c', 'a.b.c.d', 'x.b.c', 'end.a'])
  t.deepEqual(
    star.heard.map(({ subject }) => subject),
    ['a.b.c'],
  )
})

fact(
  'exactly one member of a queue group hears a message, and everybody else does too',
  async (t, station) => {
    const [one, other] = await pair(station)
    const members = [listen(one, 'work.x', 'g'), listen(other, 'work.*', 'g'), listen(other, 'work.x', 'g')]
    const loner = listen(other, 'work.x', 'h')
    const plain = listen(other, 'work.x')
    await ready(one, other)
    const sent = Array.from({ length: 200 }, (_, i) => String(i))
    for (const text of sent) one.publish('work.x', Buffer.from(text))
    await Promise.all([plain.until(200), loner.until(200)])
    await ready(one, other)
    await ready(one, other)
    t.deepEqual(plain.texts, sent)
    t.deepEqual(loner.texts, sent)
    const shared = members.flatMap(({ texts }) => texts).sort((a, b) => Number(a) - Number(b))
    t.deepEqual(shared, sent)
    for (const { texts } of members) t.true(texts.length > 0, 'a member of the group heard nothing')
  },
)

fact('a request is answered by the first reply, ONCE', async (t, station) => {
  const [one, other] = await pair(station)
  other.subscribe('quote', (payload, reply) => {
    other.publish(reply, Buffer.from(`first ${payload}`))
    other.publish(reply, Buffer.from('second'))
  })
  await ready(other)
  const outcomes: Outcome<Buffer>[] = []
  one.request('quote', Buffer.from('7'), 60_000, (outcome) => outcomes.push(outcome))
  t.is(outcomes.length, 0, 'it was answered from inside the call')
  t.is(await ask(one, 'quote', '8'), 'first 8')
  await ready(other, one)
  t.deepEqual(
    outcomes.map((outcome) => outcome.ok && outcome.value.toString()),
    ['first 7'],
  )
})

fact('many requests under way are told apart', async (t, station) => {
  const [one, other] = await pair(station)
  serve(other, 'double', (text) => String(2 * Number(text)))
  await ready(other)
  const numbers = Array.from({ length: 2_000 }, (_, i) => i)
  const answers = await Promise.all(numbers.map((number) => ask(one, 'double', String(number))))
  t.deepEqual(
    answers,
    numbers.map((number) => String(2 * number)),
  )
})

fact('a request that nobody listens to fails at once', async (t, station) => {
  const transport = await station.connect()
  const outcome = await request(transport, 'nobody.here', '', 3_600_000)
  t.false(outcome.ok)
  if (outcome.ok) return
  t.is(outcome.failure.code, 'noResponders')
  t.true(outcome.failure.retryable)
  t.regex(outcome.failure.message, /nobody listens on 'nobody\.here'/)
})

fact('a request that is not answered fails after its time', async (t, station) => {
  const [one, other] = await pair(station)
  const ear = listen(other, 'silent')
  await ready(other)
  t.is(await ask(one, 'silent', '', 30), 'timedOut')
  await ear.until(1)
  t.is(ear.heard.length, 1)
})

fact('a publish with a reply subject that nobody hears comes back as status 503', async (t, station) => {
  const transport = await station.connect()
  const ear = listen(transport, 'my.reply')
  transport.publish('nobody.here', Buffer.from('x'), 'my.reply')
  const [heard] = await ear.until(1)
  t.is(heard?.headers?.Status, '503')
  t.is(heard?.payload.length, 0)
})

fact('headers travel with a message', async (t, station) => {
  const [one, other] = await pair(station)
  const ear = listen(other, 'traced')
  await ready(other)
  const headers = { traceparent: '00-4bf9-00f0-01', 'X-Note': 'grüße: ja', Empty: '' }
  one.publish('traced', Buffer.from('body'), 'answer.here', headers)
  const [heard] = await ear.until(1)
  t.deepEqual(heard, { payload: Buffer.from('body'), reply: 'answer.here', subject: 'traced', headers })
})

fact('headers travel with a request', async (t, station) => {
  const [one, other] = await pair(station)
  other.subscribe('traced', (_payload, reply, _subject, headers) =>
    other.publish(reply, Buffer.from(JSON.stringify(headers))),
  )
  await ready(other)
  const outcome = await new Promise<Outcome<Buffer>>((answer) =>
    one.request('traced', Buffer.from(''), 60_000, answer, { 'X-Expected': '7' }),
  )
  t.deepEqual(outcome.ok && JSON.parse(outcome.value.toString()), { 'X-Expected': '7' })
})

fact('a transport tells what server carries it, if there is one', async (t, station) => {
  const { server } = await station.connect()
  t.is(server === null, station.port === undefined)
  if (server === null) return
  t.regex(server.version, /^\d+\.\d+\.\d+/)
  t.false(server.isClustered)
})

fact('a header with a line break or a blank name is a bug', async (t, station) => {
  const transport = await station.connect()
  t.throws(() => transport.publish('a', Buffer.from(''), '', { Note: 'a\r\nb' }), { instanceOf: TypeError })
  t.throws(() => transport.publish('a', Buffer.from(''), '', { 'a b': 'c' }), { instanceOf: TypeError })
})

fact('messages of one publisher reach a subscription in order', async (t, station) => {
  const [one, other] = await pair(station)
  const ears = [listen(other, 'line.a'), listen(other, 'line.*'), listen(one, 'line.>')]
  await ready(one, other)
  const sent: string[] = []
  for (let i = 0; i < 3_000; i++) {
    const text = `${i}`.padEnd(i % 50 === 0 ? 20_000 : 10)
    sent.push(text)
    one.publish('line.a', Buffer.from(text))
  }
  for (const ear of ears) {
    await ear.until(sent.length)
    t.true(ear.texts.every((text, i) => text === sent[i]))
  }
})

fact('nobody hears a message before its publish has returned', async (t, station) => {
  const transport = await station.connect()
  const ear = listen(transport, 'later')
  await ready(transport)
  transport.publish('later', Buffer.from('x'))
  t.is(ear.heard.length, 0)
  await ear.until(1)
})

fact('a payload of the largest size travels in one piece', async (t, station) => {
  const [one, other] = await pair(station)
  const ear = listen(other, 'large')
  await ready(other)
  const payload = patterned(one.maxPayload)
  one.publish('large', payload)
  const [heard] = await ear.until(1)
  t.true(heard!.payload.equals(payload))
  t.is(heard!.headers, undefined)
})

fact(
  'a payload above the largest size is refused',
  async (t, station) => {
    const log = notedLog()
    const transport = await station.connect(log)
    const ear = listen(transport, 'large')
    t.is(await codeOf(request(transport, 'large', patterned(transport.maxPayload + 1))), 'tooLarge')
    transport.publish('large', patterned(transport.maxPayload + 1))
    transport.publish('large', Buffer.from('next'))
    await ear.until(1)
    t.deepEqual(ear.texts, ['next'])
    t.is(log.lines.length, 1)
  },
  ({ splits }) => !splits,
)

fact(
  'a payload above what the server carries is heard whole, in order and with its headers',
  async (t, station) => {
    const [one, other] = await pair(station)
    const ears = [listen(other, 'large.*'), listen(other, 'large.x')]
    await ready(other)
    const payload = patterned(one.maxPayload * 2 + 500_000)
    one.publish('large.x', Buffer.from('before'))
    one.publish('large.x', payload, 'the.reply', { Note: 'kept' })
    one.publish('large.x', Buffer.from('after'))
    for (const ear of ears) {
      const [before, large, after] = await ear.until(3)
      t.is(before!.payload.toString(), 'before')
      t.true(large!.payload.equals(payload))
      t.is(large!.reply, 'the.reply')
      t.deepEqual(large!.headers, { Note: 'kept' })
      t.is(after!.payload.toString(), 'after')
    }
  },
  ({ splits }) => splits,
)

fact(
  'requests and answers above what the server carries travel whole',
  async (t, station) => {
    const [one, other] = await pair(station)
    other.subscribe('echo', (payload, reply) => other.publish(reply, payload))
    await ready(other)
    const payload = patterned(one.maxPayload * 2 + 17)
    const outcome = await request(one, 'echo', payload)
    t.true(outcome.ok && outcome.value.equals(payload))
    t.is(await codeOf(request(one, 'nobody.here', payload)), 'noResponders')
  },
  ({ splits }) => splits,
)

fact(
  'a queue group NEVER hears a message that came in parts, and who asked is told',
  async (t, station) => {
    const [one, other] = await pair(station)
    const members = [listen(other, 'large', 'g'), listen(other, 'large', 'g')]
    await ready(other)
    t.is(await codeOf(request(one, 'large', patterned(one.maxPayload * 3))), 'tooLarge')
    t.deepEqual(
      members.flatMap(({ heard }) => heard),
      [],
    )
  },
  ({ splits }) => splits,
)

fact('the bytes that a hearer is given are its own', async (t, station) => {
  const [one, other] = await pair(station)
  const sizes = [10, 5_000, 100_000]
  const ears = [listen(other, 'own'), listen(other, 'own'), listen(one, 'own')]
  const spoilers = [other, one].map((transport) =>
    transport.subscribe('own', (payload) => void payload.fill(0)),
  )
  await ready(one, other)
  for (const size of sizes) {
    const payload = patterned(size)
    one.publish('own', payload)
    for (const ear of ears) {
      const heard = (await ear.until(1)).pop()!
      t.true(heard.payload.equals(patterned(size)))
      heard.payload.fill(1)
    }
    t.true(payload.equals(patterned(size)), 'a hearer changed the bytes of the publisher')
  }
  for (const spoiler of spoilers) spoiler.unsubscribe()
})

fact('bytes that are kept stay as they were while others arrive', async (t, station) => {
  const [one, other] = await pair(station)
  const ear = listen(other, 'kept')
  await ready(other)
  for (let i = 0; i < 2_000; i++) one.publish('kept', Buffer.alloc(1 + (i % 700), i % 251))
  await ear.until(2_000)
  t.true(ear.heard.every(({ payload }, i) => payload.equals(Buffer.alloc(1 + (i % 700), i % 251))))
})

fact('a hearer that throws is noted and the others go on', async (t, station) => {
  const log = notedLog()
  const transport = await station.connect(log)
  transport.subscribe('fragile', () => {
    throw new Error('broken hearer')
  })
  const ear = listen(transport, 'fragile')
  transport.publish('fragile', Buffer.from('1'))
  transport.publish('fragile', Buffer.from('2'))
  await ear.until(2)
  await ready(transport)
  t.deepEqual(ear.texts, ['1', '2'])
  t.deepEqual(
    log.fields.map((fields) => String((fields as { error: Error }).error)),
    ['Error: broken hearer', 'Error: broken hearer'],
  )
})

fact('an answer whose hearer throws harms no other request', async (t, station) => {
  const log = notedLog()
  const transport = await station.connect(log)
  serve(transport, 'echo', (text) => text)
  transport.request('echo', Buffer.from('x'), 60_000, () => {
    throw new Error('broken answer')
  })
  t.is(await ask(transport, 'echo', 'y'), 'y')
  t.is(log.lines.length, 1)
})

fact('a subscription that is closed inside its hearer hears nothing more', async (t, station) => {
  const [one, other] = await pair(station)
  const heard: string[] = []
  const subscription = other.subscribe('once', (payload) => {
    heard.push(payload.toString())
    subscription.unsubscribe()
  })
  const ear = listen(other, 'once')
  await ready(other)
  for (const text of ['1', '2', '3']) one.publish('once', Buffer.from(text))
  await ear.until(3)
  t.deepEqual(heard, ['1'])
})

fact('nothing is delivered to a closed subscription, even what is under way', async (t, station) => {
  const transport = await station.connect()
  const closed = listen(transport, 'news')
  const ear = listen(transport, 'news')
  await ready(transport)
  transport.publish('news', Buffer.from('1'))
  closed.subscription.unsubscribe()
  closed.subscription.unsubscribe()
  await ear.until(1)
  await ready(transport)
  t.deepEqual(closed.texts, [])
  t.is(await ask(transport, 'news.of.nobody'), 'noResponders')
})

fact('a malformed subject is a bug and throws', async (t, station) => {
  const transport = await station.connect()
  const bad = ['', '.', 'a.', '.a', 'a..b', 'a b', 'a\r\nPUB b 1', 'a\tb', 'a.\0']
  for (const subject of [...bad, 'a.*', '>', 'a.>'])
    t.throws(() => transport.publish(subject, Buffer.from('')), { instanceOf: TypeError }, subject)
  for (const subject of [...bad, 'a.>.b'])
    t.throws(() => transport.subscribe(subject, () => {}), { instanceOf: TypeError }, subject)
  t.throws(() => transport.publish('a', Buffer.from(''), 'not a reply'), { instanceOf: TypeError })
  t.throws(() => transport.subscribe('a', () => {}, 'not a group'), { instanceOf: TypeError })
  t.throws(() => transport.request('a b', Buffer.from(''), 1_000, () => {}), { instanceOf: TypeError })
  serve(transport, 'fine', () => 'still alive')
  t.is(await ask(transport, 'fine'), 'still alive')
})

fact('a flush calls back AFTER what was published before has reached the hub', async (t, station) => {
  const [one, other] = await pair(station)
  const ear = listen(other, 'flushed')
  await ready(other)
  for (let i = 0; i < 500; i++) one.publish('flushed', Buffer.alloc(2_000))
  t.true((await flush(one)).ok)
  t.true((await flush(other)).ok) // What the hub had before this, the other one has heard after it.
  t.is(ear.heard.length, 500)
})

fact('closing delivers what is under way', async (t, station) => {
  const [one, other] = await pair(station)
  const ear = listen(other, 'last')
  await ready(other)
  for (let i = 0; i < 500; i++) one.publish('last', Buffer.alloc(2_000))
  await flush(one)
  await close(other)
  t.is(ear.heard.length, 500)
  t.is(other.state, 'closed')
})

fact('what is published is sent BEFORE a close ends', async (t, station) => {
  const [one, other] = await pair(station)
  const ear = listen(other, 'last')
  await ready(other)
  for (let i = 0; i < 500; i++) one.publish('last', Buffer.alloc(2_000))
  await close(one)
  await ear.until(500)
  t.is(ear.heard.length, 500)
})

fact('a hearer may still answer while its transport closes', async (t, station) => {
  const [one, other] = await pair(station)
  serve(other, 'echo', (text) => text)
  await ready(other)
  const answer = ask(one, 'echo', 'in time')
  await flush(one)
  await close(other)
  t.is(await answer, 'in time')
})

fact('a publish while the transport closes does not throw', async (t, station) => {
  const transport = await station.connect()
  const closed = close(transport)
  for (let turn = 0; turn < 20 && transport.state !== 'closed'; turn++) {
    transport.publish('late', Buffer.from('x'))
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
  await closed
  t.is(transport.state, 'closed')
})

fact('a closed transport fails what waits and what comes', async (t, station) => {
  const [one, other] = await pair(station)
  listen(other, 'silent')
  await ready(other)
  const states: ConnectionState[] = []
  one.onState((state) => states.push(state))
  const waiting = ask(one, 'silent')
  let calls = 0
  const closed = Promise.all([
    close(one),
    new Promise<void>((resolve) => one.close(() => resolve(void calls++))),
  ])
  t.is(await ask(one, 'silent'), 'closed')
  await closed
  t.is(await waiting, 'closed')
  t.is(await ask(one, 'silent'), 'closed')
  t.throws(() => one.publish('a', Buffer.from('')), { message: /AFTER the transport was closed/ })
  t.throws(() => one.subscribe('a', () => {}), { message: /AFTER the transport was closed/ })
  t.deepEqual(states, ['closed'])
  await close(one)
  t.is(calls, 1)
})

fact('subscriptions survive a broken connection', async (t, station) => {
  const [one, other] = await pair(station)
  const states: ConnectionState[] = []
  const stop = one.onState((state) => states.push(state))
  const ear = listen(one, 'news.*')
  const group = listen(one, 'work', 'g')
  const gone = listen(one, 'gone')
  serve(one, 'echo', (text) => text)
  await ready(one)

  await station.interrupt()
  await Promise.all([reaches(one, 'reconnecting'), reaches(other, 'reconnecting')])
  gone.subscription.unsubscribe()
  const late = listen(one, 'late')
  await station.restore()
  await ready(one)

  t.deepEqual(states, ['reconnecting', 'connected'])
  other.publish('news.b', Buffer.from('after'))
  other.publish('work', Buffer.from('after'))
  other.publish('gone', Buffer.from('after'))
  other.publish('late', Buffer.from('after'))
  await Promise.all([ear.until(1), group.until(1), late.until(1)])
  t.is(await ask(other, 'echo', 'again'), 'again')
  t.deepEqual([ear.texts, group.texts, gone.texts, late.texts], [['after'], ['after'], [], ['after']])
  stop()
})

fact('a broken connection fails the requests under way, and nothing is sent later', async (t, station) => {
  const [one, other] = await pair(station)
  listen(other, 'silent')
  const news = listen(other, 'news')
  await ready(other)
  const waiting = ask(one, 'silent')
  await flush(one)

  await station.interrupt()
  t.is(await waiting, 'disconnected')
  await reaches(one, 'reconnecting')
  t.is(await ask(one, 'silent'), 'disconnected')
  t.is(await codeOf(flush(one)), 'disconnected')
  one.publish('news', Buffer.from('lost'))
  await station.restore()
  await ready(one, other)

  one.publish('news', Buffer.from('new'))
  await news.until(1)
  t.deepEqual(news.texts, ['new'])
})

fact('a transport closes while its connection is broken', async (t, station) => {
  const transport = await station.connect()
  await station.interrupt()
  await reaches(transport, 'reconnecting')
  await close(transport)
  t.is(transport.state, 'closed')
})

for (const home of homes.filter(({ name }) => name !== 'memory'))
  test.serial(`${home.name}: a hearer that does not read is cut off and holds up nobody`, async (t) => {
    const station = await home.start({ maxPendingBytes: 1024 * 1024 })
    t.teardown(station.stop)
    const [one, other] = await pair(station)
    const ear = listen(other, 'flood')
    await ready(other)
    const slow = await openRaw(station.port!)
    slow.send('CONNECT {"verbose":false}\r\nSUB flood 1\r\n')
    await slow.sync()
    slow.stopReading()

    let sent = 0
    const send = async (transport: Transport) => {
      transport.publish('flood', Buffer.alloc(100_000))
      await ear.until(++sent)
    }
    // Far more than the sockets' own buffers hold.
    for (let i = 0; i < 300; i++) await send(one)
    t.is(ear.heard.length, 300)
    slow.resumeReading()
    await slow.closed
    t.true(slow.heard.filter((line) => line.startsWith('MSG')).length < 300)
  })

function patterned(size: number): Buffer {
  const bytes = Buffer.alloc(size, 'abcdefghijklmnopqrstuvwxyz0123456789-')
  if (size > 8) bytes.writeUInt32LE(size, size - 4)
  return bytes
}

const codeOf = async (outcome: Promise<Outcome<unknown>>) => {
  const settled = await outcome
  return settled.ok ? 'ok' : settled.failure.code
}
