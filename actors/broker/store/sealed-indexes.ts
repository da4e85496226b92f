/**
 * The indexes of sealed segments: written once, read on demand through a small cache, made again when they are not sound.
 */

import { type Failure, fail, type Outcome, succeed } from '../../../transport/failures.ts'
import type { Disk, Log } from '../../node/world.ts'
import { ask, attempt, must, need, withFile } from './asking.ts'
import { type Queues, releaseParts } from './consume-queue.ts'
import { damaged } from './damage.ts'
import { indexPath, segmentPath } from './layout.ts'
import type { OpenFiles } from './open-files.ts'
import { Reading } from './recovery.ts'
import { scanFile } from './scan.ts'
import { Segment } from './segment.ts'
import { HEAD_BYTES, headBytesOf, IndexHead, indexBytes, PAGE_BYTES } from './segment-index.ts'

const MOST_HEAD_BYTES = 8 * 1024 * 1024
const MOST_PAGES = 64

type Done<T> = (outcome: Outcome<T>) => void
const nobody = { restore() {}, replay() {} }

export class SealedIndexes {
  readonly #disk: Disk
  readonly #log: Log
  readonly #folder: string
  readonly #files: OpenFiles
  /** By segment start, the least recently used first. */
  readonly #heads = new Map<number, IndexHead>()
  #headBytes = 0
  readonly #pages = new Map<number, Buffer>()
  readonly #loading = new Map<number, Done<IndexHead>[]>()

  constructor(disk: Disk, log: Log, folder: string, files: OpenFiles) {
    this.#disk = disk
    this.#log = log
    this.#folder = folder
    this.#files = files
  }

  /** Writes the index of a segment whose parts are in memory. */
  write(segment: Segment, queues: Queues, done: Done<void>): void {
    this.#disk.replaceFile(indexPath(this.#folder, segment.start), indexBytes(segment, queues), done)
  }

  /** Calls back BEFORE it returns when the head is in memory. */
  head(segment: Segment, done: Done<IndexHead>): void {
    const { start } = segment
    const head = this.#heads.get(start)
    if (head !== undefined) {
      this.#heads.delete(start)
      this.#heads.set(start, head)
      return done(succeed(head))
    }
    this.#load(
      segment,
      done,
      async () =>
        (await this.#readHead(segment)) ?? (await this.#makeAgain(segment, 'is missing or damaged')),
    )
  }

  /** A page of entries. Calls back BEFORE it returns when it is in memory. */
  page(segment: Segment, head: IndexHead, page: number, done: Done<Buffer>): void {
    const key = segment.start + page
    const bytes = this.#pages.get(key)
    if (bytes !== undefined) {
      this.#pages.delete(key)
      this.#pages.set(key, bytes)
      return done(succeed(bytes))
    }
    this.#readPage(segment, head, page, (outcome) => {
      if (outcome.ok) return done(outcome)
      if (outcome.failure.code !== 'malformed') return done(outcome)
      this.#drop(segment)
      const again = () => this.#makeAgain(segment, 'is damaged')
      this.#load(
        segment,
        (made) => (made.ok ? this.#readPage(segment, made.value, page, done) : done(made)),
        again,
      )
    })
  }

  #readPage(segment: Segment, head: IndexHead, page: number, done: Done<Buffer>): void {
    const path = indexPath(this.#folder, segment.start)
    if (segment.removed) return done(fail('missing', `${path} has left the log`))
    const { at, length } = head.pagePlace(page)
    const into = Buffer.allocUnsafeSlow(length)
    this.#files.read(path, into, at, (outcome) => {
      if (!outcome.ok) return done(outcome)
      if (outcome.value < length || !head.isSound(page, into))
        return done(damaged(path, at, 'not what was written'))
      const key = segment.start + page
      this.#pages.set(key, into)
      if (this.#pages.size > MOST_PAGES) this.#pages.delete(this.#pages.keys().next().value!)
      done(succeed(into))
    })
  }

  /** One load of a head at a time; all who ask meanwhile hear of it. */
  #load(segment: Segment, done: Done<IndexHead>, load: () => Promise<IndexHead>): void {
    const others = this.#loading.get(segment.start)
    if (others !== undefined) return void others.push(done)
    const waiting = [done]
    this.#loading.set(segment.start, waiting)
    attempt(load).then((outcome) => {
      this.#loading.delete(segment.start)
      if (outcome.ok && !segment.removed) this.#keep(segment.start, outcome.value)
      for (const hear of waiting) hear(outcome)
    })
  }

  #keep(start: number, head: IndexHead): void {
    this.#heads.set(start, head)
    this.#headBytes += head.bytes.length
    for (const [oldest, { bytes }] of this.#heads) {
      if (this.#headBytes <= MOST_HEAD_BYTES || oldest === start) break
      this.#heads.delete(oldest)
      this.#headBytes -= bytes.length
    }
  }

  #drop({ start, end }: Segment): void {
    this.#headBytes -= this.#heads.get(start)?.bytes.length ?? 0
    this.#heads.delete(start)
    for (const key of [...this.#pages.keys()]) if (key >= start && key < end) this.#pages.delete(key)
  }

  async #readHead(segment: Segment): Promise<IndexHead | null> {
    const path = indexPath(this.#folder, segment.start)
    if (segment.removed) must(fail('missing', `${path} has left the log`))
    const read = async (into: Buffer) =>
      into.subarray(0, await need<number>((done) => this.#files.read(path, into, 0, done)))
    const first = await read(Buffer.allocUnsafeSlow(PAGE_BYTES))
    const headBytes = headBytesOf(first, segment)
    if (headBytes === null || headBytes < HEAD_BYTES) return null
    // A copy: the head is small and stays, what was read to find it is large and goes.
    if (headBytes <= first.length) return IndexHead.from(Buffer.from(first.subarray(0, headBytes)))
    const whole = await read(Buffer.allocUnsafeSlow(headBytes))
    return whole.length < headBytes ? null : IndexHead.from(whole)
  }

  async #makeAgain(segment: Segment, why: string): Promise<IndexHead> {
    const path = indexPath(this.#folder, segment.start)
    const logPath = segmentPath(this.#folder, segment.start)
    this.#log.warn(`${path} ${why}: it is made again from its segment`)
    const copy = new Segment(segment.start, 0, true)
    const reading = new Reading(copy, logPath, nobody)
    const { end, fault } = await withFile(this.#disk, logPath, (file, size) =>
      scanFile(file, size, 0, (bytes, at, position) => reading.take(bytes, at, position)),
    )
    if (fault !== null || end !== segment.bytes) must(damaged(logPath, end, fault ?? 'the file ends here'))
    const bytes = indexBytes(copy, reading.queues)
    await need<void>((done) => this.#disk.replaceFile(path, bytes, done))
    // Who has the file open has the old one open.
    await new Promise<void>((done) => this.#files.forget(path, done))
    if (segment.removed) await ask<void>((done) => this.#disk.remove(path, done))
    return IndexHead.from(Buffer.from(bytes.subarray(0, headBytesOf(bytes, copy)!)))!
  }

  /** Forgets a segment and calls back AFTER nobody reads its index any more. */
  forget(segment: Segment, done: () => void): void {
    this.#drop(segment)
    this.#files.forget(indexPath(this.#folder, segment.start), done)
  }
}

/**
 * Takes segments from memory to disk: one index is written after the other, and parts are released in the order of the
 * log, AFTER their index is written and all may read the segment to its end.
 */
export class Sealing {
  readonly #indexes: SealedIndexes
  readonly #queues: Queues
  readonly #confirmPosition: () => number
  readonly #failed: (failure: Failure) => void
  #waiting: { segment: Segment; written: boolean }[] = []
  #busy = false
  #whenIdle: (() => void) | null = null

  constructor(
    indexes: SealedIndexes,
    queues: Queues,
    confirmPosition: () => number,
    failed: (failure: Failure) => void,
  ) {
    this.#indexes = indexes
    this.#queues = queues
    this.#confirmPosition = confirmPosition
    this.#failed = failed
  }

  add(segment: Segment): void {
    this.#waiting.push({ segment, written: false })
    this.write()
  }

  /** Goes on writing; also after a failure. */
  write(): void {
    const next = this.#waiting.find(({ written }) => !written)
    if (this.#busy) return
    if (next === undefined) return this.#whenIdle?.()
    this.#busy = true
    this.#indexes.write(next.segment, this.#queues, (outcome) => {
      this.#busy = false
      next.written = outcome.ok
      this.release()
      if (outcome.ok) return this.write()
      this.#failed(outcome.failure)
      this.#whenIdle?.()
    })
  }

  /** To be called whenever more is confirmed. */
  release(): void {
    const confirmPosition = this.#confirmPosition()
    for (;;) {
      const oldest = this.#waiting[0]
      if (oldest === undefined || !oldest.written || oldest.segment.end > confirmPosition) return
      releaseParts(oldest.segment)
      this.#waiting.shift()
    }
  }

  /** Calls back AFTER the last index is written, or one could not be: that one is made again when it is asked for. */
  close(done: () => void): void {
    this.#whenIdle = () => {
      this.#whenIdle = null
      done()
    }
    this.write()
  }
}
