/**
 * A folder of the demo's own below the system's temporary folder.
 *
 * It is locked by this process while it is used, and each folder in it by the replica that keeps its data there. What a
 * killed demo left behind is a folder whose locks' holders are dead: the next demo removes it, when it begins or, where a
 * replica was still on its way out, when it ends. A folder in which a process lives is NEVER touched.
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
  while (!(await lock(path))) // Another demo, looking for leftovers, was faster.

  // Also at the very end: a second Ctrl-C ends the process at once, and a broker that was just starting writes late.
  process.once('exit', () => rmSync(path, { recursive: true, force: true }))
  return {
    path,
    async remove() {
      await rm(path, { recursive: true, force: true, maxRetries: 3 })
      await removeLeftovers()
    },
  }
}

async function removeLeftovers(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const path = join(tmpdir(), name)
    if (!name.startsWith(PREFIX) || !(await isLeft(path))) continue
    // Two demos may remove it at once: whoever comes last has done it.
    await rm(path, { recursive: true, force: true, maxRetries: 3 }).catch(() => {})
  }
}

/** Nobody alive works in it. What is held to find out is let go of again: another demo may look when it is. */
async function isLeft(path: string): Promise<boolean> {
  const held = [await lock(path)]
  if (held[0] !== null) {
    const inside = await readdir(path, { withFileTypes: true }).catch(() => []) // Another demo was faster.
    for (const entry of inside) if (entry.isDirectory()) held.push(await lock(join(path, entry.name)))
  }
  if (!held.includes(null)) return true
  for (const one of held) one?.release()
  return false
}

/** Null when somebody alive holds it; else this process does. */
const lock = (path: string): Promise<{ release(): void } | null> =>
  new Promise((answer) => realDisk.lock(path, (outcome) => answer(outcome.ok ? outcome.value : null)))
