/** A master and its slaves: the bytes of the log, over a network and disks that fail on order. */
import test from 'ava'
import { DATA_HEAD_BYTES, readDataHead } from '../../transport/stream.ts'
import { seedOfRun } from '../support/seeded-random.ts'
import { Bench, NO_TROUBLE, type Replica } from './replication-bench.ts'

const isEqual = (bench: Bench, a: Replica, b: Replica) =>
  a.store.storedPosition === a.store.endPosition &&
  b.store.storedPosition === a.store.endPosition &&
  bench.world.faults.length === 0

async function pair(seed: number, sizes = {}, settings = {}, replicas = 2) {
  const bench = await Bench.start(seed, replicas, sizes, settings)
  const [master, slave] = bench.replicas as [Replica, Replica]
  return { bench, master, slave }
}

test('replication: a slave has the files of its master, byte for byte, while that one goes on', async (t) => {
  const { bench, master, slave } = await pair(1, { segmentBytes: 4_000 })
  master.lead(1, [master.member, slave.member])
  slave.follow(1, 0)
  for (let i = 0; i < 300; i++) {
    master.append('t', i % 3, `message ${i}`.padEnd(bench.random.below(200)))
    if (i % 7 === 0) await bench.advance(1)
  }
  await bench.until('all is confirmed', () => master.confirmed === master.store.endPosition)
  await bench.until('the slave knows it', () => slave.store.confirmPosition === master.confirmed)
  t.deepEqual(slave.files, master.files)
  t.true(Object.keys(slave.files).length > 5)
  t.deepEqual(bench.world.faults, [])
  t.true(bench.checks > 10)
})

test('replication: a slave says within two beats that its disk is full, and as soon as there is room that it is not', async (t) => {
  const { bench, master, slave } = await pair(1)
  master.lead(1, [master.member, slave.member])
  slave.follow(1, 0)
  await bench.until('all is confirmed', () => master.confirmed === master.store.endPosition)
  slave.disk.totalBytes = slave.disk.usedBytes
  master.append('t', 0, 'one')
  await bench.until('it lags', () => master.told.includes('lagging 1'), 200)
  bench.count(master, [master.member])
  await bench.until('one is confirmed', () => master.confirmed === master.store.endPosition, 100)
  const told = master.told.length
  await bench.advance(5_000)
  t.deepEqual(master.told.slice(told), [])
  slave.disk.totalBytes = Number.MAX_SAFE_INTEGER
  await bench.until('it is back', () => master.told.at(-1) === 'caughtUp 1', 2_000)
  t.deepEqual(slave.files, master.files)
  t.deepEqual(bench.world.faults, [])
})

const seeds = [...Array.from({ length: 12 }, (_, i) => i + 1), seedOfRun()]
for (const seed of seeds)
  test(`replication: nothing is confirmed that a member lacks, whatever goes wrong (seed ${seed})`, async (t) => {
    const bench = await Bench.start(
      seed,
      3,
      { segmentBytes: 3_000 + (seed % 7) * 3_000 },
      { windowBytes: 4_000 + (seed % 3) * 20_000, chunkBytes: 1_000 + (seed % 5) * 3_000, lagMs: 1_000 },
    )
    const { random } = bench
    const [master, first, second] = bench.replicas as [Replica, Replica, Replica]
    // What a role does: who lags leaves, who has everything comes in. The swap takes a moment, or is for nothing.
    const propose = (pending: readonly { brokerId: number; lineage: number }[]) => {
      if (bench.pending !== null) return
      bench.count(master, bench.members, pending)
      bench.world.clock.after(random.below(100), () => {
        if (bench.pending === pending) bench.count(master, random.below(4) === 0 ? bench.members : pending)
      })
    }
    bench.caughtUp = (_, id) => {
      const { member } = bench.replicas[id]!
      const others = bench.members.filter(({ brokerId }) => brokerId !== id)
      if (!bench.members.some((one) => one.brokerId === id && one.lineage === member.lineage))
        propose([...others, member])
    }
    bench.lagging = (_, id) => {
      if (bench.members.some(({ brokerId }) => brokerId === id))
        propose(bench.members.filter(({ brokerId }) => brokerId !== id))
    }
    master.lead(1, [master.member, first.member])
    const slaves = [first, second]
    for (const slave of slaves) slave.follow(1, 0)
    bench.trouble = { lost: 20, repeated: 20, late: 5, damaged: 40 }
    let count = 0
    for (let step = 0; step < 400; step++) {
      const slave = slaves[random.below(2)]!
      const dice = random.below(100)
      if (dice < 60)
        for (let i = random.below(6); i >= 0; i--)
          master.append('t', i, `message ${count++}`.padEnd(random.below(900)))
      else if (dice < 64) slave.slowMs = random.below(3) * 20
      else if (dice < 66) master.slowMs = random.below(3) * 20
      else if (dice < 68) {
        slave.kill()
        await bench.advance(random.below(1_500))
        await slave.start()
        slave.follow(1, 0)
      } else if (dice < 70) {
        const cut = bench.replicas[random.below(3)]!
        cut.process.sever()
        await bench.advance(random.below(700))
        cut.process.mend()
      } else if (dice < 72) {
        slave.process.pause()
        await bench.advance(random.below(1_500))
        await slave.process.resume()
      }
      await bench.advance(random.below(30))
    }
    bench.trouble = NO_TROUBLE
    for (const replica of bench.replicas) replica.slowMs = 0
    master.append('t', 0, 'the last one')
    await bench.until('both slaves have everything', () =>
      slaves.every((slave) => isEqual(bench, master, slave)),
    )
    await bench.until('all is confirmed', () => master.confirmed === master.store.endPosition)
    for (const slave of slaves) {
      await bench.until('the slave knows it', () => slave.store.confirmPosition === master.confirmed)
      t.deepEqual(slave.files, master.files)
    }
    t.deepEqual(bench.world.faults, [])
    t.true(bench.checks > 50)
  })

test('replication: a slave that was away catches up from disk, and does not hold up the others', async (t) => {
  const { bench, master, slave } = await pair(
    2,
    { segmentBytes: 200_000, hotBytes: 20_000 },
    { windowBytes: 64_000, chunkBytes: 16_000 },
    3,
  )
  const away = bench.replicas[2]!
  let acknowledged = 0
  let ahead = 0
  bench.dataSent = (subject, bytes) => {
    if (!subject.includes('.2.data')) return
    const head = readDataHead(bytes)!
    // What its disk has is the least that it may have acknowledged.
    acknowledged = Math.max(acknowledged, away.store.storedPosition)
    ahead = Math.max(ahead, head.from + bytes.length - DATA_HEAD_BYTES - acknowledged)
  }
  master.lead(1, [master.member, slave.member])
  slave.follow(1, 0)
  const fill = (bytes: number) => {
    const end = master.store.endPosition + bytes
    while (master.store.endPosition < end) master.append('t', 0, 'x'.repeat(1_000))
  }
  for (let i = 0; i < 40; i++) {
    fill(50_000)
    await bench.advance(5)
  }
  await bench.until('all is confirmed', () => master.confirmed === master.store.endPosition)
  away.follow(1, 0)
  away.slowMs = 2
  let worst = 0
  for (let i = 0; away.store.endPosition < master.store.endPosition; i++) {
    fill(3_000)
    const before = bench.world.clock.monotonic()
    const end = master.store.endPosition
    while (master.confirmed < end) await bench.advance(1)
    worst = Math.max(worst, bench.world.clock.monotonic() - before)
    if (i > 5_000) return t.fail(bench.summary)
  }
  t.true(worst < 50, `${worst} ms`)
  t.true(ahead <= 64_000 + 16_000, `${ahead} bytes on the way`)
  await bench.until('it has everything', () => isEqual(bench, master, away))
  t.deepEqual(away.files, master.files)
  t.true(master.told.includes('caughtUp 2'))
  t.deepEqual(bench.world.faults, [])
})

test('replication: a frame, and a state, that are larger than the window go all the same', async (t) => {
  const { bench, master, slave } = await pair(
    3,
    { segmentBytes: 60_000 },
    { windowBytes: 20_000, chunkBytes: 5_000 },
  )
  // Two frames of state: the larger of one is 4 MiB.
  master.ballast = 'b'.repeat(5 * 1024 * 1024)
  master.lead(1, [master.member, slave.member])
  slave.follow(1, 0)
  for (let i = 0; i < 5; i++) {
    master.append('t', 0, 'x'.repeat(40_000))
    await bench.advance(5)
  }
  await bench.until('all is confirmed', () => master.confirmed === master.store.endPosition)
  t.true(Object.keys(master.files).length > 2)
  t.deepEqual(slave.files, master.files)
})

test('replication: the credit for a state that takes many frames does not wait for its end', async (t) => {
  const { bench, master, slave } = await pair(9, {}, { windowBytes: 5 * 1024 * 1024, beatMs: 400 })
  master.ballast = 'b'.repeat(40 * 1024 * 1024)
  master.lead(1, [master.member, slave.member])
  await bench.advance(20)
  const before = bench.world.clock.monotonic()
  slave.follow(1, 0)
  await bench.until('all is confirmed', () => master.confirmed === master.store.endPosition)
  t.true(bench.world.clock.monotonic() - before < 1_200)
})

test('replication: a damaged frame is not taken, and the stream begins anew', async (t) => {
  const { bench, master, slave } = await pair(4)
  master.lead(1, [master.member, slave.member])
  slave.follow(1, 0)
  await bench.until('it follows', () => master.confirmed === master.store.endPosition)
  const end = slave.store.endPosition
  bench.trouble = { ...NO_TROUBLE, damaged: 1 }
  master.append('t', 0, 'one')
  await bench.advance(1_000)
  t.is(slave.store.endPosition, end)
  t.true(master.confirmed < master.store.endPosition)
  t.true(bench.world.trace.some(({ what }) => what.includes('is damaged')))
  bench.trouble = NO_TROUBLE
  await bench.until('it is confirmed', () => master.confirmed === master.store.endPosition)
  t.deepEqual(slave.files, master.files)
})

test('replication: a slave learns what is confirmed within a sign of life, without traffic', async (t) => {
  const { bench, master, slave } = await pair(5)
  master.lead(1, [master.member, slave.member])
  slave.follow(1, 0)
  await bench.advance(500)
  master.append('t', 0, 'one')
  await bench.until('it is confirmed', () => master.confirmed === master.store.endPosition)
  await bench.advance(110)
  t.is(slave.store.confirmPosition, master.confirmed)
})

test('replication: a log that differs is cut and goes on', async (t) => {
  const { bench, master, slave } = await pair(6, { segmentBytes: 2_000 })
  slave.lead(1, [slave.member, master.member])
  master.follow(1, 1)
  for (let i = 0; i < 20; i++) slave.append('t', 0, `shared ${i}`.padEnd(100))
  await bench.until('all is confirmed', () => slave.confirmed === slave.store.endPosition)
  master.kill()
  for (let i = 0; i < 50; i++) slave.append('t', 0, `only here ${i}`.padEnd(100))
  await bench.until('it is stored', () => slave.store.storedPosition === slave.store.endPosition)
  slave.kill()
  await master.start()
  await slave.start()
  master.lead(2, [master.member, slave.member])
  master.append('t', 0, 'another')
  slave.follow(2, 0)
  await bench.until('all is confirmed', () => master.confirmed === master.store.endPosition)
  t.true(slave.told.some((line) => line.startsWith('diverged')))
  t.deepEqual(slave.files, master.files)
})

test('replication: a slave whose place was removed from the log begins anew', async (t) => {
  const retention = { retentionMs: 1_000, checkMs: 500, expireRatio: 0 }
  const { bench, master, slave } = await pair(7, { segmentBytes: 2_000, retention })
  master.lead(1, [master.member])
  for (let i = 0; i < 100; i++) {
    master.append('t', 0, `message ${i}`.padEnd(100))
    await bench.advance(100)
  }
  await bench.until('something is removed', () => master.store.minPosition > 0)
  slave.follow(1, 0)
  await bench.until('it follows', () => isEqual(bench, master, slave))
  t.true(slave.told.some((line) => line.startsWith('gone')))
  t.true(slave.store.minPosition > 0)
  const own = master.logOnDisk(slave.store.minPosition, master.store.endPosition)
  t.true(slave.logOnDisk(slave.store.minPosition, slave.store.endPosition).equals(own))
})

test('replication: a slave that the log leaves behind while it follows begins anew', async (t) => {
  const retention = { retentionMs: 1_000, checkMs: 500, expireRatio: 0 }
  const { bench, master, slave } = await pair(
    8,
    { segmentBytes: 2_000, hotBytes: 4_000, retention },
    { windowBytes: 2_000, chunkBytes: 500 },
  )
  master.lead(1, [master.member])
  slave.follow(1, 0)
  await bench.until('it follows', () => isEqual(bench, master, slave))
  slave.process.pause()
  for (let i = 0; i < 200; i++) {
    master.append('t', 0, `message ${i}`.padEnd(100))
    await bench.advance(50)
  }
  await bench.until('something is removed', () => master.store.minPosition > slave.store.endPosition + 4_000)
  await slave.process.resume()
  await bench.until('it has everything', () => isEqual(bench, master, slave))
  t.true(slave.told.some((line) => line.startsWith('gone')))
  t.false(master.told.some((line) => line.startsWith('alarm')))
})
