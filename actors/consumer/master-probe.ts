/**
 * MasterProbe: finds out that a master is gone while it holds pulls and is silent.
 *
 * A pull that a master holds is not answered when its process dies, and the news of the next master may be lost. So a
 * master from which nothing was heard for a while is asked something small: once a second and broker, NEVER while it
 * answers pulls.
 */
import { ask } from '../../transport/codec.ts'
import type { Process } from '../node/process.ts'
import type { QueueReader } from './queue-reader.ts'

const PROBE_MS = 1_000

export type MasterProbeHooks = {
  readers(): Iterable<QueueReader>
  /** The mastership of a broker, 0 when none is known. */
  epochOf(brokerName: string): number
  /** Nobody answers under this epoch; the readers that waited for it know. */
  lost(brokerName: string, epoch: number): void
}

export class MasterProbe {
  readonly #process: Process
  readonly #hooks: MasterProbeHooks
  #timer: unknown = null

  constructor(process: Process, hooks: MasterProbeHooks) {
    this.#process = process
    this.#hooks = hooks
    this.#arm()
  }

  stop(): void {
    this.#process.world.clock.clearTimeout(this.#timer)
  }

  #arm(): void {
    this.#timer = this.#process.world.clock.setTimeout(() => this.#look(), PROBE_MS)
  }

  #look(): void {
    this.#arm()
    const now = this.#process.world.clock.monotonic()
    /** Of each broker, the reader that has waited for the shortest time. */
    const waiting = new Map<string, { reader: QueueReader; since: number }>()
    for (const reader of this.#hooks.readers()) {
      const since = reader.waitsSince
      if (since === null) continue
      const { brokerName } = reader.ref
      const other = waiting.get(brokerName)
      if (other === undefined || since > other.since) waiting.set(brokerName, { reader, since })
    }
    for (const { reader, since } of waiting.values()) if (now - since >= PROBE_MS) this.#probe(reader)
  }

  #probe({ ref: { topic, brokerName, queueId } }: QueueReader): void {
    const { world, subjects } = this.#process
    const epoch = this.#hooks.epochOf(brokerName)
    const { searchOffset } = subjects.broker(brokerName, epoch)
    ask(world.transport, searchOffset, { topic, queueId, to: 'first' }, PROBE_MS, (outcome) => {
      if (outcome.ok) return
      const { code } = outcome.failure
      if (code !== 'noResponders' && code !== 'timedOut') return
      for (const reader of this.#hooks.readers()) if (reader.ref.brokerName === brokerName) reader.lose(epoch)
      this.#hooks.lost(brokerName, epoch)
    })
  }
}
