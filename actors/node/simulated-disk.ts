/**
 * A disk in memory that fails the way disks do, when it is told to.
 *
 * What is not synced may be lost with the power, page by page (simulated-file.ts). Names are safe once the call has
 * answered, as on the real disk. Everything is drawn from one Random and answered over one Clock: the same seed gives
 * the same disk.
 */
import { done, type FailureCode, fail, type Outcome, succeed } from '../../transport/failures.ts'
import { SimulatedFile } from './simulated-file.ts'
import type { Clock, Disk, DiskFile, Random } from './world.ts'

export type DiskOperation = keyof Disk | Exclude<keyof DiskFile, 'path'>

export type DiskFault = {
  readonly operation: DiskOperation
  /** A part of the path; every path when missing. */
  readonly path?: string
  readonly code: FailureCode
  /** So many of them fail and then no more; all when missing. */
  readonly times?: number
  /** Of a write that fails, so many bytes are written all the same. */
  readonly writes?: number
}

export type SimulatedDiskOptions = {
  readonly clock: Clock
  readonly random: Random
  readonly totalBytes?: number
  /** How long an operation takes; 0 answers later in the same turn. */
  readonly latencyMs?: (operation: DiskOperation) => number
}

type Done<T> = (outcome: Outcome<T>) => void

const BOOT_ID = '/proc/sys/kernel/random/boot_id'

export class SimulatedDisk {
  /** May be lowered and raised at any time. */
  totalBytes: number
  readonly #clock: Clock
  readonly #random: Random
  readonly #latencyMs: (operation: DiskOperation) => number
  readonly #files = new Map<string, SimulatedFile>()
  readonly #locks = new Set<string>()
  readonly #faults = new Set<DiskFault & { left: number }>()
  /** Writes under way, in the order in which they began: each puts a part of it on the disk. */
  readonly #writing = new Set<() => void>()
  /** Counts crashes: what an earlier process asks for is neither done nor answered. */
  #life = 0
  #bootId: string

  constructor({
    clock,
    random,
    totalBytes = Number.MAX_SAFE_INTEGER,
    latencyMs = () => 0,
  }: SimulatedDiskOptions) {
    this.#clock = clock
    this.#random = random
    this.#latencyMs = latencyMs
    this.totalBytes = totalBytes
    this.#bootId = random.id()
  }

  /** The disk as one process has it: dead AFTER the next crash. */
  mount(): Disk {
    return new Mounted(this, this.#life)
  }

  /**
   * Ends all processes that use the disk; writes under way are written in part. With `losesUnsynced` the machine loses
   * power too: what was not synced is lost, or not, or half.
   */
  crash({ losesUnsynced }: { readonly losesUnsynced: boolean }): void {
    this.#life++
    this.#locks.clear()
    for (const writePart of this.#writing) writePart()
    this.#writing.clear()
    if (!losesUnsynced) return
    this.#bootId = this.#random.id()
    for (const file of this.#files.values()) file.losePower(this.#random)
  }

  /** From now on such operations fail; returns how to end it. */
  fail(fault: DiskFault): () => void {
    const counted = { ...fault, left: fault.times ?? Number.POSITIVE_INFINITY }
    this.#faults.add(counted)
    return () => void this.#faults.delete(counted)
  }

  /** Bit rot: turns one bit of a file. */
  flip(path: string, position: number, bit = 0): void {
    const file = this.#files.get(path)
    if (file === undefined || position >= file.size) throw new Error(`${path} has no byte ${position}`)
    file.flip(position, bit)
  }

  /** The paths of all files, sorted. */
  get paths(): readonly string[] {
    return [...this.#files.keys()].sort()
  }

  get usedBytes(): number {
    let bytes = 0
    for (const { size } of this.#files.values()) bytes += size
    return bytes
  }

  /** For the processes' side of the disk: does something after its time and answers. */
  act<T>(
    life: number,
    operation: DiskOperation,
    path: string,
    run: (fault: DiskFault | null) => Outcome<T>,
    answer: Done<T>,
    onCrash?: () => void,
  ): void {
    if (life !== this.#life) return
    if (onCrash !== undefined) this.#writing.add(onCrash)
    const finish = (): void => {
      if (life !== this.#life) return
      if (onCrash !== undefined) this.#writing.delete(onCrash)
      answer(run(this.#faultOf(operation, path)))
    }
    const ms = this.#latencyMs(operation)
    if (ms > 0) this.#clock.setTimeout(finish, ms)
    else this.#clock.defer(finish)
  }

  #faultOf(operation: DiskOperation, path: string): DiskFault | null {
    for (const fault of this.#faults) {
      if (fault.operation !== operation || !path.includes(fault.path ?? '')) continue
      if (--fault.left === 0) this.#faults.delete(fault)
      return fault
    }
    return null
  }

  /** A real disk takes what fits and then says that it is full. */
  write(
    file: SimulatedFile,
    path: string,
    bytes: Buffer,
    position: number,
    fault: DiskFault | null,
  ): Outcome<void> {
    const room = this.totalBytes - this.usedBytes + Math.max(0, file.size - position)
    if (fault === null && bytes.length <= room) {
      file.write(bytes, position)
      return done
    }
    file.write(bytes.subarray(0, Math.max(0, fault === null ? room : (fault.writes ?? 0))), position)
    return refusal('write', path, fault?.code ?? 'diskFull')
  }

  /** A write that a crash interrupts. */
  writePart(file: SimulatedFile, bytes: Buffer, position: number): void {
    file.write(bytes.subarray(0, this.#random.below(bytes.length + 1)), position)
  }

  openFile(path: string): SimulatedFile {
    let file = this.#files.get(path)
    if (file === undefined) {
      file = new SimulatedFile()
      this.#files.set(path, file)
    }
    return file
  }

  readFile(path: string): Buffer | null {
    return path === BOOT_ID ? Buffer.from(`${this.#bootId}\n`) : (this.#files.get(path)?.whole() ?? null)
  }

  /** A new file under the old name: who has the old one open goes on with that one. */
  replaceFile(path: string, bytes: Uint8Array): Outcome<void> {
    if (this.usedBytes + bytes.length > this.totalBytes) return refusal('replaceFile', path, 'diskFull')
    const file = new SimulatedFile()
    file.write(bytes, 0)
    file.beginSync()()
    this.#files.set(path, file)
    return done
  }

  list(folder: string): string[] {
    const inside = this.paths.filter((path) => path.startsWith(`${folder}/`))
    return [...new Set(inside.map((path) => path.slice(folder.length + 1).split('/')[0]!))]
  }

  remove(path: string): void {
    for (const name of this.paths) if (name === path || name.startsWith(`${path}/`)) this.#files.delete(name)
  }

  lock(folder: string): Outcome<{ release(): void }> {
    if (this.#locks.has(folder)) return fail('inUse', `${folder} is in use by another node of the simulation`)
    this.#locks.add(folder)
    const life = this.#life
    return succeed({ release: () => void (life === this.#life && this.#locks.delete(folder)) })
  }
}

const refusal = (operation: DiskOperation, path: string, code: FailureCode) =>
  fail(code, `${operation} of ${path} failed: ${code}`, code === 'diskFull')

class Mounted implements Disk {
  readonly #disk: SimulatedDisk
  readonly #life: number

  constructor(disk: SimulatedDisk, life: number) {
    this.#disk = disk
    this.#life = life
  }

  #act<T>(operation: DiskOperation, path: string, run: () => Outcome<T>, answer: Done<T>): void {
    const runOrFail = (fault: DiskFault | null) =>
      fault === null ? run() : refusal(operation, path, fault.code)
    this.#disk.act(this.#life, operation, path, runOrFail, answer)
  }

  open(path: string, answer: Done<{ file: DiskFile; size: number }>): void {
    const open = () => {
      const file = this.#disk.openFile(path)
      return succeed({ file: this.#handle(path, file), size: file.size })
    }
    this.#act('open', path, open, answer)
  }

  #handle(path: string, file: SimulatedFile): DiskFile {
    const disk = this.#disk
    const life = this.#life
    const plain = (operation: DiskOperation, run: () => void, answer: Done<void>) =>
      this.#act(
        operation,
        path,
        () => {
          run()
          return done
        },
        answer,
      )
    return {
      path,
      write(buffers, position, answer) {
        const bytes = Buffer.concat(buffers)
        const write = (fault: DiskFault | null) => disk.write(file, path, bytes, position, fault)
        disk.act(life, 'write', path, write, answer, () => disk.writePart(file, bytes, position))
      },
      read: (into, position, answer) =>
        this.#act('read', path, () => succeed(file.read(into, position)), answer),
      // What is written while the sync is under way is not part of it.
      sync: (answer) => plain('sync', file.beginSync(), answer),
      truncate: (size, answer) => plain('truncate', () => file.resize(size), answer),
      close: (answer) => plain('close', () => {}, answer),
    }
  }

  readFile(path: string, answer: Done<Buffer | null>): void {
    this.#act('readFile', path, () => succeed(this.#disk.readFile(path)), answer)
  }

  replaceFile(path: string, bytes: Uint8Array, answer: Done<void>): void {
    this.#act('replaceFile', path, () => this.#disk.replaceFile(path, bytes), answer)
  }

  list(folder: string, answer: Done<string[]>): void {
    this.#act('list', folder, () => succeed(this.#disk.list(folder)), answer)
  }

  remove(path: string, answer: Done<void>): void {
    const remove = () => {
      this.#disk.remove(path)
      return done
    }
    this.#act('remove', path, remove, answer)
  }

  space(folder: string, answer: Done<{ totalBytes: number; freeBytes: number }>): void {
    const { totalBytes, usedBytes } = this.#disk
    const space = () => succeed({ totalBytes, freeBytes: Math.max(0, totalBytes - usedBytes) })
    this.#act('space', folder, space, answer)
  }

  lock(folder: string, answer: Done<{ release(): void }>): void {
    this.#act('lock', folder, () => this.#disk.lock(folder), answer)
  }
}
