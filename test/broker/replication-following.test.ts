/** The slave's side, with a master by hand: what it takes, what it acknowledges, and what it tells. */
import test from 'ava'
import type { ReplicationSettings } from '../../actors/broker/replication/context.ts'
import { accept, refuse } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { kinds } from '../../transport/frames.ts'
import type { FollowAnswer } from '../../transport/messages.ts'
import { messages } from '../store/support.ts'
import { Bench, type Replica } from './replication-bench.ts'
import { MasterByHand } from './replication-hands.ts'

/** Broker 1 follows in epoch 5; the bytes are what broker 0 has written in a log of its own. */
async function follow(settings: Partial<ReplicationSettings> = {}) {
  const bench = await Bench.start(1, 2, {}, settings)
  const [source, slave] = bench.replicas as [Replica, Replica]
  source.store.epoch = 5
  source.store.appendControl(kinds.epoch, Buffer.from('{}'))
  for (let i = 0; i < 10; i++) source.append('t', 0, `message ${i}`)
  await bench.advance(20)
  const master = new MasterByHand(bench, 5)
  const log = (from: number, to = source.store.endPosition) => source.logOnDisk(from, to)
  return { bench, source, slave, master, log }
}
const countOf = (replica: Replica, line: string) => replica.told.filter((told) => told === line).length
const lines = (replica: Replica, start: string) => replica.told.filter((told) => told.startsWith(start))

test('following: it asks until somebody answers, and that is silence', async (t) => {
  const { bench, slave, master } = await follow()
  slave.follow(5, 0)
  await bench.advance(950)
  t.deepEqual(slave.told, [])
  await bench.advance(300)
  t.deepEqual(slave.told, ['silent'])
  t.false(slave.following!.hearsMaster(300))
  master.stream()
  await bench.advance(300)
  t.deepEqual(slave.told.slice(0, 3), ['silent', 'heard', 'started'])
  t.true(slave.following!.hearsMaster(300))
  t.is(master.requests.length, 1)
})

test('following: a master that opens a moment later is followed a moment later', async (t) => {
  const { bench, slave, master } = await follow()
  slave.follow(5, 0)
  await bench.advance(30)
  master.stream()
  await bench.advance(50)
  t.deepEqual(slave.told, ['started'])
})

test('following: it acknowledges AFTER the bytes are stored', async (t) => {
  const { bench, slave, master, log } = await follow()
  master.stream()
  slave.follow(5, 0)
  await bench.advance(200)
  slave.slowMs = 300
  const bytes = log(0)
  await master.send({ from: 0 }, bytes)
  t.is(slave.store.endPosition, bytes.length)
  await master.send({ from: bytes.length })
  t.is(master.acks.at(-1)!.position, 0)
  await bench.until('it is acknowledged', () => master.acks.at(-1)!.position === bytes.length)
  t.true(slave.logOnDisk(0, bytes.length).equals(bytes))
})

test('following: it echoes the last sign of life', async (t) => {
  const { bench, slave, master } = await follow()
  master.stream()
  slave.follow(5, 0)
  await bench.advance(200)
  await master.send({ from: 0, sentAt: 123.25 })
  const { session } = master.requests[0]!
  t.deepEqual(master.acks, [
    {
      ...{ epoch: 5, session, brokerId: 1, lineage: 1, incarnation: 1 },
      ...{ position: 0, unfinishedBytes: 0, echo: 123.25, isFull: false },
    },
  ])
})

for (const [what, send] of Object.entries({
  'a gap': (end: number) => ({ from: end + 100 }),
  'an overlap': (end: number) => ({ from: end - 10 }),
  'a head that contradicts itself': (end: number) => ({ from: end, confirm: end + 1, end }),
}))
  test(`following: ${what} is not taken, and it asks anew from its own end`, async (t) => {
    const { bench, slave, master, log } = await follow()
    master.stream()
    slave.follow(5, 0)
    await bench.advance(200)
    const bytes = log(0)
    await master.send({ from: 0 }, bytes)
    const end = slave.store.endPosition
    t.is(end, bytes.length)
    const said = master.acks.length
    await master.send(send(end))
    await bench.advance(150)
    t.is(master.acks.length, said)
    t.is(slave.store.confirmLimit, 0)
    const [before, after] = master.requests
    t.is(master.requests.length, 2)
    t.is(after!.session, (before!.session + 1) % 2 ** 32)
    t.deepEqual([after!.position, after!.lastEpoch], [end, 5])
  })

test('following: bytes beyond the end that their head tells are not taken', async (t) => {
  const { bench, slave, master, log } = await follow()
  master.stream()
  slave.follow(5, 0)
  await bench.advance(200)
  const bytes = log(0)
  await master.send({ from: 0, end: bytes.length - 1 }, bytes)
  t.is(slave.store.endPosition, 0)
})

test('following: what belongs to another session or epoch is not taken', async (t) => {
  const { bench, slave, master, log } = await follow()
  master.stream()
  slave.follow(5, 0)
  await bench.advance(200)
  const { session } = master.requests[0]!
  await master.send({ from: 0, session: session + 1 }, log(0))
  await master.send({ from: 0, epoch: 4 }, log(0))
  t.is(slave.store.endPosition, 0)
  t.is(master.acks.length, 0)
  await master.send({ from: 0 }, log(0))
  t.true(slave.store.endPosition > 0)
})

test('following: one bit that is wrong, anywhere in the frames, and nothing is taken', async (t) => {
  const { bench, slave, master, log } = await follow({ followRetryMinMs: 1 })
  master.stream()
  slave.follow(5, 0)
  await bench.advance(200)
  const bytes = log(0)
  for (let bit = 0; bit < bytes.length * 8; bit += 97) {
    const damaged = Buffer.from(bytes)
    damaged[bit >> 3]! ^= 1 << (bit & 7)
    await master.send({ from: 0 }, damaged)
    if (slave.store.endPosition > 0) return t.fail(`bit ${bit}`)
  }
  t.is(lines(slave, 'broken').length, 0)
  await master.send({ from: 0 }, bytes)
  t.is(slave.store.endPosition, bytes.length)
})

test('following: bytes may come before the answer that announces them', async (t) => {
  const { bench, slave, master, log } = await follow()
  master.serve(() => ({ code: 0, value: { result: 'streaming', position: 0 } }))
  const { transport } = master
  const publish = transport.publish.bind(transport)
  // The answer takes its time.
  transport.publish = (subject, payload, reply, headers) => {
    if (subject.startsWith('_INBOX'))
      bench.world.clock.after(100, () => publish(subject, payload, reply, headers))
    else publish(subject, payload, reply, headers)
  }
  slave.follow(5, 0)
  await bench.advance(20)
  await master.send({ from: 0 }, log(0))
  t.true(slave.store.endPosition > 0)
  await bench.advance(300)
  t.is(countOf(slave, 'started'), 1)
  t.is(master.requests.length, 1)
})

test('following: a refusal for good is told and ends it, any other is asked again', async (t) => {
  const { bench, slave, master } = await follow()
  let answer = refuse(codes.SERVICE_NOT_AVAILABLE, 'wait')
  master.serve(() => answer)
  slave.follow(5, 0)
  await bench.advance(1_000)
  t.true(master.requests.length > 2)
  t.is(lines(slave, 'refused').length, 0)
  answer = refuse(codes.NO_PERMISSION, 'a copy')
  await bench.advance(1_000)
  const count = master.requests.length
  await bench.advance(2_000)
  t.is(master.requests.length, count)
  t.deepEqual(lines(slave, 'refused'), ['refused NO_PERMISSION: a copy'])
})

test('following: the logs differ: it tells up to where they are equal at most', async (t) => {
  const { bench, source, slave, master, log } = await follow()
  slave.store.appendVerbatim(log(0))
  await bench.advance(20)
  // All of this log is of epoch 5, and the master has less of it; or nothing at all, and something older.
  const start = slave.store.lineage.starts[0]!.start
  const [first, ...answers] = [
    { result: 'diverging', epoch: 5, end: source.store.endPosition - messages('t', 0, 'message 9').length },
    { result: 'diverging', epoch: 4, end: 1_000_000 },
  ] as const
  let next: FollowAnswer = first
  master.serve(({ position }) => {
    const answer = next
    next = answers.shift() ?? { result: 'streaming', position }
    return accept(answer)
  })
  slave.follow(5, 0)
  await bench.until('it streams', () => slave.told.includes('started'))
  t.deepEqual(lines(slave, 'diverged'), [`diverged ${first.end}`, `diverged ${start}`])
})

test('following: what is confirmed is never told beyond its own end, and never goes back', async (t) => {
  const { bench, slave, master, log } = await follow()
  master.stream()
  slave.follow(5, 0)
  await bench.advance(200)
  const bytes = log(0)
  await master.send({ from: 0, confirm: 50_000, end: 100_000 })
  t.is(slave.store.confirmLimit, 0)
  await master.send({ from: 0, confirm: 50_000, end: 100_000 }, bytes)
  t.is(slave.store.confirmLimit, bytes.length)
  await master.send({ from: bytes.length, confirm: 10, end: 100_000 })
  t.is(slave.store.confirmLimit, bytes.length)
})

test('following: whether it has everything is told on changes and again and again', async (t) => {
  const { bench, slave, master } = await follow({ lagMs: 1_000 })
  master.stream()
  slave.follow(5, 0)
  await bench.advance(50)
  for (let i = 0; i < 10; i++) await master.send({ from: 0, end: 100 })
  t.deepEqual(new Set(slave.told), new Set(['started', 'behind']))
  for (let i = 0; i < 30; i++) await master.send({ from: 0 })
  const count = countOf(slave, 'caughtUp')
  t.true(count >= 3 && count <= 6, `${count}`)
  for (let i = 0; i < 60; i++) await master.send({ from: 0, end: 100 })
  t.is(slave.told.at(-1), 'behind')
})

test('following: a stream from which nothing comes is asked for anew; without any sign the master is silent', async (t) => {
  const { bench, slave, master } = await follow()
  master.stream()
  slave.follow(5, 0)
  await bench.advance(100)
  for (let i = 0; i < 20; i++) await master.send({ from: 0 })
  t.is(master.requests.length, 1)
  t.is(countOf(slave, 'silent'), 0)
  master.leave()
  await bench.advance(2_000)
  t.is(countOf(slave, 'silent'), 1)
  const before = slave.told.length
  await bench.advance(1_000)
  t.is(slave.told.length, before, 'and no level is told meanwhile')
  master.stream()
  await bench.advance(600)
  t.true(slave.told.includes('heard'))
})

test('following: of a master that is silent no level is told', async (t) => {
  const { bench, slave, master } = await follow({ detectMs: 250, tickMs: 50 })
  master.stream()
  slave.follow(5, 0)
  await bench.advance(100)
  await master.send({ from: 0 })
  master.leave()
  await bench.until('it is silent', () => slave.told.includes('silent'), 400)
  await bench.advance(500)
  t.is(slave.told.at(-1), 'silent')
})

test('following: the time in which it stood still itself is not the master`s silence', async (t) => {
  const { bench, slave, master } = await follow()
  master.stream()
  slave.follow(5, 0)
  await bench.advance(100)
  await master.send({ from: 0 })
  slave.process.pause()
  await bench.advance(5_000)
  await slave.process.resume()
  await bench.advance(300)
  t.is(countOf(slave, 'silent'), 0)
})

test('following: the lease lasts from when something of this epoch came, and never gets shorter', async (t) => {
  const { bench, slave, master } = await follow({ leaseMs: 400 })
  master.stream()
  slave.follow(5, 0)
  await bench.advance(200)
  await master.send({ from: 0 })
  const now = bench.world.clock.monotonic()
  const ends = slave.following!.leaseEndsAt
  t.true(ends > now - 20 + 400 && ends <= now + 404)
  master.leave()
  await bench.advance(1_000)
  await master.send({ from: 0, epoch: 4 })
  t.is(slave.following!.leaseEndsAt, ends)
  const following = slave.following!
  following.close()
  t.is(following.leaseEndsAt, ends)
  slave.follow(6, 0)
  t.is(slave.following!.leaseEndsAt, following.leaseEndsAt)
})

test('following: a store that refuses the same bytes again and again is told to be broken', async (t) => {
  const { bench, source, slave, master, log } = await follow({ followRetryMinMs: 1 })
  master.stream()
  slave.follow(5, 0)
  await bench.advance(100)
  await master.send({ from: 0 }, log(0))
  const end = slave.store.endPosition
  // Sound frames, but not those that are due.
  const foreign = log(0).subarray(source.store.lineage.starts[0]!.start)
  for (let i = 0; i < 4; i++) await master.send({ from: end }, foreign)
  t.is(lines(slave, 'broken').length, 0)
  await master.send({ from: end }, foreign)
  t.is(lines(slave, 'broken').length, 1)
  t.is(slave.store.endPosition, end)
})

test('following: AFTER close nothing is heard, said or waited for', async (t) => {
  const { bench, slave, master, log } = await follow()
  await bench.advance(1_000)
  const timers = slave.process.timers
  master.stream()
  slave.follow(5, 0)
  await bench.advance(200)
  await master.send({ from: 0 })
  const { following } = slave
  following!.close()
  const told = slave.told.length
  const said = master.acks.length
  await master.send({ from: 0 }, log(0))
  following!.stored(0)
  await bench.advance(2_000)
  t.is(slave.store.endPosition, 0)
  t.is(slave.told.length, told)
  t.is(master.acks.length, said)
  t.is(master.requests.length, 1)
  t.true(slave.process.timers <= timers)
})
