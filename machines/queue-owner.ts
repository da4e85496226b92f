/**
 * QueueOwner: who reads one queue for one group. Kept by the broker of the queue, in its log.
 *
 * AT MOST ONE member owns a queue, and `assignEpoch` rises with every grant: whoever pulls, commits or releases under an
 * earlier one has been overtaken. An owner is told AFTER the record of its grant is confirmed; a later master reads the
 * same record, so a zombie is refused there, too. A queue whose owner is alive changes hands only when that one lets go;
 * it is taken by force only in the name of a LATER list of members, which says that the owner is gone or too slow: by one
 * of them that claims it, or by a group that pops and wants it to be free.
 *
 *             ┌────────── queue.released, owner.unseated, owner.gone ─────────┐
 *             ▼                                                               │
 *   free ──queue.claimed──▶ owned ──queue.claimed, forced by a later list──▶ owned by another
 *                             └──queue.claimed by another──▶ it waits, and is granted what is released
 *
 * RocketMQ: broker/client/rebalance/RebalanceLockManager.java
 */
import { setup } from 'xstate'
import { effect } from './effect.ts'
import { isLater } from './generation.ts'

/** `generation`: of the list of members that the claim rests on. `instance`: tells two processes of one client id apart. */
export type QueueClaim = { clientId: string; generation: number; instance: string }

export type QueueOwnerInput = { assignEpoch: number; owner: QueueClaim | null }
export type QueueOwnerContext = QueueOwnerInput & {
  /** Claims under `assignEpoch`; null: the queue is free. */
  owner: QueueClaim | null
  /** The claim that is granted as soon as the owner lets go: the one of the latest list. */
  waiting: QueueClaim | null
}
export type QueueOwnerEvent =
  /** `force`: the owner is no member any more, or did not let go in time. `waits`: until the owner lets go. */
  | ({ type: 'queue.claimed'; force: boolean; waits: boolean } & QueueClaim)
  /**
   * The owner under `assignEpoch` is done; 0: it does not know of a grant, and gives back all it claimed up to this
   * generation. `offset`: where the next owner goes on, null for nothing new.
   */
  | ({ type: 'queue.released'; offset: number | null } & Release)
  /** The waiting claim has waited long enough. */
  | ({ type: 'claim.expired' } & QueueClaim)
  /** A list of members of that generation, which does not have the owner, says so; nobody claims the queue instead. */
  | { type: 'owner.gone'; clientId: string; generation: number }
  /** The offset was set by an operator: the owner has to claim anew, and begins there. */
  | { type: 'owner.unseated'; offset: number }

type Release = QueueClaim & { assignEpoch: number }
type EventOf<T> = Extract<QueueOwnerEvent, { type: T }>

const queueOwner = setup({
  types: {} as { input: QueueOwnerInput; context: QueueOwnerContext; events: QueueOwnerEvent },
  actions: {
    /** Into the log, with the offset that was committed at the same time. */
    recordOwner: effect<{ assignEpoch: number; owner: QueueClaim | null; offset: number | null }>(
      'recordOwner',
    ),
    /** Answers the claim AFTER the record of it is confirmed. */
    grantQueue: effect<QueueClaim & { assignEpoch: number }>('grantQueue'),
    /** Answers the claim: another one holds the queue. */
    refuseClaim: effect<QueueClaim & { owner: QueueClaim | null }>('refuseClaim'),
  },
  guards: {
    /**
     * The owner again: it has not heard the answer, or was started anew. An older claim of its own proves nothing; nor does
     * another process of its name that rests on no later list: coordinators that knew nothing of each other took both in.
     */
    isOwners: ({ context: { owner } }, claim: QueueClaim) => covers(claim, owner),
    isForced: ({ context: { owner } }, claim: QueueClaim & { force: boolean }) =>
      claim.force && isLater(claim.generation, owner?.generation ?? 0),
    mayWait: ({ context: { waiting } }, claim: QueueClaim & { waits: boolean }) =>
      claim.waits && claim.generation >= (waiting?.generation ?? 0),
    /** A release that comes late NEVER undoes a newer claim. */
    isReleased: ({ context }, release: Release) => isReleased(context, release),
    /** By a LATER list than its claim rests on: an owner that has joined again since is not taken for the one that went. */
    isGone: ({ context }, gone: { clientId: string; generation: number }) => isGone(context, gone),
    isAwaited: ({ context: { waiting } }) => waiting !== null,
    isWaiting: ({ context: { waiting } }, claim: QueueClaim) => isSameClaim(claim, waiting),
    /** What it claimed and was not granted yet: NEVER is a queue granted to one that has gone on. */
    isGivenUp: ({ context: { waiting } }, release: Release) =>
      release.assignEpoch === 0 && covers(release, waiting),
  },
})

type Args = Pick<Parameters<Parameters<typeof queueOwner.enqueueActions>[0]>[0], 'context' | 'enqueue'>

const claimOf = ({ clientId, generation, instance }: QueueClaim): QueueClaim => ({
  clientId,
  generation,
  instance,
})

/** Whether two claims are one that was asked twice. */
export const isSameClaim = (claim: QueueClaim, other: QueueClaim | null): boolean =>
  other?.clientId === claim.clientId &&
  other.generation === claim.generation &&
  other.instance === claim.instance

/** Whether who says this speaks for what was claimed before, too: by itself, or by a process of its name that is gone. */
const covers = (said: QueueClaim, before: QueueClaim | null): boolean =>
  before?.clientId === said.clientId &&
  (isLater(said.generation, before.generation) ||
    (said.instance === before.instance && said.generation >= before.generation))

const isReleased = ({ owner, assignEpoch }: QueueOwnerContext, release: Release): boolean =>
  release.assignEpoch === 0
    ? covers(release, owner)
    : owner?.clientId === release.clientId && assignEpoch === release.assignEpoch

const isGone = ({ owner }: QueueOwnerContext, gone: { clientId: string; generation: number }): boolean =>
  owner?.clientId === gone.clientId && isLater(gone.generation, owner.generation)

function grant({ context, enqueue }: Args, claim: QueueClaim): void {
  const owner = claimOf(claim)
  // The same claim once more: its answer was lost.
  const isRepeated = isSameClaim(owner, context.owner)
  const assignEpoch = isRepeated ? context.assignEpoch : context.assignEpoch + 1
  enqueue.assign({ assignEpoch, owner })
  if (!isRepeated) enqueue({ type: 'recordOwner', params: { assignEpoch, owner, offset: null } })
  enqueue({ type: 'grantQueue', params: { ...owner, assignEpoch } })
}

function refuse({ context: { owner }, enqueue }: Args, claim: QueueClaim): void {
  enqueue({ type: 'refuseClaim', params: { ...claimOf(claim), owner } })
}

const take = queueOwner.enqueueActions(({ context, event, enqueue }) => {
  const claim = event as EventOf<'queue.claimed'>
  grant({ context, enqueue }, claim)
  const { waiting } = context
  if (waiting?.clientId !== claim.clientId) return
  enqueue.assign({ waiting: null })
  refuse({ context, enqueue }, waiting)
})

const wait = queueOwner.enqueueActions(({ context, event, enqueue }) => {
  const { waiting } = context
  if (waiting) refuse({ context, enqueue }, waiting)
  enqueue.assign({ waiting: claimOf(event as EventOf<'queue.claimed'>) })
})

const refuseClaimant = queueOwner.enqueueActions(({ context, event, enqueue }) =>
  refuse({ context, enqueue }, event as EventOf<'queue.claimed'>),
)

const free = queueOwner.enqueueActions(({ context: { assignEpoch }, event, enqueue }) => {
  const offset = 'offset' in event ? event.offset : null
  enqueue.assign({ owner: null })
  enqueue({ type: 'recordOwner', params: { assignEpoch, owner: null, offset } })
})

const grantWaiting = queueOwner.enqueueActions(({ context, enqueue }) => {
  enqueue.assign({ waiting: null })
  grant({ context, enqueue }, context.waiting!)
})

const forgetWaiting = queueOwner.enqueueActions(({ context, enqueue }) => {
  enqueue.assign({ waiting: null })
  refuse({ context, enqueue }, context.waiting!)
})

const claimed = ({ event }: { event: EventOf<'queue.claimed'> }) => event
const released = ({ event }: { event: EventOf<'queue.released'> }) => event

export const queueOwnerMachine = queueOwner.createMachine({
  id: 'queueOwner',
  context: ({ input }) => ({ ...input, waiting: null }),
  initial: 'routing',
  states: {
    /** What the log says. */
    routing: {
      always: [{ guard: ({ context }) => context.owner !== null, target: 'owned' }, { target: 'free' }],
    },
    free: {
      on: {
        'queue.claimed': { target: 'owned', actions: take },
        'owner.unseated': { actions: free },
      },
    },
    owned: {
      on: {
        'queue.claimed': [
          { guard: { type: 'isOwners', params: claimed }, actions: take },
          { guard: { type: 'isForced', params: claimed }, actions: take },
          { guard: { type: 'mayWait', params: claimed }, actions: wait },
          { actions: refuseClaimant },
        ],
        'queue.released': [
          {
            guard: ({ context, event }) => context.waiting !== null && isReleased(context, event),
            actions: [free, grantWaiting],
          },
          { guard: { type: 'isReleased', params: released }, target: 'free', actions: free },
          { guard: { type: 'isGivenUp', params: released }, actions: forgetWaiting },
        ],
        'owner.gone': [
          {
            guard: ({ context, event }) => context.waiting !== null && isGone(context, event),
            actions: [free, grantWaiting],
          },
          { guard: { type: 'isGone', params: ({ event }) => event }, target: 'free', actions: free },
        ],
        'claim.expired': {
          guard: { type: 'isWaiting', params: ({ event }: { event: QueueClaim }) => claimOf(event) },
          actions: forgetWaiting,
        },
        'owner.unseated': [
          { guard: 'isAwaited', actions: [free, grantWaiting] },
          { target: 'free', actions: free },
        ],
      },
    },
  },
})
