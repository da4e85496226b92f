/**
 * Hosts a queue-owner machine for each queue that a group has claimed: as pure transitions, for a broker has thousands.
 *
 * What a machine orders to be recorded goes into the log, and a claim is granted AFTER that is confirmed; a later master
 * starts its machines from the same records. A claim that waits is answered AT MOST `CLAIM_WAIT_MS` later.
 */
import { initialTransition, transition } from 'xstate'
import type { EffectOf } from '../../machines/effect.ts'
import { type QueueClaim, type QueueOwnerEvent, queueOwnerMachine } from '../../machines/queue-owner.ts'
import type { Clock } from '../node/world.ts'
import { type BrokerState, type OwnerChange, type QueueOwnership, queueOf } from './broker-state.ts'

/** The client asks again: neither a lost answer nor a dead client is waited for long. */
const CLAIM_WAIT_MS = 2_000
/** Whoever still wants the queue has asked again by then. */
const ASKED_AGAIN_MS = 2_000

export type ClaimOutcome =
  | { granted: true; assignEpoch: number }
  | { granted: false; owner: QueueClaim | null }
  /** This mastership is over: the next one is to be asked. */
  | null

export type QueueOwnersHooks = {
  /** Into the log, and applied there. */
  record(change: OwnerChange): void
  /** Runs when everything recorded so far is confirmed. */
  afterStored(run: () => void): void
  /** The queue changed hands: whoever pulls it is to be looked at again. */
  ownerChanged(topic: string, queueId: number): void
}

type Snapshot = ReturnType<typeof initialTransition<typeof queueOwnerMachine>>[0]
type Answer = (outcome: ClaimOutcome) => void
type Waiting = QueueClaim & { answer: Answer; timer: unknown }
type Place = { group: string; topic: string; queueId: number }
type Asked = QueueClaim & { at: number }
/** `asked`: the claim that waited last, also while its client is about to ask again. */
type Hosted = { snapshot: Snapshot; waiting: Waiting | null; asked: Asked | null }
/** `isSameList`: its claim rests on the list of members that the owner's does, so both count the queue as theirs. */
export type Claimant = { clientId: string; isSameList: boolean }

export class QueueOwners {
  readonly #state: BrokerState
  readonly #clock: Clock
  readonly #hooks: QueueOwnersHooks
  readonly #hosted = new Map<string, Map<string, Hosted>>()
  /** Grants that are not confirmed yet: whoever claimed is told at once when they cannot be any more. */
  readonly #unconfirmed = new Set<Answer>()

  constructor(state: BrokerState, clock: Clock, hooks: QueueOwnersHooks) {
    this.#state = state
    this.#clock = clock
    this.#hooks = hooks
  }

  of(group: string, queue: string): QueueClaim | null {
    return this.#state.owners.get(group)?.get(queue)?.owner ?? null
  }

  /** Of all queues that were ever claimed for a group. */
  in(group: string): ReadonlyMap<string, QueueOwnership> {
    return this.#state.owners.get(group) ?? none
  }

  get groups(): Iterable<string> {
    return this.#state.owners.keys()
  }

  isOwner(group: string, queue: string, clientId: string, assignEpoch: number): boolean {
    const known = this.#state.owners.get(group)?.get(queue)
    return known?.owner?.clientId === clientId && known.assignEpoch === assignEpoch
  }

  /** Who claims a queue that another one owns, and waits for it; null when nobody does. */
  claimantOf(group: string, queue: string): Claimant | null {
    const { asked, snapshot } = this.#hosted.get(group)?.get(queue) ?? { asked: null }
    const owner = snapshot?.context.owner
    if (!asked || !owner || owner.clientId === asked.clientId) return null
    if (this.#clock.monotonic() - asked.at > CLAIM_WAIT_MS + ASKED_AGAIN_MS) return null
    return { clientId: asked.clientId, isSameList: asked.generation === owner.generation }
  }

  claim(place: Place, claim: QueueClaim, how: { force: boolean; waits: boolean }, answer: Answer): void {
    const hosted = this.#host(place)
    const { clientId, generation } = claim
    // A grant is settled, too, though it is told later: only a claim that waits is kept.
    if (this.#send(place, hosted, { type: 'queue.claimed', ...claim, ...how }, answer)) return
    const timer = this.#clock.setTimeout(
      () => this.#send(place, hosted, { type: 'claim.expired', clientId, generation }),
      CLAIM_WAIT_MS,
    )
    hosted.waiting = { clientId, generation, answer, timer }
    hosted.asked = { clientId, generation, at: this.#clock.monotonic() }
  }

  release(place: Place, release: QueueClaim & { assignEpoch: number; offset: number | null }): void {
    const hosted = this.#host(place)
    if (hosted.asked?.clientId === release.clientId) hosted.asked = null
    this.#send(place, hosted, { type: 'queue.released', ...release })
  }

  /** An operator set the offset: whoever reads the queue has to claim it anew. */
  unseat(place: Place, offset: number): void {
    this.#send(place, this.#host(place), { type: 'owner.unseated', offset })
  }

  #host({ group, topic, queueId }: Place): Hosted {
    let queues = this.#hosted.get(group)
    if (!queues) {
      queues = new Map()
      this.#hosted.set(group, queues)
    }
    const queue = queueOf(topic, queueId)
    const input = this.#state.ownership(group, queue)
    let hosted = queues.get(queue)
    // The topic may be another one of the same name by now.
    if (hosted && !isSame(hosted.snapshot.context, input)) {
      this.#turnAway(hosted)
      hosted = undefined
    }
    if (!hosted) {
      hosted = { snapshot: initialTransition(queueOwnerMachine, input)[0], waiting: null, asked: null }
      queues.set(queue, hosted)
    }
    return hosted
  }

  /** `answer`: to the claim that is in `event`. Whether it is settled; else it waits. */
  #send(place: Place, hosted: Hosted, event: QueueOwnerEvent, answer: Answer | null = null): boolean {
    const [snapshot, effects] = transition(queueOwnerMachine, hosted.snapshot, event)
    hosted.snapshot = snapshot
    let asked = answer
    // A claim is answered by itself, or by what another one's release makes of it.
    const answerOf = (claim: QueueClaim, isGrant: boolean): Answer | null => {
      const { waiting } = hosted
      const isWaiting = waiting?.clientId === claim.clientId && waiting.generation === claim.generation
      if (asked !== null && (isGrant || !isWaiting)) {
        const own = asked
        asked = null
        return own
      }
      if (!isWaiting) return null
      this.#clock.clearTimeout(waiting.timer)
      hosted.waiting = null
      return waiting.answer
    }
    for (const effect of effects as EffectOf<typeof queueOwnerMachine>[]) {
      switch (effect.type) {
        case 'recordOwner':
          this.#hooks.record({ ...place, ...effect.params })
          this.#hooks.ownerChanged(place.topic, place.queueId)
          break
        case 'grantQueue': {
          const { assignEpoch } = effect.params
          const tell = answerOf(effect.params, true)
          if (tell) this.#tellStored(tell, assignEpoch)
          break
        }
        case 'refuseClaim':
          answerOf(effect.params, false)?.({ granted: false, owner: effect.params.owner })
          break
      }
    }
    return asked === null
  }

  #tellStored(tell: Answer, assignEpoch: number): void {
    this.#unconfirmed.add(tell)
    this.#hooks.afterStored(() => {
      if (this.#unconfirmed.delete(tell)) tell({ granted: true, assignEpoch })
    })
  }

  /** The queue is no more. */
  #turnAway({ waiting }: Hosted): void {
    this.#clock.clearTimeout(waiting?.timer)
    waiting?.answer({ granted: false, owner: null })
  }

  /** The topic is gone. */
  forget(isGone: (queue: string) => boolean): void {
    for (const queues of this.#hosted.values()) {
      for (const [queue, hosted] of queues) {
        if (!isGone(queue)) continue
        this.#turnAway(hosted)
        queues.delete(queue)
      }
    }
  }

  /** This mastership is over. */
  close(): void {
    for (const queues of this.#hosted.values()) {
      for (const { waiting } of queues.values()) {
        this.#clock.clearTimeout(waiting?.timer)
        waiting?.answer(null)
      }
    }
    this.#hosted.clear()
    for (const tell of this.#unconfirmed) tell(null)
    this.#unconfirmed.clear()
  }
}

const isSame = (a: QueueOwnership, b: QueueOwnership): boolean =>
  a.assignEpoch === b.assignEpoch && a.owner?.clientId === b.owner?.clientId

const none: ReadonlyMap<string, QueueOwnership> = new Map()
