/**
 * One consumer of the model: the real rebalancer, and a host that reads and handles a few messages.
 *
 * The host does what actors/consumer does: a queue is read from the moment its grant is acted on, what runs is waited for
 * before it is given back, and the offset up to which all is handled goes along with the release.
 */
import type { AnyMachineSnapshot } from 'xstate'
import type { Member } from '../../machines/group-coordinator.ts'
import type { Holding, QueueNews, RebalancerContext } from '../../machines/rebalancer.ts'
import { queueKey } from '../../machines/topic.ts'
import type { GroupConfiguration } from './group-configurations.ts'
import type { GroupRules } from './group-rules.ts'
import { sorted, withTimer } from './group-timers.ts'
import { type Slot, type SlotHappening, type SlotOutput, TOPIC } from './group-words.ts'
import { type Effect, type Interned, interned, type MachineTable, machineTable } from './interning.ts'

export const GROUP = 'g'
export type SlotOutcome = { slot: number; outputs: SlotOutput[] }

/** Whether we are told two things under one generation. */
export const isOtherDivision = (
  { generation, members, target }: RebalancerContext,
  told: { generation: number; members: string[]; share: string[] | null },
): boolean =>
  told.generation === generation &&
  told.share !== null &&
  (told.members.join() !== members.join() || told.share.join() !== target.join())

const isAsked = ({ status }: Holding): boolean => status === 'claiming' || status === 'refused'
/** The rounds of first claims that may still run out of patience. */
export const roundsOf = ({ held }: RebalancerContext): number[] =>
  [
    ...new Set(
      Object.values(held)
        .filter(isAsked)
        .map(({ round }) => round),
    ),
  ].sort((a, b) => a - b)

/** Rounds are only told apart: they are counted anew when nobody waits for the earlier ones any more. */
export const withoutRounds = (snapshot: AnyMachineSnapshot): AnyMachineSnapshot => {
  const context: RebalancerContext = snapshot.context
  const rounds = roundsOf(context)
  const held = Object.fromEntries(
    Object.entries(context.held).map(([queue, holding]) => {
      return [queue, { ...holding, round: isAsked(holding) ? rounds.indexOf(holding.round) + 1 : 0 }]
    }),
  )
  return { ...snapshot, context: { ...context, held: sorted(held), round: rounds.length } } as never
}

export function slots(rules: GroupRules, configuration: GroupConfiguration) {
  const { members, joins = 0, queues: queueCount, brokers = 1, takesOver, messages = 0 } = configuration
  const table: MachineTable = machineTable(rules.rebalancer, withoutRounds, true)
  const keys = [...Array(queueCount).keys()].map((queueId) =>
    queueKey({ topic: TOPIC, brokerName: `b${queueId % brokers}`, queueId }),
  )
  const none = keys.map(() => null)
  const blank: Slot = { status: 'absent', state: -1, timers: {}, reads: none, dropped: none, drains: none }
  const gone: Slot = { ...blank, status: 'gone' }
  const all: Interned<Slot> = interned(blank, gone)
  const own: Member[] = [...Array(members + joins).keys()].map((slot) => ({
    clientId: `c${takesOver && slot >= members ? slot - members : slot}`,
    instance: `i${slot}`,
    subscriptions: { [TOPIC]: '*' },
    allocation: configuration.allocation ?? 'averagely',
    room: '',
    queues: [],
    consumerRooms: [],
    isStatic: false,
    sessionMs: 10_000,
  }))
  const known: Map<string, SlotOutcome>[] = []

  const contextOf = ({ state }: Slot): RebalancerContext => table.at(state).context

  function acting(index: number, before: Slot) {
    const it: Slot = {
      ...before,
      reads: [...before.reads],
      dropped: [...before.dropped],
      drains: [...before.drains],
    }
    const outputs: SlotOutput[] = []
    const events: { type: string }[] = []
    const broke = (what: string) => outputs.push({ out: 'broke', what })
    const saw = (what: string) => outputs.push({ out: 'saw', what })

    const run = (effects: readonly Effect[]) => {
      for (const effect of effects) carryOut(effect)
      for (let event = events.shift(); event; event = events.shift()) {
        const move = table.send(it.state, event)
        it.state = move.state
        for (const effect of move.effects) carryOut(effect)
      }
    }
    const tell = (event: { type: string }) => {
      events.push(event)
      run([])
    }

    const tellOf = (news: QueueNews) => tell({ type: 'queues.heard', news: [news] } as never)

    const carryOut = ({ type, params }: Effect) => {
      if (type === 'xstate.raise' || type === 'xstate.cancel')
        it.timers = withTimer(it.timers, { type, params })
      else if (type === 'joinGroup') {
        const { generation, held } = params
        outputs.push({
          out: 'sent',
          message: { kind: 'join', slot: index, generation, held: [...held].sort(), isOrphan: false },
        })
      } else if (type === 'sendBeat') outputs.push({ out: 'beat', generation: params.generation })
      else if (type === 'announceLeaving')
        outputs.push({ out: 'sent', message: { kind: 'leaving', slot: index } })
      else if (type === 'leaveGroup') outputs.push({ out: 'sent', message: { kind: 'left', slot: index } })
      else if (type === 'claimQueue') {
        const { queue, generation, force, waits } = params
        const place = { queue: keys.indexOf(queue), slot: index, generation }
        outputs.push({
          out: 'sent',
          message: { kind: 'claim', ...place, force, waits, isOrphan: false },
        })
      } else if (type === 'drainQueue') {
        const { queue, generation, assignEpoch } = params
        const what = { generation, assignEpoch }
        if (assignEpoch === 0) release(keys.indexOf(queue), what, null)
        else drain(keys.indexOf(queue), what)
      } else if (type === 'dropQueue') drop(keys.indexOf(params.queue))
    }

    const forgetQueue = (queue: number) => {
      it.reads[queue] = null
      it.drains[queue] = null
    }
    const drop = (queue: number) => {
      const read = it.reads[queue]
      if (read) it.dropped[queue] = [read.assignEpoch, read.position]
      forgetQueue(queue)
    }
    const drain = (queue: number, what: { generation: number; assignEpoch: number }) => {
      const read = it.reads[queue]
      if (!read) return release(queue, what, null)
      it.reads[queue] = { ...read, isStopped: true }
      it.drains[queue] = what
      drained(queue)
    }
    const drained = (queue: number) => {
      const read = it.reads[queue]
      const what = it.drains[queue]
      if (!what || !read || (read.isRunning && rules.awaitsHandlers)) return
      it.drains[queue] = null
      release(queue, what, read.position)
    }
    const release = (
      queue: number,
      { generation, assignEpoch }: { generation: number; assignEpoch: number },
      offset: number | null,
    ) => {
      const place = { queue, slot: index, generation }
      outputs.push({
        out: 'sent',
        message: { kind: 'release', ...place, assignEpoch, offset, isOrphan: false },
      })
    }
    const own = (queue: number, assignEpoch: number, position: number, sent = position) => {
      if (it.reads[queue]) return
      it.reads[queue] = { assignEpoch, position, isRunning: false, isStopped: false, sent }
      outputs.push({ out: 'began', queue, assignEpoch, position })
    }

    const happens = (happening: SlotHappening) => {
      switch (happening.is) {
        case 'start': {
          it.status = 'up'
          const move = table.start({ group: GROUP, member: ownOf(index) })
          it.state = move.state
          return run(move.effects)
        }
        case 'pause':
          it.status = 'paused'
          return
        case 'wake':
          it.status = 'up'
          return
        case 'crash':
          return Object.assign(it, gone)
        case 'event':
          return hearEvent(happening.event)
        case 'timer': {
          const { [happening.id]: event, ...timers } = it.timers
          it.timers = timers
          return tell(event!)
        }
        case 'claimed':
          return claimed(happening)
        case 'read':
          it.reads[happening.queue] = { ...it.reads[happening.queue]!, isRunning: true }
          return
        case 'fenced': {
          const { assignEpoch } = it.reads[happening.queue]!
          saw('a zombie is fenced')
          return tellOf({ type: 'queue.fenced', queue: keys[happening.queue]!, assignEpoch })
        }
        case 'finish': {
          const read = it.reads[happening.queue]!
          outputs.push({ out: 'finished', queue: happening.queue, offset: read.position })
          it.reads[happening.queue] = { ...read, isRunning: false, position: read.position + 1 }
          return drained(happening.queue)
        }
        case 'commit': {
          const { queue } = happening
          const { assignEpoch, position } = it.reads[queue]!
          it.reads[queue] = { ...it.reads[queue]!, sent: position }
          outputs.push({
            out: 'sent',
            message: { kind: 'commit', queue, slot: index, assignEpoch, offset: position },
          })
          return
        }
        case 'commitLost': {
          const read = it.reads[happening.queue]
          if (read) it.reads[happening.queue] = { ...read, sent: -1 }
          return
        }
        case 'released':
          return released(happening)
      }
    }

    const released = ({ queue, generation, assignEpoch }: Extract<SlotHappening, { is: 'released' }>) => {
      const key = keys[queue]!
      const holding: Holding | undefined = contextOf(it).held[key]
      const isDraining = holding?.status === 'draining' && holding.assignEpoch === assignEpoch
      if (rules.heedsReleased(isDraining, assignEpoch)) forgetQueue(queue)
      tellOf({ type: 'queue.drained', queue: key, ...rules.drainNamed({ generation, assignEpoch }, holding) })
    }

    /** A queue that is in both shares is NEVER given back nor dropped. */
    const hearEvent = (event: { type: string }) => {
      if (event.type !== 'members.changed') return tell(event)
      const { target, held, generation } = contextOf(it)
      if (isOtherDivision(contextOf(it), event as never)) broke('OneDivisionPerGeneration')
      const owned = keys.filter((key) => held[key]?.status === 'owned' && target.includes(key))
      const isLeaving = table.at(it.state).matches('leaving')
      tell(event)
      const after = contextOf(it)
      if (after.generation < generation) broke('DivisionsAreFollowedForwards')
      for (const key of isLeaving ? [] : owned) {
        if (after.target.includes(key) && after.held[key]?.status !== 'owned') broke('R4 OnlyMovedQueuesMove')
      }
    }

    const claimed = ({
      queue,
      generation,
      assignEpoch,
      committed,
    }: Extract<SlotHappening, { is: 'claimed' }>) => {
      const key = keys[queue]!
      tellOf({ type: 'queue.claimed', queue: key, generation, assignEpoch })
      const holding: Holding | undefined = contextOf(it).held[key]
      if (!rules.heedsGrant(holding?.status === 'owned' && holding.assignEpoch === assignEpoch)) return
      const was = it.dropped[queue]
      it.dropped[queue] = null
      if (was && was[0] >= assignEpoch && was[1] > committed) own(queue, assignEpoch, was[1], committed)
      else own(queue, assignEpoch, committed)
    }

    return { it, outputs, happens }
  }
  const ownOf = (index: number): Member => own[index]!

  return {
    table,
    all,
    keys,
    own,
    contextOf,
    /** What becomes of a consumer: computed once. `happening` is a text that stands for it, and what it is. */
    react(index: number, slot: number, key: string, happening: SlotHappening): SlotOutcome {
      const at = slot * own.length + index
      known[at] ??= new Map()
      let outcome = known[at].get(key)
      if (!outcome) {
        const { it, outputs, happens } = acting(index, all.at(slot))
        happens(happening)
        const hasEnded = it.state >= 0 && table.at(it.state).status !== 'active'
        outcome = { slot: all.of(hasEnded ? gone : normal(it)), outputs }
        known[at].set(key, outcome)
      }
      return outcome
    },
  }

  /** What is read to the end of all messages needs no room for what was dropped. */
  function normal(it: Slot): Slot {
    return messages > 0 ? it : { ...it, dropped: none }
  }
}
