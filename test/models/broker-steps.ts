/**
 * What may happen at a broker.
 *
 * What travels is kept as the newest message of each kind between two replicas; delivering does not take it away, so it
 * may arrive late, twice or NEVER. What harms has a budget; what heals has none.
 */
import type { Head } from '../../machines/group-state.ts'
import { ANSWER, type Course, DATA, FOLLOW, kinds } from './course.ts'
import { channels, endOf, type Happening } from './replica-words.ts'

export function brokerSteps(course: Course) {
  const { worlds, next } = course
  const { ids, messages, swaps, registers, own, configuration } = worlds
  const { lateMessages = false, hasGaps = false, sends } = configuration

  const simply = (kind: number, id: number, happening: Happening) =>
    course.happens(
      id,
      course.numbered(kind, 0, 0, id, () => happening),
    )

  function steps(id: number) {
    const able = course.able(id)
    if (!able.isUp) return restart(id)
    hearHeads(id)
    write(id)
    hearMessages(id)
    sendData(id)
    if (able.acceptsSends) takeSend(id)
    if (able.isServing) change(id)
    if (able.isDraining) giveUpHandover(id)
    crash(id)
  }

  function restart(id: number) {
    course.begin(() => `broker ${id} starts`)
    simply(kinds.restart, id, { type: 'restart' })
    course.end()
  }
  function hearHeads(id: number) {
    const { origin, earlier } = registers.at(course.current[worlds.register]!)
    if (origin) hearHead(id, origin)
    for (const old of earlier) hearHead(id, old)
  }
  function hearHead(id: number, head: Head) {
    const known = course.able(id).head
    // Within one mastership members come and go; only its master cares, and it made the change.
    if (known !== null && (head.revision <= known.revision || head.epoch <= known.epoch)) return
    course.begin(() => `broker ${id} hears that ${head.masterId} is master of epoch ${head.epoch}`)
    const event = { type: 'head.changed', head } as const
    const number = course.once(head, () => own.happenings.of({ type: 'event', event }))
    if (course.happens(id, number * ids.length + id)) course.end()
  }
  function write(id: number) {
    const { writes } = worlds.replicaAt(course.current, id)
    for (const order of writes) {
      const { file } = order
      if (order !== writes.find((other) => other.file === file)) continue
      course.begin(() => `broker ${id} has on disk: ${JSON.stringify(order)}`)
      const key = file === 'log' ? 1 : 0
      course.happens(
        id,
        course.numbered(kinds.written, key, 0, id, () => ({ type: 'written', file })),
      )
      course.end()
    }
  }

  // ------------------------------------------------------------------------------------------------ messages

  const hearing = (channel: number, message: number, from: number, id: number) =>
    course.numbered(
      channel,
      message,
      from,
      id,
      () => ({ type: channels[channel]!, from, message: messages.at(message) }) as Happening,
    )
  function hearMessages(id: number) {
    for (const from of ids) {
      if (from === id) continue
      for (let channel = 0; channel < channels.length; channel++) hearMessage(id, from, channel)
    }
  }
  function hearMessage(id: number, from: number, channel: number) {
    const at = worlds.wire(channel, from, id)
    const message = course.current[at]!
    if (message === 0) return
    const says = () => `${channels[channel]} of ${from}: ${JSON.stringify(messages.at(message))}`
    course.begin(() => `broker ${id} hears ${says()}`)
    if (channel === FOLLOW) next[at] = 0 // Asked again, it would answer the same.
    const isHeard = course.happens(id, hearing(channel, message, from, id))
    if (channel === FOLLOW && !lateMessages) bringAnswer(id, from)
    if (isHeard) course.end()
  }
  /** If who asked still waits for it. */
  function bringAnswer(id: number, to: number) {
    const at = worlds.wire(ANSWER, id, to)
    course.prune()
    if (next[at] !== 0) course.happens(to, hearing(ANSWER, next[at]!, id, to))
    next[at] = 0
  }
  function sendData(id: number) {
    const { termEpoch, begin, data } = course.able(id)
    if (termEpoch === 0) return
    for (const to of ids) {
      const replica = worlds.replicaAt(course.current, to)
      if (to === id || !replica.following?.isStreaming || replica.following.masterId !== id) continue
      const from = endOf(replica) - begin
      if (data[from]) send(id, to, data[from])
      if (hasGaps && data[from + 1]) send(id, to, data[from + 1]!)
    }
  }
  function send(id: number, to: number, message: number) {
    const at = worlds.wire(DATA, id, to)
    course.begin(() => `broker ${id} sends to ${to}: ${JSON.stringify(messages.at(message))}`)
    if (lateMessages) {
      next[at] = message
      course.prune()
      if (next[at] !== course.current[at]) course.end()
    } else if (course.happens(to, hearing(DATA, message, id, to))) course.end()
  }

  // -------------------------------------------------------------------------------------------------- a master

  function takeSend(id: number) {
    const value = sends - course.left('sends') + 1
    if (value > sends) return
    course.begin(() => `broker ${id} takes message ${value}`)
    course.spend('sends')
    course.breaks(course.property.onSend(worlds.histories.at(next[worlds.history]!), course.able(id)))
    course.happens(
      id,
      course.numbered(kinds.send, value, 0, id, () => ({ type: 'send', value })),
    )
    course.end()
  }
  function change(id: number) {
    const { proposals, silences, returns, isSettled } = course.able(id)
    if (course.left('proposals') > 0) for (const report of proposals) propose(id, report)
    if (course.left('silences') > 0) for (const report of silences) missesMember(id, report)
    for (const report of returns) hasMemberAgain(id, report)
    if (course.left('handovers') > 0 && isSettled) for (const to of ids) handOver(id, to)
    if (course.left('retentions') > 0) dropBeginning(id)
  }
  function propose(id: number, report: number) {
    course.begin(() => `broker ${id} proposes: ${swaps.at(next[worlds.swap + id]!)?.state.cause}`, true)
    course.spend('proposals')
    course.happens(id, report)
    course.end()
  }
  function missesMember(id: number, report: number) {
    course.begin(() => `broker ${id} hears nothing of a member that it cannot spare`, true)
    course.spend('silences')
    if (course.happens(id, report)) course.end()
  }
  function hasMemberAgain(id: number, report: number) {
    course.begin(() => `broker ${id} hears of a member again`)
    course.saw('a member that seemed gone is back')
    if (course.happens(id, report)) course.end()
  }
  function handOver(id: number, to: number) {
    const { incarnation } = worlds.replicaAt(course.current, to)
    course.begin(() => `broker ${id} is asked to hand over to ${to}`, true)
    course.spend('handovers')
    const event = { type: 'handover.requested', brokerId: to, incarnation } as const
    const isHeard = course.happens(id, own.numbered(id, { type: 'event', event }))
    if (isHeard && worlds.replicaAt(next, id).isHolding) course.end()
  }
  function giveUpHandover(id: number) {
    course.begin(() => `broker ${id} gives up handing over`)
    simply(kinds.limit, id, { type: 'limit' })
    course.end()
  }
  /** The last piece of a log always stays. */
  function dropBeginning(id: number) {
    const replica = worlds.replicaAt(course.current, id)
    const from = Math.min(replica.confirm, endOf(replica) - 1)
    if (from <= replica.begin) return
    course.begin(() => `broker ${id} drops what lies before ${from}`, true)
    course.spend('retentions')
    course.happens(id, own.numbered(id, { type: 'retain', from }))
    course.end()
  }

  function crash(id: number) {
    const replica = worlds.replicaAt(course.current, id)
    const end = endOf(replica)
    if (course.left('crashes') > 0) fall(id, 'crashes', end, () => 'is killed')
    if (course.left('losses') === 0) return
    for (let to = Math.max(replica.begin, replica.synced); to < end; to++)
      fall(id, 'losses', to, () => `loses power and all from ${to} on`)
  }
  function fall(id: number, budget: 'crashes' | 'losses', end: number, how: () => string) {
    course.begin(() => `broker ${id} ${how()}`, true)
    course.spend(budget)
    course.happens(
      id,
      course.numbered(kinds.crash, end, 0, id, () => ({ type: 'crash', end })),
    )
    course.leaveSwap(id, true)
    course.orphanLeft(id)
    course.end()
  }

  return { steps }
}
