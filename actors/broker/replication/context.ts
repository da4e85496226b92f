/**
 * What both sides of the stream between a master and its slaves are made with. Once for each epoch: NOTHING of it
 * outlives the mastership that it was made for.
 */
import type { Replication } from '../../../machines/group-state.ts'
import type { Clock, Log, Random } from '../../../transport/ports.ts'
import type { Subjects } from '../../../transport/subjects.ts'
import type { Transport } from '../../../transport/transport.ts'
import type { Store } from '../store/store.ts'

export type ReplicationSettings = {
  readonly replicas: number
  readonly replication: Replication
  /** What the store is opened with; a master that is alone in its set syncs all the same. */
  readonly flush: 'sync' | 'async'
  /** With 'async': so long after its sign of life was sent a slave will not be master. */
  readonly leaseMs: number
  /** With 'async': no more is answered beyond what all members have acknowledged. */
  readonly maxLagBytes: number
  /** No more is on its way to one slave; a larger frame goes alone. */
  readonly windowBytes: number
  /** Of one data message; a larger frame goes alone. */
  readonly chunkBytes: number
  /** Between two signs of life. */
  readonly beatMs: number
  /** Levels are told so often. */
  readonly tickMs: number
  /** A follower that has not had everything for so long lags. */
  readonly lagMs: number
  readonly followerSilentMs: number
  /** After so much silence a follower is asked whether it is there at all. */
  readonly pingAfterMs: number
  /** A slave takes its master for lost. */
  readonly silentMs: number
  readonly followRetryMinMs: number
  readonly followRetryMaxMs: number
}

export const REPLICATION: ReplicationSettings = {
  replicas: 1,
  replication: 'sync',
  flush: 'async',
  leaseMs: 400,
  maxLagBytes: 64 * 1024 * 1024,
  windowBytes: 8 * 1024 * 1024,
  chunkBytes: 512 * 1024,
  beatMs: 100,
  tickMs: 200,
  lagMs: 3_000,
  followerSilentMs: 1_000,
  pingAfterMs: 250,
  silentMs: 1_000,
  followRetryMinMs: 100,
  followRetryMaxMs: 500,
}

type Shared<S extends keyof Store> = {
  /** The connection of the replication: no client's burst stands in its way. */
  readonly transport: Transport
  readonly clock: Clock
  readonly log: Log
  readonly subjects: Subjects
  readonly brokerName: string
  /** This replica and its process. */
  readonly brokerId: number
  readonly processId: string
  readonly epoch: number
  readonly store: Pick<Store, S>
  readonly settings: ReplicationSettings
}

export type FollowersContext = Shared<
  | 'storeId'
  | 'lineage'
  | 'minPosition'
  | 'endPosition'
  | 'storedPosition'
  | 'syncedPosition'
  | 'flush'
  | 'readLog'
>

export type FollowingContext = Shared<
  'storeId' | 'lineage' | 'endPosition' | 'storedPosition' | 'endsInState' | 'confirmLimit' | 'appendVerbatim'
> & {
  readonly masterId: number
  readonly incarnation: number
  readonly lineage: number
  /** One for the whole process, made by `sessions`. */
  readonly nextSession: () => number
}

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
