/** What a replica is able to do as it is: computed once for each state of each replica. */
import type { BrokerRoleEvent } from '../../machines/broker-role.ts'
import type { Head } from '../../machines/group-state.ts'
import type { Replica } from './replica-words.ts'
import type { Worlds } from './worlds.ts'

export type Abilities = {
  isUp: boolean
  /** It believes to be master. */
  isServing: boolean
  /** The epoch that it acts in. */
  epoch: number
  head: Head | null
  /** The epoch of its mastership; 0: none. */
  termEpoch: number
  mayBecomeMaster: boolean
  acceptsSends: boolean
  isSettled: boolean
  isDraining: boolean
  /** Numbers of events upon which it proposes another set. */
  proposals: number[]
  /** Numbers of the messages that it would send from each of its positions on. */
  data: number[]
  begin: number
  vote: number
}

export function abilitiesIn(worlds: Worlds): (replica: number, id: number) => Abilities {
  const { own, ids } = worlds
  const known: Abilities[] = []
  return (replica, id) => {
    const at = replica * ids.length + id
    const abilities = known[at] ?? learn(worlds, replica, id)
    known[at] = abilities
    return abilities
  }

  function learn({ control, messages }: Worlds, number: number, id: number): Abilities {
    const replica = own.all.at(number)
    const snapshot = worlds.snapshotOf(replica)
    const { term, log, begin } = replica
    const isServing = term !== null && (snapshot?.matches('master') ?? false)
    const data = [...log, null].map((entry, i) =>
      term ? messages.of({ epoch: term.epoch, from: begin + i, entry, confirm: term.confirm }) : 0,
    )
    return {
      isUp: snapshot !== null,
      isServing,
      epoch: snapshot?.context.epoch ?? 0,
      head: snapshot?.context.head ?? null,
      termEpoch: term?.epoch ?? 0,
      mayBecomeMaster: snapshot?.matches('promoting') ?? false,
      acceptsSends: (snapshot?.hasTag('accepts-writes') ?? false) && !replica.isHolding,
      isSettled: snapshot?.matches({ master: { membership: 'settled' } }) ?? false,
      isDraining: snapshot?.matches({ master: { membership: { handingOver: 'draining' } } }) ?? false,
      proposals: isServing ? proposalsOf(replica, number, id) : [],
      data: term ? data : [],
      begin,
      vote: control.vote(replica, snapshot, id, own.lineageOf(replica)),
    }
  }
  /** Of the reports that its host may give now, those that lead to a proposal. Anybody may seem to lag. */
  function proposalsOf({ term }: Replica, number: number, id: number): number[] {
    const { epoch, peers } = term!
    const caughtUp = peers.filter(({ position }) => worlds.rules.hasCaughtUp(term!, position))
    const reports: BrokerRoleEvent[] = [
      ...caughtUp.map(
        ({ brokerId, lineage }) => ({ type: 'follower.caughtUp', epoch, brokerId, lineage }) as const,
      ),
      ...ids
        .filter((brokerId) => brokerId !== id)
        .map((brokerId) => ({ type: 'follower.lagging', epoch, brokerId }) as const),
    ]
    return reports
      .map((event) => own.numbered(id, { type: 'event', event }))
      .filter((report) => own.react(number, report).outputs.some(({ type }) => type === 'swapped'))
  }
}
