/**
 * A store that takes over the frames of another one has the same files and comes to the same state.
 */
import test, { type ExecutionContext } from 'ava'
import { kinds, stampFrame } from '../../transport/frames.ts'
import { seedOfRun } from '../support/seeded-random.ts'
import {
  type Home,
  homes,
  type Machine,
  messages,
  type Running,
  real,
  simulated,
  valueIn,
} from './support.ts'

const texts = (count: number, prefix = 'm') => Array.from({ length: count }, (_, i) => `${prefix}${i}`)
const names = ['a/0', 'a/1', 'b/0', 'c/3']

/** Two machines, one of which follows the other; now and then they change places. */
class Pair {
  readonly t: ExecutionContext
  readonly #random
  readonly #sizes
  master: Running
  slave: Running
  #count = 0

  private constructor(t: ExecutionContext, sizes: object, master: Running, slave: Running) {
    this.t = t
    this.#random = master.machine.random
    this.#sizes = sizes
    this.master = master
    this.slave = slave
  }

  static async start(t: ExecutionContext, home: Home, seed: number): Promise<Pair> {
    const first = await home.machine(t, seed)
    const second = await home.machine(t, seed + 1)
    const sizes = { segmentBytes: 600 + first.random.below(4_000), hotBytes: first.random.below(3) * 1_000 }
    const pair = new Pair(t, sizes, await first.start(sizes), await second.start(sizes))
    pair.master.beginEpoch(1)
    return pair
  }

  async step(): Promise<void> {
    const { master } = this
    const below = (bound: number) => this.#random.below(bound)
    const dice = below(100)
    const [topic, id] = names[below(names.length)]!.split('/')
    master.machine.clock.advance(below(20))
    if (dice < 50) {
      const bodies = Array.from({ length: 1 + below(3) }, () => `${this.#count++}`.padEnd(below(80)))
      master.append(topic!, Number(id), ...bodies)
    } else if (dice < 60) master.note(`n${below(3)}`)
    else if (dice < 63) master.store.dropQueues(topic!)
    else if (dice < 70) await master.stored()
    else if (dice < 88) await this.slave.follow(master, 1 + below(3_000))
    else if (dice < 91) this.master = await this.#restart(master)
    else if (dice < 95) this.slave = await this.#restart(this.slave)
    else if (dice < 97) await this.changePlaces()
    else master.beginEpoch(master.store.lastEpoch + 1)
  }

  async #restart(running: Running): Promise<Running> {
    const { machine } = running
    await running.stored()
    if (this.#random.below(2) === 0) await machine.kill()
    else await running.close()
    const again = await machine.start(this.#sizes)
    again.store.epoch = again.store.lastEpoch
    return again
  }

  async changePlaces(): Promise<void> {
    await this.slave.follow(this.master)
    const { master, slave } = this
    this.master = slave
    this.slave = master
    this.master.beginEpoch(this.master.store.lastEpoch + 1)
  }

  async compare(): Promise<void> {
    const { t, master, slave } = this
    await slave.follow(master, 2_000)
    await Promise.all([master.stored(), slave.stored()])
    t.deepEqual(slave.derived(names), master.derived(names))
    for (const name of names) {
      const [topic, id] = name.split('/')
      t.deepEqual(await slave.all(topic!, Number(id)), await master.all(topic!, Number(id)))
    }
    t.deepEqual(await slave.machine.logFiles(), await master.machine.logFiles())
  }

  async compareRestarted(): Promise<void> {
    await this.compare()
    const before = this.master.derived(names)
    for (const running of [this.master, this.slave]) await running.close()
    this.master = await this.master.machine.start(this.#sizes)
    this.slave = await this.slave.machine.start(this.#sizes)
    this.t.deepEqual(this.slave.derived(names), before)
    await this.compare()
    for (const running of [this.master, this.slave]) await running.close()
  }
}

async function run(t: ExecutionContext, home: Home, seed: number, steps: number): Promise<void> {
  t.log(`STATEMQ_SEED=${seed}`)
  const pair = await Pair.start(t, home, seed)
  for (let i = 0; i < steps; i++) await pair.step()
  await pair.compareRestarted()
}

const first = seedOfRun()
for (let i = 0; i < 8; i++)
  test(`simulated disk: a follower has the same files and the same state, run ${i}`, (t) =>
    run(t, simulated, (first + i) % 2 ** 32, 400))
for (let i = 0; i < 2; i++)
  test(`real disk: a follower has the same files and the same state, run ${i}`, (t) =>
    run(t, real, (first + i) % 2 ** 32, 200))

/** A log of several segments and epochs. */
async function written(machine: Machine, sizes: object): Promise<Running> {
  const running = await machine.start(sizes)
  for (const [i, text] of texts(40).entries()) {
    if (i % 12 === 0) running.beginEpoch(1 + i / 12)
    running.append('a', 0, text)
    if (i % 5 === 0) running.append('b', 0, text)
    if (i % 7 === 0) running.note(`n${i % 3}`)
    if (i === 20) running.store.dropQueues('b')
    await running.stored()
  }
  return running
}

/** Where the frames of a log begin, and its end. */
async function boundaries(running: Running): Promise<number[]> {
  const found: number[] = []
  for (let at = running.store.minPosition; ; ) {
    found.push(at)
    if (at === running.store.endPosition) return found
    at = valueIn(await running.readLog(at, 1)).end
  }
}

for (const home of homes)
  for (const hotBytes of [0, 1024 * 1024])
    test(`${home.name}: the log is read whole from every frame on, with ${hotBytes} bytes in memory`, async (t) => {
      const machine = await home.machine(t)
      const running = await written(machine, { segmentBytes: 2_000, hotBytes })
      running.append('a', 0, 'not stored yet')
      const whole: Buffer[] = []
      const found = await boundaries(running)
      for (const start of found.slice(0, -1)) whole.push(valueIn(await running.readLog(start, 1)).bytes)
      t.true(found.length > 60)
      for (const [i, start] of found.entries())
        for (const maxBytes of i % 5 === 0 ? [1, 63, 500] : [1_000_000]) {
          const pieces: Buffer[] = []
          for (let at = start; at < running.store.endPosition; ) {
            const { bytes, end } = valueIn(await running.readLog(at, maxBytes))
            if (end !== at + bytes.length || !found.includes(end) || end === at) t.fail(`${at} to ${end}`)
            if (bytes.length > maxBytes && found.some((position) => position > at && position < end))
              t.fail(`${bytes.length} bytes where ${maxBytes} were asked for`)
            pieces.push(bytes)
            at = end
          }
          if (!Buffer.concat(pieces).equals(Buffer.concat(whole.slice(i)))) t.fail(`from ${start}`)
        }
      await running.stored()
      const files = Object.values(await machine.logFiles()).map((text) => Buffer.from(text, 'base64'))
      t.deepEqual(Buffer.concat(whole), Buffer.concat(files))
      t.is(valueIn(await running.readLog(running.store.endPosition)).bytes.length, 0)
      for (const position of [-1, running.store.endPosition + 1]) {
        const outcome = await running.readLog(position)
        t.is(outcome.ok ? '' : outcome.failure.code, 'missing')
      }
      await running.close()
    })

for (const home of homes)
  test(`${home.name}: who reads what retention removes is told that it is missing, not that it is damaged`, async (t) => {
    const machine = await home.machine(t)
    const running = await written(machine, { segmentBytes: 2_000, hotBytes: 0 })
    machine.usedRatio = 0.95
    const readers = (await boundaries(running)).slice(0, -1).map(async (start) => {
      const heard: string[] = []
      for (let round = 0; round < 30; round++) {
        const outcome = await running.readLog(start, 500)
        heard.push(outcome.ok ? 'found' : outcome.failure.code)
      }
      return heard
    })
    await machine.checked()
    const heard = (await Promise.all(readers)).map((list) =>
      list.filter((is, i) => is !== list[i - 1]).join(),
    )
    t.true(running.store.minPosition > 0)
    for (const list of heard) t.true(['found', 'found,missing', 'missing'].includes(list), list)
    t.true(heard.includes('found,missing'))
    t.is(heard.at(-1), 'found')
    t.is((await machine.list('log')).length, 1)
    await running.close()
  })

test('simulated disk: a read that retention overtakes does not make the file of the segment again', async (t) => {
  const machine = await simulated.machine(t)
  const running = await written(machine, { segmentBytes: 2_000, hotBytes: 0 })
  let reads = 0
  machine.latencyMs = (operation) => (operation === 'read' && reads++ === 0 ? 60_000 : 0)
  // The frame is larger than what is asked for: it takes a second read.
  const reading = running.readLog(0, 64)
  machine.usedRatio = 0.95
  machine.clock.advance(10_000)
  await machine.eventually(() => running.store.minPosition > 0)
  machine.clock.advance(60_000)
  const outcome = await reading
  t.is(outcome.ok ? 'found' : outcome.failure.code, 'missing')
  await machine.eventually(() => running.owner.space_.length > 0)
  t.is((await machine.list('log')).length, 1)
  await running.close()
})

for (const home of homes)
  test(`${home.name}: damage on disk is told with its place, and a position inside a frame is none of a frame`, async (t) => {
    const machine = await home.machine(t)
    const running = await written(machine, { segmentBytes: 100_000, hotBytes: 0 })
    const [, , third] = await boundaries(running)
    const bytes = await machine.read(machine.segment())
    bytes[third! + 70]! ^= 1
    await machine.edit(machine.segment(), (file) => machine.do<void>((done) => file.write([bytes], 0, done)))
    const outcome = await running.readLog(0)
    t.is(outcome.ok ? '' : outcome.failure.code, 'malformed')
    if (!outcome.ok) t.true(outcome.failure.message.includes(`damaged at byte ${third}`))
    t.true(valueIn(await running.readLog(0, third)).end === third)
    t.false((await running.readLog(third! + 1)).ok)
    await running.close()
  })

test('simulated disk: a position inside a frame in memory is none of a frame', async (t) => {
  const machine = await simulated.machine(t)
  const running = await written(machine, { segmentBytes: 100_000 })
  const outcome = await running.readLog(1)
  t.is(outcome.ok ? '' : outcome.failure.code, 'malformed')
})

for (const home of homes)
  test(`${home.name}: an empty log begins where the master's does, with the master's state`, async (t) => {
    const machine = await home.machine(t)
    const sizes = { segmentBytes: 2_000 }
    const master = await written(machine, sizes)
    const starts = master.store.epochStarts
    machine.usedRatio = 0.95
    await machine.checked()
    await machine.checked()
    const { minPosition } = master.store
    t.true(minPosition > 0)
    t.true(master.store.epochStarts.length < starts.length)
    t.is(master.store.epochStarts[0]!.start, minPosition)

    const other = await home.machine(t, 2)
    valueIn(await other.empty(minPosition))
    const slave = await other.start(sizes)
    t.deepEqual([slave.store.minPosition, slave.store.endPosition], [minPosition, minPosition])
    t.deepEqual(slave.store.epochStarts, [])
    await slave.follow(master, 1)
    await Promise.all([slave.stored(), master.stored()])
    t.deepEqual(slave.derived(names), master.derived(names))
    t.deepEqual(await slave.machine.logFiles(), await machine.logFiles())
    await other.kill()
    const again = await other.start(sizes)
    t.deepEqual(again.derived(names), master.derived(names))
    t.deepEqual(await again.all('a', 0), await master.all('a', 0))
    await again.close()
    await master.close()
  })

test('simulated disk: frames that do not follow are refused, and NOTHING is changed', async (t) => {
  const sizes = { segmentBytes: 2_000 }
  const master = await written(await simulated.machine(t), sizes)
  const found = await boundaries(master)
  const frames: Buffer[] = []
  for (const position of found.slice(0, -1)) frames.push(valueIn(await master.readLog(position, 1)).bytes)
  const slave = await (await simulated.machine(t, 2)).start(sizes)
  const twisted = (change: (frame: Buffer) => void, frame: Buffer) => {
    const copy = Buffer.from(frame)
    change(copy)
    return copy
  }
  const refusedAll = async (i: number) => {
    const next = frames.slice(i, i + 3)
    const isState = next[0]![11] === kinds.state
    const wrong: Record<string, Buffer[]> = {
      'an earlier epoch': [...next, twisted((frame) => stampFrame(frame, 0, 0, 1_000, 1), next[0]!)],
      'half a frame': [...next, next[0]!.subarray(0, 65)],
      'less than a head': [...next, next[0]!.subarray(0, 20)],
      'a later offset': [
        ...next,
        twisted((frame) => stampFrame(frame, 0, 9, 1_000, 1), messages('a', 0, 'x')),
      ],
      'another part of a state': [...next, twisted((frame) => frame.writeUInt32LE(1, 48), frames[0]!)],
    }
    if (isState && i === 0) wrong['no state first'] = [frames[1]!]
    for (const [what, bytes] of Object.entries(wrong)) {
      const before = JSON.stringify([slave.derived(names), slave.owner.replayed, slave.store.endsInState])
      const outcome = slave.store.appendVerbatim(Buffer.concat(bytes))
      t.is(outcome.ok ? 'taken' : outcome.failure.code, 'malformed', `${what} at frame ${i}`)
      const after = JSON.stringify([slave.derived(names), slave.owner.replayed, slave.store.endsInState])
      t.is(after, before, `${what} at frame ${i}`)
    }
  }
  for (const [i, frame] of frames.entries()) {
    await refusedAll(i)
    valueIn(slave.store.appendVerbatim(frame))
  }
  await slave.stored()
  t.deepEqual(slave.derived(names), master.derived(names))
})

/** A master whose second segment begins with a state of several frames. */
async function withLargeState(machine: Machine): Promise<Running> {
  const master = await machine.start({ segmentBytes: 600 })
  master.beginEpoch(1)
  for (const text of texts(3)) await master.send('a', 0, text)
  for (const text of texts(26)) master.note(text.padEnd(200_000, '.'))
  for (const text of texts(3)) await master.send('a', 0, text.padEnd(300))
  return master
}

for (const home of homes)
  test(`${home.name}: NOTHING counts as stored inside a state that has not come whole`, async (t) => {
    const machine = await home.machine(t)
    const master = await withLargeState(machine)
    const other = await home.machine(t, 2)
    let slave = await other.start()
    let inside = 0
    for (const end of (await boundaries(master)).slice(1)) {
      await slave.follow(master, 1, end)
      const safe = slave.store.endsInState ? slave.store.storedPosition : end
      while (slave.store.storedPosition < safe) await other.until(Promise.resolve())
      for (let turns = 0; turns < 20; turns++) await other.until(Promise.resolve())
      other.clock.advance(1_000)
      for (let turns = 0; turns < 20; turns++) await other.until(Promise.resolve())
      t.true(slave.store.storedPosition <= safe && slave.owner.storedPosition <= safe)
      t.true(slave.store.syncedPosition <= safe)
      if (slave.store.endsInState) {
        inside++
        t.throws(() => slave.append('a', 0, 'own'), { message: /ends inside a state/ })
        if (inside % 2 === 0) await slave.close()
        else await other.kill()
        slave = await other.start()
        t.is(slave.store.endPosition, safe)
        t.false(slave.store.endsInState)
        await slave.follow(master, 1, end)
      } else t.is(slave.store.storedPosition, end)
    }
    t.true(inside >= 2, `${inside}`)
    t.deepEqual(slave.derived(names), master.derived(names))
    await slave.close()
    const again = await other.start()
    t.deepEqual(again.derived(names), master.derived(names))
    t.deepEqual(await other.logFiles(), await machine.logFiles())
    await again.close()
    await master.close()
  })

test('a store: appends are told once a turn, BEFORE they are written, while a write is under way too', async (t) => {
  const machine = await simulated.machine(t)
  const running = await machine.start()
  machine.latencyMs = (operation) => (operation === 'write' ? 10 : 0)
  for (const text of texts(100)) running.append('a', 0, text)
  const first = running.store.endPosition
  machine.clock.settle()
  t.deepEqual(running.owner.told, [`appended ${first}`])
  for (const text of texts(100)) running.append('a', 0, text)
  const second = running.store.endPosition
  machine.clock.settle()
  machine.clock.settle()
  t.deepEqual(running.owner.told, [`appended ${first}`, `appended ${second}`])
  machine.clock.advance(10)
  machine.clock.advance(10)
  t.deepEqual(running.owner.told.slice(2), [`stored ${first}`, `stored ${second}`])
})

test('a store that follows begins no segment of its own, however long it is idle', async (t) => {
  const master = await written(await simulated.machine(t), { segmentBytes: 2_000 })
  const machine = await simulated.machine(t, 2)
  const slave = await machine.start({ segmentBytes: 2_000 })
  await slave.follow(master)
  await slave.stored()
  const { endPosition } = slave.store
  for (let i = 0; i < 5; i++) await machine.checked(80 * 3_600_000)
  t.is(slave.store.endPosition, endPosition)
  slave.beginEpoch(9)
  await slave.stored()
  const own = slave.store.endPosition
  for (let i = 0; i < 5; i++) await machine.checked(80 * 3_600_000)
  t.true(slave.store.endPosition > own)
})

test('a store: epochs never fall', async (t) => {
  const running = await written(await simulated.machine(t), {})
  running.store.epoch = 1
  t.throws(() => running.append('a', 0, 'x'), { message: /epoch 1 after epoch 4/ })
  t.is(running.store.lastEpoch, 4)
})
