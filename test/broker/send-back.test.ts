/** What consumers send back to a broker: copied AT MOST ONCE, from the owner only, and answered when it is stored. */
import test from 'ava'
import type { Answer } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { recordsAt } from '../../transport/frames.ts'
import type { SendBackAnswer, SendBackRequest } from '../../transport/messages.ts'
import { propertiesAt, recordBodyAt } from '../../transport/records.ts'
import { BrokerBench, frame } from './support.ts'

type Owner = SendBackRequest['owner']

const owner: Owner = { group: 'g', clientId: 'me', assignEpoch: 1 }
const failed: SendBackRequest = {
  ...{ topic: 'orders', queueId: 0, offset: 1, owner },
  ...{ delayLevel: 0, attempts: 1, maxReconsumeTimes: 16, reason: 'Error: no' },
}

/** Three messages in a queue that `me` owns for `g`. */
async function opened(segmentBytes?: number): Promise<BrokerBench> {
  const bench = await BrokerBench.start(null, segmentBytes)
  bench.topic()
  bench.schedule.open()
  bench.send('', frame(['0', '1', '2'], { producerId: 7 }))
  claim(bench)
  bench.settle()
  return bench
}

/** `me` claims a queue for `g`; gives who it is by that. */
function claim(bench: BrokerBench, { topic, queueId }: { topic: string; queueId: number } = failed): Owner {
  let assignEpoch = -1
  const request = {
    ...{ group: 'g', clientId: 'me', instance: 'i1', generation: 1 },
    ...{ force: false, waits: false },
  }
  bench.groups.claim({ topic, queueId, ...request }, (answer) => {
    if ('value' in answer && answer.value.granted) assignEpoch = answer.value.assignEpoch
  })
  bench.settle()
  if (assignEpoch < 0) throw new Error(`'${topic}' is not granted`)
  return { ...owner, assignEpoch }
}

function sendBack(bench: BrokerBench, request: Partial<SendBackRequest> = {}): Answer<SendBackAnswer>[] {
  const answers: Answer<SendBackAnswer>[] = []
  bench.sendBack.receive({ ...failed, ...request }, (answer) => void answers.push(answer))
  return answers
}

const stored = (bench: BrokerBench, topic: string, queueId = 0): number =>
  bench.store.queue(topic, queueId).nextOffset

const commit = (bench: BrokerBench, offset: number): void =>
  bench.groups.commit({ ...owner, offsets: [['orders', 0, offset, owner.assignEpoch]] }, () => {})

/** The properties and the body of one stored message. */
function told(bench: BrokerBench, topic: string, offset = 0, queueId = 0): [Record<string, string>, string] {
  let found: Buffer | undefined
  bench.store.read(bench.store.queue(topic, queueId), offset, 1, (outcome) => {
    if (outcome.ok) found = outcome.value.frames[0]
  })
  const at = recordsAt(found!, 0)
  return [Object.fromEntries(propertiesAt(found!, at)), recordBodyAt(found!, at).toString()]
}

test('send back: it is answered AFTER the copy is stored, with when it is tried again', async (t) => {
  const bench = await opened()
  const answers = sendBack(bench)
  t.deepEqual(answers, [])
  const dueTime = bench.clock.now() + 10_000
  bench.settle()
  t.deepEqual(answers, [{ code: 0, value: { to: 'retry', delayLevel: 3, dueTime } }])
  t.deepEqual(bench.state.topics.get('%RETRY%g')?.readQueues, 1)
  t.is(stored(bench, '%RETRY%g'), 0)
  bench.clock.advance(10_010)
  t.deepEqual(told(bench, '%RETRY%g'), [
    {
      UNIQ_KEY: '00000000000007-1',
      ORIGIN_MESSAGE_ID: '00000000000007-1',
      RETRY_TOPIC: 'orders',
      RECONSUME_TIME: '1',
    },
    '1',
  ])
})

test('send back: what failed again waits longer, and keeps its id and where it was sent to', async (t) => {
  const bench = await opened()
  sendBack(bench)
  bench.clock.advance(10_010)
  const retry = { topic: '%RETRY%g', queueId: 0, offset: 0 }
  const answers = sendBack(bench, { ...retry, attempts: 2, owner: claim(bench, retry) })
  bench.settle()
  t.like(answers[0], { value: { to: 'retry', delayLevel: 4 } })
  bench.clock.advance(30_010)
  t.like(told(bench, '%RETRY%g', 1)[0], {
    ...{ UNIQ_KEY: '00000000000007-1', RETRY_TOPIC: 'orders', RECONSUME_TIME: '2' },
  })
})

test('send back: after its last try a message is a dead letter at once, and says why', async (t) => {
  const bench = await opened()
  const answers = sendBack(bench, {
    attempts: 3,
    maxReconsumeTimes: 2,
    reason: 'Error: \u0001no\u0002 stock',
  })
  bench.settle()
  t.deepEqual(answers, [{ code: 0, value: { to: 'deadLetters' } }])
  const [properties, body] = told(bench, '%DLQ%g')
  t.is(body, '1')
  t.like(properties, {
    ...{ UNIQ_KEY: '00000000000007-1', DLQ_ORIGIN_TOPIC: 'orders', DLQ_REASON: 'Error:  no  stock' },
    ...{ DLQ_ORIGIN_MESSAGE_ID: '00000000000007-1', RECONSUME_TIME: '2' },
  })
})

test('send back: one that is repeated is copied AT MOST ONCE, also after a restart, until it is committed', async (t) => {
  let bench = await opened()
  const both = [...sendBack(bench), ...sendBack(bench)]
  const answers = [sendBack(bench), sendBack(bench, { delayLevel: -1 })]
  bench.settle()
  t.deepEqual(
    [both.length, ...answers.flat()],
    [0, ...[1, 2].map(() => ({ code: 0 as const, value: { to: 'done' as const } }))],
  )
  await bench.stop()
  bench = await BrokerBench.start(bench)
  bench.schedule.open()
  const later = sendBack(bench, { owner: claim(bench) })
  bench.settle()
  await bench.turning(Promise.resolve())
  t.deepEqual(later, [{ code: 0, value: { to: 'done' } }])
  t.is(stored(bench, 'SCHEDULE_TOPIC_XXXX', 2), 1)
  t.is(stored(bench, '%DLQ%g'), 0)
})

test('send back: what is committed needs no copy, and is forgotten', async (t) => {
  const bench = await opened()
  sendBack(bench)
  bench.settle()
  commit(bench, 3)
  bench.settle()
  t.deepEqual(bench.state.sentBack.save(), [])
  const answers = sendBack(bench, { offset: 2 })
  bench.settle()
  t.deepEqual(answers, [{ code: 0, value: { to: 'done' } }])
  t.is(stored(bench, 'SCHEDULE_TOPIC_XXXX', 2), 1)
})

test('send back: a group that was set back may send all of it back anew', async (t) => {
  const bench = await opened()
  sendBack(bench)
  sendBack(bench, { offset: 2 })
  bench.settle()
  commit(bench, 2)
  t.true(bench.state.sentBack.has('g', 'orders/0', 2))
  bench.state.changeOffsets({ group: 'g', offsets: [['orders', 0, 0]] })
  t.false(bench.state.sentBack.has('g', 'orders/0', 2))
})

test('send back: whoever does not own the queue is refused, and counted', async (t) => {
  const bench = await opened()
  for (const other of [
    { ...owner, assignEpoch: 0 },
    { ...owner, clientId: 'you' },
    { ...owner, group: 'h' },
  ]) {
    const [answer] = sendBack(bench, { owner: other })
    t.is(answer!.code, codes.FENCED_OWNER)
  }
  t.is(bench.sendBack.counters.fenced, 3)
  t.is(stored(bench, 'SCHEDULE_TOPIC_XXXX', 2), 0)
})

test('send back: what cannot be is refused with a sentence', async (t) => {
  const bench = await opened()
  const codeOf = (request: Partial<SendBackRequest>) => {
    const answers = sendBack(bench, request)
    bench.settle()
    return answers[0]?.code
  }
  t.is(codeOf({ topic: 'nothing' }), codes.TOPIC_NOT_EXIST)
  t.is(codeOf({ queueId: 99 }), codes.TOPIC_NOT_EXIST)
  t.is(codeOf({ offset: 3 }), codes.QUERY_NOT_FOUND)
  t.is(codeOf({ owner: { ...owner, group: 'no group' } }), codes.INVALID_PARAMETER)
  bench.isTaking = false
  t.is(codeOf({}), codes.SERVICE_NOT_AVAILABLE)
  bench.isTaking = true
  t.is(codeOf({}), codes.SUCCESS)
})

test('send back: tries that the consumer made by itself count', async (t) => {
  const bench = await opened()
  const answers = sendBack(bench, { attempts: 4 })
  bench.settle()
  t.like(answers[0], { value: { to: 'retry', delayLevel: 6 } })
})

/** How many messages of `g` wait for their next try, as an operator is told, and in which lags they are. */
async function retrying(bench: BrokerBench): Promise<[waiting: number, inRetryTopic: number]> {
  let told: [number, number] | null = null
  const nobody = { generation: 0, members: [], allocation: null, disagreements: [], rebalances: [] }
  bench.groups.describe('g', nobody, (answer) => {
    if ('value' in answer) told = [answer.value.retrying, stored(bench, '%RETRY%g')]
  })
  while (told === null) {
    bench.clock.settle()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return told
}

test('send back: what waits for its next try is counted until it is in the retry topic, also AFTER a restart', async (t) => {
  for (const segmentBytes of [undefined, 2_048]) {
    const bench = await opened(segmentBytes)
    t.deepEqual(await retrying(bench), [0, 0])
    sendBack(bench)
    sendBack(bench)
    sendBack(bench, { offset: 2, delayLevel: 5 })
    // A dead letter, and what a sender delays, wait for no try.
    sendBack(bench, { offset: 0, delayLevel: -1 })
    bench.settle()
    commit(bench, 3)
    t.deepEqual(await retrying(bench), [2, 0])
    // Large segments end in the log, small ones in a state that is saved.
    for (let i = 0; i < 40 && segmentBytes; i++) bench.send(`s${i}`, frame(['x'.repeat(200)]))
    bench.settle()
    await bench.stop()
    const next = await BrokerBench.start(bench, segmentBytes)
    t.deepEqual(await retrying(next), [2, 0])
    next.schedule.open()
    await arrives(next, 10_100)
    t.deepEqual(await retrying(next), [1, 1])
    await arrives(next, 50_100)
    t.deepEqual(await retrying(next), [0, 2])
    await next.stop()
  }
})

test('send back: what a full disk took before its time is retried no more, and is not counted', async (t) => {
  const bench = await opened()
  sendBack(bench)
  sendBack(bench, { offset: 2 })
  bench.settle()
  t.deepEqual(await retrying(bench), [2, 0])
  bench.store.queue('SCHEDULE_TOPIC_XXXX', 2).minOffset = 2
  bench.clock.advance(10_100)
  t.is(bench.schedule.counters.dropped, 2)
  t.deepEqual(await retrying(bench), [0, 0])
})

/** Time passes, and a disk that takes its time is waited for. */
async function arrives(bench: BrokerBench, ms: number): Promise<void> {
  bench.clock.advance(ms)
  const delivered = bench.schedule.counters.delivered
  for (let i = 0; i < 1_000 && bench.schedule.counters.delivered === delivered; i++) {
    await new Promise((resolve) => setImmediate(resolve))
    bench.settle()
  }
}
