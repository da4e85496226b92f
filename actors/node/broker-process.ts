/**
 * One replica of a broker as a process of its own, kept running by the process that started it.
 *
 * It is `statemq node` with the role broker. It NEVER outlives its owner: the owner holds the pipe of its stdin, which
 * breaks however the owner ends, and the replica then drains and leaves. It is in no terminal's group of processes, so
 * that Ctrl-C reaches the owner alone, who stops its replicas in good order. One that dies is started again AFTER a
 * pause that grows; one that does not even start the first time is told of and NOT tried again, for it never will.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { type ErrorCode, StateMQError } from '../errors.ts'
import { type Names, refuseUnknown } from '../options.ts'
import type { Directory } from './inspection.ts'
import { realClock } from './real-world.ts'
import { supervise } from './supervise.ts'
import type { Clock } from './world.ts'

export type BrokerProcessOptions = {
  cluster: string
  /** Where NATS listens. */
  servers: string
  broker: {
    name: string
    id: number
    flush?: 'sync' | 'async'
    autoCreateTopic?: boolean
    replication?: 'none' | 'sync' | 'async'
    replicas?: number
    minInSync?: number
  }
  dir: string
  register?: 'served' | 'jetstream'
  /** Silence after which a replica counts as gone, milliseconds. */
  detectMs?: number
  /** Hears what the replica logs, line by line, and what becomes of it. */
  tell?: (line: string) => void
  /** A replica that does not stop within this time is killed, milliseconds. */
  stopLimitMs?: number
  clock?: Clock
}

// biome-ignore format: one name a line says no more
const brokerProcessOptions: Names<BrokerProcessOptions> = {
  cluster: true, servers: true, broker: true, dir: true, register: true,
  detectMs: true, tell: true, stopLimitMs: true, clock: true,
}
// biome-ignore format: one name a line says no more
const replicaOptions: Names<BrokerProcessOptions['broker']> = {
  name: true, id: true, flush: true, autoCreateTopic: true, replication: true,
  replicas: true, minInSync: true,
}

export type BrokerProcess = {
  readonly brokerName: string
  readonly brokerId: number
  /** Resolves when it serves for the first time; rejects with what it said when it ended before. */
  readonly ready: Promise<void>
  /** Of the process that runs now; null between two. */
  readonly pid: number | null
  /** How often it was started again. */
  readonly restarts: number
  /** Drains and stops it; it is not started again. */
  stop(): Promise<void>
}

const STOP_LIMIT_MS = 15_000
const door = fileURLToPath(new URL('../../bin/statemq.js', import.meta.url))
const quiet = { info() {}, warn() {}, error() {} }
/** The owner's supervisors are no part of the cluster. */
const unlisted: Directory = { add: () => () => {} }

/** What `statemq` is called with to be this replica. */
export function argumentsOf(options: BrokerProcessOptions): string[] {
  const { cluster, servers, dir, register, detectMs, broker } = options
  const given: Record<string, string | number | undefined> = {
    '--broker': broker.name,
    '--id': broker.id,
    '--flush': broker.flush,
    '--replication': broker.replication,
    '--replicas': broker.replicas,
    '--min-in-sync': broker.minInSync,
    '--register': register,
    '--detect': detectMs,
    '--dir': dir,
    '--nats': servers,
  }
  return [
    ...['--json', '--cluster', cluster, 'node', '--roles', 'broker', '--with-parent'],
    ...Object.entries(given).flatMap(([flag, value]) => (value === undefined ? [] : [flag, String(value)])),
    ...(broker.autoCreateTopic === false ? ['--no-auto-create'] : []),
  ]
}

export function startBrokerProcess(options: BrokerProcessOptions): BrokerProcess {
  refuseUnknown('startBrokerProcess', options, brokerProcessOptions)
  refuseUnknown('broker', options.broker, replicaOptions)
  const { broker, tell = () => {}, stopLimitMs = STOP_LIMIT_MS, clock = realClock } = options
  const name = `${broker.name}/${broker.id}`
  const command = [door, ...argumentsOf(options)]
  let running: Run | null = null
  let starts = 0
  let hasServed = false
  let isStopping = false
  let stopping: Promise<void> | null = null
  let resolveReady = (): void => {}
  let rejectReady = (_error: StateMQError): void => {}
  const ready = new Promise<void>((resolve, reject) => {
    resolveReady = resolve
    rejectReady = reject
  })
  ready.catch(() => {}) // Whoever does not wait for it is told by the lines.

  const supervision = supervise({ world: { clock, log: quiet }, directory: unlisted }, `process/${name}`, {
    // It is the world that kills processes: giving up would end what a person wants to keep running.
    restartsMax: Number.MAX_SAFE_INTEGER,
    start(failed) {
      starts++
      const run = new Run(command, clock, tell)
      running = run
      void run.served.then(() => {
        if (starts > 1) tell(`is back as process ${run.pid}`)
        hasServed = true
        resolveReady()
      })
      void run.ended.then(({ words, error }) => {
        running = null
        if (isStopping) return rejectReady(new StateMQError('CLOSED', `${name} was stopped before it served`))
        if (hasServed) {
          tell(`process ${run.pid} ${words}; it is started again`)
          return failed(words)
        }
        rejectReady(error ?? new StateMQError('SYSTEM_ERROR', `${name} ${words} before it served`))
        supervision.stop(() => {})
      })
      return { stop: (stopped) => run.stop(stopLimitMs, stopped) }
    },
    givenUp: (message) => tell(`is given up: ${message}`),
  })

  return {
    brokerName: broker.name,
    brokerId: broker.id,
    ready,
    get pid() {
      return running?.pid ?? null
    },
    get restarts() {
      return Math.max(0, starts - 1)
    },
    stop() {
      isStopping = true
      stopping ??= new Promise((stopped) => supervision.stop(stopped))
      return stopping
    },
  }
}

type End = {
  /** 'ended with SIGKILL' */
  words: string
  /** What it said itself why it could not go on. */
  error: StateMQError | null
}

/** One life of the process. */
class Run {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>
  readonly #clock: Clock
  readonly served: Promise<void>
  readonly ended: Promise<End>
  #error: StateMQError | null = null

  constructor(command: readonly string[], clock: Clock, tell: (line: string) => void) {
    this.#clock = clock
    const child = spawn(process.execPath, command, { stdio: ['pipe', 'pipe', 'pipe'], detached: true })
    this.#child = child
    child.stdin.on('error', () => {}) // It has just ended; 'close' tells.
    this.served = new Promise((resolve) => {
      createInterface({ input: child.stdout }).once('line', () => resolve())
    })
    createInterface({ input: child.stderr }).on('line', (line) => {
      this.#error = errorIn(line) ?? this.#error
      tell(errorIn(line)?.message ?? line)
    })
    this.ended = new Promise((resolve) => {
      child.once('error', (cause) =>
        resolve({ words: `could not be started: ${cause.message}`, error: null }),
      )
      child.once('close', (code, signal) =>
        resolve({ words: `ended with ${signal ?? `exit code ${code}`}`, error: this.#error }),
      )
    })
  }

  get pid(): number | null {
    return this.#child.pid ?? null
  }

  stop(limitMs: number, stopped: () => void): void {
    const child = this.#child
    const timer = this.#clock.setTimeout(() => child.kill('SIGKILL'), limitMs)
    void this.ended.then(() => {
      this.#clock.clearTimeout(timer)
      stopped()
    })
    child.kill('SIGTERM')
  }
}

/** `statemq --json` says on stderr why it ends, as one object. */
function errorIn(line: string): StateMQError | null {
  if (!line.startsWith('{"error":')) return null
  try {
    const { error } = JSON.parse(line) as {
      error: { code: string | null; message: string; retryable: boolean }
    }
    const { code, message, retryable } = error
    return new StateMQError((code ?? 'SYSTEM_ERROR') as ErrorCode, message, { retryable })
  } catch {
    return null
  }
}
