/**
 * The World: all that is not deterministic, in one record.
 *
 * Production, simulation and tests differ ONLY in the World they pass. Nobody else touches a clock, a source of
 * chance or the file system.
 */
import type { Outcome } from '../../transport/failures.ts'
import type { Clock, Log, Random } from '../../transport/ports.ts'
import type { Transport } from '../../transport/transport.ts'

export type { Clock, Log, Random } from '../../transport/ports.ts'

export interface DiskFile {
  readonly path: string
  /** Writes all buffers at `position`, in order, or fails; a failed write may have written a part. */
  write(buffers: readonly Uint8Array[], position: number, done: (outcome: Outcome<void>) => void): void
  /** Reads up to `into.length` bytes; the value is how many, less than asked for only at the end of the file. */
  read(into: Uint8Array, position: number, done: (outcome: Outcome<number>) => void): void
  /** What was written before this call survives a power cut AFTER it calls back (fdatasync). */
  sync(done: (outcome: Outcome<void>) => void): void
  truncate(size: number, done: (outcome: Outcome<void>) => void): void
  close(done: (outcome: Outcome<void>) => void): void
}

/** Files, by callback: a simulated disk then answers at an instant that its schedule chooses. */
export interface Disk {
  /** Opens for reading and writing; creates the file and its folders when missing. */
  open(path: string, done: (outcome: Outcome<{ file: DiskFile; size: number }>) => void): void
  /** The whole file, or null when there is none. */
  readFile(path: string, done: (outcome: Outcome<Buffer | null>) => void): void
  /** Replaces the whole file or leaves the old one: temporary file, sync, rename, sync of the folder. */
  replaceFile(path: string, bytes: Uint8Array, done: (outcome: Outcome<void>) => void): void
  /** The names in a folder, sorted; empty when there is no such folder. */
  list(folder: string, done: (outcome: Outcome<string[]>) => void): void
  /** Removes a file or a folder with all in it; it is no failure when there is none. */
  remove(path: string, done: (outcome: Outcome<void>) => void): void
  space(folder: string, done: (outcome: Outcome<{ totalBytes: number; freeBytes: number }>) => void): void
  /** Takes the folder for this process until `release`; fails 'inUse' while another live process holds it. */
  lock(folder: string, done: (outcome: Outcome<{ release(): void }>) => void): void
}

export interface World {
  readonly clock: Clock
  readonly random: Random
  readonly disk: Disk
  readonly transport: Transport
  readonly log: Log
}
