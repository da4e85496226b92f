/** Pop queue: what is given, to whom not, and when again. */
import test from 'ava'
import fc from 'fast-check'
import {
  applyPopChange,
  type Candidate,
  chooseFresh,
  committedOf,
  deliveryOf,
  dueAt,
  dueOf,
  emptyPopQueue,
  entryAt,
  hasWork,
  INVISIBLE_MS_MAX,
  POP_WINDOW,
  type PopChange,
  type PopQueue,
} from '../../machines/pop-queue.ts'

const ALL = { messages: 1_000_000, bytes: Number.MAX_SAFE_INTEGER, isOrdered: false }
const messages = (
  count: number,
  from = 0,
  groupOf: (offset: number) => string | null = () => null,
): Candidate[] =>
  Array.from({ length: count }, (_, i) => ({
    ...{ offset: from + i, messageGroup: groupOf(from + i), isWanted: true, bytes: 10 },
  }))

/** Gives out fresh messages as a broker does: chosen, recorded, applied. */
function give(
  queue: PopQueue,
  candidates: Candidate[],
  { until = 100, token = 1, isOrdered = false } = {},
): PopQueue {
  const { next, give, hold } = chooseFresh(queue, candidates, { ...ALL, isOrdered }, true)
  return applyPopChange(queue, {
    next,
    token,
    until,
    give: give.map(({ offset, messageGroup }) => [offset, 1, messageGroup]),
    hold: hold.map(({ offset, messageGroup }) => [offset, messageGroup!]),
  })
}
const offsetsOf = (entries: readonly { offset: number }[]) => entries.map(({ offset }) => offset)

test('pop queue: committed is the lowest message that is not done', (t) => {
  let queue = give(emptyPopQueue(5), messages(4, 5))
  t.is(committedOf(queue), 5)
  queue = applyPopChange(queue, { done: [6, 8] })
  t.is(committedOf(queue), 5)
  queue = applyPopChange(queue, { done: [5] })
  t.is(committedOf(queue), 7)
  queue = applyPopChange(queue, { done: [7] })
  t.is(committedOf(queue), 9)
  t.deepEqual(queue, emptyPopQueue(9))
})

test('pop queue: one late message costs one entry, however many after it are done', (t) => {
  let queue = emptyPopQueue(0)
  for (let i = 0; i < 50; i++) {
    queue = give(queue, messages(100, i * 100))
    queue = applyPopChange(queue, { done: offsetsOf(queue.entries).filter((offset) => offset > 0) })
  }
  t.is(queue.entries.length, 1)
  t.is(committedOf(queue), 0)
  t.is(queue.next, 5_000)
})

test('pop queue: a time that no message is hidden for is over: the clock of an earlier master was ahead', (t) => {
  const until = 5 + INVISIBLE_MS_MAX
  const queue = give(emptyPopQueue(0), messages(1), { until })
  t.deepEqual(dueOf(queue, 5, 10, false), [])
  t.is(dueAt(queue, 5, false), until)
  t.deepEqual(offsetsOf(dueOf(queue, 4, 10, false)), [0])
  t.is(dueAt(queue, 4, false), 4)
  t.true(hasWork(queue, 1, 4, false))
})

test('pop queue: a message is given again AFTER its time and NEVER before', (t) => {
  const queue = give(emptyPopQueue(0), messages(2), { until: 100 })
  t.deepEqual(dueOf(queue, 99, 10, false), [])
  t.deepEqual(offsetsOf(dueOf(queue, 100, 10, false)), [0, 1])
  t.deepEqual(offsetsOf(dueOf(queue, 100, 1, false)), [0])
  t.is(dueAt(queue, 99, false), 100)
  const prolonged = applyPopChange(queue, { prolong: [[0, 200]] })
  t.deepEqual(offsetsOf(dueOf(prolonged, 100, 10, false)), [1])
  t.is(dueAt(prolonged, 99, false), 100)
})

test('pop queue: the handle of the last delivery is good, also AFTER its time, and no other', (t) => {
  const delivered = { offset: 0, attempt: 1, token: 7 }
  let queue = give(emptyPopQueue(0), messages(2), { until: 100, token: 7 })
  t.is(deliveryOf(queue, delivered), entryAt(queue, 0)!)
  t.is(deliveryOf(queue, { ...delivered, token: 8 }), 'unknown')
  t.is(deliveryOf(queue, { ...delivered, attempt: 0 }), 'unknown')
  t.is(deliveryOf(queue, { ...delivered, attempt: 2 }), 'unknown')
  t.is(deliveryOf(queue, { ...delivered, offset: 2 }), 'unknown')
  queue = applyPopChange(queue, { token: 9, until: 300, give: [[0, 2, null]] })
  t.is(deliveryOf(queue, delivered), 'stale')
  t.is(deliveryOf(queue, { offset: 0, attempt: 2, token: 9 }), entryAt(queue, 0)!)
  queue = applyPopChange(queue, { done: [0] })
  t.is(deliveryOf(queue, { offset: 0, attempt: 2, token: 9 }), 'done')
})

test('pop queue: a message that was passed over has no handle', (t) => {
  const queue = give(
    emptyPopQueue(0),
    messages(2, 0, () => 'g'),
    { isOrdered: true },
  )
  t.is(deliveryOf(queue, { offset: 1, attempt: 0, token: 0 }), 'unknown')
})

test('pop queue: no more are given than the window holds, and there is no work then', (t) => {
  const full = give(emptyPopQueue(0), messages(POP_WINDOW + 5))
  t.is(full.entries.length, POP_WINDOW)
  t.is(full.next, POP_WINDOW)
  t.false(hasWork(full, POP_WINDOW + 5, 0, false))
  t.true(hasWork(full, POP_WINDOW + 5, 100, false))
  const room = applyPopChange(full, { done: [17] })
  t.true(hasWork(room, POP_WINDOW + 5, 0, false))
  t.deepEqual(offsetsOf(give(room, messages(5, POP_WINDOW)).entries.slice(-1)), [POP_WINDOW])
})

test('pop queue: what is not asked for takes no room', (t) => {
  const noise = messages(POP_WINDOW * 2).map((message) => ({ ...message, isWanted: false }))
  t.deepEqual(give(emptyPopQueue(0), noise), emptyPopQueue(POP_WINDOW * 2))
})

test('pop queue: a first message is given however large it is, and no second one that is too large', (t) => {
  const { give: given, next } = chooseFresh(emptyPopQueue(0), messages(3), { ...ALL, bytes: 5 }, true)
  t.deepEqual(offsetsOf(given), [0])
  t.is(next, 1)
  t.deepEqual(chooseFresh(emptyPopQueue(0), messages(3), { ...ALL, bytes: 5 }, false).give, [])
  t.deepEqual(
    offsetsOf(chooseFresh(emptyPopQueue(0), messages(3), { ...ALL, bytes: 25 }, false).give),
    [0, 1],
  )
})

test('pop queue: in order, a message group that waits holds up no other', (t) => {
  const groups = ['a', 'a', 'b', null, null, 'b', 'a']
  let queue = give(
    emptyPopQueue(0),
    messages(7, 0, (offset) => groups[offset]!),
    { isOrdered: true, until: 100 },
  )
  t.deepEqual(offsetsOf(queue.entries.filter(({ attempt }) => attempt === 1)), [0, 2, 3, 4])
  t.is(queue.next, 7)
  t.deepEqual(dueOf(queue, 50, 10, true), [])
  queue = applyPopChange(queue, { done: [2] })
  t.deepEqual(offsetsOf(dueOf(queue, 50, 10, true)), [5])
  t.deepEqual(offsetsOf(dueOf(queue, 100, 10, true)), [0, 3, 4, 5])
  t.is(dueAt(queue, 50, true), 0)
  // Whoever does not ask for order is given what waits for it.
  t.deepEqual(offsetsOf(dueOf(queue, 50, 10, false)), [1, 5, 6])
})

test('pop queue: what a record names that is not there is passed over', (t) => {
  const queue = give(emptyPopQueue(0), messages(2))
  t.deepEqual(applyPopChange(queue, { done: [9, 11], prolong: [[7, 1]] }), queue)
})

// --------------------------------------------------------------------------------------------- what always holds

const LENGTH = 40
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ type: fc.constant('receive' as const), max: fc.integer({ min: 1, max: 8 }) }),
  },
  { weight: 4, arbitrary: fc.record({ type: fc.constant('ack' as const), which: fc.nat(200) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('prolong' as const),
      which: fc.nat(200),
      ms: fc.integer({ min: 1, max: 50 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 60 }) }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('crash' as const) }) },
)

type Handle = { offset: number; attempt: number; token: number }

/** A broker with nothing but the functions and a log of records; the model beside it knows what must hold. */
class Model {
  queue = emptyPopQueue(0)
  now = 0
  readonly handles: Handle[] = []
  readonly done = new Set<number>()
  readonly given = new Map<number, number>()
  readonly until = new Map<number, number>()
  readonly #log: string[] = []
  readonly #isOrdered: boolean
  readonly #groups: (string | null)[]
  readonly #wanted: boolean[]
  #token = 0

  constructor(isOrdered: boolean, groups: (string | null)[], wanted: boolean[]) {
    this.#isOrdered = isOrdered
    this.#groups = groups
    this.#wanted = wanted
  }

  #record(change: PopChange): void {
    this.#log.push(JSON.stringify(change))
    this.queue = applyPopChange(this.queue, JSON.parse(this.#log.at(-1)!))
  }

  crash(): void {
    const before = this.queue
    this.queue = this.#log.reduce((queue, line) => applyPopChange(queue, JSON.parse(line)), emptyPopQueue(0))
    if (JSON.stringify(before) !== JSON.stringify(this.queue)) throw new Error('a replay leads elsewhere')
  }

  receive(max: number): void {
    const due = dueOf(this.queue, this.now, max, this.#isOrdered)
    const candidates = this.#groups
      .map((messageGroup, offset) => ({ offset, messageGroup, isWanted: this.#wanted[offset]!, bytes: 1 }))
      .slice(this.queue.next)
    const budget = { messages: max - due.length, bytes: 1_000, isOrdered: this.#isOrdered }
    const fresh = chooseFresh(this.queue, candidates, budget, due.length === 0)
    const token = ++this.#token
    const until = this.now + 20
    const give: PopChange['give'] = [
      ...due.map(
        ({ offset, attempt, messageGroup }) =>
          [offset, attempt + 1, messageGroup] as [number, number, string | null],
      ),
      ...fresh.give.map(
        ({ offset, messageGroup }) => [offset, 1, messageGroup] as [number, number, string | null],
      ),
    ]
    for (const [offset, attempt] of give) this.#isGiven(offset, attempt)
    const hold = fresh.hold.map(({ offset, messageGroup }) => [offset, messageGroup!] as [number, string])
    this.#record({ next: fresh.next, token, until, give, hold })
    for (const [offset, attempt] of give) {
      this.handles.push({ offset, attempt, token })
      this.until.set(offset, until)
    }
  }

  #isGiven(offset: number, attempt: number): void {
    const must = (isSo: boolean, what: string) => {
      if (!isSo) throw new Error(`offset ${offset}: ${what}`)
    }
    must(this.#wanted[offset]!, 'nobody asked for it')
    must(!this.done.has(offset), 'it was acknowledged')
    must((this.until.get(offset) ?? 0) <= this.now, 'its time is not over')
    must(attempt === (this.given.get(offset) ?? 0) + 1, `it is not attempt ${attempt}`)
    this.given.set(offset, attempt)
    const group = this.#groups[offset]
    if (!this.#isOrdered || group === null) return
    for (let earlier = 0; earlier < offset; earlier++)
      must(
        this.#groups[earlier] !== group || !this.#wanted[earlier]! || this.done.has(earlier),
        `${earlier} of its group is not done`,
      )
  }

  ack(which: number): void {
    const handle = this.handles[which % Math.max(1, this.handles.length)]
    if (!handle) return
    const isLast = this.given.get(handle.offset) === handle.attempt
    const entry = deliveryOf(this.queue, handle)
    const expected = this.done.has(handle.offset) ? 'done' : isLast ? 'good' : 'stale'
    if ((typeof entry === 'string' ? entry : 'good') !== expected)
      throw new Error(`a handle is ${expected}, not ${entry}`)
    if (typeof entry === 'string') return
    this.#record({ done: [handle.offset] })
    this.done.add(handle.offset)
  }

  prolong(which: number, ms: number): void {
    const handle = this.handles[which % Math.max(1, this.handles.length)]
    if (!handle || typeof deliveryOf(this.queue, handle) === 'string') return
    this.#record({ prolong: [[handle.offset, this.now + ms]] })
    this.until.set(handle.offset, this.now + ms)
  }

  check(): void {
    const { queue } = this
    const lowest = this.#wanted.findIndex((isWanted, offset) => isWanted && !this.done.has(offset))
    if (committedOf(queue) > (lowest === -1 ? LENGTH : lowest))
      throw new Error('more is committed than is done')
    for (let offset = 0; offset < LENGTH; offset++) {
      const good = this.handles.filter(
        (handle) => handle.offset === offset && typeof deliveryOf(queue, handle) !== 'string',
      )
      if (good.length > 1) throw new Error(`${good.length} handles of ${offset} are good`)
    }
    const sorted = offsetsOf(queue.entries)
    if (sorted.some((offset, i) => i > 0 && offset <= sorted[i - 1]!))
      throw new Error('the entries are out of order')
  }
}

test('pop queue: whatever is received, acknowledged, prolonged and replayed, nothing acknowledged comes again and nothing else stays away', (t) => {
  const worlds = fc.record({
    isOrdered: fc.boolean(),
    groups: fc.array(fc.constantFrom(null, 'a', 'b', 'c'), { minLength: LENGTH, maxLength: LENGTH }),
    wanted: fc.array(
      fc.integer({ min: 0, max: 4 }).map((n) => n > 0),
      { minLength: LENGTH, maxLength: LENGTH },
    ),
    steps: fc.array(step, { maxLength: 120 }),
  })
  const run = ({
    isOrdered,
    groups,
    wanted,
    steps,
  }: typeof worlds extends fc.Arbitrary<infer W> ? W : never) => {
    const model = new Model(isOrdered, groups, wanted)
    for (const move of steps) {
      if (move.type === 'receive') model.receive(move.max)
      else if (move.type === 'ack') model.ack(move.which)
      else if (move.type === 'prolong') model.prolong(move.which, move.ms)
      else if (move.type === 'pass') model.now += move.ms
      else model.crash()
      model.check()
    }
    // All that is not acknowledged comes again, until all is.
    for (let round = 0; round < LENGTH * 4 && model.done.size < wanted.filter(Boolean).length; round++) {
      model.now += 60
      const known = model.handles.length
      model.receive(7)
      for (let i = known; i < model.handles.length; i++) model.ack(i)
      model.check()
    }
    t.is(model.done.size, wanted.filter(Boolean).length)
    t.deepEqual(model.queue, emptyPopQueue(LENGTH))
  }
  fc.assert(fc.property(worlds, run), { numRuns: 300 })
  t.pass()
})
