/** What the commands share: what they are given, how they get a client, and how they give way to Ctrl-C. */
import type { Command } from 'commander'
import type { Clock } from '../../node/world.ts'
import type { Demo } from './commands/demo.ts'
import { attempt, Interrupted, UsageError } from './explain.ts'
import type { Client, Library } from './face.ts'
import type { Terminal } from './terminal.ts'

/** All that the commands are given. */
export interface Cli {
  readonly version: string
  readonly terminal: Terminal
  readonly clock: Clock
  /** Loaded when a command first needs it: `--help` then answers at once. */
  library(): Promise<Library>
  /** The demo and the benchmark are programs above the library; without them their commands are left out. */
  readonly demo?: Demo | undefined
  readonly benchFile?: string | undefined
}

/** What every command understands. */
export interface Settings {
  servers: string
  cluster: string
  json: boolean
}

export const examples = (...lines: readonly string[]): string =>
  `\n${lines.length === 1 ? 'Example:' : 'Examples:'}\n${lines.map((line) => `  $ ${line}\n`).join('')}`

/** Gives a command its work, with the settings, its own options and its arguments. */
export function carriesOut<Options>(
  command: Command,
  work: (settings: Settings, options: Options, args: (string | undefined)[]) => Promise<void>,
): void {
  command.action(() =>
    work(
      command.optsWithGlobals<Settings>(),
      command.opts() as Options,
      command.processedArgs as (string | undefined)[],
    ),
  )
}

/** Refuses what was typed and would be ignored; the environment may say it for other commands. */
export function refuseGiven(command: Command, option: 'servers' | 'cluster', why: string): void {
  if (command.getOptionValueSourceWithGlobals(option) === 'cli') throw new UsageError(`--${option}: ${why}`)
}

/**
 * Connects, works, and closes whatever happened. Ctrl-C gives the work up and closes, which drains; work that ends
 * by itself on Ctrl-C says so with `endsItself`.
 */
export async function withClient<T>(
  cli: Cli,
  settings: Settings,
  tried: string,
  work: (client: Client) => Promise<T>,
  { endsItself = false } = {},
): Promise<T> {
  const { servers, cluster } = settings
  const { signal } = cli.terminal
  const { connect } = await cli.library()
  const client = await attempt(tried, () => orInterrupted(connect({ servers, cluster }), signal))
  try {
    return await attempt(tried, () => (endsItself ? work(client) : orInterrupted(work(client), signal)))
  } finally {
    await client.close()
  }
}

/** Resolves on Ctrl-C or SIGTERM. */
export const interruption = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })

/** For nodes: waits for Ctrl-C, drains, and fails should the node have failed before. */
export async function untilStopped(
  { terminal }: Cli,
  settings: Settings,
  what: string,
  start: (failed: (message: string) => void) => Promise<{ close(): Promise<void> }>,
): Promise<void> {
  let failed = (_message: string): void => {}
  const failure = new Promise<string>((resolve) => {
    failed = resolve
  })
  const running = await attempt(`start ${what}`, () => start(failed))
  const reason = await Promise.race([interruption(terminal.signal), failure])
  if (!settings.json) terminal.tell('\nDraining ... (Ctrl-C again stops at once)\n')
  await attempt(`stop ${what}`, () => running.close())
  if (reason !== undefined) await attempt(`run ${what}`, () => Promise.reject(new Error(reason)))
}

function orInterrupted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const interrupted = interruption(signal).then(() => {
    throw new Interrupted()
  })
  return Promise.race([work, interrupted])
}
