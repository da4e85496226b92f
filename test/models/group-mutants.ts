/**
 * Mutants: the rules of a consumer group with ONE of them broken, and where that shows.
 *
 * A rule that no mutant misses proves nothing. What a mutant breaks is told by its name; `breaks` is the property that the
 * shortest way to any harm runs into.
 */
import { type AnyStateMachine, assign } from 'xstate'
import { countOf } from '../../machines/generation.ts'
import { isBehind } from '../../machines/group-coordinator/vocabulary.ts'
import { type Chart, guarded, redrawn } from './faulty-machines.ts'
import { type GroupConfiguration, reused, strangers } from './group-configurations.ts'
import { type GroupRules, groupRules } from './group-rules.ts'

export type GroupMutant = {
  name: string
  rules: Partial<GroupRules>
  configuration: GroupConfiguration
  breaks: string
}

const { coordinator, rebalancer, queueOwner } = groupRules
const two: GroupConfiguration = { members: 2, queues: 2, messages: 1 }
const joining: GroupConfiguration = { members: 1, queues: 2, messages: 1, joins: 1 }

const owned = (redraw: (on: Chart) => void): AnyStateMachine =>
  redrawn(queueOwner, (chart) => redraw(chart.states.owned.on))
/** The division of a coordinator, with something else of what it learns when a member joins. */
const joins = (change: (learned: any, before: any) => unknown): AnyStateMachine =>
  redrawn(coordinator, (chart) => {
    const ways = [
      ...chart.states.empty.on['member.joined'],
      ...chart.states.gathering.on['member.joined'],
      ...chart.states.active.on['member.joined'],
    ]
    for (const way of ways) {
      if (way.actions?.length !== 6) continue
      const { assignment } = way.actions[0]
      way.actions[0] = assign((args: any) => change(assignment(args), args.context) as never)
    }
  })
/** Coordinators that all have one number. */
const alike = redrawn(coordinator, (chart) => {
  const { context } = chart
  chart.context = ({ input, ...rest }: any) => context({ ...rest, input: { ...input, number: 0 } })
})
const isSameClient = ({ context, event }: any) => context.owner?.clientId === event.clientId

export const groupMutants: GroupMutant[] = [
  {
    name: 'a commit is heard whatever its epoch is',
    rules: { mayCommit: ({ owner }, clientId) => owner?.clientId === clientId },
    configuration: { ...two, resets: 1 },
    breaks: 'R3 OwnersCommit',
  },
  {
    name: 'a commit is heard whoever sends it',
    rules: { mayCommit: () => true },
    configuration: { ...joining, forces: 1 },
    breaks: 'R3 OwnersCommit',
  },
  {
    name: 'a commit of whoever was unseated is heard until somebody claims the queue',
    rules: {
      mayCommit: ({ owner, assignEpoch }, clientId, epoch) =>
        assignEpoch === epoch && (owner === null || owner.clientId === clientId),
    },
    configuration: { ...two, resets: 1 },
    breaks: 'R3 OwnersCommit',
  },
  {
    name: 'a commit that comes late takes the offset back',
    rules: { isAhead: () => true },
    configuration: { ...two, messages: 2 },
    breaks: 'R3 CommittedMonotone',
  },
  {
    name: 'a zombie is not fenced when it pulls',
    rules: { mayPull: () => true },
    configuration: { ...two, resets: 1 },
    breaks: 'L1 EventuallySettled',
  },
  {
    name: 'a queue is granted BEFORE its owner has released it',
    rules: { queueOwner: guarded(queueOwner, { isOwners: () => true }) },
    configuration: joining,
    breaks: 'AtMostOneOwner',
  },
  {
    name: 'another process of the owner is taken for the owner, when chance gives two coordinators one number',
    rules: { claimant: (claim) => ({ ...claim, instance: '' }), coordinator: alike },
    configuration: { ...joining, queues: 1, messages: 0, takesOver: true, coordinatorCrashes: 1 },
    breaks: 'R1 OneMemberPerEpoch',
  },
  {
    name: 'a claim takes a queue by force from an owner of the same list',
    rules: {
      queueOwner: guarded(queueOwner, { isForced: (_: unknown, { force }: { force: boolean }) => force }),
    },
    configuration: { ...joining, messages: 0, forces: 1, closes: 1 },
    breaks: 'AtMostOneOwner',
  },
  {
    name: 'a release frees a grant that is newer',
    rules: {
      queueOwner: owned((on) => {
        for (const way of on['queue.released']) way.guard = isSameClient
        on['queue.released'].shift()
      }),
    },
    configuration: { ...joining, messages: 0, closes: 1, delays: 1 },
    breaks: 'R3 OwnersCommit',
  },
  {
    name: 'a release does not grant the claim that waits',
    rules: { queueOwner: owned((on) => on['queue.released'].shift()) },
    configuration: { ...joining, messages: 0 },
    breaks: 'L1 EventuallySettled',
  },
  {
    name: 'a release is answered and not recorded',
    rules: {
      recorded: (before, record) =>
        record.owner === null ? { ...before, committed: record.committed } : record,
    },
    configuration: { ...joining, messages: 0, brokerCrashes: 1 },
    breaks: 'AtMostOneOwner',
  },
  {
    name: 'a release that got lost is taken for done',
    rules: { repeatsReleases: false },
    configuration: { ...joining, messages: 0, losses: 1, isClean: true },
    breaks: 'R6 NoForceWhenClean',
  },
  {
    name: 'the offset that comes with a release is not recorded',
    rules: {
      recorded: (before, record) =>
        record.owner === null ? { ...record, committed: before.committed } : record,
    },
    configuration: { ...joining, isClean: true },
    breaks: 'R6 ExactlyOnceWhenClean',
  },
  {
    name: 'what runs is not waited for BEFORE a queue is given back',
    rules: { awaitsHandlers: false },
    configuration: { ...joining, isClean: true },
    breaks: 'R6 ExactlyOnceWhenClean',
  },
  {
    name: 'an owner is told BEFORE the record of its grant is confirmed',
    rules: { awaitsRecords: false },
    configuration: { ...joining, messages: 0, brokerCrashes: 1, losses: 1 },
    breaks: 'R1 OneMemberPerEpoch',
  },
  {
    name: 'a master that follows counts the grants of a free queue anew',
    rules: { restored: (record) => (record.owner ? record : { ...record, assignEpoch: 0 }) },
    configuration: { ...two, messages: 0, closes: 1, brokerCrashes: 1 },
    breaks: 'R1 OneMemberPerEpoch',
  },
  {
    name: 'a new coordinator does not gather',
    rules: {
      coordinator: guarded(coordinator, {
        isBehind: ({ context }: any, known: any) => 'clientIds' in known && isBehind(context, known),
      }),
    },
    configuration: { ...two, coordinatorCrashes: 1, isClean: true },
    breaks: 'R6 NoForceWhenClean',
  },
  {
    name: 'a new coordinator does not gather when it is asked after an owner',
    rules: {
      coordinator: redrawn(coordinator, (chart) => {
        for (const { on } of [chart.states.empty, chart.states.active]) {
          const [gathers, answers] = on['owners.doubted']
          delete gathers.target
          gathers.actions = [gathers.actions[0], [answers.actions].flat().at(-1)]
        }
      }),
    },
    configuration: { ...two, messages: 0, coordinatorCrashes: 1, doubts: 2, isClean: true },
    breaks: 'R6 NoForceWhenClean',
  },
  {
    name: 'an owner that has joined again is taken for the one that went',
    rules: {
      queueOwner: owned((on) => {
        for (const way of on['owner.gone']) way.guard = isSameClient
        on['owner.gone'].shift()
      }),
    },
    configuration: { ...two, queues: 1, messages: 0, pauses: 1, doubts: 1 },
    breaks: 'AtMostOneOwner',
  },
  {
    name: 'a new coordinator does not leap ahead of its predecessor',
    rules: { coordinator: joins((learned, { told }) => ({ ...learned, told })) },
    configuration: { ...two, messages: 0, coordinatorCrashes: 1, closes: 1 },
    breaks: 'LaterThanItsPredecessors',
  },
  {
    name: 'another coordinator makes generations of its predecessor',
    rules: { coordinator: alike },
    configuration: { ...joining, ...reused },
    breaks: 'OneDivisionPerGeneration',
  },
  {
    name: 'of two lists that count alike the one with the higher number is taken for the later',
    rules: {
      queueOwner: guarded(queueOwner, {
        isForced: ({ context: { owner } }: any, { force, generation }: any) =>
          force && generation > owner.generation,
      }),
    },
    configuration: { ...joining, ...reused, isClean: true },
    breaks: 'AtMostOneOwner',
  },
  {
    name: 'of two coordinators that know nothing of each other the one that counts more is taken for the later',
    rules: {
      queueOwner: guarded(queueOwner, {
        isForced: ({ context: { owner } }: any, { force, generation }: any) =>
          force && countOf(generation) > countOf(owner.generation),
      }),
    },
    configuration: strangers,
    breaks: 'AtMostOneOwner',
  },
  {
    name: 'whoever begins to leave is no member any more',
    rules: {
      coordinator: redrawn(coordinator, (chart) => {
        for (const state of [chart.states.gathering, chart.states.active])
          state.on['member.leaving'] = state.on['member.left']
      }),
    },
    configuration: { ...two, closes: 1, isClean: true },
    breaks: 'R6 NoForceWhenClean',
  },
  {
    name: 'a member is taken in and is told its share no more',
    rules: {
      coordinator: redrawn(coordinator, (chart) => {
        const { on } = chart.states.active
        on['member.beat'].splice(1, 1)
      }),
    },
    configuration: { ...joining, messages: 0, losses: 1 },
    breaks: 'L1 EventuallySettled',
  },
  {
    name: 'a member follows a division that is older than its own',
    rules: {
      rebalancer: redrawn(rebalancer, (chart) => {
        const hears = ({ event }: any) => event.share !== null
        chart.states.member.on['members.changed'][0].guard = hears
        chart.states.joining.on['members.changed'].guard = hears
      }),
    },
    configuration: { ...joining, messages: 0, joins: 2 },
    breaks: 'DivisionsAreFollowedForwards',
  },
  {
    name: 'a member gives everything back whenever the queues are divided',
    rules: {
      rebalancer: redrawn(rebalancer, (chart) => {
        const [way] = chart.states.member.on['members.changed']
        const [adopt, reconcile] = way.actions
        way.actions = [assign({ target: [] } as never), reconcile, adopt, reconcile]
      }),
    },
    configuration: { ...joining, messages: 0 },
    breaks: 'R4 OnlyMovedQueuesMove',
  },
  {
    name: 'what was granted too late is kept and not read',
    rules: {
      rebalancer: redrawn(rebalancer, (chart) => {
        const isHeard = ({ context, event }: any) =>
          event.news[0].type !== 'queue.claimed' || context.target.includes(event.news[0].queue)
        const { actions } = chart.on['queues.heard']
        chart.on['queues.heard'] = { guard: isHeard, actions }
        chart.states.member.on['queues.heard'][1].guard = isHeard
      }),
    },
    configuration: { ...joining, messages: 0, joins: 2, isClean: true },
    breaks: 'R6 NoForceWhenClean',
  },
  {
    name: 'what was granted is read although it is not wanted any more',
    rules: { heedsGrant: () => true },
    configuration: { ...joining, joins: 2, isClean: true },
    breaks: 'R6 ExactlyOnceWhenClean',
  },
  {
    name: 'the end of an earlier drain is taken for that of the queue',
    rules: {
      heedsReleased: () => true,
      drainNamed: (drain, holding) => holding ?? drain,
    },
    configuration: { ...two, closes: 1, coordinatorCrashes: 1, messages: 0 },
    breaks: 'L1 EventuallySettled',
  },
]

/**
 * What breaks no promise: whoever is granted a queue that it has given up gives it back, or is gone and forced. It only takes
 * longer.
 */
export const harmlessInGroups: GroupMutant[] = [
  {
    name: 'a claim that was given up is granted',
    rules: { queueOwner: guarded(queueOwner, { isGivenUp: () => false }) },
    configuration: { ...joining, messages: 0, closes: 1, isClean: true },
    breaks: '',
  },
]
