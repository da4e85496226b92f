/**
 * The checkpoint: how far the log is known to be synced and confirmed, and during which boot of the machine that was
 * noted.
 *
 * It is written AFTER what it tells of is so: it may lag but NEVER leads. It decides whether bytes that are not sound are
 * a torn tail (cut it) or damage to what was safe (stop), what a restarted replica may show, and whether a restart may
 * have lost bytes that had counted as stored.
 *
 * RocketMQ: store/StoreCheckpoint.java.
 */
import { crc32 } from 'node:zlib'
import type { Disk, Log } from '../../node/world.ts'
import { need } from './asking.ts'
import { checkpointPath } from './layout.ts'

export type Checkpoint = {
  readonly synced: number
  readonly bootId: string | null
  /** Readers were allowed to see at least this much. */
  readonly confirmed: number
  /** 'sync': since this was written, and until it is replaced, NOTHING has counted as stored that was not synced. */
  readonly flush: 'sync' | 'async'
  /** The store was closed, and all it held was synced. Unmarked BEFORE anything is appended again. */
  readonly closed: boolean
  /** Where the log begins when it has no segment. */
  readonly base: number
  /** A restart may have lost something, and the owner has not noted it yet. */
  readonly mayHaveLost: boolean
}

const BOOT_ID = '/proc/sys/kernel/random/boot_id'

/** Names this run of the machine; null where the system does not tell. */
export async function readBootId(disk: Disk): Promise<string | null> {
  const bytes = await need<Buffer | null>((done) => disk.readFile(BOOT_ID, done))
  return bytes === null ? null : bytes.toString('utf8').trim()
}

/** A small file's text with its checksum. */
export function sealedText(value: object): Buffer {
  const text = JSON.stringify(value)
  return Buffer.from(`${text}\n${crc32(text)}\n`)
}

/** Null when it is damaged. */
export function unsealed(bytes: Buffer): object | null {
  const [text = '', crc] = bytes.toString('utf8').split('\n')
  return String(crc32(text)) === crc ? JSON.parse(text) : null
}

/** Null when there is none; a damaged one counts as none, with a warning. */
export async function readCheckpoint(disk: Disk, folder: string, log: Log): Promise<Checkpoint | null> {
  const path = checkpointPath(folder)
  const bytes = await need<Buffer | null>((done) => disk.readFile(path, done))
  if (bytes === null) return null
  const known = unsealed(bytes) as Pick<Checkpoint, 'synced' | 'bootId'> | null
  if (known === null) {
    log.warn(`${path} is damaged and is not used`)
    return null
  }
  // Of a store that knows nothing of replicas all was confirmed that was stored.
  const unsaid = { confirmed: known.synced, flush: 'async', closed: false, base: 0, mayHaveLost: false }
  return { ...unsaid, ...known } as Checkpoint
}

/** Replaces the checkpoint, one at a time: two at once would get in each other's way. */
export class CheckpointFile {
  /** What may stand on disk: 'sync' as soon as it may be there, 'async' only AFTER it is. */
  flush: 'sync' | 'async'
  busy = false
  readonly #disk: Disk
  readonly #log: Log
  readonly #path: string
  #written: Buffer

  constructor(world: { readonly disk: Disk; readonly log: Log }, folder: string, written: Checkpoint) {
    this.#disk = world.disk
    this.#log = world.log
    this.#path = checkpointPath(folder)
    this.#written = sealedText(written)
    this.flush = written.flush
  }

  /** Calls back with false when it could not be written, or not now; BEFORE it returns when nothing is new. */
  write(checkpoint: Checkpoint, done: (isWritten: boolean) => void): void {
    const bytes = sealedText(checkpoint)
    if (this.busy || bytes.equals(this.#written)) return done(!this.busy)
    this.busy = true
    if (checkpoint.flush === 'sync') this.flush = 'sync'
    this.#disk.replaceFile(this.#path, bytes, (outcome) => {
      this.busy = false
      if (outcome.ok) {
        this.#written = bytes
        this.flush = checkpoint.flush
      } else this.#log.warn(`the checkpoint could not be written: ${outcome.failure.message}`)
      done(outcome.ok)
    })
  }
}
