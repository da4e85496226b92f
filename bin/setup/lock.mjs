/**
 * The lock of a clone: ONE set-up works on it at a time.
 *
 * A lock whose holder is dead is taken over, but NEVER while the program that the holder ran, npm or the compiler, is
 * still at work on the folder.
 */
import fs from 'node:fs'
import { performance } from 'node:perf_hooks'
import { at, readText, root } from './clone.mjs'
import { identityOf, isAlive } from './process-identity.mjs'
import { say } from './words.mjs'

const lockFile = at('.setup.lock')
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

let held = false

/** Runs `work` while no other set-up works on this clone. A lock whose holder is dead is taken over. */
export async function withLock(work) {
  const mine = JSON.stringify(identityOf(process.pid))
  const isMine = () => readText(lockFile).startsWith(mine.slice(0, -1))
  const began = performance.now()
  let told = false
  for (;;) {
    if (linkLock(mine)) break
    const theirs = readText(lockFile)
    if (theirs !== '' && !isHeld(theirs)) {
      removeStale(theirs)
      if (linkLock(mine)) {
        // Another one may have judged the same stale lock and removed OURS in its place: look again before working.
        await sleep(100)
        if (isMine()) break
      }
      continue
    }
    if (!told && performance.now() - began > 500) {
      told = true
      const { pid, child } = parse(theirs)
      say(`Waiting for another set-up of this clone (process ${isAlive(pid) ? pid : child?.pid}) ...`)
    }
    await sleep(100)
  }
  held = true
  removeDrafts()
  try {
    return await work()
  } finally {
    held = false
    if (isMine()) fs.rmSync(lockFile, { force: true })
  }
}

/** Appears at once with its content, or not at all: a link to a finished file. */
function linkLock(content) {
  const draft = `${lockFile}.${process.pid}`
  fs.writeFileSync(draft, content)
  try {
    fs.linkSync(draft, lockFile)
    return true
  } catch (error) {
    if (error.code === 'EEXIST') return false
    return createLock(content) // A file system without links.
  } finally {
    fs.rmSync(draft, { force: true })
  }
}

function createLock(content) {
  try {
    fs.writeFileSync(lockFile, content, { flag: 'wx' })
    return true
  } catch (error) {
    if (error.code === 'EEXIST') return false
    throw error
  }
}

function removeStale(expected) {
  const aside = `${lockFile}.${process.pid}.stale`
  try {
    fs.renameSync(lockFile, aside)
    if (readText(aside) !== expected) fs.linkSync(aside, lockFile) // A live one's after all: put it back.
  } catch {
    // Somebody was faster.
  }
  fs.rmSync(aside, { force: true })
}

function removeDrafts() {
  for (const name of fs.readdirSync(root)) {
    const pid = /^\.setup\.lock\.(\d+)/.exec(name)?.[1]
    if (pid !== undefined && !isAlive(Number(pid))) fs.rmSync(at(name), { force: true })
  }
}

/** A dead holder's npm may still be at work on the folder: the lock is theirs until that one has ended, too. */
function isHeld(content) {
  const { pid, started, child } = parse(content)
  return isAlive(pid, started) || (child !== undefined && isAlive(child.pid, child.started))
}

/** For who comes after a kill: the holder's program may go on without it. */
export function rememberChild(pid) {
  if (!held || pid === undefined) return
  const draft = `${lockFile}.${process.pid}`
  fs.writeFileSync(draft, JSON.stringify({ ...identityOf(process.pid), child: identityOf(pid) }))
  fs.renameSync(draft, lockFile)
}

/** This process is about to end, in the middle of its work. */
export function release() {
  if (held) fs.rmSync(lockFile, { force: true })
}

function parse(text) {
  try {
    return JSON.parse(text)
  } catch {
    return {}
  }
}
