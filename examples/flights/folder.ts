/**
 * A folder of the demo's own below the system's temporary folder.
 *
 * It is locked by this process while it is used. What a killed demo left behind is a folder whose lock's holder is dead:
 * the next demo removes it. A folder whose process lives is NEVER touched.
 */
import { rmSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { realDisk } from '../../actors/node/disk.ts'

const PREFIX = 'statemq-demo-'

export type Folder = { readonly path: string; remove(): Promise<void> }

export async function freshFolder(): Promise<Folder> {
  await removeLeftovers()
  let path: string
  do path = await mkdtemp(join(tmpdir(), PREFIX))
  while (!(await isLocked(path))) // Another demo, looking for leftovers, was faster.

  // Also at the very end: a second Ctrl-C ends the process at once, and a broker that was just starting writes late.
  process.once('exit', () => rmSync(path, { recursive: true, force: true }))
  return { path, remove: () => rm(path, { recursive: true, force: true, maxRetries: 3 }) }
}

async function removeLeftovers(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const path = join(tmpdir(), name)
    if (name.startsWith(PREFIX) && (await isLocked(path))) await rm(path, { recursive: true, force: true })
  }
}

/** True when nobody alive held it; now this process does. */
const isLocked = (path: string): Promise<boolean> =>
  new Promise((answer) => realDisk.lock(path, ({ ok }) => answer(ok)))
