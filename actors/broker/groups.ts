/**
 * Consumer groups as one broker serves them: owners of queues, committed offsets, membership where it coordinates.
 *
 * An offset is committed by the owner of the queue only, never backwards and never beyond what is stored; the answer
 * comes AFTER the record of it is stored in the log.
 *
 * RocketMQ: broker/offset/ConsumerOffsetManager.java, broker/client/ConsumerManager.java
 */
import { groupFault } from '../../machines/names.ts'
import { type Answer, accept, encode, refuse } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { kinds, storeTimeAt } from '../../transport/frames.ts'
import type {
  ClaimAnswer,
  ClaimRequest,
  CommitAnswer,
  CommitRequest,
  GroupOnBroker,
  Membership,
  OffsetReset,
  PullRequest,
  ReleaseRequest,
} from '../../transport/messages.ts'
import { type BrokerState, type OffsetChange, queueOf } from './broker-state.ts'
import { QueueOwners } from './queue-owners.ts'
import type { Store } from './store/store.ts'

type Nothing = Record<string, never>
type Tell<T> = (answer: Answer<T>) => void

export class Groups {
  readonly owners = new QueueOwners()
  readonly #store: Store
  readonly #state: BrokerState
  readonly #afterStored: (run: () => void) => void

  /** `afterStored` runs what it is given once everything appended so far is stored. */
  constructor(store: Store, state: BrokerState, afterStored: (run: () => void) => void) {
    this.#store = store
    this.#state = state
    this.#afterStored = afterStored
  }

  readonly isOwner = ({ topic, queueId, owner }: Pick<PullRequest, 'topic' | 'queueId' | 'owner'>): boolean =>
    owner !== undefined &&
    this.owners.isOwner(owner.group, queueOf(topic, queueId), owner.clientId, owner.generation)

  claim(
    { group, topic, queueId, clientId, generation, force }: ClaimRequest,
    answer: Tell<ClaimAnswer>,
  ): void {
    const fault = groupFault(group)
    if (fault) return answer(refuse(codes.INVALID_PARAMETER, fault.message))
    if (!this.#state.topics.has(topic))
      return answer(refuse(codes.TOPIC_NOT_EXIST, `there is no topic '${topic}'`))
    if (!this.#hasQueue(topic, queueId))
      return answer(refuse(codes.TOPIC_NOT_EXIST, `topic '${topic}' has no queue ${queueId}`))
    const queue = queueOf(topic, queueId)
    const holder = this.owners.claim(group, queue, { clientId, generation }, force)
    if (holder)
      return answer(accept({ granted: false, owner: holder.clientId, ownerGeneration: holder.generation }))
    const committed = this.#state.offsets.get(group)?.get(queue) ?? null
    answer(accept({ granted: true, committed, ...this.#store.bounds(this.#store.queue(topic, queueId)) }))
  }

  release({ group, topic, queueId, clientId, generation }: ReleaseRequest, answer: Tell<Nothing>): void {
    this.owners.release(group, queueOf(topic, queueId), { clientId, generation })
    answer(accept({}))
  }

  commit({ group, clientId, offsets }: CommitRequest, answer: Tell<CommitAnswer>): void {
    const committed = this.#state.offsets.get(group)
    const changed: OffsetChange['offsets'] = []
    const fenced: CommitAnswer['fenced'] = []
    for (const [topic, queueId, offset, generation] of offsets) {
      const queue = queueOf(topic, queueId)
      if (!this.owners.isOwner(group, queue, clientId, generation)) fenced.push([topic, queueId])
      // Whoever read on at an earlier master may be ahead of what is known to be confirmed here, but never of the log.
      else if (offset > this.#store.queue(topic, queueId).nextOffset) fenced.push([topic, queueId])
      else if (offset > (committed?.get(queue) ?? -1)) changed.push([topic, queueId, offset])
    }
    this.#record({ group, offsets: changed }, () => answer(accept({ fenced })))
  }

  /** An operator's decision: offsets may go backwards. Refused while somebody reads the queues. */
  reset({ group, topic, generation, members, offsets }: OffsetReset, answer: Tell<Nothing>): void {
    const fault = groupFault(group)
    if (fault) return answer(refuse(codes.INVALID_PARAMETER, fault.message))
    if (!this.#state.topics.has(topic))
      return answer(refuse(codes.TOPIC_NOT_EXIST, `there is no topic '${topic}'`))
    const changed: OffsetChange['offsets'] = []
    for (const [queueId, offset] of offsets) {
      if (!this.#hasQueue(topic, queueId))
        return answer(refuse(codes.TOPIC_NOT_EXIST, `topic '${topic}' has no queue ${queueId}`))
      const owner = this.owners.of(group, queueOf(topic, queueId))
      // One that was killed gave nothing back. A list that is older than its claim proves nothing.
      if (owner && (generation < owner.generation || members.includes(owner.clientId))) {
        const message = `${owner.clientId} reads queue ${queueId} of '${topic}': stop the consumers of '${group}' first`
        return answer(refuse(codes.NO_PERMISSION, message))
      }
      const { minOffset, maxOffset } = this.#store.bounds(this.#store.queue(topic, queueId))
      changed.push([topic, queueId, Math.max(minOffset, Math.min(offset, maxOffset))])
    }
    for (const [queueId] of offsets) {
      const owner = this.owners.of(group, queueOf(topic, queueId))
      if (owner) this.owners.release(group, queueOf(topic, queueId), owner)
    }
    this.#record({ group, offsets: changed }, () => answer(accept({})))
  }

  #hasQueue(topic: string, queueId: number): boolean {
    const config = this.#state.topics.get(topic)
    return config !== undefined && queueId < Math.max(config.readQueues, config.writeQueues)
  }

  #record(change: OffsetChange, stored: () => void): void {
    if (change.offsets.length > 0) {
      this.#store.appendControl(kinds.offsets, encode(change))
      this.#state.changeOffsets(change)
    }
    this.#afterStored(stored)
  }

  /** The groups that have an offset or an owner here. */
  names(): string[] {
    return [...new Set([...this.#state.offsets.keys(), ...this.owners.groups])].sort()
  }

  describe(group: string, { generation, members }: Membership, answer: Tell<GroupOnBroker>): void {
    const offsets = this.#state.offsets.get(group) ?? new Map<string, number>()
    const owners = this.owners.in(group)
    const topics = new Set(members.flatMap((member) => member.topics))
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
        const owner = owners.get(queue)?.clientId ?? null
        const row = { topic, queueId, owner, committed, ...bounds, behindSince: null as number | null }
        rows.push(row)
        if (committed !== null && committed < bounds.maxOffset) unread.push({ row, offset: committed })
      }
    }
    let left = unread.length
    const finish = () => answer(accept({ generation, members, queues: rows }))
    if (left === 0) return finish()
    for (const { row, offset } of unread) {
      this.#store.read(this.#store.queue(row.topic, row.queueId), offset, 1, (outcome) => {
        if (outcome.ok && outcome.value.frames[0]) row.behindSince = storeTimeAt(outcome.value.frames[0], 0)
        if (--left === 0) finish()
      })
    }
  }
}
