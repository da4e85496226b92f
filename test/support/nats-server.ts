/**
 * A real nats-server of the test's own: a free port of 127.0.0.1, a folder that goes away with it.
 *
 * The port is chosen by the server itself and kept by `restart`. It is killed by its process id at the latest when
 * this process ends.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

export interface NatsServer {
  readonly url: string
  readonly port: number
  readonly pid: number
  /** Ends it in good order. Its data is removed. */
  stop(): Promise<void>
  /** SIGKILL. Its data stays for `restart`. */
  kill(): Promise<void>
  /** The same port, the same data. */
  restart(): Promise<void>
}

export type NatsServerOptions = {
  readonly jetstream?: boolean
  /** More lines of nats-server's configuration language. */
  readonly config?: string
}

export async function startNatsServer({
  jetstream = false,
  config = '',
}: NatsServerOptions = {}): Promise<NatsServer> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'statemq-nats-'))
  const file = path.join(folder, 'nats.conf')
  const store = jetstream ? `jetstream { store_dir: ${JSON.stringify(path.join(folder, 'data'))} }` : ''
  fs.writeFileSync(file, `${store}\n${config}\n`)

  let { child, port } = await launch(file, -1)
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    child.kill(signal)
    await exit
  }
  const killAtExit = () => void child.kill('SIGKILL')
  process.on('exit', killAtExit)

  return {
    url: `nats://127.0.0.1:${port}`,
    port,
    get pid() {
      return child.pid!
    },
    async stop() {
      await end('SIGTERM')
      process.off('exit', killAtExit)
      fs.rmSync(folder, { recursive: true, force: true })
    },
    kill: () => end('SIGKILL'),
    async restart() {
      await end('SIGKILL')
      ;({ child, port } = await launch(file, port))
    },
  }
}

/** Resolves when the server takes connections; port -1 lets it choose. */
function launch(config: string, port: number): Promise<{ child: ChildProcess; port: number }> {
  const args = ['--addr', '127.0.0.1', '--port', String(port), '--config', config]
  const child = spawn(findNatsServer(), args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let words = ''
  return new Promise((resolve, reject) => {
    const fail = (why: string) => reject(new Error(`nats-server did not start: ${why}\n${words}`))
    child.once('error', (error) => fail(error.message))
    child.once('exit', (code, signal) => fail(`it ended with ${signal ?? code}`))
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      words = `${words}${chunk}`.slice(-65_536) // Read on after the start, or the server would block on its log.
      const bound = /Listening for client connections on \S+:(\d+)/.exec(words)?.[1]
      if (bound !== undefined && words.includes('Server is ready')) resolve({ child, port: Number(bound) })
    })
  })
}

function findNatsServer(): string {
  const named = process.env.STATEMQ_NATS_SERVER
  const folders = [
    ...(process.env.PATH ?? '').split(path.delimiter),
    '/usr/sbin',
    '/usr/local/sbin',
    '/usr/local/bin',
    '/opt/homebrew/bin',
  ]
  const candidates = [
    ...(named === undefined ? [] : [named]),
    ...folders.map((it) => path.join(it, 'nats-server')),
  ]
  const found = candidates.find((file) => fs.existsSync(file))
  if (found === undefined)
    throw new Error('these tests need a nats-server (2.9 or newer) on the PATH: apt-get install nats-server')
  return found
}
