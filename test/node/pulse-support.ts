/** A replica's beat, and moves of tests that stop their own loop: they watch through the memory of another thread. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { ExecutionContext } from 'ava'
import type { ReplicaBeat } from '../../transport/messages.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import { LIMIT_MS } from '../support/until.ts'

export const subjects = subjectsOf('test')

export const beatOf = (more: Partial<ReplicaBeat> = {}): ReplicaBeat => ({
  ...{ brokerName: 'broker-a', brokerId: 1, processId: 'p', storeId: 's', incarnation: 1, lineage: 0 },
  ...{ epoch: 3, role: 'slave', lastEpoch: 3, endPosition: 100, confirmPosition: 100 },
  ...{ replicas: 2, minInSync: 1, replication: 'sync' },
  ...more,
})

/** What the recorder counts, by place in its memory. */
export const places = { beats: 0, pongs: 1, unreachable: 2, beatsWhenUnreachable: 3 } as const
export type Recording = { readonly url: string; readonly memory: SharedArrayBuffer }

/** Hears the beats of `beatOf()` and pings it without a pause, on a thread and a connection of its own. */
export async function startRecorder(t: ExecutionContext, url: string) {
  const memory = new SharedArrayBuffer(4 * Object.keys(places).length)
  const counts = new Int32Array(memory)
  const workerData: Recording = { url, memory }
  const worker = new Worker(new URL('./pulse-recorder.js', import.meta.url), { workerData })
  t.teardown(() => worker.terminate())
  await once(worker, 'message')
  return (place: keyof typeof places): number => Atomics.load(counts, places[place])
}

/** Keeps this thread's loop from turning until it is so. */
export function hangUntil(what: string, isSo: () => boolean): void {
  const end = performance.now() + LIMIT_MS
  while (!isSo()) {
    if (performance.now() > end)
      throw new Error(`after ${LIMIT_MS} ms of a hanging loop it is not so that ${what}`)
    hang(5)
  }
}

const nobodyWakes = new Int32Array(new SharedArrayBuffer(4))
export const hang = (ms: number): void => void Atomics.wait(nobodyWakes, 0, 0, ms)
