/**
 * Vacancy: whether the place of a replica, its broker name and id in this cluster, is free.
 *
 * It is free AFTER the server said once that nobody listens there, or AFTER two silences in a row: a process that is slow
 * to answer is not gone. It is taken AFTER somebody answered again and again: who is stopping, or was killed a moment ago,
 * is waited for.
 */
import { ask } from '../../transport/codec.ts'
import type { Process } from '../node/process.ts'
import type { Clock } from '../node/world.ts'

export const PROBE_MS = 300
/** The connection of a process that was killed may outlive it for a moment. */
const PROBES_MAX = 10
/** A process that is slow to answer is not gone. */
const SILENCES_MAX = 2

type Sign<Occupant> = Occupant | 'unreachable' | 'silent'

export type Looking = { close(): void }

/** Calls back with who has the place, null when it is free; not at all AFTER `close`. Every probe ends within PROBE_MS. */
export function findOccupant<Occupant extends object>(
  clock: Clock,
  probe: (heard: (sign: Sign<Occupant>) => void) => void,
  done: (occupant: Occupant | null) => void,
): Looking {
  let answers = 0
  let silences = 0
  let timer: unknown = null
  let isClosed = false

  const look = (): void => probe(heard)
  const heard = (sign: Sign<Occupant>): void => {
    if (isClosed) return
    if (sign === 'unreachable') return done(null)
    if (sign === 'silent') silences++
    else {
      silences = 0
      answers++
      if (answers === PROBES_MAX) return done(sign)
    }
    if (silences === SILENCES_MAX) return done(null)
    timer = clock.setTimeout(look, PROBE_MS)
  }
  look()
  return {
    close() {
      isClosed = true
      clock.clearTimeout(timer)
    },
  }
}

/** Asks whoever runs under this name and id, replicated or not, on ANY data. Calls back with whether somebody does. */
export function findNamesake(
  { world, subjects }: Process,
  { brokerName, brokerId }: { brokerName: string; brokerId: number },
  done: (isTaken: boolean) => void,
): Looking {
  const { describe } = subjects.brokerProcess(brokerName, brokerId)
  return findOccupant<{ isTaken: true }>(
    world.clock,
    (heard) =>
      ask(world.transport, describe, {}, PROBE_MS, (outcome) => {
        if (outcome.ok) heard({ isTaken: true })
        else heard(outcome.failure.code === 'noResponders' ? 'unreachable' : 'silent')
      }),
    (occupant) => done(occupant !== null),
  )
}
