/**
 * BrokerHealth: which brokers one producer avoids at the moment.
 *
 * Whoever chooses among brokers remembers its choice; `version` changes BEFORE any answer of `isUsable` that it may rest
 * on is out of date by more than `RECHECK_MS`, so that nobody asks for each message.
 *
 * RocketMQ: client/latency/MQFaultStrategy.java
 */
import {
  candidates,
  type FaultTable,
  isAvailable,
  isReachable,
  observe,
} from '../../machines/latency-fault-tolerance.ts'
import type { Clock } from '../../transport/ports.ts'

/** Below this RocketMQ's table isolates nobody. */
const FAULT_LATENCY_MS = 550
/** How late it may be noticed that a broker need not be avoided any more. */
const RECHECK_MS = 500

export class BrokerHealth {
  /** Changes whenever an answer of `isUsable`, or of `preferred`, may have changed. */
  version = 0
  readonly #clock: Pick<Clock, 'monotonic'>
  #faults: FaultTable = {}
  #recheckAt = Number.POSITIVE_INFINITY

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock
  }

  isUsable(brokerName: string): boolean {
    return isAvailable(this.#faults, brokerName, this.#clock.monotonic())
  }

  /** Those of usable brokers; where there are none, those of brokers that answer, though slowly; else all. */
  preferred<Q extends { readonly brokerName: string }>(queues: readonly Q[]): readonly Q[] {
    return candidates(this.#faults, queues, this.#clock.monotonic())
  }

  /** A request to the broker took so long; infinitely long when it failed. */
  observe(brokerName: string, tookMs: number): void {
    if (tookMs < FAULT_LATENCY_MS && isReachable(this.#faults, brokerName)) return
    const failed = tookMs === Number.POSITIVE_INFINITY
    const now = this.#clock.monotonic()
    this.#faults = observe(this.#faults, brokerName, failed ? 0 : tookMs, now, {
      isolated: failed,
      reachable: !failed,
    })
    this.#recheckAt = now + RECHECK_MS
    this.version++
  }

  /** Time has passed: who was avoided may be usable again. */
  recheck(now: number): void {
    if (now < this.#recheckAt) return
    this.#recheckAt = now + RECHECK_MS
    this.version++
  }

  /** What the broker's old master did says nothing of the new one. */
  forget(brokerName: string): void {
    const { [brokerName]: _, ...others } = this.#faults
    this.#faults = others
    this.version++
  }
}
