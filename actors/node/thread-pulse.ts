/**
 * Thread pulse: a pulse on a thread and a connection of its own. Signs of life do NOT stop while the main loop is busy,
 * and DO stop when it hangs.
 *
 * The main loop raises a counter every PROGRESS_MS. When the counter has stood still for `hangMs` the thread beats no
 * more and hears no pings, UNTIL it moves again: a process whose loop is stuck serves nobody, so another must take over.
 * Half a second of a busy loop (garbage, a storm of syncs) is no reason to, and does not silence the thread.
 *
 * A thread that ends by a bug is started anew, with the latest beat. The thread NEVER outlives its process.
 */
import { Worker } from 'node:worker_threads'
import type { NatsOptions } from '../../transport/nats.ts'
import { addressesOf, BEAT_MS, type Pulse, type PulseOptions } from './pulse.ts'
import type { Orders, Said, ThreadOptions } from './pulse-worker.ts'
import type { World } from './world.ts'

/** How to connect, without what a thread has of its own. */
export type Connection = Omit<NatsOptions, 'clock' | 'random' | 'log'>

export type ThreadPulseOptions = PulseOptions & {
  readonly connection: Connection
  /** Many times PROGRESS_MS. */
  readonly hangMs?: number
}

export const PROGRESS_MS = 50
const HANG_MS = 2_000
/** A thread that ended sooner than this will end again: the next one waits. */
const SHORT_LIFE_MS = 5_000
const RESTART_MS = 1_000
/** A thread that has not ended by then, because its server does not answer, is cut off. */
const STOP_MS = 1_000

// A thread takes 10 to 20 MB; a bug in it must not take the memory of the broker.
const resourceLimits = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 4 }

export function threadPulse(
  { clock, log }: Pick<World, 'clock' | 'log'>,
  { subjects, beat, beatMs = BEAT_MS, connection, hangMs = HANG_MS }: ThreadPulseOptions,
): Pulse {
  const who = `${beat.brokerName}/${beat.brokerId}`
  const progress = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)
  const counter = new Int32Array(progress)
  let latest = beat
  let posted = beat
  let worker: Worker | undefined
  let stopped: (() => void)[] | undefined
  let hasEnded = false
  let progressTimer: unknown
  let postTimer: unknown
  let restartTimer: unknown

  function advance(): void {
    Atomics.add(counter, 0, 1)
    progressTimer = clock.setTimeout(advance, PROGRESS_MS)
  }

  function start(): void {
    restartTimer = undefined
    const startedAt = clock.monotonic()
    const workerData: ThreadOptions = {
      connection: { name: `pulse ${who}`, ...connection },
      ...{ addresses: addressesOf(subjects, beat), beat: latest, beatMs, hangMs, progress },
    }
    let cause: unknown
    // Flags of the main thread, as `--input-type`, would keep a thread from starting.
    const thread = new Worker(new URL('./pulse-worker.js', import.meta.url), {
      ...{ workerData, resourceLimits, execArgv: [] },
    })
    worker = thread
    thread.on('message', ({ level, message, fields }: Said) => log[level](message, fields))
    thread.on('error', (error) => {
      cause = error
    })
    thread.on('exit', () => {
      worker = undefined
      if (stopped !== undefined) return finish()
      log.error(`the thread that beats for ${who} ended: another one is started`, { cause })
      const isShort = clock.monotonic() - startedAt < SHORT_LIFE_MS
      restartTimer = clock.setTimeout(start, isShort ? RESTART_MS : 0)
    })
  }

  /** AT MOST one beat an interval: the thread tells no more of them anyway. */
  function post(): void {
    posted = latest
    order({ beat: latest })
    postTimer = clock.setTimeout(() => {
      postTimer = undefined
      if (latest !== posted) post()
    }, beatMs)
  }

  const order = (orders: Orders) => worker?.postMessage(orders)

  function stop(): void {
    for (const timer of [progressTimer, postTimer, restartTimer]) clock.clearTimeout(timer)
    if (worker === undefined) return clock.defer(finish)
    const thread = worker
    order('stop')
    const cutOff = clock.setTimeout(() => void thread.terminate(), STOP_MS)
    thread.on('exit', () => clock.clearTimeout(cutOff))
  }

  function finish(): void {
    hasEnded = true
    for (const done of stopped!.splice(0)) done()
  }

  advance()
  start()
  return {
    update(next) {
      latest = next
      if (postTimer === undefined && stopped === undefined) post()
    },
    stop(done) {
      if (hasEnded) return clock.defer(done)
      if (stopped !== undefined) return void stopped.push(done)
      stopped = [done]
      stop()
    },
  }
}
