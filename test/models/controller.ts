/**
 * The controller of the model: the real machine, and a world that lets it suspect whom it likes.
 *
 * Whatever it hears before it asks for votes changes nothing outside of it, so the way there is ONE step. It collects the
 * votes of any of the replicas that live; the rest are lost. Between two elections it follows the head.
 */
import type { AnyMachineSnapshot } from 'xstate'
import type { Lineage } from '../../machines/epoch-starts.ts'
import type { GroupSettings, GroupState, Head, Vote } from '../../machines/group-state.ts'
import { endsOf, interned, machineTable } from './interning.ts'
import type { Replica } from './replica-words.ts'
import type { Rules } from './rules.ts'

export type Ballot = { state: number; swap: { expected: number; state: GroupState } }

export function controllers(rules: Rules, settings: GroupSettings) {
  const table = machineTable(rules.controller)
  const votes = interned<Vote | null>(null)
  const known = new Map<string, Ballot[]>()
  const passes = (delay: string) => endsOf(rules.controller, delay)

  const run = (state: number, ...events: { type: string }[]) =>
    events.reduce((now, event) => table.send(now, event).state, state)
  const sign = { brokerId: 0, incarnation: 0, lineage: 0, epoch: 0, role: 'waiting' }
  const beat = { type: 'beat.heard', settings, ...sign, brokerId: -1 }
  const reading = run(table.start({ controllerId: 'c', brokerName: 'a' }).state, beat)

  /** The master that the head names gives a sign of life. */
  const masterBeats = ({ masterId, masterIncarnation, epoch }: Head) => ({
    ...beat,
    brokerId: masterId!,
    incarnation: masterIncarnation,
    epoch,
    role: 'master',
  })
  const atRest = (state: number): number => {
    const { head } = table.at(state).context
    return head === null ? state : run(state, masterBeats(head))
  }

  /** The ways to a ballot. */
  function suspicions(state: number): number[] {
    const { head } = table.at(state).context
    if (head === null) return [run(state, ...passes('bootRetry'))]
    const late = run(state, ...passes('masterLate'))
    const unreachable = { type: 'probe.unreachable', brokerId: head.masterId }
    return [
      run(late, unreachable, ...passes('probePause'), unreachable),
      run(late, { type: 'probe.answered', ...sign } as { type: string }, ...passes('promoteLimit')),
    ]
  }
  function ballotsOf(state: number, voters: Vote[], withOrders: boolean): Ballot[] {
    const ballots = new Map<string, Ballot>()
    const commit = (from: number, heard: Vote[]) => {
      const { state: now, effects } = table.send(from, { type: 'votes.collected', votes: heard } as {
        type: string
      })
      const swap = effects.find(({ type }) => type === 'swapState')
      if (swap) ballots.set(JSON.stringify(swap.params), { state: now, swap: swap.params })
      return now
    }
    for (const asked of suspicions(state)) {
      for (const heard of subsetsOf(voters)) {
        const now = commit(asked, heard)
        if (!withOrders || !table.at(now).matches('stalled')) continue
        for (const { brokerId } of voters)
          commit(run(now, { type: 'unclean.ordered', brokerId } as { type: string }), voters)
      }
    }
    return [...ballots.values()]
  }

  return {
    table,
    booting: run(reading, { type: 'register.empty' }),
    tracking: (head: Head) => atRest(run(reading, { type: 'head.changed', head } as { type: string })),
    heard: (state: number, head: Head) =>
      atRest(run(state, { type: 'head.changed', head } as { type: string })),
    succeeded: (state: number, writeId: string, revision: number) =>
      atRest(run(state, { type: 'swap.succeeded', writeId, revision } as { type: string })),
    conflicted: (state: number, writeId: string, head: Head | null) =>
      atRest(run(state, { type: 'swap.conflicted', writeId, head } as { type: string })),
    /** The number of what a replica would vote; 0: it does not. */
    vote(replica: Replica, snapshot: AnyMachineSnapshot | null, brokerId: number, lineage: Lineage): number {
      if (snapshot === null) return 0
      return votes.of({
        brokerId,
        incarnation: replica.incarnation,
        lineage: snapshot.context.lineage,
        promisedEpoch: replica.promised,
        lastEpoch: rules.lastEpochOf(lineage),
        endPosition: lineage.end,
        hearsMaster: false,
      })
    },
    /** All that it may decide now. */
    ballots(state: number, numbers: readonly number[], withOrders: boolean): Ballot[] {
      const key = `${state} ${withOrders} ${numbers}`
      let ballots = known.get(key)
      if (ballots === undefined) {
        const voters = numbers.filter((number) => number > 0).map((number) => votes.at(number)!)
        ballots = ballotsOf(state, voters, withOrders)
        known.set(key, ballots)
      }
      return ballots
    },
  }
}

function subsetsOf<T>(all: readonly T[]): T[][] {
  const [one, ...others] = all
  if (one === undefined) return [[]]
  return subsetsOf(others).flatMap((subset) => [subset, [one, ...subset]])
}
