/**
 * A consumer group as a system of worlds: its coordinator, its consumers, the queues at their brokers, and the network.
 *
 * The machines are those of production; around them is the worst world there may be: what is on its way arrives in any
 * order, and a timer may be over at any moment. What harms has a budget, so there is an end to it; what heals has none.
 */
import type { System } from '../support/explore.ts'
import type { GroupConfiguration } from './group-configurations.ts'
import { GroupCourse } from './group-course.ts'
import { type GroupRules, groupRules } from './group-rules.ts'
import { FIRST, groupSteps } from './group-steps.ts'
import type { MachineTable } from './interning.ts'

export type ConsumerGroup = System & {
  /** What was seen on the way: proof that a model is not about nothing. */
  readonly seen: ReadonlySet<string>
  readonly tables: { coordinator: MachineTable; rebalancer: MachineTable; queueOwner: MachineTable }
}

export function consumerGroup(
  configuration: GroupConfiguration,
  rules: GroupRules = groupRules,
): ConsumerGroup {
  const course = new GroupCourse(configuration, rules)
  const { slots, queues, coordinators } = course
  const first = settled(course)
  course.seen.clear()
  return {
    ...systemOf(course, first, configuration.messages ?? 0),
    seen: course.seen,
    tables: { coordinator: coordinators.table, rebalancer: slots.table, queueOwner: queues.table },
  }
}

function systemOf(course: GroupCourse, first: Int32Array, messages: number): System {
  const steps = groupSteps(course)
  return {
    width: course.width,
    first,
    steps(world, tell) {
      course.from(world, tell)
      steps()
    },
    step: () => ({ name: course.name(), isPerturbation: course.isPerturbation, breaks: course.broken }),
    breaks: (world) => twoOwners(course, world),
    breaksAtEnd: () => null,
    isHoped: (world) => isSettled(course, world, messages),
    hope: 'L1 EventuallySettled',
    describe: (world) => describe(course, world),
  }
}

/** The first members join, one after the other, and divide the queues; nobody has read anything. */
function settled(course: GroupCourse): Int32Array {
  const { configuration, next } = course
  next.fill(0)
  next[0] = course.coordinators.fresh(FIRST)
  for (const queue of course.queueIds) next[course.queue + queue] = course.queues.first
  for (let slot = 0; slot < configuration.members; slot++) course.toSlot(slot, { is: 'start' }, 'start')
  return firstSettled(course, next.slice())
}

/** What is on its way arrives; when nothing is, a timer is over. Nobody reads. */
function firstSettled(course: GroupCourse, from: Int32Array): Int32Array {
  const steps = groupSteps(course)
  let world = from
  for (let i = 0; i < 1_000; i++) {
    if (course.netOf(world).length === 0 && isSettled(course, world, 0)) return world
    const ways: { next: Int32Array; isArrival: boolean }[] = []
    course.from(world, (next) => {
      const name = course.name()
      if (course.isPerturbation || / (read|fenced) queue /.test(name)) return
      ways.push({ next: next.slice(), isArrival: name.startsWith('arrives') })
    })
    steps()
    const way = ways.find(({ isArrival }) => isArrival) ?? ways[0]
    if (!way) break
    world = way.next
  }
  throw new Error(`the group does not settle at all\n${describe(course, world)}`)
}

/** Two that believe to read a queue under one and the same grant. */
function twoOwners(course: GroupCourse, world: Int32Array): string | null {
  const { slotIds, queueIds } = course
  for (const queue of queueIds) {
    for (const one of slotIds) {
      const { epochs, read } = course.beliefs(world, one)
      const epoch = epochs[queue]
      if (!epoch) continue
      for (const other of slotIds) {
        if (other === one) continue
        const others = course.beliefs(world, other)
        if (others.epochs[queue] === epoch) return 'R1 OneMemberPerEpoch'
        if (read[queue] && others.read[queue]) course.seen.add('two believe to own a queue')
      }
    }
  }
  return null
}

/** Whoever lives has its share and nothing else, and all that waited is handled. */
function isSettled(course: GroupCourse, world: Int32Array, messages: number): boolean {
  const { slots, queues, coordinators, slotIds, queueIds } = course
  const all = slotIds.map((slot) => course.slotAt(world, slot))
  if (all.some(({ status }) => status === 'paused')) return false
  const living = slotIds.filter(
    (slot) => all[slot]!.status === 'up' && !slots.table.at(all[slot]!.state).matches('leaving'),
  )
  if (all.some(({ status }, slot) => status === 'up' && !living.includes(slot))) return false
  if (living.length === 0) return true
  const { told, members } = coordinators.contextOf(coordinators.all.at(world[0]!))
  const rivals = living.filter(
    (slot) => members[slots.own[slot]!.clientId]?.instance !== slots.own[slot]!.instance,
  )
  // Whoever came second under a client id that lives waits, or was refused.
  if (rivals.some((slot) => !living.some((other) => other !== slot && isSame(course, slot, other))))
    return false
  if (rivals.length === living.length) return false
  for (const slot of living.filter((slot) => !rivals.includes(slot))) {
    const it = all[slot]!
    const { generation } = slots.contextOf(it)
    const snapshot = slots.table.at(it.state)
    const isBalanced =
      snapshot.matches({ member: { balance: 'balanced' } }) ||
      snapshot.matches({ member: { balance: 'idle' } })
    if (!isBalanced || generation !== told.generation) return false
  }
  return queueIds.every((queue) => {
    const { record } = queues.all.at(world[course.queue + queue]!)
    const key = slots.keys[queue]!
    const share = told.members.find((member) => member.queues?.includes(key))
    if (!share || record.owner?.clientId !== share.clientId || record.committed !== messages) return false
    const read = all[coordinators.slotOf(share)]?.reads[queue]
    return read?.assignEpoch === record.assignEpoch && !read.isStopped
  })
}

const isSame = ({ slots }: GroupCourse, one: number, other: number): boolean =>
  slots.own[one]!.clientId === slots.own[other]!.clientId

function describe(course: GroupCourse, world: Int32Array): string {
  const { slots, queues, coordinators, slotIds, queueIds } = course
  const coordinator = coordinators.all.at(world[0]!)
  const value = (table: MachineTable, state: number) =>
    state < 0 ? '-' : JSON.stringify([table.at(state).value, table.at(state).context])
  return [
    `coordinator ${value(coordinators.table, coordinator.state)} ${Object.keys(coordinator.timers)}`,
    ...slotIds.map((slot) => {
      const { state, ...it } = course.slotAt(world, slot)
      return `consumer ${slot} ${value(slots.table, state)} ${JSON.stringify(it)}`
    }),
    ...queueIds.map((queue) => {
      const { state, ...it } = queues.all.at(world[course.queue + queue]!)
      return `queue ${queue} ${value(queues.table, state)} ${JSON.stringify(it)}`
    }),
    ...course.netOf(world).map((id) => `on its way ${course.textOf(id)}`),
  ].join('\n')
}
