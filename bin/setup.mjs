#!/usr/bin/env node
/**
 * The set-up: makes a fresh clone run. `build`, `test`, `bench`; `prepare` is npm's own call after an install.
 *
 * It and all of bin/setup/ run BEFORE anything is installed, so they need Node and nothing else.
 */
import fs from 'node:fs'
import path from 'node:path'
import { build, compile } from './setup/build.mjs'
import { at, dist } from './setup/clone.mjs'
import { noteInstalled } from './setup/install.mjs'
import { withLock } from './setup/lock.mjs'
import { withNatsServer } from './setup/nats-server.mjs'
import { passSignalsOn, run } from './setup/processes.mjs'
import { checkStyle, runTests } from './setup/tests.mjs'
import { report, SetupError, say } from './setup/words.mjs'

const print = (words) => new Promise((resolve) => process.stdout.write(words, resolve))

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
      if (npmCommand === 'install' || npmCommand === 'ci') noteInstalled()
      await compile()
    })
    return 0
  },

  test: async (args) => {
    let result = { passed: 0, failed: 1, skipped: 0, code: 1 }
    try {
      await build()
      const env = await withNatsServer()
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
    const env = await withNatsServer()
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

passSignalsOn()
main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code
  },
  (error) => {
    report(error)
    process.exitCode = 1
  },
)
