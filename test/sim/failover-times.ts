/**
 * How long a broker is without a master: from the kill of one to the next message that is acknowledged in a later epoch.
 *
 * Clean is a failover that began when all replicas were in sync and nothing else had been wrong for a while, and during
 * which nothing else went wrong: what the design promises times for.
 */
export type Failover = { broker: string; ms: number; isSeen: boolean; isClean: boolean }

const CALM_MS = 5_000

type Pending = { broker: string; epoch: number; at: number; isSeen: boolean; isClean: boolean }

export class FailoverTimes {
  readonly done: Failover[] = []
  #pending: Pending[] = []
  #lastFault = Number.NEGATIVE_INFINITY

  /** Whether nothing has been wrong for a while. */
  isCalm(at: number): boolean {
    return at - this.#lastFault > CALM_MS
  }

  /** AFTER the fault of the kill itself. */
  killed(kill: Pending): void {
    this.#pending.push(kill)
  }

  /** Something went wrong, or came right again. */
  disturbed(at: number): void {
    this.#lastFault = at
    for (const pending of this.#pending) pending.isClean = false
  }

  acknowledged(broker: string, epoch: number, at: number): void {
    if (this.#pending.length === 0) return
    const isOver = (pending: Pending) => pending.broker === broker && epoch > pending.epoch
    for (const { at: since, isSeen, isClean } of this.#pending.filter(isOver))
      this.done.push({ broker, ms: at - since, isSeen, isClean })
    this.#pending = this.#pending.filter((pending) => !isOver(pending))
  }
}

/** The value below which so large a share of all lies; 0 when there is none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}
