/**
 * Which acknowledged messages a broker may lose, as its replicas were at the time; and that an epoch has one master.
 *
 * What is promised: a message that was acknowledged stands in the log, WHATEVER happens to a single machine. It may be
 * gone only when every copy that counted was destroyed before it was on a disk:
 *
 * - the only replica, which syncs after it answers, lost power within moments;
 * - ALL members of a sync state set of two or more lost power within moments of each other, and a person had another
 *   replica elected; a member that is alone in its set answers from its disk and has no excuse;
 * - with replication 'async': the master alone. It lost power, or its end of the log was cut, and THAT IS TOLD; it is no
 *   more than the bound that was set, and was acknowledged BEFORE the next master served anybody. A handover loses NOTHING.
 */
export type GroupEvent =
  /** A broker with several replicas. */
  | { type: 'group.formed'; broker: string; replication: 'sync' | 'async'; maxLagBytes: number }
  /** What the register holds. */
  | {
      type: 'head.changed'
      broker: string
      epoch: number
      masterId: number | null
      members: number[]
      cause: string
    }
  /** A process answered under this epoch; told once for each. */
  | { type: 'epoch.served'; broker: string; epoch: number; process: string }
  /** A replica that does not sync before it answers lost power. */
  | { type: 'tail.lost'; broker: string; replica: number }
  /** A replica cut the end of its log, and told so. */
  | { type: 'log.cut'; broker: string; replica: number; messages: number }

type GroupHappened = GroupEvent & { at: number }
type Found = (name: 'two masters' | 'epoch went back' | 'lost too much', what: string) => void

/** An acknowledged message that is not in the log. */
export type Missing = {
  broker: string
  epoch: number
  sentAt: number
  /** When its sender heard of it, and when the broker said so. */
  at: number
  answeredAt: number
  bytes: number
}

/** A broker that does not sync before it answers does so soon after. */
const UNSYNCED_MS = 3_000

type MemberSet = { at: number; members: number[] }

class Group {
  settings: { replication: 'sync' | 'async'; maxLagBytes: number } | null = null
  epoch = 0
  readonly masters = new Map<number, number>()
  readonly sets: MemberSet[] = []
  /** By epoch: how it began. */
  readonly causes = new Map<number, string>()
  isUnclean = false
  /** By epoch: who answered in it, and when the first answer was given. */
  readonly served = new Map<number, { process: string; at: number }>()
  /** By replica. */
  readonly tails = new Map<number, number[]>()
  readonly cutMessages = new Map<number, number>()
  /** By epoch: what was acknowledged and is gone. */
  readonly missing = new Map<number, { messages: number; bytes: number }>()

  lostTail(replica: number, { sentAt, at }: Missing): boolean {
    return this.tails.get(replica)?.some((cut) => sentAt < cut && cut < at + UNSYNCED_MS) ?? false
  }

  /** The sets that may have counted at some time from then until then. */
  setsBetween(from: number, to: number): number[][] {
    return this.sets
      .filter(({ at }, i) => at <= to && (this.sets[i + 1]?.at ?? Number.POSITIVE_INFINITY) >= from)
      .map(({ members }) => members)
  }

  /** Whether the master of this epoch gave its mastership away. */
  wasHandedOver(epoch: number): boolean {
    const next = Math.min(...[...this.causes.keys()].filter((other) => other > epoch))
    return this.causes.get(next) === 'handover'
  }

  servedAfter(epoch: number): number {
    const later = [...this.served].filter(([other]) => other > epoch).map(([, { at }]) => at)
    return Math.min(Number.POSITIVE_INFINITY, ...later)
  }
}

export class BrokerGroups {
  readonly #groups = new Map<string, Group>()
  readonly #found: Found

  constructor(found: Found) {
    this.#found = found
  }

  #of(broker: string): Group {
    let group = this.#groups.get(broker)
    if (group === undefined) {
      group = new Group()
      this.#groups.set(broker, group)
    }
    return group
  }

  take(event: GroupHappened): void {
    const group = this.#of(event.broker)
    switch (event.type) {
      case 'group.formed':
        group.settings = event
        return
      case 'head.changed':
        return this.#changed(group, event)
      case 'epoch.served':
        return this.#served(group, event)
      case 'tail.lost':
        return void group.tails.set(event.replica, [...(group.tails.get(event.replica) ?? []), event.at])
      case 'log.cut': {
        const before = group.cutMessages.get(event.replica) ?? 0
        return void group.cutMessages.set(event.replica, before + event.messages)
      }
    }
  }

  #changed(group: Group, event: Extract<GroupHappened, { type: 'head.changed' }>): void {
    const { broker, epoch, masterId, members, cause, at } = event
    if (epoch < group.epoch)
      this.#found('epoch went back', `${broker} was at ${group.epoch} and is at ${epoch}`)
    group.epoch = epoch
    group.sets.push({ at, members })
    if (cause === 'unclean') group.isUnclean = true
    if (!group.causes.has(epoch)) group.causes.set(epoch, cause)
    if (masterId === null) return
    const known = group.masters.get(epoch)
    group.masters.set(epoch, masterId)
    if (known !== undefined && known !== masterId)
      this.#found('two masters', `epoch ${epoch} of ${broker} is given to ${known} and to ${masterId}`)
  }

  #served(
    group: Group,
    { broker, epoch, process, at }: Extract<GroupHappened, { type: 'epoch.served' }>,
  ): void {
    const known = group.served.get(epoch)
    if (known === undefined) group.served.set(epoch, { process, at })
    else if (known.process !== process)
      this.#found('two masters', `in epoch ${epoch} of ${broker} answer ${known.process} and ${process}`)
  }

  /** Offsets of its queues were used twice, for readers too, and rightly so. */
  isTorn(broker: string): boolean {
    const group = this.#groups.get(broker)
    if (group === undefined) return false
    return group.settings === null ? group.tails.size > 0 : group.isUnclean
  }

  isReplicated(broker: string): boolean {
    return this.#groups.get(broker)?.settings != null
  }

  /** Offsets that only senders were told of may be used twice. */
  isAsynchronous(broker: string): boolean {
    return this.#groups.get(broker)?.settings?.replication === 'async'
  }

  /** Whether it may be missing; what is found out at the end is said by `finish`. */
  mayMiss(missing: Missing): boolean {
    const group = this.#of(missing.broker)
    if (group.settings === null) return group.lostTail(0, missing)
    if (group.isUnclean && this.#allLost(group, missing)) return true
    if (group.settings.replication === 'sync') return false
    const masterId = group.masters.get(missing.epoch)
    if (masterId !== undefined && group.lostTail(masterId, missing)) return true
    if (group.wasHandedOver(missing.epoch)) return false
    if (missing.answeredAt >= group.servedAfter(missing.epoch)) return false
    const before = group.missing.get(missing.epoch) ?? { messages: 0, bytes: 0 }
    const { messages, bytes } = before
    group.missing.set(missing.epoch, { messages: messages + 1, bytes: bytes + missing.bytes })
    return true
  }

  #allLost(group: Group, missing: Missing): boolean {
    return group
      .setsBetween(missing.sentAt, missing.at)
      .some((members) => members.length > 1 && members.every((id) => group.lostTail(id, missing)))
  }

  finish(): void {
    for (const [broker, { settings, missing, masters, cutMessages }] of this.#groups) {
      const lost = new Map<number, number>()
      for (const [epoch, { messages, bytes }] of missing) {
        if (bytes > settings!.maxLagBytes)
          this.#found('lost too much', `${bytes} bytes of epoch ${epoch} of ${broker} are gone`)
        const masterId = masters.get(epoch)!
        lost.set(masterId, (lost.get(masterId) ?? 0) + messages)
      }
      for (const [masterId, messages] of lost) {
        const told = cutMessages.get(masterId) ?? 0
        if (messages > told)
          this.#found(
            'lost too much',
            `${messages} messages of ${broker}/${masterId} are gone, ${told} were told`,
          )
      }
    }
  }
}
