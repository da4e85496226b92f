/**
 * The checkpoint: how far the log is known to be synced, and during which boot of the machine that was noted.
 *
 * It is written AFTER the sync it tells of, so it may lag but NEVER leads. It decides one question only: whether bytes
 * that are not sound are a torn tail (cut it) or damage to what was safe (stop).
 *
 * RocketMQ: store/StoreCheckpoint.java.
 */
import { crc32 } from 'node:zlib'
import type { Disk, Log } from '../../node/world.ts'
import { need } from './asking.ts'
import { checkpointPath } from './layout.ts'

export type Checkpoint = { readonly synced: number; readonly bootId: string | null }

const BOOT_ID = '/proc/sys/kernel/random/boot_id'

/** Names this run of the machine; null where the system does not tell. */
export async function readBootId(disk: Disk): Promise<string | null> {
  const bytes = await need<Buffer | null>((done) => disk.readFile(BOOT_ID, done))
  return bytes === null ? null : bytes.toString('utf8').trim()
}

export function checkpointBytes(checkpoint: Checkpoint): Buffer {
  const text = JSON.stringify(checkpoint)
  return Buffer.from(`${text}\n${crc32(text)}\n`)
}

/** Null when there is none; a damaged one counts as none, with a warning. */
export async function readCheckpoint(disk: Disk, folder: string, log: Log): Promise<Checkpoint | null> {
  const bytes = await need<Buffer | null>((done) => disk.readFile(checkpointPath(folder), done))
  if (bytes === null) return null
  const [text = '', crc] = bytes.toString('utf8').split('\n')
  if (String(crc32(text)) === crc) return JSON.parse(text)
  log.warn(`${checkpointPath(folder)} is damaged and is not used`)
  return null
}
