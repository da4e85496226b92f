/**
 * The programs that a set-up runs: npm, the compiler, the tests. None outlives it: a signal is passed on, they end first.
 */
import { spawn } from 'node:child_process'
import { root } from './clone.mjs'
import { release, rememberChild } from './lock.mjs'
import { SetupError } from './words.mjs'

const running = new Set()

/** `ended`: its exit code, by the shell's convention when a signal ended it. */
export function run(program, args, options = {}) {
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

/** Its exit code, and all that it printed. */
export async function capture(program, args, options = {}) {
  const child = run(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  const chunks = []
  child.process.stdout?.on('data', (chunk) => chunks.push(chunk))
  child.process.stderr?.on('data', (chunk) => chunks.push(chunk))
  const code = await child.ended
  return { code, output: Buffer.concat(chunks).toString() }
}

/** From now on Ctrl-C ends the programs, and then this one. */
export function passSignalsOn() {
  for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
  ]) {
    process.once(signal, () => {
      // A terminal tells the whole group; a lone signal is passed on. The children end first, then this.
      for (const child of running) child.kill(signal)
      const leave = () => {
        release()
        process.exit(128 + number)
      }
      if (running.size === 0) leave()
      for (const child of running) child.once('close', leave)
      process.once(signal, leave)
    })
  }
}
