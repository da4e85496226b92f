/**
 * Judges what the members of a group were given while they came, left, were killed and stood still.
 *
 * - Every acknowledged message is handled: NOTHING is skipped.
 * - A queue has one owner at a time: nobody begins a message while another member still handles one of the same queue,
 *   and whoever was followed by another owner begins no more. Each owner has a higher epoch than all before it.
 * - Messages that were not handled before are begun in the order of their offsets; with `ordered`, one at a time.
 * - A message is handled twice only when its first member was killed or stood still before it can have committed it, or
 *   when a member that stood still woke up with messages that others had handled meanwhile. Each such case is explained
 *   by that event; where nobody was killed or stood still there is NONE.
 *
 * All times are milliseconds of one clock.
 */
export type Stored = { queue: string; offset: number; message: string; at: number }

/** `endedAt` is null when it did not come to that. */
export type Delivery = {
  member: string
  queue: string
  epoch: number
  offset: number
  /** Its sender and its number among what that one sent: `sender/7`. */
  message: string
  startedAt: number
  endedAt: number | null
}

/** All that a member owned from then on. */
export type Ownership = { member: string; at: number; owned: { queue: string; epoch: number }[] }

/** It was killed at `from`, or stood still from `from` to `to`. */
export type Fault = { member: string; kind: 'killed' | 'paused'; from: number; to: number }

export type History = {
  ordered: boolean
  /** Until then nobody was killed or stood still. */
  cleanUntil: number
  stored: readonly Stored[]
  deliveries: readonly Delivery[]
  faults: readonly Fault[]
}

export type FindingName = 'duplicate' | 'skipped' | 'reordered' | 'overlap' | 'epoch' | 'changed'

export type Finding = {
  name: FindingName
  isClean: boolean
  /** The event that explains it; null: it must not have happened. */
  cause: string | null
  what: string
}

/**
 * What a member has handled is committed at most so long after it: a second, and what a busy machine adds to that. And so
 * long after it goes on, who stood still may take itself for the owner.
 */
const UNCOMMITTED_MS = 3_000

export function judge(history: History): Finding[] {
  const findings: Finding[] = []
  const causes = new Causes(history.faults)
  const queues = queuesOf(history)
  for (const [name, queue] of queues) {
    findings.push(...new QueueJudge(history, causes, name, queue).judge())
  }
  return findings
}

type Queue = { stored: Stored[]; deliveries: Delivery[] }

function queuesOf({ stored, deliveries }: History): Map<string, Queue> {
  const queues = new Map<string, Queue>()
  const of = (name: string): Queue => {
    let queue = queues.get(name)
    if (queue === undefined) {
      queue = { stored: [], deliveries: [] }
      queues.set(name, queue)
    }
    return queue
  }
  for (const one of stored) of(one.queue).stored.push(one)
  for (const one of deliveries) of(one.queue).deliveries.push(one)
  for (const queue of queues.values()) {
    queue.stored.sort((a, b) => a.offset - b.offset)
    queue.deliveries.sort((a, b) => a.startedAt - b.startedAt)
  }
  return queues
}

// ------------------------------------------------------------------------------------------------------- causes

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(3)} s`

class Causes {
  readonly #faults = new Map<string, Fault[]>()

  constructor(faults: readonly Fault[]) {
    for (const fault of faults) {
      const others = this.#faults.get(fault.member)
      if (others) others.push(fault)
      else this.#faults.set(fault.member, [fault])
    }
  }

  #first(member: string, explains: (fault: Fault) => boolean): string | null {
    const fault = this.#faults.get(member)?.find(explains)
    if (fault === undefined) return null
    return fault.kind === 'killed'
      ? `${member} was killed at ${seconds(fault.from)}`
      : `${member} stood still from ${seconds(fault.from)} to ${seconds(fault.to)}`
  }

  /** Why what `before` handled was not known when `again` was given it. */
  ofDuplicate(before: Delivery, again: Delivery): string | null {
    const lost = this.#first(
      before.member,
      ({ kind, from, to }) =>
        before.startedAt >= from - UNCOMMITTED_MS &&
        before.startedAt <= (kind === 'killed' ? from : to + UNCOMMITTED_MS) &&
        again.startedAt >= from,
    )
    return lost ?? this.ofZombie(again.member, again.startedAt, again.startedAt)
  }

  /** Why this member did not know in that time that a queue is no longer its own. */
  ofZombie(member: string, since: number, until: number): string | null {
    return this.#first(
      member,
      ({ kind, from, to }) => kind === 'paused' && from <= until && to + UNCOMMITTED_MS >= since,
    )
  }
}

// ------------------------------------------------------------------------------------------------------- a queue

/** One member's ownership of the queue, from the first message it began to the last that it ended. */
type Tenure = { member: string; epoch: number; from: number; to: number }

class QueueJudge {
  readonly #findings: Finding[] = []
  readonly #history: History
  readonly #causes: Causes
  readonly #name: string
  readonly #queue: Queue

  constructor(history: History, causes: Causes, name: string, queue: Queue) {
    this.#history = history
    this.#causes = causes
    this.#name = name
    this.#queue = queue
  }

  judge(): Finding[] {
    this.#checkLog()
    this.#checkDeliveries()
    this.#checkOwners()
    this.#checkCoverage()
    return this.#findings
  }

  #found(name: FindingName, at: number, cause: string | null, what: string): void {
    const isClean = at < this.#history.cleanUntil
    this.#findings.push({ name, isClean, cause: isClean ? null : cause, what })
  }

  /** Messages of one sender stand in the order in which it sent them. */
  #checkLog(): void {
    const last = new Map<string, number>()
    for (const { message, offset, at } of this.#queue.stored) {
      const slash = message.lastIndexOf('/')
      const sender = message.slice(0, slash)
      const sequence = Number(message.slice(slash + 1))
      const before = last.get(sender) ?? -1
      if (sequence <= before) {
        const what = `${this.#name}@${offset} is ${message}, which stands behind ${sender}/${before}`
        this.#found('reordered', at, null, what)
      }
      last.set(sender, sequence)
    }
  }

  #checkDeliveries(): void {
    const names = new Map(this.#queue.stored.map(({ offset, message }) => [offset, message]))
    const last = new Map<number, Delivery>()
    const running = new Map<string, Delivery>()
    let highest: Delivery | null = null
    for (const delivery of this.#queue.deliveries) {
      const { offset, message, startedAt, member } = delivery
      const stored = names.get(offset)
      if (stored !== undefined && stored !== message) {
        const what = `${this.#name}@${offset} is ${stored}, and ${member} was given ${message}`
        this.#found('changed', startedAt, null, what)
      }
      const before = last.get(offset)
      last.set(offset, delivery)
      if (before) this.#foundAgain(before, delivery)
      else if (highest && offset < highest.offset) this.#foundLate(highest, delivery)
      if (highest === null || offset > highest.offset) highest = delivery
      if (this.#history.ordered) this.#checkAlone(running, delivery)
    }
  }

  #foundAgain(before: Delivery, again: Delivery): void {
    const what = `${this.#name}@${again.offset} was given to ${said(before)}, and to ${said(again)}`
    this.#found('duplicate', again.startedAt, this.#causes.ofDuplicate(before, again), what)
  }

  #foundLate(highest: Delivery, late: Delivery): void {
    const what = `${this.#name}@${late.offset} was given to ${said(late)}, after ${highest.offset} to ${said(highest)}`
    const cause =
      this.#causes.ofZombie(highest.member, highest.startedAt, highest.startedAt) ??
      this.#causes.ofZombie(late.member, late.startedAt, late.startedAt)
    this.#found('reordered', late.startedAt, cause, what)
  }

  /** With `ordered` an owner has one message of a queue at a time. */
  #checkAlone(running: Map<string, Delivery>, delivery: Delivery): void {
    const before = running.get(delivery.member)
    running.set(delivery.member, delivery)
    if (before === undefined || before.epoch !== delivery.epoch) return
    if (before.endedAt !== null && before.endedAt <= delivery.startedAt) return
    const what = `${said(delivery)} began ${this.#name}@${delivery.offset} before it ended ${before.offset}`
    this.#found('reordered', delivery.startedAt, null, what)
  }

  #checkOwners(): void {
    const tenures = new Map<string, Tenure>()
    for (const { member, epoch, startedAt, endedAt } of this.#queue.deliveries) {
      const key = `${member} ${epoch}`
      const to = endedAt ?? startedAt
      const tenure = tenures.get(key)
      if (tenure) tenure.to = Math.max(tenure.to, to)
      else tenures.set(key, { member, epoch, from: startedAt, to })
    }
    let longest: Tenure | null = null
    let newest: Tenure | null = null
    for (const tenure of [...tenures.values()].sort((a, b) => a.from - b.from)) {
      if (longest && tenure.from < longest.to) this.#foundTwo(longest, tenure)
      if (longest === null || tenure.to > longest.to) longest = tenure
      if (newest && tenure.epoch <= newest.epoch) this.#foundOld(newest, tenure)
      else newest = tenure
    }
  }

  /** A member that stood still may begin for the first time when it is too late; two owners NEVER have one epoch. */
  #foundOld(newest: Tenure, old: Tenure): void {
    const isShared = old.epoch === newest.epoch
    const cause = isShared ? null : this.#causes.ofZombie(old.member, old.from, old.from)
    const what =
      `${this.#name} was read by ${old.member} (epoch ${old.epoch}) from ${seconds(old.from)} on, ` +
      `after ${newest.member} (epoch ${newest.epoch})`
    this.#found('epoch', old.from, cause, what)
  }

  #foundTwo(first: Tenure, second: Tenure): void {
    const until = Math.min(first.to, second.to)
    const cause =
      this.#causes.ofZombie(first.member, second.from, first.to) ??
      this.#causes.ofZombie(second.member, second.from, until)
    const names = [first, second].map(({ member, epoch }) => `${member} (epoch ${epoch})`)
    const what = `${names.join(' and ')} both had ${this.#name} from ${seconds(second.from)} to ${seconds(until)}`
    this.#found('overlap', second.from, cause, what)
  }

  #checkCoverage(): void {
    const handled = new Set<number>()
    /** The first time that something at or behind an offset was begun: then it had been passed over. */
    const passedAt = new Map<number, number>()
    for (const { offset, startedAt, endedAt } of this.#queue.deliveries) {
      if (endedAt !== null) handled.add(offset)
      passedAt.set(offset, Math.min(passedAt.get(offset) ?? Number.POSITIVE_INFINITY, startedAt))
    }
    let passed = Number.POSITIVE_INFINITY
    for (const { offset, message } of [...this.#queue.stored].reverse()) {
      if (!handled.has(offset)) {
        const what = `${this.#name}@${offset}, ${message}, was acknowledged and never handled`
        this.#found('skipped', passed, null, what)
      }
      passed = Math.min(passed, passedAt.get(offset) ?? Number.POSITIVE_INFINITY)
    }
  }
}

const said = ({ member, epoch, startedAt }: Delivery): string =>
  `${member} (epoch ${epoch}) at ${seconds(startedAt)}`
