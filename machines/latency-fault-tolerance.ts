/**
 * LatencyFaultTolerance: which brokers a producer avoids, and for how long.
 *
 * The slower an answer was, the longer its broker is avoided. Avoiding is a preference, NEVER a refusal: when nothing
 * better is left, a message is still sent somewhere.
 *
 * RocketMQ: client/latency/MQFaultStrategy.java, LatencyFaultToleranceImpl.java
 */

/** From this latency on, a broker is avoided this long. RocketMQ's table, in milliseconds. */
const penalties = [
  { latencyMs: 15_000, avoidMs: 30_000 },
  { latencyMs: 5_000, avoidMs: 10_000 },
  { latencyMs: 3_000, avoidMs: 6_000 },
  { latencyMs: 1_800, avoidMs: 5_000 },
  { latencyMs: 550, avoidMs: 2_000 },
] as const

/** A send that failed counts as an answer that took this long. */
const isolationLatencyMs = 10_000

type Fault = { latencyMs: number; availableFrom: number; reachable: boolean }
export type FaultTable = Readonly<Record<string, Fault>>

/** How long a broker that answered after `latencyMs` is avoided. */
export const avoidMsFor = (latencyMs: number): number =>
  penalties.find((penalty) => latencyMs >= penalty.latencyMs)?.avoidMs ?? 0

/** The table after one more send. A short penalty never shortens a longer one that still runs. */
export function observe(
  table: FaultTable,
  brokerName: string,
  latencyMs: number,
  nowMs: number,
  { isolated = false, reachable = true }: { isolated?: boolean; reachable?: boolean } = {},
): FaultTable {
  const avoidMs = avoidMsFor(isolated ? isolationLatencyMs : latencyMs)
  const known = table[brokerName]
  const availableFrom = Math.max(known?.availableFrom ?? 0, avoidMs > 0 ? nowMs + avoidMs : 0)
  return { ...table, [brokerName]: { latencyMs, availableFrom, reachable } }
}

export const isAvailable = (table: FaultTable, brokerName: string, nowMs: number): boolean =>
  nowMs >= (table[brokerName]?.availableFrom ?? 0)

/** Whether it answered last, however slowly; one that nothing is known of counts as reachable. */
export const isReachable = (table: FaultTable, brokerName: string): boolean =>
  table[brokerName]?.reachable ?? true

/**
 * Those of `queues` to choose from: of available brokers, else of reachable ones, else all; within the first two,
 * not of the broker that was tried last.
 */
export function candidates<Q extends { readonly brokerName: string }>(
  table: FaultTable,
  queues: readonly Q[],
  nowMs: number,
  lastBrokerName?: string,
): readonly Q[] {
  const others = queues.filter(({ brokerName }) => brokerName !== lastBrokerName)
  const available = others.filter(({ brokerName }) => isAvailable(table, brokerName, nowMs))
  if (available.length > 0) return available
  const reachable = others.filter(({ brokerName }) => isReachable(table, brokerName))
  return reachable.length > 0 ? reachable : queues
}
