/** The master's side, with slaves by hand: whom it lets follow, what it counts, and what it tells of them. */
import test from 'ava'
import type { ReplicationSettings } from '../../actors/broker/replication/context.ts'
import { Bench, type Replica, type Sizes } from './replication-bench.ts'
import { SlaveByHand } from './replication-hands.ts'

const member = (brokerId: number, lineage = 1) => ({ brokerId, lineage })

type Options = {
  replicas?: number
  sizes?: Sizes
  settings?: Partial<ReplicationSettings>
  members?: number[]
  minInSync?: number
}

/** Broker 0 leads in epoch 5; all others are by hand. */
async function lead({ replicas = 2, sizes, settings, members = [0, 1], minInSync = 1 }: Options = {}) {
  const bench = await Bench.start(1, replicas, sizes, settings)
  const master = bench.replicas[0]!
  bench.checkConfirmed = () => {}
  master.lead(
    5,
    members.map((id) => member(id)),
    minInSync,
  )
  await bench.advance(20)
  return { bench, master }
}

/** A slave by hand that follows and has everything. */
async function follower(bench: Bench, id = 1, request = {}) {
  const slave = new SlaveByHand(bench, id, 5, request)
  slave.answers = true
  await slave.follow()
  return slave
}
const end = (replica: Replica) => replica.store.endPosition
const countOf = (replica: Replica, line: string) => replica.told.filter((told) => told === line).length

test('followers: a request to follow acknowledges nothing', async (t) => {
  const { bench, master } = await lead()
  const slave = new SlaveByHand(bench, 1, 5)
  t.is(await slave.follow({ position: end(master), lastEpoch: 5 }), 'streaming')
  await bench.advance(300)
  t.is(master.confirmed, 0)
  await slave.acked(end(master))
  t.is(master.confirmed, end(master))
})

test('followers: an acknowledgement of another session, incarnation, lineage or epoch is not counted', async (t) => {
  const { bench, master } = await lead()
  const slave = new SlaveByHand(bench, 1, 5)
  await slave.follow()
  await bench.advance(200)
  const { session } = slave.request
  for (const more of [
    { session: session - 1 },
    { incarnation: 2 },
    { lineage: 2 },
    { epoch: 4 },
    { brokerId: 7 },
  ])
    await slave.acked(end(master), more)
  t.is(master.confirmed, 0)
  await slave.acked(end(master))
  t.is(master.confirmed, end(master))
})

test('followers: an acknowledgement of what was never sent is not counted, and is told', async (t) => {
  const { bench, master } = await lead()
  const slave = new SlaveByHand(bench, 1, 5)
  await slave.follow()
  await slave.acked(end(master) + 1)
  t.is(master.confirmed, 0)
  t.is(countOf(master, 'alarm ACKNOWLEDGEMENT_IMPOSSIBLE'), 1)
  await slave.acked(end(master), { echo: Number.NaN })
  t.is(master.confirmed, 0)
  await slave.acked(end(master), { unfinishedBytes: 1 })
  t.is(master.confirmed, 0)
})

test('followers: what a member with another lineage acknowledges does not count', async (t) => {
  const { bench, master } = await lead()
  const slave = await follower(bench, 1, { lineage: 2 })
  await bench.advance(300)
  t.true(slave.heads.length > 2)
  t.is(master.confirmed, 0)
})

test('followers: nothing is confirmed while fewer are in the set than must be', async (t) => {
  const { bench, master } = await lead({ replicas: 3, members: [0], minInSync: 2 })
  await follower(bench)
  await bench.advance(300)
  t.is(master.confirmed, 0)
  bench.count(master, [member(0), member(1)])
  t.is(master.confirmed, end(master))
})

test('followers: of a change that is under way both sets count', async (t) => {
  const { bench, master } = await lead({ replicas: 3 })
  const slave = await follower(bench)
  t.is(master.confirmed, end(master))
  const before = master.confirmed
  bench.count(master, [member(0), member(1)], [member(0), member(1), member(2)])
  master.append('t', 0, 'one')
  await bench.advance(200)
  t.is(slave.position, end(master))
  t.is(master.confirmed, before)
  bench.count(master, [member(0), member(1)])
  t.is(master.confirmed, end(master))
})

test('followers: copies of data folders and unknown replicas are refused', async (t) => {
  const { bench, master } = await lead({ replicas: 3 })
  await follower(bench, 2)
  const asks = (id: number, request = {}) => new SlaveByHand(bench, id, 5, request).follow()
  t.regex(await asks(1, { storeId: master.store.storeId }), /a copy of the master's: remove it/)
  t.regex(await asks(1, { storeId: 'store of 2' }), /a copy of that of a\/2: remove it/)
  t.regex(await asks(0), /is the master itself/)
  t.regex(await asks(3), /ids 0 to 2: 3 is none/)
  t.is(countOf(master, 'alarm FOLLOWER_REFUSED'), 1)
  t.is(await asks(1), 'streaming')
})

for (const [what, copy] of Object.entries({
  'with the same incarnation': { storeId: 'store of 1', incarnation: 1 },
  'with another store': { storeId: 'another', incarnation: 7 },
}))
  test(`followers: a second process ${what} is refused while the first one lives`, async (t) => {
    const { bench } = await lead()
    const first = await follower(bench)
    const second = new SlaveByHand(bench, 1, 5, copy)
    t.regex(await second.follow(), /asked whether it still lives/)
    await bench.advance(200)
    t.regex(await second.follow(), /and lives: one of the two data folders is a copy/)
    const before = first.heads.length
    await bench.advance(200)
    t.true(first.heads.length > before)
  })

test('followers: a second process takes the place of one that proves nothing', async (t) => {
  const { bench } = await lead()
  const first = await follower(bench)
  const second = new SlaveByHand(bench, 1, 5, { incarnation: 7, lineage: 2 })
  second.request.storeId = 'another'
  first.answers = false
  t.regex(await second.follow(), /asked whether it still lives/)
  // Said late, but heard early: no proof.
  await first.acked(first.position, { echo: first.heads[0]!.sentAt })
  await bench.advance(300)
  t.is(await second.follow(), 'streaming')
})

test('followers: a later start of the same replica takes its place at once', async (t) => {
  const { bench, master } = await lead()
  await follower(bench)
  const second = new SlaveByHand(bench, 1, 5, { incarnation: 2, storeId: 'store of 1' })
  t.is(await second.follow({ position: end(master), lastEpoch: 5 }), 'streaming')
})

test('followers: what an earlier start of a replica asked for comes late, and is nobody’s copy', async (t) => {
  const { bench, master } = await lead()
  const first = await follower(bench)
  const second = new SlaveByHand(bench, 1, 5, { incarnation: 2, storeId: 'store of 1' })
  second.answers = true
  await second.follow({ position: end(master), lastEpoch: 5 })
  const before = second.heads.length
  for (let i = 0; i < 4; i++) {
    t.is(await first.follow(), 'nothing')
    await bench.advance(200)
  }
  t.is(countOf(master, 'alarm FOLLOWER_REFUSED'), 0)
  t.true(second.heads.length > before)
  // The later one is heard no more.
  second.answers = false
  await bench.advance(1_000)
  t.regex(await first.follow(), /asked whether it still lives/)
})

test('followers: a request that a newer one of the same process has overtaken is not heard', async (t) => {
  const { bench, master } = await lead()
  const slave = await follower(bench)
  const { session } = slave.request
  const last = { position: end(master), lastEpoch: 5 }
  t.is(await slave.follow({ ...last, session: session - 1 }), 'nothing')
  t.is(await slave.follow({ ...last, session }), 'nothing')
  t.is(await slave.follow({ ...last, session: session + 1 }), 'streaming')
})

test('followers: a replica that comes back with less than it acknowledged is refused', async (t) => {
  const { bench, master } = await lead()
  const slave = await follower(bench)
  await bench.advance(200)
  t.is(master.confirmed, end(master))
  t.regex(await slave.follow({ incarnation: 2, position: 0 }), /its disk has lost what it had stored/)
  t.is(await slave.follow({ incarnation: 2, lineage: 2, position: 0 }), 'streaming')
  t.regex(await slave.follow({ incarnation: 3, lineage: 1, position: 0 }), /is an old copy/)
})

test('followers: no more is on its way than the window, whatever was appended', async (t) => {
  const { bench, master } = await lead({ settings: { windowBytes: 10_000, chunkBytes: 3_000 } })
  const slave = new SlaveByHand(bench, 1, 5)
  await slave.follow()
  for (let i = 0; i < 100; i++) master.append('t', 0, 'x'.repeat(900))
  await bench.advance(300)
  t.true(slave.position > 7_000 && slave.position <= 10_000, `${slave.position}`)
  await slave.acked(slave.position - 5_000)
  await bench.advance(100)
  t.true(slave.position > 11_000 && slave.position <= 15_000, `${slave.position}`)
})

// ------------------------------------------------------------------------------------------------- levels

test('followers: who has everything is told, again and again, and never before it has this epoch', async (t) => {
  const { bench, master } = await lead({ members: [0] })
  const slave = new SlaveByHand(bench, 1, 5, { incarnation: 3 })
  const told: unknown[][] = []
  bench.caughtUp = (_, ...what) => void told.push(what)
  await slave.follow()
  await bench.advance(300)
  t.deepEqual(told, [])
  slave.answers = true
  slave.behindBytes = 1
  await bench.advance(500)
  t.deepEqual(told, [])
  slave.behindBytes = 0
  await bench.advance(1_000)
  t.true(told.length >= 3 && told.length <= 6, `${told.length}`)
  t.is(countOf(master, 'lagging 1'), 0)
})

test('followers: a member that nobody hears is told after a while, again and again', async (t) => {
  const { bench, master } = await lead()
  const slave = await follower(bench)
  slave.servePings()
  await bench.advance(3_000)
  t.is(countOf(master, 'lagging 1'), 0)
  slave.answers = false
  await bench.advance(950)
  t.is(countOf(master, 'lagging 1'), 0)
  await bench.advance(1_000)
  const count = countOf(master, 'lagging 1')
  t.true(count >= 3 && count <= 6, `${count}`)
})

test('followers: one that is not heard is told nothing, until it is heard again or asks anew', async (t) => {
  const { bench, master } = await lead()
  const slave = await follower(bench)
  slave.servePings()
  await bench.advance(1_000)
  slave.answers = false
  await bench.advance(600)
  const heads = slave.heads.length
  master.append('t', 0, 'one')
  await bench.advance(5_000)
  t.is(slave.heads.length, heads)
  slave.answers = true
  await slave.acked(slave.position)
  t.is(slave.position, end(master))
  await bench.advance(1_000)
  t.true(slave.heads.length > heads + 5)
  t.is(master.confirmed, end(master))

  slave.answers = false
  await bench.advance(5_000)
  slave.answers = true
  t.is(await slave.follow({ position: end(master), lastEpoch: 5 }), 'streaming')
  master.append('t', 0, 'two')
  await bench.advance(200)
  t.is(master.confirmed, end(master))
})

test('followers: a member that never came is told', async (t) => {
  const { bench, master } = await lead()
  await bench.advance(1_300)
  t.true(countOf(master, 'lagging 1') > 0)
})

test('followers: a member whose process is gone is told sooner', async (t) => {
  const { bench, master } = await lead()
  const slave = await follower(bench)
  await bench.advance(1_000)
  slave.answers = false
  await bench.advance(750)
  t.true(countOf(master, 'lagging 1') > 0)
})

test('followers: one that falls behind is told, one that is always a batch behind is not', async (t) => {
  const { bench, master } = await lead({ replicas: 3, settings: { lagMs: 1_000 }, members: [0, 1, 2] })
  const [near, slow] = [await follower(bench, 1), await follower(bench, 2)]
  near.answers = slow.answers = false
  for (let i = 0; i < 250; i++) {
    master.append('t', 0, 'x'.repeat(500))
    near.ack(Math.max(0, near.position - 600))
    slow.ack(Math.min(slow.position, 600 + i * 100))
    await bench.advance(10)
  }
  t.is(countOf(master, 'lagging 1'), 0)
  t.true(countOf(master, 'lagging 2') > 0)
})

for (const [lateMs, lags] of [
  [700, false],
  [1_300, true],
] as const)
  test(`followers: one that is always ${lateMs} ms behind ${lags ? 'lags' : 'does not lag'} when 1,000 are allowed`, async (t) => {
    const { bench, master } = await lead({ settings: { lagMs: 1_000 } })
    const slave = await follower(bench)
    await bench.advance(200)
    slave.answers = false
    const positions: number[] = []
    let before = 0
    for (let i = 0; i < 500; i++) {
      master.append('t', 0, 'x'.repeat(500))
      positions.push(slave.position)
      slave.ack(positions[Math.max(0, i - lateMs / 10)]!)
      await bench.advance(10)
      if (i === 250) before = countOf(master, 'lagging 1')
    }
    const told = countOf(master, 'lagging 1') - before
    if (lags) t.true(told >= 10, `${told}`)
    else t.is(told, 0)
  })

test('followers: what does not count is no sign of life either', async (t) => {
  const { bench, master } = await lead()
  const slave = await follower(bench)
  slave.servePings()
  slave.answers = false
  for (let i = 0; i < 65; i++) {
    slave.ack(slave.position, { epoch: 4 })
    slave.ack(slave.position, { session: slave.request.session + 1 })
    await bench.advance(20)
  }
  t.true(countOf(master, 'lagging 1') > 0)
})

test('followers: a member whose disk is full is told at once, and NEVER that it has caught up BEFORE it has room', async (t) => {
  const { bench, master } = await lead()
  const slave = await follower(bench)
  await bench.advance(1_000)
  slave.answers = false
  await slave.acked(end(master), { isFull: true })
  t.is(countOf(master, 'lagging 1'), 1)
  t.is(master.followers!.incarnationOf(1), null, 'it can take over from nobody')

  bench.count(master, [member(0)])
  const caughtUp = countOf(master, 'caughtUp 1')
  await slave.follow({ position: end(master), lastEpoch: 5 })
  for (let i = 0; i < 20; i++) {
    await slave.acked(end(master), { isFull: true })
    await bench.advance(100)
  }
  t.is(countOf(master, 'caughtUp 1'), caughtUp)
  t.is(countOf(master, 'lagging 1'), 1, 'it is no member')
  await slave.acked(end(master))
  t.is(countOf(master, 'caughtUp 1'), caughtUp + 1)
})

test('followers: the time in which the master itself stood still is nobody else`s silence', async (t) => {
  const { bench, master } = await lead()
  const slave = await follower(bench)
  await bench.advance(500)
  slave.answers = false
  master.append('t', 0, 'one')
  await bench.advance(150)
  // What it says meanwhile is old when it is heard, and more was appended before that.
  master.process.world.clock.setTimeout(() => master.append('t', 0, 'two'), 1)
  master.process.pause()
  slave.ack(slave.position)
  slave.answers = true
  await bench.advance(10_000)
  await master.process.resume()
  t.true(master.followers!.describe()[0]!.lagMs < 1_000)
  await bench.advance(900)
  t.is(countOf(master, 'lagging 1'), 0)
})

test('followers: drained is told once, when the successor has stored all and all is confirmed', async (t) => {
  const { bench, master } = await lead({ replicas: 3, members: [0, 1, 2] })
  const [first, second] = [await follower(bench, 1), await follower(bench, 2)]
  await bench.advance(200)
  second.behindBytes = 1
  master.append('t', 0, 'one')
  master.followers!.drainFor(1)
  await bench.advance(300)
  t.is(first.position, end(master))
  t.is(countOf(master, 'drained 1'), 0)
  second.behindBytes = 0
  await bench.advance(300)
  t.is(countOf(master, 'drained 1'), 1)
  master.followers!.drainFor(2)
  t.is(countOf(master, 'drained 2'), 1)
  first.answers = false
  master.append('t', 0, 'two')
  master.followers!.drainFor(1)
  master.followers!.drainFor(null)
  first.answers = true
  await bench.advance(300)
  t.is(countOf(master, 'drained 1'), 1)
})

test('followers: what it tells of them', async (t) => {
  const { bench, master } = await lead({ replicas: 3 })
  const slave = await follower(bench)
  await bench.advance(200)
  slave.answers = false
  const before = end(master)
  master.append('t', 0, 'one')
  await bench.advance(500)
  const [view, ...none] = master.followers!.describe()
  t.deepEqual(none, [])
  const { lagMs, ...rest } = view!
  t.deepEqual(rest, { brokerId: 1, position: before, lagBytes: end(master) - before, inSync: true })
  t.true(lagMs >= 500 && lagMs < 700, `${lagMs}`)
})

test('followers: AFTER close nothing is served, sent, told or waited for', async (t) => {
  const { bench, master } = await lead({ members: [0] })
  const slave = await follower(bench)
  t.is(master.store.flush, 'sync')
  await bench.advance(300)
  master.followers!.close()
  const told = master.told.length
  const { confirmed } = master
  const heads = slave.heads.length
  master.append('t', 0, 'one')
  await slave.acked(slave.position)
  await bench.advance(3_000)
  t.is(slave.heads.length, heads)
  t.is(master.told.length, told)
  t.is(master.confirmed, confirmed)
  t.is(await slave.follow(), 'nothing')
  t.is(master.store.flush, 'async')
})

// ------------------------------------------------------------------------------------------------- on one disk

for (const [what, sets] of Object.entries({
  'in the set': [[member(0)], null],
  'in the set that is proposed': [[member(0), member(1)], [member(0)]],
  'in the set that is to grow': [[member(0)], [member(0), member(1)]],
} as const))
  test(`followers: a master that is alone ${what} confirms only what survives a power cut`, async (t) => {
    const { bench, master } = await lead({ sizes: { flush: 'async', flushIntervalMs: 60_000 } })
    await follower(bench)
    const [members, pending] = sets
    bench.count(master, members, pending)
    t.is(master.store.flush, 'sync')
    master.slowMs = 30
    for (let i = 0; i < 20; i++) {
      master.append('t', 0, `message ${i}`)
      await bench.advance(10)
    }
    await bench.until('some of it is confirmed', () => master.confirmed > 1_000)
    master.append('t', 0, 'the last one')
    await bench.advance(5)
    const { confirmed } = master
    master.kill({ losesUnsynced: true })
    t.true(master.logOnDisk(0, confirmed).length === confirmed)
  })

test('followers: a master that has others in its set syncs as it was told to', async (t) => {
  const { bench, master } = await lead({ sizes: { flush: 'async' } })
  t.is(master.store.flush, 'async')
  bench.count(master, [member(0)])
  t.is(master.store.flush, 'sync')
  bench.count(master, [member(0), member(1)])
  t.is(master.store.flush, 'async')
})

test('followers: what was stored and not synced does not count for a master that becomes alone', async (t) => {
  const { bench, master } = await lead({ sizes: { flush: 'async', flushIntervalMs: 60_000 } })
  master.slowMs = 30
  master.append('t', 0, 'one')
  await bench.until('it is stored', () => master.store.storedPosition === end(master))
  t.true(master.store.syncedPosition < end(master))
  bench.count(master, [member(0)])
  t.true(master.confirmed <= master.store.syncedPosition)
  await bench.until('it is synced', () => master.confirmed === end(master))
})

// ------------------------------------------------------------------------------------------------- async

const async_ = { replication: 'async' as const, maxLagBytes: 2_000 }

test('followers: with sync replication, what may be answered is what is confirmed', async (t) => {
  const { bench, master } = await lead()
  const slave = await follower(bench)
  slave.behindBytes = 10
  master.append('t', 0, 'one')
  await bench.advance(300)
  t.is(master.answerable, end(master) - 10)
  t.is(master.confirmed, end(master) - 10)
})

test('followers: with async replication it is answered ahead of the slowest member, AT MOST so far', async (t) => {
  const { bench, master } = await lead({ replicas: 3, settings: async_, members: [0, 1, 2] })
  const [, slow] = [await follower(bench, 1), await follower(bench, 2)]
  await bench.advance(200)
  const acknowledged = end(master)
  slow.answers = false
  for (let i = 0; i < 40; i++) {
    master.append('t', 0, 'x'.repeat(100))
    slow.ack(acknowledged)
    await bench.advance(10)
    t.true(master.answerable <= acknowledged + 2_000)
    if (i === 3) t.is(master.answerable, master.store.storedPosition)
  }
  t.is(master.answerable, acknowledged + 2_000)
  t.is(master.confirmed, acknowledged)
})

test('followers: with async replication nothing is answered once a member holds the lease no more', async (t) => {
  const { bench, master } = await lead({ settings: { ...async_, maxLagBytes: 50_000, leaseMs: 400 } })
  const slave = await follower(bench)
  await bench.advance(200)
  slave.answers = false
  const echo = slave.heads.at(-1)!.sentAt
  let last = 0
  for (let i = 0; i < 60; i++) {
    master.append('t', 0, 'x')
    const before = master.answerable
    // It speaks all the time, of what it heard before: that is no lease.
    slave.ack(slave.request.position, { echo })
    await bench.advance(10)
    if (master.answerable > before) last = bench.world.clock.monotonic()
  }
  t.true(last > echo + 300, 'it goes on for the time of the lease')
  t.true(last < echo + 400 + 10)
  slave.answers = true
  await bench.advance(200)
  t.is(master.answerable, master.store.storedPosition)
})

test('followers: with async replication a member that was not heard of yet holds no lease', async (t) => {
  const { bench, master } = await lead({ settings: async_ })
  master.append('t', 0, 'x')
  await bench.advance(100)
  t.is(master.answerable, 0)
  const slave = new SlaveByHand(bench, 1, 5)
  await slave.follow()
  await bench.advance(100)
  t.is(master.answerable, 0)
  await slave.acked(0)
  t.is(master.answerable, master.store.storedPosition)
})

test('followers: with async replication, too few in the set is too few', async (t) => {
  const { bench, master } = await lead({ replicas: 3, settings: async_, members: [0], minInSync: 2 })
  await bench.advance(200)
  t.is(master.answerable, 0)
})
