/** Runs what was compiled as programs of their own, as a user does, each with a temporary folder that must end empty. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'

export type Program = {
  readonly child: ChildProcess
  /** What it printed on stdout so far. */
  readonly output: string
  readonly errors: string
  /** Resolves when stdout holds `text`; rejects when it ends before. */
  prints(text: string): Promise<void>
  /** Its exit code, or the signal that ended it. */
  ended(): Promise<number | NodeJS.Signals | null>
}

/** What ends each program that runs: one listener for all of them. */
const alive = new Set<() => void>()
process.on('exit', () => {
  for (const killNow of alive) killNow()
})

/** `file` is named from the root of the build. Whatever becomes of the test, the program does not outlive it. */
export function start(
  t: ExecutionContext,
  file: string,
  args: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Program {
  const path = fileURLToPath(new URL(`../../${file}`, import.meta.url))
  const child = spawn(process.execPath, [path, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    // What runs a test tells its children so; a test runner among them would behave as a part of it.
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, STATEMQ_CLUSTER: undefined, ...env },
  })
  let output = ''
  let errors = ''
  let look = () => {}
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
    look()
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  const closed = once(child, 'close').then(([code, signal]) => code ?? signal)
  const killNow = () => void child.kill('SIGKILL')
  alive.add(killNow)
  t.teardown(async () => {
    killNow()
    await closed
    alive.delete(killNow)
  })
  return {
    child,
    get output() {
      return output
    },
    get errors() {
      return errors
    },
    prints: (text) =>
      new Promise((resolve, reject) => {
        look = () => output.includes(text) && resolve()
        look()
        void closed.then((code) =>
          reject(new Error(`it ended with ${code} before '${text}'\n${output}${errors}`)),
        )
      }),
    ended: () => closed,
  }
}

export async function temporary(t: ExecutionContext): Promise<{ path: string; names(): Promise<string[]> }> {
  const path = await mkdtemp(join(tmpdir(), 'statemq-test-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return { path, names: () => readdir(path) }
}
