/**
 * Cutting the log of a closed store: what a replica does with bytes that its group's log does not hold.
 *
 * What is to be done is noted BEFORE anything is changed, so a cut that a crash interrupts is finished by the next start.
 * NEVER comes back what was cut, and NEVER does half a cut keep the store from starting.
 *
 * RocketMQ: store/CommitLog.java (truncateDirtyFiles).
 */
import type { Outcome } from '../../../transport/failures.ts'
import { countAt, frameBytesAt, kindAt, kinds } from '../../../transport/frames.ts'
import type { Disk, World } from '../../node/world.ts'
import { attempt, must, need, refuse, withFile } from './asking.ts'
import { type Checkpoint, readBootId, readCheckpoint, sealedText, unsealed } from './checkpoint.ts'
import { damaged } from './damage.ts'
import { checkpointPath, cutPath, indexPath, logFolder, segmentPath, startOf } from './layout.ts'
import { listSegments } from './recovery.ts'
import { scanFile } from './scan.ts'
import type { Segment } from './segment.ts'
import { StateGatherer } from './state.ts'

/** What was lost by it. */
export type Cut = { readonly cutBytes: number; readonly cutMessages: number }

/** `isAll`: every segment goes, wherever the position is; the empty log begins there. */
type Intent = Cut & { readonly position: number; readonly isAll: boolean }
type CutWorld = Pick<World, 'disk' | 'log'>

const NOTHING: Cut = { cutBytes: 0, cutMessages: 0 }

/**
 * Cuts everything at and above a position; the state that a segment begins with goes whole or stays whole. BEFORE: the
 * store is closed; its lock is taken meanwhile.
 */
export const cutLog = (world: CutWorld, folder: string, position: number): Promise<Outcome<Cut>> =>
  alone(world, folder, async () => {
    const intent = await plan(world.disk, folder, position)
    if (intent === null) return NOTHING
    await note(world.disk, folder, intent)
    await carryOut(world, folder, intent)
    return { cutBytes: intent.cutBytes, cutMessages: intent.cutMessages }
  })

/** Drops all of the log: the store opens empty and goes on at `position`, which may be anywhere. */
export const emptyLog = (world: CutWorld, folder: string, position: number): Promise<Outcome<void>> =>
  alone(world, folder, async () => {
    const intent = { ...NOTHING, position, isAll: true }
    await note(world.disk, folder, intent)
    await carryOut(world, folder, intent)
  })

/** Finishes what a crash has interrupted. BEFORE: the folder is locked. */
export async function finishCut(world: CutWorld, folder: string): Promise<void> {
  const path = cutPath(folder)
  const bytes = await need<Buffer | null>((done) => world.disk.readFile(path, done))
  if (bytes === null) return
  const intent = unsealed(bytes) as Intent | null
  if (intent === null)
    return refuse(
      'malformed',
      `${path} is damaged: what was to be cut from the log is not known. Remove ${folder}/log, ${checkpointPath(folder)} ` +
        'and this file: the replica then copies the log from its master',
    )
  const { position, cutMessages } = intent
  world.log.warn(
    `a cut of the log in ${folder} to position ${position} is finished, ${cutMessages} messages are gone`,
  )
  await carryOut(world, folder, intent)
}

const alone = <T>(world: CutWorld, folder: string, job: () => Promise<T>): Promise<Outcome<T>> =>
  attempt(async () => {
    const lock = await need<{ release(): void }>((done) => world.disk.lock(folder, done))
    try {
      await finishCut(world, folder)
      return await job()
    } finally {
      lock.release()
    }
  })

const note = (disk: Disk, folder: string, intent: Intent): Promise<void> =>
  need<void>((done) => disk.replaceFile(cutPath(folder), sealedText(intent), done))

/** Where exactly to cut, and what that costs; null when there is nothing at or above the position. */
async function plan(disk: Disk, folder: string, position: number): Promise<Intent | null> {
  const segments = await listSegments({ disk, folder })
  const first = segments.findIndex(({ end }) => end > position)
  if (first < 0) return null
  let kept = segments[first]!.start
  let cutMessages = 0
  for (const segment of segments.slice(first)) {
    const { keep, messages } = await survey(disk, folder, segment, position - segment.start)
    if (segment === segments[first]) kept += keep
    cutMessages += messages
  }
  return { position: kept, isAll: false, cutBytes: segments.at(-1)!.end - kept, cutMessages }
}

/** How many bytes of a segment stay when all from byte `limit` on go, and how many messages do not. */
async function survey(
  disk: Disk,
  folder: string,
  segment: Segment,
  limit: number,
): Promise<{ keep: number; messages: number }> {
  const path = segmentPath(folder, segment.start)
  const gatherer = new StateGatherer()
  let keep = 0
  let messages = 0
  const { end, fault } = await withFile(disk, path, (file, size) =>
    scanFile(file, size, 0, (bytes, at, position) => {
      const next = position + frameBytesAt(bytes, at)
      if (gatherer.state === null) gatherer.take(bytes, at)
      if (next > limit) messages += kindAt(bytes, at) === kinds.messages ? countAt(bytes, at) : 0
      else if (gatherer.state !== null) keep = next
      return true
    }),
  )
  // Damage in what goes is no matter; in what stays it would come to be the end of the log.
  if (fault !== null && end < limit) must(damaged(path, end, fault))
  return { keep, messages }
}

/** Does what is noted, from the beginning or from wherever a crash came. */
async function carryOut({ disk, log }: CutWorld, folder: string, { position, isAll }: Intent): Promise<void> {
  const names = await need<string[]>((done) => disk.list(logFolder(folder), done))
  const starts = names.map((name) => startOf(name, 'log')).filter((start) => start !== null)
  // From the end: whenever the power goes, what is left has no gap.
  for (const start of starts.reverse()) {
    const isWhole = isAll || start >= position
    const path = segmentPath(folder, start)
    await need<void>((done) => disk.remove(indexPath(folder, start), done))
    if (isWhole) await need<void>((done) => disk.remove(path, done))
    else {
      await shorten(disk, path, position - start)
      break
    }
  }
  const isEmpty = isAll || !starts.some((start) => start < position)
  const checkpoint = await readCheckpoint(disk, folder, log)
  if (checkpoint !== null || isEmpty) {
    const lowered = await lower(disk, checkpoint, position, isEmpty)
    await need<void>((done) => disk.replaceFile(checkpointPath(folder), sealedText(lowered), done))
  }
  await need<void>((done) => disk.remove(cutPath(folder), done))
}

const shorten = (disk: Disk, path: string, keep: number): Promise<void> =>
  withFile(disk, path, async (file, size) => {
    if (size > keep) await need<void>((done) => file.truncate(keep, done))
    await need<void>((done) => file.sync(done))
  })

async function lower(
  disk: Disk,
  checkpoint: Checkpoint | null,
  position: number,
  isEmpty: boolean,
): Promise<Checkpoint> {
  const known: Checkpoint = checkpoint ?? {
    synced: position,
    bootId: await readBootId(disk),
    confirmed: position,
    mayHaveLost: false,
    flush: 'async',
    closed: false,
    base: position,
  }
  return {
    ...known,
    synced: Math.min(known.synced, position),
    confirmed: Math.min(known.confirmed, position),
    base: isEmpty ? position : known.base,
  }
}
