/**
 * A log that was cut is what it would be if the cut bytes had never been, wherever a crash came.
 */
import test, { type ExecutionContext } from 'ava'
import { cutLog, emptyLog } from '../../actors/broker/store/cut.ts'
import { openStore } from '../../actors/broker/store/store.ts'
import { kinds } from '../../transport/frames.ts'
import { verifyLog } from '../support/verify-log.ts'
import { type Home, homes, type Machine, Owner, type Running, real, simulated, valueIn } from './support.ts'

const sizes = { segmentBytes: 1_000 }
const names = ['a/0', 'b/0']
const texts = (count: number, prefix = 'm') => Array.from({ length: count }, (_, i) => `${prefix}${i}`)

type Frame = {
  readonly start: number
  readonly bytes: Buffer
  readonly isState: boolean
  readonly count: number
}

/** A log of several segments and epochs, closed; every frame of it, and its end. */
async function written(machine: Machine): Promise<{ frames: Frame[]; end: number }> {
  const running = await machine.start(sizes)
  for (const [i, text] of texts(24).entries()) {
    if (i % 7 === 0) running.beginEpoch(1 + i / 7)
    running.append('a', 0, text, `${text}+`)
    if (i % 4 === 0) running.append('b', 0, text)
    if (i % 5 === 0) running.note(`n${i % 3}`)
    if (i === 15) running.store.dropQueues('b')
    await running.stored()
  }
  const frames: Frame[] = []
  const end = running.store.endPosition
  for (let start = 0; start < end; ) {
    const { bytes, end: next } = valueIn(await running.readLog(start, 1))
    const isState = bytes[11] === kinds.state && bytes.readUInt16LE(58) > 0
    const count = bytes[11] === kinds.messages ? bytes.readUInt16LE(58) : 0
    frames.push({ start, bytes: Buffer.from(bytes), isState, count })
    start = next
  }
  await running.close()
  return { frames, end }
}

/** A store that never had anything but these frames. */
async function never(t: ExecutionContext, frames: readonly Frame[], length: number): Promise<Running> {
  const running = await (await simulated.machine(t, 99)).start(sizes)
  for (const { start, bytes } of frames) if (start < length) valueIn(running.store.appendVerbatim(bytes))
  await running.stored()
  return running
}

/** Puts files in the place of all that a machine's folder holds. */
async function restore(machine: Machine, content: Readonly<Record<string, string>>): Promise<void> {
  for (const path of ['log', 'consume-queue', 'checkpoint', 'cut.json'])
    await machine.remove(`${machine.folder}/${path}`)
  for (const [path, bytes] of Object.entries(content))
    if (!path.endsWith('/lock')) await machine.write(path, Buffer.from(bytes, 'base64'))
}

/** Opens what was cut, holds it against a store that never had more, goes on, and looks again after a restart. */
async function check(t: ExecutionContext, machine: Machine, expected: Running): Promise<void> {
  const running = await machine.start(sizes)
  t.false(running.store.mayHaveLost, 'what is cut on purpose is not lost')
  t.deepEqual(running.derived(names), expected.derived(names))
  t.deepEqual(await running.all('a', 0), await expected.all('a', 0))
  t.deepEqual(await machine.logFiles(), await expected.machine.logFiles())
  running.beginEpoch(9)
  const offset = await running.send('a', 0, 'next')
  t.is(offset, expected.bounds('a', 0).maxOffset)
  running.note('later')
  await running.stored()
  const before = running.derived(names)
  const all = await running.all('a', 0)
  if (offset % 2 === 0) await running.close()
  else await machine.kill()
  const again = await machine.start(sizes)
  t.deepEqual(again.derived(names), before)
  t.deepEqual(await again.all('a', 0), all)
  await again.close()
  t.deepEqual(valueIn(await machine.until(verifyLog(machine.disk, machine.folder))).faults, [])
}

async function everywhere(t: ExecutionContext, home: Home, step: number): Promise<void> {
  const machine = await home.machine(t)
  const { frames, end } = await written(machine)
  t.true(frames.filter(({ isState }) => isState).length > 3)
  const content = await machine.content()
  for (let i = 0; i < frames.length; i += step) {
    const { start, isState } = frames[i]!
    await restore(machine, content)
    const { cutBytes, cutMessages } = valueIn(await machine.cut(start))
    t.is(cutBytes, end - start)
    const gone = frames.slice(i).reduce((sum, { count }) => sum + count, 0)
    t.is(cutMessages, gone)
    t.is((await machine.read(`${machine.folder}/cut.json`)).length, 0)
    // An index tells of a segment as it was: one that grows anew behind the cut must not find its old one.
    const last =
      Object.keys(await machine.logFiles())
        .at(-1)
        ?.slice(0, 20) ?? ''
    t.true((await machine.list('consume-queue')).every((name) => name.slice(0, 20) < last))
    if (isState)
      t.false(
        Object.keys(await machine.logFiles()).some((path) => path.includes(String(start).padStart(20, '0'))),
      )
    await check(t, machine, await never(t, frames, start))
  }
}

test('simulated disk: a log is cut at every frame', (t) => everywhere(t, simulated, 1))
test('real disk: a log is cut at frames', (t) => everywhere(t, real, 4))

for (const home of homes) {
  test(`${home.name}: a cut inside a frame takes the frame with it, a cut inside a state its segment`, async (t) => {
    const machine = await home.machine(t)
    const { frames } = await written(machine)
    const content = await machine.content()
    for (const i of [0, 1, 5, frames.findLastIndex(({ isState }) => isState), frames.length - 1])
      for (const inside of [1, 64]) {
        await restore(machine, content)
        valueIn(await machine.cut(frames[i]!.start + inside))
        await check(t, machine, await never(t, frames, frames[i]!.start))
      }
  })

  test(`${home.name}: a cut at the end, and beyond it, is none`, async (t) => {
    const machine = await home.machine(t)
    const { end } = await written(machine)
    const before = await machine.content()
    for (const position of [end, end + 1])
      t.deepEqual(valueIn(await machine.cut(position)), { cutBytes: 0, cutMessages: 0 })
    t.deepEqual(await machine.content(), before)
  })

  test(`${home.name}: the log of a store that is open is not cut`, async (t) => {
    const machine = await home.machine(t)
    const running = await machine.start()
    await running.send('a', 0, 'x')
    for (const outcome of [await machine.cut(0), await machine.empty(7)])
      t.is(outcome.ok ? 'cut' : outcome.failure.code, 'inUse')
    t.deepEqual(await running.all('a', 0), ['x'])
    await running.close()
  })

  test(`${home.name}: damage is no matter in what is cut, and stops a cut behind it BEFORE anything is changed`, async (t) => {
    const machine = await home.machine(t)
    const { frames } = await written(machine)
    const { start } = frames[2]!
    const bytes = await machine.read(machine.segment())
    bytes[start + 66]! ^= 1
    await machine.write(machine.segment(), bytes)
    const before = await machine.content()
    const outcome = await machine.cut(frames[4]!.start)
    t.true(!outcome.ok && outcome.failure.message.includes(`damaged at byte ${start}`))
    t.deepEqual(await machine.content(), before)
    valueIn(await machine.cut(start))
    await check(t, machine, await never(t, frames, start))
  })

  test(`${home.name}: an emptied log remembers where it begins until it has a segment`, async (t) => {
    const machine = await home.machine(t)
    await written(machine)
    for (const position of [5_000_000, 0, 77]) {
      valueIn(await machine.empty(position))
      for (const how of ['close', 'kill', 'close']) {
        const running = await machine.start()
        const { minPosition, endPosition, storedPosition, epochStarts, lastEpoch } = running.store
        t.deepEqual([minPosition, endPosition, storedPosition], [position, position, position])
        t.deepEqual([epochStarts, lastEpoch, running.owner.state], [[], 0, {}])
        t.deepEqual(running.bounds('a', 0), { minOffset: 0, maxOffset: 0 })
        if (how === 'close') await running.close()
        else await machine.kill()
      }
    }
    t.deepEqual(await machine.logFiles(), {})
    const running = await machine.start()
    await running.send('a', 0, 'x')
    await running.close()
    const again = await machine.start()
    t.is(again.store.minPosition, 77)
    t.deepEqual(await again.all('a', 0), ['x'])
    await again.close()
    await machine.remove(`${machine.folder}/log`)
    const lost = await machine.open()
    t.true(!lost.ok && lost.failure.message.includes('bytes that were safe are gone'))
  })

  test(`${home.name}: a folder without a store can be told where its log will begin`, async (t) => {
    const machine = await home.machine(t)
    valueIn(await machine.empty(1_000))
    const running = await machine.start()
    t.is(running.store.endPosition, 1_000)
    t.false(running.store.mayHaveLost)
    await running.close()
  })

  test(`${home.name}: a damaged note of what to cut stops the start and says what to do`, async (t) => {
    const machine = await home.machine(t)
    await written(machine)
    await machine.write(`${machine.folder}/cut.json`, Buffer.from('{"position":100}\n1\n'))
    const before = await machine.content()
    for (const outcome of [await machine.open(), await machine.cut(0)])
      t.regex(outcome.ok ? '' : outcome.failure.message, /cut\.json is damaged.*Remove .*copies the log/)
    t.deepEqual(await machine.content(), before)
  })
}

const opening = (machine: Machine) =>
  openStore(machine.world(), { folder: machine.folder, cluster: 'test', broker: 'a', ...sizes }, new Owner())

/** Lets `steps` operations of the disk happen, then crashes. False when the job was done before. */
async function crashAfter(
  machine: Machine,
  job: () => Promise<unknown>,
  steps: number,
  losesUnsynced: boolean,
): Promise<boolean> {
  let isDone = false
  machine.latencyMs = () => 1
  void job().then(() => {
    isDone = true
  })
  for (let i = 0; i < steps && !isDone; i++) {
    for (let turns = 0; turns < 6; turns++) await machine.until(Promise.resolve())
    machine.clock.advance(1)
  }
  for (let turns = 0; turns < 6; turns++) await machine.until(Promise.resolve())
  machine.latencyMs = () => 0
  await machine.kill({ losesUnsynced })
  return !isDone
}

for (const losesUnsynced of [false, true]) {
  const what = losesUnsynced ? 'a power cut' : 'a kill'

  test(`simulated disk: ${what} at any step of a cut leaves the log uncut before it is noted, and cut after`, async (t) => {
    const machine = await simulated.machine(t)
    const { frames, end } = await written(machine)
    const content = await machine.content()
    const states = frames.filter(({ isState }) => isState)
    for (const { start } of [frames[6]!, states[2]!, states[0]!, frames.at(-1)!]) {
      const expected = await never(t, frames, start)
      const heard: string[] = []
      for (let steps = 0, goesOn = true; goesOn; steps++) {
        await restore(machine, content)
        goesOn = await crashAfter(
          machine,
          () => cutLog(machine.world(), machine.folder, start),
          steps,
          losesUnsynced,
        )
        // A second crash, while the first start finishes the cut.
        await crashAfter(machine, () => opening(machine), steps % 9, losesUnsynced)
        const running = await machine.start(sizes)
        const { endPosition } = running.store
        await running.close()
        heard.push(endPosition === end ? 'whole' : endPosition === start ? 'cut' : `${endPosition}`)
        if (endPosition === start) await check(t, machine, expected)
      }
      t.deepEqual(
        heard.filter((is, i) => is !== heard[i - 1]),
        ['whole', 'cut'],
      )
      t.true(heard.filter((is) => is === 'cut').length > 5)
    }
  })

  test(`simulated disk: ${what} at any step of emptying leaves the log whole before it is noted, and empty after`, async (t) => {
    const machine = await simulated.machine(t)
    const { end } = await written(machine)
    const content = await machine.content()
    const heard: string[] = []
    for (let steps = 0, goesOn = true; goesOn; steps++) {
      await restore(machine, content)
      goesOn = await crashAfter(
        machine,
        () => emptyLog(machine.world(), machine.folder, 9_999_999),
        steps,
        losesUnsynced,
      )
      const running = await machine.start(sizes)
      const { minPosition, endPosition } = running.store
      heard.push(minPosition === 0 && endPosition === end ? 'whole' : `${minPosition} ${endPosition}`)
      await running.close()
    }
    t.deepEqual(
      heard.filter((is, i) => is !== heard[i - 1]),
      ['whole', '9999999 9999999'],
    )
  })
}
