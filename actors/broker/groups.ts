/**
 * Consumer groups as one broker serves them: owners of queues, committed offsets, membership where it coordinates.
 *
 * An offset is committed by the owner of the queue only, never backwards and never beyond what is stored; the answer
 * comes AFTER the record of it is confirmed.
 *
 * RocketMQ: broker/offset/ConsumerOffsetManager.java, broker/client/ConsumerManager.java
 */
import { groupFault } from '../../machines/names.ts'
import { queueCountOf } from '../../machines/topic.ts'
import { type Answer, accept, encode, refuse } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { kinds, storeTimeAt } from '../../transport/frames.ts'
import {
  type ClaimAnswer,
  type ClaimRequest,
  type CommitAnswer,
  type CommitRequest,
  type GroupOnBroker,
  type Lags,
  type LagsRequest,
  lagOf,
  type OffsetReset,
  type PullRequest,
  type ReleaseRequest,
} from '../../transport/messages.ts'
import type { Clock } from '../node/world.ts'
import { type BrokerState, type OffsetChange, queueOf } from './broker-state.ts'
import { QueueOwners } from './queue-owners.ts'
import type { Store, StoredQueue } from './store/store.ts'

type Nothing = Record<string, never>
type Refusal = ReturnType<typeof refuse>
/** What is known where the group is coordinated. */
export type Coordinated = Omit<GroupOnBroker, 'queues' | 'fenced' | 'retrying'>
type Tell<T> = (answer: Answer<T>) => void

export type GroupsHooks = {
  /** Runs what it is given once everything appended so far is confirmed. */
  afterStored(run: () => void): void
  /** Whoever pulls the queue may not be its owner any more. */
  ownerChanged(queue: StoredQueue): void
  /** Whether consumers of the group share the queue message by message. */
  isPopped(group: string, queue: string): boolean
}

export class Groups {
  readonly owners: QueueOwners
  readonly #store: Store
  readonly #state: BrokerState
  readonly #hooks: GroupsHooks
  /** By group: pulls and commits of members that had been overtaken. */
  readonly #fenced = new Map<string, number>()

  constructor(store: Store, state: BrokerState, clock: Clock, hooks: GroupsHooks) {
    this.#store = store
    this.#state = state
    this.#hooks = hooks
    this.owners = new QueueOwners(state, clock, {
      record: (change) => {
        this.#store.appendControl(kinds.owners, encode(change))
        this.#state.changeOwner(change)
      },
      afterStored: hooks.afterStored,
      ownerChanged: (topic, queueId) => hooks.ownerChanged(this.#store.queue(topic, queueId)),
    })
  }

  readonly isOwner = ({
    topic,
    queueId,
    owner,
  }: Pick<PullRequest, 'topic' | 'queueId' | 'owner'>): boolean => {
    if (owner === undefined) return false
    const { group, clientId, assignEpoch } = owner
    return this.owners.isOwner(group, queueOf(topic, queueId), clientId, assignEpoch)
  }

  /** Of a request that has just come: who asks without being the owner is counted. */
  readonly comesFromOwner = (request: Pick<PullRequest, 'topic' | 'queueId' | 'owner'>): boolean => {
    const isOwner = this.isOwner(request)
    if (!isOwner && request.owner) this.#countFenced(request.owner.group)
    return isOwner
  }

  #countFenced(group: string): void {
    this.#fenced.set(group, (this.#fenced.get(group) ?? 0) + 1)
  }

  claim(
    { group, topic, queueId, clientId, instance, generation, force, waits }: ClaimRequest,
    answer: Tell<ClaimAnswer>,
  ): void {
    const refusal = this.#refusalOf(group, topic, queueId)
    if (refusal) return answer(refusal)
    const queue = queueOf(topic, queueId)
    if (this.#hooks.isPopped(group, queue)) {
      const message = `group '${group}' pops: its consumers share queues message by message, and own none; use another group`
      return answer(refuse(codes.NO_PERMISSION, message))
    }
    this.owners.claim(
      { group, topic, queueId },
      { clientId, instance, generation },
      { force, waits },
      (outcome) => {
        if (outcome === null) return answer(refuse(codes.NOT_MASTER, 'this broker is no longer master'))
        if (!outcome.granted) {
          const { clientId: owner = null, generation: ownerGeneration = 0 } = outcome.owner ?? {}
          return answer(accept({ granted: false, owner, ownerGeneration }))
        }
        const committed = this.#state.offsets.get(group)?.get(queue) ?? null
        const bounds = this.#store.bounds(this.#store.queue(topic, queueId))
        const isLater = this.#state.isLater(group, topic, queueId)
        answer(accept({ granted: true, assignEpoch: outcome.assignEpoch, committed, ...bounds, isLater }))
      },
    )
  }

  release({ group, topic, queueId, ...release }: ReleaseRequest, answer: Tell<Nothing>): void {
    const refusal = this.#refusalOf(group, topic, queueId)
    if (refusal) return answer(refusal)
    const isNews = release.offset !== null && this.#mayCommit(group, topic, queueId, release.offset)
    this.owners.release({ group, topic, queueId }, { ...release, offset: isNews ? release.offset : null })
    this.#hooks.afterStored(() => answer(accept({})))
  }

  commit({ group, clientId, offsets }: CommitRequest, answer: Tell<CommitAnswer>): void {
    const changed: OffsetChange['offsets'] = []
    const fenced: CommitAnswer['fenced'] = []
    for (const [topic, queueId, offset, assignEpoch] of offsets) {
      const isOwner = this.owners.isOwner(group, queueOf(topic, queueId), clientId, assignEpoch)
      if (!isOwner) this.#countFenced(group)
      if (!isOwner || offset > this.#store.queue(topic, queueId).nextOffset) fenced.push([topic, queueId])
      else if (this.#mayCommit(group, topic, queueId, offset)) changed.push([topic, queueId, offset])
    }
    this.#record({ group, offsets: changed }, () => answer(accept({ fenced })))
  }

  /**
   * NEVER backwards and never beyond the log. Whoever read on at an earlier master may be ahead of what is known to be
   * confirmed here, but never of what is stored.
   */
  #mayCommit(group: string, topic: string, queueId: number, offset: number): boolean {
    const committed = this.#state.offsets.get(group)?.get(queueOf(topic, queueId)) ?? -1
    return offset > committed && offset <= this.#store.queue(topic, queueId).nextOffset
  }

  /** An operator's decision: offsets may go backwards. Whoever reads the queues claims them anew and begins there. */
  reset({ group, topic, offsets }: OffsetReset, answer: Tell<Nothing>): void {
    const refusals = offsets.map(([queueId]) => this.#refusalOf(group, topic, queueId))
    const refusal = refusals.find((found) => found !== null)
    if (refusal) return answer(refusal)
    for (const [queueId, offset] of offsets) {
      const { minOffset, maxOffset } = this.#store.bounds(this.#store.queue(topic, queueId))
      this.owners.unseat({ group, topic, queueId }, Math.max(minOffset, Math.min(offset, maxOffset)))
    }
    this.#hooks.afterStored(() => answer(accept({})))
  }

  #refusalOf(group: string, topic: string, queueId: number): Refusal | null {
    const fault = groupFault(group)
    if (fault) return refuse(codes.INVALID_PARAMETER, fault.message)
    if (!this.#state.topics.has(topic)) return refuse(codes.TOPIC_NOT_EXIST, `there is no topic '${topic}'`)
    if (this.#hasQueue(topic, queueId)) return null
    return refuse(codes.TOPIC_NOT_EXIST, `topic '${topic}' has no queue ${queueId}`)
  }

  #hasQueue(topic: string, queueId: number): boolean {
    const config = this.#state.topics.get(topic)
    return config !== undefined && queueId < queueCountOf(config)
  }

  #record(change: OffsetChange, stored: () => void): void {
    if (change.offsets.length > 0) {
      this.#store.appendControl(kinds.offsets, encode(change))
      this.#state.changeOffsets(change)
    }
    this.#hooks.afterStored(stored)
  }

  /** The groups that have an offset or an owner here. */
  names(): string[] {
    return [...new Set([...this.#state.offsets.keys(), ...this.owners.groups])].sort()
  }

  lags({ group, topics }: LagsRequest, answer: Tell<Lags>): void {
    const offsets = this.#state.offsets.get(group)
    const lags = topics.flatMap((topic) => {
      const { readQueues } = this.#state.topics.get(topic) ?? { readQueues: 0 }
      return Array.from({ length: readQueues }, (_, queueId): Lags['lags'][number] => {
        const committed = offsets?.get(queueOf(topic, queueId)) ?? null
        const bounds = this.#store.bounds(this.#store.queue(topic, queueId))
        return [topic, queueId, lagOf({ committed, ...bounds })]
      })
    })
    answer(accept({ lags }))
  }

  describe(group: string, coordinated: Coordinated, answer: Tell<GroupOnBroker>): void {
    const offsets = this.#state.offsets.get(group) ?? new Map<string, number>()
    const owners = this.owners.in(group)
    const topics = new Set(coordinated.members.flatMap(({ subscriptions }) => Object.keys(subscriptions)))
    for (const queue of [...offsets.keys(), ...owners.keys()])
      topics.add(queue.slice(0, queue.lastIndexOf('/')))
    const rows: GroupOnBroker['queues'] = []
    const unread: { row: GroupOnBroker['queues'][number]; offset: number }[] = []
    for (const topic of [...topics].sort()) {
      const { readQueues } = this.#state.topics.get(topic) ?? { readQueues: 0 }
      for (let queueId = 0; queueId < readQueues; queueId++) {
        const queue = queueOf(topic, queueId)
        const committed = offsets.get(queue) ?? null
        const bounds = this.#store.bounds(this.#store.queue(topic, queueId))
        const { assignEpoch = 0, owner } = owners.get(queue) ?? {}
        const behindSince: number | null = null
        const row = {
          topic,
          queueId,
          owner: owner?.clientId ?? null,
          claimant: this.owners.claimantOf(group, queue),
          isPopped: this.#hooks.isPopped(group, queue),
          assignEpoch,
          committed,
          ...bounds,
          behindSince,
        }
        rows.push(row)
        const offset = Math.max(committed ?? 0, bounds.minOffset)
        if (offset < bounds.maxOffset) unread.push({ row, offset })
      }
    }
    let left = unread.length
    const fenced = this.#fenced.get(group) ?? 0
    const retrying = this.#state.retrying.of(group)
    const finish = () => answer(accept({ ...coordinated, fenced, retrying, queues: rows }))
    if (left === 0) return finish()
    for (const { row, offset } of unread) {
      this.#store.read(this.#store.queue(row.topic, row.queueId), offset, 1, (outcome) => {
        if (outcome.ok && outcome.value.frames[0]) row.behindSince = storeTimeAt(outcome.value.frames[0], 0)
        if (--left === 0) finish()
      })
    }
  }
}
