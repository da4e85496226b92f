/** What a replica is able to do as it is: computed once for each state of each replica. */
import type { BrokerRoleContext, BrokerRoleEvent } from '../../machines/broker-role.ts'
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
  /** A master that counts fewer members as there than must be in sync. */
  hasTooFew: boolean
  /** Numbers of reports upon which it proposes another set. */
  proposals: number[]
  /** Numbers of reports that a member that cannot be spared seems gone, and that it is back. */
  silences: number[]
  returns: number[]
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
      hasTooFew: isServing && hasTooFew(snapshot!.context),
      ...(isServing ? reportsOf(replica, number, id) : { proposals: [], silences: [], returns: [] }),
      data: term ? data : [],
      begin,
      vote: control.vote(replica, snapshot, id, own.lineageOf(replica)),
    }
  }
  /** The reports that its host may give now, by what comes of them. Anybody may seem to lag. */
  function reportsOf({ term }: Replica, number: number, id: number) {
    const { epoch, peers } = term!
    const caughtUp = peers.filter(({ position }) => worlds.rules.hasCaughtUp(term!, position))
    const there: BrokerRoleEvent[] = caughtUp.map(({ brokerId, lineage }) => ({
      ...{ type: 'follower.caughtUp', epoch, brokerId, lineage },
    }))
    const away: BrokerRoleEvent[] = ids
      .filter((brokerId) => brokerId !== id)
      .map((brokerId) => ({ type: 'follower.lagging', epoch, brokerId }))
    const numbersOf = (reports: BrokerRoleEvent[]) =>
      reports.map((event) => own.numbered(id, { type: 'event', event }))
    const isProposal = (report: number) =>
      own.react(number, report).outputs.some(({ type }) => type === 'swapped')
    const isNoted = (report: number) => own.react(number, report).replica !== number && !isProposal(report)
    return {
      proposals: [...numbersOf(there), ...numbersOf(away)].filter(isProposal),
      silences: numbersOf(away).filter(isNoted),
      returns: numbersOf(there).filter(isNoted),
    }
  }
}

const hasTooFew = ({ head, missing }: BrokerRoleContext): boolean =>
  head!.syncStateSet.filter(({ brokerId }) => !missing.includes(brokerId)).length < head!.minInSync
