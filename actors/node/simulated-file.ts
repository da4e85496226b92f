/**
 * A file of the simulated disk, twice: as a running process sees it and as it is safe from a power cut.
 *
 * Both versions share the pages that are the same in both. A page that may be shared is frozen: it is NEVER changed,
 * a write puts a copy in its place.
 */
import type { Random } from './world.ts'

const PAGE = 4096
const SECTOR = 512

type Version = { size: number; pages: Buffer[] }
const copyOf = ({ size, pages }: Version): Version => ({ size, pages: [...pages] })

export class SimulatedFile {
  #seen: Version = { size: 0, pages: [] }
  #safe: Version = { size: 0, pages: [] }
  readonly #frozen = new WeakSet<Buffer>()
  #syncsBegun = 0
  /** The latest begun of the syncs that are done: an earlier one that ends after it takes nothing back. */
  #syncDone = 0

  get size(): number {
    return this.#seen.size
  }

  read(into: Uint8Array, position: number): number {
    const { size, pages } = this.#seen
    const end = Math.min(size, position + into.length)
    for (let at = position; at < end; ) {
      const from = at % PAGE
      const count = Math.min(PAGE - from, end - at)
      into.set(pages[(at - from) / PAGE]!.subarray(from, from + count), at - position)
      at += count
    }
    return Math.max(0, end - position)
  }

  whole(): Buffer {
    const bytes = Buffer.alloc(this.size)
    this.read(bytes, 0)
    return bytes
  }

  write(bytes: Uint8Array, position: number): void {
    if (bytes.length === 0) return
    if (this.size < position + bytes.length) this.resize(position + bytes.length)
    for (let at = 0; at < bytes.length; ) {
      const from = (position + at) % PAGE
      const count = Math.min(PAGE - from, bytes.length - at)
      this.#pageToChange((position + at - from) / PAGE).set(bytes.subarray(at, at + count), from)
      at += count
    }
  }

  #pageToChange(number: number): Buffer {
    const { pages } = this.#seen
    const page = pages[number]!
    if (!this.#frozen.has(page)) return page
    const copy = Buffer.from(page)
    pages[number] = copy
    return copy
  }

  /** What is added reads as zeros. */
  resize(size: number): void {
    const seen = this.#seen
    const rest = size % PAGE
    while (seen.pages.length * PAGE < size) seen.pages.push(Buffer.alloc(PAGE))
    seen.pages.length = Math.ceil(size / PAGE)
    if (size < seen.size && rest > 0) this.#pageToChange(seen.pages.length - 1).fill(0, rest)
    seen.size = size
  }

  /** Takes what is to be made safe; the function that comes back makes it so. */
  beginSync(): () => void {
    const now = copyOf(this.#seen)
    for (const page of now.pages) this.#frozen.add(page)
    const sync = ++this.#syncsBegun
    return () => {
      if (sync < this.#syncDone) return
      this.#syncDone = sync
      this.#safe = now
    }
  }

  /** Turns a bit wherever the page is kept. */
  flip(position: number, bit: number): void {
    const number = Math.floor(position / PAGE)
    const wasSafe = this.#seen.pages[number] === this.#safe.pages[number]
    const page = this.#pageToChange(number)
    page[position % PAGE]! ^= 1 << bit
    if (!wasSafe) return
    this.#frozen.add(page)
    this.#safe.pages[number] = page
  }

  /** Every page that is not safe is the new one, the old one or torn; the size is the new one or the old one. */
  losePower(random: Random): void {
    const safe = this.#safe
    const seen = this.#seen
    const left = copyOf(random.below(2) === 0 ? seen : safe)
    for (let i = 0; i < left.pages.length; i++) {
      const before = safe.pages[i] ?? Buffer.alloc(PAGE)
      const after = seen.pages[i] ?? before
      if (before !== after) left.pages[i] = mixOf(before, after, random)
    }
    this.#seen = left
    this.beginSync()()
  }
}

function mixOf(before: Buffer, after: Buffer, random: Random): Buffer {
  const kept = random.below(3)
  if (kept === 0) return Buffer.from(before)
  const page = Buffer.from(after)
  if (kept === 1) return page
  for (let at = 0; at < PAGE; at += SECTOR) if (random.below(2) === 0) before.copy(page, at, at, at + SECTOR)
  return page
}
