/**
 * Mutants: the rules of a broker group with ONE of them broken, and where that shows.
 *
 * A rule that no mutant misses proves nothing. What a mutant breaks is told by its name; `breaks` is the property that the
 * shortest way to any harm runs into. A mutant that needs a longer way than all worlds can be gone through wanders.
 */

import { assign } from 'xstate'
import { told } from '../../actors/broker/store/lineage.ts'
import { divergence } from '../../machines/epoch-starts.ts'
import { boot, compareLogs, elect, isEligible, type Vote, withMember } from '../../machines/group-state.ts'
import {
  acknowledgedBy,
  confirmedPosition,
  heardFrom,
  maximalSet,
  type Term,
} from '../../machines/peer-replica.ts'
import type { Configuration } from './configurations.ts'
import { guarded, membershipOf, proposes, redrawn } from './faulty-machines.ts'
import { production, type Rules } from './rules.ts'

export type Mutant = {
  name: string
  rules: Partial<Rules>
  configuration: Configuration
  breaks: string
  /** How to wander there; without it all worlds are gone through. */
  walk?: { seed: number; stepsMax: number; stepsPerWalk: number }
}

const small: Configuration = { replicas: 2, minInSync: 1, sends: 1, epochs: 2 }
const { brokerRole, controller } = production

/** Counts acknowledgements, whoever they come from. */
function countedPosition(term: Term, stored: number): number {
  const needed = maximalSet(term).length - 1
  const acknowledged = term.peers.map(({ position }) => position).sort((a, b) => b - a)
  const confirmed = needed === 0 ? stored : (acknowledged[needed - 1] ?? -1)
  return Math.max(term.confirm, Math.min(stored, confirmed))
}
function knownOnly(term: Term, stored: number): number {
  const others = maximalSet(term).filter(({ brokerId }) => brokerId !== term.brokerId)
  const known = others.map((member) => acknowledgedBy(term, member)).filter((position) => position >= 0)
  return Math.max(term.confirm, Math.min(stored, ...known))
}

export const mutants: Mutant[] = [
  {
    name: 'the proposed set does not count',
    rules: { confirmedPosition: (term, stored) => confirmedPosition({ ...term, pending: null }, stored) },
    configuration: { ...small, proposals: 2 },
    breaks: 'S4 CandidateCompleteness',
  },
  {
    name: 'a proposed set counts alone, BEFORE the register holds it',
    rules: { propose: (term, { syncStateSet }) => ({ ...term, members: syncStateSet }) },
    configuration: { ...small, proposals: 1 },
    breaks: 'S4 CandidateCompleteness',
  },
  {
    name: 'messages of other epochs are heard',
    rules: {
      isHeard: () => true,
      heardFrom: (term, heard) => heardFrom(term, { ...heard, epoch: term.epoch }),
    },
    configuration: { ...small, epochs: 3, lateMessages: true, lateHeads: true },
    breaks: 'S6 LogMatching',
  },
  {
    name: 'who begins to follow cuts to what it knows to be confirmed',
    rules: { endToFollow: Math.min },
    configuration: { ...small, sends: 0, epochs: 3 },
    breaks: 'S4 CandidateCompleteness',
  },
  {
    name: 'a process that starts anew continues the epoch of the earlier one',
    rules: {
      brokerRole: guarded(brokerRole, {
        electsMe: ({ context: { head, epoch, brokerId } }: any) =>
          head.epoch >= epoch && head.masterId === brokerId,
      }),
    },
    configuration: { ...small, crashes: 1 },
    breaks: 'S1 OneMasterPerEpoch',
  },
  {
    name: 'a member that was not heard of is left out of account',
    rules: { confirmedPosition: knownOnly },
    configuration: small,
    breaks: 'S4 CandidateCompleteness',
  },
  {
    name: 'somebody outside the set is elected',
    rules: {
      controller: redrawn(controller, (chart) => {
        const [, won] = chart.states.balloting.on['votes.collected']
        won.guard = ({ event }: any) => event.votes.length > 0
        won.actions = proposes((head, votes, writeId) => {
          const winner = votes.sort((a, b) => b.brokerId - a.brokerId)[0]!
          const state = elect(head, winner, votes, writeId)
          return { ...state, syncStateSet: withMember(state.syncStateSet, winner) }
        })
      }),
    },
    configuration: { ...small, proposals: 1 },
    breaks: 'S4 CandidateCompleteness',
  },
  {
    name: 'the register writes whatever it is given',
    rules: { swaps: () => true },
    configuration: { ...small, proposals: 1 },
    breaks: 'S2 EpochMonotonic',
  },
  {
    name: 'a swap of unknown outcome is taken for one that failed',
    rules: {
      brokerRole: redrawn(brokerRole, (chart) => {
        const { swapping } = membershipOf(chart).proposing.states
        swapping.on['swap.unknown'] = { target: '#settled', actions: assign({ proposal: null }) }
      }),
    },
    configuration: { ...small, proposals: 2 },
    breaks: 'S10 QuorumSuperset',
  },
  {
    name: 'a swap of unknown outcome is not tried again',
    rules: {
      brokerRole: redrawn(brokerRole, (chart) => {
        membershipOf(chart).proposing.states.resolving.after = {}
      }),
    },
    configuration: { ...small, proposals: 1 },
    breaks: 'L1 EventuallyServed',
  },
  {
    name: 'a proposal outlives its mastership',
    rules: {
      brokerRole: redrawn(brokerRole, (chart) => {
        chart.states.demoting.entry.shift()
        const { settled, proposing } = membershipOf(chart)
        settled.always = {
          guard: ({ context }: any) => context.proposal !== null,
          target: 'proposing',
          actions: assign({
            proposal: ({ context: { head, proposal, brokerId, lineage } }: any) => {
              const { revision: _, ...state } = head
              const syncStateSet = withMember(proposal.syncStateSet, { brokerId, lineage })
              return {
                ...state,
                syncStateSet,
                cause: proposal.cause,
                writeId: `broker/${brokerId}@${head.revision}`,
              }
            },
          }),
        }
        proposing.exit = []
      }),
    },
    configuration: { ...small, replicas: 3, epochs: 4, proposals: 3 },
    breaks: 'S4 CandidateCompleteness',
    walk: { seed: 10, stepsMax: 400_000, stepsPerWalk: 150 },
  },
  {
    name: 'a replica counts as caught up that lacks the beginning of the epoch',
    rules: { hasCaughtUp: ({ confirm }, position) => position >= confirm },
    configuration: { ...small, replicas: 3, sends: 0, proposals: 2 },
    breaks: 'S4 CandidateCompleteness',
  },
  {
    name: 'a replica that may have lost something counts as it did before',
    rules: {
      brokerRole: redrawn(brokerRole, (chart) => {
        chart.states.starting.states.loading.on['store.loaded'].actions = assign(({ event }: any) => ({
          epoch: event.epoch,
          incarnation: event.incarnation + 1,
          lineage: event.lineage,
        }))
      }),
    },
    configuration: { ...small, losses: 1 },
    breaks: 'S4 CandidateCompleteness',
  },
  {
    name: 'how many replicas must be in sync is not looked at when something is confirmed',
    rules: { confirmedPosition: (term, stored) => confirmedPosition({ ...term, minInSync: 1 }, stored) },
    configuration: { ...small, minInSync: 2, startsEmpty: true },
    breaks: 'S8 MinCopies',
  },
  {
    name: 'the set shrinks below what must be in sync',
    rules: {
      brokerRole: guarded(brokerRole, {
        mayDrop: ({ context }: any, { brokerId }: any) => brokerId !== context.brokerId,
      }),
    },
    configuration: { ...small, minInSync: 2, proposals: 1 },
    breaks: 'S12 StrictMinIsr',
  },
  {
    name: 'a send is taken although a member that cannot be spared seems gone',
    rules: { brokerRole: guarded(brokerRole, { isBlocked: () => false }) },
    configuration: { ...small, minInSync: 2, silences: 1 },
    breaks: 'NoSendWithTooFewThere',
  },
  {
    name: 'a member that is back is missed for ever',
    rules: { brokerRole: guarded(brokerRole, { isBack: () => false }) },
    configuration: { ...small, minInSync: 2, silences: 1 },
    breaks: 'L1 EventuallyServed',
  },
  {
    name: 'acknowledgements are counted, whoever they come from',
    rules: {
      heardFrom: (term, { epoch: _, ...peer }) => ({ ...term, peers: [...term.peers, peer] }),
      confirmedPosition: countedPosition,
    },
    configuration: { ...small, replicas: 3, sends: 0, epochs: 1 },
    breaks: 'S4 CandidateCompleteness',
  },
  {
    name: 'a cut is not written down BEFORE it is begun',
    rules: { intendsCuts: false },
    configuration: { ...small, sends: 2, crashes: 1 },
    breaks: 'S4 CandidateCompleteness',
  },
  {
    name: 'readers see what only the old set has',
    rules: { visiblePosition: (term, stored) => confirmedPosition({ ...term, pending: null }, stored) },
    configuration: { ...small, proposals: 2 },
    breaks: 'S5 CommittedImmutable',
  },
  {
    name: 'a handover does not wait until the successor has everything',
    rules: { isDrained: () => true },
    configuration: { ...small, handovers: 1 },
    breaks: 'S16 HandoverLossless',
  },
  {
    name: 'a master serves again while nobody knows whether it has handed over',
    rules: {
      brokerRole: redrawn(brokerRole, (chart) => {
        membershipOf(chart).handingOver.states.swapping.on['swap.unknown'] = 'refused'
      }),
    },
    configuration: { ...small, handovers: 1 },
    breaks: 'S16 HandoverLossless',
  },
  {
    name: 'the longer log is preferred to the newer one',
    rules: {
      controller: redrawn(controller, (chart) => {
        chart.states.booting.on['votes.collected'].actions = assign({
          proposal: ({ context, event }: any) => {
            const [winner] = [...event.votes].sort(
              (a: Vote, b: Vote) => b.endPosition - a.endPosition || compareLogs(a, b),
            )
            const others = event.votes.map((vote: Vote) => ({ ...vote, lastEpoch: vote === winner ? 99 : 0 }))
            return { ...boot(context.settings, others, 'controller/c@0'), epoch: 9 }
          },
        })
      }),
    },
    configuration: { ...small, sends: 2, wipes: 1, epochs: 9 },
    breaks: 'S4 CandidateCompleteness',
  },
  {
    name: 'data goes to the end of a log although something is missing before it',
    rules: { fits: (from, end) => from >= end },
    configuration: { ...small, hasGaps: true },
    breaks: 'S4 CandidateCompleteness',
  },
  {
    name: 'a head is acted on while the log is cut',
    rules: {
      brokerRole: redrawn(brokerRole, (chart) => {
        const { truncating } = chart.states.slave.states
        truncating.on = { 'log.truncated': 'following' }
      }),
    },
    configuration: { ...small, epochs: 3 },
    breaks: 'NoLogWhileCut',
  },
  {
    name: 'the answer to a swap of an earlier mastership is taken for that of this one',
    rules: { brokerRole: guarded(brokerRole, { isOtherProposal: () => false }) },
    configuration: { ...small, sends: 0, epochs: 3, proposals: 2, lateAnswers: true },
    breaks: 'S10 QuorumSuperset',
  },
  {
    name: 'a log is compared with what has left the master',
    rules: {
      standing: (own, begin, position, lastEpoch) =>
        position < begin ? 'gone' : (divergence(own, position, lastEpoch) ?? 'prefix'),
    },
    configuration: { ...small, retentions: 1, replicas: 3, proposals: 1 },
    breaks: 'S9 NoTruncateBelowConfirm',
    walk: { seed: 5, stepsMax: 100_000, stepsPerWalk: 60 },
  },
  {
    name: 'a log that has lost its beginning forgets the epoch that ended there',
    rules: {
      told: (starts, begin) =>
        told(starts, begin).filter((_, i, all) => (all[i + 1]?.start ?? begin + 1) > begin),
      standing: (own, begin, position, lastEpoch) =>
        position < begin ? 'gone' : (divergence(own, position, lastEpoch) ?? 'prefix'),
    },
    configuration: { ...small, retentions: 1, proposals: 1 },
    breaks: 'S9 NoTruncateBelowConfirm',
  },
  {
    name: 'only the epoch that was ordered to lose messages may cut below what was confirmed',
    rules: {
      controller: redrawn(controller, (chart) => {
        const [, won] = chart.states.balloting.on['votes.collected']
        won.actions = proposes((head, votes, writeId) => {
          const winner = votes.find((vote) => isEligible(head, vote))!
          return { ...elect(head, winner, votes, writeId), unclean: false }
        })
      }),
    },
    configuration: { ...small, sends: 0, epochs: 3, unclean: 1, losses: 1 },
    breaks: 'S9 NoTruncateBelowConfirm',
  },
  {
    name: 'a slave follows BEFORE its promise is on disk',
    rules: {
      brokerRole: redrawn(brokerRole, (chart) => {
        chart.states.slave.states.adopting.always = 'following'
      }),
    },
    configuration: { ...small, epochs: 3, crashes: 1, lateHeads: true },
    breaks: 'S2 EpochMonotonic',
  },
  {
    name: 'a master serves BEFORE its promise is on disk',
    rules: {
      brokerRole: redrawn(brokerRole, (chart) => {
        chart.states.promoting.states.sealing.states.persisting.always = 'marking'
      }),
    },
    configuration: { ...small, crashes: 1, lateHeads: true },
    breaks: 'S2 EpochMonotonic',
  },
  {
    name: 'an election drops members below what must be in sync',
    rules: {
      controller: redrawn(controller, (chart) => {
        const [, won] = chart.states.balloting.on['votes.collected']
        won.actions = proposes((head, votes, writeId) => {
          const [winner] = [...votes].sort(compareLogs)
          return elect({ ...head, minInSync: 1 }, winner!, votes, writeId)
        })
      }),
    },
    configuration: { ...small, minInSync: 2 },
    breaks: 'S12 StrictMinIsr',
  },
]

/**
 * What breaks no promise of a group that trusts its register. The mark of an epoch is there for others: it is how a master
 * without messages learns that its set has followed it, it lets two logs be told apart by what they hold alone, and a
 * register that may lose a write (votes instead of trust) cannot do without it.
 */
export const harmless: Mutant[] = [
  {
    name: 'an epoch is not marked',
    rules: { marksEpochs: false },
    configuration: { ...small, crashes: 1, proposals: 2 },
    breaks: '',
  },
]

/** Not mutants of a rule, but what is outside of the rules: P0 trusts the register. */
export const trusted: Mutant = {
  name: 'a register that loses a write',
  rules: {},
  configuration: { ...small, rollbacks: 1, epochs: 3 },
  breaks: 'S4 CandidateCompleteness',
}
