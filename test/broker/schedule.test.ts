/** Messages that wait at a broker, in virtual time: NEVER early, EXACTLY ONCE, whatever becomes of the broker. */
import test from 'ava'
import fc from 'fast-check'
import { SCHEDULE_TOPIC } from '../../actors/broker/schedule/schedule-state.ts'
import { waitingOf } from '../../actors/broker/schedule/waiting.ts'
import { codes } from '../../transport/codes.ts'
import { sendResultCode, sendResultOffset } from '../../transport/exchange.ts'
import { countAt, flags, queueOffsetAt, recordsAt, sealFrame } from '../../transport/frames.ts'
import { frameOfOne, propertiesAt, recordBodyAt } from '../../transport/records.ts'
import { BrokerBench, frame } from './support.ts'

type Options = { producerId?: number; sequence?: number; level?: string; topic?: string; queueId?: number }

const DEFAULTS = { topic: 'orders', queueId: 0, producerId: 0, sequence: 0, level: '1' }

/** A frame as a producer sends it that wants its message to wait. */
function delayed(body: string, options: Options = {}): Buffer {
  const { level, ...rest } = { ...DEFAULTS, ...options }
  return frameOfOne({
    ...{ ...rest, flags: flags.scheduled, bornTime: 1, tagsCode: 0 },
    ...{ properties: new Map([['DELAY', level]]), body: Buffer.from(body) },
  })
}

async function opened(): Promise<BrokerBench> {
  const bench = await BrokerBench.start()
  bench.topic()
  bench.schedule.open()
  return bench
}

/** Starts it anew from its disk, as a restart or the next master does. */
async function anew(bench: BrokerBench): Promise<BrokerBench> {
  await bench.stop()
  const next = await BrokerBench.start(bench)
  next.schedule.open()
  return next
}

/** What stands in a queue, as readers see it. */
async function bodiesIn(bench: BrokerBench, topic = 'orders', queueId = 0): Promise<string[]> {
  const bodies: string[] = []
  const queue = bench.store.queue(topic, queueId)
  for (let next = 0; ; ) {
    const reading = new Promise<readonly Buffer[]>((resolve) =>
      bench.store.read(queue, next, 1 << 20, (outcome) => resolve(outcome.ok ? outcome.value.frames : [])),
    )
    const found = await bench.turning(reading)
    if (found.length === 0) return bodies
    for (const bytes of found) {
      let at = recordsAt(bytes, 0)
      for (let i = 0; i < countAt(bytes, 0); i++) {
        bodies.push(recordBodyAt(bytes, at).toString())
        at += bytes.readUInt32LE(at)
      }
      next = queueOffsetAt(bytes, 0) + countAt(bytes, 0)
    }
  }
}

test('schedule: a message is not there before its time, and is there at its time', async (t) => {
  const bench = await opened()
  bench.send('r', delayed('x', { level: '3' }))
  bench.settle()
  t.is(sendResultCode(bench.answer('r')!, 0), codes.SUCCESS)
  bench.clock.advance(9_998)
  t.deepEqual(await bodiesIn(bench), [])
  bench.clock.advance(10)
  t.deepEqual(await bodiesIn(bench), ['x'])
})

test('schedule: a message that is due a little after another one is NEVER delivered with it', async (t) => {
  const bench = await opened()
  for (const body of ['x', 'y']) {
    bench.send('', delayed(body, { level: '3' }))
    bench.settle()
    bench.clock.advance(20)
  }
  bench.clock.advance(9_970)
  t.deepEqual(await bodiesIn(bench), ['x'])
  bench.clock.advance(20)
  t.deepEqual(await bodiesIn(bench), ['x', 'y'])
})

test('schedule: while nothing waits no timer runs, and while something waits one', async (t) => {
  const bench = await opened()
  bench.clock.advance(2_000) // What the store has to sync, it has synced by then.
  const before = bench.clock.timers
  for (let i = 0; i < 10; i++) bench.send('', delayed(`${i}`, { level: '2' }))
  bench.clock.advance(2_000)
  t.is(bench.clock.timers, before + 1)
  bench.clock.advance(5_000)
  t.is((await bodiesIn(bench)).length, 10)
  t.is(bench.clock.timers, before)
})

test('schedule: a send that is repeated is stored once, and the next one goes on', async (t) => {
  const bench = await opened()
  const sent = (sequence: number) => delayed(`${sequence}`, { producerId: 7, sequence })
  bench.send('first', sent(0))
  bench.send('again', sent(0))
  bench.send('gap', sent(2))
  bench.send('next', sent(1))
  bench.send('plain', frame(['2'], { producerId: 7, sequence: 2 }))
  bench.settle()
  const result = (reply: string) => [
    sendResultCode(bench.answer(reply)!, 0),
    sendResultOffset(bench.answer(reply)!, 0),
  ]
  t.deepEqual(result('first'), [codes.SUCCESS, 0])
  t.deepEqual(result('again'), [codes.SUCCESS, 0])
  t.is(result('gap')[0], codes.OUT_OF_ORDER_SEQUENCE)
  t.deepEqual(result('next'), [codes.SUCCESS, 1])
  t.is(result('plain')[0], codes.SUCCESS)
  bench.clock.advance(1_010)
  t.deepEqual(await bodiesIn(bench), ['2', '0', '1'])
  const next = await anew(bench)
  next.send('later', sent(1))
  next.settle()
  t.is(sendResultOffset(next.answer('later')!, 0), 1)
})

test('schedule: the id of a message is the one that its sender was told', async (t) => {
  const bench = await opened()
  bench.send('', delayed('x', { producerId: 0xabc, sequence: 0 }))
  bench.clock.advance(1_010)
  bench.store.read(bench.store.queue('orders', 0), 0, 1 << 20, (outcome) => {
    if (!outcome.ok) return t.fail()
    const [stored] = outcome.value.frames
    t.deepEqual([...propertiesAt(stored!, recordsAt(stored!, 0))], [['UNIQ_KEY', '00000000000abc-0']])
  })
  t.plan(1)
})

for (const [what, bytes] of [
  ['a level that is none', delayed('x', { level: '19' })],
  ['a level that is no number', delayed('x', { level: 'soon' })],
  ['a level of 0', delayed('x', { level: '0' })],
  ['a flag that only brokers set', flagged(flags.delivered)],
  ['two flags', flagged(flags.scheduled | flags.sentBack)],
  ['several messages in one frame', flagged(flags.scheduled, 2)],
  ['no level at all', flagged(flags.scheduled)],
] as const) {
  test(`schedule: ${what} is refused, and nothing of it is stored`, async (t) => {
    const bench = await opened()
    const before = bench.store.endPosition
    bench.send('r', Buffer.from(bytes))
    bench.settle()
    t.is(sendResultCode(bench.answer('r')!, 0), codes.MESSAGE_ILLEGAL)
    t.is(bench.store.endPosition, before)
  })
}

function flagged(special: number, count = 1): Buffer {
  const bytes = frame(Array.from({ length: count }, (_, i) => `${i}`))
  const head = { kind: 0 as const, bornTime: 1, producerId: 0, sequence: 0, queueId: 0, count }
  sealFrame(bytes, 0, bytes.length, { ...head, topicBytes: 'orders'.length, flags: special })
  return bytes
}

test('schedule: while the broker takes no messages it delivers none, and then all', async (t) => {
  const bench = await opened()
  bench.send('', delayed('x'))
  bench.settle()
  bench.isTaking = false
  bench.clock.advance(5_000)
  t.deepEqual(await bodiesIn(bench), [])
  bench.isTaking = true
  bench.schedule.wake()
  bench.clock.advance(5)
  t.deepEqual(await bodiesIn(bench), ['x'])
})

test('schedule: what waits for a topic that is gone is dropped, once, and said once; the others go on', async (t) => {
  let bench = await opened()
  bench.topic('gone', { queues: 1 })
  for (const topic of ['gone', 'orders', 'gone', 'gone', 'orders']) bench.send('', delayed(topic, { topic }))
  bench.settle()
  bench.state.changeTopic({ deleted: 'gone' })
  bench.clock.advance(1_010)
  t.deepEqual(await bodiesIn(bench), ['orders', 'orders'])
  t.is(bench.schedule.counters.dropped, 3)
  t.is(bench.log.lines.filter((line) => /'gone' was deleted/.test(JSON.stringify(line))).length, 1)
  bench = await anew(bench)
  bench.clock.advance(1_000)
  t.is(bench.schedule.counters.dropped, 0)
  t.deepEqual(await bodiesIn(bench), ['orders', 'orders'])
})

test('schedule: a segment in which something waits is needed, and one in which all was delivered is not', async (t) => {
  const bench = await opened()
  const { schedule } = bench.state
  bench.send('', delayed('a'), delayed('b'))
  bench.settle()
  t.true(schedule.waitsBefore([0, 2, 0]))
  t.false(schedule.waitsBefore([0, 0, 0]))
  bench.clock.advance(1_010)
  t.false(schedule.waitsBefore([0, 2, 0]))
  t.true(schedule.waitsBefore([0, 2, 0, 17, 1, 0]))
})

test('schedule: a clock that is set back keeps nothing waiting for longer, also through a restart', async (t) => {
  let bench = await opened()
  const { now } = bench.clock
  bench.send('', delayed('before', { level: '3' }))
  bench.settle()
  bench.clock.now = () => now() - 3_600_000
  bench.send('', delayed('after', { level: '3' }))
  bench.clock.advance(9_990)
  t.deepEqual(await bodiesIn(bench), [])
  bench.clock.advance(30)
  t.deepEqual(await bodiesIn(bench), ['before', 'after'])
  bench.send('', delayed('again', { level: '3' }))
  bench.settle()
  bench.clock.now = () => now() - 7_200_000
  bench = await anew(bench)
  bench.clock.advance(9_990)
  await bench.turning(Promise.resolve())
  t.deepEqual(await bodiesIn(bench), ['before', 'after'])
  bench.clock.advance(50)
  t.deepEqual(await bodiesIn(bench), ['before', 'after', 'again'])
})

test('schedule: the state of a log from before there were delays is understood', async (t) => {
  const bench = await opened()
  bench.send('', delayed('x'))
  bench.clock.advance(1_010)
  bench.state.restore({ topics: [], dataVersion: 3, offsets: [], producers: [] })
  t.is(bench.state.schedule.next(0), 0)
  t.deepEqual(bench.state.sentBack.save(), [])
})

test('schedule: what is delivered is known by its frame beyond 32 bits of offsets, too', async (t) => {
  const bench = await opened()
  const { schedule } = bench.state
  const at = 2 ** 32 * 3 + 5
  schedule.change({ queueId: 0, next: at })
  for (const offset of [at, at + 1, at + 4]) {
    const bytes = frame(['x'], { producerId: 2 ** 53, sequence: offset % 2 ** 32 })
    schedule.noteDelivered(bytes, 0)
    t.is(schedule.next(0), offset + 1)
  }
})

test('schedule: every message is delivered EXACTLY ONCE and NEVER early, whenever the broker is started anew', async (t) => {
  const step = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ send: fc.integer({ min: 1, max: 5 }), bodies: fc.integer({ min: 1, max: 4 }) }),
    },
    { weight: 4, arbitrary: fc.record({ wait: fc.integer({ min: 1, max: 20_000 }) }) },
    { weight: 2, arbitrary: fc.constant({ restart: true }) },
    { weight: 1, arbitrary: fc.record({ closed: fc.boolean() }) },
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 25 }), async (steps) => {
      let bench = await opened()
      const due = new Map<string, number>()
      const check = async () => {
        const now = bench.clock.now()
        for (const body of await bodiesIn(bench))
          if (now < due.get(body)!) throw new Error(`${body} is early`)
      }
      for (const one of steps) {
        if ('send' in one) {
          for (let i = 0; i < one.bodies; i++) {
            const body = `${due.size}`
            due.set(body, bench.clock.now() + [1, 5, 10, 30, 60][one.send - 1]! * 1_000)
            bench.send('', delayed(body, { level: `${one.send}` }))
          }
          bench.settle()
        } else if ('wait' in one) bench.clock.advance(one.wait)
        else if ('restart' in one) bench = await anew(bench)
        else {
          bench.isTaking = !one.closed
          if (bench.isTaking) bench.schedule.wake()
        }
        await check()
      }
      bench.isTaking = true
      bench.schedule.wake()
      bench.clock.advance(61_000)
      bench = await anew(bench)
      bench.clock.advance(61_000)
      t.deepEqual([...(await bodiesIn(bench))].sort(), [...due.keys()].sort())
      t.is(bench.state.topics.has(SCHEDULE_TOPIC), false)
      await bench.stop()
    }),
    { numRuns: 60 },
  )
})

test('waiting: the frame that waits keeps number, body and properties of what was sent', (t) => {
  const sent = delayed('body', { producerId: 9, sequence: 4, queueId: 3 })
  const waiting = waitingOf(sent, 0, 1, 5_000)
  t.is(waiting[61], flags.scheduled)
  t.deepEqual(
    [...propertiesAt(waiting, recordsAt(waiting, 0))],
    [
      ['DELAY', '1'],
      ['TIMER_OUT_MS', '5000'],
      ['REAL_TOPIC', 'orders'],
      ['REAL_QID', '3'],
    ],
  )
})
