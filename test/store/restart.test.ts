/**
 * What a store knows after a restart: how much was confirmed, and whether something may be lost.
 */
import test from 'ava'
import { sealedText } from '../../actors/broker/store/checkpoint.ts'
import { stateFrames } from '../../actors/broker/store/state.ts'
import { frameOf, kinds, stampFrame } from '../../transport/frames.ts'
import { homes, type Machine, messages, type Running, real, simulated } from './support.ts'

const texts = (count: number, prefix = 'm') => Array.from({ length: count }, (_, i) => `${prefix}${i}`)
const tiny = { segmentBytes: 1_000, hotBytes: 0 }
const replicated = { ...tiny, replicated: true }

/** Lets the store note what it knows. */
async function noted(machine: Machine): Promise<void> {
  for (let i = 0; i < 3; i++) {
    machine.clock.advance(500)
    for (let turns = 0; turns < 10; turns++) await machine.until(Promise.resolve())
  }
}

type Noted = { synced: number; confirmed: number; flush: string; closed: boolean }
async function checkpoint(machine: Machine): Promise<Noted> {
  return JSON.parse(String(await machine.read(`${machine.folder}/checkpoint`)).split('\n')[0]!)
}

for (const home of homes) {
  test(`${home.name}: after a restart readers see what was confirmed, wherever in the log that ends`, async (t) => {
    const machine = await home.machine(t)
    let running = await machine.start(replicated)
    const ends: number[] = []
    for (const [i, text] of texts(40).entries()) {
      await running.send('a', 0, text)
      if (i % 3 === 0) await running.send('b', 0, text)
      ends.push(running.store.endPosition)
    }
    t.is(running.store.confirmPosition, 0)
    t.deepEqual(running.bounds('a', 0), { minOffset: 0, maxOffset: 0 })
    t.true((await machine.list('log')).length > 4)
    for (const [i, confirmed] of ends.entries()) {
      running.store.confirmLimit = confirmed
      if (i % 2 === 0) await noted(machine)
      if (i % 3 === 0) await running.close()
      else {
        // On the real disk the note may still be under way.
        while (i % 2 === 0 && (await checkpoint(machine)).confirmed < confirmed) await noted(machine)
        await machine.kill()
      }
      running = await machine.start(replicated)
      const limit = running.store.confirmLimit
      t.is(running.store.confirmPosition, limit)
      t.is(running.store.endPosition, ends.at(-1)!)
      if (i % 2 === 0 || i % 3 === 0) t.is(limit, confirmed)
      else t.true(limit <= confirmed)
      const seen = ends.filter((end) => end <= limit).length
      t.deepEqual(running.bounds('a', 0), { minOffset: 0, maxOffset: seen })
      t.is(running.bounds('b', 0).maxOffset, Math.ceil(seen / 3))
      t.deepEqual(await running.all('a', 0), texts(seen))
      t.is(await running.byTime('a', 0, machine.clock.now() + 1), seen)
      // It rises past the ends of segments whose parts are let go of on the way.
      if (i % 5 === 0)
        for (const [next, end] of ends.entries()) {
          if (end < confirmed || next % 4 > 0) continue
          running.store.confirmLimit = end
          for (let turns = 0; turns < 5; turns++) await machine.until(Promise.resolve())
          t.is(running.bounds('a', 0).maxOffset, next + 1)
          t.deepEqual(await running.all('a', 0), texts(next + 1))
        }
      if (i % 5 === 0) {
        await machine.kill()
        await machine.write(
          `${machine.folder}/checkpoint`,
          sealedText({ ...(await checkpoint(machine)), confirmed: limit }),
        )
        running = await machine.start(replicated)
      }
    }
    await running.close()
    t.deepEqual(machine.warnings, [])
  })

  test(`${home.name}: segments that were not confirmed at a start may leave when they are`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start(replicated)
    for (const text of texts(40)) await running.send('a', 0, text)
    await running.close()
    const again = await machine.start(replicated)
    const before = await machine.list('log')
    machine.usedRatio = 0.95
    await machine.checked()
    t.deepEqual(await machine.list('log'), before)
    again.store.confirmLimit = again.store.endPosition
    while ((await machine.list('log')).length > 1) await machine.checked()
    t.is((await again.all('a', 0)).at(-1), 'm39')
    await again.close()
  })

  test(`${home.name}: without a checkpoint nothing is shown until more than what was read is confirmed`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start(replicated)
    const ends: number[] = []
    for (const text of texts(40)) {
      await running.send('a', 0, text)
      ends.push(running.store.endPosition)
    }
    running.store.confirmLimit = ends.at(-1)!
    await running.close()
    await machine.remove(`${machine.folder}/checkpoint`)
    const again = await machine.start(replicated)
    t.true(again.store.mayHaveLost)
    const last = Number((await machine.list('log')).at(-1)!.slice(0, 20))
    for (const [i, end] of [0, ...ends].entries()) {
      again.store.confirmLimit = end
      t.is(again.bounds('a', 0).maxOffset, end < last ? 0 : i)
      t.deepEqual(await again.all('a', 0), end < last ? [] : texts(i))
    }
    await again.close()
  })

  test(`${home.name}: a store that is not replicated shows all it has stored, and hands that on to one that is`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start(tiny)
    for (const text of texts(20)) await running.send('a', 0, text)
    await running.close()
    const again = await machine.start(replicated)
    t.deepEqual(await again.all('a', 0), texts(20))
    await again.close()
  })

  test(`${home.name}: a store of before there were replicas opens, and its epochs are known from its last segment on`, async (t) => {
    const machine = await home.machine(t)
    const stamped = (frame: Buffer, epoch: number, offset = 0) => {
      stampFrame(frame, 0, epoch, offset, 1_000)
      return frame
    }
    const state = (next: number) =>
      stateFrames({ queues: { a: [0, next, 0] }, lastTime: 0, derived: { n: 1 } }, 1)[0]!
    const log = [
      Buffer.concat([
        stamped(state(0), 1),
        stamped(messages('a', 0, 'x'), 1, 0),
        stamped(messages('a', 0, 'y'), 2, 1),
      ]),
      Buffer.concat([stamped(state(2), 3), stamped(frameOf(kinds.epoch, Buffer.from('{}'), 1), 5)]),
    ]
    await machine.write(machine.segment(), log[0]!)
    await machine.write(machine.segment(log[0]!.length), log[1]!)
    const end = log[0]!.length + log[1]!.length
    await machine.write(`${machine.folder}/checkpoint`, sealedText({ synced: end, bootId: null }))
    const running = await machine.start({ replicated: true })
    const second = log[0]!.length
    const fifth = second + state(2).length
    t.deepEqual(running.store.epochStarts, [
      { epoch: 3, start: second },
      { epoch: 5, start: fifth },
    ])
    t.deepEqual(running.store.lineage.end, end)
    t.deepEqual(running.owner.restored, { n: 1 })
    t.deepEqual(await running.all('a', 0), ['x', 'y'])
    await running.close()
  })
}

/** What stands on disk, and how the store fares with it. */
type Case = {
  readonly flush?: 'sync' | 'async'
  readonly ends: 'closed' | 'killed' | 'power cut'
  readonly loses?: 'statemq.json' | 'checkpoint' | 'both'
  readonly confirmedBeyond?: true
  readonly expected: boolean
}
const cases: readonly Case[] = [
  { ends: 'closed', expected: false },
  { ends: 'killed', expected: false },
  { ends: 'power cut', expected: true },
  { flush: 'sync', ends: 'closed', expected: false },
  { flush: 'sync', ends: 'killed', expected: false },
  { flush: 'sync', ends: 'power cut', expected: false },
  { ends: 'closed', loses: 'statemq.json', expected: true },
  { ends: 'closed', loses: 'checkpoint', expected: true },
  { ends: 'killed', loses: 'both', expected: true },
  { flush: 'sync', ends: 'closed', loses: 'both', expected: true },
  { flush: 'sync', ends: 'killed', confirmedBeyond: true, expected: true },
]
for (const { flush = 'async', ends, loses, confirmedBeyond, expected } of cases)
  for (const hasLog of [true, false]) {
    // The log of a new store that loses all its files is that of a new store.
    const isExpected = expected && (hasLog || (loses !== 'both' && loses !== 'statemq.json'))
    const how = `flush ${flush}, ${hasLog ? 'a log' : 'no log'}, ${ends}${loses ? `, ${loses} is gone` : ''}`
    const title = `${how}${confirmedBeyond ? ', more was confirmed than there is' : ''}`
    test(`simulated disk: a restart ${isExpected ? 'may have' : 'has NEVER'} lost something: ${title}`, async (t) => {
      const machine = await simulated.machine(t)
      const running = await machine.start({ flush })
      t.false(running.store.mayHaveLost)
      if (hasLog) await running.send('a', 0, 'x')
      if (ends === 'closed') await running.close()
      else await machine.kill({ losesUnsynced: ends === 'power cut' })
      if (loses !== 'checkpoint' && loses !== undefined)
        await machine.remove(`${machine.folder}/statemq.json`)
      if (loses !== 'statemq.json' && loses !== undefined)
        await machine.remove(`${machine.folder}/checkpoint`)
      if (confirmedBeyond) {
        const known = await checkpoint(machine)
        await machine.write(`${machine.folder}/checkpoint`, sealedText({ ...known, confirmed: 9_000 }))
      }
      let again = await machine.start({ flush })
      t.is(again.store.mayHaveLost, isExpected)
      // It is said until the owner has noted it, whatever happens meanwhile.
      await machine.kill()
      again = await machine.start({ flush })
      t.is(again.store.mayHaveLost, isExpected)
      await again.close()
      again = await machine.start({ flush })
      t.is(again.store.mayHaveLost, isExpected)
      again.store.forgetLoss()
      t.false(again.store.mayHaveLost)
      await noted(machine)
      await machine.kill()
      again = await machine.start({ flush })
      t.false(again.store.mayHaveLost)
      await again.close()
    })
  }

test('simulated disk: an owner that was killed before it noted a loss is told again', async (t) => {
  const machine = await simulated.machine(t)
  await machine.start()
  await machine.kill({ losesUnsynced: true })
  const running = await machine.start()
  running.store.forgetLoss()
  await machine.kill()
  t.true((await machine.start()).store.mayHaveLost)
})

test('simulated disk: that a store was closed once is no comfort when it loses power later', async (t) => {
  const machine = await simulated.machine(t)
  await (await machine.start()).close()
  const running = await machine.start()
  t.false(running.store.mayHaveLost)
  await running.send('a', 0, 'x')
  await machine.kill({ losesUnsynced: true })
  t.true((await machine.start()).store.mayHaveLost)
})

test('simulated disk: a torn end that never counted as stored is no loss', async (t) => {
  const machine = await simulated.machine(t)
  const running = await machine.start({ flush: 'sync' })
  await running.send('a', 0, 'x')
  machine.latencyMs = (operation) => (operation === 'write' ? 5 : 0)
  running.append('a', 0, 'y'.repeat(5_000))
  machine.clock.settle()
  await machine.kill()
  machine.latencyMs = () => 0
  const again = await machine.start({ flush: 'sync' })
  t.false(again.store.mayHaveLost)
  t.deepEqual(await again.all('a', 0), ['x'])
})

test("simulated disk: flush set to 'sync' syncs at once, and from then on NOTHING unsynced counts as stored", async (t) => {
  const machine = await simulated.machine(t)
  const running = await machine.start({ flush: 'async', flushIntervalMs: 1_000_000 })
  const { store, owner } = running
  await running.send('a', 0, 'x')
  const first = store.storedPosition
  t.is(store.syncedPosition, 0)
  machine.latencyMs = (operation) => (operation === 'sync' ? 10 : 0)
  store.flush = 'sync'
  t.is(store.flush, 'sync')
  machine.clock.advance(9)
  t.is(store.syncedPosition, 0)
  t.is(store.storedPosition, first, 'what counted goes on counting')
  owner.told.length = 0
  machine.clock.advance(1)
  t.is(store.syncedPosition, first)
  t.deepEqual(owner.told, [`stored ${first}`])
  t.is((await checkpoint(machine)).flush, 'sync')

  running.append('a', 0, 'y')
  machine.clock.advance(9)
  t.is(store.storedPosition, first)
  machine.clock.advance(1)
  t.is(store.storedPosition, store.endPosition)
  t.is(store.syncedPosition, store.endPosition)
})

test("simulated disk: flush set to 'sync' while a write is under way counts it when it is synced", async (t) => {
  const machine = await simulated.machine(t)
  const running = await machine.start({ flushIntervalMs: 1_000_000 })
  await running.send('a', 0, 'x')
  const before = running.store.storedPosition
  machine.latencyMs = (operation) => ({ write: 10, sync: 10 })[operation as string] ?? 0
  running.append('a', 0, 'y')
  machine.clock.advance(5)
  running.store.flush = 'sync'
  machine.clock.advance(10)
  t.is(running.store.storedPosition, before)
  machine.clock.advance(5)
  t.is(running.store.storedPosition, running.store.endPosition)
  t.is(running.store.syncedPosition, running.store.endPosition)
  t.is((await checkpoint(machine)).flush, 'sync')
})

test("simulated disk: flush set to 'async' takes effect AFTER it is noted", async (t) => {
  const machine = await simulated.machine(t)
  const running = await machine.start({ flush: 'sync' })
  await running.send('a', 0, 'x')
  machine.latencyMs = (operation) => ({ replaceFile: 100, sync: 30 })[operation as string] ?? 0
  running.store.flush = 'async'
  running.append('a', 0, 'y')
  machine.clock.advance(29)
  t.true(running.store.storedPosition < running.store.endPosition)
  machine.clock.advance(1)
  t.is(running.store.storedPosition, running.store.endPosition)
  machine.clock.advance(70)
  running.append('a', 0, 'z')
  machine.clock.settle()
  machine.clock.settle()
  t.is(running.store.storedPosition, running.store.endPosition)
  t.true(running.store.syncedPosition < running.store.endPosition)
  await machine.kill({ losesUnsynced: true })
  machine.latencyMs = () => 0
  t.true((await machine.start({ flush: 'sync' })).store.mayHaveLost)
})

test("simulated disk: flush 'sync' is noted AFTER all that counts is synced, not just a part of it", async (t) => {
  const machine = await simulated.machine(t)
  const running = await machine.start({ flushIntervalMs: 100 })
  const { store } = running
  await running.send('a', 0, 'x')
  machine.latencyMs = (operation) => ({ write: 10, sync: 50 })[operation as string] ?? 0
  machine.clock.advance(100)
  running.append('a', 0, 'counts while the sync is under way')
  machine.clock.advance(10)
  const stored = store.storedPosition
  t.is(stored, store.endPosition)
  machine.clock.advance(35)
  running.append('a', 0, 'is being written when the sync ends')
  machine.clock.settle()
  store.flush = 'sync'
  machine.clock.advance(7)
  t.true(store.syncedPosition > 0 && store.syncedPosition < stored)
  t.is((await checkpoint(machine)).flush, 'async')
  machine.clock.advance(60)
  t.is(store.syncedPosition, store.endPosition)
  t.is((await checkpoint(machine)).flush, 'sync')
})

test("simulated disk: flush 'sync' waits for no timer when a sync that is under way does not reach far enough", async (t) => {
  const machine = await simulated.machine(t)
  const running = await machine.start({ flushIntervalMs: 100 })
  await running.send('a', 0, 'x')
  machine.latencyMs = (operation) => (operation === 'sync' ? 50 : 0)
  machine.clock.advance(110)
  running.append('a', 0, 'y')
  machine.clock.advance(10)
  running.store.flush = 'sync'
  machine.clock.advance(30)
  t.true(running.store.syncedPosition < running.store.storedPosition)
  machine.clock.advance(50)
  t.is(running.store.syncedPosition, running.store.endPosition)
})

test("simulated disk: while 'sync' is being noted, 'async' does not take effect", async (t) => {
  const machine = await simulated.machine(t)
  const running = await machine.start({ flushIntervalMs: 1_000 })
  const { store } = running
  machine.latencyMs = (operation) => ({ replaceFile: 100, sync: 20 })[operation as string] ?? 0
  store.flush = 'sync'
  machine.clock.advance(50)
  store.flush = 'async'
  running.append('a', 0, 'x')
  machine.clock.advance(19)
  t.true(store.storedPosition < store.endPosition)
  machine.clock.advance(1)
  t.is(store.storedPosition, store.endPosition)
  machine.clock.advance(2_000)
  t.is((await checkpoint(machine)).flush, 'async')
  running.append('a', 0, 'y')
  machine.clock.advance(1)
  t.is(store.storedPosition, store.endPosition)
  t.true(store.syncedPosition < store.endPosition)
})

for (let seed = 1; seed <= 30; seed++)
  test(`simulated disk: whatever the flush was set to, a power cut that loses something is known, seed ${seed}`, async (t) => {
    const machine = await simulated.machine(t, seed)
    const { random } = machine
    machine.latencyMs = (operation) =>
      ['write', 'sync', 'replaceFile'].includes(operation) ? random.below(20) : 0
    let known = 0
    let losses = 0
    for (let round = 0; round < 15; round++) {
      machine.latencyMs = () => 0
      const running: Running = await machine.start({ flush: random.below(2) === 0 ? 'sync' : 'async' })
      const isLost = running.store.endPosition < known
      if (isLost) losses++
      if (isLost) t.true(running.store.mayHaveLost, `${running.store.endPosition} of ${known}`)
      running.store.forgetLoss()
      await noted(machine)
      machine.latencyMs = (operation) =>
        ['write', 'sync', 'replaceFile'].includes(operation) ? random.below(20) : 0
      for (let step = 0; step < 10; step++) {
        const dice = random.below(10)
        if (dice < 5) running.append('a', 0, 'x'.repeat(random.below(2_000)))
        else if (dice < 7) running.store.flush = dice === 5 ? 'sync' : 'async'
        machine.clock.advance(random.below(50))
        await machine.until(Promise.resolve())
      }
      known = running.owner.storedPosition || running.store.storedPosition
      await machine.kill({ losesUnsynced: true })
    }
    t.log(`${losses} losses`)
  })

test("real disk: flush may be set while messages come, and all that is stored with 'sync' is synced", async (t) => {
  const machine = await real.machine(t)
  const running = await machine.start({ flushIntervalMs: 1_000_000, segmentBytes: 2_000 })
  for (const [i, text] of texts(60).entries()) {
    if (i % 10 === 0) running.store.flush = i % 20 === 0 ? 'sync' : 'async'
    await running.send('a', 0, text)
    if (running.store.flush === 'sync') t.is(running.store.syncedPosition, running.store.storedPosition)
  }
  running.store.flush = 'sync'
  await machine.eventually(() => running.store.syncedPosition === running.store.endPosition)
  t.deepEqual(await running.all('a', 0), texts(60))
  await running.close()
})
