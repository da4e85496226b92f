/**
 * LocalOffsets: where a broadcasting consumer was, in a file of its own machine. Brokers know nothing of it.
 *
 * The file is replaced as a whole, so a crash leaves the old one or the new one, and the one before is kept beside it:
 * whoever comes back goes on where the file says and hears again what it heard since. AT MOST ONE live consumer uses a
 * file. A file that cannot be read stops nobody: the one before is used, or the consumer begins as a new one does.
 *
 * Only a consumer that was given a clientId has a file: a name that was made up does not come back.
 *
 * RocketMQ: client/consumer/store/LocalFileOffsetStore.java
 */
import { join } from 'node:path'
import { errorOfFailure, StateMQError } from '../errors.ts'
import type { Disk, World } from '../node/world.ts'

const WRITE_MS = 5_000

export type LocalOffsetsOptions = {
  /** Absolute, or relative to the folder that the process runs in. */
  dir: string
  cluster: string
  clientId: string
  group: string
  /** The offset to go on at, of each queue that is read now, by its key. */
  positions(): Iterable<readonly [queue: string, offset: number]>
}

/** Names may hold characters that some file systems refuse. */
export const offsetsFolder = (
  o: Pick<LocalOffsetsOptions, 'dir' | 'cluster' | 'clientId' | 'group'>,
): string => join(o.dir, ...[o.cluster, o.clientId, o.group].map(encodeURIComponent))

/** Rejects with IN_USE when another consumer has the file, or with what the disk says. */
export async function openLocalOffsets(world: World, options: LocalOffsetsOptions): Promise<LocalOffsets> {
  const folder = offsetsFolder(options)
  const lock = await new Promise<{ release(): void }>((resolve, reject) =>
    world.disk.lock(folder, (outcome) => {
      if (outcome.ok) return resolve(outcome.value)
      const { failure } = outcome
      if (failure.code !== 'inUse') return reject(errorOfFailure(failure))
      const { clientId, group } = options
      const message =
        `another consumer of '${group}' with clientId '${clientId}' keeps its offsets in ${folder}: ` +
        `give each its own clientId or offsetsDir (${failure.message})`
      reject(new StateMQError('IN_USE', message))
    }),
  )
  try {
    return new LocalOffsets(world, options, lock, await readOffsets(world, join(folder, 'offsets.json')))
  } catch (error) {
    lock.release()
    throw error
  }
}

type Offsets = Map<string, number>

export class LocalOffsets {
  readonly #world: World
  readonly #options: LocalOffsetsOptions
  readonly #lock: { release(): void }
  readonly #path: string
  readonly #offsets: Offsets
  readonly #topics: ReadonlySet<string>
  /** What the file holds. */
  #written: string | null
  #timer: unknown = null
  #writing: Promise<void> = Promise.resolve()

  constructor(world: World, options: LocalOffsetsOptions, lock: { release(): void }, found: Offsets | null) {
    this.#world = world
    this.#options = options
    this.#lock = lock
    this.#path = join(offsetsFolder(options), 'offsets.json')
    this.#offsets = found ?? new Map()
    this.#topics = new Set([...this.#offsets.keys()].map((queue) => queue.slice(0, queue.indexOf('/'))))
    this.#written = found && format(found)
    this.#arm()
  }

  /** Where to go on in a queue; undefined when it was never read. */
  of(queue: string): number | undefined {
    return this.#offsets.get(queue)
  }

  /** Whether a queue of the topic was read before this run. */
  knows(topic: string): boolean {
    return this.#topics.has(topic)
  }

  /** What is not read any more is kept where it was. */
  keep(queue: string, offset: number): void {
    this.#offsets.set(queue, offset)
  }

  /** Writes the last positions and lets others have the file. */
  async close(): Promise<void> {
    this.#world.clock.clearTimeout(this.#timer)
    await this.#write()
    this.#lock.release()
  }

  #arm(): void {
    this.#timer = this.#world.clock.setTimeout(() => {
      this.#arm()
      void this.#write()
    }, WRITE_MS)
  }

  /** One write at a time; each writes what holds when it begins. */
  #write(): Promise<void> {
    this.#writing = this.#writing.then(async () => {
      for (const [queue, offset] of this.#options.positions()) this.#offsets.set(queue, offset)
      const text = format(this.#offsets)
      if (text === this.#written) return
      const { disk, log } = this.#world
      try {
        if (this.#written !== null) await replace(disk, `${this.#path}.bak`, this.#written)
        await replace(disk, this.#path, text)
        this.#written = text
      } catch (cause) {
        const { message } = cause as StateMQError
        log.warn(`the offsets of '${this.#options.group}' could not be kept and are written again later`, {
          path: this.#path,
          cause: message,
        })
      }
    })
    return this.#writing
  }
}

const replace = (disk: Disk, path: string, content: string | Buffer): Promise<void> =>
  new Promise((resolve, reject) =>
    disk.replaceFile(path, Buffer.from(content as string), (outcome) =>
      outcome.ok ? resolve() : reject(errorOfFailure(outcome.failure)),
    ),
  )

const read = (disk: Disk, path: string): Promise<Buffer | null> =>
  new Promise((resolve, reject) =>
    disk.readFile(path, (outcome) =>
      outcome.ok ? resolve(outcome.value) : reject(errorOfFailure(outcome.failure)),
    ),
  )

/** The offsets of the file, or of the one before; null when neither can be read. */
async function readOffsets({ disk, log }: World, path: string): Promise<Offsets | null> {
  const bytes = await read(disk, path)
  const found = bytes && parse(bytes)
  if (found) return found
  const before = await read(disk, `${path}.bak`)
  const older = before && parse(before)
  if (!bytes) return older
  // It would be written over.
  await replace(disk, `${path}.damaged`, bytes).catch(() => {})
  const what = older
    ? 'the one before is used: some messages are heard again'
    : "and there is none before: the consumer begins where its option 'from' says"
  log.warn(`the file of offsets is damaged, ${what}; look at the copy of it and repair it if that matters`, {
    path,
    copy: `${path}.damaged`,
  })
  return older
}

const format = (offsets: Offsets): string =>
  `${JSON.stringify({ version: 1, offsets: Object.fromEntries([...offsets].sort(byKey)) }, null, 2)}\n`

const byKey = ([a]: readonly [string, number], [b]: readonly [string, number]): number =>
  a < b ? -1 : a > b ? 1 : 0

/** Null for anything but a whole file of this version. */
function parse(bytes: Buffer): Offsets | null {
  try {
    const { version, offsets } = JSON.parse(bytes.toString()) as { version?: unknown; offsets?: unknown }
    if (version !== 1 || typeof offsets !== 'object' || offsets === null) return null
    const found = Object.entries(offsets) as [string, unknown][]
    if (!found.every(([, offset]) => Number.isSafeInteger(offset) && (offset as number) >= 0)) return null
    return new Map(found as [string, number][])
  } catch {
    return null
  }
}
