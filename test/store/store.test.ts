import test from 'ava'
import { verifyLog } from '../support/verify-log.ts'
import { homes, messages, simulated, valueIn } from './support.ts'

/** So small that a few messages fill a segment, and nothing stays in memory. */
const tiny = { segmentBytes: 2_000, hotBytes: 0 }
const texts = (count: number, prefix = 'm') => Array.from({ length: count }, (_, i) => `${prefix}${i}`)

for (const home of homes) {
  test(`${home.name}: what was stored is read again, in order, by queue`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start()
    t.is(running.append('orders', 0, 'a', 'b'), 0)
    t.is(running.append('orders', 1, 'x'), 0)
    t.is(await running.send('orders', 0, 'c'), 2)
    t.deepEqual(await running.all('orders', 0), ['a', 'b', 'c'])
    t.deepEqual(await running.all('orders', 0, 1), ['b', 'c'])
    t.deepEqual(await running.all('orders', 1), ['x'])
    t.deepEqual(running.bounds('orders', 0), { minOffset: 0, maxOffset: 3 })
    await running.close()
  })

  test(`${home.name}: a restart finds all messages and goes on at the next offset`, async (t) => {
    const machine = await home.machine(t)
    for (const round of [0, 1, 2]) {
      const running = await machine.start()
      t.is(await running.send('orders', 7, `round ${round}`), round)
      t.deepEqual(
        await running.all('orders', 7),
        [0, 1, 2].slice(0, round + 1).map((n) => `round ${n}`),
      )
      await running.close()
    }
    t.deepEqual(machine.warnings, [])
  })

  test(`${home.name}: many small segments read like one log, before and after a restart`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start(tiny)
    for (const text of texts(200)) {
      running.append('orders', 0, text)
      if (text.endsWith('3')) running.append('orders', 1, text)
      await running.stored()
    }
    t.true((await machine.list('log')).length > 5)
    const seldom = texts(200).filter((text) => text.endsWith('3'))
    t.deepEqual(await running.all('orders', 0), texts(200))
    t.deepEqual(await running.all('orders', 1, 0, 100), seldom)
    await running.close()

    const again = await machine.start(tiny)
    t.deepEqual(await again.all('orders', 1), seldom)
    t.deepEqual(await again.all('orders', 0, 0, 300), texts(200))
    await again.close()
    const report = valueIn(await machine.until(verifyLog(machine.disk, machine.folder)))
    t.deepEqual(report.faults, [])
    t.is(report.messages, 220)
    t.deepEqual(machine.warnings, [])
  })

  test(`${home.name}: the owner's state survives old segments and is replayed once`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start(tiny)
    for (const text of texts(60)) {
      running.note('offsets of a group')
      await running.send('orders', 0, text)
    }
    await running.close()
    const again = await machine.start(tiny)
    t.deepEqual(again.owner.state, { 'offsets of a group': 60 })
    t.true(again.owner.replayed < 60)
    await again.close()
  })

  test(`${home.name}: every derived file may be deleted`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start(tiny)
    for (const text of texts(100)) await running.send('orders', 0, text)
    await running.close()
    for (const path of ['consume-queue', 'checkpoint', 'statemq.json', 'lock'])
      await machine.remove(`${machine.folder}/${path}`)
    const again = await machine.start(tiny)
    t.deepEqual(await again.all('orders', 0), texts(100))
    t.true(machine.warnings.some((line) => line.includes('made again from its segment')))
    machine.warnings.length = 0
    t.deepEqual(await again.all('orders', 0), texts(100))
    t.deepEqual(machine.warnings, [])
    await again.close()
  })

  test(`${home.name}: a damaged index is made again, whatever byte is damaged`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start({ ...tiny, segmentBytes: 1_000 })
    for (const text of texts(20)) await running.send('orders', 0, text)
    await running.close()
    const path = `${machine.folder}/consume-queue/${(await machine.list('consume-queue'))[0]}`
    const sound = await machine.read(path)
    const step = home === simulated ? 1 : 13
    for (let at = 0; at < sound.length; at += step) {
      const bytes = Buffer.from(sound)
      bytes[at]! ^= 4
      await machine.write(path, bytes)
      const again = await machine.start({ ...tiny, segmentBytes: 1_000 })
      t.deepEqual(await again.all('orders', 0), texts(20), `byte ${at}`)
      await again.close()
      t.deepEqual(await machine.read(path), sound, `byte ${at}`)
    }
  })

  test(`${home.name}: frames of four MiB are stored and read`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start({ segmentBytes: 10_000_000, hotBytes: 0 })
    const huge = Array.from({ length: 4 }, (_, i) => Buffer.alloc(4 * 1024 * 1024, `huge ${i} `))
    for (const body of huge) {
      running.append('orders', 0, body)
      running.append('orders', 1, 'small')
    }
    await running.stored()
    const expected = huge.map(String)
    t.true((await running.all('orders', 0)).every((body, i) => body === expected[i]))
    t.is((await running.all('orders', 1)).length, 4)
    await running.close()
    const again = await machine.start({ segmentBytes: 10_000_000, hotBytes: 0 })
    t.true((await again.all('orders', 0)).every((body, i) => body === expected[i]))
    await again.close()
  })

  test(`${home.name}: ten thousand queues keep their messages apart`, async (t) => {
    const machine = await home.machine(t)
    const sizes = { segmentBytes: 1_500_000, hotBytes: 0 }
    const running = await machine.start(sizes)
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 10_000; i++)
        running.append(`topic-${i % 100}`, Math.floor(i / 100), `${round}:${i}`)
      await running.stored()
    }
    await running.close()
    const again = await machine.start(sizes)
    for (let i = 0; i < 10_000; i += 97)
      t.deepEqual(await again.all(`topic-${i % 100}`, Math.floor(i / 100)), [`0:${i}`, `1:${i}`, `2:${i}`])
    await again.close()
    t.is((await machine.list('consume-queue')).length, (await machine.list('log')).length - 1)
  })

  test(`${home.name}: readers that read while messages come miss none and see none twice`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start({ segmentBytes: 20_000, hotBytes: 4_000 })
    const readers = Array.from({ length: 4 }, (_, queueId) => ({ queueId, offset: 0, heard: [] as string[] }))
    for (let round = 0; round < 100; round++) {
      for (let queueId = 0; queueId < 4; queueId++) running.append('orders', queueId, `${round}`, `${round}+`)
      const due = readers.filter(({ queueId }) => (round + queueId) % 3 === 0)
      for (const reader of due) {
        const bodies = await running.all('orders', reader.queueId, reader.offset, 500)
        reader.heard.push(...bodies)
        reader.offset += bodies.length
      }
    }
    await running.stored()
    for (const reader of readers) {
      reader.heard.push(...(await running.all('orders', reader.queueId, reader.offset)))
      t.deepEqual(
        reader.heard,
        texts(100, '').flatMap((n) => [n, `${n}+`]),
      )
    }
    await running.close()
  })

  test(`${home.name}: the offset of a time is the first one stored at or after it`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start(tiny)
    const times: number[] = []
    for (const text of texts(60)) {
      machine.clock.advance(100)
      // Every third frame holds two messages, and queue 1 has a message only now and then.
      const bodies = times.length % 3 === 0 ? [text, `${text}+`] : [text]
      for (const _ of bodies) times.push(machine.clock.now())
      running.append('orders', 0, ...bodies)
      if (text === 'm0' || text === 'm45') running.append('orders', 1, text)
      await running.stored()
    }
    const check = async (again: typeof running) => {
      for (let time = times[0]! - 150; time < times.at(-1)! + 300; time += 50) {
        const first = times.findIndex((stored) => stored >= time)
        t.is(await again.byTime('orders', 0, time), first < 0 ? times.length : first)
      }
      const when = (index: number) => times[0]! + index * 100
      t.is(await again.byTime('orders', 1, when(0)), 0)
      t.is(await again.byTime('orders', 1, when(0) + 1), 1)
      t.is(await again.byTime('orders', 1, when(45)), 1)
      t.is(await again.byTime('orders', 1, when(45) + 1), 2)
      t.is(await again.byTime('never', 0, when(3)), 0)
    }
    await check(running)
    await running.close()
    const again = await machine.start(tiny)
    await check(again)
    await again.close()
  })

  test(`${home.name}: a topic made again shows none of its old messages and uses no offset twice`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start(tiny)
    for (const text of texts(40)) await running.send('orders', 0, text)
    await running.send('others', 0, 'stays')
    running.store.dropQueues('orders')
    t.deepEqual(running.bounds('orders', 0), { minOffset: 40, maxOffset: 40 })
    t.is(valueIn(await running.read('orders', 0, 39)).status, 'belowMin')
    t.is(await running.send('orders', 0, 'new'), 40)
    t.deepEqual(await running.all('orders', 0), ['new'])
    await machine.kill()

    const again = await machine.start(tiny)
    t.deepEqual(await again.all('orders', 0), ['new'])
    t.deepEqual(await again.all('others', 0), ['stays'])
    // From here on a state tells it, no longer the note.
    for (const text of texts(100)) await again.send('others', 0, text)
    await again.close()
    const last = await machine.start(tiny)
    t.deepEqual(await last.all('orders', 0), ['new'])
    t.is(await last.send('orders', 0, 'newer'), 41)
    await last.close()
  })

  test(`${home.name}: a topic that was dropped last is dropped after a kill too`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start()
    await running.send('orders', 0, 'a', 'b')
    running.store.dropQueues('orders')
    await running.stored()
    await machine.kill()
    const again = await machine.start()
    t.deepEqual(again.bounds('orders', 0), { minOffset: 2, maxOffset: 2 })
    await again.close()
  })

  test(`${home.name}: reads at the same time with next to no cache do not disturb each other`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start({ hotBytes: 0, cacheBytes: 0 })
    const body = (queueId: number, i: number) => `${queueId}:${i} `.repeat(150)
    for (let i = 0; i < 150; i++)
      for (let queueId = 0; queueId < 20; queueId++) running.append('orders', queueId, body(queueId, i))
    await running.stored()
    const all = await machine.until(
      Promise.all(Array.from({ length: 20 }, (_, queueId) => running.all('orders', queueId, 0, 20_000))),
    )
    for (const [queueId, bodies] of all.entries())
      t.deepEqual(
        bodies,
        Array.from({ length: 150 }, (_, i) => body(queueId, i)),
      )
    await running.close()
  })

  test(`${home.name}: offsets outside the queue are told apart`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start()
    await running.send('orders', 0, 'a', 'b')
    const status = async (offset: number) => {
      const { status, nextOffset } = valueIn(await running.read('orders', 0, offset))
      return [status, nextOffset]
    }
    t.deepEqual(await status(-1), ['belowMin', 0])
    t.deepEqual(await status(1), ['found', 2])
    t.deepEqual(await status(2), ['atEnd', 2])
    t.deepEqual(await status(3), ['aboveMax', 2])
    await running.close()
  })

  test(`${home.name}: nobody reads beyond what is confirmed`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start(tiny)
    await running.send('orders', 0, 'a')
    const { endPosition } = running.store
    running.store.confirmLimit = endPosition
    for (const text of texts(50)) await running.send('orders', 0, text)
    t.deepEqual(running.bounds('orders', 0), { minOffset: 0, maxOffset: 1 })
    t.deepEqual(await running.all('orders', 0), ['a'])
    t.is(await running.byTime('orders', 0, machine.clock.now() + 1), 1)
    running.store.confirmLimit = Number.POSITIVE_INFINITY
    t.deepEqual(await running.all('orders', 0), ['a', ...texts(50)])
    await running.close()
  })

  test(`${home.name}: the highest epoch of the log is known after a restart`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start()
    t.is(running.store.lastEpoch, 0)
    running.store.epoch = 7
    await running.send('orders', 0, 'a')
    await running.close()
    const again = await machine.start()
    t.is(again.store.lastEpoch, 7)
    t.is(again.store.epoch, 7)
    await again.close()
  })

  test(`${home.name}: a folder in use is not opened a second time`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start()
    const second = await machine.open()
    t.false(second.ok)
    if (!second.ok) {
      t.is(second.failure.code, 'inUse')
      t.true(second.failure.message.includes(machine.folder))
    }
    await running.close()
    await (await machine.start()).close()
  })

  test(`${home.name}: a folder of another broker and one of a newer format stay untouched`, async (t) => {
    const machine = await home.machine(t)
    await (await machine.start()).close()
    const before = await machine.content()
    const other = await machine.open({ broker: 'b' })
    t.false(other.ok)
    if (!other.ok) t.regex(other.failure.message, /belongs to broker a of cluster test, not to b of test/)
    t.deepEqual(await machine.content(), before)

    const path = `${machine.folder}/statemq.json`
    await machine.write(path, Buffer.from('{"format":2,"new":true}'))
    const changed = await machine.content()
    const newer = await machine.open()
    t.false(newer.ok)
    if (!newer.ok) t.regex(newer.failure.message, /has format 2, this StateMQ reads 1/)
    t.deepEqual(await machine.content(), changed)
  })
}

test('a store: all that is appended in one turn goes out in one write', async (t) => {
  const machine = await simulated.machine(t)
  const running = await machine.start()
  await running.send('orders', 0, 'first')
  let writes = 0
  const stored = running.owner.stored
  running.owner.stored = (position) => {
    writes++
    stored(position)
  }
  for (const text of texts(500)) running.append('orders', 0, text)
  await running.stored()
  t.is(writes, 1)
  await running.close()
})

test('a store: a state larger than a frame begins a segment all the same', async (t) => {
  const machine = await simulated.machine(t)
  const running = await machine.start({ segmentBytes: 12_000_000 })
  for (const text of texts(50)) running.owner.state[text.padEnd(200_000, '.')] = 1
  await running.send('orders', 0, 'a')
  const { state } = running.owner
  await running.close()
  const again = await machine.start({ segmentBytes: 12_000_000 })
  t.deepEqual(again.owner.state, state)
  t.deepEqual(await again.all('orders', 0), ['a'])
  await again.close()
})

test('a store: a frame keeps its bytes but for the stamp', async (t) => {
  const machine = await simulated.machine(t)
  const running = await machine.start()
  const frame = messages('orders', 3, 'body')
  running.store.append(running.store.queue('orders', 3), frame, 0, frame.length, 5)
  const stamped = Buffer.from(frame)
  frame.fill(0)
  await running.stored()
  t.deepEqual(valueIn(await running.read('orders', 3, 0)).frames, [stamped])
  await running.close()
})

test('a store: frames that a reader keeps stay as they are', async (t) => {
  const machine = await simulated.machine(t)
  const mib = 1024 * 1024
  const running = await machine.start({ hotBytes: mib, cacheBytes: 0, segmentBytes: 64 * mib })
  await running.send('orders', 0, 'kept from memory')
  const hot = valueIn(await running.read('orders', 0, 0)).frames[0]!
  const before = Buffer.from(hot)
  for (let i = 0; i < 40; i++) await running.send('orders', 1, Buffer.alloc(mib / 4, `${i} `))
  const cold = valueIn(await running.read('orders', 0, 0)).frames[0]!
  await running.all('orders', 1)
  t.deepEqual(hot, before)
  t.deepEqual(cold, before)
  await running.close()
})
