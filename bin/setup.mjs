#!/usr/bin/env node
/**
 * The set-up: makes a fresh clone run. `build`, `test`, `bench`; `prepare` is npm's own call after an install.
 *
 * It runs before anything is installed, so it needs Node and nothing else. The invariant: a stamp is written only
 * AFTER what it vouches for is complete, and is removed BEFORE that is touched. A set-up that is killed at any
 * moment therefore leaves either a good tree or one without a stamp, and the next run makes that one anew.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { performance } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const at = (...names) => path.join(root, ...names)

const installStamp = at('node_modules', '.statemq-installed')
const dist = at('dist')
const buildStamp = path.join(dist, '.built')
const lockFile = at('.setup.lock')
const sourceFolders = ['actors', 'bin', 'examples', 'machines', 'test', 'transport']

/** What a person can do something about. Its message says what was tried, what happened, what to do. */
class SetupError extends Error {}

// ---------------------------------------------------------------------------------------------- the commands

const commands = {
  build: async () => {
    await build()
    return 0
  },

  /** npm calls this by itself. Nothing may be installed from here: two npm would work on one folder. */
  prepare: async () => {
    const npmCommand = process.env.npm_command
    // `npx statemq` makes a link to this clone in npm's cache; a failure here would leave that half made for ever.
    if (npmCommand === 'exec') return 0
    if (!fs.existsSync(at('node_modules', 'typescript'))) {
      say('Not built: the development packages are not installed. `npm run build` installs and builds.')
      return 0
    }
    await withLock(async () => {
      if (npmCommand === 'install' || npmCommand === 'ci') fs.writeFileSync(installStamp, installHash())
      await compile()
    })
    return 0
  },

  test: async (args) => {
    let result = { passed: 0, failed: 1, skipped: 0, code: 1 }
    try {
      await build()
      const env = withOnPath(await natsServer())
      const clean = await checkStyle()
      result = await runTests(args, env)
      if (!clean) result = { ...result, failed: result.failed + 1, code: result.code || 1 }
    } catch (error) {
      report(error)
    }
    const skipped = result.skipped > 0 ? `, ${result.skipped} skipped` : ''
    await print(`\n${result.passed} passed, ${result.failed} failed${skipped}\n`)
    return result.code
  },

  bench: async (args) => {
    await build()
    const env = withOnPath(await natsServer())
    // Both sides of a comparison run in this process, with the same room for young objects.
    const flags = ['--max-semi-space-size=64']
    return run(process.execPath, [...flags, path.join(dist, 'test', 'bench', 'main.js'), ...args], { env })
      .ended
  },
}

async function main([command = '', ...args]) {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new SetupError(
      `StateMQ needs Node 20.19 or newer, and this is Node ${process.versions.node}.\n` +
        'Install a newer Node, see that `node --version` shows it, then run the same command again.',
    )
  }
  const carryOut = commands[command]
  if (carryOut === undefined) {
    say('Usage: node bin/setup.mjs build | test [arguments of ava] | bench [arguments of the benchmark]')
    return 2
  }
  return carryOut(args)
}

// ------------------------------------------------------------------------------------------ install and build

async function build() {
  // The fast way takes no lock: both stamps vouch for trees that nobody is working on.
  if (isInstalled() && isBuilt(sourceHash())) return
  await withLock(async () => {
    if (!isInstalled()) await install()
    await compile()
  })
}

const installHash = () =>
  sha256([
    fs.readFileSync(at('package-lock.json')),
    // npm's own record of the tree: another install, or a prune, changes it.
    readText(at('node_modules', '.package-lock.json')),
    // Some packages hold binaries: a tree made for another machine or another major of Node is no good here.
    `node ${process.versions.node.split('.')[0]} ${process.platform} ${process.arch}`,
  ])
const isInstalled = () => readText(installStamp) === installHash()
const isBuilt = (hash) => readText(buildStamp) === hash

async function install() {
  fs.rmSync(installStamp, { force: true })
  // No scripts: none of the packages needs its own, and our `prepare` would call this program inside itself.
  const args = ['ci', '--include=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=notice']
  const npm = process.env.npm_execpath ?? ''
  const isNpm = path.basename(npm) === 'npm-cli.js'
  await step('Installing packages (npm ci)', async () => {
    const { code, output } = isNpm
      ? await capture(process.execPath, [npm, ...args])
      : await capture('npm', args, { shell: process.platform === 'win32' })
    if (code !== 0) {
      throw new SetupError(
        `${output.trimEnd()}\n\nnpm could not install the packages; its own words stand above.\n` +
          (output.includes('EUSAGE')
            ? 'package.json and package-lock.json do not agree: `npm install` brings them together.'
            : 'See that `npm ping` answers and that `npm config get registry` names a registry that you can reach,\n' +
              'then run the same command again: it starts from a clean tree.'),
      )
    }
  })
  fs.writeFileSync(installStamp, installHash())
}

/** Builds beside the old tree and swaps the two: files of removed sources vanish, half a build is never seen. */
async function compile() {
  const hash = sourceHash()
  if (isBuilt(hash)) return linkBin()
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
    fs.writeFileSync(path.join(next, '.built'), hash)
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

function sourceHash() {
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
  return sha256(parts)
}

function sha256(parts) {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(`${part.length}:`).update(part)
  return hash.digest('hex')
}

// -------------------------------------------------------------------------------------------------- the tests

/** The path of a nats-server: the tests hold our transports against the real one. */
async function natsServer() {
  const found = findNatsServer()
  if (found !== undefined) return found

  const isRoot = typeof process.getuid === 'function' && process.getuid() === 0
  if (isRoot && findProgram('apt-get') !== undefined) {
    await withLock(() =>
      step('Installing nats-server (apt-get)', async () => {
        const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
        const update = await capture('apt-get', ['update', '-q'], { env })
        const get = await capture(
          'apt-get',
          ['install', '-q', '-y', '--no-install-recommends', 'nats-server'],
          { env },
        )
        if (get.code !== 0) {
          throw new SetupError(
            `${update.output}${get.output.trimEnd()}\n\napt-get could not install nats-server; its own words stand above.\n` +
              'Put a nats-server (2.9 or newer) on the PATH, then run the same command again.',
          )
        }
        // The package starts a service on the port that `statemq start` listens on. The tests start their own.
        if (fs.existsSync('/run/systemd/system'))
          await capture('systemctl', ['disable', '--now', 'nats-server'])
      }),
    )
    const installed = findNatsServer()
    if (installed !== undefined) return installed
  }
  throw new SetupError(
    'The tests need a nats-server (2.9 or newer), and none is on the PATH.\n' +
      'Debian and Ubuntu: sudo apt-get install nats-server     macOS: brew install nats-server\n' +
      'or put the program from nats.io on the PATH, then run the same command again.',
  )
}

const findNatsServer = () =>
  findProgram('nats-server', ['/usr/sbin', '/usr/local/sbin', '/usr/local/bin', '/opt/homebrew/bin'])

function findProgram(name, more = []) {
  const folders = [
    ...(process.env.PATH ?? '').split(path.delimiter).filter((folder) => folder !== ''),
    ...more,
  ]
  const file = process.platform === 'win32' ? `${name}.exe` : name
  for (const folder of folders) {
    const candidate = path.join(folder, file)
    try {
      fs.accessSync(candidate, fs.constants.X_OK)
      if (fs.statSync(candidate).isFile()) return candidate
    } catch {
      // Not here: look on.
    }
  }
  return undefined
}

const withOnPath = (program) => ({
  ...process.env,
  PATH: `${process.env.PATH ?? ''}${path.delimiter}${path.dirname(program)}`,
  STATEMQ_NATS_SERVER: program,
})

async function checkStyle() {
  try {
    await step('Checking style (biome)', async () => {
      const biome = at('node_modules', '@biomejs', 'biome', 'bin', 'biome')
      const { code, output } = await capture(process.execPath, [biome, 'check', '.'])
      if (code !== 0) {
        throw new SetupError(`${output.trimEnd()}\n\n\`npm run format\` mends what can be mended by itself.`)
      }
    })
    return true
  } catch (error) {
    report(error)
    return false
  }
}

async function runTests(args, env) {
  // AVA runs what was compiled; people name what they wrote.
  const files = args.map((arg) => (/^test\/.*\.ts$/.test(arg) ? `dist/${arg.slice(0, -3)}.js` : arg))
  const ava = [at('node_modules', 'ava', 'entrypoints', 'cli.mjs'), ...files]
  if (args.includes('--watch') || args.includes('-w')) {
    const code = await run(process.execPath, ava, { env }).ended
    return { passed: 0, failed: code === 0 ? 0 : 1, skipped: 0, code }
  }
  // AVA sees a pipe, not the terminal; it would drop its colours.
  const colours = process.stdout.isTTY && process.env.NO_COLOR === undefined ? { FORCE_COLOR: '1' } : {}
  const tally = new Tally()
  const child = run(process.execPath, ava, {
    env: { ...env, ...colours },
    stdio: ['inherit', 'pipe', 'inherit'],
  })
  child.process.stdout.setEncoding('utf8').on('data', (chunk) => {
    process.stdout.write(chunk)
    tally.read(chunk)
  })
  return tally.result(await child.ended)
}

/** Counts what AVA prints, by its default reporter or with --tap; also right when AVA dies before its summary. */
class Tally {
  rest = ''
  seen = { passed: 0, failed: 0, skipped: 0 }
  stated = {}

  read(chunk) {
    const lines = `${this.rest}${chunk}`.split('\n')
    this.rest = lines.pop()
    for (const line of lines) this.line(line)
  }

  line(raw) {
    const line = raw.replace(/\u001b\[[0-9;]*m/g, '').trimEnd()
    if (/^\s*[✔√] /.test(line) || /^ok \d+ (?!.*# (SKIP|TODO))/.test(line)) this.seen.passed++
    else if (/^\s*[✘×✖] /.test(line) || /^not ok \d+ (?!.*# TODO)/.test(line)) this.seen.failed++
    else if (/^ok \d+ .*# SKIP/.test(line)) this.seen.skipped++

    const words = /^\s*(\d+) (.+?)( \[[\d:]+\])?$/.exec(line)
    if (words !== null) this.state(words[2], Number(words[1]))
    const tap = /^# (pass|fail|skip) (\d+)$/.exec(line)
    if (tap !== null)
      this.stated[{ pass: 'passed', fail: 'failed', skip: 'skipped' }[tap[1]]] = Number(tap[2])
  }

  state(words, count) {
    if (/^tests? passed$/.test(words)) this.stated.passed = count
    else if (/^tests? skipped$/.test(words)) this.stated.skipped = count
    else if (
      /^(tests?|hooks?) failed$/.test(words) ||
      /^(uncaught|unhandled) /.test(words) ||
      / remained pending /.test(words)
    ) {
      this.stated.failed = (this.stated.failed ?? 0) + count
    }
  }

  result(code) {
    if (this.rest !== '') this.line(this.rest)
    const passed = this.stated.passed ?? this.seen.passed
    let failed = Math.max(this.stated.failed ?? 0, code === 0 ? 0 : this.seen.failed)
    if (code !== 0 && failed === 0) failed = 1 // A crash, or no test at all: never a green count.
    if (code === 0 && passed === 0) return { passed, failed: Math.max(failed, 1), skipped: 0, code: 1 }
    return {
      passed,
      failed,
      skipped: this.stated.skipped ?? this.seen.skipped,
      code: failed > 0 ? code || 1 : 0,
    }
  }
}

// ------------------------------------------------------------------------------- one set-up at a time in a clone

let held = false

/** Runs `work` while no other set-up works on this clone. A lock whose holder is dead is taken over. */
async function withLock(work) {
  const mine = JSON.stringify(self(process.pid))
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

function rememberChild(pid) {
  if (!held || pid === undefined) return
  const draft = `${lockFile}.${process.pid}`
  fs.writeFileSync(draft, JSON.stringify({ ...self(process.pid), child: self(pid) }))
  fs.renameSync(draft, lockFile)
}

const self = (pid) => ({ pid, started: startOf(pid)?.started ?? '' })

function isAlive(pid, started = '') {
  if (!Number.isInteger(pid)) return false
  try {
    process.kill(pid, 0)
  } catch (error) {
    if (error.code !== 'EPERM') return false
  }
  // Numbers are used again: where the system tells when a process started, that must agree.
  const now = startOf(pid)
  return now === undefined || (now.state !== 'Z' && (started === '' || now.started === started))
}

function startOf(pid) {
  const stat = readText(`/proc/${pid}/stat`)
  if (stat === '') return undefined
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return { state: fields[0], started: fields[19] }
}

// -------------------------------------------------------------------------------------------- processes, words

const running = new Set()

function run(program, args, options = {}) {
  const child = spawn(program, args, { cwd: root, stdio: 'inherit', ...options })
  running.add(child)
  rememberChild(child.pid)
  const ended = new Promise((resolve, reject) => {
    child.on('error', (error) => {
      running.delete(child)
      reject(new SetupError(`Could not run ${program}: ${error.message}`))
    })
    child.on('close', (code, signal) => {
      running.delete(child)
      resolve(code ?? 128 + (signal === 'SIGINT' ? 2 : signal === 'SIGTERM' ? 15 : 9))
    })
  })
  return { process: child, ended }
}

async function capture(program, args, options = {}) {
  const child = run(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  const chunks = []
  child.process.stdout?.on('data', (chunk) => chunks.push(chunk))
  child.process.stderr?.on('data', (chunk) => chunks.push(chunk))
  const code = await child.ended
  return { code, output: Buffer.concat(chunks).toString() }
}

/** One line a step, on stderr: what the commands print stays alone on stdout. */
async function step(name, work) {
  const began = performance.now()
  const elapsed = () => `${((performance.now() - began) / 1000).toFixed(1)} s`
  process.stderr.write(`${name} ... `)
  try {
    await work()
    process.stderr.write(`${elapsed()}\n`)
  } catch (error) {
    process.stderr.write(`failed after ${elapsed()}\n\n`)
    throw error
  }
}

const say = (words) => process.stderr.write(`${words}\n`)
const print = (words) => new Promise((resolve) => process.stdout.write(words, resolve))
const report = (error) => say(error instanceof SetupError ? error.message : (error.stack ?? String(error)))
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

function readText(file) {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

function parse(text) {
  try {
    return JSON.parse(text)
  } catch {
    return {}
  }
}

for (const [signal, number] of [
  ['SIGINT', 2],
  ['SIGTERM', 15],
]) {
  process.once(signal, () => {
    // A terminal tells the whole group; a lone signal is passed on. The children end first, then this.
    for (const child of running) child.kill(signal)
    const leave = () => {
      if (held) fs.rmSync(lockFile, { force: true })
      process.exit(128 + number)
    }
    if (running.size === 0) leave()
    for (const child of running) child.once('close', leave)
    process.once(signal, leave)
  })
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code
  },
  (error) => {
    report(error)
    process.exitCode = 1
  },
)
