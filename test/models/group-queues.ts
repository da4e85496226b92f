/**
 * One queue at its broker: the real queue-owner, and a host that records and answers as actors/broker does.
 *
 * A record is in the log at once and confirmed later; a master that follows finds either all of it or what was confirmed.
 */
import { isLater } from '../../machines/generation.ts'
import { isSameClaim, type QueueClaim } from '../../machines/queue-owner.ts'
import type { GroupConfiguration } from './group-configurations.ts'
import type { GroupRules } from './group-rules.ts'
import type { Asked, Message, Pending, Queue, QueueHappening, QueueOutput } from './group-words.ts'
import { type Effect, type Interned, interned, type MachineTable, machineTable } from './interning.ts'

export type QueueOutcome = { queue: number; outputs: QueueOutput[] }
type Claim = Extract<Message, { kind: 'claim' }>
type Release = Extract<Message, { kind: 'release' }>

export const words = {
  oneMember: 'R1 OneMemberPerEpoch',
  rising: 'R2 EpochsRise',
  ownersCommit: 'R3 OwnersCommit',
  forward: 'R3 CommittedMonotone',
  handled: 'R3 CommittedIsHandled',
  noSkip: 'R6 NothingSkipped',
  once: 'R6 ExactlyOnceWhenClean',
  oneOwner: 'AtMostOneOwner',
}

export function queues(
  rules: GroupRules,
  { brokerCrashes = 0, isClean = false }: GroupConfiguration,
  own: readonly { clientId: string; instance: string }[],
) {
  const clientIdOf = (slot: number): string => own[slot]!.clientId
  const claimOf = ({ slot, generation }: { slot: number; generation: number }): QueueClaim =>
    rules.claimant({ ...own[slot]!, generation })
  const table: MachineTable = machineTable(rules.queueOwner)
  const mayCrash = brokerCrashes > 0
  const all: Interned<Queue> = interned()
  const known: Map<string, QueueOutcome>[] = []
  const first = all.of({
    state: table.start({ assignEpoch: 0, owner: null }).state,
    waiting: null,
    record: { assignEpoch: 0, owner: null, committed: 0 },
    confirmed: null,
    answers: [],
    handled: 0,
    top: [0, -1],
  })

  function acting(index: number, before: Queue) {
    const it: Queue = { ...before, answers: [...before.answers] }
    const outputs: QueueOutput[] = []
    const broke = (what: string) => outputs.push({ out: 'broke', what })
    const saw = (what: string) => outputs.push({ out: 'saw', what })
    const send = (message: Message) => outputs.push({ out: 'sent', message })

    const record = (record: Queue['record']) => {
      const before = it.record
      it.confirmed ??= before
      it.record = rules.recorded(before, record)
      const all = (1 << it.record.committed) - 1
      if ((it.handled & all) !== all) broke(words.handled)
    }
    const later = (answer: Pending) => {
      it.answers.push(answer)
      if (!rules.awaitsRecords) confirmAnswers()
    }
    const confirmAnswers = () => {
      const answers = it.answers
      it.answers = []
      for (const answer of answers) {
        if (answer.to === 'claim') granted(answer)
        else if (!answer.release.isOrphan)
          send({ kind: 'released', release: answer.release, slot: answer.release.slot, queue: index })
      }
    }
    const granted = ({ assignEpoch, slot, generation, isOrphan }: Extract<Pending, { to: 'claim' }>) => {
      const [top, by] = it.top
      if (assignEpoch < top) broke(words.rising)
      if (assignEpoch === top && by !== slot) broke(words.oneMember)
      it.top = [assignEpoch, slot]
      if (isOrphan) return
      const { committed } = it.record
      send({ kind: 'granted', queue: index, slot, generation, assignEpoch, committed })
    }

    /** As the machine orders; `asked` is answered by it when it is settled at once. */
    const tell = (event: { type: string }, asked: Asked | null, release: Release | null = null): boolean => {
      let open = asked
      const { state, effects } = table.send(it.state, event)
      it.state = state
      const answerOf = (claim: QueueClaim, isGrant: boolean) => {
        const { waiting } = it
        const isWaiting = waiting !== null && isSameClaim(claim, claimOf(waiting))
        if (open !== null && (isGrant || !isWaiting)) {
          const own = open
          open = null
          return own
        }
        if (!isWaiting) return null
        it.waiting = null
        return waiting
      }
      for (const { type, params } of effects as Effect[]) {
        if (type === 'recordOwner') {
          const { assignEpoch, owner, offset } = params
          if (release && owner === null) commits(release)
          record({ assignEpoch, owner, committed: offset ?? it.record.committed })
        } else if (type === 'grantQueue') {
          const isFromWaiting = open === null
          const answer = answerOf(params, true)
          if (isFromWaiting && answer && release) saw('a waiting claim is granted by a release')
          if (answer) later({ to: 'claim', assignEpoch: params.assignEpoch, ...answer })
        } else if (type === 'refuseClaim') {
          const answer = answerOf(params, false)
          if (answer && !answer.isOrphan) {
            const { clientId: owner = null, generation: ownerGeneration = 0 } = params.owner ?? {}
            const { slot, generation } = answer
            send({ kind: 'refused', queue: index, slot, generation, owner, ownerGeneration })
          }
        }
      }
      return open !== null
    }
    /** Whoever commits is to be the owner, under its grant. A release that says no grant rests on its generation. */
    const commits = ({
      slot,
      assignEpoch,
      generation = 0,
    }: {
      slot: number
      assignEpoch: number
      generation?: number
    }) => {
      const { owner, assignEpoch: epoch } = it.record
      const isOwners = owner?.clientId === clientIdOf(slot)
      const isCovered = assignEpoch === 0 ? owner && owner.generation <= generation : assignEpoch === epoch
      if (!isOwners || !isCovered) broke(words.ownersCommit)
    }

    const claim = ({ slot, generation, force, waits, isOrphan }: Claim) => {
      const ownerBefore = it.record.owner
      const asked = { slot, generation, isOrphan }
      const isOpen = tell(
        { type: 'queue.claimed', ...claimOf({ slot, generation }), force, waits } as never,
        asked,
      )
      if (isOpen) it.waiting = asked
      const { owner } = it.record
      if (ownerBefore && owner && owner.clientId !== ownerBefore.clientId) {
        // Only a LATER list of members says that an owner is gone.
        if (!force || !isLater(generation, ownerBefore.generation)) broke(words.oneOwner)
        outputs.push({ out: 'forced', owner: ownerBefore.clientId })
      }
    }
    const release = (message: Release) => {
      const { slot, generation, assignEpoch, offset } = message
      const news = offset !== null && rules.isAhead(offset, it.record.committed) ? offset : null
      const event = {
        type: 'queue.released',
        ...claimOf({ slot, generation }),
        assignEpoch,
        offset: news,
      }
      tell(event as never, null, message)
      later({ to: 'release', release: message })
    }
    /** Whoever pops wants the queue to be free. */
    const gone = ({ slot, generation }: Extract<Message, { kind: 'gone' }>) => {
      const { assignEpoch, owner: before } = it.record
      tell({ type: 'owner.gone', clientId: clientIdOf(slot), generation } as never, null)
      const { owner } = it.record
      if (!before || (it.record.assignEpoch === assignEpoch && owner)) return
      if (!isLater(generation, before.generation) || before.clientId !== clientIdOf(slot))
        broke(words.oneOwner)
      saw('a queue is freed whose owner is gone')
      outputs.push({ out: 'forced', owner: before.clientId })
    }
    const commit = ({ slot, assignEpoch, offset }: Extract<Message, { kind: 'commit' }>) => {
      const { committed } = it.record
      if (!rules.mayCommit(it.record, clientIdOf(slot), assignEpoch)) {
        saw('a late commit is refused')
        return
      }
      if (!rules.isAhead(offset, committed)) return
      commits({ slot, assignEpoch: assignEpoch || -1 })
      if (offset <= committed) broke(words.forward)
      record({ ...it.record, committed: offset })
    }
    const failOver = (keeps: boolean) => {
      if (!keeps && it.confirmed) it.record = it.confirmed
      it.record = rules.restored(it.record)
      it.confirmed = null
      const { assignEpoch, owner } = it.record
      const { waiting, answers } = it
      it.state = table.start({ assignEpoch, owner }).state
      it.answers = []
      it.waiting = null
      for (const asked of [waiting, ...answers.map((answer) => (answer.to === 'claim' ? answer : null))]) {
        if (asked && !asked.isOrphan)
          send({ kind: 'failed', queue: index, slot: asked.slot, generation: asked.generation })
      }
      for (const answer of answers)
        if (answer.to === 'release' && !answer.release.isOrphan) send(answer.release)
    }

    const happens = (happening: QueueHappening) => {
      switch (happening.is) {
        case 'message': {
          const { message } = happening
          if (message.kind === 'claim') claim(message)
          else if (message.kind === 'release') release(message)
          else if (message.kind === 'commit') commit(message)
          else if (message.kind === 'gone') gone(message)
          break
        }
        case 'expiry': {
          tell({ type: 'claim.expired', ...claimOf(it.waiting!) } as never, null)
          break
        }
        case 'reset':
          tell({ type: 'owner.unseated', offset: 0 } as never, null)
          break
        case 'confirm':
          it.confirmed = null
          confirmAnswers()
          break
        case 'loss':
        case 'failover':
          failOver(happening.is === 'failover')
          break
        case 'handled': {
          const bit = 1 << happening.offset
          if (isClean && it.handled & bit) broke(words.once)
          it.handled |= bit
          break
        }
        case 'began':
          if (happening.assignEpoch === it.record.assignEpoch && happening.position > it.record.committed) {
            const all = (1 << happening.position) - 1
            if ((it.handled & all) !== all) broke(words.noSkip)
          }
      }
      if (mayCrash && rules.awaitsRecords) {
        if (it.confirmed && JSON.stringify(it.confirmed) === JSON.stringify(it.record)) it.confirmed = null
        if (!it.confirmed) confirmAnswers()
      } else if (!mayCrash) {
        it.confirmed = null
        confirmAnswers()
      }
    }
    return { it, outputs, happens }
  }

  return {
    table,
    all,
    first,
    /** What becomes of a queue: computed once. */
    react(index: number, queue: number, key: string, happening: QueueHappening): QueueOutcome {
      const at = queue * 8 + index
      known[at] ??= new Map()
      let outcome = known[at].get(key)
      if (!outcome) {
        const { it, outputs, happens } = acting(index, all.at(queue))
        happens(happening)
        outcome = { queue: all.of(it), outputs }
        known[at].set(key, outcome)
      }
      return outcome
    },
  }
}
