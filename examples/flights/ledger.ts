/**
 * The ledger: what the members of the group were given, all together, and whether the promises were kept.
 *
 * A message that comes a second time is counted as a duplicate and changes nothing else. A flight is misordered when one
 * of its airport that departed later was given out before it, or when one of its airport is still being handled.
 */
import type { NumberedFlight } from './data.ts'

export class Ledger {
  readonly consumed: NumberedFlight[] = []
  duplicates = 0
  misordered = 0
  readonly #seen = new Set<string>()
  readonly #busy = new Set<string>()
  readonly #latest = new Map<string, number>()

  /** A handler begins. False: this message has been here before. */
  begin(messageId: string, { origin, sequence }: NumberedFlight): boolean {
    if (this.#seen.has(messageId)) {
      this.duplicates++
      return false
    }
    this.#seen.add(messageId)
    const latest = this.#latest.get(origin) ?? -1
    if (sequence < latest || this.#busy.has(origin)) this.misordered++
    this.#latest.set(origin, Math.max(latest, sequence))
    this.#busy.add(origin)
    return true
  }

  /** The same handler ends: from here on the flight counts. */
  end(flight: NumberedFlight): void {
    this.#busy.delete(flight.origin)
    this.consumed.push(flight)
  }
}
