/**
 * The terminal: all that the commands see of the process they run in, and the only file here that touches it.
 *
 * stdout carries what was asked for and nothing else; words about the work go to stderr. `signal` is aborted by the
 * first Ctrl-C or SIGTERM, and commands then drain; the second one ends the process at once.
 */
import { spawn } from 'node:child_process'
import { open } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { realClock } from '../../node/real-world.ts'

export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Width of stdout when people look at it; undefined in a pipe or file. */
  readonly columns: number | undefined
  /** People look at stderr: progress may be drawn there. */
  readonly interactive: boolean
  readonly colours: boolean
  /** Something is piped into this process. */
  readonly hasInput: boolean
  readonly signal: AbortSignal
  /** From now on the end of stdin aborts the signal too: whoever holds its other end is gone. */
  stopWithInput(): void
  write(text: string): void
  tell(text: string): void
  /** The lines of a file, or of stdin without a name. Ends early when the signal is aborted. */
  lines(file?: string): AsyncIterable<string>
  ask(question: string): Promise<string>
  /** Runs a program of ours in its own process; resolves with its exit code. */
  runProgram(file: string, args: readonly string[]): Promise<number>
}

/** Nobody is left who would end a process that cannot drain, so it ends by itself. */
const ORPHAN_LIMIT_MS = 10_000

export function processTerminal(): Terminal {
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (stop.signal.aborted) process.exit(signal === 'SIGINT' ? 130 : 143)
      stop.abort()
    })
  }
  // `statemq consume … | head` closes the pipe when it has enough: that is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

  const { env, stdin, stdout, stderr } = process
  return {
    env,
    columns: stdout.isTTY ? stdout.columns : undefined,
    interactive: stderr.isTTY === true,
    colours: stdout.isTTY === true && stdout.hasColors() && (env.NO_COLOR ?? '') === '',
    hasInput: stdin.isTTY !== true,
    signal: stop.signal,
    stopWithInput() {
      const leave = () => {
        stop.abort()
        realClock.setTimeout(() => process.exit(1), ORPHAN_LIMIT_MS)
      }
      // What is still said goes nowhere, and that must not end the process before it has drained.
      stderr.on('error', () => {})
      stdin.once('end', leave).once('error', leave).resume()
    },
    write: (text) => void stdout.write(text),
    tell: (text) => void stderr.write(text),
    lines: (file) => (file === undefined ? linesOfStdin(stop.signal) : linesOfFile(file, stop.signal)),
    ask,
    runProgram: (file, args) =>
      new Promise((resolve, reject) => {
        const child = spawn(process.execPath, [file, ...args], { stdio: 'inherit' })
        child.on('error', reject)
        // A terminal's Ctrl-C reaches the child by itself; it decides how to end.
        child.on('close', (code) => resolve(code ?? 1))
      }),
  }
}

async function* linesOfFile(file: string, signal: AbortSignal): AsyncIterable<string> {
  const handle = await open(file)
  if ((await handle.stat()).isDirectory()) {
    await handle.close()
    throw new Error(`'${file}' is a folder`)
  }
  for await (const line of handle.readLines()) {
    if (signal.aborted) return
    yield line
  }
}

async function* linesOfStdin(signal: AbortSignal): AsyncIterable<string> {
  const reader = createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })
  const close = () => reader.close()
  signal.addEventListener('abort', close, { once: true })
  try {
    for await (const line of reader) {
      if (signal.aborted) return
      yield line
    }
  } finally {
    signal.removeEventListener('abort', close)
    close()
  }
}

function ask(question: string): Promise<string> {
  const reader = createInterface({ input: process.stdin, output: process.stderr })
  return new Promise((resolve) => {
    reader.on('close', () => resolve(''))
    reader.question(question, (answer) => {
      resolve(answer)
      reader.close()
    })
  })
}
