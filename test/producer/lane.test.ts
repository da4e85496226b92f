/** Lane and Pipe: the order of what a caller gave, and each message stored once, whatever the network does. */
import test from 'ava'
import { codes } from '../../transport/codes.ts'
import { Bench } from './support.ts'

const one = (options = {}) => {
  const bench = new Bench(options)
  bench.route({ name: 'a' })
  return bench
}

test('lane: the messages of one turn travel as one frame, in the order of the calls', (t) => {
  const bench = one()
  for (const body of ['1', '2', '3']) bench.send(body)
  const [request] = bench.endTurn()
  t.deepEqual(
    request!.frames.map(({ bodies }) => bodies),
    [['1', '2', '3']],
  )
  request!.store(7)
  t.deepEqual(
    bench.fates.map(({ receipt }) => receipt?.queueOffset),
    [7, 8, 9],
  )
})

test('lane: the numbers of its frames have no gap', (t) => {
  const bench = one()
  bench.send('1')
  bench.send('2')
  bench.endTurn()
  bench.send('3')
  bench.endTurn()
  bench.send('4')
  bench.endTurn()
  const frames = bench.requests.flatMap((request) => request.frames)
  t.deepEqual(
    frames.map(({ sequence, count }) => [sequence, count]),
    [
      [0, 2],
      [2, 1],
      [3, 1],
    ],
  )
  t.is(new Set(frames.map(({ producerId }) => producerId)).size, 1)
})

test('lane: a frame that may have been stored is repeated under its old number', (t) => {
  const bench = one()
  const fate = bench.send('1')
  const [first] = bench.endTurn()
  first!.fail('timedOut')
  t.is(fate.error, null)
  const [second] = bench.after(200)
  t.deepEqual(second!.frames, first!.frames)
})

test('lane: a frame that was surely not stored is repeated under a new number', (t) => {
  const bench = one()
  bench.send('1')
  const [first] = bench.endTurn()
  first!.fail('noResponders')
  const [second] = bench.after(200)
  t.deepEqual(second!.bodies, ['1'])
  t.not(second!.frames[0]!.producerId, first!.frames[0]!.producerId)
  t.is(second!.frames[0]!.sequence, 0)
})

test('lane: nothing newer of a queue is shipped BEFORE what may have been stored is settled', (t) => {
  const bench = one()
  bench.send('old', { messageGroup: 'g' })
  const [first] = bench.endTurn()
  first!.fail('timedOut')
  bench.send('new', { messageGroup: 'g' })
  const [second, ...others] = bench.after(200)
  t.deepEqual(second!.bodies, ['old'])
  t.deepEqual(others, [])
  second!.store(0)
  t.deepEqual(
    bench.after(200).map(({ bodies }) => bodies),
    [['new']],
  )
})

test('lane: frames that come back in any order are repeated in the order in which they were sent', (t) => {
  const bench = one()
  for (const body of ['1', '2', '3']) {
    bench.send(body, { messageGroup: 'g' })
    bench.endTurn()
  }
  const [a, b, c] = bench.requests
  c!.fail('timedOut')
  a!.fail('timedOut')
  b!.fail('timedOut')
  const again = bench.after(200)
  t.deepEqual(
    again.flatMap(({ bodies }) => bodies),
    ['1', '2', '3'],
  )
})

test('lane: a frame that waits behind one that was surely not stored is not overtaken, though it may be stored', (t) => {
  const bench = one()
  bench.send('1', { messageGroup: 'g' })
  const [a] = bench.endTurn()
  bench.send('2', { messageGroup: 'g' })
  const [b] = bench.endTurn()
  a!.refuse(codes.SERVICE_NOT_AVAILABLE)
  b!.fail('disconnected')
  const seen: string[] = []
  for (let turn = 0; turn < 20 && seen.length < 2; turn++) {
    for (const request of bench.after(200)) {
      seen.push(...request.bodies)
      request.store(0)
    }
  }
  t.deepEqual(seen, ['1', '2'])
  t.true(bench.fates.every(({ receipt }) => receipt !== null))
})

test('lane: a frame that may be stored keeps its number until its fate is known, whatever becomes of later tries', (t) => {
  const bench = one()
  const fate = bench.send('1')
  const [first] = bench.endTurn()
  first!.fail('timedOut')
  const [second] = bench.after(200)
  second!.fail('noResponders')
  const [third] = bench.after(200)
  third!.refuse(codes.SERVICE_NOT_AVAILABLE)
  const [fourth] = bench.after(200)
  t.deepEqual(fourth!.frames, first!.frames)
  fourth!.store(3)
  t.is(fate.receipt?.queueOffset, 3)
})

test('lane: a frame of which the broker has no copy gets a new number, though an earlier try was in doubt', (t) => {
  const bench = one()
  bench.send('1')
  const [first] = bench.endTurn()
  first!.fail('timedOut')
  const [second] = bench.after(200)
  second!.results({ code: codes.OUT_OF_ORDER_SEQUENCE })
  const [third] = bench.after(200)
  t.not(third!.frames[0]!.producerId, first!.frames[0]!.producerId)
})

test('lane: frames in doubt that are repeated a few at a time all come through, in order', (t) => {
  const bench = new Bench({ budgetMs: 60_000 })
  bench.route({ name: 'a', queues: 2 })
  const expected: string[] = []
  for (let i = 0; i < 8; i++) {
    expected.push(`${i}`.padEnd(130_000))
    bench.send(expected[i]!, { messageGroup: 'g' })
  }
  bench.endTurn()
  for (const request of bench.open) request.fail('timedOut')
  const others = bench.open.length
  t.is(others, 0)
  // The other queue takes most of the way to the broker.
  const other = bench.requests[0]!.frames[0]!.queueId === 0 ? 1 : 0
  for (let i = 0; i < 3; i++) {
    bench.send('other', { selectQueue: () => other })
    bench.endTurn()
  }
  const seen: string[] = []
  let isFirst = true
  for (let turn = 0; turn < 50 && seen.length < 8; turn++) {
    for (const request of bench.after(200)) {
      if (request.frames.some(({ queueId }) => queueId === other)) continue
      if (isFirst) request.results(...request.frames.map(() => ({ code: codes.OUT_OF_ORDER_SEQUENCE })))
      else {
        seen.push(...request.bodies)
        request.store()
      }
      isFirst = false
    }
  }
  t.deepEqual(
    seen.map((body) => body.trim()),
    expected.map((body) => body.trim()),
  )
})

test('lane: AT MOST EIGHT frames are under way, for the broker remembers no more', (t) => {
  const bench = one()
  for (let i = 0; i < 40; i++) bench.sendBatch([`${i}`])
  bench.endTurn()
  t.true(bench.open.flatMap(({ frames }) => frames).length <= 8)
  const seen: string[] = []
  for (let turn = 0; turn < 40 && bench.open.length > 0; turn++) {
    for (const request of bench.open) {
      seen.push(...request.bodies)
      request.store()
    }
    bench.endTurn()
  }
  t.deepEqual(
    seen,
    Array.from({ length: 40 }, (_, i) => `${i}`),
  )
})

test('lane: AT MOST EIGHT frames of large messages are under way', (t) => {
  const bench = one()
  for (let i = 0; i < 40; i++) bench.send('x'.repeat(130_000))
  bench.endTurn()
  t.true(bench.open.flatMap(({ frames }) => frames).length <= 8)
})

test('lane: no frame is larger than a broker takes, however messages of all sizes meet in one turn', (t) => {
  const bench = one()
  for (let i = 0; i < 1_000; i++) bench.send('x'.repeat(120))
  bench.send('y'.repeat(4 * 1024 * 1024))
  bench.send('z'.repeat(4 * 1024 * 1024))
  for (let turn = 0; turn < 10; turn++) {
    bench.endTurn() // Throws when a frame is broken.
    for (const request of bench.open) request.store()
  }
  t.true(bench.fates.every(({ receipt }) => receipt !== null))
})

test('lane: a message without order leaves a broker that does not answer to another broker, unharmed', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a' }, { name: 'b' })
  bench.unusable.add('b')
  bench.health.version++
  bench.send('first', { tag: 't' })
  const [first] = bench.endTurn()
  t.is(first!.brokerName, 'a')
  bench.send('second', { keys: 'k', properties: { price: '10' } })
  bench.unusable.clear()
  bench.unusable.add('a')
  bench.health.version++
  first!.fail('noResponders')
  const moved = bench.endTurn()
  t.deepEqual(
    moved.map(({ brokerName }) => brokerName),
    ['b'],
  )
  t.deepEqual(moved[0]!.bodies, ['first', 'second'])
  t.deepEqual(moved[0]!.frames[0]!.properties, ['TAGS\u0001t\u0002', 'KEYS\u0001k\u0002price\u000110\u0002'])
  moved[0]!.store(4)
  t.deepEqual(
    bench.fates.map(({ receipt }) => receipt?.brokerName),
    ['b', 'b'],
  )
})

test('lane: a message leaves a broker that does not answer for one that is slow, and a slow one for none that is', (t) => {
  for (const isDead of [true, false]) {
    const bench = new Bench()
    bench.route({ name: 'a' }, { name: 'b' })
    bench.unusable.add('b')
    bench.health.version++
    bench.send('first')
    const [first] = bench.endTurn()
    t.is(first!.brokerName, 'a')
    bench.unusable.add('a')
    if (isDead) bench.dead.add('a')
    bench.health.version++
    first!.fail('noResponders')
    t.deepEqual(
      bench.endTurn().map(({ brokerName }) => brokerName),
      isDead ? ['b'] : [],
    )
  }
})

test('lane: a message that is due later travels in a frame of its own, which says so, to whichever broker', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a' }, { name: 'b' })
  bench.unusable.add('b')
  bench.health.version++
  bench.send('before')
  bench.send('later', { delayLevel: 3 })
  bench.send('after')
  const [first] = bench.endTurn()
  const shown = (asked: typeof first) => asked!.frames.map(({ bodies, flags }) => [bodies.join(), flags])
  t.deepEqual(shown(first), [
    ['before', 0],
    ['later', 1],
    ['after', 0],
  ])
  bench.unusable.clear()
  bench.unusable.add('a')
  bench.health.version++
  first!.fail('noResponders')
  const [moved] = bench.endTurn()
  t.is(moved!.brokerName, 'b')
  t.deepEqual(shown(moved).sort(), [
    ['after', 0],
    ['before', 0],
    ['later', 1],
  ])
  t.deepEqual(moved!.frames.find(({ flags }) => flags === 1)!.properties, ['DELAY\u00013\u0002'])
})

test('lane: a message that leaves for another broker was born when it was given', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a' })
  bench.send('earlier')
  bench.clock.advance(40)
  bench.send('later')
  bench.route({ name: 'a' }, { name: 'b' })
  const [first] = bench.endTurn()
  first!.fail('noResponders')
  const [second] = bench.endTurn()
  t.is(second!.brokerName, 'b')
  t.deepEqual(second!.frames[0]!.bornTimes, first!.frames[0]!.bornTimes)
  t.is(second!.frames[0]!.bornTimes[1]! - second!.frames[0]!.bornTimes[0]!, 40)
})

test('lane: a message with a group NEVER leaves its queue', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a' }, { name: 'b' })
  const fate = bench.send('1', { messageGroup: 'g' })
  const [first] = bench.endTurn()
  const home = first!.brokerName
  bench.unusable.add(home)
  first!.fail('noResponders')
  for (let waited = 0; waited < 4_000 && fate.error === null; waited += 100) {
    for (const request of bench.after(100)) {
      t.is(request.brokerName, home)
      request.fail('noResponders')
    }
  }
  t.is(fate.error?.code, 'NO_RESPONDERS')
})

test('lane: a frame whose queue was chosen NEVER leaves it', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a' }, { name: 'b' })
  bench.send('1', { selectQueue: () => 0 })
  const [first] = bench.endTurn()
  t.is(first!.brokerName, 'a')
  first!.fail('noResponders')
  t.deepEqual(
    bench.after(200).map(({ brokerName }) => brokerName),
    ['a'],
  )
})

test("lane: a frame of the caller's own stays one frame on its queue", (t) => {
  const bench = new Bench()
  bench.route({ name: 'a' }, { name: 'b' })
  bench.sendBatch(['1', '2', '3'])
  const [first] = bench.endTurn()
  first!.fail('noResponders')
  const [second] = bench.after(200)
  t.is(second!.brokerName, first!.brokerName)
  t.deepEqual(
    second!.frames.map(({ bodies }) => bodies),
    [['1', '2', '3']],
  )
})

test('lane: a message that may be stored is moved only after half its time, and takes its id along', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a' }, { name: 'b' })
  const fate = bench.send('1')
  const [first] = bench.endTurn()
  const { brokerName: home, frames } = first!
  first!.fail('timedOut')
  const [second] = bench.after(100)
  t.is(second!.brokerName, home)
  bench.clock.advance(1_500)
  second!.fail('timedOut')
  const [third] = bench.endTurn()
  t.not(third!.brokerName, home)
  const id = `${frames[0]!.producerId.toString(16).padStart(14, '0')}-0`
  t.deepEqual(third!.frames[0]!.properties, [`UNIQ_KEY\u0001${id}\u0002`])
  third!.store(0)
  t.is(fate.receipt?.messageId, id)
})

test('lane: all tries of a message end with its time', (t) => {
  const bench = one()
  const fate = bench.send('1')
  bench.endTurn()
  while (fate.error === null && bench.clock.monotonic() < 10_000) {
    for (const request of bench.open) request.fail('noResponders')
    bench.after(50)
  }
  t.is(fate.error?.code, 'NO_RESPONDERS')
  t.true(fate.error?.retryable)
  t.true(bench.clock.monotonic() <= 3_100)
})

test('lane: a request NEVER waits for its answer longer than its messages have time', (t) => {
  const bench = one()
  bench.send('1')
  bench.endTurn()
  for (let waited = 0; waited < 2_800; waited += 100) {
    for (const request of bench.open) request.fail('noResponders')
    bench.after(100)
  }
  const [last] = bench.open
  t.true(last!.timeoutMs <= 400, `it waits ${last!.timeoutMs} ms`)
})

test('lane: a message that waited for its turn longer than its time is not shipped any more', (t) => {
  const bench = one()
  for (let i = 0; i < 4; i++) {
    bench.send(`${i}`)
    bench.endTurn()
  }
  const late = bench.send('late')
  bench.clock.advance(3_500)
  for (const request of bench.open) request.store(0)
  bench.endTurn()
  t.false(bench.requests.some(({ bodies }) => bodies.includes('late')))
  t.is(late.error?.code, 'TIMED_OUT')
  t.is(bench.buffered, 0)
})

test('lane: what cannot be repeated is refused at once, and what waits behind it goes on', (t) => {
  const bench = one()
  const bad = bench.send('1')
  const [first] = bench.endTurn()
  const good = bench.send('2')
  first!.results({ code: codes.MESSAGE_ILLEGAL })
  t.is(bad.error?.code, 'MESSAGE_ILLEGAL')
  const [second] = bench.after(300)
  t.deepEqual(second!.bodies, ['2'])
  second!.store(0)
  t.is(good.receipt?.queueOffset, 0)
})

test('lane: a broker that has no such topic is told of, and asked again', (t) => {
  const bench = one()
  const fate = bench.send('1')
  bench.endTurn()[0]!.results({ code: codes.TOPIC_NOT_EXIST })
  t.deepEqual(bench.deleted, ['orders'])
  bench.after(200)[0]!.store(0)
  t.is(fate.receipt?.queueOffset, 0)
})

test('lane: a message that comes while another waits for a broker that is silent has its own time', (t) => {
  const bench = one()
  bench.send('1', { messageGroup: 'g' })
  const [silent] = bench.endTurn()
  const early = bench.send('2', { messageGroup: 'g' })
  bench.clock.advance(1_450)
  const late = bench.send('3', { messageGroup: 'g' })
  bench.clock.advance(50)
  silent!.fail('timedOut')
  while (bench.clock.monotonic() < 3_000) {
    for (const request of bench.after(50)) request.fail('noResponders')
  }
  t.is(early.error?.code, 'TIMED_OUT')
  t.is(late.error, null)
  for (const request of bench.after(200)) request.store(0)
  t.is(late.receipt?.queueOffset, 0)
})

test('lane: pauses between tries grow and stay short', (t) => {
  const bench = one({ budgetMs: 60_000 })
  bench.send('1')
  bench.endTurn()
  const tries: number[] = []
  while (bench.clock.monotonic() < 3_000) {
    for (const request of bench.open) {
      tries.push(bench.clock.monotonic())
      request.fail('noResponders')
    }
    bench.after(1)
  }
  const gaps = tries.slice(1).map((at, i) => at - tries[i]!)
  t.true(
    gaps.every((gap, i) => gap >= (gaps[i - 1] ?? 0) && gap <= 201),
    `${gaps}`,
  )
  t.true(gaps[0]! <= 20)
})

test('lane: a new mastership is tried at once', (t) => {
  const bench = one()
  bench.send('1')
  bench.endTurn()[0]!.fail('noResponders')
  bench.route({ name: 'a', epoch: 2 })
  const [second] = bench.endTurn()
  t.is(second!.epoch, 2)
})

test('pipe: what was asked of an older mastership is asked of the new one, without waiting for its time', (t) => {
  const bench = one()
  const fate = bench.send('1')
  const [first] = bench.endTurn()
  bench.route({ name: 'a', epoch: 2 })
  const [second] = bench.endTurn()
  t.is(second!.epoch, 2)
  t.deepEqual(second!.frames, first!.frames)
  second!.store(5)
  t.is(fate.receipt?.queueOffset, 5)
})

test('lane: what a master that is gone may have stored comes first at the next one, under its old number, and has no gap behind it', (t) => {
  const bench = one()
  for (const body of ['1', '2', '3']) {
    bench.send(body, { messageGroup: 'g' })
    bench.endTurn()
  }
  const [a, b, c] = bench.requests
  a!.store(0)
  b!.refuse(codes.NOT_MASTER)
  c!.fail('noResponders')
  bench.route({ name: 'a', epoch: 2 })
  const again = bench.endTurn()
  t.deepEqual(
    again.flatMap(({ frames }) => frames),
    b!.frames,
  )
  again[0]!.store(1)
  const [last, ...others] = bench.endTurn()
  t.deepEqual(others, [])
  t.deepEqual(last!.bodies, ['3'])
  t.is(last!.frames[0]!.sequence, 0)
})

test('lane: a new master that lacks an acknowledged frame gets what follows under new numbers, in order', (t) => {
  const bench = one()
  bench.send('1', { messageGroup: 'g' })
  bench.endTurn()[0]!.store(0)
  bench.route({ name: 'a', epoch: 2 })
  for (const body of ['2', '3']) {
    bench.send(body, { messageGroup: 'g' })
    bench.endTurn()
  }
  for (const request of bench.open) request.results({ code: codes.OUT_OF_ORDER_SEQUENCE })
  const again = bench.after(50)
  t.is(again[0]!.frames[0]!.sequence, 0)
  const seen = again.flatMap(({ bodies }) => bodies)
  t.deepEqual(seen, ['2', '3'])
})

for (const code of [codes.IN_SYNC_REPLICAS_NOT_ENOUGH, codes.SYSTEM_BUSY]) {
  test(`lane: what was refused at the door with ${code} is tried again under a new number, within its time`, (t) => {
    const bench = one()
    const fate = bench.send('1')
    const [first] = bench.endTurn()
    first!.refuse(code)
    const [second] = bench.after(50)
    t.not(second!.frames[0]!.producerId, first!.frames[0]!.producerId)
    while (fate.error === null) {
      for (const request of bench.open) request.refuse(code)
      bench.after(50)
    }
    t.is(fate.error.responseCode, code)
    t.true(fate.error.retryable)
    t.regex(fate.error.message, /^a refused the message/)
  })
}

test('lane: a broker without a master is named when the time of a message is over', (t) => {
  const bench = one()
  const fate = bench.send('1')
  bench.endTurn()
  while (fate.error === null) {
    for (const request of bench.open) request.fail('noResponders')
    bench.after(50)
  }
  t.is(fate.error.code, 'NO_RESPONDERS')
  t.regex(fate.error.message, /^a has no master that answers, nobody listens under epoch 1: see/)
})

test('lane: a message that an earlier try may have stored does not end with an error which says that it was not', (t) => {
  const bench = one()
  const fate = bench.send('1')
  bench.endTurn()[0]!.refuse(codes.NOT_MASTER)
  bench.after(50)
  while (fate.error === null) {
    for (const request of bench.open) request.fail('noResponders')
    bench.after(50)
  }
  t.is(fate.error.code, 'TIMED_OUT')
  t.regex(fate.error.message, /a has no master.*an earlier try may have been stored$/)
})

test('pipe: a broker that answers nothing is asked after, once in a while, until it answers', (t) => {
  const bench = one()
  bench.send('1')
  const [first] = bench.endTurn()
  bench.clock.advance(250)
  t.deepEqual(bench.silent, [])
  bench.clock.advance(1_000)
  t.deepEqual(
    bench.silent,
    Array.from({ length: 4 }, () => ['a', 1]),
  )
  first!.store(0)
  bench.clock.advance(10_000)
  t.is(bench.silent.length, 4)
  t.is(bench.clock.timers, 0)
})

test('pipe: a broker that is slow and answers is not asked after', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a', queues: 4 })
  for (let i = 0; i < 40; i++) {
    bench.send(`${i}`, { selectQueue: () => i % 4 })
    bench.endTurn()
    bench.clock.advance(140)
    if (i >= 1) bench.open[0]!.store(i)
  }
  t.deepEqual(bench.silent, [])
})

test('pipe: a broker of which no master is known is asked under no epoch of another, and its successor at once', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a', epoch: 0 })
  bench.send('1')
  const [first] = bench.endTurn()
  t.is(first!.epoch, 0)
  first!.fail('noResponders')
  bench.route({ name: 'a', epoch: 7 })
  t.is(bench.endTurn()[0]!.epoch, 7)
})

test('lane: messages without order go to brokers that have a master, while there is one', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a', epoch: 0, queues: 4 }, { name: 'b', queues: 4 })
  for (let i = 0; i < 20; i++) bench.send(`${i}`)
  t.deepEqual(
    bench.endTurn().map(({ brokerName }) => brokerName),
    ['b'],
  )
})

test('pipe: a late answer of an older mastership settles nothing twice', (t) => {
  const bench = one()
  const fate = bench.send('1')
  const [first] = bench.endTurn()
  bench.route({ name: 'a', epoch: 2 })
  const [second] = bench.endTurn()
  first!.store(5)
  second?.store(5)
  t.is(fate.receipt?.queueOffset, 5)
  t.is(bench.buffered, 0)
  bench.send('2')
  t.is(bench.endTurn().length, 1)
})

test('pipe: an older mastership NEVER replaces a newer one', (t) => {
  const bench = one()
  bench.route({ name: 'a', epoch: 3 })
  bench.route({ name: 'a', epoch: 2 })
  bench.send('1')
  t.is(bench.endTurn()[0]!.epoch, 3)
})

test('pipe: AT MOST FOUR requests are under way, and what is gathered meanwhile makes the next one larger', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a', queues: 4 })
  for (let i = 0; i < 20; i++) {
    bench.send(`${i}`)
    bench.endTurn()
  }
  t.is(bench.open.length, 4)
  bench.open[0]!.store(0)
  const [next] = bench.endTurn()
  t.is(next!.bodies.length, 16)
})

test('pipe: a frame larger than a request travels alone', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a', queues: 2 })
  bench.send('x'.repeat(1_000_000), { selectQueue: () => 0 })
  bench.send('small', { selectQueue: () => 1 })
  t.deepEqual(
    bench.endTurn().map(({ frames }) => frames.length),
    [1, 1],
  )
})

test('pipe: an answer for another number of frames counts as a failure of the broker', (t) => {
  const bench = one()
  const fate = bench.send('1')
  const [first] = bench.endTurn()
  first!.refuse(codes.SUCCESS) // Zero results for one frame.
  t.is(fate.receipt, null)
  t.is(bench.after(200).length, 1)
})

test('pipe: an answer that is too short to be one counts as a failure of the broker', (t) => {
  const bench = one()
  const fate = bench.send('1')
  const [first] = bench.endTurn()
  first!.reply({ ok: true, value: Buffer.alloc(2) })
  t.is(fate.receipt, null)
  t.is(bench.after(200).length, 1)
})

test('pipe: a deposed master may have stored what it did not answer: its frames keep their numbers', (t) => {
  const bench = one()
  bench.send('1')
  const [first] = bench.endTurn()
  first!.refuse(codes.NOT_MASTER)
  t.deepEqual(bench.unreachable, [['a', 1]])
  const [second] = bench.after(200)
  t.deepEqual(second!.frames, first!.frames)
})

for (const [how, code] of [
  ['closed', 'CLOSED'],
  ['tooLarge', 'TOO_LARGE'],
] as const) {
  test(`pipe: a request that fails with ${how} is not tried again`, (t) => {
    const bench = one()
    const fate = bench.send('1')
    bench.endTurn()[0]!.fail(how)
    t.is(fate.error?.code, code)
    t.deepEqual(bench.after(5_000), [])
  })
}

test('lane: the memory of every message is given back when it is settled', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a', queues: 2 }, { name: 'b', queues: 2 })
  for (let i = 0; i < 200; i++) bench.send('x'.repeat(i * 10), i % 3 === 0 ? { messageGroup: `${i}` } : {})
  bench.sendBatch(['1', '2'])
  t.true(bench.buffered > 0)
  const endings = ['timedOut', 'noResponders', 'disconnected'] as const
  let step = 0
  while (bench.fates.some(({ receipt, error }) => receipt === null && error === null) && step < 500) {
    for (const request of bench.open) {
      const how = step++ % 4
      if (how < 3) request.fail(endings[how]!)
      else request.store(step)
    }
    bench.after(60)
  }
  t.true(bench.fates.every(({ receipt, error }) => receipt !== null || error !== null))
  t.is(bench.buffered, 0)
})
