/** What becomes of a message whose handler fails, without a broker and in virtual time. */
import { setImmediate } from 'node:timers/promises'
import test from 'ava'
import { settingsOf } from '../../actors/consumer/consumer-options.ts'
import { Dispatcher } from '../../actors/consumer/dispatcher.ts'
import type { Handler, MessageContext } from '../../actors/consumer/handler.ts'
import type { IncomingMessage } from '../../actors/consumer/incoming-message.ts'
import { ProcessQueue } from '../../actors/consumer/process-queue.ts'
import type { SendMessageBack, SentBackTo } from '../../actors/consumer/send-back.ts'
import { ReaderBench, stored } from './support.ts'

type Back = { offset: number; delayLevel: number; reason: string; tell: (to: SentBackTo) => void }

const DEFAULTS = {
  ...{ group: 'g', ordered: false, concurrency: 3, maxReconsumeTimes: 16 },
  ...{ suspendMs: 1_000, consumeTimeoutMs: 800 },
}

function bench(handler: Handler, settings: Partial<typeof DEFAULTS> = {}, isGroup = true) {
  const readers = new ReaderBench()
  const { reader, clock, log } = readers
  const backs: Back[] = []
  const sendBack: SendMessageBack = (_, { queueOffset: offset }, { delayLevel, reason }, told) =>
    void backs.push({ offset, delayLevel, reason, tell: (to) => told(to, 'why') })
  const dispatcher = new Dispatcher(readers, { ...DEFAULTS, ...settings }, handler, isGroup ? sendBack : null)
  const queue = new ProcessQueue(reader, { filter: null, assignEpoch: 1, offset: 0, committed: -1 })
  dispatcher.setQueues([queue])
  reader.start(0)
  readers.give(stored(0, 5))
  dispatcher.give()
  return { dispatcher, queue, backs, clock, log }
}

const failing =
  (offset: number, heard: string[] = []): Handler =>
  ({ queueOffset, deliveryAttempt }: IncomingMessage) => {
    heard.push(`${queueOffset}.${deliveryAttempt}`)
    if (queueOffset === offset) throw new Error('no')
  }

test('dispatcher: a message that failed counts as finished AFTER a broker says that it is stored', (t) => {
  const { queue, backs, dispatcher } = bench(failing(1))
  t.is(queue.position, 1)
  t.deepEqual([backs[0]!.offset, backs[0]!.delayLevel, backs[0]!.reason], [1, 0, 'Error: no'])
  backs[0]!.tell('retry')
  t.is(queue.position, 5)
  t.like(dispatcher.counts, { failed: 1, sentBack: 1 })
})

test('dispatcher: a queue that is given back waits for that answer', (t) => {
  const { queue, backs } = bench(failing(1))
  let drained = 0
  queue.drain(() => drained++)
  t.is(drained, 0)
  backs[0]!.tell('deadLetters')
  t.is(drained, 1)
})

for (const to of ['failed', 'fenced'] as const) {
  test(`dispatcher: one that could not be sent back (${to}) is tried here again after 5 s, and holds the offset back`, (t) => {
    const heard: string[] = []
    const { queue, backs, clock, dispatcher } = bench(failing(1, heard))
    backs[0]!.tell(to)
    clock.advance(4_999)
    t.is(queue.position, 1)
    t.is(heard.length, 5)
    clock.advance(1)
    t.is(heard.at(-1), '1.2')
    t.is(backs.length, 2)
    backs[1]!.tell('retry')
    t.is(queue.position, 5)
    t.like(dispatcher.counts, { failed: 2, sentBack: 1, [to === 'fenced' ? 'fenced' : 'sendBackFailed']: 1 })
  })
}

test('dispatcher: of a queue that is another one’s by then nothing is tried again', (t) => {
  const heard: string[] = []
  const { queue, backs, clock } = bench(failing(1, heard))
  queue.stop()
  backs[0]!.tell('fenced')
  clock.advance(60_000)
  t.is(heard.length, 5)
})

test('dispatcher: the level that a handler chooses is the one that is asked for, and nonsense is not', (t) => {
  const levels = [7, -1, 18, 99, 'soon']
  const { backs, log } = bench(({ queueOffset }: IncomingMessage, context: MessageContext) => {
    context.delayLevel = levels[queueOffset] as number
    throw new Error('no')
  })
  t.deepEqual(
    backs.map(({ delayLevel }) => delayLevel),
    [7, -1, 18, 0, 0],
  )
  t.is(log.lines.filter((line) => /the ladder decides/.test(line)).length, 2)
})

test('dispatcher: in order a failure stops its queue, for longer each time, or for as long as the handler says', (t) => {
  const heard: string[] = []
  const handler: Handler = (message, context) => {
    if (message.deliveryAttempt === 3) context.suspendMs = 30
    failing(1, heard)(message, context)
  }
  const { backs, clock } = bench(handler, { ordered: true, maxReconsumeTimes: 4, suspendMs: 50 })
  t.deepEqual(heard, ['0.1', '1.1'])
  for (const [pause, next] of [
    [50, '1.2'],
    [100, '1.3'],
    [30, '1.4'],
    [400, '1.5'],
  ] as const) {
    const before = heard.length
    clock.advance(pause - 1)
    t.is(heard.length, before)
    clock.advance(1)
    t.deepEqual(heard.slice(before), [next])
  }
  t.deepEqual([backs.length, backs[0]!.delayLevel], [1, -1])
  clock.advance(10_000)
  t.is(heard.length, 6)
  backs[0]!.tell('deadLetters')
  t.deepEqual(heard.slice(6), ['2.1', '3.1', '4.1'])
})

test('dispatcher: in order a message has 16 retries within six minutes, then it is a dead letter', (t) => {
  const heard: string[] = []
  const { maxReconsumeTimes, suspendMs } = settingsOf({ group: 'g', ordered: true }, 'me')
  const { backs, clock } = bench(failing(0, heard), { ordered: true, maxReconsumeTimes, suspendMs })
  clock.advance(360_999)
  t.deepEqual([heard.length, backs.length], [16, 0])
  clock.advance(1)
  t.is(heard.at(-1), '0.17')
  t.is(backs[0]!.delayLevel, -1)
})

test('dispatcher: in order a message is tried for ever where that is asked for', (t) => {
  const heard: string[] = []
  const maxReconsumeTimes = 2 ** 31 - 1
  const { backs, clock } = bench(failing(0, heard), { ordered: true, maxReconsumeTimes })
  clock.advance(24 * 3_600_000)
  t.true(heard.length > 2_800)
  t.is(backs.length, 0)
})

test('dispatcher: in broadcasting a message that failed is passed over', (t) => {
  const { queue, dispatcher } = bench(failing(1), {}, false)
  t.is(queue.position, 5)
  t.like(dispatcher.counts, { failed: 1, dropped: 1 })
})

test('dispatcher: a handler that runs for too long is sent back, keeps its place, and is not heard any more', async (t) => {
  let end = () => {}
  const hanging = new Promise<void>((resolve) => {
    end = resolve
  })
  const heard: number[] = []
  const { queue, backs, clock, dispatcher } = bench(
    ({ queueOffset }: IncomingMessage) => {
      heard.push(queueOffset)
      return queueOffset === 1 ? hanging : undefined
    },
    { concurrency: 1 },
  )
  clock.advance(799)
  t.is(backs.length, 0)
  clock.advance(101)
  t.deepEqual([backs[0]!.offset, backs[0]!.delayLevel], [1, 3])
  backs[0]!.tell('retry')
  t.is(queue.position, 2)
  t.deepEqual(heard, [0, 1])
  end()
  await hanging
  await Promise.resolve()
  t.deepEqual(heard, [0, 1, 2, 3, 4])
  t.like(dispatcher.counts, { timedOut: 1, late: 1, failed: 1, sentBack: 1 })
})

test('dispatcher: handlers that hold the process up NEVER hold up its beats for more than two messages', (t) => {
  const readers = new ReaderBench()
  const { reader, clock } = readers
  let elapsed = 0
  clock.monotonic = () => elapsed
  const begun: number[] = []
  const handler = ({ queueOffset }: IncomingMessage) => {
    begun.push(queueOffset)
    elapsed += 1_000
  }
  const dispatcher = new Dispatcher(readers, DEFAULTS, handler, () => {})
  dispatcher.setQueues([new ProcessQueue(reader, { filter: null, assignEpoch: 1, offset: 0, committed: -1 })])
  reader.start(0)
  readers.give(stored(0, 5))
  dispatcher.give()
  t.deepEqual(begun, [0, 1])
  clock.settle()
  t.deepEqual(begun, [0, 1, 2, 3, 4])
})

test('dispatcher: no timer runs while no handler does', async (t) => {
  const { clock, queue } = bench(() => Promise.resolve())
  for (let i = 0; i < 10 && queue.position < 5; i++) await Promise.resolve()
  clock.advance(2_000)
  t.is(queue.position, 5)
  t.is(clock.timers, 0)
})

test('dispatcher: AFTER stop nothing waits for another try, however the handlers end that were left', async (t) => {
  for (const ordered of [false, true]) {
    const rejects: ((error: Error) => void)[] = []
    const handler: Handler = () => new Promise((_, reject) => void rejects.push(reject))
    const { dispatcher, queue, backs, clock } = bench(handler, { ordered })
    queue.stop()
    dispatcher.stop()
    const timers = clock.timers
    for (const reject of rejects) reject(new Error('no'))
    await setImmediate()
    for (const { tell } of backs) tell('failed')
    t.is(backs.length, ordered ? 0 : 3)
    t.is(clock.timers, timers)
  }
})

test('dispatcher: what a handler returns may be any kind of promise, and fail in any way; the others go on', async (t) => {
  const odd = {
    // biome-ignore lint/suspicious/noThenProperty: such are what handlers return
    then() {
      throw new Error('no')
    },
  }
  const twice = {
    // biome-ignore lint/suspicious/noThenProperty: such are what handlers return
    then(resolve: () => void) {
      resolve()
      resolve()
    },
  }
  const { dispatcher, backs, queue } = bench(({ queueOffset }) => [odd, twice][queueOffset])
  await setImmediate()
  t.like(dispatcher.counts, { failed: 1, late: 0 })
  t.is(backs[0]!.reason, 'Error: no')
  backs[0]!.tell('retry')
  t.is(queue.position, 5)
})
