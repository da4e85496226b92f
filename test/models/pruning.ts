/**
 * Takes away what can have NO effect any more, so that worlds which differ in nothing else are one world.
 *
 * A message of an epoch that its receiver has promised to go beyond is never heard. A request, or an acknowledgement, dies
 * with the process that it was sent to: a process that starts anew is no master of that epoch. A swap that expects an older
 * revision than the register has is never done.
 */
import type { Abilities } from './abilities.ts'
import type { Course } from './course.ts'
import {
  type Ack,
  type Answer,
  channels,
  type Data,
  endOf,
  type Follow,
  type Replica,
} from './replica-words.ts'
import { production } from './rules.ts'
import type { Register } from './worlds.ts'

export function pruning(course: Course): () => void {
  const { worlds, next } = course
  const { ids, messages, swaps, registers, rules, configuration } = worlds
  const [FOLLOW, ANSWER, DATA, ACK] = channels.map((_, channel) => channel) as [
    number,
    number,
    number,
    number,
  ]
  const isLenient = rules.swaps !== production.swaps

  function toMaster(i: number, j: number, able: Abilities, { term }: Replica) {
    const mayHear = (epoch: number) =>
      able.isUp &&
      (able.termEpoch === epoch || able.epoch < epoch || (able.epoch === epoch && able.mayBecomeMaster))
    const follow = worlds.wire(FOLLOW, j, i)
    if (next[follow] !== 0 && !mayHear((messages.at(next[follow]!) as Follow).epoch)) next[follow] = 0
    const ack = worlds.wire(ACK, j, i)
    if (next[ack] === 0) return
    const { epoch, lineage, position } = messages.at(next[ack]!) as Ack
    const peer = term?.epoch === epoch ? term.peers.find(({ brokerId }) => brokerId === j) : undefined
    const isKnown =
      peer && (peer.lineage > lineage || (peer.lineage === lineage && peer.position >= position))
    if (isKnown || !mayHear(epoch)) next[ack] = 0
  }

  function toSlave(i: number, j: number, { isUp }: Abilities, replica: Replica) {
    const { following, promised, confirm } = replica
    const answer = worlds.wire(ANSWER, j, i)
    if (next[answer] !== 0) {
      const { epoch, asked } = messages.at(next[answer]!) as Answer
      if (following?.epoch !== epoch || following.isStreaming || asked !== endOf(replica)) next[answer] = 0
    }
    const data = worlds.wire(DATA, j, i)
    if (next[data] === 0) return
    const message = messages.at(next[data]!) as Data
    if (!isUp || message.epoch < promised || (following && message.epoch < following.epoch)) next[data] = 0
    else if (following?.isStreaming && following.epoch === message.epoch) {
      const covers = message.from + (message.entry === null ? 0 : 1)
      if (covers <= endOf(replica) && Math.min(message.confirm, endOf(replica)) <= confirm) next[data] = 0
    }
  }

  function leftSwap(i: number) {
    const swap = swaps.at(next[worlds.left + i]!)
    if (swap === null || isLenient || worlds.budgetLeft(next, 'rollbacks') > 0) return
    const isOver = swap.revision > 0 || swap.expected !== worlds.revision(next)
    if (isOver && (swap.isOrphan || !configuration.lateAnswers)) next[worlds.left + i] = 0
  }

  /** Old heads that everybody has promised to go beyond. */
  function oldHeads(register: Register) {
    const promised = Math.min(...ids.map((id) => worlds.replicaAt(next, id).promised))
    const earlier = register.earlier.filter(({ epoch }) => epoch >= promised)
    if (earlier.length < register.earlier.length)
      next[worlds.register] = registers.of({ ...register, earlier })
  }

  return () => {
    for (const i of ids) {
      const able = course.abilities(next[i]!, i)
      const replica = worlds.replicaAt(next, i)
      for (const j of ids) {
        if (i === j) continue
        toMaster(i, j, able, replica)
        toSlave(i, j, able, replica)
      }
      leftSwap(i)
    }
    const register = registers.at(next[worlds.register]!)
    if (register.earlier.length > 0) oldHeads(register)
  }
}
