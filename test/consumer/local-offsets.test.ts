/** LocalOffsets: a broadcasting consumer comes back to where it was, whatever became of its file. */
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { type LocalOffsets, offsetsFolder, openLocalOffsets } from '../../actors/consumer/local-offsets.ts'
import { realDisk } from '../../actors/node/disk.ts'
import { SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import type { World } from '../../actors/node/world.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { notedLog } from '../support/transports.ts'
import { virtualClock } from '../support/virtual-clock.ts'

const names = { dir: '/offsets', cluster: 'test', clientId: 'me@home', group: '%RETRY%a|b' }
const FILE = join(offsetsFolder(names), 'offsets.json')

class Bench {
  readonly clock = virtualClock()
  readonly log = notedLog()
  readonly disk = new SimulatedDisk({ clock: this.clock, random: seededRandom(1) })
  readonly positions = new Map<string, number>()

  open(own: Partial<typeof names> = {}): Promise<LocalOffsets> {
    const world = { clock: this.clock, log: this.log, disk: this.disk.mount() } as unknown as World
    return this.settle(openLocalOffsets(world, { ...names, ...own, positions: () => this.positions }))
  }

  /** Lets the disk answer. */
  async settle<T>(promise: Promise<T>): Promise<T> {
    const state = { isSettled: false }
    const end = () => {
      state.isSettled = true
    }
    promise.then(end, end)
    while (!state.isSettled) {
      this.clock.advance(0)
      await new Promise((resolve) => setImmediate(resolve))
    }
    return promise
  }

  text(path = FILE): string {
    return this.disk.readFile(path)!.toString()
  }
}

test('offsets: a consumer that comes back goes on where it was', async (t) => {
  const bench = new Bench()
  const offsets = await bench.open()
  t.is(offsets.of('orders/a/0'), undefined)
  bench.positions.set('orders/a/0', 17).set('orders/b/3', 0)
  await bench.settle(offsets.close())
  const again = await bench.open()
  t.deepEqual([again.of('orders/a/0'), again.of('orders/b/3'), again.of('orders/a/1')], [17, 0, undefined])
  t.deepEqual([again.knows('orders'), again.knows('order')], [true, false])
})

test('offsets: what is read is written every five seconds, and only when it has changed', async (t) => {
  const bench = new Bench()
  await bench.open()
  bench.positions.set('orders/a/0', 1)
  const pass = async (ms: number) => {
    bench.clock.advance(ms)
    for (let i = 0; i < 20; i++) await bench.settle(Promise.resolve())
  }
  await pass(4_999)
  t.is(bench.disk.readFile(FILE), null)
  await pass(1)
  t.regex(bench.text(), /"orders\/a\/0": 1\n/)
  await pass(5_000)
  t.is(bench.disk.readFile(`${FILE}.bak`), null)
  bench.positions.set('orders/a/0', 2)
  await pass(5_000)
  t.regex(bench.text(), /"orders\/a\/0": 2\n/)
  t.regex(bench.text(`${FILE}.bak`), /"orders\/a\/0": 1\n/)
})

test('offsets: a queue that is not read any more is kept where it was', async (t) => {
  const bench = new Bench()
  const offsets = await bench.open()
  offsets.keep('orders/a/0', 5)
  await bench.settle(offsets.close())
  t.is((await bench.open()).of('orders/a/0'), 5)
})

test('offsets: AT MOST ONE live consumer has a file, and the other one is told what to do', async (t) => {
  const bench = new Bench()
  const offsets = await bench.open()
  const error = await t.throwsAsync(bench.open(), { code: 'IN_USE' })
  t.regex(error!.message, /clientId 'me@home' .* give each its own clientId or offsetsDir/)
  await t.notThrowsAsync(bench.open({ group: 'another' }))
  await bench.settle(offsets.close())
  await t.notThrowsAsync(bench.open())
})

test('offsets: those of a process that died are there for its successor', async (t) => {
  const bench = new Bench()
  const offsets = await bench.open()
  bench.positions.set('orders/a/0', 7)
  await bench.settle(offsets.close())
  await bench.open()
  bench.disk.crash({ losesUnsynced: true })
  t.is((await bench.open()).of('orders/a/0'), 7)
})

for (const [what, content] of [
  ['is cut off', '{"version":1,"offs'],
  ['is empty', ''],
  ['is of another version', '{"version":2,"offsets":{"orders/a/0":9}}'],
  ['has a negative offset', '{"version":1,"offsets":{"orders/a/0":-1}}'],
  ['has an offset that is no number', '{"version":1,"offsets":{"orders/a/0":"9"}}'],
  ['has no offsets', '{"version":1}'],
  ['is null', 'null'],
  ['is no text', Buffer.from([0xff, 0xfe, 0, 1])],
] as const) {
  test(`offsets: of a file that ${what} the one before is used, and a copy is kept`, async (t) => {
    const bench = new Bench()
    const disk = bench.disk.mount()
    const write = (path: string, bytes: string | Buffer) =>
      bench.settle(new Promise((resolve) => disk.replaceFile(path, Buffer.from(bytes as string), resolve)))
    await write(FILE, content)
    await write(`${FILE}.bak`, '{"version":1,"offsets":{"orders/a/0":3}}')
    const offsets = await bench.open()
    t.is(offsets.of('orders/a/0'), 3)
    t.deepEqual(bench.disk.readFile(`${FILE}.damaged`), Buffer.from(content as string))
    t.regex(JSON.stringify(bench.log.lines), /the file of offsets is damaged, the one before is used/)
    bench.positions.set('orders/a/0', 4)
    await bench.settle(offsets.close())
    t.is((await bench.open()).of('orders/a/0'), 4)
  })
}

test('offsets: without any file that can be read the consumer begins as a new one does, loudly', async (t) => {
  const bench = new Bench()
  const disk = bench.disk.mount()
  for (const path of [FILE, `${FILE}.bak`])
    await bench.settle(new Promise((resolve) => disk.replaceFile(path, Buffer.from('x'), resolve)))
  const offsets = await bench.open()
  t.false(offsets.knows('orders'))
  t.regex(JSON.stringify(bench.log.lines), /begins where its option 'from' says/)
})

test('offsets: a disk that is full delays them, loudly, and loses nothing of the file before', async (t) => {
  const bench = new Bench()
  const first = await bench.open()
  bench.positions.set('orders/a/0', 1)
  await bench.settle(first.close())
  const offsets = await bench.open()
  bench.positions.set('orders/a/0', 2)
  const heal = bench.disk.fail({ operation: 'replaceFile', code: 'diskFull' })
  bench.clock.advance(5_000)
  for (let i = 0; i < 20; i++) await bench.settle(Promise.resolve())
  t.regex(bench.text(), /"orders\/a\/0": 1\n/)
  t.is(bench.log.lines.length, 1)
  heal()
  await bench.settle(offsets.close())
  t.regex(bench.text(), /"orders\/a\/0": 2\n/)
})

test('offsets: a folder that cannot be used is told of, and its lock is let go', async (t) => {
  const bench = new Bench()
  const heal = bench.disk.fail({ operation: 'readFile', code: 'ioError' })
  await t.throwsAsync(bench.open(), { code: 'IO_ERROR' })
  heal()
  await t.notThrowsAsync(bench.open())
})

async function realFolder(t: ExecutionContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'statemq-offsets-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  return dir
}

test('offsets: on a real disk, names of every kind are folders', async (t) => {
  const dir = await realFolder(t)
  const world = { clock: virtualClock(), log: notedLog(), disk: realDisk } as unknown as World
  const options = { ...names, dir, positions: () => new Map([['orders/a/0', 12]]) }
  const offsets = await openLocalOffsets(world, options)
  await t.throwsAsync(openLocalOffsets(world, options), { code: 'IN_USE' })
  await offsets.close()
  t.deepEqual(await readdir(offsetsFolder(options)), ['offsets.json'])
  t.is((await openLocalOffsets(world, options)).of('orders/a/0'), 12)
})
