import test from 'ava'
import fc from 'fast-check'
import { generationOf, isLater } from '../../machines/generation.ts'
import { type QueueOwnerEvent, type QueueOwnerInput, queueOwnerMachine } from '../../machines/queue-owner.ts'
import { stepper } from '../support/stepper.ts'

/** By default there is one process of a name: its instance is called as it is. */
const claimOf = (clientId: string, count: number, instance = clientId, number = 1) => ({
  clientId,
  generation: generationOf(count, number),
  instance,
})

function started(input: QueueOwnerInput = { assignEpoch: 0, owner: null }) {
  const queue = stepper(queueOwnerMachine, input)
  return {
    ...queue,
    claim: (clientId: string, generation: number, { force = false, waits = false, by = clientId } = {}) =>
      queue.send({ type: 'queue.claimed', ...claimOf(clientId, generation, by), force, waits }),
    release: (
      clientId: string,
      generation: number,
      assignEpoch: number,
      offset: number | null = null,
      by = clientId,
    ) => queue.send({ type: 'queue.released', ...claimOf(clientId, generation, by), assignEpoch, offset }),
    expire: (clientId: string, generation: number, by = clientId) =>
      queue.send({ type: 'claim.expired', ...claimOf(clientId, generation, by) }),
    gone: (clientId: string, count: number, number = 1) =>
      queue.send({ type: 'owner.gone', clientId, generation: generationOf(count, number) }),
    unseat: (offset: number) => queue.send({ type: 'owner.unseated', offset }),
    /** The orders in short: 'record a 1', 'record nobody 1 at 9', 'grant a 1', 'refuse b for a'. */
    orders: () =>
      queue.take().map(({ type, params }) => {
        if (type === 'recordOwner') {
          const at = params.offset === null ? '' : ` at ${params.offset}`
          return `record ${params.owner?.clientId ?? 'nobody'} ${params.assignEpoch}${at}`
        }
        if (type === 'grantQueue') return `grant ${params.clientId} ${params.assignEpoch}`
        return `refuse ${params.clientId} for ${params.owner?.clientId ?? 'nobody'}`
      }),
    get owner() {
      return queue.context.owner?.clientId ?? null
    },
    get waiting() {
      return queue.context.waiting?.clientId ?? null
    },
    get assignEpoch() {
      return queue.context.assignEpoch
    },
    get state() {
      return queue.state
    },
  }
}

/** Queue of `a` since generation 1, under assignEpoch 1. */
function owned() {
  const queue = started()
  queue.claim('a', 1)
  queue.orders()
  return queue
}

test('queue owner: a free queue is granted to whoever claims it, recorded before it is told', (t) => {
  const queue = started()
  queue.claim('a', 1)
  t.is(queue.state, 'owned')
  t.deepEqual(queue.orders(), ['record a 1', 'grant a 1'])
})

test('queue owner: what the log says is what it begins with', (t) => {
  const queue = started({ assignEpoch: 7, owner: claimOf('a', 3) })
  t.is(queue.state, 'owned')
  queue.claim('b', 4)
  t.deepEqual(queue.orders(), ['refuse b for a'])
  queue.release('a', 3, 7)
  queue.claim('b', 4)
  t.deepEqual(queue.orders(), ['record nobody 7', 'record b 8', 'grant b 8'])
  t.is(started({ assignEpoch: 7, owner: null }).state, 'free')
})

test('queue owner: assignEpoch rises with every grant', (t) => {
  const queue = owned()
  queue.release('a', 1, 1)
  queue.claim('a', 1)
  queue.release('a', 1, 2)
  queue.claim('b', 1)
  t.deepEqual(queue.orders(), [
    'record nobody 1',
    'record a 2',
    'grant a 2',
    'record nobody 2',
    'record b 3',
    'grant b 3',
  ])
})

test('queue owner: a claim that is repeated gets the same grant, and nothing is recorded twice', (t) => {
  const queue = owned()
  queue.claim('a', 1)
  t.deepEqual(queue.orders(), ['grant a 1'])
})

test('queue owner: the owner claims anew under a later list, and its earlier grant is overtaken', (t) => {
  const queue = owned()
  queue.claim('a', 2)
  t.deepEqual(queue.orders(), ['record a 2', 'grant a 2'])
})

test('queue owner: an older claim of its own owner proves nothing', (t) => {
  const queue = started({ assignEpoch: 4, owner: claimOf('a', 5) })
  queue.claim('a', 4)
  t.deepEqual(queue.orders(), ['refuse a for a'])
})

test('queue owner: a claim that does not wait is refused while another one owns the queue', (t) => {
  const queue = owned()
  queue.claim('b', 9)
  t.deepEqual(queue.orders(), ['refuse b for a'])
  t.is(queue.waiting, null)
})

test('queue owner: a claim that waits is granted by the release', (t) => {
  const queue = owned()
  queue.claim('b', 2, { waits: true })
  t.deepEqual(queue.orders(), [])
  queue.release('a', 1, 1, 17)
  t.deepEqual(queue.orders(), ['record nobody 1 at 17', 'record b 2', 'grant b 2'])
  t.is(queue.owner, 'b')
})

test('queue owner: a claim that has waited long enough is refused', (t) => {
  const queue = owned()
  queue.claim('b', 2, { waits: true })
  queue.expire('b', 2)
  t.deepEqual(queue.orders(), ['refuse b for a'])
  queue.release('a', 1, 1)
  t.is(queue.state, 'free')
})

test('queue owner: the end of an earlier wait does not end a later one', (t) => {
  const queue = owned()
  queue.claim('b', 2, { waits: true })
  queue.claim('b', 3, { waits: true })
  t.deepEqual(queue.orders(), ['refuse b for a'])
  queue.expire('b', 2)
  t.deepEqual(queue.orders(), [])
  t.is(queue.waiting, 'b')
})

test('queue owner: of two that wait the one of the later list stays', (t) => {
  const queue = owned()
  queue.claim('c', 3, { waits: true })
  queue.claim('b', 2, { waits: true })
  t.deepEqual(queue.orders(), ['refuse b for a'])
  t.is(queue.waiting, 'c')
  queue.claim('d', 4, { waits: true })
  t.deepEqual(queue.orders(), ['refuse c for a'])
  t.is(queue.waiting, 'd')
})

test('queue owner: whoever waits and gives up its claim is not granted the queue', (t) => {
  const queue = owned()
  queue.claim('b', 2, { waits: true })
  queue.release('b', 2, 0)
  t.deepEqual(queue.orders(), ['refuse b for a'])
  queue.release('a', 1, 1)
  t.is(queue.state, 'free')
})

test('queue owner: a claim is known again by its instance, too: another process of the name is another one', (t) => {
  const queue = started()
  queue.claim('a', 1, { by: 'a1' })
  queue.orders()
  queue.claim('a', 1, { by: 'a2' })
  t.deepEqual(queue.orders(), ['refuse a for a'])
  queue.claim('a', 2, { by: 'a2' })
  t.deepEqual(queue.orders(), ['record a 2', 'grant a 2'])
})

test('queue owner: the end of a wait is that of one process: another one of its name goes on waiting', (t) => {
  const queue = owned()
  queue.claim('b', 2, { waits: true, by: 'b1' })
  queue.claim('b', 2, { waits: true, by: 'b2' })
  t.deepEqual(queue.orders(), ['refuse b for a'])
  queue.expire('b', 2, 'b1')
  queue.release('b', 2, 0, null, 'b1')
  t.deepEqual(queue.orders(), [])
  t.is(queue.waiting, 'b')
})

test('queue owner: a process gives back what one of its name claimed before it, NEVER what one claimed beside it', (t) => {
  const queue = started({ assignEpoch: 4, owner: claimOf('a', 5, 'a1') })
  queue.release('a', 5, 0, null, 'a2')
  t.is(queue.owner, 'a')
  queue.release('a', 6, 0, null, 'a2')
  t.is(queue.owner, null)
})

test('queue owner: what was given up before does not end a later wait', (t) => {
  const queue = owned()
  queue.claim('b', 3, { waits: true })
  queue.release('b', 2, 0)
  t.is(queue.waiting, 'b')
})

test('queue owner: only a later list takes a queue by force', (t) => {
  const queue = started({ assignEpoch: 4, owner: claimOf('a', 5) })
  for (const generation of [4, 5]) queue.claim('b', generation, { force: true })
  t.deepEqual(queue.orders(), ['refuse b for a', 'refuse b for a'])
  queue.claim('b', 6, { force: true })
  t.deepEqual(queue.orders(), ['record b 5', 'grant b 5'])
})

test('queue owner: of two lists that count alike neither takes a queue by force', (t) => {
  for (const number of [0, 2]) {
    const queue = started({ assignEpoch: 4, owner: claimOf('a', 5) })
    queue.send({ type: 'queue.claimed', ...claimOf('b', 5, 'b', number), force: true, waits: false })
    t.deepEqual(queue.orders(), ['refuse b for a'])
  }
})

test('queue owner: a list of a coordinator that knows nothing of the other takes nothing by force, whatever it counts', (t) => {
  for (const [count, order] of [
    [6, ['refuse b for a']],
    [400, ['refuse b for a']],
    [60_000, ['record b 5', 'grant b 5']],
  ] as const) {
    const queue = started({ assignEpoch: 4, owner: claimOf('a', 5) })
    queue.send({ type: 'queue.claimed', ...claimOf('b', count, 'b', 2), force: true, waits: false })
    t.deepEqual(queue.orders(), order as unknown as string[])
  }
})

test('queue owner: another process of the name is another one by a list that counts alike, the same one goes on', (t) => {
  for (const [by, order] of [
    ['a2', ['refuse a for a']],
    ['a', ['record a 5', 'grant a 5']],
  ] as const) {
    const queue = started({ assignEpoch: 4, owner: claimOf('a', 5) })
    queue.send({ type: 'queue.claimed', ...claimOf('a', 5, by, 2), force: false, waits: false })
    t.deepEqual(queue.orders(), order as unknown as string[])
  }
})

test('queue owner: whoever waited and then takes the queue by force is answered twice, and waits no more', (t) => {
  const queue = owned()
  queue.claim('b', 2, { waits: true })
  queue.claim('b', 2, { force: true })
  t.deepEqual(queue.orders(), ['record b 2', 'grant b 2', 'refuse b for a'])
  t.is(queue.waiting, null)
})

test('queue owner: whoever waits goes on waiting when a third one takes the queue by force', (t) => {
  const queue = owned()
  queue.claim('b', 2, { waits: true })
  queue.claim('c', 3, { force: true })
  t.is(queue.waiting, 'b')
  queue.orders()
  queue.release('c', 3, 2)
  t.deepEqual(queue.orders(), ['record nobody 2', 'record b 3', 'grant b 3'])
})

test('queue owner: a release that comes late NEVER undoes a newer claim', (t) => {
  const queue = owned()
  queue.claim('b', 2, { force: true })
  queue.orders()
  queue.release('a', 1, 1, 99)
  t.deepEqual(queue.orders(), [])
  t.is(queue.owner, 'b')
  queue.release('b', 2, 1)
  t.is(queue.owner, 'b')
})

test('queue owner: whoever does not know of its grant gives back what it claimed up to then', (t) => {
  const queue = started({ assignEpoch: 4, owner: claimOf('a', 5) })
  queue.release('a', 4, 0)
  t.is(queue.owner, 'a')
  queue.release('b', 9, 0)
  t.is(queue.owner, 'a')
  queue.release('a', 5, 0)
  t.is(queue.owner, null)
})

test('queue owner: an operator who sets the offset unseats the owner, who claims anew', (t) => {
  const queue = owned()
  queue.unseat(3)
  t.deepEqual(queue.orders(), ['record nobody 1 at 3'])
  queue.release('a', 1, 1, 99)
  t.deepEqual(queue.orders(), [])
  queue.claim('a', 1)
  t.deepEqual(queue.orders(), ['record a 2', 'grant a 2'])
})

test('queue owner: an operator who sets the offset lets in who waits', (t) => {
  const queue = owned()
  queue.claim('b', 2, { waits: true })
  queue.unseat(3)
  t.deepEqual(queue.orders(), ['record nobody 1 at 3', 'record b 2', 'grant b 2'])
})

test('queue owner: the offset of a queue that nobody owns is recorded, too', (t) => {
  const queue = started()
  queue.unseat(3)
  t.deepEqual(queue.orders(), ['record nobody 0 at 3'])
  t.is(queue.state, 'free')
})

test('queue owner: a queue whose owner is gone, says a LATER list, is free, and its offset stays', (t) => {
  const queue = owned()
  queue.gone('b', 2)
  queue.gone('a', 1)
  t.deepEqual(queue.orders(), [])
  queue.gone('a', 2)
  t.is(queue.state, 'free')
  t.deepEqual(queue.orders(), ['record nobody 1'])
  queue.release('a', 1, 1, 9)
  t.deepEqual(queue.orders(), [])
  queue.claim('a', 3)
  t.deepEqual(queue.orders(), ['record a 2', 'grant a 2'])
})

test('queue owner: of a list of another coordinator that counts alike none is gone', (t) => {
  const queue = owned()
  queue.gone('a', 1, 9)
  t.deepEqual(queue.orders(), [])
  t.is(queue.owner, 'a')
})

test('queue owner: an owner that has claimed anew is not taken for the one that went', (t) => {
  const queue = owned()
  queue.claim('a', 2)
  queue.orders()
  queue.gone('a', 2)
  t.is(queue.owner, 'a')
  t.deepEqual(queue.orders(), [])
})

test('queue owner: whoever waits for an owner that is gone is granted the queue', (t) => {
  const queue = owned()
  queue.claim('b', 2, { waits: true })
  queue.gone('a', 2)
  t.deepEqual(queue.orders(), ['record nobody 1', 'record b 2', 'grant b 2'])
  t.is(queue.waiting, null)
})

/** What a broker and its log know, beside the machine: whom it told what. */
const members = fc.constantFrom('a', 'b', 'c')
const instances = fc.constantFrom('i1', 'i2')
const generations = fc
  .tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 0, max: 1 }))
  .map(([count, number]) => generationOf(count, number))
const epochs = fc.integer({ min: 0, max: 6 })
const events: fc.Arbitrary<QueueOwnerEvent> = fc.oneof(
  fc.record({
    type: fc.constant('queue.claimed' as const),
    clientId: members,
    instance: instances,
    generation: generations,
    force: fc.boolean(),
    waits: fc.boolean(),
  }),
  fc.record({
    type: fc.constant('queue.released' as const),
    clientId: members,
    instance: instances,
    generation: generations,
    assignEpoch: epochs,
    offset: fc.constant(null),
  }),
  fc.record({
    type: fc.constant('claim.expired' as const),
    clientId: members,
    instance: instances,
    generation: generations,
  }),
  fc.record({ type: fc.constant('owner.gone' as const), clientId: members, generation: generations }),
  fc.record({ type: fc.constant('owner.unseated' as const), offset: fc.nat(9) }),
)

test('queue owner: AT MOST ONE member owns the queue under one assignEpoch, whatever comes in', (t) => {
  fc.assert(
    fc.property(fc.array(events, { maxLength: 40 }), (steps) => {
      const queue = stepper(queueOwnerMachine, { assignEpoch: 0, owner: null })
      const granted = new Map<number, string>()
      let recorded = { assignEpoch: 0, owner: null as { clientId: string; generation: number } | null }
      /** Of each member: claims that were not answered yet. */
      let open = 0
      for (const step of steps) {
        const before = { ...recorded }
        queue.send(step)
        if (step.type === 'queue.claimed') open++
        for (const { type, params } of queue.take()) {
          if (type === 'recordOwner') {
            if (params.assignEpoch < recorded.assignEpoch) return false
            if (params.owner && params.assignEpoch === recorded.assignEpoch) return false
            recorded = { assignEpoch: params.assignEpoch, owner: params.owner }
            continue
          }
          open--
          if (type === 'refuseClaim') continue
          // Told is only what is recorded, and no epoch belongs to two.
          if (recorded.assignEpoch !== params.assignEpoch) return false
          if (recorded.owner?.clientId !== params.clientId) return false
          if ((granted.get(params.assignEpoch) ?? params.clientId) !== params.clientId) return false
          granted.set(params.assignEpoch, params.clientId)
        }
        const { owner, assignEpoch, waiting } = queue.context
        if (owner?.clientId !== recorded.owner?.clientId || assignEpoch !== recorded.assignEpoch) return false
        // Every claim is answered once, or waits; and nobody waits for a queue that is free.
        if (open !== (waiting ? 1 : 0) || (waiting && !owner)) return false
        const isTaken = before.owner && owner && before.owner.clientId !== owner.clientId
        if (isTaken && step.type === 'queue.claimed') {
          if (!step.force || !isLater(step.generation, before.owner!.generation)) return false
        }
      }
      return true
    }),
    { numRuns: 2_000 },
  )
  t.pass()
})

test('queue owner: a machine that starts from the record goes on as the one before would have', (t) => {
  fc.assert(
    fc.property(fc.array(events, { maxLength: 20 }), fc.array(events, { maxLength: 20 }), (first, second) => {
      const before = stepper(queueOwnerMachine, { assignEpoch: 0, owner: null })
      for (const step of first) before.send(step)
      const { waiting } = before.context
      if (waiting) before.send({ type: 'claim.expired', ...waiting })
      before.take()
      const { assignEpoch, owner } = before.context
      const after = stepper(queueOwnerMachine, { assignEpoch, owner })
      for (const step of second) {
        before.send(step)
        after.send(step)
      }
      t.deepEqual(after.take(), before.take())
    }),
    { numRuns: 300 },
  )
})
