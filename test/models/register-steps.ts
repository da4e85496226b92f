/**
 * What happens at the register, and to the controller.
 *
 * A swap may be done long AFTER it was asked for, or after who asked has died; its answer may come late or never. What the
 * controller hears before it decides is its own business (controller.ts); it is told of a new head at once, for a swap of
 * an old head fails anyhow.
 */
import type { BrokerRoleEvent } from '../../machines/broker-role.ts'
import type { GroupState, Head } from '../../machines/group-state.ts'
import { type Course, kinds } from './course.ts'
import { endOf } from './replica-words.ts'
import { production } from './rules.ts'

export function registerSteps(course: Course) {
  const { worlds, next } = course
  const { ids, swaps, registers, histories, control, own, rules, configuration } = worlds
  const { lateHeads = false, lateAnswers = false, staleVotes = false, epochs } = configuration
  const CONTROLLER_SWAP = worlds.swap + ids.length

  /** The register does a swap of a broker, or of the controller (-1); false: it expects something else. */
  function swapIn(id: number, number: number): boolean {
    const { expected, state } = swaps.at(number)!
    const old = worlds.head(next)
    if (!(old === null ? expected === 0 : rules.swaps(old, expected))) return false
    course.breaks(course.property.onSwap(old, state, id, next))
    const keepsOld = worlds.budgetLeft(next, 'rollbacks') > 0
    next[worlds.register] = course.paired(keepsOld ? 0 : 1, next[worlds.register]!, number, () =>
      swapped(next[worlds.register]!, state, keepsOld),
    )
    if (state.cause === 'handover' && old) {
      const history = histories.at(next[worlds.history]!)
      next[worlds.history] = histories.of({ ...history, handedOver: [...history.handedOver, old.epoch] })
    }
    return true
  }
  function swapped(register: number, state: GroupState, keepsOld: boolean): number {
    const { head: old, origin, earlier } = registers.at(register)
    const now: Head = { ...state, revision: (old?.revision ?? 0) + 1 }
    course.saw(`the register: ${now.cause}`)
    if (now.cause === 'expand' && now.syncStateSet.some(({ lineage }) => lineage > 0))
      course.saw('a new lineage is admitted')
    const isNewEpoch = old === null || now.epoch !== old.epoch
    return registers.of({
      head: now,
      origin: isNewEpoch ? now : origin,
      earlier: isNewEpoch && origin && lateHeads ? [...earlier, origin] : earlier,
      before: keepsOld ? old : null,
    })
  }

  // A broker's swap: done, answered, or its answer lost.
  function resolve(id: number) {
    if (course.current[worlds.swap + id] !== 0) {
      doSwap(id, worlds.swap + id)
      answer(id, worlds.swap + id)
      loseAnswer(id)
    }
    const left = course.current[worlds.left + id]!
    if (left === 0) return
    doSwap(id, worlds.left + id)
    if (lateAnswers && !swaps.at(left)!.isOrphan) answer(id, worlds.left + id)
  }
  function doSwap(id: number, column: number) {
    const number = course.current[column]!
    const swap = swaps.at(number)!
    if (swap.revision > 0) return
    course.begin(() => `the register does the swap of broker ${id}: ${JSON.stringify(worlds.head(next))}`)
    if (!swapIn(id, number)) return
    const revision = worlds.revision(next)
    next[column] = course.paired(2, number, revision, () => swaps.of({ ...swap, revision }))
    informController()
    course.end()
  }
  function answer(id: number, column: number) {
    const { current } = course
    const number = current[column]!
    const { state, revision, expected } = swaps.at(number)!
    const { writeId } = state
    if (revision === 0 && expected === worlds.revision(current)) return
    const build = (): BrokerRoleEvent =>
      revision > 0
        ? { type: 'swap.succeeded', writeId, revision }
        : { type: 'swap.conflicted', writeId, head: worlds.head(current) }
    course.begin(() => `broker ${id} hears ${JSON.stringify(build())}`)
    next[column] = 0
    if (column >= worlds.left) course.saw('a late answer')
    const held = revision > 0 ? 0 : current[worlds.register]!
    const key = number * 1_048_576 + held
    course.happens(
      id,
      course.numbered(kinds.answer, key, 0, id, () => ({ type: 'event', event: build() })),
    )
    course.end()
  }
  function loseAnswer(id: number) {
    const number = course.current[worlds.swap + id]!
    const before = course.current[worlds.left + id]!
    const { writeId } = swaps.at(number)!.state
    const event = { type: 'swap.unknown', writeId } as const
    course.begin(() => `broker ${id} does not learn what became of its swap`)
    course.happens(
      id,
      course.numbered(kinds.unknown, number, 0, id, () => ({ type: 'event', event })),
    )
    course.happens(
      id,
      course.numbered(kinds.retry, 0, 0, id, () => ({ type: 'retry' })),
    )
    if (next[worlds.swap + id] !== number) course.saw('a swap is tried again')
    // It was answered, by this; it may be done all the same.
    const left = swaps.at(next[worlds.left + id]!)
    if (left && next[worlds.left + id] !== before)
      next[worlds.left + id] = swaps.of({ ...left, isOrphan: true })
    course.end()
  }

  // --------------------------------------------------------------------------------------------- the controller

  /** It hears of the head, unless it waits for its own swap. */
  function informController() {
    const waiting = next[CONTROLLER_SWAP]!
    const control0 = next[worlds.controller]!
    if (waiting !== 0) {
      const { expected, state } = swaps.at(waiting)!
      if (expected === worlds.revision(next)) return
      next[CONTROLLER_SWAP] = 0
      next[worlds.controller] = course.paired(3, control0, next[worlds.register]!, () =>
        control.conflicted(control0, state.writeId, worlds.head(next)),
      )
    }
    const told = next[worlds.controller]!
    const now = worlds.head(next)
    if (now) {
      const hear = () => control.heard(told, now)
      next[worlds.controller] = course.paired(4, told, next[worlds.register]!, hear)
    }
  }
  function elect() {
    const { current } = course
    if (current[CONTROLLER_SWAP] !== 0) {
      course.begin(() => `the register does the controller's swap: ${JSON.stringify(worlds.head(next))}`)
      return finishElection()
    }
    const now = worlds.head(current)
    if (now !== null && now.epoch >= epochs) return
    const votes = ids.map((id) => course.able(id).vote)
    for (const ballot of control.ballots(current[worlds.controller]!, votes, course.left('unclean') > 0)) {
      const { state } = ballot.swap
      course.begin(() => `the controller elects ${state.masterId}: ${JSON.stringify(state)}`, true)
      next[worlds.controller] = ballot.state
      next[CONTROLLER_SWAP] = course.once(ballot, () =>
        swaps.of({ ...ballot.swap, revision: 0, isOrphan: false }),
      )
      if (state.cause === 'unclean') course.spend('unclean')
      if (staleVotes) course.end()
      else finishElection()
    }
  }
  function finishElection() {
    const number = next[CONTROLLER_SWAP]!
    const { writeId } = swaps.at(number)!.state
    if (!swapIn(-1, number)) return
    next[CONTROLLER_SWAP] = 0
    const before = next[worlds.controller]!
    const now = worlds.head(next)!
    next[worlds.controller] = course.paired(5, before, next[worlds.register]!, () =>
      rules.swaps === production.swaps
        ? control.heard(control.succeeded(before, writeId, now.revision), now)
        : control.tracking(now),
    )
    course.end()
  }

  // --------------------------------------------------------------------------- what a register should never do

  function rollBack() {
    const { before } = registers.at(course.current[worlds.register]!)
    if (before === null) return
    course.begin(() => `the register goes back to ${JSON.stringify(before)}`, true)
    course.spend('rollbacks')
    next[worlds.register] = registers.of({ head: before, origin: before, earlier: [], before: null })
    next[CONTROLLER_SWAP] = 0
    next[worlds.controller] = control.tracking(before)
    course.end()
  }
  /** Everything stops, the register is lost, and everything starts again. */
  function wipe() {
    course.begin(() => 'all stop; the register is lost', true)
    course.spend('wipes')
    for (const id of ids) {
      const end = endOf(worlds.replicaAt(next, id))
      if (course.able(id).isUp) {
        course.happens(id, own.numbered(id, { type: 'crash', end }))
        course.happens(id, own.numbered(id, { type: 'restart' }))
      }
      next[worlds.swap + id] = next[worlds.left + id] = 0
    }
    next.fill(0, worlds.net, worlds.history)
    next[worlds.register] = next[CONTROLLER_SWAP] = 0
    next[worlds.controller] = control.booting
    course.end()
  }

  return { resolve, elect, rollBack, wipe }
}
