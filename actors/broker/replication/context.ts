/**
 * What both sides of the stream between a master and its slaves are made with. Once for each epoch: NOTHING of it
 * outlives the mastership that it was made for.
 */
import type { Replication } from '../../../machines/group-state.ts'
import type { Clock, Log, Random } from '../../../transport/ports.ts'
import type { Subjects } from '../../../transport/subjects.ts'
import type { Transport } from '../../../transport/transport.ts'
import { type Failover, failoverOf } from '../../node/failover.ts'
import type { Store } from '../store/store.ts'

export type ReplicationSettings = Pick<Failover, 'beatMs' | 'detectMs' | 'lateMs' | 'lagMs' | 'leaseMs'> & {
  readonly replicas: number
  readonly replication: Replication
  /** What the store is opened with; a master that is alone in its set syncs all the same. */
  readonly flush: 'sync' | 'async'
  /** With 'async': no more is answered beyond what all members have acknowledged. */
  readonly maxLagBytes: number
  /** No more is on its way to one slave; a larger frame goes alone. */
  readonly windowBytes: number
  /** Of one data message; a larger frame goes alone. */
  readonly chunkBytes: number
  /** With 'async': for so long little is gathered before it is sent. */
  readonly gatherMs: number
  /** Levels are told so often. */
  readonly tickMs: number
  readonly followRetryMinMs: number
  readonly followRetryMaxMs: number
}

const REPLICATION: ReplicationSettings = {
  ...failoverOf(),
  replicas: 1,
  replication: 'sync',
  flush: 'async',
  maxLagBytes: 64 * 1024 * 1024,
  windowBytes: 8 * 1024 * 1024,
  chunkBytes: 512 * 1024,
  gatherMs: 5,
  tickMs: 200,
  followRetryMinMs: 100,
  followRetryMaxMs: 500,
}

type Shared<S extends keyof Store> = {
  /** A connection of its own: no client's burst stands in its way. */
  readonly transport: Transport
  readonly clock: Clock
  readonly log: Log
  readonly subjects: Subjects
  readonly brokerName: string
  /** This replica, its store and its process. */
  readonly brokerId: number
  readonly storeId: string
  readonly processId: string
  readonly epoch: number
  readonly store: Pick<Store, S>
  /** What is not given is as in `REPLICATION`. */
  readonly settings: Partial<ReplicationSettings>
}
/** With every setting. */
export type Settled<C extends { settings: Partial<ReplicationSettings> }> = Omit<C, 'settings'> & {
  readonly settings: ReplicationSettings
}
export const settled = <C extends { settings: Partial<ReplicationSettings> }>(context: C): Settled<C> => ({
  ...context,
  settings: { ...REPLICATION, ...context.settings },
})

export type FollowersContext = Shared<
  'lineage' | 'minPosition' | 'endPosition' | 'storedPosition' | 'syncedPosition' | 'flush' | 'readLog'
> & {
  /** Where signs of life travel. */
  readonly control: Transport
  readonly settings: Pick<ReplicationSettings, 'replicas' | 'replication' | 'flush'>
}

export type FollowingContext = Shared<
  | 'lineage'
  | 'endPosition'
  | 'storedPosition'
  | 'endsInState'
  | 'lacksRoom'
  | 'confirmLimit'
  | 'appendVerbatim'
> & {
  readonly masterId: number
  readonly incarnation: number
  readonly lineage: number
  /** One for the whole process, made by `sessions`. */
  readonly nextSession: () => number
  /** What earlier masters were promised, as `leaseEndsAt` of an earlier Following told. */
  readonly leaseEndsAt: number
}

export type MasterContext = Settled<FollowersContext>
export type SlaveContext = Settled<FollowingContext>

/** Clocks of two machines may differ by so much: a slave waits that much longer than its master counts on. */
const CLOCK_DRIFT = 1.01

/** Until when, at least, a replica that hears its master now, or begins to run now, is not to be master itself. */
export const leaseFrom = (monotonicMs: number, leaseMs: number): number => monotonicMs + leaseMs * CLOCK_DRIFT

/** Sessions are counted modulo this. */
export const SESSIONS = 2 ** 32

/**
 * Names requests to follow, for a whole process. Drawn, so that the streams of two processes that claim to be one replica
 * never mix.
 */
export function sessions(random: Random): () => number {
  let last = random.below(SESSIONS)
  return () => {
    last = (last + 1) % SESSIONS
    return last
  }
}

/** A pulse that is late by more than this was held up by its own process, and what it saw of others is old. */
const STALL_BEATS = 2

/**
 * Runs again and again. `stalledMs` is for how long this process itself stood still, 0 as a rule: the silence of that
 * time is nobody else's.
 */
export function pulse(clock: Clock, everyMs: number, run: (stalledMs: number) => void): () => void {
  let last = clock.monotonic()
  let timer = clock.setTimeout(beat, everyMs)
  function beat(): void {
    const now = clock.monotonic()
    const lateMs = now - last - everyMs
    last = now
    timer = clock.setTimeout(beat, everyMs)
    run(lateMs > STALL_BEATS * everyMs ? lateMs : 0)
  }
  return () => clock.clearTimeout(timer)
}
