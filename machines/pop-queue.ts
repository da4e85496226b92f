/**
 * Pop queue: which messages of one queue a group that pops has been given, and which it has acknowledged.
 *
 * Several consumers share the queue. A message that is given is invisible to the others until a time. What is not
 * acknowledged by then is given again, AFTER that time and NEVER while an acknowledgement of it is recorded. Of the
 * handles of one message AT MOST ONE is good: the one of its last delivery. In order, a message is given only AFTER
 * every earlier one of its message group is acknowledged; messages without a group wait for nobody.
 *
 * Below `next` everything was looked at. What has no entry there is done: acknowledged, not subscribed to, expired from
 * the log, or a dead letter. So one late message costs one entry, however many after it are done.
 *
 *   not looked at ──given──▶ invisible ──time over──▶ waiting ──given──▶ invisible
 *        │                      └───────acknowledged──────┴──────▶ done
 *        └──passed over (in order)──▶ waiting
 *
 * Functions over plain JSON. A change is recorded FIRST and applied AFTER, by the function that replays it.
 *
 * RocketMQ: broker/processor/PopMessageProcessor.java, PopReviveService.java, broker/offset/ConsumerOrderInfoManager.java
 */

/** A message that is looked at and not done. It NEVER changes: another one takes its place. */
export type PopEntry = {
  readonly offset: number
  /** How many times it was given; 0 when it was passed over. */
  readonly attempt: number
  /** Nobody else is given it before, milliseconds since 1970 by the broker's clock. */
  readonly until: number
  /** Drawn for the delivery: its handle has it too. */
  readonly token: number
  readonly messageGroup: string | null
}

export type PopQueue = {
  /** The offset of the first message that was not looked at. */
  readonly next: number
  /** By offset. */
  readonly entries: readonly PopEntry[]
}

/** What one record says of one queue. Parts that would be empty are left out. */
export type PopChange = {
  next?: number
  /** Of all that `give` names. */
  token?: number
  until?: number
  give?: [offset: number, attempt: number, messageGroup: string | null][]
  /** Passed over: an earlier message of the same group is not acknowledged. */
  hold?: [offset: number, messageGroup: string][]
  done?: number[]
  /** New times. */
  prolong?: [offset: number, until: number][]
}

/** A message that nobody looked at yet. */
export type Candidate = {
  readonly offset: number
  readonly messageGroup: string | null
  /** Whether the subscription asks for it. */
  readonly isWanted: boolean
  readonly bytes: number
}

/** Names one delivery. */
export type Delivered = { offset: number; attempt: number; token: number }

/** 'done': acknowledged already, or a dead letter. 'stale': given again since. 'unknown': never given so. */
export type HandleFault = 'done' | 'stale' | 'unknown'

/** RocketMQ's popInflightMessageThreshold: so many messages of a queue are not done at a time. */
export const POP_WINDOW = 10_000

/** No message is given for longer, milliseconds: 12 h, as in RocketMQ's proxy. */
export const INVISIBLE_MS_MAX = 12 * 60 * 60 * 1_000

/**
 * Whether the entry's time is over. One that lies further ahead than any message is ever hidden comes from a master whose
 * clock was ahead of this one: it counts as over, or the message would be hidden for as long as that.
 */
export const isDue = ({ until }: PopEntry, now: number): boolean =>
  until <= now || until > now + INVISIBLE_MS_MAX

export const emptyPopQueue = (next: number): PopQueue => ({ next, entries: [] })

/** All below it is done. */
export const committedOf = ({ entries, next }: PopQueue): number => entries[0]?.offset ?? next

/** Where an offset stands among the entries, or would stand. */
function indexOf(entries: readonly PopEntry[], offset: number): number {
  let low = 0
  let high = entries.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (entries[middle]!.offset < offset) low = middle + 1
    else high = middle
  }
  return low
}

export function entryAt({ entries }: PopQueue, offset: number): PopEntry | undefined {
  const entry = entries[indexOf(entries, offset)]
  return entry?.offset === offset ? entry : undefined
}

/** The entry that a handle is good for. It is good until the message is given again, also AFTER its time. */
export function deliveryOf(queue: PopQueue, { offset, attempt, token }: Delivered): PopEntry | HandleFault {
  const entry = entryAt(queue, offset)
  if (entry === undefined) return offset < queue.next ? 'done' : 'unknown'
  if (entry.attempt === attempt && entry.token === token && attempt > 0) return entry
  return attempt > 0 && attempt < entry.attempt ? 'stale' : 'unknown'
}

/** The entries that may be given now, lowest first, at most `max`. */
export function dueOf({ entries }: PopQueue, now: number, max: number, isOrdered: boolean): PopEntry[] {
  const due: PopEntry[] = []
  for (const entry of free(entries, isOrdered)) {
    if (due.length >= max) break
    if (isDue(entry, now)) due.push(entry)
  }
  return due
}

/** When the next entry may be given; Infinity when none is waited for. */
export function dueAt({ entries }: PopQueue, now: number, isOrdered: boolean): number {
  let earliest = Number.POSITIVE_INFINITY
  for (const entry of free(entries, isOrdered)) {
    const at = isDue(entry, now) ? Math.min(entry.until, now) : entry.until
    if (at < earliest) earliest = at
  }
  return earliest
}

/** In order, of each message group the first entry alone: all others wait for it. */
function* free(entries: readonly PopEntry[], isOrdered: boolean): Generator<PopEntry> {
  if (!isOrdered) return yield* entries
  const groups = new Set<string>()
  for (const entry of entries) {
    if (entry.messageGroup !== null) {
      if (groups.has(entry.messageGroup)) continue
      groups.add(entry.messageGroup)
    }
    yield entry
  }
}

export const hasRoom = ({ entries }: PopQueue): boolean => entries.length < POP_WINDOW

/** Whether somebody who asks now may get something. */
export const hasWork = (queue: PopQueue, maxOffset: number, now: number, isOrdered: boolean): boolean =>
  (queue.next < maxOffset && hasRoom(queue)) || dueAt(queue, now, isOrdered) <= now

/** What may be taken at once. */
export type Budget = { readonly messages: number; readonly bytes: number; readonly isOrdered: boolean }

export type Choice = { next: number; give: Candidate[]; hold: Candidate[]; bytes: number }

/**
 * Chooses among the messages from `next` on, which come in order: as many as the budget and the window have room for.
 * `next` follows the last one that was looked at. `isFirst`: one is taken even if it is too large.
 */
export function chooseFresh(
  queue: PopQueue,
  candidates: Iterable<Candidate>,
  budget: Budget,
  isFirst: boolean,
): Choice {
  const { messages, isOrdered } = budget
  const choice: Choice = { next: queue.next, give: [], hold: [], bytes: 0 }
  const groups = new Set<string>()
  if (isOrdered)
    for (const { messageGroup } of queue.entries) if (messageGroup !== null) groups.add(messageGroup)
  let room = POP_WINDOW - queue.entries.length
  for (const candidate of candidates) {
    const { offset, messageGroup, isWanted, bytes } = candidate
    if (isWanted) {
      if (room <= 0 || choice.give.length >= messages) break
      if (isOrdered && messageGroup !== null && groups.has(messageGroup)) choice.hold.push(candidate)
      else {
        const isLarge = choice.bytes + bytes > budget.bytes
        if (isLarge && !(isFirst && choice.give.length === 0)) break
        choice.give.push(candidate)
        choice.bytes += bytes
        if (messageGroup !== null) groups.add(messageGroup)
      }
      room--
    }
    choice.next = offset + 1
  }
  return choice
}

/** The queue AFTER a change. What a record names that is not there is passed over. */
export function applyPopChange(queue: PopQueue, change: PopChange): PopQueue {
  const { next = queue.next, token = 0, until = 0, give = [], hold = [], done = [], prolong = [] } = change
  let entries = without(queue.entries, done)
  const replace = (index: number, entry: PopEntry): void => {
    if (entries === queue.entries) entries = [...entries]
    ;(entries as PopEntry[])[index] = entry
  }
  for (const [offset, later] of prolong) {
    const index = indexOf(entries, offset)
    const entry = entries[index]
    if (entry?.offset === offset) replace(index, { ...entry, until: later })
  }
  const fresh: PopEntry[] = []
  for (const [offset, attempt, messageGroup] of give) {
    const entry = { offset, attempt, until, token, messageGroup }
    const index = indexOf(entries, offset)
    if (entries[index]?.offset === offset) replace(index, entry)
    else fresh.push(entry)
  }
  for (const [offset, messageGroup] of hold)
    fresh.push({ offset, attempt: 0, until: 0, token: 0, messageGroup })
  if (fresh.length > 0) entries = [...entries, ...fresh].sort((a, b) => a.offset - b.offset)
  return { next, entries }
}

function without(entries: readonly PopEntry[], done: readonly number[]): readonly PopEntry[] {
  if (done.length === 0) return entries
  const gone = new Set(done)
  const from = indexOf(entries, Math.min(...done))
  const to = indexOf(entries, Math.max(...done) + 1)
  const between = entries.slice(from, to).filter(({ offset }) => !gone.has(offset))
  return [...entries.slice(0, from), ...between, ...entries.slice(to)]
}
