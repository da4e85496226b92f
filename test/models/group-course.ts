/**
 * A step in its course: the world that it starts from, and the one that it makes of it.
 *
 * A world is a row: the coordinator, each consumer, each queue, what is on its way, what is left of the budgets. What one
 * of them puts out goes to the others within the step, or on its way. A step ends with taking away what can have no effect.
 */
import type { GroupConfiguration } from './group-configurations.ts'
import { type CoordinatorHappening, coordinators } from './group-coordinators.ts'
import { queues } from './group-queues.ts'
import { type GroupRules, groupRules } from './group-rules.ts'
import { isOtherDivision, slots } from './group-slots.ts'
import type { CoordinatorOutput, Message, QueueHappening, Slot, SlotHappening } from './group-words.ts'
import { type Interned, interned } from './interning.ts'

export const budgetNames = [
  'joins',
  'closes',
  'crashes',
  'pauses',
  'losses',
  'delays',
  'forces',
  'expiries',
  'resets',
  'doubts',
  'coordinatorCrashes',
  'brokerCrashes',
] as const
export type GroupBudget = (typeof budgetNames)[number]

/** What one consumer believes of each queue: the grant under which it has it, 0 for none. */
type Beliefs = {
  epochs: number[]
  read: boolean[]
  generation: number
  isMember: boolean
  isLeaving: boolean
}

export class GroupCourse {
  readonly configuration: GroupConfiguration
  readonly rules: GroupRules
  readonly slots: ReturnType<typeof slots>
  readonly queues: ReturnType<typeof queues>
  readonly coordinators: ReturnType<typeof coordinators>
  readonly messages: Interned<Message> = interned()
  readonly nets: Interned<number[]> = interned([])
  readonly budgets: Interned<number[]>
  readonly slotIds: readonly number[]
  readonly queueIds: readonly number[]
  /** Columns: the coordinator is 0. */
  readonly slot: number
  readonly queue: number
  readonly net: number
  readonly budget: number
  readonly width: number
  readonly next: Int32Array
  /** What was ever seen: proof that a model is not about nothing. */
  readonly seen = new Set<string>()
  current: Int32Array
  name: () => string = () => 'start'
  isPerturbation = false
  broken: string | null = null
  #tell: (next: Int32Array) => void = () => {}
  readonly #beliefs: Beliefs[] = []
  readonly #texts: string[] = []
  readonly #changed = new Map<number, number>()

  constructor(configuration: GroupConfiguration, rules: GroupRules) {
    const { members, joins = 0, queues: queueCount } = configuration
    this.configuration = configuration
    this.rules = rules
    this.slots = slots(rules, configuration)
    this.queues = queues(rules, configuration, this.slots.own)
    this.coordinators = coordinators(rules, this.slots.own, this.slots.keys)
    this.budgets = interned(budgetNames.map((name) => configuration[name] ?? 0))
    this.slotIds = [...Array(members + joins).keys()]
    this.queueIds = [...Array(queueCount).keys()]
    this.slot = 1
    this.queue = this.slot + members + joins
    this.net = this.queue + queueCount
    this.budget = this.net + 1
    this.width = this.budget + 1
    this.next = new Int32Array(this.width)
    this.current = this.next
  }

  from(world: Int32Array, tell: (next: Int32Array) => void): void {
    this.current = world
    this.#tell = tell
  }
  begin(name: () => string, spends: GroupBudget | null = null): void {
    this.next.set(this.current)
    this.name = name
    this.isPerturbation = spends !== null
    this.broken = null
    if (spends === null) return
    const left = [...this.budgets.at(this.next[this.budget]!)]
    left[budgetNames.indexOf(spends)]!--
    this.next[this.budget] = this.budgets.of(left)
  }
  /** A step that changes nothing is none. */
  end(): void {
    this.#prune()
    if (this.broken !== null || this.next.some((value, i) => value !== this.current[i])) this.#tell(this.next)
  }
  left(budget: GroupBudget): number {
    return this.budgets.at(this.current[this.budget]!)[budgetNames.indexOf(budget)]!
  }

  slotAt(world: Int32Array, slot: number): Slot {
    return this.slots.all.at(world[this.slot + slot]!)
  }
  netOf(world: Int32Array): readonly number[] {
    return this.nets.at(world[this.net]!)
  }

  toSlot(slot: number, happening: SlotHappening, key = JSON.stringify(happening)): void {
    const at = this.slot + slot
    const before = this.next[at]!
    const outcome = this.slots.react(slot, before, key, happening)
    this.next[at] = outcome.slot
    for (const output of outcome.outputs) {
      if (output.out === 'sent') this.send(output.message)
      else if (output.out === 'beat') this.#beat(slot, output.generation)
      else if (output.out === 'began') {
        const { queue, assignEpoch, position } = output
        this.toQueue(queue, { is: 'began', assignEpoch, position })
      } else if (output.out === 'finished')
        this.toQueue(output.queue, { is: 'handled', offset: output.offset })
      else this.#noteWhat(output)
    }
    if (outcome.slot !== before && this.slots.all.at(outcome.slot).status === 'gone') this.#orphan(slot)
  }
  /** An event of its machine, when its host lives to tell it. */
  event(slot: number, event: { type: string }): void {
    if (this.slotAt(this.next, slot).status === 'up') this.toSlot(slot, { is: 'event', event })
  }
  toQueue(queue: number, happening: QueueHappening, key = JSON.stringify(happening)): void {
    const at = this.queue + queue
    const outcome = this.queues.react(queue, this.next[at]!, key, happening)
    this.next[at] = outcome.queue
    for (const output of outcome.outputs) {
      if (output.out === 'sent') this.send(output.message)
      else if (output.out === 'forced') this.#noteForce(output.owner)
      else this.#noteWhat(output)
    }
  }
  /** Whoever lives and is reached is not forced. */
  #noteForce(owner: string): void {
    this.seen.add('a forced hand-over')
    const lives = (slot: number) =>
      this.slots.own[slot]!.clientId === owner && this.slotAt(this.next, slot).status === 'up'
    if (this.configuration.isClean && this.slotIds.some(lives)) this.broken ??= 'R6 NoForceWhenClean'
  }
  /** `isHeard`: whoever has asked waits for the answer. */
  toCoordinator(
    happening: CoordinatorHappening,
    isHeard = true,
    told: (answer: Extract<CoordinatorOutput, { out: 'told' }>) => void = () => {},
  ): void {
    const outcome = this.coordinators.react(this.next[0]!, JSON.stringify(happening), happening)
    this.next[0] = outcome.coordinator
    for (const output of outcome.outputs) {
      if (output.out === 'told') told(output)
      else this.#carryCoordinator(output, isHeard)
    }
  }
  #carryCoordinator(output: Exclude<CoordinatorOutput, { out: 'told' }>, isHeard: boolean): void {
    if (output.out === 'pushed') {
      const { generation, members } = output.told
      const clientIds = members.map(({ clientId }) => clientId)
      for (const told of members) {
        if (output.to !== null && output.to !== told.clientId) continue
        const slot = this.coordinators.slotOf(told)
        this.send({ kind: 'push', slot, generation, members: clientIds, share: [...(told.queues ?? [])] })
      }
    } else if (output.out === 'saw' || output.out === 'broke') this.#noteWhat(output)
    else if (!isHeard) return
    else if (output.out === 'accepted') this.event(output.slot, { type: 'join.accepted' })
    else if (output.out === 'rejected') this.event(output.slot, { type: 'beat.rejected' })
    else if (output.out === 'refused') {
      const { slot, isFinal } = output
      this.seen.add('a client id that is in use is refused')
      this.event(slot, { type: 'join.refused', code: 'NO_PERMISSION', message: '', isFinal } as never)
    }
  }
  #beat(slot: number, generation: number): void {
    const { clientId, instance } = this.slots.own[slot]!
    this.toCoordinator({
      is: 'event',
      event: { type: 'member.beat', clientId, instance, generation } as never,
    })
  }
  #noteWhat({ out, what }: { out: 'broke' | 'saw'; what: string }): void {
    if (out === 'broke') this.broken ??= what
    else this.seen.add(what)
  }

  /** On its way, when there is anybody whom it may reach. */
  send(message: Message): void {
    const to = addresseeOf(message)
    if (to !== null) {
      const { status } = this.slotAt(this.next, to)
      if (status !== 'up' && status !== 'paused') return
    }
    this.#changeNet('+', this.messages.of(message))
  }
  taken(message: number): void {
    this.#changeNet('-', message)
  }
  #changeNet(how: '+' | '-', message: number): void {
    const net = this.next[this.net]!
    const key = (net * 65_536 + message) * 2 + (how === '+' ? 0 : 1)
    let changed = this.#changed.get(key)
    if (changed === undefined) {
      const list = [...this.nets.at(net)]
      const isAlike = ['push', 'commit', 'join'].includes(this.messages.at(message).kind)
      const at = list.indexOf(message)
      if (how === '-') list.splice(at, 1)
      else if (at < 0 || !isAlike) list.push(message)
      changed = this.nets.of(list.sort((a, b) => a - b))
      this.#changed.set(key, changed)
    }
    this.next[this.net] = changed
  }

  /** Nobody hears the answers to what this consumer has asked. */
  #orphan(slot: number): void {
    for (const id of [...this.netOf(this.next)]) {
      const message = this.messages.at(id)
      if (message.slot !== slot) continue
      if (addresseeOf(message) !== null) this.taken(id)
      else if ('isOrphan' in message && !message.isOrphan) {
        this.taken(id)
        this.send({ ...message, isOrphan: true })
      }
    }
  }
  /** A division that is older than the one its reader follows, or the same once more, has no effect. */
  #prune(): void {
    for (const id of [...this.netOf(this.next)]) {
      const message = this.messages.at(id)
      if (message.kind !== 'push') continue
      const { generation, isMember, isLeaving } = this.beliefs(this.next, message.slot)
      const isOld = message.generation < generation && this.rules.rebalancer === groupRules.rebalancer
      const isRepeated = message.generation === generation && isMember
      if (isRepeated && this.#isOther(message)) this.broken ??= 'OneDivisionPerGeneration'
      if (isOld || isLeaving || isRepeated) this.taken(id)
    }
  }

  #isOther(push: Extract<Message, { kind: 'push' }>): boolean {
    return isOtherDivision(this.slots.contextOf(this.slotAt(this.next, push.slot)), push)
  }

  beliefs(world: Int32Array, slot: number): Beliefs {
    const id = world[this.slot + slot]!
    let known = this.#beliefs[id]
    if (!known) {
      const it = this.slots.all.at(id)
      known = { epochs: [], read: [], generation: 0, isMember: false, isLeaving: false }
      if (it.state >= 0) {
        const { held, generation } = this.slots.contextOf(it)
        const snapshot = this.slots.table.at(it.state)
        const epochOf = (key: string) => {
          const holding = held[key]
          return holding?.status === 'owned' || holding?.status === 'draining' ? holding.assignEpoch : 0
        }
        known = {
          epochs: this.slots.keys.map(epochOf),
          read: this.slots.keys.map((key) => held[key]?.status === 'owned'),
          generation,
          isMember: snapshot.matches('member'),
          isLeaving: snapshot.matches('leaving'),
        }
      }
      this.#beliefs[id] = known
    }
    return known
  }

  textOf(message: number): string {
    this.#texts[message] ??= JSON.stringify(this.messages.at(message))
    return this.#texts[message]
  }
}

/** The consumer that it goes to; null: a broker or the coordinator. */
export const addresseeOf = (message: Message): number | null =>
  ['push', 'unanswered', 'granted', 'refused', 'failed', 'released'].includes(message.kind)
    ? message.slot
    : null
