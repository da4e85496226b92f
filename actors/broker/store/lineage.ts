/**
 * Which epochs the log holds frames of, and where each begins.
 *
 * Every frame's head carries its epoch, and epochs NEVER fall along the log: the list is derived from the log. What has
 * left the log is known by the state that begins a segment.
 *
 * RocketMQ: store/ha/autoswitch/EpochFileCache.java.
 */
import type { EpochStart } from '../../../machines/epoch-starts.ts'

/** The list that a segment goes on with: what its state knows, and the epoch of its first frame. */
export const startsAt = (known: readonly EpochStart[], epoch: number, start: number): EpochStart[] =>
  epoch > (known.at(-1)?.epoch ?? 0) ? [...known, { epoch, start }] : [...known]

/** The epochs that reach the log from `minPosition` on: the one that ends there too, for a log may end there with it. */
export const retained = (starts: readonly EpochStart[], minPosition: number): readonly EpochStart[] =>
  starts.filter((_, i) => (starts[i + 1]?.start ?? Number.POSITIVE_INFINITY) >= minPosition)

/**
 * The same as others are told it: an epoch that began before the log does begins with it. To know less costs a replica
 * that differs a larger cut; to claim more would leave it with frames that nobody else has.
 */
export const told = (starts: readonly EpochStart[], minPosition: number): readonly EpochStart[] =>
  retained(starts, minPosition).map(({ epoch, start }) => ({ epoch, start: Math.max(start, minPosition) }))
