/**
 * Looks at every byte of a log and changes nothing: what tests hold a store's folder against.
 *
 * Unlike the recovery it goes on after a fault, at the next sound frame, to tell all that is wrong.
 */

import { attempt, need, withFile } from '../../actors/broker/store/asking.ts'
import { reasonOf } from '../../actors/broker/store/damage.ts'
import { logFolder, segmentPath, startOf } from '../../actors/broker/store/layout.ts'
import { findSound, scanFile } from '../../actors/broker/store/scan.ts'
import type { Disk, DiskFile } from '../../actors/node/world.ts'
import type { Outcome } from '../../transport/failures.ts'
import {
  countAt,
  kindAt,
  kinds,
  queueIdAt,
  queueOffsetAt,
  recordsAddUp,
  topicAt,
} from '../../transport/frames.ts'

export type LogFault = { readonly file: string; readonly position: number; readonly fault: string }
export type LogReport = {
  readonly segments: number
  readonly bytes: number
  readonly frames: number
  readonly messages: number
  readonly faults: readonly LogFault[]
}

/** BEFORE: no store has the folder open, or the end of the log may look torn. */
export const verifyLog = (disk: Disk, folder: string): Promise<Outcome<LogReport>> =>
  attempt(async () => {
    const verifier = new Verifier()
    const names = await need<string[]>((done) => disk.list(logFolder(folder), done))
    const starts = names.map((name) => startOf(name, 'log')).filter((start) => start !== null)
    for (const start of starts) {
      const path = segmentPath(folder, start)
      await withFile(disk, path, (file, size) => verifier.segment(path, start, file, size))
    }
    return verifier.report()
  })

class Verifier {
  readonly #faults: LogFault[] = []
  /** The next offset of each queue, where it is known. */
  readonly #due = new Map<string, number>()
  #end: number | null = null
  #segments = 0
  #bytes = 0
  #frames = 0
  #messages = 0

  report(): LogReport {
    return {
      segments: this.#segments,
      bytes: this.#bytes,
      frames: this.#frames,
      messages: this.#messages,
      faults: this.#faults,
    }
  }

  async segment(path: string, start: number, file: DiskFile, size: number): Promise<void> {
    const tell = (position: number, fault: string) => void this.#faults.push({ file: path, position, fault })
    if (this.#end !== null && this.#end !== start) {
      tell(0, `the log before it ends at ${this.#end}: bytes are missing`)
      this.#due.clear()
    }
    this.#segments++
    this.#bytes += size
    this.#end = start + size
    for (let from: number | null = 0; from !== null; ) {
      const { end, fault } = await scanFile(file, size, from, (bytes, at, position) => {
        this.#frame(bytes, at, position, tell)
        return true
      })
      if (fault === null) return
      tell(end, reasonOf(fault))
      this.#due.clear()
      from = await findSound(file, size, end + 1, () => true)
    }
  }

  #frame(bytes: Buffer, at: number, position: number, tell: (position: number, fault: string) => void): void {
    this.#frames++
    const kind = kindAt(bytes, at)
    if (position === 0 && kind !== kinds.state) tell(0, 'a segment begins with its state, and this is not it')
    if (kind !== kinds.messages) return
    const count = countAt(bytes, at)
    this.#messages += count
    if (!recordsAddUp(bytes, at)) tell(position, 'the records do not fill the frame')
    const queue = `${topicAt(bytes, at)}/${queueIdAt(bytes, at)}`
    const offset = queueOffsetAt(bytes, at)
    const due = this.#due.get(queue)
    if (due !== undefined && due !== offset)
      tell(position, `offset ${offset} where ${due} of ${queue} is due`)
    this.#due.set(queue, offset + count)
  }
}
