/**
 * Files that are open for reading: a few, the least recently read one closed first.
 *
 * A file is NEVER closed while it is being read: its descriptor could by then belong to another file.
 */
import { type Outcome, succeed } from '../../../transport/failures.ts'
import type { Disk, DiskFile } from '../../node/world.ts'

const MOST = 32

type Opened = {
  readonly path: string
  /** Null while it is being opened. */
  file: DiskFile | null
  waiting: ((outcome: Outcome<DiskFile>) => void)[]
  readers: number
  /** It is forgotten: to be called when the last reader is gone and the file is closed. */
  gone: (() => void) | null
}

export class OpenFiles {
  readonly #disk: Disk
  /** The least recently read first. */
  readonly #files = new Map<string, Opened>()

  constructor(disk: Disk) {
    this.#disk = disk
  }

  read(path: string, into: Uint8Array, position: number, done: (outcome: Outcome<number>) => void): void {
    const opened = this.#opened(path)
    opened.readers++
    this.#whenOpen(opened, (outcome) => {
      const end = (read: Outcome<number>): void => {
        opened.readers--
        if (opened.readers === 0 && opened.gone !== null) this.#close(opened)
        done(read)
      }
      if (outcome.ok) outcome.value.read(into, position, end)
      else end(outcome)
    })
  }

  #opened(path: string): Opened {
    const known = this.#files.get(path)
    const opened = known ?? { path, file: null, waiting: [], readers: 0, gone: null }
    if (known !== undefined) this.#files.delete(path)
    else if (this.#files.size >= MOST) this.#closeIdle()
    this.#files.set(path, opened)
    return opened
  }

  #closeIdle(): void {
    for (const { path, readers } of this.#files.values())
      if (readers === 0) return this.forget(path, () => {})
  }

  #whenOpen(opened: Opened, use: (outcome: Outcome<DiskFile>) => void): void {
    if (opened.file !== null) return use(succeed(opened.file))
    opened.waiting.push(use)
    if (opened.waiting.length > 1) return
    this.#disk.open(opened.path, (outcome) => {
      if (outcome.ok) opened.file = outcome.value.file
      else if (this.#files.get(opened.path) === opened) this.#files.delete(opened.path)
      const { waiting } = opened
      opened.waiting = []
      for (const go of waiting) go(outcome.ok ? succeed(outcome.value.file) : outcome)
    })
  }

  /** Closes a file AFTER its readers are done. Who reads that path from now on opens it anew. */
  forget(path: string, done: () => void): void {
    const opened = this.#files.get(path)
    if (opened === undefined) return done()
    this.#files.delete(path)
    opened.gone = done
    if (opened.readers === 0) this.#close(opened)
  }

  #close({ file, gone }: Opened): void {
    if (file === null) gone!()
    else file.close(() => gone!())
  }

  close(done: () => void): void {
    let left = this.#files.size
    if (left === 0) return done()
    const closed = () => {
      if (--left === 0) done()
    }
    for (const path of [...this.#files.keys()]) this.forget(path, closed)
  }
}
