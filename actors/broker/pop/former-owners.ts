/**
 * Former owners: queues that members of a group in clustering own, and that are wanted by those who pop.
 *
 * An owner that died has given nothing back. Its queues are freed AFTER the group's coordinator has said that it is no
 * member any more, under a later generation than its claim rests on; NEVER are those of an owner that lives. What it has
 * committed is where the group goes on; it is itself refused when it wakes, for the queue is not its own.
 */
import { coordinatorOf } from '../../../machines/coordinator-of.ts'
import type { QueueClaim } from '../../../machines/queue-owner.ts'
import { ask } from '../../../transport/codec.ts'
import { codes } from '../../../transport/codes.ts'
import type { OwnerDoubt, OwnerDoubtAnswer } from '../../../transport/messages.ts'
import type { Process } from '../../node/process.ts'
import { queueOf } from '../broker-state.ts'
import type { PopFault } from './pop.ts'

const ASK_MS = 1_000

/** What it needs of the owners of this broker's queues. */
export type Owners = {
  of(group: string, queue: string): QueueClaim | null
  vacate(
    place: { group: string; topic: string; queueId: number },
    gone: { clientId: string; generation: number },
  ): void
}
/** Null: nobody answered. */
export type AskCoordinator = (doubt: OwnerDoubt, told: (answer: OwnerDoubtAnswer | null) => void) => void

type Owned = { queueId: number; owner: QueueClaim }

export class FormerOwners {
  readonly #owners: Owners
  readonly #ask: AskCoordinator
  /** By group and topic: who waits for the answer of the coordinator, which is asked once for all. */
  readonly #asking = new Map<string, ((told: OwnerDoubtAnswer | null) => void)[]>()

  constructor(owners: Owners, ask: AskCoordinator) {
    this.#owners = owners
    this.#ask = ask
  }

  /** Calls back with what is in the way of popping these queues, null when nothing is; perhaps BEFORE it returns. */
  vacate(
    group: string,
    topic: string,
    queueIds: readonly number[],
    vacated: (fault: PopFault | null) => void,
  ): void {
    const owned = this.#ownedOf(group, topic, queueIds)
    if (owned.length === 0) return vacated(null)
    this.#askOnce(group, topic, owned, (told) => {
      for (const { queueId, owner } of told?.gone ? owned : []) {
        const { clientId } = owner
        if (told!.gone!.includes(clientId))
          this.#owners.vacate({ group, topic, queueId }, { clientId, generation: told!.generation })
      }
      // Meanwhile, or by what was freed, others may have become owners.
      const owners = this.#ownedOf(group, topic, queueIds)
      const left = owners.find(({ owner }) => !told?.gone?.includes(owner.clientId)) ?? owners[0]
      vacated(left === undefined ? null : faultOf(group, topic, left, told))
    })
  }

  #ownedOf(group: string, topic: string, queueIds: readonly number[]): Owned[] {
    const owned: Owned[] = []
    for (const queueId of queueIds) {
      const owner = this.#owners.of(group, queueOf(topic, queueId))
      if (owner !== null) owned.push({ queueId, owner })
    }
    return owned
  }

  #askOnce(
    group: string,
    topic: string,
    owned: readonly Owned[],
    told: (answer: OwnerDoubtAnswer | null) => void,
  ): void {
    const key = `${group} ${topic}`
    const asking = this.#asking.get(key)
    if (asking) return void asking.push(told)
    const waiting = [told]
    this.#asking.set(key, waiting)
    const clientIds = [...new Set(owned.map(({ owner }) => owner.clientId))]
    const generation = Math.max(...owned.map(({ owner }) => owner.generation))
    this.#ask({ group, clientIds, generation }, (answer) => {
      this.#asking.delete(key)
      for (const tell of waiting) tell(answer)
    })
  }
}

function faultOf(
  group: string,
  topic: string,
  { queueId, owner: { clientId } }: Owned,
  told: OwnerDoubtAnswer | null,
): PopFault {
  const belongs = `queue ${queueId} of '${topic}' belongs to ${clientId}, a member of '${group}' that owns queues`
  return told?.gone && !told.gone.includes(clientId)
    ? {
        code: codes.NO_PERMISSION,
        message:
          `${belongs}: stop the consumers of the group, or receive under another group; one that died counts as gone ` +
          'when its session is over',
      }
    : { code: codes.SERVICE_NOT_AVAILABLE, message: `${belongs}: whether it still lives is being found out` }
}

/** Whichever broker coordinates the group at the moment. */
export function askCoordinator(
  { world: { transport }, subjects }: Process,
  doubt: OwnerDoubt,
  told: (answer: OwnerDoubtAnswer | null) => void,
): void {
  ask(transport, subjects.nameServer.cluster, {}, ASK_MS, (outcome) => {
    const rows = outcome.ok && 'value' in outcome.value ? outcome.value.value.brokers : []
    const epochs = new Map<string, number>()
    for (const { brokerName, role, epoch } of rows)
      if (role === 'master') epochs.set(brokerName, Math.max(epoch, epochs.get(brokerName) ?? 0))
    const coordinator = coordinatorOf(doubt.group, [...epochs.keys()])
    if (coordinator === null) return told(null)
    ask(transport, subjects.broker(coordinator, epochs.get(coordinator)!).doubt, doubt, ASK_MS, (answered) =>
      told(answered.ok && 'value' in answered.value ? answered.value.value : null),
    )
  })
}
