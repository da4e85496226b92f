/**
 * A real nats-server of the test's own: a free port of 127.0.0.1, a folder that goes away with it.
 *
 * The port is chosen by the server itself and kept by `restart`. The server NEVER outlives the test: a guard kills it,
 * by its process id, as soon as the pipe to this process breaks, however this process or worker ended.
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

  let server = await launch(file, -1)
  const { port } = server
  const end = async (signal: NodeJS.Signals) => {
    const { guard, pid } = server
    if (guard.exitCode !== null || guard.signalCode !== null) return
    const exit = once(guard, 'exit')
    try {
      process.kill(pid, signal)
    } catch {
      // It has just ended by itself; the guard follows.
    }
    await exit
  }

  return {
    url: `nats://127.0.0.1:${port}`,
    port,
    get pid() {
      return server.pid
    },
    async stop() {
      await end('SIGTERM')
      fs.rmSync(folder, { recursive: true, force: true })
    },
    kill: () => end('SIGKILL'),
    async restart() {
      await end('SIGKILL')
      server = await launch(file, port)
    },
  }
}

type Running = { guard: ChildProcess; pid: number; port: number }

// The guard tells the server's process id, and ends when the server does. Its own input is the pipe that it watches.
const GUARD = `exec 3<&0
"$0" "$@" </dev/null & server=$!
echo $server
{ cat <&3 >/dev/null; kill -9 $server; } 2>/dev/null &
wait $server`

/** Resolves when the server takes connections; port -1 lets it choose. */
function launch(config: string, port: number): Promise<Running> {
  const args = ['--addr', '127.0.0.1', '--port', String(port), '--config', config]
  const guard = spawn('sh', ['-c', GUARD, findNatsServer(), ...args], { stdio: 'pipe' })
  let pid = 0
  let words = ''
  return new Promise((resolve, reject) => {
    const fail = (why: string) => reject(new Error(`nats-server did not start: ${why}\n${words}`))
    const check = () => {
      const bound = /Listening for client connections on \S+:(\d+)/.exec(words)?.[1]
      if (pid > 0 && bound !== undefined && words.includes('Server is ready'))
        resolve({ guard, pid, port: Number(bound) })
    }
    guard.once('error', (error) => fail(error.message))
    guard.once('exit', (code, signal) => fail(`it ended with ${signal ?? code}`))
    guard.stdout.setEncoding('utf8').once('data', (line: string) => {
      pid = Number(line)
      check()
    })
    guard.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      words = `${words}${chunk}`.slice(-65_536) // Read on after the start, or the server would block on its log.
      check()
    })
  })
}

/** Whether `startNatsServer` has what it needs. */
export const hasNatsServer = (): boolean => natsServer() !== undefined

function findNatsServer(): string {
  const found = natsServer()
  if (found === undefined)
    throw new Error('these tests need a nats-server (2.9 or newer) on the PATH: apt-get install nats-server')
  return found
}

function natsServer(): string | undefined {
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
  return candidates.find((file) => fs.existsSync(file))
}
