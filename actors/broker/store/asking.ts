/** Ports answer by callback; what happens once, at start or in the background, reads better with await. */
import { type Failure, fail, type Outcome } from '../../../transport/failures.ts'
import type { Disk, DiskFile } from '../../node/world.ts'

/** The answer of a port as a promise that never rejects. */
export const ask = <T>(call: (done: (outcome: Outcome<T>) => void) => void): Promise<Outcome<T>> =>
  new Promise((resolve) => call(resolve))

/** Lets boot code read straight on: a failure leaves by this exception and becomes an Outcome again in `attempt`. */
class Failed extends Error {
  readonly failure: Failure
  constructor(failure: Failure) {
    super(failure.message)
    this.failure = failure
  }
}

export async function need<T>(call: (done: (outcome: Outcome<T>) => void) => void): Promise<T> {
  return must(await ask(call))
}

export function must<T>(outcome: Outcome<T>): T {
  if (!outcome.ok) throw new Failed(outcome.failure)
  return outcome.value
}

/** Runs code that uses `need` and `must`. Any other exception is a bug and goes on. */
export async function attempt<T>(run: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return { ok: true, value: await run() }
  } catch (error) {
    if (error instanceof Failed) return { ok: false, failure: error.failure }
    throw error
  }
}

/** Opens a file for one job and closes it whatever comes of it. */
export async function withFile<T>(
  disk: Disk,
  path: string,
  job: (file: DiskFile, size: number) => Promise<T>,
): Promise<T> {
  const { file, size } = await need<{ file: DiskFile; size: number }>((done) => disk.open(path, done))
  try {
    return await job(file, size)
  } finally {
    await ask<void>((done) => file.close(done))
  }
}

export const refuse = (...about: Parameters<typeof fail>): never => must(fail(...about))
