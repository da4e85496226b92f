import test from 'ava'
import { verifyLog } from '../support/verify-log.ts'
import { homes, type Machine, messages, type Running, simulated, valueIn } from './support.ts'

const texts = (count: number, prefix = 'm') => Array.from({ length: count }, (_, i) => `${prefix}${i}`)

/** Frames one by one, with the position of each; then the process is killed. */
async function killedLog(machine: Machine, count: number, sizes = {}): Promise<number[]> {
  const running = await machine.start(sizes)
  const positions: number[] = []
  for (const text of texts(count)) {
    running.append('orders', 0, text)
    positions.push(running.store.endPosition - messages('orders', 0, text).length)
    await running.stored()
  }
  await machine.kill()
  return positions
}

async function refused(machine: Machine, sizes = {}): Promise<string> {
  const before = await machine.content()
  const outcome = await machine.open(sizes)
  if (outcome.ok) throw new Error('the store starts on a damaged log')
  const after = await machine.content()
  if (JSON.stringify(after) !== JSON.stringify(before)) throw new Error('a refused start changed the folder')
  return `${outcome.failure.code}: ${outcome.failure.message}`
}

/** The log is cut, goes on, and is sound to its end. */
async function goesOn(machine: Machine, running: Running, expected: readonly string[]): Promise<void> {
  await running.send('orders', 0, 'next')
  const all = await running.all('orders', 0)
  if (all.join() !== [...expected, 'next'].join()) throw new Error(`found ${all}`)
  await running.close()
  const report = valueIn(await machine.until(verifyLog(machine.disk, machine.folder)))
  if (report.faults.length > 0) throw new Error(JSON.stringify(report.faults))
}

for (const home of homes) {
  test(`${home.name}: a log that ends at any byte of its last frame loses that frame only`, async (t) => {
    const machine = await home.machine(t)
    const [last] = (await killedLog(machine, 5)).slice(-1)
    const whole = await machine.read(machine.segment())
    for (let end = last! + 1; end < whole.length; end++) {
      await machine.write(machine.segment(), whole.subarray(0, end))
      machine.warnings.length = 0
      const running = await machine.start()
      t.is(machine.warnings.length, 1)
      t.true(machine.warnings[0]!.includes(`${end - last!} bytes are cut`), machine.warnings[0])
      await goesOn(machine, running, texts(4))
      await machine.remove(`${machine.folder}/checkpoint`)
    }
  })

  test(`${home.name}: a bit that is wrong at any byte of the last frame costs that frame only`, async (t) => {
    const machine = await home.machine(t)
    const [last] = (await killedLog(machine, 5)).slice(-1)
    const whole = await machine.read(machine.segment())
    for (let at = last!; at < whole.length; at++) {
      const bytes = Buffer.from(whole)
      bytes[at]! ^= 1 << (at % 8)
      await machine.write(machine.segment(), bytes)
      machine.warnings.length = 0
      const running = await machine.start()
      t.true(machine.warnings[0]!.includes(`${whole.length - last!} bytes are cut`), machine.warnings[0])
      await goesOn(machine, running, texts(4))
      await machine.remove(`${machine.folder}/checkpoint`)
    }
  })

  test(`${home.name}: a wrong bit before the last frame stops the start, tells the place and changes nothing`, async (t) => {
    const machine = await home.machine(t)
    const positions = await killedLog(machine, 5)
    const whole = await machine.read(machine.segment())
    for (let at = 0; at < positions[4]!; at++) {
      const bytes = Buffer.from(whole)
      bytes[at]! ^= 1 << (at % 8)
      await machine.write(machine.segment(), bytes)
      const frame = [0, ...positions].findLast((position) => position <= at)
      const told = await refused(machine)
      t.true(told.startsWith(`malformed: ${machine.segment()} is damaged at byte ${frame}`), `${at}: ${told}`)
    }
  })

  test(`${home.name}: a last frame that was known to be safe is never cut`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start()
    for (const text of texts(5)) await running.send('orders', 0, text)
    await running.close()
    const whole = await machine.read(machine.segment())
    await machine.write(machine.segment(), whole.subarray(0, whole.length - 1))
    t.regex(await refused(machine), /damaged at byte .* the file ends inside a frame/)
    const frame = messages('orders', 0, 'm4').length
    await machine.write(machine.segment(), whole.subarray(0, whole.length - frame))
    t.regex(await refused(machine), /ends at position .* but it was synced to/)
    await machine.write(machine.segment(), whole)
    await (await machine.start()).close()
  })

  test(`${home.name}: a missing or shortened segment in the middle stops the start`, async (t) => {
    const machine = await home.machine(t)
    await killedLog(machine, 60, { segmentBytes: 1_500 })
    const names = await machine.list('log')
    const path = `${machine.folder}/log/${names[2]}`
    const bytes = await machine.read(path)
    await machine.write(path, bytes.subarray(0, -10))
    t.true((await refused(machine)).includes(`${path} is damaged at byte ${bytes.length - 10}`))
    await machine.remove(path)
    t.true((await refused(machine)).includes(`${names[1]} is damaged at byte`))
  })

  test(`${home.name}: a wrong bit in a sealed segment is found by who reads it and by who verifies`, async (t) => {
    const machine = await home.machine(t)
    const sizes = { segmentBytes: 1_500, hotBytes: 0 }
    await killedLog(machine, 60, sizes)
    const bytes = await machine.read(machine.segment())
    const second = bytes.indexOf('m1') - 16 - 6 - 64
    bytes[bytes.indexOf('m1')]! ^= 1
    await machine.write(machine.segment(), bytes)
    const running = await machine.start(sizes)
    t.is(valueIn(await running.read('orders', 0, 0, 1)).nextOffset, 1)
    const outcome = await running.read('orders', 0, 1)
    t.false(outcome.ok)
    if (!outcome.ok) {
      t.is(outcome.failure.code, 'malformed')
      t.true(outcome.failure.message.includes(`${machine.segment()} is damaged at byte ${second}`))
    }
    await running.close()
    const report = valueIn(await machine.until(verifyLog(machine.disk, machine.folder)))
    t.deepEqual(report.faults, [
      { file: machine.segment(), position: second, fault: 'the body does not match its checksum' },
    ])
    t.is(report.messages, 59)
  })

  test(`${home.name}: a segment that was only begun is begun again`, async (t) => {
    const machine = await home.machine(t)
    const sizes = { segmentBytes: 1_500 }
    await killedLog(machine, 60, sizes)
    const names = await machine.list('log')
    const last = `${machine.folder}/log/${names.at(-1)}`
    const bytes = await machine.read(last)
    const stateBytes = bytes.readUInt32LE(0)
    for (const end of [0, 1, 63, 64, 100, stateBytes - 1]) {
      await machine.write(last, bytes.subarray(0, end))
      const running = await machine.start(sizes)
      const kept = (await running.all('orders', 0)).length
      t.true(kept > 30)
      await goesOn(machine, running, texts(kept))
      await machine.remove(`${machine.folder}/checkpoint`)
      for (const name of (await machine.list('log')).slice(names.length - 1))
        await machine.remove(`${machine.folder}/log/${name}`)
    }
  })

  test(`${home.name}: a frame inside a message is not taken for a frame of the log`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start()
    running.store.epoch = 1
    await running.send('orders', 0, 'a')
    const { endPosition } = running.store
    await running.send('orders', 0, Buffer.concat([messages('inner', 0, 'x'), messages('inner', 0, 'y')]))
    await machine.kill()
    const whole = await machine.read(machine.segment())
    for (const at of [8, 20, 70, whole.length - endPosition - 1]) {
      const bytes = Buffer.from(whole)
      bytes[endPosition + at]! ^= 1
      await machine.write(machine.segment(), bytes)
      const again = await machine.start()
      t.deepEqual(await again.all('orders', 0), ['a'])
      await machine.kill()
      await machine.remove(`${machine.folder}/checkpoint`)
    }
  })
}

for (const seed of [1, 2, 3, 4, 5, 6, 7, 8])
  test(`simulated disk: with flush 'sync' a power cut loses nothing that was stored, seed ${seed}`, async (t) => {
    const machine = await simulated.machine(t, seed)
    const sizes = { flush: 'sync', segmentBytes: 3_000 } as const
    let kept: string[] = []
    for (let round = 0; round < 12; round++) {
      const running = await machine.start(sizes)
      const all = await running.all('orders', 0)
      t.deepEqual(all.slice(0, kept.length), kept, `round ${round}`)
      kept = all
      for (const text of texts(machine.random.below(30), `${round}.`)) await running.send('orders', 0, text)
      kept = await running.all('orders', 0)
      for (const text of texts(machine.random.below(30), `${round}+`)) running.append('orders', 0, text)
      // The power may go before, while and after the last write is under way.
      for (let turns = machine.random.below(4); turns > 0; turns--) await machine.until(Promise.resolve())
      kept = await running.all('orders', 0)
      await machine.kill({ losesUnsynced: true })
    }
  })

test('simulated disk: with flush async a power cut leaves a beginning of what was appended', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const machine = await simulated.machine(t, seed)
    const running = await machine.start({ segmentBytes: 20_000 })
    const sent = texts(300)
    for (const text of sent) await running.send('orders', 0, text)
    await machine.kill({ losesUnsynced: true })
    const again = await machine.start({ segmentBytes: 20_000 })
    const all = await again.all('orders', 0)
    t.deepEqual(all, sent.slice(0, all.length), `seed ${seed}`)
    await again.send('orders', 0, 'next')
    await machine.kill({ losesUnsynced: true })
    const last = await machine.start({ segmentBytes: 20_000 })
    const rest = await last.all('orders', 0)
    t.deepEqual(rest, [...all, 'next'].slice(0, rest.length), `seed ${seed}`)
    t.true(rest.length >= all.length, `seed ${seed}: what was cut was not made safe`)
  }
})
