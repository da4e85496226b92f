/** ProcessQueue and IncomingMessage: what may be committed, and what a handler sees. */
import test from 'ava'
import { IncomingMessage, viewOf } from '../../actors/consumer/incoming-message.ts'
import { ProcessQueue } from '../../actors/consumer/process-queue.ts'
import { subscribed } from '../../actors/consumer/subscribed.ts'
import { javaHash, recordsAt } from '../../transport/frames.ts'
import { ReaderBench, stored, TOPIC } from './support.ts'

function queueOf(frames: Buffer[], { from = 0, tags = '*' } = {}) {
  const bench = new ReaderBench(undefined, tags === '*' ? undefined : tags)
  const queue = new ProcessQueue(bench.reader, {
    ...{ filter: subscribed(tags).filter, assignEpoch: 1, offset: from, committed: -1 },
  })
  bench.reader.start(from)
  bench.give(...frames)
  return { bench, queue }
}

test('queue: the position follows the oldest unfinished message', (t) => {
  const { queue } = queueOf([stored(0, 4)])
  const messages = Array.from({ length: 4 }, () => queue.take(false)!)
  t.is(queue.position, 0)
  queue.finished(messages[1]!)
  queue.finished(messages[3]!)
  t.is(queue.position, 0)
  queue.finished(messages[0]!)
  t.is(queue.position, 2)
  queue.finished(messages[2]!)
  t.is(queue.position, 4)
})

test('queue: in order, the next message is given AFTER the one before is finished', (t) => {
  const { queue } = queueOf([stored(0, 2)])
  const first = queue.take(true)!
  t.is(queue.take(true), null)
  queue.finished(first)
  t.is(queue.take(true)?.queueOffset, 1)
})

test('queue: in order, a message that failed comes again before any other', (t) => {
  const { queue } = queueOf([stored(0, 2)])
  const first = queue.take(true)!
  queue.failed(true)
  t.is(queue.take(true), null)
  queue.redeliver(first)
  t.is(queue.take(true), first)
  t.is(first.deliveryAttempt, 2)
  t.is(queue.position, 0)
})

test('queue: out of order, others go on while a message that failed waits', (t) => {
  const { queue } = queueOf([stored(0, 2)])
  const first = queue.take(false)!
  queue.failed(false)
  const second = queue.take(false)!
  queue.finished(second)
  t.is(queue.position, 0)
  queue.redeliver(first)
  queue.finished(queue.take(false)!)
  t.is(queue.position, 2)
})

test('queue: messages that the filter leaves out are finished without a handler', (t) => {
  const paid = { tag: 'paid', tagsCode: javaHash('paid') }
  const sent = { tag: 'sent', tagsCode: javaHash('sent') }
  const { queue } = queueOf([stored(0, 3, sent), stored(3, 1, paid), stored(4, 2, sent)], { tags: 'paid' })
  const message = queue.take(false)!
  t.is(message.queueOffset, 3)
  t.is(queue.position, 3)
  t.is(queue.take(false), null)
  queue.finished(message)
  t.is(queue.position, 6)
})

test('queue: tags of one hash are told apart', (t) => {
  const { queue } = queueOf([stored(0, 1, { tag: 'BB', tagsCode: javaHash('BB') })], { tags: 'Aa' })
  t.is(queue.take(false), null)
  t.is(queue.position, 1)
})

test('queue: messages that retention removed before they were read hold nothing back', (t) => {
  const { queue } = queueOf([stored(50, 1)], { from: 10 })
  queue.finished(queue.take(false)!)
  t.is(queue.position, 51)
})

test('queue: what the broker left out is finished without a message, also when none follows', (t) => {
  const { bench, queue } = queueOf([], { tags: 'paid' })
  bench.giveUpTo(2_000_000_000)
  t.is(queue.position, 2_000_000_000)
  const paid = { tag: 'paid', tagsCode: javaHash('paid') }
  bench.giveUpTo(4_000_000_000, stored(3_000_000_000, 2, paid))
  const first = queue.take(false)!
  const second = queue.take(false)!
  t.is(queue.position, 3_000_000_000)
  queue.finished(second)
  t.is(queue.position, 3_000_000_000)
  queue.finished(first)
  t.is(queue.position, 4_000_000_000)
})

test('queue: a message that failed holds back what was left out behind it', (t) => {
  const paid = { tag: 'paid', tagsCode: javaHash('paid') }
  const { bench, queue } = queueOf([], { tags: 'paid' })
  bench.giveUpTo(1_000, stored(10, 1, paid))
  const message = queue.take(false)!
  queue.failed(false)
  t.is(queue.take(false), null)
  t.is(queue.position, 10)
  queue.redeliver(message)
  queue.finished(queue.take(false)!)
  t.is(queue.position, 1_000)
})

test('queue: one that stops counts what was left out before it, and nothing that it did not give out', (t) => {
  const paid = { tag: 'paid', tagsCode: javaHash('paid') }
  const { bench, queue } = queueOf([], { tags: 'paid' })
  bench.giveUpTo(1_000, stored(10, 1, paid), stored(500, 1, paid))
  queue.finished(queue.take(false)!)
  queue.stop()
  t.is(queue.position, 500)
})

test('queue: what was left out does not count to how far the newest message is ahead', (t) => {
  const paid = { tag: 'paid', tagsCode: javaHash('paid') }
  const { bench, queue } = queueOf([], { tags: 'paid' })
  bench.giveUpTo(1_000_000, stored(10, 1, paid), stored(500_000, 1, paid))
  const first = queue.take(false)!
  queue.take(false)
  t.is(queue.position, 10)
  t.true(queue.isWithinSpan)
  queue.finished(first)
  t.is(queue.position, 500_000)
})

test('queue: is drained AFTER what runs has ended, and gives out nothing more', (t) => {
  const { queue } = queueOf([stored(0, 3)])
  const message = queue.take(false)!
  let isDrained = false
  queue.drain(() => {
    isDrained = true
  })
  t.is(queue.take(false), null)
  t.false(isDrained)
  queue.finished(message)
  t.true(isDrained)
  t.is(queue.position, 1)
})

test('queue: one that is drained does not wait for a message that failed, and does not count it', (t) => {
  const { queue } = queueOf([stored(0, 3)])
  const message = queue.take(false)!
  queue.failed(false)
  let isDrained = false
  queue.drain(() => {
    isDrained = true
  })
  t.true(isDrained)
  queue.redeliver(message)
  t.is(queue.take(false), null)
  t.is(queue.position, 0)
})

test('queue: stops pulling while the newest message is far ahead of the oldest unfinished one', (t) => {
  const { queue } = queueOf([stored(0, 1), stored(1, 2_500)])
  const first = queue.take(false)!
  for (let i = 0; i < 2_400; i++) queue.finished(queue.take(false)!)
  t.false(queue.isWithinSpan)
  queue.finished(first)
  t.true(queue.isWithinSpan)
})

const messageAt = (frame: Buffer) =>
  new IncomingMessage(viewOf(frame, TOPIC, 'a', 0), recordsAt(frame, 0), 10)

test('message: its id is made of its producer and its number, whatever its place in the frame', (t) => {
  const frame = stored(10, 3)
  t.is(messageAt(frame).messageId, '00000000000abc-100')
  const third = new IncomingMessage(viewOf(frame, TOPIC, 'a', 0), recordsAt(frame, 0), 12)
  t.is(third.messageId, '00000000000abc-102')
})

test('message: one without attributes has none', (t) => {
  const message = messageAt(stored(10, 1))
  t.deepEqual(
    [message.tag, message.keys, message.messageGroup, message.properties],
    [undefined, [], undefined, {}],
  )
})

test('message: its times and its epoch are those of the frame', (t) => {
  const { bornTime, storeTime, epoch } = messageAt(stored(10, 1))
  t.deepEqual([bornTime, storeTime, epoch], [1_000, 2_000, 7])
})

test('message: a body that is no JSON says so when it is asked for JSON', (t) => {
  const message = messageAt(stored(10, 1))
  t.is(message.json(), 10)
  t.is(message.body.toString(), '10')
})

test('message: prints as JSON', (t) => {
  t.like(JSON.parse(JSON.stringify(messageAt(stored(10, 1, { tag: 'paid' })))), {
    ...{
      topic: TOPIC,
      brokerName: 'a',
      queueId: 0,
      queueOffset: 10,
      tag: 'paid',
      body: '10',
      deliveryAttempt: 1,
    },
    messageId: '00000000000abc-100',
  })
})

test('message: properties named like those of every object are properties', (t) => {
  const frame = stored(10, 1, { tag: 'x\u0002__proto__\u0001y\u0002constructor\u0001z' })
  const { properties } = messageAt(frame)
  t.is(properties.constructor as unknown, 'z')
  t.deepEqual(Object.keys(properties).sort(), ['__proto__', 'constructor'])
})
