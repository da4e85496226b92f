import test from 'ava'
import { type ControllerEvent, controllerMachine, type Sign } from '../../machines/controller.ts'
import type { Head, Vote } from '../../machines/group-state.ts'
import { type Stepper, stepper } from '../support/stepper.ts'

type Controller = Stepper<typeof controllerMachine>

const start = () => stepper(controllerMachine, { controllerId: 'c', brokerName: 'a' })
const settings = { replicas: 3, minInSync: 1, replication: 'sync' as const }
const members = (...ids: number[]) => ids.map((brokerId) => ({ brokerId, lineage: 2 }))
const headOf = (change: Partial<Head> = {}): Head => ({
  revision: 10,
  writeId: 'w',
  epoch: 5,
  masterId: 0,
  masterIncarnation: 7,
  syncStateSet: members(0, 1, 2),
  ...settings,
  cause: 'failover',
  unclean: false,
  ...change,
})
const voteOf = (brokerId: number, change: Partial<Vote> = {}): Vote => ({
  brokerId,
  incarnation: 7,
  lineage: 2,
  promisedEpoch: 5,
  lastEpoch: 5,
  endPosition: 100,
  hearsMaster: false,
  ...change,
})
const beatOf = (change: Partial<Sign> = {}): ControllerEvent => ({
  type: 'beat.heard',
  settings,
  brokerId: 0,
  incarnation: 7,
  lineage: 2,
  epoch: 5,
  role: 'master',
  ...change,
})
const votes = (...given: Vote[]): ControllerEvent => ({ type: 'votes.collected', votes: given })
const gone: ControllerEvent = { type: 'probe.unreachable', brokerId: 0 }
const types = (controller: Controller) => controller.take().map(({ type }) => type)

/** It knows the head and hears the master. */
function tracking(change: Partial<Head> = {}): Controller {
  const controller = start()
  controller.send({ type: 'head.changed', head: headOf(change) })
  controller.take()
  return controller
}
/** The master did not answer twice. */
function balloting(change: Partial<Head> = {}, answer: ControllerEvent = gone): Controller {
  const controller = tracking(change)
  controller.expire('masterLate')
  controller.send(answer)
  controller.expire('probePause')
  controller.send(answer)
  controller.take()
  return controller
}
function proposed(controller: Controller) {
  const order = controller.take().find(({ type }) => type === 'swapState')
  return order?.type === 'swapState' ? order.params : null
}

test('controller: reads the head before it does anything, and again when no answer comes', (t) => {
  const controller = start()
  t.deepEqual(types(controller), ['readHead'])
  controller.expire('headRetry')
  t.deepEqual(types(controller), ['readHead'])
})

test('controller: the first master is chosen only when all replicas have voted, and has the longest log', (t) => {
  const controller = start()
  controller.send({ type: 'register.empty' })
  controller.send(beatOf({ role: 'waiting' }))
  controller.take()
  controller.send(votes(voteOf(0), voteOf(1)))
  t.deepEqual(controller.take(), [])
  controller.expire('bootRetry')
  t.deepEqual(controller.take(), [{ type: 'collectVotes', params: { replicas: 3 } }])
  controller.send(
    votes(voteOf(0, { lastEpoch: 4, endPosition: 900 }), voteOf(1), voteOf(2, { endPosition: 99 })),
  )
  const order = proposed(controller)
  t.is(order?.expected, 0)
  t.like(order?.state, { epoch: 6, masterId: 1, syncStateSet: members(1), cause: 'boot', ...settings })
})

test('controller: a register that was put back is read anew, and what is there counts however old it is', (t) => {
  const announced = balloting()
  announced.send(votes(voteOf(1)))
  announced.send({ type: 'swap.succeeded', writeId: announced.context.proposal!.writeId, revision: 11 })
  const places = { tracking: tracking(), balloting: balloting(), announced }
  for (const [name, controller] of Object.entries(places)) {
    controller.take()
    controller.send({ type: 'register.regressed' })
    t.deepEqual(types(controller), ['readHead'], name)
    controller.send({ type: 'head.changed', head: headOf({ revision: 3, epoch: 2, masterId: 1 }) })
    t.like(controller.context.head, { revision: 3, epoch: 2 }, name)
    controller.send(beatOf({ brokerId: 1, incarnation: 99 }))
    controller.take()
    controller.send(votes(voteOf(0, { promisedEpoch: 5 }), voteOf(1)))
    t.like(proposed(controller), { expected: 3 }, name)
  }
})

test('controller: a master that comes back with an empty folder, where it counts its starts anew, is replaced at once', (t) => {
  const controller = tracking()
  controller.send(beatOf({ incarnation: 1, lineage: 1, role: 'waiting' }))
  t.deepEqual(controller.take(), [], 'what an earlier start of it said')
  controller.send(beatOf({ lineage: 1_700_000_000, role: 'waiting' }))
  t.deepEqual(types(controller), ['collectVotes'])
})

test('controller: signs of life keep it quiet', (t) => {
  const controller = tracking()
  controller.send(beatOf())
  t.deepEqual(controller.take(), [])
  t.is(controller.timers.length, 1)
})

test('controller: a master that is late is asked; one answer is enough', (t) => {
  const controller = tracking()
  controller.expire('masterLate')
  t.deepEqual(controller.take(), [{ type: 'probeMaster', params: { brokerId: 0 } }])
  controller.send(gone)
  controller.expire('probePause')
  controller.send({ ...(beatOf() as Sign), type: 'probe.answered' })
  t.deepEqual(controller.state, { tracking: 'healthy' })
  controller.expire('masterLate')
  controller.send(gone)
  t.deepEqual(controller.state, { tracking: 'doubting' }, 'what was counted before counts no more')
})

test('controller: elects only after two probes in a row have failed', (t) => {
  const controller = balloting()
  t.is(controller.state, 'balloting')
  controller.send(votes(voteOf(1), voteOf(2, { endPosition: 120 })))
  const order = proposed(controller)
  t.is(order?.expected, 10)
  t.like(order?.state, {
    epoch: 6,
    masterId: 2,
    masterIncarnation: 7,
    syncStateSet: members(1, 2),
    cause: 'failover',
    unclean: false,
  })
})

test('controller: a master that others hear is not replaced because it is silent here', (t) => {
  for (const answer of [gone, { type: 'probe.silent', brokerId: 0 } as const]) {
    const controller = balloting({}, answer)
    controller.send(votes(voteOf(1, { hearsMaster: true }), voteOf(2)))
    t.deepEqual(controller.state, { tracking: 'healthy' })
  }
})

test('controller: what a replica outside of the set hears keeps no master', (t) => {
  const controller = balloting({ syncStateSet: members(0, 1) })
  controller.send(votes(voteOf(1), voteOf(2, { hearsMaster: true })))
  t.is(proposed(controller)?.state.masterId, 1)
})

test('controller: a master that votes is alive', (t) => {
  const controller = balloting()
  controller.send(votes(voteOf(0), voteOf(1)))
  t.deepEqual(controller.state, { tracking: 'healthy' })
})

test('controller: a master that was started anew is replaced at once, by itself if it has the longest log', (t) => {
  const controller = tracking()
  controller.send(beatOf({ incarnation: 8, role: 'waiting' }))
  t.deepEqual(types(controller), ['collectVotes'])
  controller.send(votes(voteOf(0, { incarnation: 8 }), voteOf(1, { hearsMaster: true, endPosition: 90 })))
  t.like(proposed(controller)?.state, { epoch: 6, masterId: 0, masterIncarnation: 8 })
})

test('controller: one that halted is passed over while there are others', (t) => {
  const controller = tracking()
  controller.send(beatOf({ role: 'halted' }))
  controller.send(votes(voteOf(0, { endPosition: 500 }), voteOf(1)))
  t.is(proposed(controller)?.state.masterId, 1)
})

test('controller: never elects outside of the set, nor a member that lost its log; it says so and waits', (t) => {
  const controller = balloting({ syncStateSet: members(0, 1) })
  controller.send(votes(voteOf(1, { lineage: 3, endPosition: 900 }), voteOf(2, { endPosition: 900 })))
  t.is(controller.state, 'stalled')
  const [alarm] = controller.take()
  t.like(alarm, { type: 'raiseAlarm', params: { code: 'NO_CLEAN_CANDIDATE' } })
  controller.send(beatOf({ brokerId: 1, incarnation: 9, lineage: 3, role: 'waiting' }))
  t.is(controller.state, 'stalled')
  controller.send(beatOf({ brokerId: 1, incarnation: 9, role: 'waiting' }))
  t.is(controller.state, 'balloting')
})

test('controller: a person may order the loss, and then the set is that replica alone', (t) => {
  const controller = balloting({ syncStateSet: members(0) })
  controller.send(votes(voteOf(1), voteOf(2)))
  controller.take()
  controller.send({ type: 'unclean.ordered', brokerId: 2 })
  t.deepEqual(types(controller), ['collectVotes'])
  controller.send(votes(voteOf(1, { endPosition: 900 }), voteOf(2)))
  t.like(proposed(controller)?.state, {
    masterId: 2,
    syncStateSet: members(2),
    cause: 'unclean',
    unclean: true,
  })
})

test('controller: the set never shrinks below the replicas that must be in sync', (t) => {
  const controller = balloting({ minInSync: 2 })
  controller.send(votes(voteOf(1)))
  t.deepEqual(proposed(controller)?.state.syncStateSet, members(0, 1, 2))
})

test('controller: the new epoch is above every promise', (t) => {
  const controller = balloting()
  controller.send(votes(voteOf(1, { promisedEpoch: 8 }), voteOf(2)))
  t.is(proposed(controller)?.state.epoch, 9)
})

test('controller: settings that changed hold from the next epoch on', (t) => {
  const controller = tracking({ replication: 'async' })
  controller.send(beatOf())
  controller.expire('masterLate')
  controller.send(gone)
  controller.expire('probePause')
  controller.send(gone)
  controller.send(votes(voteOf(1), voteOf(2)))
  t.is(proposed(controller)?.state.replication, 'sync')
})

test('controller: what a master that was started anew tells of the settings holds in the epoch that it causes', (t) => {
  const controller = tracking({ replication: 'async' })
  controller.send(beatOf({ incarnation: 8, role: 'waiting' }))
  controller.send(votes(voteOf(0, { incarnation: 8 }), voteOf(1)))
  t.is(proposed(controller)?.state.replication, 'sync')
})

test('controller: so does what a candidate tells when nobody could be elected before it came', (t) => {
  const controller = balloting({ replication: 'async' })
  controller.send(votes())
  controller.send(beatOf({ brokerId: 1, role: 'waiting' }))
  controller.send(votes(voteOf(1)))
  t.is(proposed(controller)?.state.replication, 'sync')
})

const writeId = 'controller/c@10'

test('controller: a swap whose outcome is unknown is tried again as it was', (t) => {
  const controller = balloting()
  controller.send(votes(voteOf(1)))
  const first = proposed(controller)
  controller.send({ type: 'swap.unknown', writeId })
  t.deepEqual(controller.take(), [])
  controller.expire('swapRetry')
  t.deepEqual(proposed(controller), first)
  controller.send({ type: 'swap.conflicted', writeId, head: { ...first!.state, revision: 11 } })
  t.is(controller.state, 'announced')
})

test('controller: of two, the one that comes late follows the other', (t) => {
  const controller = balloting()
  controller.send(votes(voteOf(1)))
  const other = headOf({ revision: 11, writeId: 'x', epoch: 6, masterId: 2 })
  controller.send({ type: 'swap.conflicted', writeId, head: other })
  t.deepEqual(controller.state, { tracking: 'healthy' })
  t.deepEqual(controller.context.head, other)
})

test('controller: a winner that does not serve is passed over for another', (t) => {
  const controller = balloting()
  controller.send(votes(voteOf(1), voteOf(2, { endPosition: 120 })))
  controller.send({ type: 'swap.succeeded', writeId, revision: 11 })
  controller.expire('promoteLimit')
  controller.take()
  controller.send(votes(voteOf(1), voteOf(2, { endPosition: 120 })))
  t.like(proposed(controller)?.state, { epoch: 7, masterId: 1 })
})

test('controller: a winner that serves is tracked', (t) => {
  const controller = balloting()
  controller.send(votes(voteOf(1)))
  controller.send({ type: 'swap.succeeded', writeId, revision: 11 })
  controller.send(beatOf({ brokerId: 1, epoch: 6, role: 'promoting' }))
  t.deepEqual(controller.state, { tracking: 'healthy' })
})

test('controller: a group without a master gets one', (t) => {
  const controller = tracking({ masterId: null })
  t.is(controller.state, 'balloting')
})

test('controller: the answer to an earlier swap is not heard', (t) => {
  const controller = balloting()
  controller.send(votes(voteOf(1), voteOf(2)))
  controller.take()
  const other = { writeId: 'controller/c@2' }
  for (const event of [
    { type: 'swap.conflicted', ...other, head: headOf({ revision: 11 }) },
    { type: 'swap.succeeded', ...other, revision: 11 },
    { type: 'swap.unknown', ...other },
  ] satisfies ControllerEvent[]) {
    controller.send(event)
    t.deepEqual(controller.state, { committing: 'swapping' })
  }
  t.deepEqual(controller.take(), [])
})

test('controller: reads anew when the register has lost its value', (t) => {
  const controller = balloting()
  controller.send(votes(voteOf(1), voteOf(2)))
  controller.take()
  controller.send({ type: 'swap.conflicted', writeId: 'controller/c@10', head: null })
  t.is(controller.state, 'reading')
  t.is(controller.context.head, null)
  t.deepEqual(types(controller), ['readHead'])
})

test('controller: waits for a master that lives and does not know yet that it is one', (t) => {
  const controller = tracking()
  controller.expire('masterLate')
  const { brokerId, incarnation, lineage, epoch } = { brokerId: 0, incarnation: 7, lineage: 2, epoch: 4 }
  controller.send({ type: 'probe.answered', brokerId, incarnation, lineage, epoch, role: 'slave' })
  t.is(controller.state, 'announced')
  controller.send(beatOf({ role: 'promoting' }))
  t.deepEqual(controller.state, { tracking: 'healthy' })
})

test('controller: a newer head ends what it was about, and an older one is not heard', (t) => {
  for (const controller of [tracking(), balloting()]) {
    controller.send({ type: 'head.changed', head: headOf({ revision: 12, epoch: 6 }) })
    t.deepEqual(controller.state, { tracking: 'healthy' })
    controller.send({ type: 'head.changed', head: headOf({ revision: 11 }) })
    t.is(controller.context.head?.revision, 12)
  }
})

test('controller: whoever is ordered to be master must be there', (t) => {
  const controller = balloting({ syncStateSet: members(0) })
  controller.send(votes(voteOf(1), voteOf(2)))
  t.is(controller.state, 'stalled')
  controller.send({ type: 'unclean.ordered', brokerId: 1 })
  controller.send(votes(voteOf(2)))
  t.is(controller.state, 'stalled')
})
