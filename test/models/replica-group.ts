/**
 * A broker group as a system of worlds: replicas, one controller, the register, and the network between them.
 *
 * The machines and the rules are those of production; around them is the worst world there may be. What harms has a budget
 * (crashes, elections, proposals, handovers), so there is an end to it; what heals has none.
 */
import { type Head, memberOf } from '../../machines/group-state.ts'
import type { System } from '../support/explore.ts'
import { brokerSteps } from './broker-steps.ts'
import type { Configuration } from './configurations.ts'
import { Course } from './course.ts'
import { names } from './history.ts'
import type { MachineTable } from './interning.ts'
import { registerSteps } from './register-steps.ts'
import { endOf, type Replica } from './replica-words.ts'
import { production, type Rules } from './rules.ts'
import { Worlds } from './worlds.ts'

export type ReplicaGroup = System & {
  /** What was seen on the way: proof that a model is not about nothing. */
  readonly seen: ReadonlySet<string>
  readonly tables: { brokerRole: MachineTable; controller: MachineTable }
}

export function replicaGroup(configuration: Configuration, rules: Rules = production): ReplicaGroup {
  const worlds = new Worlds(configuration, rules)
  const course = new Course(worlds)
  const { ids, own, control, histories } = worlds
  const broker = brokerSteps(course)
  const register = registerSteps(course)
  const { property } = course

  return {
    width: worlds.width,
    first: firstOf(course),
    steps(world, tell) {
      course.from(world, tell)
      for (const id of ids) {
        broker.steps(id)
        register.resolve(id)
      }
      register.elect()
      if (course.left('rollbacks') > 0) register.rollBack()
      if (course.left('wipes') > 0) register.wipe()
    },
    step: () => ({ name: course.name(), isPerturbation: course.isPerturbation, breaks: course.broken }),
    breaks: (world) => property.of(world, histories.at(world[worlds.history]!)),
    breaksAtEnd: (world) => (isAtRest(course, world) ? null : names.served),
    describe: (world) => worlds.describe(world),
    seen: course.seen,
    tables: { brokerRole: own.table, controller: control.table },
  }
}

const blank: Replica = {
  state: -1,
  promised: 0,
  incarnation: 0,
  lineage: 0,
  log: [],
  begin: 0,
  earlier: [],
  acted: 0,
  confirm: 0,
  synced: 0,
  hasLost: false,
  remains: null,
  writes: [],
  term: null,
  following: null,
  isHolding: false,
}

/** Replica 0 is master and all the others follow; or nobody has ever been anything. */
function firstOf(course: Course): Int32Array {
  const { worlds, next } = course
  const { ids, own, control, registers, configuration } = worlds
  const origin: Head | null = configuration.startsEmpty
    ? null
    : {
        writeId: 'first',
        epoch: 1,
        masterId: 0,
        masterIncarnation: 1,
        syncStateSet: ids.map((brokerId) => ({ brokerId, lineage: 0 })),
        replicas: ids.length,
        minInSync: configuration.minInSync,
        replication: 'sync',
        cause: 'boot',
        unclean: false,
        revision: 1,
      }
  next[worlds.register] = registers.of({ head: origin, origin, earlier: [], before: null })
  next[worlds.controller] = origin ? control.tracking(origin) : control.booting
  next[worlds.budget] = worlds.budgets
  for (const id of ids) {
    next[id] = own.all.of(blank)
    course.happens(id, own.numbered(id, { type: 'restart' }))
    if (!origin) continue
    course.happens(id, own.numbered(id, { type: 'event', event: { type: 'head.changed', head: origin } }))
    course.happens(id, own.numbered(id, { type: 'written', file: 'promises' }))
  }
  return next.slice()
}

/** Where nothing can happen any more, the master that the register names serves, and everything is everywhere. */
function isAtRest({ worlds, abilities }: Course, world: Int32Array): boolean {
  const { ids, configuration } = worlds
  const head = worlds.head(world)
  if (head === null) return false
  const { masterId, masterIncarnation, epoch, syncStateSet } = head
  const isEligible = (id: number) =>
    memberOf(syncStateSet, id)?.lineage === worlds.replicaAt(world, id).lineage
  const master = worlds.replicaAt(world, masterId!)
  // Who may be elected, and cannot be since elections are used up.
  if (master.incarnation !== masterIncarnation) return epoch >= configuration.epochs || !ids.some(isEligible)
  const isServed = ids.every((id) => {
    const { term, following } = worlds.replicaAt(world, id)
    if (id !== masterId) return following?.isStreaming
    return term?.epoch === epoch && abilities(world[id]!, id).isSettled
  })
  // A member that may have lost something counts again only when the set is changed.
  const mayConfirm =
    syncStateSet.length >= configuration.minInSync &&
    syncStateSet.every(({ brokerId }) => isEligible(brokerId))
  const { hasTooFew } = abilities(world[masterId!]!, masterId!)
  return isServed && (!mayConfirm || (!hasTooFew && master.confirm === endOf(master)))
}
