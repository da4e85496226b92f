/** The register in a file: what damage, failing disks and second servers do to it. */
import { crc32 } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import { realDisk } from '../../actors/node/disk.ts'
import { registerBytes, registerValues } from '../../actors/node/register-file.ts'
import { SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import type { Disk } from '../../actors/node/world.ts'
import { fail, type Outcome } from '../../transport/failures.ts'
import { createHub } from '../../transport/memory.ts'
import type { Held } from '../../transport/register.ts'
import { servedRegister } from '../../transport/register-served.ts'
import { temporaryFolder } from '../support/processes.ts'
import { held, read, subjects, swap, swapSurely, tryServe } from '../support/registers.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { ask, clock, notedLog, random } from '../support/transports.ts'
import { until } from '../support/until.ts'

const PATH = '/register/register.json'

function place(t: ExecutionContext) {
  const log = notedLog()
  const hub = createHub({ clock, random, log })
  const simulated = new SimulatedDisk({ clock, random: seededRandom(1) })
  const register = servedRegister(hub.connect(), subjects, clock)
  t.teardown(() => register.close())
  return { log, hub, simulated, disk: simulated.mount(), register }
}

const readFile = (disk: Disk, path: string) =>
  new Promise<string>((resolve) =>
    disk.readFile(path, (outcome) => resolve(outcome.ok ? String(outcome.value) : outcome.failure.code)),
  )
const writeFile = (disk: Disk, path: string, text: string) =>
  new Promise<Outcome<void>>((resolve) => disk.replaceFile(path, Buffer.from(text), resolve))

const stop = (server: { close(done: () => void): void }) =>
  new Promise<void>((resolve) => server.close(resolve))

test('register server: its file names format, checksum and every key with its revision', async (t) => {
  const { hub, disk, register } = place(t)
  await tryServe(hub.connect(), disk)
  await swap(register, 'broker-a', 0, { epoch: 1 })
  const file = JSON.parse(await readFile(disk, PATH))
  const values = [{ key: 'broker-a', held: { revision: 1, value: { epoch: 1 } } }]
  t.deepEqual(file, { format: 1, checksum: crc32(JSON.stringify(values)), values })
})

test('register server: a file keeps every key and value as it is', (t) => {
  const values = new Map<string, Held>([
    ['__proto__', { revision: 3, value: { a: [1, 'ü', null], b: { c: 1e21 } } }],
    ['12', { revision: 1, value: '12' }],
    ['3', { revision: 2, value: null }],
  ])
  const outcome = registerValues('x', registerBytes(values))
  t.deepEqual(outcome, { ok: true, value: values })
})

for (const [what, damage] of Object.entries<(text: string) => string>({
  'a bit': (text) => text.replace('"epoch":1', '"epoch":3'),
  'its end': (text) => text.slice(0, -9),
  'all of it': () => '',
  'its checksum': (text) => text.replace(/"checksum":\d+/, '"checksum":1'),
  'its form': () => `{"format":1,"checksum":${crc32('{}')},"values":{}}`,
  'a revision': () => {
    const values = '[{"key":"a","held":{"revision":0,"value":1}}]'
    return `{"format":1,"checksum":${crc32(values)},"values":${values}}`
  },
  'its kind': () => 'null',
}))
  test(`register server: a file that has lost ${what} is NEVER served, and stays as it is`, async (t) => {
    const { hub, disk, register } = place(t)
    const server = await tryServe(hub.connect(), disk)
    await swap(register, 'a', 0, { epoch: 1 })
    await stop(server)
    const damaged = damage(await readFile(disk, PATH))
    await writeFile(disk, PATH, damaged)
    const error = await t.throwsAsync(tryServe(hub.connect(), disk))
    t.regex(error!.message, /register\.json is damaged \(.+\): put a copy of it back.*stop all brokers/)
    t.is(await readFile(disk, PATH), damaged)
    t.false((await read(register, 'a')).ok)
    await writeFile(disk, PATH, damaged) // The folder was given back: who puts a copy there can start.
    await t.throwsAsync(tryServe(hub.connect(), disk), { message: /is damaged/ })
  })

test('register server: a file of a newer format is refused', async (t) => {
  const { hub, disk } = place(t)
  await writeFile(disk, PATH, '{"format":2}')
  const error = await t.throwsAsync(tryServe(hub.connect(), disk))
  t.regex(error!.message, /has format 2, this StateMQ reads 1: start a newer StateMQ/)
})

test('register server: a second server is kept out of the folder by its lock', async (t) => {
  const folder = await temporaryFolder(t)
  const { hub } = place(t)
  const server = await tryServe(hub.connect(), realDisk, folder)
  const elsewhere = createHub({ clock, random, log: notedLog() })
  await t.throwsAsync(tryServe(elsewhere.connect(), realDisk, folder), { message: /is in use by process/ })
  await stop(server)
  await stop(await tryServe(elsewhere.connect(), realDisk, folder))
})

test('register server: a second server of the same cluster is refused', async (t) => {
  const { hub, disk, register } = place(t)
  const server = await tryServe(hub.connect(), disk)
  await swap(register, 'a', 0, 1)
  const error = await t.throwsAsync(tryServe(hub.connect(), disk, '/elsewhere'))
  t.regex(error!.message, /another node serves the register of this cluster/)
  await stop(server)
  await stop(await tryServe(hub.connect(), disk, '/elsewhere'))
})

test('register server: a swap is answered AFTER it is on disk', async (t) => {
  const { hub, register } = place(t)
  const { disk, held: holding } = slowDisk(t)
  await tryServe(hub.connect(), disk)
  const writes = holding()
  let isAnswered = false
  const swapped = swap(register, 'a', 0, 1)
  void swapped.then(() => {
    isAnswered = true
  })
  await until('it writes', () => writes.waiting.length === 1)
  t.is(await held(register, 'a'), null)
  t.false(isAnswered)
  writes.release()
  t.deepEqual(await swapped, { result: 'ok', revision: 1 })
})

/** A disk whose writes wait for the test, from the moment on that `held` is called. */
function slowDisk(t: ExecutionContext) {
  const { disk: inner } = place(t)
  let waiting: (() => void)[] | null = null
  const disk: Disk = {
    ...bound(inner),
    replaceFile(path, bytes, answered) {
      const write = () => inner.replaceFile(path, bytes, answered)
      if (waiting === null) write()
      else waiting.push(write)
    },
  }
  return {
    disk,
    held() {
      const held: (() => void)[] = []
      waiting = held
      return {
        waiting: held,
        release() {
          waiting = null
          for (const write of held.splice(0)) write()
        },
      }
    },
  }
}

const bound = (disk: Disk): Disk => ({
  open: (...given) => disk.open(...given),
  readFile: (...given) => disk.readFile(...given),
  replaceFile: (...given) => disk.replaceFile(...given),
  list: (...given) => disk.list(...given),
  remove: (...given) => disk.remove(...given),
  space: (...given) => disk.space(...given),
  lock: (...given) => disk.lock(...given),
})

test('register server: swaps are done one AFTER the other', async (t) => {
  const { hub, register } = place(t)
  const { disk, held: holding } = slowDisk(t)
  await tryServe(hub.connect(), disk)
  const writes = holding()
  const swaps = [1, 2, 3].map((value) => swap(register, 'a', 0, value))
  const other = swap(register, 'b', 0, 'b')
  await until('it writes', () => writes.waiting.length > 0)
  await ask(hub.connect(), subjects.register.read, JSON.stringify({ key: 'a' }))
  t.is(writes.waiting.length, 1)
  writes.release()
  const outcomes = await Promise.all(swaps)
  t.deepEqual(outcomes, [
    { result: 'ok', revision: 1 },
    { result: 'conflict', held: { revision: 1, value: 1 } },
    { result: 'conflict', held: { revision: 1, value: 1 } },
  ])
  t.deepEqual(await other, { result: 'ok', revision: 1 })
})

test('register server: a write that fails is unknown, and the SAME swap is done later', async (t) => {
  const { log, hub, simulated, disk, register } = place(t)
  await tryServe(hub.connect(), disk, '/register', log)
  await swap(register, 'a', 0, 1)
  const heal = simulated.fail({ operation: 'replaceFile', code: 'ioError' })
  const outcome = await swap(register, 'a', 1, 2)
  t.is(outcome.result, 'unknown')
  t.regex(outcome.result === 'unknown' ? outcome.failure.message : '', /whether it was done is unknown/)
  await until('it tried to write again', () =>
    log.lines.some((line) => /cannot be read and written/.test(line)),
  )
  t.is((await swap(register, 'a', 1, 2)).result, 'unknown')
  t.deepEqual(await held(register, 'a'), { revision: 1, value: 1 })
  heal()
  t.deepEqual(await swapSurely(register, 'a', 1, 2), { result: 'ok', revision: 2 })
})

test('register server: a write that was done although it failed is found BEFORE the next swap', async (t) => {
  const { hub, disk: inner, register } = place(t)
  let fails = false
  const disk: Disk = {
    ...bound(inner),
    replaceFile(path, bytes, answered) {
      const isFailing = fails
      fails = false
      const lie = (outcome: Outcome<void>) =>
        answered(isFailing ? fail('ioError', 'the folder broke') : outcome)
      inner.replaceFile(path, bytes, lie)
    },
  }
  await tryServe(hub.connect(), disk)
  await swap(register, 'a', 0, 'old')
  fails = true
  t.is((await swap(register, 'a', 1, 'mine')).result, 'unknown')
  t.deepEqual(await swapSurely(register, 'a', 1, 'other'), {
    result: 'conflict',
    held: { revision: 2, value: 'mine' },
  })
})

test('register server: what it finds at its start is written once more BEFORE it is served', async (t) => {
  const { hub, disk: inner, register } = place(t)
  const first = await tryServe(hub.connect(), inner)
  await swap(register, 'a', 0, 1)
  await stop(first)
  const order: string[] = []
  const disk: Disk = {
    ...bound(inner),
    readFile(path, answered) {
      order.push('read')
      inner.readFile(path, answered)
    },
    replaceFile(path, bytes, answered) {
      order.push(`write ${bytes.length}`)
      inner.replaceFile(path, bytes, answered)
    },
  }
  const bytes = (await readFile(inner, PATH)).length
  await tryServe(hub.connect(), disk)
  t.deepEqual(order, ['read', `write ${bytes}`])
})

test('register server: a file that vanished while it was in use is no empty register', async (t) => {
  const { log, hub, simulated, disk, register } = place(t)
  await tryServe(hub.connect(), disk, '/register', log)
  await swap(register, 'a', 0, 1)
  const kept = await readFile(disk, PATH)
  simulated.remove(PATH)
  simulated.fail({ operation: 'replaceFile', code: 'ioError', times: 1 })
  t.is((await swap(register, 'a', 1, 2)).result, 'unknown')
  await until('it tells of it', () =>
    log.fields.some((fields) =>
      /was removed or replaced while it was in use/.test(JSON.stringify(fields ?? '')),
    ),
  )
  t.is((await swap(register, 'a', 0, 'anew')).result, 'unknown')
  await writeFile(disk, PATH, kept)
  t.deepEqual(await swapSurely(register, 'a', 1, 2), { result: 'ok', revision: 2 })
})

test('register server: a disk that is full refuses to start it, with a sentence', async (t) => {
  const { hub, simulated, disk } = place(t)
  simulated.totalBytes = 10
  await t.throwsAsync(tryServe(hub.connect(), disk), { message: /failed: diskFull/ })
})

test('register server: requests that are none are refused, and it goes on', async (t) => {
  const { hub, disk, register } = place(t)
  await tryServe(hub.connect(), disk)
  const stranger = hub.connect()
  const large = 'x'.repeat(70_000)
  for (const request of [
    'no JSON',
    '{}',
    '{"key":"a b","expected":0,"value":1}',
    '{"key":"a.>","expected":0,"value":1}',
    '{"key":"a","expected":-1,"value":1}',
    '{"key":"a","expected":0}',
    `{"key":"a","expected":0,"value":"${large}"}`,
  ]) {
    const answer = JSON.parse(await ask(stranger, subjects.register.swap, request))
    t.is(answer.code, 29, request.slice(0, 60))
  }
  t.deepEqual(await swap(register, 'a', 0, 1), { result: 'ok', revision: 1 })
})

test('register server: closing finishes the write under way and answers it', async (t) => {
  const { hub, register } = place(t)
  const { disk, held: holding } = slowDisk(t)
  const server = await tryServe(hub.connect(), disk)
  const writes = holding()
  const first = swap(register, 'a', 0, 1)
  const second = swap(register, 'b', 0, 1)
  await until('it writes', () => writes.waiting.length === 1)
  let isClosed = false
  const closed = Promise.all([stop(server), stop(server)]).then(() => {
    isClosed = true
  })
  await ask(hub.connect(), 'nobody.here')
  t.false(isClosed)
  writes.release()
  t.deepEqual(await first, { result: 'ok', revision: 1 })
  t.is((await second).result, 'unknown')
  await closed
  await tryServe(hub.connect(), disk)
  t.deepEqual(await held(register, 'a'), { revision: 1, value: 1 })
  t.is(await held(register, 'b'), null)
})

test('register server: it can be closed while its disk fails', async (t) => {
  const { hub, simulated, disk, register } = place(t)
  const server = await tryServe(hub.connect(), disk)
  const heal = simulated.fail({ operation: 'replaceFile', code: 'ioError' })
  t.is((await swap(register, 'a', 0, 1)).result, 'unknown')
  await stop(server)
  heal()
  await stop(await tryServe(hub.connect(), disk))
})

test('register server: what stood in the folder before a power cut is there AFTER it', async (t) => {
  const { hub, simulated, register } = place(t)
  const transport = hub.connect()
  await tryServe(transport, simulated.mount())
  for (let revision = 0; revision < 5; revision++) await swap(register, 'a', revision, revision)
  simulated.crash({ losesUnsynced: true })
  transport.sever()
  await tryServe(hub.connect(), simulated.mount())
  t.deepEqual(await held(register, 'a'), { revision: 5, value: 4 })
})
