/**
 * One replica of the model: the real role machine, and a host that carries its orders out on a log of a few entries.
 *
 * An entry is a number, epoch * 16 + value; value 0 is the mark of the epoch. A position is an index. What a replica does
 * with what happens to it depends on nothing but the two, so it is computed once for each pair of them. A write to the
 * disk is a step of its own: a crash BEFORE it forgets it.
 */
import type { AnyMachineSnapshot } from 'xstate'
import type { BrokerRoleEvent } from '../../machines/broker-role.ts'
import type { Lineage } from '../../machines/epoch-starts.ts'
import type { Member } from '../../machines/group-state.ts'
import type { Configuration } from './configurations.ts'
import { type Effect, endsOf, type Interned, interned, machineTable } from './interning.ts'
import {
  type Ack,
  type Answer,
  type Channel,
  type Data,
  endOf,
  epochOfEntry,
  type Follow,
  type Happening,
  type Message,
  markOf,
  type Outcome,
  type Output,
  type Replica,
  type Write,
} from './replica-words.ts'
import type { Rules } from './rules.ts'

/** What no later decision depends on: an alarm, and a position that was acted on. */
function forget(snapshot: AnyMachineSnapshot): AnyMachineSnapshot {
  const isActedOn = snapshot.matches({ slave: 'truncating' }) || snapshot.matches({ slave: 'rebuilding' })
  const { position, alarm } = snapshot.context
  if ((isActedOn || position === 0) && alarm === null) return snapshot
  const context = { ...snapshot.context, alarm: null, position: isActedOn ? position : 0 }
  return { ...snapshot, context } as AnyMachineSnapshot
}

export function replicas(
  rules: Rules,
  { replicas: replicaCount, losses = 0 }: Configuration,
  messages: Interned<Message | null>,
) {
  const mayLose = losses > 0
  const table = machineTable(rules.brokerRole, forget)
  const all: Interned<Replica> = interned()
  const outcomes: Map<number, Outcome>[] = []
  const retries = endsOf(rules.brokerRole, 'swapRetry')
  const limits = endsOf(rules.brokerRole, 'handoverLimit')

  const lineageOf = (replica: Replica): Lineage => {
    const { begin, earlier, log } = replica
    const starts = [...earlier]
    log.forEach((entry, i) => {
      const epoch = epochOfEntry(entry)
      if (epoch > (starts.at(-1)?.epoch ?? 0)) starts.push({ epoch, start: begin + i })
    })
    return { starts: rules.told(starts, begin), end: endOf(replica) }
  }

  /** A replica in the course of one step. */
  function acting(brokerId: number, before: Replica) {
    const it: Replica = { ...before }
    const outputs: Output[] = []
    const events: { type: string }[] = []

    const answer = (event: BrokerRoleEvent) => events.push(event)
    const send = (channel: Channel, to: number, message: Message) =>
      outputs.push({ type: 'sent', channel, to, message: messages.of(message) })
    const run = () => {
      for (let event = events.shift(); event; event = events.shift()) {
        const { state, effects } = table.send(it.state, event)
        it.state = state
        for (const effect of effects) carryOut(effect)
      }
    }
    const tell = (event: { type: string }) => {
      events.push(event)
      run()
    }
    const append = (entry: number) => {
      it.log = [...it.log, entry]
      if (it.remains && it.remains.length <= it.log.length) it.remains = null
      outputs.push({ type: 'appended', epoch: epochOfEntry(entry) })
    }
    const advance = () => {
      if (it.term === null) return
      const end = endOf(it)
      // Whoever is alone confirms only what a loss of power leaves.
      if (mayLose && rules.maximalSet(it.term).every((member) => member.brokerId === brokerId))
        it.synced = end
      const confirm = rules.confirmedPosition(it.term, end)
      const visible = Math.max(confirm, rules.visiblePosition(it.term, end))
      it.term = { ...it.term, confirm }
      it.confirm = Math.max(it.confirm, confirm)
      outputs.push({ type: 'confirmed', epoch: it.term.epoch, to: confirm, visible })
    }
    const cutTo = (position: number) => {
      if (position >= endOf(it)) return
      if (position < it.confirm) {
        if (!table.at(it.state).context.head?.unclean)
          outputs.push({ type: 'broke', property: 'S9 NoTruncateBelowConfirm' })
        it.confirm = position
      }
      if (!rules.intendsCuts) it.remains = it.log
      it.log = it.log.slice(0, Math.max(0, position - it.begin))
      it.synced = Math.min(it.synced, position)
      outputs.push({ type: 'saw', what: 'a log is cut' })
    }

    /** One line for each order of the machine. */
    const carryOut = ({ type, params }: Effect) => {
      if (type === 'loadStore') {
        const { promised: epoch, incarnation, lineage, hasLost: mayHaveLost } = it
        answer({ type: 'store.loaded', epoch, incarnation, lineage, mayHaveLost })
      } else if (type === 'persistIncarnation') {
        if (table.at(it.state).matches('starting')) {
          Object.assign(it, params, { hasLost: false })
          answer({ type: 'incarnation.persisted', ...params })
        } else write({ file: 'promises', ...params })
      } else if (type === 'persistEpoch') write({ file: 'promises', epoch: params.epoch })
      else if (type === 'truncateLog') write({ file: 'log', cut: params.to })
      else if (type === 'emptyLog') write({ file: 'log', begin: params.position })
      else if (type === 'markEpoch') markEpoch(params)
      else if (type === 'openGate') answer({ type: 'gate.opened', epoch: params.epoch })
      else if (type === 'closeGate') {
        it.term = null
        it.isHolding = false
        answer({ type: 'gate.drained' })
      } else if (type === 'followMaster') followMaster(params)
      else if (type === 'stopFollowing') it.following = null
      else if (type === 'swapState') {
        if (it.term) it.term = rules.propose(it.term, params.state)
        advance()
        outputs.push({ type: 'swapped', ...params })
      } else if (type === 'countMembers') {
        if (it.term) it.term = { ...it.term, members: params.members, pending: null }
        advance()
      } else if (type === 'holdSends') it.isHolding = true
      else if (type === 'releaseSends') it.isHolding = false
      else if (type === 'raiseAlarm') outputs.push({ type: 'saw', what: params.code })
      else if (type === 'closeStore' || type === 'awaitLease') throw new Error(`the model has no ${type}`)
    }
    const write = (order: Write) => {
      it.writes = [...it.writes, order]
    }
    /** NEVER in an epoch older than one it acted in; and NEVER while the log is being cut, for then there is none. */
    const act = (epoch: number) => {
      if (epoch < it.acted) outputs.push({ type: 'broke', property: 'S2 EpochMonotonic' })
      it.acted = epoch
      if (it.writes.some(({ file }) => file === 'log'))
        outputs.push({ type: 'broke', property: 'NoLogWhileCut' })
    }
    const markEpoch = (mark: { epoch: number; members: Member[]; minInSync: number }) => {
      act(mark.epoch)
      outputs.push({ type: 'marked', epoch: mark.epoch })
      if (rules.marksEpochs) append(markOf(mark.epoch))
      const { confirm } = it
      it.term = { ...mark, brokerId, markerEnd: endOf(it), pending: null, peers: [], confirm }
      advance()
      answer({ type: 'epoch.marked', epoch: mark.epoch })
    }
    const followMaster = ({ epoch, masterId }: { epoch: number; masterId: number }) => {
      act(epoch)
      cutTo(rules.endToFollow(endOf(it), it.confirm))
      it.following = { epoch, masterId, isStreaming: false }
      const lineage = lineageOf(it)
      send('follow', masterId, {
        epoch,
        position: lineage.end,
        lastEpoch: rules.lastEpochOf(lineage),
        lineage: it.lineage,
      })
    }

    const react = (happening: Happening) => {
      if (happening.type === 'event') tell(happening.event)
      else if (happening.type === 'written') written(happening.file)
      else if (happening.type === 'follow') followed(happening.from, happening.message)
      else if (happening.type === 'answer') answered(happening.message)
      else if (happening.type === 'data') received(happening.from, happening.message)
      else if (happening.type === 'ack') acknowledged(happening.from, happening.message)
      else if (happening.type === 'send') {
        append(markOf(it.term!.epoch) + happening.value)
        advance()
      } else if (happening.type === 'retry') for (const end of retries) tell(end)
      else if (happening.type === 'limit') for (const end of limits) tell(end)
      else if (happening.type === 'retain') {
        const { from } = happening
        it.earlier = lineageOf({ ...it, log: it.log.slice(0, from - it.begin) }).starts
        it.log = it.log.slice(from - it.begin)
        it.begin = from
      } else if (happening.type === 'crash') crash(happening.end)
      else restart()
    }
    const written = (file: Write['file']) => {
      const write = it.writes.find((order) => order.file === file)!
      it.writes = it.writes.filter((order) => order !== write)
      if ('epoch' in write) {
        if (write.epoch < it.promised) outputs.push({ type: 'broke', property: 'S2 EpochMonotonic' })
        it.promised = write.epoch
        tell({ type: 'epoch.persisted', epoch: write.epoch } as BrokerRoleEvent)
      } else if ('lineage' in write) {
        const { incarnation, lineage } = write
        Object.assign(it, { incarnation, lineage })
        tell({ type: 'incarnation.persisted', incarnation, lineage } as BrokerRoleEvent)
      } else if ('cut' in write) {
        cutTo(write.cut)
        tell({ type: 'log.truncated' })
      } else {
        Object.assign(it, {
          log: [],
          begin: write.begin,
          earlier: [],
          confirm: write.begin,
          synced: write.begin,
        })
        tell({ type: 'log.emptied' })
      }
    }
    const followed = (from: number, { epoch, position, lastEpoch, lineage }: Follow) => {
      if (it.term === null || !rules.isHeard(epoch, it.term.epoch)) return
      const answerOf = (result: Answer['result'], at: number, end: number) =>
        send('answer', from, { epoch: it.term!.epoch, asked: position, result, at, end })
      const stands = rules.standing(lineageOf(it), it.begin, position, lastEpoch)
      if (stands === 'gone') return answerOf('gone', 0, it.begin)
      if (stands !== 'prefix') return answerOf('diverging', stands.epoch, stands.end)
      hear(from, epoch, lineage, position)
      answerOf('streaming', 0, 0)
    }
    const hear = (from: number, epoch: number, lineage: number, position: number) => {
      it.term = rules.heardFrom(it.term!, { epoch, brokerId: from, lineage, position })
      advance()
    }
    const answered = ({ epoch, result, at, end }: Answer) => {
      const { confirm } = it
      if (result === 'gone') return tell({ type: 'log.gone', epoch, minPosition: end } as BrokerRoleEvent)
      if (result === 'diverging') {
        const to = rules.cutPosition(lineageOf(it), { epoch: at, end })
        return tell({ type: 'log.diverged', epoch, to, confirm } as BrokerRoleEvent)
      }
      it.following = { ...it.following!, isStreaming: true }
      tell({ type: 'stream.started', epoch } as BrokerRoleEvent)
    }
    const received = (from: number, { epoch, from: position, entry, confirm }: Data) => {
      if (!it.following?.isStreaming || !rules.isHeard(epoch, it.following.epoch)) return
      if (entry !== null && rules.fits(position, endOf(it))) {
        append(entry)
        send('ack', from, { epoch: it.following.epoch, lineage: it.lineage, position: endOf(it) })
      }
      it.confirm = Math.max(it.confirm, Math.min(confirm, endOf(it)))
    }
    const acknowledged = (from: number, { epoch, lineage, position }: Ack) => {
      if (it.term && rules.isHeard(epoch, it.term.epoch)) hear(from, it.term.epoch, lineage, position)
    }
    const crash = (end: number) => {
      const hasLost = it.hasLost || end < endOf(it)
      const kept = it.log.slice(0, end - it.begin)
      const log = it.remains ? [...kept, ...it.remains.slice(kept.length)] : kept
      const confirm = Math.min(it.confirm, end)
      const nothing = { writes: [], term: null, following: null, isHolding: false, remains: null }
      Object.assign(it, nothing, { state: -1, log, confirm, hasLost })
    }
    const restart = () => {
      const { state, effects } = table.start({ brokerName: 'a', brokerId })
      it.state = state
      for (const effect of effects) carryOut(effect)
      run()
    }
    /** A host tells this whenever it looks, and it looks often. */
    const tellOfDrained = () => {
      const successor = it.isHolding && it.term ? table.at(it.state).context.successor?.brokerId : undefined
      const peer = it.term?.peers.find((known) => known.brokerId === successor)
      if (successor === undefined || !rules.isDrained(it.confirm, endOf(it), peer?.position ?? -1)) return
      tell({ type: 'log.drained', epoch: it.term!.epoch, brokerId: successor } as BrokerRoleEvent)
    }

    return {
      do(happening: Happening): { it: Replica; outputs: Output[] } {
        react(happening)
        tellOfDrained()
        if (it.state >= 0 && table.at(it.state).matches('halted'))
          outputs.push({ type: 'broke', property: 'S9 NoTruncateBelowConfirm' })
        return { it, outputs }
      },
    }
  }

  const happenings: Interned<Happening> = interned()
  return {
    table,
    all,
    happenings,
    replicaCount,
    lineageOf,
    /** A happening's number names what happens, and to whom. */
    numbered: (brokerId: number, happening: Happening): number =>
      happenings.of(happening) * replicaCount + brokerId,
    react(replica: number, numbered: number): Outcome {
      const known = outcomes[replica] ?? new Map<number, Outcome>()
      outcomes[replica] = known
      let outcome = known.get(numbered)
      if (outcome === undefined) {
        const brokerId = numbered % replicaCount
        const happening = happenings.at((numbered - brokerId) / replicaCount)
        const { it, outputs } = acting(brokerId, all.at(replica)).do(happening)
        outcome = { replica: all.of(it), outputs: settled(outputs) }
        known.set(numbered, outcome)
      }
      return outcome
    },
  }
}

/** Of several reports of what is confirmed, the last. */
function settled(outputs: Output[]): Output[] {
  const last = outputs.findLastIndex(({ type }) => type === 'confirmed')
  return outputs.filter(({ type }, i) => type !== 'confirmed' || i === last)
}
