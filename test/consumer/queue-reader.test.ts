/** QueueReader: no gap and no repetition, whatever the broker and the network do. */
import test from 'ava'
import fc from 'fast-check'
import { codes } from '../../transport/codes.ts'
import { succeed } from '../../transport/failures.ts'
import { ReaderBench, stored } from './support.ts'

const reading = (from = 0, limits?: { messages: number; bytes: number }) => {
  const bench = new ReaderBench(limits)
  bench.reader.start(from)
  return bench
}

test('reader: AT MOST ONE pull is under way, and it asks for what follows the last frame', (t) => {
  const bench = reading()
  bench.reader.want()
  bench.reader.want()
  t.is(bench.pull.request.offset, 0)
  bench.give(stored(0, 3), stored(3, 2))
  t.is(bench.pull.request.offset, 5)
  t.deepEqual(bench.take(), [0, 1, 2, 3, 4])
  t.is(bench.pulls.length, 2)
})

test('reader: what is given out beginning in the middle of a frame begins in its middle', (t) => {
  const bench = reading(4)
  t.is(bench.reader.position, 4)
  bench.give(stored(0, 10))
  t.is(bench.reader.cachedMessages, 6)
  t.deepEqual(bench.take(), [4, 5, 6, 7, 8, 9])
  t.is(bench.reader.cachedMessages, 0)
})

test('reader: frames that it has already are passed over', (t) => {
  const bench = reading()
  bench.give(stored(0, 5))
  bench.give(stored(0, 5), stored(5, 5))
  t.deepEqual(bench.take(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
})

for (const how of ['timedOut', 'noResponders', 'disconnected'] as const) {
  test(`reader: a pull that fails with ${how} is made again and loses nothing`, (t) => {
    const bench = reading()
    bench.give(stored(0, 5))
    bench.fail(how)
    t.deepEqual(bench.unreachable, how === 'timedOut' ? [] : [3])
    while (bench.pulls.at(-1)!.isAnswered || bench.pull.epoch === null) {
      for (const pull of bench.open) if (pull.epoch === null) bench.failReplicas()
      bench.clock.advance(100)
    }
    t.true(bench.clock.monotonic() <= 700, `it took ${bench.clock.monotonic()} ms`)
    t.is(bench.pull.request.offset, 5)
    bench.give(stored(5, 5))
    t.deepEqual(bench.take(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })
}

test('reader: a transport that is closed is not asked again', (t) => {
  const bench = reading()
  bench.fail('closed')
  bench.clock.advance(10_000)
  t.is(bench.pulls.length, 1)
})

test('reader: a frame that was damaged on its way is read again, and what came before it is kept', (t) => {
  const damaged = stored(5, 5)
  damaged[damaged.length - 1]! ^= 1
  const bench = reading()
  bench.give(stored(0, 5), damaged)
  t.deepEqual(bench.take(), [0, 1, 2, 3, 4])
  bench.clock.advance(200)
  t.is(bench.pull.request.offset, 5)
  bench.give(stored(5, 5))
  t.deepEqual(bench.take(), [5, 6, 7, 8, 9])
})

test('reader: what came before a damaged frame is told of, though that frame is never whole', (t) => {
  const damaged = stored(5, 5)
  damaged[damaged.length - 1]! ^= 1
  const bench = reading()
  let told = 0
  bench.arrived = () => void told++
  bench.give(stored(0, 5), damaged)
  t.is(told, 1)
})

test('reader: one that is stopped by who hears of its messages asks no more', (t) => {
  for (const lose of [() => {}, (bench: ReaderBench) => bench.fail('noResponders')]) {
    const damaged = stored(5, 5)
    damaged[damaged.length - 1]! ^= 1
    const bench = reading()
    bench.arrived = () => bench.reader.stop()
    lose(bench)
    bench.give(stored(0, 5), damaged)
    t.deepEqual(bench.open, [])
    t.is(bench.clock.timers, 0)
  }
})

test('reader: a damaged frame does not make it ask without a pause', (t) => {
  const damaged = stored(0, 5)
  damaged[damaged.length - 1]! ^= 1
  const bench = reading()
  bench.give(damaged)
  t.deepEqual(bench.open, [])
})

test('reader: an answer that is cut off is read again', (t) => {
  const bench = reading()
  bench.pull.answer(succeed(Buffer.alloc(3)))
  bench.clock.advance(200)
  bench.pull.answer(succeed(Buffer.alloc(0)))
  bench.clock.advance(200)
  bench.give(stored(0, 5).subarray(0, 100))
  bench.clock.advance(200)
  bench.give(stored(0, 5))
  t.deepEqual(bench.take(), [0, 1, 2, 3, 4])
})

test('reader: an offset that is gone moves to where the queue begins, loudly', (t) => {
  const bench = reading(5)
  bench.refuse(codes.PULL_OFFSET_MOVED, 100)
  t.is(bench.pull.request.offset, 100)
  t.is(bench.log.lines.length, 1)
})

test('reader: who is fenced asks no more by itself', (t) => {
  const bench = reading()
  bench.refuse(codes.FENCED_OWNER)
  t.is(bench.fenced, 1)
  bench.clock.advance(60_000)
  t.deepEqual(bench.open, [])
  bench.reader.again()
  t.is(bench.pull.request.offset, 0)
})

test('reader: a broker that is not the master is reported, and its successor is asked', (t) => {
  const bench = reading()
  bench.refuse(codes.NOT_MASTER)
  t.deepEqual(bench.unreachable, [3])
  bench.failReplicas()
  bench.epoch = 4
  bench.reader.again()
  t.is(bench.pull.epoch, 4)
})

test('reader: an answer of the old master that comes late is not heard', (t) => {
  const bench = reading()
  const [old] = bench.open
  bench.epoch = 4
  bench.reader.again()
  bench.pulls.splice(0, 1)
  bench.give(stored(0, 5))
  const head = stored(0, 5)
  old!.answer(succeed(Buffer.concat([Buffer.alloc(32), head])))
  t.deepEqual(bench.take(), [0, 1, 2, 3, 4])
})

test('reader: waits while no mastership is known', (t) => {
  const bench = new ReaderBench()
  bench.epoch = 0
  bench.reader.start(0)
  bench.failReplicas()
  t.deepEqual(bench.open, [])
  bench.epoch = 1
  bench.clock.advance(200)
  t.is(bench.pull.epoch, 1)
})

test('reader: while the master does not answer, replicas are asked for what is confirmed, and do not hold the request', (t) => {
  for (const lose of [
    (bench: ReaderBench) => bench.fail('noResponders'),
    (bench: ReaderBench) => bench.fail('timedOut'),
    (bench: ReaderBench) => bench.refuse(codes.NOT_MASTER),
    (bench: ReaderBench) => bench.reader.lose(3),
  ]) {
    const bench = reading()
    bench.give(stored(0, 5))
    const { pull } = bench
    lose(bench)
    pull.isAnswered = true
    t.is(bench.pull.epoch, null)
    t.like(bench.pull.request, { offset: 5, waitMs: 0 })
    bench.give(stored(5, 5))
    t.is(bench.pull.epoch, null)
    bench.give(stored(5, 5), stored(10, 5))
    t.deepEqual(
      bench.take(),
      Array.from({ length: 15 }, (_, i) => i),
    )
  }
})

test('reader: a connection of its own that broke does not send it to replicas', (t) => {
  const bench = reading()
  bench.fail('disconnected')
  bench.clock.advance(200)
  t.is(bench.pull.epoch, 3)
})

test('reader: what a replica says of where the queue begins and ends moves nothing', (t) => {
  for (const code of [
    codes.PULL_OFFSET_MOVED,
    codes.TOPIC_NOT_EXIST,
    codes.PULL_NOT_FOUND,
    codes.FENCED_OWNER,
  ]) {
    const bench = reading(50)
    bench.fail('noResponders')
    bench.refuse(code, 20)
    bench.clock.advance(200)
    t.is(bench.pull.request.offset, 50)
    t.is(bench.fenced, 0)
    t.deepEqual(bench.rewound, [])
  }
})

test('reader: frames of a replica that it has already are passed over, and do not make it ask without a pause', (t) => {
  const bench = reading(5)
  bench.fail('noResponders')
  bench.give(stored(0, 5))
  t.deepEqual(bench.open, [])
  t.deepEqual(bench.take(), [])
})

test('reader: replicas that have nothing new are asked calmly, and the route is asked for all the while', (t) => {
  const bench = reading()
  bench.fail('noResponders')
  const began = bench.pulls.length
  for (let waited = 0; waited < 10_000; waited += 50) {
    for (const pull of bench.open) if (pull.epoch === null) bench.refuse(codes.PULL_NOT_FOUND)
    for (const pull of bench.open) if (pull.epoch !== null) bench.fail('noResponders')
    bench.clock.advance(50)
  }
  const asked = bench.pulls.length - began
  t.true(asked >= 30 && asked <= 100, `${asked} in 10 s`)
  t.true(bench.unreachable.length >= 20, `${bench.unreachable}`)
})

test('reader: goes back to the master at once when a new one is known', (t) => {
  const bench = reading()
  bench.fail('noResponders')
  const late = bench.pull
  bench.epoch = 4
  bench.reader.again()
  t.deepEqual(
    bench.open.map(({ epoch }) => epoch),
    [null, 4],
  )
  late.isAnswered = true
  t.true(bench.pull.request.waitMs > 0)
})

test('reader: a master that is only away for a moment holds its pulls again', (t) => {
  const bench = reading()
  bench.fail('noResponders')
  while (bench.open.every(({ epoch }) => epoch === null)) {
    for (const _ of bench.open) bench.failReplicas()
    bench.clock.advance(100)
  }
  t.like(bench.pull, { epoch: 3, request: { waitMs: 0 } })
  bench.refuse(codes.PULL_NOT_FOUND)
  t.is(bench.pull.epoch, 3)
  t.true(bench.pull.request.waitMs > 0)
})

test('reader: a queue that has lost its end is told of, and nothing of it is passed over', (t) => {
  const bench = reading(100)
  bench.refuse(codes.PULL_OFFSET_MOVED, 80)
  t.deepEqual(bench.rewound, [80])
  t.deepEqual(bench.open, [])
  t.is(bench.log.lines.length, 1)
})

for (const [what, limits] of [
  ['messages', { messages: 10, bytes: 1_000_000 }],
  ['bytes', { messages: 1_000_000, bytes: 150 }],
] as const) {
  test(`reader: stops pulling while too many ${what} are cached, and goes on when there is room`, (t) => {
    const bench = reading(0, limits)
    bench.give(stored(0, 20))
    t.deepEqual(bench.open, [])
    for (let message = bench.reader.next(); message; message = bench.reader.next()) {
      if (bench.open.length === 0) bench.reader.release(message)
    }
    t.is(bench.pull.request.offset, 20)
  })
}

test('reader: stops pulling while its consumer may not take more', (t) => {
  const bench = reading()
  bench.mayPull = false
  bench.give(stored(0, 5))
  t.deepEqual(bench.open, [])
  bench.mayPull = true
  bench.reader.want()
  t.is(bench.pull.request.offset, 5)
})

test('reader: one that is stopped drops what it has and goes on where it stood', (t) => {
  const bench = reading()
  bench.give(stored(0, 5))
  bench.reader.next()
  bench.reader.next()
  bench.reader.stop()
  t.is(bench.reader.next(), null)
  t.is(bench.reader.position, 2)
  t.is(bench.reader.cachedMessages, 0)
  t.is(bench.clock.timers, 0)
})

test('reader: sees every message once and in order, whatever happens on the way', (t) => {
  const steps = fc.array(fc.tuple(fc.nat(11), fc.nat(4), fc.nat(4)), { maxLength: 80 })
  fc.assert(
    fc.property(steps, fc.nat(9), (moves, from) => {
      const bench = reading(from, { messages: 12, bytes: 100_000 })
      // The queue as it is stored: frames of 1 to 5 messages.
      const frames: { offset: number; count: number }[] = []
      for (let offset = 0, i = 0; offset < 2_000; i++) {
        const count = 1 + ((i * 7) % 5)
        frames.push({ offset, count })
        offset += count
      }
      const seen: number[] = []
      const serve = (asked: number, howMany: number, damage: boolean) => {
        const first = frames.findIndex(({ offset, count }) => asked < offset + count)
        const bytes = frames
          .slice(first, first + 1 + howMany)
          .map(({ offset, count }) => stored(offset, count))
        if (damage) bytes.at(-1)![70]! ^= 4
        bench.give(...bytes)
      }
      for (const [move, a, b] of moves) {
        const [pull] = bench.open
        if (pull && bench.open.length === 1) {
          if (pull.epoch === null && move > 7) bench.refuse(codes.PULL_OFFSET_MOVED, 1)
          else if (move <= 4) serve(pull.request.offset, a, false)
          else if (move === 5) serve(pull.request.offset, a, true)
          else if (move === 6) bench.fail('timedOut')
          else if (move === 7) bench.fail('noResponders')
          else if (move === 8) bench.refuse(codes.PULL_NOT_FOUND)
          else if (move === 9) {
            bench.reader.again()
            pull.isAnswered = true
          } else if (move === 10) bench.refuse(codes.SYSTEM_ERROR)
        }
        bench.clock.advance(b * 100)
        for (let i = 0; i < a + b; i++) {
          const message = bench.reader.next()
          if (message) seen.push(message.queueOffset)
        }
      }
      return seen.every((offset, i) => offset === from + i)
    }),
    { numRuns: 300 },
  )
  t.pass()
})

test('reader: with a filter it goes on behind what was left out, before, between and after frames', (t) => {
  const bench = new ReaderBench(undefined, 'paid')
  bench.reader.start(0)
  t.is(bench.pull.request.filter, 'paid')
  bench.giveUpTo(1_000_000)
  t.is(bench.reader.position, 1_000_000)
  t.is(bench.pull.request.offset, 1_000_000)
  bench.giveUpTo(1_000_100, stored(1_000_010, 2), stored(1_000_050, 3))
  t.is(bench.reader.cachedMessages, 5)
  t.is(bench.reader.position, 1_000_010)
  t.is(bench.pull.request.offset, 1_000_100)
  t.deepEqual(bench.take(), [1_000_010, 1_000_011, 1_000_050, 1_000_051, 1_000_052])
  t.is(bench.reader.cachedMessages, 0)
  t.is(bench.reader.position, 1_000_100)
})

test('reader: without a filter nobody makes it pass over an offset', (t) => {
  const bench = reading()
  bench.giveUpTo(50, stored(0, 5))
  t.is(bench.pull.request.offset, 5)
})

test('reader: does not pass over what lies behind a damaged frame', (t) => {
  const bench = new ReaderBench(undefined, 'paid')
  bench.reader.start(0)
  const damaged = stored(10, 5)
  damaged[70]! ^= 4
  bench.giveUpTo(100, stored(3, 1), damaged)
  bench.clock.advance(200)
  t.is(bench.pull.request.offset, 4)
})

test('reader: a broker that does not understand its filter is told of once, and then sends everything', (t) => {
  for (const code of [codes.SUBSCRIPTION_PARSE_FAILED, codes.INVALID_PARAMETER]) {
    const bench = new ReaderBench(undefined, 'paid')
    bench.reader.start(7)
    bench.refuse(code)
    t.is(bench.log.lines.length, 1)
    t.like(bench.pull.request, { offset: 7 })
    t.is(bench.pull.request.filter, undefined)
    bench.refuse(code)
    t.deepEqual(bench.open, [])
    bench.clock.advance(200)
    t.is(bench.pulls.length, 3)
  }
})

test('reader: replicas that left out what is not wanted are asked for what follows', (t) => {
  const bench = new ReaderBench(undefined, 'paid')
  bench.reader.start(0)
  bench.fail('noResponders')
  bench.giveUpTo(40)
  t.like(bench.pull, { epoch: null, request: { offset: 40, filter: 'paid' } })
  bench.giveUpTo(60, stored(50, 1))
  t.deepEqual(bench.take(), [50])
  t.is(bench.pull.request.offset, 60)
})
