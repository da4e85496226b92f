/**
 * Explores every world that a system can reach, breadth first, or wanders through it by chance.
 *
 * A world is a row of whole numbers; what they stand for is the system's business. NO world is visited twice, and the
 * way to a world that breaks a property is a shortest one. A property is a sentence about one world, or about one step.
 */
import type { Random } from '../../actors/node/world.ts'

/** Worlds, and the steps between them. */
export interface System {
  /** How many numbers a world is. */
  readonly width: number
  readonly first: Int32Array
  /** Tells of every step that may come next. The row that it leads to is valid only during the call. */
  steps(world: Int32Array, tell: (next: Int32Array) => void): void
  /** The step that is being told of. */
  step(): { name: string; isPerturbation: boolean; breaks: string | null }
  /** The property that this world breaks, if any. */
  breaks(world: Int32Array): string | null
  /** The property that this world breaks because no step leads out of it, if any. */
  breaksAtEnd(world: Int32Array): string | null
  /** Where a fair course of things is to lead to, whatever has happened: without harm, from every world. */
  isHoped?(world: Int32Array): boolean
  /** The property that is broken where no way leads there. */
  hope?: string
  /** A world, for people. */
  describe(world: Int32Array): string
}

export type Violation = { property: string; trace: string[]; world: string }
export type Exploration = {
  /** All worlds were gone through. */
  isWhole: boolean
  worlds: number
  steps: number
  /** The longest shortest way to a world. */
  depth: number
  /** Worlds without a step out of them. */
  ends: number
  violation: Violation | null
}

/** All worlds within reach; stops at the first that breaks a property, and when there are too many. */
export function explore(system: System, worldsMax = 3_000_000): Exploration {
  const visited = worldSet(system.width)
  const parents = growing()
  const level = { ends: 1, depth: 0 }
  let steps = 0
  let ends = 0
  let violation: Violation | null = null
  // Of every step that does no harm: from where, to where.
  const healing = system.isHoped ? { from: growing(), to: growing() } : null

  const visit = (world: Int32Array, from: number, breaksOnTheWay: string | null, isHarm = false) => {
    if (violation !== null) return
    const sizeBefore = visited.size
    const index = visited.add(world)
    const isNew = visited.size > sizeBefore
    if (healing && from >= 0 && !isHarm) {
      healing.from.push(from)
      healing.to.push(index)
    }
    const property = breaksOnTheWay ?? (isNew ? system.breaks(world) : null)
    if (isNew) parents.push(from)
    if (property !== null) {
      const broken = world.slice() // To name the way, all of its steps are taken anew.
      const trace = from < 0 ? [] : [...wayTo(from), nameOfStep(system, visited.row(from), broken)]
      violation = { property, trace, world: system.describe(broken) }
    }
  }
  const wayTo = (index: number): string[] => {
    const rows: Int32Array[] = []
    for (let at = index; at >= 0; at = parents.at(at)) rows.unshift(visited.row(at))
    return rows.slice(1).map((row, i) => nameOfStep(system, rows[i]!, row))
  }

  visit(system.first, -1, null)
  for (let at = 0; at < visited.size && violation === null; at++) {
    if (at === level.ends) {
      level.depth++
      level.ends = visited.size
    }
    let ways = 0
    system.steps(visited.row(at), (next) => {
      ways++
      const { breaks, isPerturbation } = system.step()
      visit(next, at, breaks, isPerturbation)
    })
    steps += ways
    if (ways === 0) {
      ends++
      const property = system.breaksAtEnd(visited.row(at))
      if (property !== null && violation === null)
        violation = { property, trace: wayTo(at), world: system.describe(visited.row(at)) }
    }
    if (visited.size >= worldsMax) return { isWhole: false, ...found(), violation }
  }
  if (healing && violation === null) lookForHope(healing.from, healing.to)
  return { isWhole: violation === null, ...found(), violation }

  /** From the worlds that are hoped for, all steps backwards: whoever is not reached can not get there. */
  function lookForHope(from: Growing, to: Growing): void {
    const isReached = new Uint8Array(visited.size)
    const queue: number[] = []
    const reach = (world: number) => {
      if (isReached[world]) return
      isReached[world] = 1
      queue.push(world)
    }
    const heads = new Int32Array(visited.size).fill(-1)
    const following = new Int32Array(to.size)
    for (let edge = 0; edge < to.size; edge++) {
      following[edge] = heads[to.at(edge)]!
      heads[to.at(edge)] = edge
    }
    for (let world = 0; world < visited.size; world++) {
      if (system.isHoped!(visited.row(world))) reach(world)
    }
    for (let world = queue.pop(); world !== undefined; world = queue.pop()) {
      for (let edge = heads[world]!; edge >= 0; edge = following[edge]!) reach(from.at(edge))
    }
    const lost = isReached.indexOf(0)
    if (lost < 0) return
    const world = system.describe(visited.row(lost))
    violation = { property: system.hope ?? 'hope', trace: wayTo(lost), world }
  }

  function found() {
    return { worlds: visited.size, steps, depth: level.depth, ends }
  }
}

export type Walk = { walks: number; steps: number; violation: Violation | null }

/** Goes where chance leads, from the first world again and again, at most `stepsMax` steps in all. */
export function wander(
  system: System,
  random: Random,
  { stepsMax, stepsPerWalk }: { stepsMax: number; stepsPerWalk: number },
): Walk {
  let steps = 0
  let walks = 0
  while (steps < stepsMax) {
    walks++
    let world = system.first
    const trace: string[] = []
    for (let depth = 0; depth < stepsPerWalk && steps < stepsMax; depth++) {
      const ways: { next: Int32Array; name: string; weight: number; breaks: string | null }[] = []
      system.steps(world, (next) => {
        const { name, isPerturbation, breaks } = system.step()
        // What heals happens more often than what harms, or hardly anything would ever be completed.
        ways.push({ next: next.slice(), name, weight: isPerturbation ? 1 : 6, breaks })
      })
      if (ways.length === 0) break
      const way = drawn(ways, random)
      steps++
      trace.push(way.name)
      world = way.next
      const property = way.breaks ?? system.breaks(world)
      if (property) return { walks, steps, violation: { property, trace, world: system.describe(world) } }
    }
  }
  return { walks, steps, violation: null }
}

function drawn<W extends { weight: number }>(ways: readonly W[], random: Random): W {
  let draw = random.below(ways.reduce((sum, { weight }) => sum + weight, 0))
  for (const way of ways) {
    if (draw < way.weight) return way
    draw -= way.weight
  }
  return ways[0]!
}

/** A violation, as a test prints it. */
export const printed = ({ property, trace, world }: Violation): string =>
  `${property}\n${trace.map((name, i) => `  ${String(i + 1).padStart(3)} ${name}`).join('\n')}\n${world}`

function nameOfStep(system: System, from: Int32Array, to: Int32Array): string {
  let name: string | null = null
  system.steps(from, (next) => {
    if (name === null && next.every((value, i) => value === to[i])) name = system.step().name
  })
  return name ?? 'a step that is not there any more'
}

/** A set of rows in one piece of memory: a row costs its own numbers and eight bytes. */
function worldSet(width: number) {
  let rows = new Int32Array(width * 1024)
  let slots = new Int32Array(4096)
  let size = 0

  const hashOf = (row: Int32Array) => {
    let hash = 0
    for (let i = 0; i < width; i++) {
      hash = Math.imul(hash ^ row[i]!, 0x9e3779b1)
      hash ^= hash >>> 15
    }
    return hash
  }
  const isAt = (index: number, row: Int32Array) => {
    const start = index * width
    for (let i = 0; i < width; i++) if (rows[start + i] !== row[i]) return false
    return true
  }
  const enlarge = () => {
    slots = new Int32Array(slots.length * 4)
    for (let index = 0; index < size; index++) {
      let slot = hashOf(rows.subarray(index * width, (index + 1) * width)) & (slots.length - 1)
      while (slots[slot] !== 0) slot = (slot + 1) & (slots.length - 1)
      slots[slot] = index + 1
    }
  }
  return {
    get size() {
      return size
    },
    row: (index: number) => rows.subarray(index * width, (index + 1) * width),
    /** Its index; the set has grown when it is new. */
    add(row: Int32Array): number {
      let slot = hashOf(row) & (slots.length - 1)
      while (slots[slot] !== 0) {
        if (isAt(slots[slot]! - 1, row)) return slots[slot]! - 1
        slot = (slot + 1) & (slots.length - 1)
      }
      if ((size + 1) * width > rows.length) {
        const larger = new Int32Array(rows.length * 2)
        larger.set(rows)
        rows = larger
      }
      rows.set(row, size * width)
      slots[slot] = ++size
      if (size * 2 > slots.length) enlarge()
      return size - 1
    },
  }
}

type Growing = ReturnType<typeof growing>
function growing() {
  let values = new Int32Array(1024)
  let size = 0
  return {
    get size() {
      return size
    },
    at: (index: number) => values[index]!,
    push(value: number) {
      if (size === values.length) {
        const larger = new Int32Array(values.length * 2)
        larger.set(values)
        values = larger
      }
      values[size++] = value
    },
  }
}
