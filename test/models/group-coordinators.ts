/** The coordinator of the model: the real machine, and a host that tells it the queues as soon as it asks. */
import type { AnyMachineSnapshot } from 'xstate'
import { areRivals, isLater } from '../../machines/generation.ts'
import type { GroupCoordinatorContext, Member } from '../../machines/group-coordinator.ts'
import { queueOfKey } from '../../machines/topic.ts'
import type { GroupRules } from './group-rules.ts'
import { GROUP } from './group-slots.ts'
import { sorted, withTimer } from './group-timers.ts'
import { type Coordinator, type CoordinatorOutput, TOPIC } from './group-words.ts'
import { type Effect, type Interned, interned, machineTable } from './interning.ts'

export type CoordinatorOutcome = { coordinator: number; outputs: CoordinatorOutput[] }
export type CoordinatorHappening = { is: 'event'; event: { type: string } } | { is: 'timer'; id: string }

/** Why the queues are divided anew is for people. */
export const withoutCauses = (snapshot: AnyMachineSnapshot): AnyMachineSnapshot => {
  const { members, target, queues, ...context }: GroupCoordinatorContext = snapshot.context
  const plain = { members: sorted(members), target: sorted(target), queues: sorted(queues) }
  return {
    ...snapshot,
    context: {
      ...context,
      ...plain,
      causes: context.causes.length > 0 ? ['something happened'] : [],
      lags: {},
    },
  } as never
}

export function coordinators(rules: GroupRules, own: readonly Member[], keys: readonly string[]) {
  const table = machineTable(rules.coordinator, withoutCauses, true)
  const all: Interned<Coordinator> = interned()
  const known: Map<string, CoordinatorOutcome>[] = []
  const queues = keys.map(queueOfKey)
  const slotOf = ({ clientId, instance }: { clientId: string; instance: string }): number =>
    own.findIndex((member) => member.clientId === clientId && member.instance === instance)

  const contextOf = ({ state }: Coordinator): GroupCoordinatorContext => table.at(state).context

  function react(known: Coordinator, happening: CoordinatorHappening): CoordinatorOutcome {
    const it = { ...known }
    const outputs: CoordinatorOutput[] = []
    const events: { type: string }[] = []
    const carryOut = ({ type, params }: Effect) => {
      if (type.startsWith('xstate.')) it.timers = withTimer(it.timers, { type, params })
      else if (type === 'acceptMember') outputs.push({ out: 'accepted', slot: slotOf(params) })
      else if (type === 'refuseMember')
        outputs.push({ out: 'refused', slot: slotOf(params), isFinal: params.isFinal })
      else if (type === 'rejectBeat') outputs.push({ out: 'rejected', slot: slotOf(params) })
      else if (type === 'pushAssignment') outputs.push({ out: 'pushed', told: params, to: params.to })
      else if (type === 'reportGone') outputs.push({ out: 'told', ...params })
      else if (type === 'watchTopics' && params.topics.length > 0)
        events.push({ type: 'queues.changed', topic: TOPIC, queues } as never)
    }
    if (happening.is === 'timer') {
      const { [happening.id]: event, ...timers } = it.timers
      it.timers = timers
      events.push(event!)
    } else events.push(happening.event)
    const before = contextOf(it).members
    const wasGathering = table.at(it.state).matches('gathering')
    for (let event = events.shift(); event; event = events.shift()) {
      const move = table.send(it.state, event)
      it.state = move.state
      for (const effect of move.effects) carryOut(effect)
    }
    if (!wasGathering && table.at(it.state).matches('gathering'))
      outputs.push({ out: 'saw', what: 'a gathering' })
    for (const { clientId, instance } of Object.values(contextOf(it).members)) {
      if (before[clientId] && before[clientId].instance !== instance)
        outputs.push({ out: 'saw', what: 'a silent client id is taken over' })
    }
    for (const { clientId, isPassedOver } of Object.values(before)) {
      const now = contextOf(it).members[clientId]
      if (!isPassedOver && now?.isPassedOver)
        outputs.push({ out: 'saw', what: 'a silent member is passed over' })
      if (isPassedOver && now && !now.isSilent)
        outputs.push({ out: 'saw', what: 'a member that was passed over is heard of again' })
    }
    const broken = (happening.is === 'event' ? brokenAfter(it, happening.event) : null) ?? brokenBy(it)
    if (broken) outputs.push({ out: 'broke', what: broken })
    return { coordinator: all.of(it), outputs }
  }

  /** AFTER it has heard of another one's division what it says is later than that. */
  function brokenAfter(coordinator: Coordinator, event: { type: string }): string | null {
    const { told, members } = contextOf(coordinator)
    const { type, generation, clientId, instance } = event as { type: string } & Record<string, any>
    const isHeeded = type === 'owners.doubted' || members[clientId]?.instance === instance
    if ((type !== 'member.joined' && type !== 'owners.doubted') || !isHeeded) return null
    const isBehind = isLater(generation, told.generation) || areRivals(generation, told.generation)
    return isBehind ? 'LaterThanItsPredecessors' : null
  }

  /** Once a division is told and nothing has happened since, every queue is the share of exactly one member. */
  function brokenBy(coordinator: Coordinator): string | null {
    const { told, members } = contextOf(coordinator)
    const shares = told.members.flatMap((member) => member.queues ?? [])
    if (new Set(shares).size !== shares.length) return 'R7 EveryQueueHasATarget'
    if (!table.at(coordinator.state).matches({ active: 'stable' })) return null
    const able = Object.values(members).filter(({ isLeaving }) => !isLeaving)
    return able.length > 0 && shares.length !== keys.length ? 'R7 EveryQueueHasATarget' : null
  }

  return {
    table,
    all,
    contextOf,
    slotOf,
    /** One that knows nothing. */
    fresh: (number: number): number =>
      all.of({ state: table.start({ group: GROUP, number }).state, timers: {} }),
    react(coordinator: number, key: string, happening: CoordinatorHappening): CoordinatorOutcome {
      known[coordinator] ??= new Map()
      let outcome = known[coordinator].get(key)
      if (!outcome) {
        outcome = react(all.at(coordinator), happening)
        known[coordinator].set(key, outcome)
      }
      return outcome
    },
  }
}
