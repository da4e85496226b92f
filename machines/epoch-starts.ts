/**
 * Epoch starts: where in a log each mastership began, and how two logs find the point up to which they are equal.
 *
 * Two logs that hold the same epoch hold the same bytes up to the smaller of its two ends: one master wrote them. So
 * logs are compared BY EPOCH and never by how far somebody believes them confirmed.
 *
 * RocketMQ: store/ha/autoswitch/EpochFileCache.java (findConsistentPoint)
 */

/** In a list: ascending by epoch and by start. */
export type EpochStart = { epoch: number; start: number }

/** A log as far as comparing it needs: `end` is the position after its last byte. */
export type Lineage = { starts: readonly EpochStart[]; end: number }

export const lastEpochOf = ({ starts }: Lineage): number => starts.at(-1)?.epoch ?? 0

/** The highest epoch in the log that is not above `epoch`, and where it ends; epoch 0 ends where the log begins. */
export function endOfEpoch({ starts, end }: Lineage, epoch: number): EpochEnd {
  for (let i = starts.length - 1; i >= 0; i--) {
    if (starts[i]!.epoch <= epoch) return { epoch: starts[i]!.epoch, end: starts[i + 1]?.start ?? end }
  }
  return { epoch: 0, end: starts[0]?.start ?? end }
}
export type EpochEnd = { epoch: number; end: number }

/**
 * How a log that ends at `position`, in epoch `lastEpoch`, stands to `own`, which begins at `begin`: 'prefix' of it, or it
 * differs; 'gone' when what the two may have in common has left `own`, so that nobody can tell up to where they are equal.
 */
export function standing(own: Lineage, begin: number, position: number, lastEpoch: number): Standing {
  if (position < begin) return 'gone'
  // An empty log, wherever it begins, has nothing that could differ.
  if (lastEpoch === 0) return position <= own.end ? 'prefix' : 'gone'
  const differs = divergence(own, position, lastEpoch)
  if (differs === null) return 'prefix'
  return differs.epoch === 0 && begin > 0 ? 'gone' : differs
}
export type Standing = 'prefix' | 'gone' | EpochEnd

/** What a log that ends at `position` in epoch `lastEpoch` must be told, or null when it is a prefix of `own`. */
export function divergence(own: Lineage, position: number, lastEpoch: number): EpochEnd | null {
  if (position === 0) return null
  const known = endOfEpoch(own, lastEpoch)
  return known.epoch < lastEpoch || known.end < position ? known : null
}

/** Up to where a log that diverges may still be equal to the master's. Asked again until it is a prefix. */
export const cutPosition = (own: Lineage, master: EpochEnd): number =>
  Math.min(master.end, endOfEpoch(own, master.epoch).end)
