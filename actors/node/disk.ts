/**
 * The real disk: the only file that touches node:fs.
 *
 * AFTER a call that makes, replaces or removes a name has called back, a power cut does not undo it: the folder is
 * synced with it. What was written into a file is safe only AFTER `sync`. A path is replaced by one caller at a time.
 */
import * as fs from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { done, type FailureCode, fail, type Outcome, succeed } from '../../transport/failures.ts'
import type { Disk, DiskFile } from './world.ts'

type Done<T> = (outcome: Outcome<T>) => void
type SystemError = Error & { code?: string | undefined }

const codes: Readonly<Record<string, FailureCode>> = {
  ENOSPC: 'diskFull',
  EDQUOT: 'diskFull',
  ENOENT: 'missing',
}

function failed(what: string, error: SystemError) {
  const code = codes[error.code ?? ''] ?? 'ioError'
  return fail(code, `${what} failed: ${error.message}`, code === 'diskFull', error)
}

const ending =
  (what: string, done_: Done<void>) =>
  (error?: SystemError | null): void =>
    done_(error == null ? done : failed(what, error))

/** The rare calls are written with promises; the ones for every write and read are not. */
function settle<T>(what: string, promise: Promise<T>, done_: Done<T>): void {
  promise.then(
    (value) => done_(succeed(value)),
    (error: SystemError) => done_(failed(what, error)),
  )
}

class RealFile implements DiskFile {
  readonly path: string
  readonly #descriptor: number

  constructor(path: string, descriptor: number) {
    this.path = path
    this.#descriptor = descriptor
  }

  write(buffers: readonly Uint8Array[], position: number, done_: Done<void>): void {
    let left = 0
    for (const buffer of buffers) left += buffer.length
    fs.writev(this.#descriptor, buffers, position, (error, written) => {
      if (error !== null) done_(failed(`writing ${left} bytes to ${this.path}`, error))
      else if (written === left) done_(done)
      else if (written === 0) done_(fail('ioError', `${this.path} takes no more bytes at ${position}`))
      else this.write(withoutFirst(buffers, written), position + written, done_)
    })
  }

  read(into: Uint8Array, position: number, done_: Done<number>): void {
    this.#readOn(into, position, 0, done_)
  }

  // The system may hand over less than there is; only 0 bytes mean the end of the file.
  #readOn(into: Uint8Array, position: number, have: number, done_: Done<number>): void {
    fs.read(this.#descriptor, into, have, into.length - have, position + have, (error, count) => {
      if (error !== null) done_(failed(`reading ${this.path} at ${position}`, error))
      else if (count === 0 || have + count === into.length) done_(succeed(have + count))
      else this.#readOn(into, position, have + count, done_)
    })
  }

  sync(done_: Done<void>): void {
    fs.fdatasync(this.#descriptor, ending(`syncing ${this.path}`, done_))
  }

  truncate(size: number, done_: Done<void>): void {
    fs.ftruncate(this.#descriptor, size, ending(`cutting ${this.path} to ${size} bytes`, done_))
  }

  close(done_: Done<void>): void {
    fs.close(this.#descriptor, ending(`closing ${this.path}`, done_))
  }
}

function withoutFirst(buffers: readonly Uint8Array[], count: number): Uint8Array[] {
  const left: Uint8Array[] = []
  for (const buffer of buffers) {
    if (count < buffer.length) left.push(buffer.subarray(count))
    count = Math.max(0, count - buffer.length)
  }
  return left
}

export const realDisk: Disk = {
  open: (path, done_) => settle(`opening ${path}`, openFile(path), done_),

  readFile(path, done_) {
    fs.readFile(path, (error, bytes) => {
      if (error === null) done_(succeed(bytes))
      else done_(isMissing(error) ? succeed(null) : failed(`reading ${path}`, error))
    })
  },

  replaceFile: (path, bytes, done_) => settle(`writing ${path}`, replaceFile(path, bytes), done_),

  list(folder, done_) {
    fs.readdir(folder, (error, names) => {
      if (error === null) done_(succeed(names.sort()))
      else done_(isMissing(error) ? succeed([]) : failed(`listing ${folder}`, error))
    })
  },

  remove: (path, done_) => settle(`removing ${path}`, removeAll(path), done_),

  space(folder, done_) {
    fs.statfs(folder, (error, stats) => {
      if (error !== null) return done_(failed(`asking for the free space at ${folder}`, error))
      const { bsize, blocks, bfree, bavail } = stats
      // What is reserved for root counts neither as used nor as free: so reckon df and RocketMQ.
      done_(succeed({ totalBytes: (blocks - bfree + bavail) * bsize, freeBytes: bavail * bsize }))
    })
  },

  lock(folder, done_) {
    makeFolder(folder).then(
      () => done_(takeLock(folder)),
      (error) => done_(failed(`making the folder ${folder}`, error)),
    )
  },
}

const openDescriptor = promisify(fs.open)
const statDescriptor = promisify(fs.fstat)

async function openFile(path: string): Promise<{ file: DiskFile; size: number }> {
  let descriptor: number
  try {
    descriptor = await openDescriptor(path, 'r+')
  } catch (error) {
    if (!isMissing(error as SystemError)) throw error
    await makeFolder(dirname(path))
    descriptor = await openDescriptor(path, 'w+')
    await syncFolder(dirname(path))
  }
  const { size } = await statDescriptor(descriptor)
  return { file: new RealFile(path, descriptor), size }
}

async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  const draft = `${path}.new`
  await makeFolder(dirname(path))
  const file = await open(draft, 'w')
  try {
    await file.writeFile(bytes)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(draft, path)
  await syncFolder(dirname(path))
}

async function removeAll(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true })
  if (fs.existsSync(dirname(path))) await syncFolder(dirname(path))
}

/** Makes a folder with its parents, and syncs each folder that got a new name. */
async function makeFolder(folder: string): Promise<void> {
  // A relative path has no end to climb to: the folder of '.' is '.'.
  const whole = resolve(folder)
  const first = await mkdir(whole, { recursive: true })
  if (first === undefined) return
  for (let made = whole; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made))
}

async function syncFolder(folder: string): Promise<void> {
  // Windows has no sync of folders: its file system keeps names by itself.
  if (process.platform === 'win32') return
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

const isMissing = (error: SystemError): boolean => error.code === 'ENOENT'

/**
 * The lock of a folder is a file that names the process that holds it. AT MOST ONE live process holds it. A process is
 * known by its id AND its start: ids are used again, and what a killed process left must not keep its successor out.
 * Synchronous, because it happens once.
 */
function takeLock(folder: string): Outcome<{ release(): void }> {
  const path = join(folder, 'lock')
  const mine = JSON.stringify({ pid: process.pid, started: startOf(process.pid) ?? '' })
  const draft = `${path}.${process.pid}`
  try {
    fs.writeFileSync(draft, mine)
    for (let tries = 0; tries < 3; tries++) {
      if (link(draft, path)) return succeed({ release: () => releaseLock(path, mine) })
      const found = readIfThere(path)
      if (found === null) continue
      const holder = livingHolder(found)
      if (holder !== null)
        return fail('inUse', `${folder} is in use by process ${holder}: stop it or choose another folder`)
      setAside(path, found, `${draft}.stale`)
    }
    return fail('inUse', `${folder} is being taken by other processes at this moment`, true)
  } catch (error) {
    return failed(`locking ${folder}`, error as SystemError)
  } finally {
    fs.rmSync(draft, { force: true })
  }
}

/** False when the name is taken. Unlike a write, a link never shows half a file. */
function link(from: string, to: string): boolean {
  try {
    fs.linkSync(from, to)
    return true
  } catch (error) {
    if ((error as SystemError).code === 'EEXIST') return false
    throw error
  }
}

/** Moves a dead process's lock away; puts it back when a live process has put its own there meanwhile. */
function setAside(path: string, stale: string, aside: string): void {
  try {
    fs.renameSync(path, aside)
  } catch (error) {
    if (isMissing(error as SystemError)) return
    throw error
  }
  if (readIfThere(aside) !== stale) link(aside, path)
  fs.rmSync(aside, { force: true })
}

function releaseLock(path: string, mine: string): void {
  if (readIfThere(path) === mine) fs.rmSync(path, { force: true })
}

function readIfThere(path: string): string | null {
  try {
    return fs.readFileSync(path, 'utf8')
  } catch (error) {
    // ESRCH: a process that ended while its entry in /proc was read.
    if (isMissing(error as SystemError) || (error as SystemError).code === 'ESRCH') return null
    throw error
  }
}

/** The process that a lock file names, when it lives; null for a dead one and for a file that names nobody. */
function livingHolder(text: string): number | null {
  let holder: { pid?: unknown; started?: unknown } | null
  try {
    holder = JSON.parse(text)
  } catch {
    return null
  }
  const pid = holder?.pid
  if (typeof pid !== 'number') return null
  const started = startOf(pid)
  return started !== null && (started === '' || started === holder?.started) ? pid : null
}

/** When a process was started: boot and ticks since then. Null when it is dead, '' where only its life can be told. */
function startOf(pid: number): string | null {
  const stat = readIfThere(`/proc/${pid}/stat`)
  if (stat === null) return fs.existsSync('/proc/self/stat') ? null : answersSignals(pid)
  // The program's name stands in brackets and may hold anything, brackets and blanks too.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  // A zombie holds nothing any more: it waits for its parent to look at it.
  if (fields[0] === 'Z' || fields[0] === 'X') return null
  return `${readIfThere('/proc/sys/kernel/random/boot_id')?.trim() ?? ''}:${fields[19]}`
}

function answersSignals(pid: number): '' | null {
  try {
    process.kill(pid, 0)
    return ''
  } catch (error) {
    return (error as SystemError).code === 'EPERM' ? '' : null
  }
}
