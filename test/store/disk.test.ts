import { execFile, spawn } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import test from 'ava'
import type { Disk, DiskFile } from '../../actors/node/world.ts'
import { ask, homes, type Machine, real, simulated } from './support.ts'

type Opened = { file: DiskFile; size: number }
const open = (machine: Machine, path: string): Promise<Opened> =>
  machine.do((done) => machine.disk.open(`${machine.folder}/${path}`, done))
const write = (machine: Machine, file: DiskFile, text: string, position: number) =>
  machine.do<void>((done) => file.write([Buffer.from(text)], position, done))
const lock = (machine: Machine, disk: Disk = machine.disk) =>
  machine.until(ask<{ release(): void }>((done) => disk.lock(machine.folder, done)))

for (const home of homes) {
  test(`${home.name}: a file is made with its folders and keeps what is written`, async (t) => {
    const machine = await home.machine(t)
    const { file, size } = await open(machine, 'a/b/c')
    t.is(size, 0)
    const parts = Array.from({ length: 3_000 }, (_, i) => Buffer.from(`${i},`))
    await machine.do<void>((done) => file.write(parts, 10, done))
    const whole = Buffer.concat([Buffer.alloc(10), ...parts])
    const into = Buffer.alloc(whole.length + 5)
    t.is(await machine.do<number>((done) => file.read(into, 0, done)), whole.length)
    t.deepEqual(into.subarray(0, whole.length), whole)
    t.is(await machine.do<number>((done) => file.read(into, whole.length, done)), 0)
    await machine.do<void>((done) => file.close(done))
    t.is((await open(machine, 'a/b/c')).size, whole.length)
    t.deepEqual(await machine.list('a'), ['b'])
  })

  test(`${home.name}: what was cut reads as zeros when the file grows again`, async (t) => {
    const machine = await home.machine(t)
    const { file } = await open(machine, 'f')
    await write(machine, file, 'x'.repeat(10_000), 0)
    await machine.do<void>((done) => file.truncate(3, done))
    await write(machine, file, 'y', 9_000)
    t.deepEqual(
      await machine.read(`${machine.folder}/f`),
      Buffer.concat([Buffer.from('xxx'), Buffer.alloc(8_997), Buffer.from('y')]),
    )
  })

  test(`${home.name}: a replaced file is the new one, and readers of the old one go on`, async (t) => {
    const machine = await home.machine(t)
    const path = `${machine.folder}/deep/f`
    await machine.write(path, Buffer.from('old'))
    const { file } = await open(machine, 'deep/f')
    await machine.write(path, Buffer.from('newer'))
    t.is(String(await machine.read(path)), 'newer')
    const into = Buffer.alloc(10)
    t.is(await machine.do<number>((done) => file.read(into, 0, done)), 3)
    t.deepEqual(await machine.list('deep'), ['f'])
  })

  test(`${home.name}: what is not there is null, empty, or removed already`, async (t) => {
    const machine = await home.machine(t)
    const path = `${machine.folder}/no/such`
    t.is(await machine.do((done) => machine.disk.readFile(path, done)), null)
    t.deepEqual(await machine.list('no'), [])
    await machine.remove(path)
    await machine.write(`${machine.folder}/no/such/file`, Buffer.from('x'))
    await machine.remove(`${machine.folder}/no`)
    t.deepEqual(await machine.list('no'), [])
    const space = await machine.do<{ totalBytes: number; freeBytes: number }>((done) =>
      machine.disk.space(machine.folder, done),
    )
    t.true(space.totalBytes >= space.freeBytes && space.freeBytes > 0)
  })

  test(`${home.name}: a folder is locked once, until it is released`, async (t) => {
    const machine = await home.machine(t)
    const first = await lock(machine)
    const second = await lock(machine)
    t.is(second.ok ? '' : second.failure.code, 'inUse')
    if (first.ok) first.value.release()
    t.true((await lock(machine)).ok)
  })
}

test('real disk: the lock of a dead process is taken over, that of a live one names it', async (t) => {
  const machine = await real.machine(t)
  const path = `${machine.folder}/lock`
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
  t.teardown(() => child.kill('SIGKILL'))
  const stat = await readFile(`/proc/${child.pid}/stat`, 'utf8').catch(() => '')
  if (stat === '') return t.pass('no /proc here')
  const ticks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
  const held = JSON.stringify({ pid: child.pid, started: `${bootId}:${ticks}` })

  await writeFile(path, held)
  const live = await lock(machine)
  t.false(live.ok)
  if (!live.ok)
    t.regex(live.failure.message, new RegExp(`${machine.folder} is in use by process ${child.pid}`))

  // The same id, another process: it was started at another time.
  await writeFile(path, JSON.stringify({ pid: child.pid, started: `${bootId}:1` }))
  const reused = await lock(machine)
  t.true(reused.ok)
  if (reused.ok) reused.value.release()

  await writeFile(path, held)
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await gone
  t.true((await lock(machine)).ok)
})

test('real disk: of many processes that take a stale lock at once, one gets it', async (t) => {
  const machine = await real.machine(t)
  const disk = new URL('../../actors/node/disk.js', import.meta.url).href
  const script = `import { realDisk } from ${JSON.stringify(disk)}
    realDisk.lock(${JSON.stringify(machine.folder)}, ({ ok }) => {
      console.log(ok ? 'mine' : 'not mine')
      process.stdin.once('end', () => process.exit()).resume()
    })`
  await writeFile(`${machine.folder}/lock`, '{"pid":999999999,"started":"x"}')
  const children = Array.from({ length: 5 }, () => {
    const child = execFile(process.execPath, ['--input-type=module', '-e', script])
    return { child, answer: new Promise((resolve) => child.stdout!.once('data', resolve)) }
  })
  const answers = await Promise.all(children.map(({ answer }) => answer))
  for (const { child } of children) child.stdin!.end()
  t.deepEqual(answers.map((answer) => String(answer).trim()).sort(), [
    'mine',
    'not mine',
    'not mine',
    'not mine',
    'not mine',
  ])
})

test('real disk: a folder with a name of one letter, below where the process stands, is made', async (t) => {
  const machine = await real.machine(t)
  const disk = new URL('../../actors/node/disk.js', import.meta.url).href
  const script = `import { realDisk } from ${JSON.stringify(disk)}
    realDisk.open('d/e/f', ({ ok }) => process.exit(ok ? 0 : 1))`
  const child = execFile(process.execPath, ['--input-type=module', '-e', script], {
    cwd: machine.folder,
    timeout: 20_000,
  })
  t.is(await new Promise((resolve) => child.once('exit', (code, signal) => resolve(signal ?? code))), 0)
  t.deepEqual(await machine.list('d'), ['e'])
})

test('simulated disk: a power cut keeps what was synced, and of the rest whole or torn pages', async (t) => {
  let kept = 0
  for (let seed = 1; seed <= 50; seed++) {
    const machine = await simulated.machine(t, seed)
    const { file } = await open(machine, 'f')
    await write(machine, file, 'a'.repeat(20_000), 0)
    await machine.do<void>((done) => file.sync(done))
    await write(machine, file, 'b'.repeat(20_000), 10_000)
    machine.simulated!.crash({ losesUnsynced: true })
    machine.disk = machine.simulated!.mount()
    const bytes = String(await machine.read(`${machine.folder}/f`))
    t.true(/^a{10000}[ab\0]*$/.test(bytes))
    t.true(bytes.length === 20_000 || bytes.length === 30_000)
    if (bytes.includes('b')) kept++
  }
  t.true(kept > 10 && kept < 50)
})

test('simulated disk: a crash ends what the process had under way, and its handles', async (t) => {
  const machine = await simulated.machine(t)
  const { disk } = machine
  const { file } = await open(machine, 'f')
  let answers = 0
  file.write([Buffer.alloc(100, 'x')], 0, () => answers++)
  machine.simulated!.crash({ losesUnsynced: false })
  file.write([Buffer.alloc(100, 'y')], 0, () => answers++)
  disk.list('/', () => answers++)
  machine.clock.advance(1_000)
  t.is(answers, 0)
  machine.disk = machine.simulated!.mount()
  t.regex(String(await machine.read(`${machine.folder}/f`)), /^x{0,100}$/)
})
