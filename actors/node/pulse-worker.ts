/**
 * Pulse worker: the thread of thread-pulse.ts. It beats while it is connected AND the main loop makes progress.
 *
 * How long the counter stands still is counted in this thread's own turns, NEVER by the clock: when the whole process
 * was stopped for a while, the main loop is not to blame.
 */
import { parentPort, workerData } from 'node:worker_threads'
import type { ReplicaBeat } from '../../transport/messages.ts'
import { connectNats } from '../../transport/nats.ts'
import type { Transport } from '../../transport/transport.ts'
import { type Addresses, beatAt, type Pulse } from './pulse.ts'
import { realClock, realRandom } from './real-world.ts'
import { type Connection, PROGRESS_MS } from './thread-pulse.ts'
import type { Log } from './world.ts'

export type ThreadOptions = {
  readonly connection: Connection
  readonly addresses: Addresses
  readonly beat: ReplicaBeat
  readonly beatMs: number
  readonly hangMs: number
  /** One Int32 that the main loop raises. */
  readonly progress: SharedArrayBuffer
}
export type Orders = { beat: ReplicaBeat } | 'stop'
/** A line for the log, which is the main thread's. */
export type Said = { level: keyof Log; message: string; fields: Record<string, string> }

const RECONNECT_MS = 250

const { connection, addresses, beatMs, hangMs, progress, beat } = workerData as ThreadOptions
const main = parentPort!
const counter = new Int32Array(progress)
const random = realRandom(64)
const log: Log = { info: say('info'), warn: say('warn'), error: say('error') }

let latest = beat
let transport: Transport | undefined
let pulse: Pulse | undefined
let seen = Atomics.load(counter, 0)
let stillMs = 0
let complaint = ''

main.on('message', (orders: Orders) => {
  if (orders === 'stop') return stop()
  latest = orders.beat
  pulse?.update(latest)
})
connect()
realClock.setTimeout(watch, PROGRESS_MS)

/** The transport reconnects by itself, but only AFTER it was connected once. */
function connect(): void {
  connectNats({ ...connection, clock: realClock, random, log }, (outcome) => {
    if (outcome.ok) {
      transport = outcome.value
      return beatOrBeStill()
    }
    if (outcome.failure.message !== complaint)
      log.warn(`no signs of life are sent: ${outcome.failure.message}`)
    complaint = outcome.failure.message
    realClock.setTimeout(connect, RECONNECT_MS)
  })
}

function watch(): void {
  const now = Atomics.load(counter, 0)
  stillMs = now === seen ? stillMs + PROGRESS_MS : 0
  seen = now
  beatOrBeStill()
  realClock.setTimeout(watch, PROGRESS_MS)
}

function beatOrBeStill(): void {
  if (transport === undefined) return
  const hangs = stillMs >= hangMs
  if (hangs && pulse !== undefined) {
    log.warn(`the main loop stood still for ${hangMs} ms: signs of life stop until it turns again`)
    pulse.stop(() => {})
    pulse = undefined
  } else if (!hangs && pulse === undefined)
    pulse = beatAt({ clock: realClock, transport }, addresses, latest, beatMs)
}

/** Ends the thread, not the process. */
function stop(): void {
  const end = () => process.exit()
  const closing = transport
  transport = undefined
  pulse?.stop(() => {})
  if (closing === undefined) end()
  else closing.close(end)
}

/** Fields as text: not everything that can be logged can be passed to another thread. */
function say(level: keyof Log): Log['warn'] {
  return (message, fields = {}) => {
    const texts = Object.entries(fields).map(([key, value]) => [
      key,
      value instanceof Error ? value.message : String(value),
    ])
    main.postMessage({ level, message, fields: Object.fromEntries(texts) } satisfies Said)
  }
}
