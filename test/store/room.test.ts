import test from 'ava'
import { homes, simulated, valueIn } from './support.ts'

const texts = (count: number, prefix = 'm') => Array.from({ length: count }, (_, i) => `${prefix}${i}`)
const tiny = { segmentBytes: 2_000, hotBytes: 0 }
const hour = 3_600_000

for (const home of homes) {
  test(`${home.name}: segments leave the log when their last message is old enough`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start(tiny)
    for (const text of texts(60)) {
      machine.clock.advance(0)
      await running.send('orders', 0, text)
      if (text === 'm0') await running.send('seldom', 0, text)
    }
    running.note('kept')
    await running.stored()
    const before = await machine.list('log')
    await machine.checked(71 * hour)
    t.deepEqual(await machine.list('log'), before)

    for (const text of texts(60, 'n')) await running.send('orders', 0, text)
    for (let checks = 0; checks < 40; checks++) await machine.checked(hour / 20)
    const { minOffset, maxOffset } = running.bounds('orders', 0)
    t.true(minOffset > 40 && minOffset <= 60, `${minOffset}`)
    t.is(maxOffset, 120)
    t.deepEqual(running.bounds('seldom', 0), { minOffset: 1, maxOffset: 1 })
    t.deepEqual((await running.all('orders', 0)).slice(-60), texts(60, 'n'))
    t.is(valueIn(await running.read('orders', 0, 0)).status, 'belowMin')
    t.is(await running.byTime('orders', 0, 0), minOffset)
    t.true(running.store.minPosition > 0)
    const log = (await machine.list('log')).map((name) => name.slice(0, 20))
    for (const name of await machine.list('consume-queue')) t.true(log.includes(name.slice(0, 20)))
    await running.close()

    const again = await machine.start(tiny)
    t.deepEqual(again.bounds('orders', 0), { minOffset, maxOffset })
    t.deepEqual(again.bounds('seldom', 0), { minOffset: 1, maxOffset: 1 })
    t.deepEqual(again.owner.state, { kept: 1 })
    t.is(await again.send('seldom', 0, 'later'), 1)
    await again.close()
    t.deepEqual(
      (await machine.list('consume-queue')).map((name) => name.slice(0, 20)),
      (await machine.list('log')).map((name) => name.slice(0, 20)).slice(0, -1),
    )
  })

  test(`${home.name}: an old segment stays as long as its owner needs it, unless the disk is too full`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start(tiny)
    let delivered = 20
    // `seldom` is what waits: all before `delivered` is done with.
    running.owner.needs = ({ seldom = [] }) => (seldom[1] ?? 0) > delivered
    for (const text of texts(60)) {
      await running.send('orders', 0, text)
      await running.send('seldom', 0, text)
    }
    await running.stored()
    await machine.checked(73 * hour)
    for (let checks = 0; checks < 40; checks++) await machine.checked()
    const { minOffset } = running.bounds('seldom', 0)
    t.true(minOffset > 0 && minOffset <= 20, `${minOffset}`)
    delivered = 40
    for (let checks = 0; checks < 40; checks++) await machine.checked()
    t.true(running.bounds('seldom', 0).minOffset > 20)
    t.true(running.bounds('seldom', 0).minOffset <= 40)
    machine.usedRatio = 0.95
    await machine.checked()
    t.true(running.bounds('seldom', 0).minOffset > 40)
    await running.close()
  })

  test(`${home.name}: an idle log is emptied too`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start(tiny)
    await running.send('orders', 0, 'a')
    await machine.checked(73 * hour)
    // It is sealed and indexed first, then it leaves.
    while (running.bounds('orders', 0).minOffset === 0) await machine.checked()
    t.deepEqual(running.bounds('orders', 0), { minOffset: 1, maxOffset: 1 })
    t.is((await machine.list('log')).length, 1)
    t.is(await running.send('orders', 0, 'b'), 1)
    await running.close()
  })

  test(`${home.name}: above the ratios of use the oldest go first, then messages are refused`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start(tiny)
    for (const text of texts(100)) await running.send('orders', 0, text)
    const count = (await machine.list('log')).length
    machine.usedRatio = 0.84
    await machine.checked()
    t.is((await machine.list('log')).length, count)
    t.true(running.store.accepting)

    machine.usedRatio = 0.95
    await machine.checked()
    t.is((await machine.list('log')).length, 1)
    t.false(running.store.accepting)
    t.deepEqual(running.owner.space_, ['full'])
    t.is((await running.all('orders', 0)).at(-1), 'm99')
    running.note('control frames are still stored')
    await running.stored()

    machine.usedRatio = 0.5
    await machine.checked()
    t.true(running.store.accepting)
    t.deepEqual(running.owner.space_, ['full', 'ok'])
    await running.close()
  })
}

test('a full disk: what was half-written is cut, and is written when there is room', async (t) => {
  for (let room = 0; room < 700; room += 23) {
    const machine = await simulated.machine(t)
    const disk = machine.simulated!
    const running = await machine.start({ segmentBytes: 700 })
    await running.send('orders', 0, 'a')
    disk.totalBytes = disk.usedBytes + room
    const before = running.store.storedPosition
    for (const text of texts(10)) running.append('orders', 0, text.padEnd(100))
    for (let turns = 0; turns < 50; turns++) await machine.until(Promise.resolve())
    t.false(running.store.accepting)
    t.deepEqual(running.owner.space_, ['full'])
    t.true(running.store.storedPosition < running.store.endPosition)
    t.is(running.owner.storedPosition, running.store.storedPosition)
    t.true(running.store.storedPosition >= before)
    let bytes = 0
    for (const name of await machine.list('log'))
      bytes += (await machine.read(`${machine.folder}/log/${name}`)).length
    t.is(bytes, running.store.storedPosition, 'the log ends where what is stored ends')
    t.is((await running.all('orders', 0)).length, running.bounds('orders', 0).maxOffset)

    disk.totalBytes = Number.MAX_SAFE_INTEGER
    machine.clock.advance(1_000)
    await running.stored()
    t.true(running.store.accepting)
    t.deepEqual(running.owner.space_, ['full', 'ok'])
    t.is((await running.all('orders', 0)).length, 11)
    await running.close()
    const again = await machine.start({ segmentBytes: 700 })
    t.is((await again.all('orders', 0)).length, 11)
  }
})

test('a full disk: a kill at that moment leaves a sound log', async (t) => {
  const machine = await simulated.machine(t)
  const running = await machine.start()
  await running.send('orders', 0, 'a')
  machine.simulated!.totalBytes = machine.simulated!.usedBytes + 50
  running.append('orders', 0, 'never stored')
  for (let turns = 0; turns < 5; turns++) await machine.until(Promise.resolve())
  await machine.kill()
  machine.simulated!.totalBytes = Number.MAX_SAFE_INTEGER
  const again = await machine.start()
  t.deepEqual(await again.all('orders', 0), ['a'])
})

test('a full disk: closing says that what was appended last is not stored', async (t) => {
  const machine = await simulated.machine(t)
  const running = await machine.start()
  machine.simulated!.totalBytes = machine.simulated!.usedBytes
  running.append('orders', 0, 'a')
  await t.throwsAsync(running.close(), { message: /diskFull/ })
  machine.simulated!.totalBytes = Number.MAX_SAFE_INTEGER
  const again = await machine.start()
  t.deepEqual(await again.all('orders', 0), [])
})

for (const operation of ['write', 'sync', 'open', 'truncate'] as const)
  test(`a broken disk: after a failed ${operation} nothing counts as stored any more`, async (t) => {
    const machine = await simulated.machine(t)
    const running = await machine.start({ flush: 'sync', segmentBytes: 500 })
    await running.send('orders', 0, 'a')
    machine.simulated!.fail({ operation, path: '/log/', code: 'ioError', times: 1 })
    if (operation === 'truncate')
      machine.simulated!.fail({ operation: 'write', path: '/log/', code: 'diskFull', times: 1, writes: 5 })
    const { storedPosition } = running.store
    for (const text of texts(10)) running.append('orders', 0, text)
    for (let turns = 0; turns < 20; turns++) await machine.until(Promise.resolve())
    t.is(running.owner.failure?.code, 'ioError')
    t.false(running.store.accepting)
    if (operation !== 'open') t.is(running.store.storedPosition, storedPosition)
    t.is(running.owner.storedPosition, running.store.storedPosition)
    t.throws(() => running.append('orders', 0, 'b'), { message: /closed or broken/ })
    await t.throwsAsync(running.close())
    const again = await machine.start({ segmentBytes: 500 })
    t.is((await again.all('orders', 0))[0], 'a')
    await again.close()
  })

test('a broken disk: a write that ends after a sync failed does not count', async (t) => {
  const machine = await simulated.machine(t)
  const running = await machine.start()
  await running.send('orders', 0, 'a')
  const { storedPosition } = running.store
  machine.simulated!.fail({ operation: 'sync', code: 'ioError' })
  machine.latencyMs = (operation) => ({ write: 10, sync: 5 })[operation as string] ?? 0
  machine.clock.advance(498)
  running.append('orders', 0, 'b')
  machine.clock.advance(7)
  t.is(running.owner.failure?.code, 'ioError')
  const closed = running.close()
  machine.clock.advance(100)
  await t.throwsAsync(closed, { message: /ioError/ })
  t.is(running.store.storedPosition, storedPosition)
  t.is(running.owner.storedPosition, storedPosition)
})

test('a broken disk: a failed read is told, and the next one may do', async (t) => {
  const machine = await simulated.machine(t)
  const running = await machine.start(tiny)
  await running.send('orders', 0, 'a')
  machine.simulated!.fail({ operation: 'read', code: 'ioError', times: 1 })
  const first = await running.read('orders', 0, 0)
  t.is(first.ok ? '' : first.failure.code, 'ioError')
  t.deepEqual(await running.all('orders', 0), ['a'])
})

test('an index that cannot be written keeps its segment in memory until it can', async (t) => {
  const machine = await simulated.machine(t)
  const running = await machine.start(tiny)
  const heal = machine.simulated!.fail({ operation: 'replaceFile', path: '.index', code: 'diskFull' })
  for (const text of texts(60)) await running.send('orders', 0, text)
  t.deepEqual(await running.all('orders', 0), texts(60))
  t.deepEqual(await machine.list('consume-queue'), [])
  heal()
  await machine.checked()
  const sealed = (await machine.list('log')).length - 1
  while ((await machine.list('consume-queue')).length < sealed) await machine.until(Promise.resolve())
  t.deepEqual(await running.all('orders', 0), texts(60))
  await running.close()
})
