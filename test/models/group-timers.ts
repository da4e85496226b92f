/** Timers of a machine as values: which are set, and what each of them will say. */
import type { Timers } from './group-words.ts'
import type { Effect } from './interning.ts'

/** Looks that change nothing in these models, and what is set exactly while there are queues that wait for it. */
const ignored = (id: string): boolean =>
  id.includes('.lagInterval.') || id === 'retry' || id.startsWith('handOff/')

export const sorted = <T>(record: Record<string, T>): Record<string, T> =>
  Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)))

/** With what `xstate.raise` has set, or without what `xstate.cancel` gave up. */
export function withTimer(timers: Timers, { type, params }: Effect): Timers {
  if (type === 'xstate.cancel') {
    const { [params.sendId]: _, ...others } = timers
    return others
  }
  const id = params.id ?? params.sendId
  if (ignored(id)) return timers
  return sorted({ ...timers, [id]: params.event })
}
