/**
 * A step in its course: the world that it starts from, and the one that it makes of it.
 *
 * Whatever happens to a replica goes through `happens`: what the replica puts out then is in the world, and the history
 * has heard of it. A step ends with taking away what can have no effect any more.
 */
import { type Abilities, abilitiesIn } from './abilities.ts'
import { properties } from './history.ts'
import { pruning } from './pruning.ts'
import { channels, endOf, type Happening, type Output } from './replica-words.ts'
import { production } from './rules.ts'
import type { Budget, Worlds } from './worlds.ts'

export const FOLLOW = 0
export const ANSWER = 1
export const DATA = 2

/** Kinds of happenings, for their numbers; the first ones are those of messages, one for each channel. */
export const kinds = {
  restart: 4,
  written: 5,
  retry: 6,
  limit: 7,
  send: 8,
  head: 9,
  crash: 10,
  answer: 11,
  unknown: 12,
}

export class Course {
  readonly worlds: Worlds
  readonly next: Int32Array
  readonly abilities: (replica: number, id: number) => Abilities
  readonly property: ReturnType<typeof properties>
  /** What was ever seen: proof that a model is not about nothing. */
  readonly seen = new Set<string>()
  /** Messages of other epochs are heard, so none is ever out of date. */
  readonly isHarsh: boolean
  readonly prune: () => void
  current: Int32Array
  name: () => string = () => 'start'
  isPerturbation = false
  broken: string | null = null
  #tell: (next: Int32Array) => void = () => {}
  readonly #numbers = [...Array(16)].map(() => new Map<number, number>())
  readonly #pairs = [...Array(8)].map(() => new Map<number, number>())
  readonly #computed = new Map<object, number>()

  constructor(worlds: Worlds) {
    this.worlds = worlds
    this.next = new Int32Array(worlds.width)
    this.current = new Int32Array(worlds.width)
    this.abilities = abilitiesIn(worlds)
    this.isHarsh = worlds.rules.isHeard !== production.isHeard
    this.property = properties(this)
    this.prune = this.isHarsh ? () => {} : pruning(this)
  }

  /** The abilities of a replica in the world that the step starts from. */
  able(id: number): Abilities {
    return this.abilities(this.current[id]!, id)
  }

  from(world: Int32Array, tell: (next: Int32Array) => void): void {
    this.current = world
    this.#tell = tell
  }
  begin(name: () => string, isPerturbation = false): void {
    this.next.set(this.current)
    this.name = name
    this.isPerturbation = isPerturbation
    this.broken = null
  }
  end(): void {
    this.prune()
    this.#tell(this.next)
  }
  breaks(property: string | null): void {
    this.broken ??= property
  }
  saw(what: string): void {
    this.seen.add(what)
  }
  left(budget: Budget): number {
    return this.worlds.budgetLeft(this.current, budget)
  }
  spend(budget: Budget): void {
    this.worlds.spend(this.next, budget)
  }

  /** Something happens to a replica; false: it does not care. */
  happens(id: number, happening: number): boolean {
    const { next, worlds } = this
    const before = next[id]!
    const outcome = worlds.own.react(before, happening)
    if (outcome.replica === before && outcome.outputs.length === 0) return false
    next[id] = outcome.replica
    const isDeposed = this.abilities(before, id).termEpoch > this.abilities(outcome.replica, id).termEpoch
    if (isDeposed && !worlds.configuration.lateMessages) this.#leaveData(id, before)
    for (const output of outcome.outputs) this.#carry(id, output)
    return true
  }
  /** A mastership ends, and what it sent last is still on its way. */
  #leaveData(id: number, before: number): void {
    const { worlds, next } = this
    const { data, begin, termEpoch } = this.abilities(before, id)
    for (const to of worlds.ids) {
      const replica = worlds.replicaAt(next, to)
      if (to !== id && replica.following?.epoch === termEpoch)
        next[worlds.wire(DATA, id, to)] = data[endOf(replica) - begin] ?? 0
    }
  }
  #carry(id: number, output: Output): void {
    const { next, worlds } = this
    if (output.type === 'sent') {
      next[worlds.wire(channels.indexOf(output.channel), id, output.to)] = output.message
      if (output.channel === 'follow' && !this.isHarsh) this.#forgetEarlier(id)
    } else if (output.type === 'swapped') {
      const { expected, state } = output
      this.leaveSwap(id)
      next[worlds.swap + id] = this.once(output, () =>
        worlds.swaps.of({ expected, state, revision: 0, isOrphan: false }),
      )
    } else if (output.type === 'broke') this.breaks(output.property)
    else if (output.type === 'saw') this.saw(output.what)
    else {
      const history = worlds.histories.at(next[worlds.history]!)
      const changed = this.property.after(history, output, id, next)
      if (changed !== history) next[worlds.history] = worlds.histories.of(changed)
    }
  }
  /** A new request to follow: what answers an earlier one is not heard. */
  #forgetEarlier(id: number): void {
    const { next, worlds } = this
    for (const from of worlds.ids) next[worlds.wire(DATA, from, id)] = next[worlds.wire(ANSWER, from, id)] = 0
  }
  /** Nobody waits for this swap any more; it may be done all the same. */
  leaveSwap(id: number, isOrphan = false): void {
    const { next, worlds } = this
    const { lateAnswers = false } = worlds.configuration
    const swap = worlds.swaps.at(next[worlds.swap + id]!)
    next[worlds.swap + id] = 0
    if (swap === null) return
    const mayBeDone = swap.revision === 0 && swap.expected === worlds.revision(next)
    if (lateAnswers || mayBeDone) next[worlds.left + id] = worlds.swaps.of({ ...swap, isOrphan })
  }

  /** Who asked for it has died. */
  orphanLeft(id: number): void {
    const { next, worlds } = this
    const swap = worlds.swaps.at(next[worlds.left + id]!)
    if (swap && !swap.isOrphan) next[worlds.left + id] = worlds.swaps.of({ ...swap, isOrphan: true })
  }

  // Nothing is computed twice.

  /** The number of a happening that two numbers name. */
  numbered(kind: number, a: number, b: number, id: number, build: () => Happening): number {
    const known = this.#numbers[kind]!
    const key = (a * 8 + b) * 8 + id
    const number = known.get(key) ?? this.worlds.own.numbered(id, build())
    known.set(key, number)
    return number
  }
  /** What was computed of two numbers. */
  paired(kind: number, a: number, b: number, compute: () => number): number {
    const known = this.#pairs[kind]!
    const key = a * 1_048_576 + b
    const number = known.get(key) ?? compute()
    known.set(key, number)
    return number
  }
  /** What was computed of a thing that is there once. */
  once(of: object, compute: () => number): number {
    const number = this.#computed.get(of) ?? compute()
    this.#computed.set(of, number)
    return number
  }
}
