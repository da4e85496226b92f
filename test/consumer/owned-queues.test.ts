/** What becomes of the queues that a consumer reads, without a broker and in virtual time. */
import test from 'ava'
import { type ConsumerOptions, settingsOf } from '../../actors/consumer/consumer-options.ts'
import { Dispatcher } from '../../actors/consumer/dispatcher.ts'
import type { IncomingMessage } from '../../actors/consumer/incoming-message.ts'
import { OwnedQueues } from '../../actors/consumer/owned-queues.ts'
import type { TopicRoutes } from '../../actors/consumer/topic-routes.ts'
import type { Process } from '../../actors/node/process.ts'
import { accept, encode } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { pullAnswer } from '../../transport/exchange.ts'
import { fail, type Outcome, succeed } from '../../transport/failures.ts'
import type { PullRequest } from '../../transport/messages.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import { notedLog } from '../support/transports.ts'
import { virtualClock } from '../support/virtual-clock.ts'
import { stored, TOPIC } from './support.ts'

const SESSION_MS = 10_000
type Asked = { what: string; request: unknown; answer(outcome: Outcome<Buffer>): void }

/** A consumer of a group that owns nothing yet; its handlers run until the test ends them. */
function bench(options: Partial<ConsumerOptions> = {}) {
  const clock = virtualClock()
  /** For so long the process has stood still: no timer has heard of it. */
  const stood = { ms: 0 }
  const asked: Asked[] = []
  const log: string[] = []
  const world = {
    clock: { ...clock, monotonic: () => clock.monotonic() + stood.ms },
    log: notedLog(),
    transport: {
      request: (subject: string, payload: Uint8Array, _: number, answer: Asked['answer']) => {
        const what = subject.split('.').at(-1)!
        asked.push({ what, request: JSON.parse(Buffer.from(payload).toString()), answer })
        if (what !== 'pull') log.push(what)
      },
    },
  }
  const process = { id: 'p', subjects: subjectsOf('test'), world } as unknown as Process
  const settings = settingsOf({ group: 'g', sessionMs: SESSION_MS, concurrency: 3, ...options }, 'me')
  const routes = {
    epochOf: () => 1,
    unreachable: () => {},
    unreachableFor: () => {},
    whenSeen: (_: string, run: () => void) => run(),
    isInitial: () => true,
  } as unknown as TopicRoutes
  const queues = new OwnedQueues(
    process,
    { settings, filters: new Map(), routes, offsets: null },
    {
      fenced: ({ queueId }, assignEpoch) => void log.push(`fenced ${queueId}.${assignEpoch}`),
      doubted: (refs) =>
        void log.push(`doubted ${refs.map(({ queueId, assignEpoch }) => `${queueId}.${assignEpoch}`)}`),
    },
  )
  const running = new Map<number, () => void>()
  const begun: number[] = []
  const handler = ({ queueOffset }: IncomingMessage) => {
    begun.push(queueOffset)
    return new Promise<void>((resolve) => running.set(queueOffset, resolve))
  }
  const dispatcher = new Dispatcher(world, settings, handler, () => {}, queues.look)
  queues.start(dispatcher)
  const ref = { topic: TOPIC, brokerName: 'a', queueId: 0 }
  return {
    ...{ clock, stood, queues, log, begun, ref, dispatcher },
    grant(assignEpoch: number, committed: number | null = 0, isLater = false) {
      queues.granted(ref, { granted: true, assignEpoch, committed, minOffset: 7, maxOffset: 100, isLater })
      clock.settle()
    },
    /** Answers the last pull. */
    give(offset: number, count: number) {
      const head = { code: codes.SUCCESS, epoch: 1, nextOffset: 0, minOffset: 0, maxOffset: 100 }
      const { answer } = asked.findLast(({ what }) => what === 'pull')!
      answer(succeed(pullAnswer(head, [stored(offset, count)])))
      clock.settle()
    },
    /** Where the last pull asked to go on. */
    get pulledFrom() {
      return (asked.findLast(({ what }) => what === 'pull')!.request as PullRequest).offset
    },
    /** Answers the last commit. */
    confirm() {
      const { answer } = asked.findLast(({ what }) => what === 'commit')!
      answer(succeed(Buffer.from(encode(accept({ fenced: [] })))))
    },
    /** The offset that the last commit told. */
    get told() {
      const last = asked.findLast(({ what }) => what === 'commit')
      return (last?.request as { offsets: [string, number, number, number][] } | undefined)?.offsets[0]?.[2]
    },
    /** Answers, or fails to answer, what is asked first of all that is open. */
    answer(what: string, value: Record<string, number> | null) {
      const at = asked.findIndex((one) => one.what === what)
      const [open] = asked.splice(at, 1)
      open!.answer(
        value === null ? fail('timedOut', 'no answer') : succeed(Buffer.from(encode(accept(value)))),
      )
      clock.settle()
    },
    /** The handler of that message is done. */
    async end(offset: number) {
      running.get(offset)!()
      await new Promise<void>((resolve) => setImmediate(resolve))
    },
  }
}

test('owned queues: while the process is awake its ticks commit, and doubt nothing', async (t) => {
  const it = bench()
  it.grant(1)
  it.give(0, 10)
  t.deepEqual(it.begun, [0, 1, 2])
  it.clock.advance(60_000)
  t.deepEqual(it.log, [])
  await it.end(0)
  it.stood.ms += SESSION_MS - 1_001
  it.clock.advance(1_000)
  t.deepEqual(it.log, ['commit'])
  t.is(it.told, 1)
  t.deepEqual(it.begun, [0, 1, 2, 3])
})

for (const [how, notice] of [
  ['a handler that ends', async (it: ReturnType<typeof bench>) => it.end(1)],
  ['an answer that brings more', async (it: ReturnType<typeof bench>) => it.give(10, 5)],
  ['a tick', async (it: ReturnType<typeof bench>) => it.clock.advance(1_000)],
] as const) {
  test(`owned queues: after a standstill that ${how} shows, NOTHING more begins, and the commit is asked BEFORE the queues are doubted`, async (t) => {
    const it = bench({ concurrency: 4 })
    it.grant(7)
    it.give(0, 10)
    await it.end(0)
    t.deepEqual(it.begun, [0, 1, 2, 3, 4])
    it.clock.settle()
    it.stood.ms += SESSION_MS
    await notice(it)
    await it.end(2)
    it.clock.settle()
    t.deepEqual(it.begun, [0, 1, 2, 3, 4])
    t.deepEqual(it.log, ['commit', 'doubted 0.7'])
    t.is(it.told, how === 'a handler that ends' ? 2 : 1)
  })
}

test('owned queues: after a standstill a queue goes on AFTER it was granted again, where it was', async (t) => {
  const it = bench()
  it.grant(7)
  it.give(0, 10)
  await it.end(0)
  it.clock.settle()
  it.stood.ms += SESSION_MS
  await it.end(1)
  it.queues.drop(it.ref)
  it.clock.advance(3_000)
  t.deepEqual(it.begun, [0, 1, 2, 3])
  it.grant(7, 0)
  t.is(it.pulledFrom, 2)
  it.give(2, 4)
  t.deepEqual(it.begun, [0, 1, 2, 3, 2])
})

test('owned queues: a queue that is being given back when the process stood still is given back', async (t) => {
  const it = bench()
  it.grant(7)
  it.give(0, 3)
  let drained: number | null = -1
  it.queues.giveBack(it.ref, (offset) => {
    drained = offset
  })
  it.stood.ms += SESSION_MS
  it.clock.advance(1_000)
  t.deepEqual(it.log, [])
  for (const offset of [0, 1, 2]) await it.end(offset)
  t.is(drained, 3)
})

test('owned queues: a handler that ends AFTER its queue was lost is counted, one whose queue is given back is not', async (t) => {
  const it = bench()
  it.grant(1)
  it.give(0, 3)
  it.queues.giveBack(it.ref, () => {})
  await it.end(0)
  t.is(it.dispatcher.counts.fenced, 0)
  it.queues.drop(it.ref)
  await it.end(1)
  t.is(it.dispatcher.counts.fenced, 1)
})

for (const [from, isLater, committed, begins] of [
  ['last', false, null, 100],
  ['last', true, null, 7],
  ['last', true, 50, 50],
  ['first', false, null, 7],
  [new Date(0), true, null, 7],
] as const) {
  const which = `${isLater ? 'later' : 'of the beginning'}, with ${committed ?? 'nothing'} committed`
  test(`owned queues: a queue ${which}, from ${from}, is begun at ${begins}`, (t) => {
    const it = bench({ from })
    it.grant(1, committed, isLater)
    t.is(it.pulledFrom, begins)
  })
}

test('owned queues: in broadcasting, queues that appear while others are sought are begun, and then all is told', (t) => {
  const it = bench({ messageModel: 'broadcasting' })
  const told: string[] = []
  const other = { ...it.ref, queueId: 1 }
  it.queues.readAll(TOPIC, [it.ref], () => told.push('one'))
  it.answer('search-offset', null)
  it.queues.readAll(TOPIC, [it.ref, other], () => told.push('two'))
  it.clock.advance(5_000) // The first search would be tried again.
  for (const _ of [0, 1]) it.answer('search-offset', { offset: 7 })
  t.deepEqual(told, ['two'])
  t.is(it.queues.list.length, 2)
})
