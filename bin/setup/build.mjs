/**
 * Builds what is not built from these sources, and installs what that needs. The last good build stays until the next one
 * is complete.
 */
import fs from 'node:fs'
import path from 'node:path'
import { at, dist, root } from './clone.mjs'
import { install, isInstalled } from './install.mjs'
import { withLock } from './lock.mjs'
import { capture } from './processes.mjs'
import { fingerprintOf, isStamped } from './stamps.mjs'
import { SetupError, step } from './words.mjs'

const stamp = path.join(dist, '.built')
const sourceFolders = ['actors', 'bin', 'examples', 'machines', 'test', 'transport']

export async function build() {
  // The fast way takes no lock: both stamps vouch for trees that nobody is working on.
  if (isInstalled() && isStamped(stamp, fingerprint())) return
  await withLock(async () => {
    if (!isInstalled()) await install()
    await compile()
  })
}

/** Builds beside the old tree and swaps the two: files of removed sources vanish, half a build is never seen. */
export async function compile() {
  const made = fingerprint()
  if (isStamped(stamp, made)) return linkBin()
  for (const name of fs.readdirSync(root)) {
    if (/^dist-(next|old)-\d+$/.test(name)) fs.rmSync(at(name), { recursive: true, force: true })
  }
  const next = at(`dist-next-${process.pid}`)
  const old = at(`dist-old-${process.pid}`)
  await step('Compiling', async () => {
    const tsc = at('node_modules', 'typescript', 'bin', 'tsc')
    const { code, output } = await capture(process.execPath, [tsc, '-p', root, '--outDir', next])
    if (code !== 0) {
      fs.rmSync(next, { recursive: true, force: true })
      throw new SetupError(
        `${output.trimEnd()}\n\nThe compiler found what stands above. The last build, if any, is untouched.`,
      )
    }
    const door = path.join(next, 'bin', 'statemq.js')
    if (fs.existsSync(door)) fs.chmodSync(door, 0o755)
    // Sources that changed while the compiler ran make this stamp differ from theirs: the next run builds again.
    fs.writeFileSync(path.join(next, '.built'), made)
    if (fs.existsSync(dist)) fs.renameSync(dist, old)
    fs.renameSync(next, dist)
    fs.rmSync(old, { recursive: true, force: true })
  })
  linkBin()
}

/** npm links the commands of packages but not our own; with this link `npx statemq` works in the clone. */
function linkBin() {
  if (process.platform === 'win32') return
  const link = at('node_modules', '.bin', 'statemq')
  const target = '../../dist/bin/statemq.js'
  try {
    if (fs.readlinkSync(link) === target) return
    fs.rmSync(link)
  } catch (error) {
    if (error.code !== 'ENOENT') return // Somebody else's file: leave it.
  }
  try {
    fs.symlinkSync(target, link)
  } catch {
    // A convenience: a tree that cannot have it is still whole.
  }
}

function fingerprint() {
  const parts = [fs.readFileSync(at('tsconfig.json')), fs.readFileSync(at('package-lock.json'))]
  const visit = (folder) => {
    let entries = []
    try {
      entries = fs.readdirSync(at(folder), { withFileTypes: true })
    } catch (error) {
      if (error.code !== 'ENOENT') throw error
    }
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const name = `${folder}/${entry.name}`
      if (entry.isDirectory()) visit(name)
      else if (name.endsWith('.ts')) parts.push(name, fs.readFileSync(at(name)))
    }
  }
  for (const folder of sourceFolders) visit(folder)
  return fingerprintOf(parts)
}
