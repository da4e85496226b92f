/** Filters at the broker: what nobody wants does not travel, and whoever waits is told how far it reaches. */
import test from 'ava'
import fc from 'fast-check'
import { Filters, isWanted, type TextFilter } from '../../actors/broker/filters.ts'
import { encodeProperties, recordBytesMax, tagsCodeOf, writeRecord } from '../../actors/producer/message.ts'
import { parseExpression } from '../../machines/filter/filter.ts'
import { codes } from '../../transport/codes.ts'
import { answerCode, PULL_HEAD_BYTES, pullMaxOffset, pullNextOffset } from '../../transport/exchange.ts'
import {
  countAt,
  FRAME_HEAD_BYTES,
  frameBytesAt,
  kinds,
  propertyAt,
  queueOffsetAt,
  recordsAt,
  sealFrame,
} from '../../transport/frames.ts'
import { BrokerBench } from './support.ts'

type Sent = { tag?: string; properties?: Record<string, string>; body?: string }

/** A frame as a producer sends it. */
function frameOf(...messages: Sent[]): Buffer {
  const records = messages.map(({ tag, properties = {}, body = 'x' }) => {
    const encoded = encodeProperties({ topic: 'orders', body, properties, ...(tag ? { tag } : {}) })
    const record = Buffer.alloc(recordBytesMax(body, encoded))
    return record.subarray(0, writeRecord(record, 0, 0, tagsCodeOf(tag), encoded, body))
  })
  const bytes = Buffer.concat([Buffer.alloc(FRAME_HEAD_BYTES), Buffer.from('orders'), ...records])
  sealFrame(bytes, 0, bytes.length, {
    ...{ kind: kinds.messages, bornTime: 1, producerId: 0, sequence: 0, queueId: 0 },
    ...{ count: messages.length, topicBytes: 6 },
  })
  return bytes
}

const numbered = (count: number): string[] => Array.from({ length: count }, (_, i) => `n${i}`)

const price = (number: number): Sent => ({ properties: { price: `${number}` } })

async function broker(...frames: Buffer[]): Promise<BrokerBench> {
  const bench = await BrokerBench.start()
  bench.topic('orders', { queues: 1 })
  for (const frame of frames) bench.send('', frame)
  bench.settle()
  return bench
}

/** [first offset, count] of the frames in an answer. */
const framesIn = (answer: Buffer): [number, number][] => {
  const frames: [number, number][] = []
  for (let at = PULL_HEAD_BYTES; at < answer.length; at += frameBytesAt(answer, at))
    frames.push([queueOffsetAt(answer, at), countAt(answer, at)])
  return frames
}

test('filter: frames in which nothing is wanted do not travel, the others go whole', async (t) => {
  const bench = await broker(
    frameOf({ tag: 'a' }, { tag: 'b' }),
    frameOf({ tag: 'b' }, { tag: 'b' }, {}),
    frameOf({ tag: 'c' }),
    frameOf({ tag: 'a' }),
    frameOf({ tag: 'b' }),
  )
  bench.pull('all')
  bench.pull('a', { filter: 'a' })
  bench.settle()
  const [all, some] = [bench.answer('all')!, bench.answer('a')!]
  t.is(answerCode(some), codes.SUCCESS)
  t.deepEqual(framesIn(some), [
    [0, 2],
    [6, 1],
  ])
  t.is(pullNextOffset(some), 8)
  t.true(some.length < all.length / 2)
  t.is(bench.delivery.counters.bytesOut, all.length + some.length)
  t.is(bench.delivery.counters.messagesOut, 8 + 3)
})

test('filter: SQL looks at the properties of each record', async (t) => {
  const bench = await broker(...Array.from({ length: 30 }, (_, i) => frameOf(price(i), price(i + 100))))
  bench.pull('r', { filter: 'sql:price BETWEEN 10 AND 11 OR price = 129' })
  bench.settle()
  t.deepEqual(
    framesIn(bench.answer('r')!).map(([offset]) => offset),
    [20, 22, 58],
  )
  t.is(pullNextOffset(bench.answer('r')!), 60)
})

test('filter: one that does not parse, or is too long, is refused', async (t) => {
  const bench = await broker(frameOf({ tag: 'a' }))
  bench.pull('r', { filter: 'sql:price >' })
  t.is(answerCode(bench.answer('r')!), codes.SUBSCRIPTION_PARSE_FAILED)
  bench.pull('s', { filter: `sql:${'x'.repeat(20_000)}` })
  t.is(answerCode(bench.answer('s')!), codes.SUBSCRIPTION_PARSE_FAILED)
})

test('filter: a star is none', async (t) => {
  const bench = await broker(frameOf({ tag: 'a' }), frameOf({}))
  bench.pull('r', { filter: '*' })
  bench.settle()
  t.is(framesIn(bench.answer('r')!).length, 2)
})

test('filter: a pull that may not wait is told how far nothing is wanted', async (t) => {
  const bench = await broker(frameOf({ tag: 'a' }), frameOf({ tag: 'a' }, { tag: 'a' }))
  bench.pull('r', { filter: 'b' })
  bench.settle()
  t.is(answerCode(bench.answer('r')!), codes.PULL_RETRY_IMMEDIATELY)
  t.is(pullNextOffset(bench.answer('r')!), 3)
  t.is(pullMaxOffset(bench.answer('r')!), 3)
  bench.pull('s', { filter: 'b', offset: 3 })
  bench.settle()
  t.is(answerCode(bench.answer('s')!), codes.PULL_NOT_FOUND)
})

test('filter: one pull looks through a bounded number of bytes, and says how far it came', async (t) => {
  const large = frameOf({ tag: 'a', body: 'x'.repeat(100_000) })
  const bench = await broker(...Array.from({ length: 40 }, () => large))
  let offset = 0
  for (let pulls = 0; pulls < 10 && offset < 40; pulls++) {
    bench.pull(`r${pulls}`, { filter: 'b', offset, maxBytes: 256 * 1024 })
    bench.settle()
    const answer = bench.answer(`r${pulls}`)!
    t.is(answerCode(answer), codes.PULL_RETRY_IMMEDIATELY)
    t.is(answer.length, PULL_HEAD_BYTES)
    const looked = pullNextOffset(answer) - offset
    t.true(looked >= 1 && looked <= 11, `${looked} frames of 100,000 bytes`)
    offset = pullNextOffset(answer)
  }
  t.is(offset, 40)
})

test('filter: a long one looks through less at once', async (t) => {
  const bench = await broker(
    ...Array.from({ length: 100 }, () => frameOf({ tag: 'a', body: 'x'.repeat(10_000) })),
  )
  const long = `sql:${Array.from({ length: 1_000 }, (_, i) => `a = ${i}`).join(' OR ')}`
  bench.pull('short', { filter: 'b' })
  bench.pull('long', { filter: long })
  bench.settle()
  t.is(pullNextOffset(bench.answer('short')!), 100)
  t.true(pullNextOffset(bench.answer('long')!) < 10)
})

test('filter: a frame that would take too long to look through is sent as it is', async (t) => {
  const properties = Object.fromEntries(numbered(100).map((name) => [name, 'v'.repeat(300)]))
  const bench = await broker(frameOf(...numbered(20).map(() => ({ properties }))), frameOf({ tag: 'a' }))
  const long = `sql:${numbered(900)
    .map((name) => `${name} = 'x'`)
    .join(' OR ')}`
  const began = process.cpuUsage()
  bench.pull('r', { filter: long, maxBytes: 1024 * 1024 })
  bench.settle()
  t.deepEqual(framesIn(bench.answer('r')!), [[0, 20]])
  t.true(process.cpuUsage(began).user < 2_000_000)
})

test('filter: what is wanted of a long stretch comes together, and never more than was asked for', async (t) => {
  const frames = Array.from({ length: 100 }, (_, i) =>
    frameOf({ tag: i % 10 === 0 ? 'b' : 'a', body: 'x'.repeat(1_000) }),
  )
  const bench = await broker(...frames)
  bench.pull('r', { filter: 'b', maxBytes: 5_600 })
  bench.settle()
  const first = bench.answer('r')!
  t.deepEqual(
    framesIn(first).map(([offset]) => offset),
    [0, 10, 20, 30, 40],
  )
  t.is(pullNextOffset(first), 50)
  t.true(first.length <= 5_600 + PULL_HEAD_BYTES)
})

test('filter: a pull that waits wakes for what it wants only, and does not look twice at what it does not', async (t) => {
  const bench = await broker(frameOf({ tag: 'a' }))
  bench.pull('r', { filter: 'b', offset: 1, waitMs: 15_000 })
  const looks: number[] = []
  const { read } = bench.store
  bench.store.read = (queue, offset, maxBytes, done) => {
    looks.push(offset)
    return read.call(bench.store, queue, offset, maxBytes, done)
  }
  for (let i = 0; i < 5; i++) {
    bench.send('', frameOf({ tag: 'a' }))
    bench.settle()
  }
  t.is(bench.answer('r'), null)
  t.deepEqual(looks, [1, 2, 2, 3, 3, 4, 4, 5, 5, 6])
  bench.send('', frameOf({ tag: 'b' }))
  bench.settle()
  t.deepEqual(framesIn(bench.answer('r')!), [[6, 1]])
})

test('filter: a pull that waits tells within about a second what was left out, and waits on where nothing came', async (t) => {
  const bench = await broker(frameOf({ tag: 'a' }))
  bench.pull('r', { filter: 'b', offset: 1, waitMs: 15_000 })
  bench.clock.advance(5_000)
  t.is(bench.answer('r'), null)
  bench.send('', frameOf({ tag: 'a' }))
  bench.clock.advance(1_500)
  t.is(answerCode(bench.answer('r')!), codes.PULL_RETRY_IMMEDIATELY)
  t.is(pullNextOffset(bench.answer('r')!), 2)
})

test('filters: one text is parsed once, and the one that was used longest ago is forgotten first', (t) => {
  const filters = new Filters()
  const first = filters.of('tag-0')
  for (let i = 1; i < 1_000; i++) filters.of(`tag-${i}`)
  t.is(filters.of('tag-0'), first)
  filters.of('tag-1000')
  t.is(filters.of('tag-0'), first)
  t.is(filters.size, 1_000)
  for (let i = 0; i < 200; i++) filters.of(`sql:a = '${'x'.repeat(16_000)}${i}'`)
  t.true(filters.size < 70, `${filters.size} of 16,000 characters each`)
})

test('filter: pulls one after the other bring every wanted message, in order, whatever lies between', async (t) => {
  const shapes = fc.array(fc.array(fc.constantFrom('a', 'b', ''), { minLength: 1, maxLength: 4 }), {
    maxLength: 60,
  })
  await fc.assert(
    fc.asyncProperty(
      shapes,
      fc.integer({ min: 100, max: 2_000 }),
      fc.nat(20),
      async (frames, maxBytes, from) => {
        const bench = await broker(
          ...frames.map((tags) =>
            frameOf(...tags.map((tag) => ({ ...(tag ? { tag } : {}), body: 'y'.repeat(30) }))),
          ),
        )
        const tags = frames.flat()
        const start = Math.min(from, tags.length)
        const seen = new Set<number>()
        let offset = start
        for (let pulls = 0; pulls < 200; pulls++) {
          bench.pull(`${pulls}`, { filter: 'b', offset, maxBytes })
          bench.settle()
          const answer = bench.answer(`${pulls}`)!
          for (const [first, count] of framesIn(answer)) {
            if (seen.has(first)) return false
            if (!tags.slice(first, first + count).includes('b')) return false
            seen.add(first)
            for (let i = first; i < first + count; i++) seen.add(i)
          }
          if (answerCode(answer) === codes.PULL_NOT_FOUND) break
          if (pullNextOffset(answer) <= offset) return false
          offset = pullNextOffset(answer)
        }
        await bench.stop()
        return offset === tags.length && tags.every((tag, i) => tag !== 'b' || i < start || seen.has(i))
      },
    ),
    { numRuns: 100 },
  )
  t.pass()
})

test('record: a property is found among others, whole and by its whole name', (t) => {
  const properties = { price: '5', pric: '6', 'price ': '7', empty: '', land: 'Österreich', last: 'x' }
  const frame = frameOf({ tag: 'paid', properties })
  const of = (name: string) => propertyAt(frame, recordsAt(frame, 0), name)
  for (const [name, value] of Object.entries(properties)) t.is(of(name), value, name)
  t.is(of('TAGS'), 'paid')
  for (const name of ['pri', 'prices', 'rice', '5', '', 'x']) t.is(of(name), undefined, name)
})

test('record: properties that nobody could have written are read to their end and no further', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.constantFrom('a', 'price', ''), (bytes, name) => {
      const record = Buffer.concat([Buffer.alloc(16), bytes, Buffer.from('\u0002price\u00015\u0002a\u0001b')])
      record.writeUInt16LE(bytes.length, 12)
      const expected = Buffer.from(bytes).toString('latin1').split('\u0002')
      const found = expected.find((pair) => pair.startsWith(`${name}\u0001`))
      const value = propertyAt(record, 0, name)
      return found === undefined
        ? value === undefined
        : value === Buffer.from(found.slice(name.length + 1), 'latin1').toString('utf8')
    }),
  )
  t.pass()
})

/** Messages as people send them: a tag, a key, four properties, a body. */
const usual = frameOf(
  ...Array.from({ length: 1_000 }, (_, i) => ({
    tag: 'created',
    properties: { region: 'europe-north', customer: `C-${i}`, price: `${i % 100}`, currency: 'EUR' },
    body: 'x'.repeat(128),
  })),
)

function filterOf(text: string): TextFilter {
  const parsed = parseExpression(text)
  if (!parsed.ok || parsed.filter === null) throw new Error(`'${text}' is no filter`)
  return { filter: parsed.filter, text }
}

test('filter: looks at many records in a second', (t) => {
  for (const text of [
    'paid || sent',
    "sql:region = 'asia'",
    'sql:price BETWEEN 200 AND 300',
    "sql:currency IN ('USD', 'GBP') AND price > 5",
    "sql:customer ENDSWITH 'x' OR currency = 'USD' OR missing IS NOT NULL",
  ]) {
    const filter = filterOf(text)
    for (let i = 0; i < 100; i++) isWanted(usual, filter)
    const before = process.cpuUsage()
    for (let frames = 0; frames < 300; frames++) {
      if (isWanted(usual, filter)) t.fail(`${text} wants none of them`)
    }
    const { user, system } = process.cpuUsage(before)
    const rate = (300 * 1_000) / ((user + system) / 1e6)
    t.log(`${(rate / 1e6).toFixed(1)} million a second of one core: ${text}`)
    t.true(rate > 10_000)
  }
})
