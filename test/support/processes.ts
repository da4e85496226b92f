/**
 * StateMQ in processes of its own, as an operator starts it: they are killed, restarted and looked at from outside.
 *
 * They run the same build as the test. Each is killed by its process id at the latest when this process ends.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const door = fileURLToPath(new URL('../../bin/statemq.js', import.meta.url))

/** What ends some time, such as a test: it runs what was left to it, the last first. */
export type Scope = { teardown(end: () => unknown): void }

export interface Running {
  readonly pid: number
  /** What it printed when it was ready. */
  readonly ready: { servers: string; [key: string]: unknown }
  readonly hasEnded: boolean
  /** What it printed on stdout and on stderr. */
  readonly output: string
  readonly errors: string
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>
  /** SIGTERM; resolves with its exit code. */
  stop(): Promise<number | null>
  exited(): Promise<number | null>
}

const everyone = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of everyone) child.kill('SIGKILL')
})

/** The processes of one scope: whatever becomes of it, none of them outlives it. */
export class Processes {
  readonly #running = new Set<ChildProcess>()

  constructor(scope: Scope) {
    scope.teardown(async () => {
      // One that has ended, and whose last words are still on their way, tells that no second time.
      const living = [...this.#running].filter(
        ({ exitCode, signalCode }) => exitCode === null && signalCode === null,
      )
      const exits = living.map((child) => once(child, 'exit'))
      for (const child of living) child.kill('SIGKILL')
      await Promise.all(exits)
    })
  }

  /** Starts `statemq …` and resolves when it is ready; rejects with what it said when it ended before. */
  async start(...args: string[]): Promise<Running> {
    const { running, ready } = this.#spawn([door, '--json', ...args])
    await ready
    return running
  }

  /** Starts a module of the tests that prints a line of JSON when it is ready. */
  async startModule(url: URL, ...args: string[]): Promise<Running> {
    const { running, ready } = this.launchModule(url, ...args)
    await ready
    return running
  }

  /** The same, to be looked at and killed BEFORE it is ready. */
  launchModule(url: URL, ...args: string[]): { running: Running; ready: Promise<void> } {
    const launched = this.#spawn([fileURLToPath(url), ...args])
    launched.ready.catch(() => {}) // Whoever does not wait for it is not told.
    return launched
  }

  /** Runs `statemq …` to its end. */
  async run(...args: string[]): Promise<{ code: number | null; output: string; errors: string }> {
    const { running, ready } = this.#spawn([door, ...args])
    ready.catch(() => {})
    const code = await running.exited()
    return { code, output: running.output, errors: running.errors }
  }

  #spawn(args: string[]): { running: Running; ready: Promise<void> } {
    const child = spawn(process.execPath, ['--enable-source-maps', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, STATEMQ_SERVERS: undefined, STATEMQ_CLUSTER: undefined },
    })
    this.#running.add(child)
    everyone.add(child)
    let output = ''
    let errors = ''
    let said: Running['ready'] | null = null
    const ended = once(child, 'close').then(() => {
      this.#running.delete(child)
      everyone.delete(child)
      return child.exitCode
    })
    const ready = new Promise<void>((resolve, reject) => {
      child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
        output += chunk
        if (said !== null || !output.includes('\n')) return
        try {
          said = JSON.parse(output.slice(0, output.indexOf('\n'))) as Running['ready']
          resolve()
        } catch {
          // A table for people: whoever waits for the end reads it.
        }
      })
      child.stderr!.setEncoding('utf8').on('data', (chunk: string) => {
        errors = `${errors}${chunk}`.slice(-65_536)
      })
      void ended.then((code) =>
        reject(new Error(`'${args.slice(1).join(' ')}' ended with ${code}\n${errors}`)),
      )
    })
    const signal = async (name: NodeJS.Signals) => {
      if (child.exitCode === null && child.signalCode === null) child.kill(name)
      return ended
    }
    const running: Running = {
      pid: child.pid!,
      get ready() {
        return said!
      },
      get hasEnded() {
        return child.exitCode !== null || child.signalCode !== null
      },
      get output() {
        return output
      },
      get errors() {
        return errors
      },
      kill: async () => void (await signal('SIGKILL')),
      stop: () => signal('SIGTERM'),
      exited: () => ended,
    }
    return { running, ready }
  }
}

/** A folder that goes away with its scope. */
export async function temporaryFolder(scope: Scope): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'statemq-test-'))
  // A process whose owner was killed is still on its way out, and writes.
  scope.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }))
  return folder
}
