/** Pop at the broker: what is given, recorded and answered, and what is left AFTER a restart. */
import test from 'ava'
import fc from 'fast-check'
import { messagesIn, type ReceivedMessage } from '../../actors/consumer/simple/received-message.ts'
import { simpleSettingsOf } from '../../actors/consumer/simple/simple-options.ts'
import { generationOf } from '../../machines/generation.ts'
import { committedOf } from '../../machines/pop-queue.ts'
import type { Answer } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { answerCode } from '../../transport/exchange.ts'
import { popHasMore, popText } from '../../transport/pop-exchange.ts'
import type {
  PopRequest,
  PopSettleAnswer,
  PopSettleItem,
  PopWaitAnswer,
} from '../../transport/pop-messages.ts'
import { BrokerBench, frame } from './support.ts'

/** The generation of the coordinator's division of that count. */
const division = (count: number) => generationOf(count, 7)

const INVISIBLE = 10_000
const request = (more: Partial<PopRequest> = {}): PopRequest => ({
  ...{ group: 'g', topic: 'orders', clientId: 'c', max: 32, invisibleMs: INVISIBLE, ordered: false },
  ...{ maxAttempts: 16, from: 'first', filter: '*' },
  ...more,
})

async function broker(
  queues = 1,
  before: BrokerBench | null = null,
  segmentBytes?: number,
): Promise<BrokerBench> {
  const bench = await BrokerBench.start(before, segmentBytes)
  if (before === null) bench.topic('orders', { queues })
  bench.settle()
  return bench
}

/** From now on the store calls back when it is told to, as it does when frames are on disk only. */
function slowDisk(bench: BrokerBench): { goOn(): void; mend(): void } {
  const read = bench.store.read.bind(bench.store)
  const held: (() => void)[] = []
  bench.store.read = (queue, offset, bytes, done) =>
    read(queue, offset, bytes, (outcome) => held.push(() => done(outcome)))
  return {
    goOn() {
      while (held.length > 0) {
        held.shift()!()
        bench.clock.settle()
      }
      bench.settle()
    },
    mend() {
      bench.store.read = read
    },
  }
}

let replies = 0
function ask(bench: BrokerBench, more: Partial<PopRequest> = {}): string {
  const reply = `r${++replies}`
  bench.pop.receive(Buffer.from(JSON.stringify(request(more))), reply)
  return reply
}
function receive(bench: BrokerBench, more: Partial<PopRequest> = {}): ReceivedMessage[] {
  const reply = ask(bench, more)
  for (let i = 0; i < 100 && bench.answer(reply) === null; i++) bench.settle()
  return messagesIn(bench.answer(reply)!, 'a', 'g')!
}

/** As `receive`, from a disk that takes its time. */
async function received(bench: BrokerBench, more: Partial<PopRequest> = {}): Promise<ReceivedMessage[]> {
  const reply = ask(bench, more)
  while (bench.answer(reply) === null) {
    bench.settle()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return messagesIn(bench.answer(reply)!, 'a', 'g')!
}

const itemOf = (
  { topic, queueId, queueOffset, deliveryAttempt, delivery }: ReceivedMessage,
  ms: number | null = null,
) => [topic, queueId, queueOffset, deliveryAttempt, delivery.token, ms] as PopSettleItem
function settle(bench: BrokerBench, items: PopSettleItem[], group = 'g'): PopSettleAnswer['faults'] | null {
  let answered: Answer<PopSettleAnswer> | null = null
  bench.pop.settle({ group, clientId: 'c', items }, (answer) => {
    answered = answer
  })
  bench.clock.settle()
  bench.settle()
  const answer = answered as Answer<PopSettleAnswer> | null
  return answer !== null && 'value' in answer ? answer.value.faults : null
}
const texts = (messages: readonly ReceivedMessage[]) => messages.map(({ text }) => text)

test('pop: is answered AFTER what it gave is stored as given', async (t) => {
  const bench = await broker()
  bench.send('s', frame(['1', '2']))
  bench.settle()
  const reply = ask(bench)
  t.is(bench.answer(reply), null)
  bench.settle()
  t.deepEqual(texts(messagesIn(bench.answer(reply)!, 'a', 'g')!), ['1', '2'])
})

test('pop: an acknowledgement is answered AFTER it is stored', async (t) => {
  const bench = await broker()
  bench.send('s', frame(['1']))
  bench.settle()
  const [message] = receive(bench)
  let isAnswered = false
  bench.pop.settle({ group: 'g', clientId: 'c', items: [itemOf(message!)] }, () => {
    isAnswered = true
    t.is(bench.state.pops.of('g', 'orders/0')?.entries.length, 0)
    t.is(bench.store.confirmPosition, bench.store.endPosition)
  })
  t.false(isAnswered)
  bench.settle()
  t.true(isAnswered)
  t.is(bench.state.offsets.get('g')?.get('orders/0'), 1)
})

test('pop: what comes in one turn of the loop is one record', async (t) => {
  const bench = await broker()
  bench.send('s', frame(['1', '2', '3', '4']))
  bench.settle()
  const messages = receive(bench)
  const before = bench.store.endPosition
  for (const message of messages)
    bench.pop.settle({ group: 'g', clientId: 'c', items: [itemOf(message)] }, () => {})
  bench.clock.settle()
  t.true(bench.store.endPosition - before < 200)
  t.is(bench.state.offsets.get('g')?.get('orders/0'), 4)
})

test('pop: what is too much for one frame of the log is several records, and a restart knows them all', async (t) => {
  const bench = await broker(3)
  const bodies = Array.from({ length: 10_000 }, () => 'x')
  for (const queueId of [0, 1, 2]) bench.send(`s${queueId}`, frame(bodies, { queueId }))
  bench.settle()
  const items: PopSettleItem[] = []
  for (let i = 0; i < 30; i++)
    items.push(...receive(bench, { max: 1_000 }).map((message) => itemOf(message, 60_000)))
  t.is(items.length, 30_000)
  const before = bench.store.endPosition
  for (let at = 0; at < items.length; at += 10_000)
    bench.pop.settle({ group: 'g', clientId: 'c', items: items.slice(at, at + 10_000) }, () => {})
  bench.clock.settle()
  t.true(bench.store.endPosition - before > 300_000)
  bench.settle()
  const known = bench.state.pops.save()
  await bench.stop()
  const next = await broker(3, bench)
  t.deepEqual(next.state.pops.save(), known)
  await next.stop()
})

test('pop: two that acknowledge the same delivery in one turn: one is told that it was done already', async (t) => {
  const bench = await broker()
  bench.send('s', frame(['1']))
  bench.settle()
  const item = itemOf(receive(bench)[0]!)
  t.deepEqual(settle(bench, [item, item]), [[1, 'done']])
  t.is(bench.pop.counters.refused, 1)
})

test('pop: receives that come together give each message once', async (t) => {
  const bench = await broker()
  bench.send('s', frame(['1', '2', '3', '4', '5']))
  bench.settle()
  const asked = Array.from({ length: 3 }, () => ask(bench, { max: 2 }))
  bench.clock.settle()
  bench.settle()
  const given = asked.map((reply) => texts(messagesIn(bench.answer(reply)!, 'a', 'g')!))
  t.deepEqual(given, [['1', '2'], ['3', '4'], ['5']])
})

test('pop: receives that come together give each message once, also from a disk that takes its time', async (t) => {
  const bench = await broker()
  bench.send('s', frame(['1', '2', '3']))
  bench.settle()
  const disk = slowDisk(bench)
  const asked = [ask(bench, { max: 2 }), ask(bench, { max: 2 })]
  disk.goOn()
  disk.goOn()
  const given = asked.map((reply) => texts(messagesIn(bench.answer(reply)!, 'a', 'g')!))
  t.deepEqual(given, [['1', '2'], ['3']])
})

test('pop: a frame that holds others too is cut, and its messages keep their offsets and ids', async (t) => {
  const bench = await broker()
  bench.send('s', frame(['a', 'b', 'c', 'd', 'e'], { producerId: 77 }))
  bench.settle()
  const whole = receive(bench, { group: 'g' })
  const pieces = [0, 1, 2].flatMap(() => receive(bench, { group: 'other', max: 2 }))
  const facts = (messages: ReceivedMessage[]) =>
    messages.map(({ text, queueOffset, messageId, storeTime, epoch }) => [
      text,
      queueOffset,
      messageId,
      storeTime,
      epoch,
    ])
  t.deepEqual(facts(pieces), facts(whole))
})

test('pop: a restart forgets neither what is invisible nor what is acknowledged, from the log or from its state', async (t) => {
  for (const segmentBytes of [undefined, 8_192]) {
    const bench = await broker(1, null, segmentBytes)
    bench.send('s', frame(['1', '2', '3', '4', '5', '6']))
    bench.settle()
    const messages = receive(bench, { max: 5 })
    settle(bench, [itemOf(messages[0]!), itemOf(messages[2]!), itemOf(messages[3]!, 60_000)])
    if (segmentBytes) {
      for (let i = 0; i < 40; i++) {
        bench.send(`s${i}`, frame(['x'.repeat(1_000)], { topic: 'orders', queueId: 0 }))
        bench.settle()
      }
    }
    const known = bench.state.pops.save()
    await bench.stop()
    const next = await broker(1, bench, segmentBytes)
    t.deepEqual(next.state.pops.save(), known)
    t.is(next.state.offsets.get('g')?.get('orders/0'), 1)
    t.deepEqual(texts(await received(next, { max: 1 })), ['6'])
    t.deepEqual(settle(next, [itemOf(messages[1]!)]), [])
    next.clock.advance(INVISIBLE)
    const again = await received(next, { max: 2 })
    t.deepEqual(
      again.map(({ text, deliveryAttempt }) => [text, deliveryAttempt]),
      [
        ['5', 2],
        ['6', 2],
      ],
    )
    await next.stop()
  }
})

test('pop: a log of before has no pops, and is opened', async (t) => {
  const bench = await broker()
  const { pops: _, ...early } = bench.state.save() as { pops: unknown }
  bench.state.restore(early as never)
  t.deepEqual(bench.state.pops.save(), [])
})

test('pop: a clock that is set back hides nothing for longer, also from whoever waits', async (t) => {
  const bench = await broker()
  const { now } = bench.clock
  bench.send('s', frame(['1', '2']))
  bench.settle()
  const [first] = receive(bench, { max: 1 })
  bench.clock.now = () => now() - 3_600_000
  t.deepEqual(texts(receive(bench)), ['2'])
  t.deepEqual(settle(bench, [itemOf(first!, 15_000)]), [])
  let isTold = false
  bench.pop.wait({ group: 'g', topic: 'orders', clientId: 'c', ordered: false, waitMs: 60_000 }, () => {
    isTold = true
  })
  bench.clock.advance(INVISIBLE - 500)
  t.false(isTold)
  bench.clock.advance(1_000)
  t.true(isTold)
  t.deepEqual(texts(receive(bench)), ['2'])
  bench.clock.advance(5_000)
  t.deepEqual(texts(receive(bench)), ['1'])
})

test('pop: what a master hid whose clock was a day ahead is not hidden for a day by the next one', async (t) => {
  const bench = await broker()
  const { now } = bench.clock
  bench.clock.now = () => now() + 86_400_000
  bench.send('s', frame(['1']))
  bench.settle()
  t.is(receive(bench).length, 1)
  await bench.stop()
  bench.clock.now = now
  const next = await broker(1, bench)
  t.false(next.pop.isPopped('g', 'orders/0'))
  t.deepEqual(texts(await received(next)), ['1'])
  await next.stop()
})

test('pop: a topic that is deleted while the disk is read is given nothing of, and nothing is kept of it', async (t) => {
  const bench = await broker()
  bench.send('s', frame(['1']))
  bench.settle()
  const disk = slowDisk(bench)
  const reply = ask(bench)
  bench.store.dropQueues('orders')
  bench.state.changeTopic({ deleted: 'orders' })
  disk.goOn()
  t.is(answerCode(bench.answer(reply)!), codes.PULL_NOT_FOUND)
  t.deepEqual(bench.state.pops.save(), [])
  t.false(bench.state.offsets.has('g'))
})

test('pop: what an owner had sent back is done: its copy is tried again, and it is not given as well', async (t) => {
  const bench = await broker()
  bench.topic('orders', { queues: 1 })
  bench.send('s', frame(['1', '2', '3'], { producerId: 7 }))
  const place = { group: 'g', topic: 'orders', queueId: 0 }
  bench.groups.claim(
    { ...place, clientId: 'owner', instance: 'owner', generation: division(1), force: false, waits: false },
    () => {},
  )
  bench.settle()
  const owner = { group: 'g', clientId: 'owner', assignEpoch: 1 }
  const failed = { delayLevel: 0, attempts: 1, maxReconsumeTimes: 16, reason: '' }
  bench.sendBack.receive({ ...failed, topic: 'orders', queueId: 0, offset: 1, owner }, () => {})
  bench.settle()
  bench.askCoordinator = (_, told) => told({ generation: division(2), gone: ['owner'] })
  const messages = receive(bench)
  t.deepEqual(texts(messages), ['1', '3'])
  settle(
    bench,
    messages.map((message) => itemOf(message)),
  )
  t.is(bench.state.offsets.get('g')?.get('orders/0'), 3)
  // It is not remembered for ever.
  t.false(bench.state.sentBack.has('g', 'orders/0', 1))
  // Whoever sets the group back wants all of it.
  bench.groups.reset({ group: 'g', topic: 'orders', offsets: [[0, 0]] }, () => {})
  t.deepEqual(texts(receive(bench)), ['1', '2', '3'])
})

test('pop: an acknowledgement that a mastership did not come to is told at once that it is over', async (t) => {
  const bench = await broker()
  bench.send('s', frame(['1']))
  bench.settle()
  const [message] = receive(bench)
  const answers: Answer<PopSettleAnswer>[] = []
  bench.pop.settle(
    { group: 'g', clientId: 'c', items: [itemOf(message!)] },
    (answer) => void answers.push(answer),
  )
  bench.pop.close()
  bench.clock.settle()
  t.deepEqual(
    answers.map(({ code }) => code),
    [codes.NOT_MASTER],
  )
  t.is(bench.state.pops.of('g', 'orders/0')?.entries.length, 1)
})

test('pop: an acknowledgement that comes while the disk is read counts: the message is NEVER given again', async (t) => {
  const bench = await broker()
  bench.send('s', frame(['1']), frame(['2']))
  bench.settle()
  const messages = receive(bench)
  bench.clock.advance(INVISIBLE)
  const disk = slowDisk(bench)
  const reply = ask(bench)
  t.deepEqual(settle(bench, [itemOf(messages[0]!)]), [])
  disk.goOn()
  t.deepEqual(texts(messagesIn(bench.answer(reply)!, 'a', 'g')!), ['2'])
  t.is(bench.state.offsets.get('g')?.get('orders/0'), 1)
})

test('pop: a reset that comes while the disk is read counts: the group goes on where it was put', async (t) => {
  const bench = await broker()
  bench.send('s', frame(['1', '2', '3']))
  bench.settle()
  settle(
    bench,
    receive(bench, { max: 2 }).map((message) => itemOf(message)),
  )
  const disk = slowDisk(bench)
  const reply = ask(bench)
  bench.groups.reset({ group: 'g', topic: 'orders', offsets: [[0, 0]] }, () => {})
  disk.goOn()
  t.is(answerCode(bench.answer(reply)!), codes.PULL_NOT_FOUND)
  t.true(popHasMore(bench.answer(reply)!))
  disk.mend()
  t.deepEqual(texts(receive(bench)), ['1', '2', '3'])
})

test('pop: a message that cannot be read now is not lost', async (t) => {
  const bench = await broker()
  bench.send('s', frame(['1']))
  bench.settle()
  const read = bench.store.read.bind(bench.store)
  const broken = (...args: Parameters<typeof read>) =>
    args[3]({ ok: false, failure: { code: 'ioError', retryable: true, message: 'the disk does not answer' } })
  bench.store.read = broken
  const reply = ask(bench)
  bench.settle()
  t.is(answerCode(bench.answer(reply)!), codes.SYSTEM_ERROR)
  t.is(popText(bench.answer(reply)!), 'the disk does not answer')
  bench.store.read = read
  t.is(receive(bench).length, 1)
  bench.clock.advance(INVISIBLE)
  bench.store.read = broken
  t.deepEqual(receive(bench), [])
  bench.store.read = read
  t.is(receive(bench)[0]?.deliveryAttempt, 2)
})

test('pop: a message that nobody acknowledges is given again 16 times when nothing else is asked, then it is a dead letter', async (t) => {
  const bench = await broker()
  bench.send('s', frame(['1']))
  bench.settle()
  const { maxAttempts } = simpleSettingsOf({ group: 'g' })
  const attempts: number[] = []
  while (!bench.state.topics.has('%DLQ%g')) {
    for (const { deliveryAttempt } of receive(bench, { maxAttempts })) attempts.push(deliveryAttempt)
    bench.clock.advance(INVISIBLE)
  }
  t.deepEqual(
    attempts,
    Array.from({ length: 1 + 16 }, (_, index) => index + 1),
  )
})

test('pop: a full disk takes no dead letter, and the message waits', async (t) => {
  const bench = await broker()
  bench.send('s', frame(['1']))
  bench.settle()
  receive(bench, { maxAttempts: 1 })
  bench.clock.advance(INVISIBLE)
  Object.defineProperty(bench.store, 'accepting', { value: false, configurable: true })
  t.deepEqual(receive(bench, { maxAttempts: 1 }), [])
  t.false(bench.state.topics.has('%DLQ%g'))
  Object.defineProperty(bench.store, 'accepting', { value: true })
  bench.clock.advance(2_000)
  t.deepEqual(receive(bench, { maxAttempts: 1 }), [])
  t.is(bench.pop.counters.deadLetters, 1)
  t.is(bench.store.bounds(bench.store.queue('%DLQ%g', 0)).maxOffset, 1)
})

test('pop: a queue that appears later is read from its start', async (t) => {
  const bench = await broker()
  t.deepEqual(receive(bench, { from: 'last' }), [])
  bench.topic('orders', { queues: 2 })
  bench.send('s', frame(['new'], { queueId: 1 }))
  bench.settle()
  t.deepEqual(texts(receive(bench, { from: 'last' })), ['new'])
})

test('pop: a queue that appeared while the group owned its queues is read from its start', async (t) => {
  const bench = await broker()
  bench.state.changeOffsets({ group: 'g', offsets: [['orders', 0, 0]] })
  bench.topic('orders', { queues: 2 })
  bench.send('s', frame(['new'], { queueId: 1 }))
  bench.settle()
  t.deepEqual(texts(receive(bench, { from: 'last' })), ['new'])
})

test('pop: the first receive notes where the group begins in every queue, also in those that it gave nothing of', async (t) => {
  const bench = await broker(3)
  bench.state.changeOffsets({ group: 'g', offsets: [['orders', 0, 0]] })
  bench.send('s', frame(['1']), frame(['old'], { queueId: 1 }))
  bench.settle()
  t.deepEqual(texts(receive(bench, { max: 1, from: 'last' })), ['1'])
  bench.send('s2', frame(['2'], { queueId: 1 }), frame(['3'], { queueId: 2 }))
  bench.settle()
  t.deepEqual(texts(receive(bench, { from: 'last' })).sort(), ['2', '3'])
})

test('pop: messages that expired from the log are done', async (t) => {
  const bench = await broker()
  bench.send('s', frame(['1']), frame(['2']))
  bench.settle()
  receive(bench)
  bench.store.queue('orders', 0).minOffset = 1
  bench.clock.advance(INVISIBLE)
  t.deepEqual(texts(receive(bench)), ['2'])
  t.is(bench.state.offsets.get('g')?.get('orders/0'), 1)
})

test('pop: a group that receives pops, and for a while AFTER it too', async (t) => {
  const bench = await broker()
  t.false(bench.pop.isPopped('g', 'orders/0'))
  receive(bench)
  t.true(bench.pop.isPopped('g', 'orders/0'))
  t.false(bench.pop.isPopped('other', 'orders/0'))
  bench.clock.advance(60_000)
  t.false(bench.pop.isPopped('g', 'orders/0'))
  receive(bench)
  receive(bench, { clientId: 'other' })
  bench.pop.leave({ group: 'g', clientId: 'c' }, () => {})
  t.true(bench.pop.isPopped('g', 'orders/0'))
  bench.pop.leave({ group: 'g', clientId: 'other' }, () => {})
  t.false(bench.pop.isPopped('g', 'orders/0'))
  bench.send('s', frame(['1']))
  bench.settle()
  receive(bench, { invisibleMs: 3_600_000 })
  bench.clock.advance(60_000)
  t.true(bench.pop.isPopped('g', 'orders/0'))
})

test('pop: who waits is told when something is stored, when a time is over, or that the time to wait is', async (t) => {
  const bench = await broker()
  const told: [string, unknown][] = []
  const wait = (clientId: string, waitMs: number) =>
    bench.pop.wait({ group: 'g', topic: 'orders', clientId, ordered: false, waitMs }, (answer) => {
      told.push([clientId, (answer as { value: PopWaitAnswer }).value.isReady])
    })
  wait('new', 60_000)
  t.deepEqual(told.splice(0), [['new', true]])
  receive(bench)
  wait('short', 1_000)
  wait('first', 60_000)
  wait('second', 60_000)
  bench.clock.advance(1_300)
  t.deepEqual(told.splice(0), [['short', false]])
  bench.send('s', frame(['1']))
  bench.clock.advance(1)
  t.deepEqual(told.splice(0), [['first', true]])
  t.is(receive(bench).length, 1)
  bench.clock.advance(5_000)
  t.deepEqual(told, [])
  bench.clock.advance(5_000)
  t.deepEqual(told.splice(0), [['second', true]])
  // Whoever is told and does not come holds nobody up.
  receive(bench)
  wait('absent', 60_000)
  wait('next', 60_000)
  bench.send('s2', frame(['2']))
  bench.clock.advance(1)
  t.deepEqual(told.splice(0), [['absent', true]])
  bench.clock.advance(300)
  t.deepEqual(told.splice(0), [['next', true]])
  receive(bench)
  wait('gone', 60_000)
  bench.pop.leave({ group: 'g', clientId: 'gone' }, () => {})
  t.deepEqual(told.splice(0), [['gone', false]])
  wait('last', 60_000)
  bench.pop.close()
  t.deepEqual(told.splice(0), [['last', false]])
})

test('pop: a clock that jumps moves redeliveries, and loses nothing', async (t) => {
  const bench = await broker()
  bench.send('s', frame(['1', '2']))
  bench.settle()
  const messages = receive(bench)
  const now = bench.clock.now.bind(bench.clock)
  bench.clock.now = () => now() - 86_400_000
  t.deepEqual(receive(bench), [])
  t.deepEqual(settle(bench, [itemOf(messages[0]!)]), [])
  bench.clock.now = () => now() + 86_400_000
  t.deepEqual(texts(receive(bench)), ['2'])
})

/** A queue that a member owned under generation 3, with offset 1 committed, and messages 1, 2. */
async function owned(): Promise<BrokerBench> {
  const bench = await broker()
  bench.send('s', frame(['1', '2']))
  const place = { group: 'g', topic: 'orders', queueId: 0 }
  bench.groups.claim(
    { ...place, clientId: 'owner', instance: 'owner', generation: division(3), force: false, waits: false },
    () => {},
  )
  bench.settle()
  bench.groups.commit({ group: 'g', clientId: 'owner', offsets: [['orders', 0, 1, 1]] }, () => {})
  bench.settle()
  return bench
}
const refusalOf = (bench: BrokerBench, more: Partial<PopRequest> = {}): [code: number, text: string] => {
  const reply = ask(bench, more)
  bench.settle()
  const answer = bench.answer(reply)!
  return [answerCode(answer), popText(answer)]
}

test('pop: a queue whose owner is gone is freed, and the group goes on where it had committed', async (t) => {
  const bench = await owned()
  const asked: unknown[] = []
  bench.askCoordinator = (doubt, told) => {
    asked.push(doubt)
    told({ generation: division(4), gone: ['owner'] })
  }
  t.deepEqual(texts(receive(bench)), ['2'])
  t.deepEqual(asked, [{ group: 'g', clientIds: ['owner'], generation: division(3) }])
  t.deepEqual(texts(receive(bench)), [])
  t.is(asked.length, 1)
  // The owner that went is a zombie from now on, and so it is for the next master.
  const commit = (bench: BrokerBench) => {
    let fenced: unknown
    bench.groups.commit({ group: 'g', clientId: 'owner', offsets: [['orders', 0, 2, 1]] }, (answer) => {
      fenced = 'value' in answer && answer.value.fenced
    })
    bench.settle()
    return fenced
  }
  t.deepEqual(commit(bench), [['orders', 0]])
  await bench.stop()
  const next = await broker(1, bench)
  t.deepEqual(commit(next), [['orders', 0]])
  next.clock.advance(INVISIBLE)
  t.deepEqual(texts(await received(next)), ['2'])
  await next.stop()
})

test('pop: of several owners the coordinator is asked in the name of the latest claim', async (t) => {
  const bench = await broker(2)
  for (const [queueId, clientId, count] of [
    [0, 'a', 3],
    [1, 'b', 5],
  ] as const) {
    const claim = { clientId, instance: clientId, generation: division(count), force: false, waits: false }
    bench.groups.claim({ group: 'g', topic: 'orders', queueId, ...claim }, () => {})
  }
  bench.settle()
  const asked: unknown[] = []
  bench.askCoordinator = (doubt) => void asked.push(doubt)
  ask(bench)
  t.deepEqual(asked, [{ group: 'g', clientIds: ['a', 'b'], generation: division(5) }])
})

test('pop: of two owners that are gone, one by the list of a coordinator that knew nothing of it is asked after again', async (t) => {
  const bench = await broker(2)
  const claims = [
    { queueId: 0, clientId: 'x', instance: 'x', generation: generationOf(3, 9) },
    { queueId: 1, clientId: 'y', instance: 'y', generation: generationOf(5, 7) },
  ]
  for (const claim of claims)
    bench.groups.claim({ group: 'g', topic: 'orders', ...claim, force: false, waits: false }, () => {})
  bench.settle()
  bench.askCoordinator = (_, told) => told({ generation: generationOf(6, 7), gone: ['x', 'y'] })
  t.is(refusalOf(bench)[0], codes.SERVICE_NOT_AVAILABLE)
  t.is(bench.groups.owners.of('g', 'orders/1'), null)
  bench.askCoordinator = (_, told) => told({ generation: generationOf(100_006, 7), gone: ['x'] })
  receive(bench)
  t.is(bench.groups.owners.of('g', 'orders/0'), null)
})

test('pop: a queue whose owner lives is its own, whoever pops', async (t) => {
  const bench = await owned()
  bench.askCoordinator = (_, told) => told({ generation: division(4), gone: [] })
  const [code, text] = refusalOf(bench)
  t.is(code, codes.NO_PERMISSION)
  t.regex(text, /belongs to owner.*stop the consumers/)
  t.is(bench.groups.owners.of('g', 'orders/0')?.clientId, 'owner')
  t.false(bench.pop.isPopped('g', 'orders/0'))
})

test('pop: while it is not known whether an owner lives, whoever pops is told to ask again', async (t) => {
  const bench = await owned()
  for (const answer of [null, { generation: division(1_003), gone: null }]) {
    bench.askCoordinator = (_, told) => told(answer)
    const [code, text] = refusalOf(bench)
    t.is(code, codes.SERVICE_NOT_AVAILABLE)
    t.regex(text, /is being found out/)
  }
  t.is(bench.groups.owners.of('g', 'orders/0')?.clientId, 'owner')
})

test('pop: an owner that has claimed anew while the coordinator was asked keeps its queue, and is asked after again', async (t) => {
  const bench = await owned()
  let answer: () => void = () => {}
  bench.askCoordinator = (_, told) => {
    answer = () => told({ generation: division(4), gone: ['owner'] })
  }
  const replies = [ask(bench), ask(bench, { clientId: 'other' })]
  bench.groups.claim(
    {
      ...{ group: 'g', topic: 'orders', queueId: 0, clientId: 'owner', instance: 'owner' },
      ...{ generation: division(5), force: false, waits: false },
    },
    () => {},
  )
  answer()
  bench.settle()
  for (const reply of replies) t.is(answerCode(bench.answer(reply)!), codes.SERVICE_NOT_AVAILABLE)
  t.is(bench.groups.owners.of('g', 'orders/0')?.generation, division(5))
})

test('pop: a mastership that ends while the coordinator is asked gives nothing', async (t) => {
  const bench = await owned()
  let answer: () => void = () => {}
  bench.askCoordinator = (_, told) => {
    answer = () => told({ generation: division(4), gone: [] })
  }
  const reply = ask(bench)
  bench.pop.close()
  answer()
  t.is(answerCode(bench.answer(reply)!), codes.NOT_MASTER)
})

test('pop: a mastership that is over gives nothing', async (t) => {
  const bench = await broker()
  bench.send('s', frame(['1']))
  bench.settle()
  const disk = slowDisk(bench)
  const reply = ask(bench)
  bench.pop.close()
  t.is(answerCode(bench.answer(reply)!), codes.NOT_MASTER)
  const end = bench.store.endPosition
  disk.goOn()
  t.is(bench.store.endPosition, end)
})

const refusals: [what: string, request: unknown, code: number][] = [
  ['no JSON', undefined, codes.INVALID_PARAMETER],
  ['no group', { ...request(), group: '' }, codes.INVALID_PARAMETER],
  ['a group that is none', request({ group: 'a b' }), codes.INVALID_PARAMETER],
  ['0 messages', request({ max: 0 }), codes.INVALID_PARAMETER],
  ['half a message', request({ max: 1.5 }), codes.INVALID_PARAMETER],
  ['99 ms', request({ invisibleMs: 99 }), codes.INVALID_PARAMETER],
  ['13 h', request({ invisibleMs: 13 * 3_600_000 }), codes.INVALID_PARAMETER],
  ['a filter that is none', request({ filter: 'a |' }), codes.SUBSCRIPTION_PARSE_FAILED],
  ['a filter of 200 KB', request({ filter: 'a'.repeat(200_000) }), codes.INVALID_PARAMETER],
  ['an unknown topic', request({ topic: 'other' }), codes.TOPIC_NOT_EXIST],
]
for (const [what, wrong, code] of refusals) {
  test(`pop: a receive of ${what} is refused, with a sentence, and leaves no trace`, async (t) => {
    const bench = await broker()
    const end = bench.store.endPosition
    bench.pop.receive(Buffer.from(wrong === undefined ? '{' : JSON.stringify(wrong)), 'r')
    t.is(answerCode(bench.answer('r')!), code)
    t.true(popText(bench.answer('r')!).length > 10)
    t.is(bench.store.endPosition, end)
  })
}

test('pop: handles that were made up change nothing, whatever they say', async (t) => {
  const bench = await broker(2)
  bench.send('s', frame(['1', '2', '3']))
  bench.settle()
  const [given] = receive(bench, { max: 1 })
  const [, , offset, attempt, token] = itemOf(given!)
  const number = fc.oneof(fc.nat(3), fc.maxSafeNat())
  const item = fc.tuple(
    fc.constantFrom('orders', 'other', '', '__proto__'),
    number,
    fc.oneof(fc.constant(offset), number),
    fc.oneof(fc.constant(attempt), number),
    number.filter((made) => made !== token),
    fc.option(fc.integer({ min: 100, max: 43_200_000 })),
  )
  const before = JSON.stringify(bench.state.pops.save())
  fc.assert(
    fc.property(
      fc.array(item, { minLength: 1, maxLength: 20 }),
      fc.constantFrom('g', 'other'),
      (items, group) => {
        const faults = settle(bench, items as PopSettleItem[], group)
        t.is(faults?.length, items.length)
        t.is(JSON.stringify(bench.state.pops.save()), before)
      },
    ),
    { numRuns: 200 },
  )
  t.deepEqual(settle(bench, [itemOf(given!)]), [])
})

test('pop: whatever is sent in frames, received in parts, acknowledged, left and restarted, each message is acknowledged once', async (t) => {
  const step = fc.oneof(
    fc.record({
      type: fc.constant('send' as const),
      sizes: fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 3 }),
    }),
    fc.record({
      type: fc.constant('receive' as const),
      max: fc.integer({ min: 1, max: 9 }),
      ordered: fc.boolean(),
    }),
    fc.record({ type: fc.constant('ack' as const), share: fc.nat(10) }),
    fc.record({ type: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 12_000 }) }),
    fc.record({ type: fc.constant('restart' as const) }),
  )
  const run = async (steps: { type: string }[]) => {
    let bench = await broker(2)
    let sent = 0
    const acknowledged = new Set<string>()
    const open = new Map<string, ReceivedMessage>()
    const take = (messages: ReceivedMessage[]) => {
      for (const message of messages) {
        t.false(acknowledged.has(message.text))
        open.set(message.text, message)
      }
    }
    const ack = (messages: ReceivedMessage[]) => {
      t.deepEqual(
        settle(
          bench,
          messages.map((message) => itemOf(message)),
        ),
        [],
      )
      for (const { text } of messages) {
        acknowledged.add(text)
        open.delete(text)
      }
    }
    for (const move of steps as Move[]) {
      if (move.type === 'send') {
        for (const [i, size] of move.sizes.entries())
          bench.send(
            `s${sent}`,
            frame(
              Array.from({ length: size }, () => `${sent++}`),
              { queueId: i % 2 },
            ),
          )
        bench.settle()
      } else if (move.type === 'receive') take(receive(bench, { max: move.max, ordered: move.ordered }))
      else if (move.type === 'ack') ack([...open.values()].slice(0, move.share))
      else if (move.type === 'pass') bench.clock.advance(move.ms)
      else {
        await bench.stop()
        bench = await broker(2, bench)
      }
    }
    for (let i = 0; i < 200 && acknowledged.size < sent; i++) {
      take(receive(bench))
      ack([...open.values()])
      bench.clock.advance(INVISIBLE)
    }
    t.is(acknowledged.size, sent)
    for (const queueId of [0, 1]) {
      const pop = bench.state.pops.of('g', `orders/${queueId}`)
      if (pop) t.is(committedOf(pop), bench.store.bounds(bench.store.queue('orders', queueId)).maxOffset)
    }
    await bench.stop()
  }
  type Move =
    | { type: 'send'; sizes: number[] }
    | { type: 'receive'; max: number; ordered: boolean }
    | { type: 'ack'; share: number }
    | { type: 'pass'; ms: number }
    | { type: 'restart' }
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 40 }), run), { numRuns: 40 })
})
