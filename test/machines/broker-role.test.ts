import test from 'ava'
import { type BrokerRoleEvent, brokerRoleMachine } from '../../machines/broker-role.ts'
import type { Head } from '../../machines/group-state.ts'
import { type Stepper, stepper } from '../support/stepper.ts'

type Broker = Stepper<typeof brokerRoleMachine>
const ioError = { code: 'ioError', message: 'the disk is gone' }

const start = () => stepper(brokerRoleMachine, { brokerName: 'a', brokerId: 0 })

const members = (...ids: number[]) => ids.map((brokerId) => ({ brokerId, lineage: 2 }))
const headOf = (change: Partial<Head> = {}): Head => ({
  revision: 10,
  writeId: 'w',
  epoch: 5,
  masterId: 0,
  masterIncarnation: 7,
  syncStateSet: members(0, 1),
  replicas: 3,
  minInSync: 1,
  replication: 'sync',
  cause: 'failover',
  unclean: false,
  ...change,
})
const heard = (change: Partial<Head> = {}): BrokerRoleEvent => ({
  type: 'head.changed',
  head: headOf(change),
})

/** Moves, in order: each is what the world answers when all goes well. */
const moves = {
  load: { type: 'store.loaded', epoch: 4, incarnation: 6, lineage: 2, mayHaveLost: false },
  register: { type: 'incarnation.persisted', incarnation: 7, lineage: 2 },
  elect: heard(),
  persist: { type: 'epoch.persisted', epoch: 5 },
  mark: { type: 'epoch.marked', epoch: 5 },
  open: { type: 'gate.opened', epoch: 5 },
} satisfies Record<string, BrokerRoleEvent>
type Move = keyof typeof moves
function after(last: Move): Broker {
  const broker = start()
  for (const [name, event] of Object.entries(moves)) {
    broker.send(event)
    if (name === last) break
  }
  broker.take()
  return broker
}
/** A slave of replica 1 in epoch 5 that streams. */
function slave(): Broker {
  const broker = after('register')
  broker.send(heard({ masterId: 1 }))
  broker.send(moves.persist)
  broker.send({ type: 'stream.started', epoch: 5 })
  broker.take()
  return broker
}
const types = (broker: Broker) => broker.take().map(({ type }) => type)

test('broker: is a new incarnation, on disk before anything else is asked', (t) => {
  const broker = start()
  t.deepEqual(broker.take(), [{ type: 'loadStore' }])
  broker.send(moves.load)
  t.deepEqual(broker.take(), [{ type: 'persistIncarnation', params: { incarnation: 7, lineage: 2 } }])
  broker.send(moves.register)
  t.is(broker.state, 'awaitingHead')
  t.deepEqual(broker.take(), [{ type: 'readHead', params: { epoch: 4, incarnation: 7 } }])
})

test('broker: before the gate opens, the epoch is on disk and then marked in the log', (t) => {
  const broker = after('register')
  broker.send(moves.elect)
  t.deepEqual(broker.take(), [{ type: 'persistEpoch', params: { epoch: 5 } }])
  broker.send(moves.persist)
  t.deepEqual(broker.take(), [
    { type: 'markEpoch', params: { epoch: 5, members: members(0, 1), minInSync: 1, replication: 'sync' } },
  ])
  broker.send(moves.mark)
  t.deepEqual(broker.take(), [{ type: 'openGate', params: { epoch: 5 } }])
  t.false(broker.hasTag('accepts-writes'))
  broker.send(moves.open)
  t.true(broker.hasTag('accepts-writes'))
  t.deepEqual(broker.take(), [
    { type: 'registerBroker', params: { epoch: 5, role: 'master' } },
    { type: 'countMembers', params: { members: members(0, 1) } },
  ])
})

test('broker: never continues the epoch of its earlier incarnation', (t) => {
  const broker = after('register')
  broker.send(heard({ masterIncarnation: 6 }))
  t.is(broker.state, 'waiting')
  t.deepEqual(types(broker), ['serveOrphans'])
  broker.send(heard({ revision: 11, epoch: 6 }))
  t.deepEqual(broker.state, { promoting: { sealing: 'persisting' } })
})

test('broker: a head of an older epoch than it promised is never acted on, and is told', (t) => {
  const broker = slave()
  broker.send(heard({ revision: 99, epoch: 4 }))
  t.deepEqual(broker.state, { slave: { following: 'catchingUp' } })
  t.deepEqual(types(broker), ['raiseAlarm'])
  t.is(broker.context.alarm?.code, 'REGISTER_REGRESSED')
})

test('broker: what comes late from the register changes nothing', (t) => {
  const broker = slave()
  broker.send(heard({ revision: 9, masterId: 2 }))
  t.is(broker.context.head?.masterId, 1)
  t.deepEqual(broker.take(), [])
})

test('broker: a newer epoch counts whatever its revision: a register that was put back counts anew', (t) => {
  const following = slave()
  following.send(heard({ revision: 3, epoch: 6, masterId: 2 }))
  t.is(following.context.head?.masterId, 2)
  t.like(following.take().at(-1), { type: 'persistEpoch', params: { epoch: 6 } })
  const waiting = after('register')
  waiting.send(heard({ masterIncarnation: 6 }))
  waiting.send(heard({ revision: 3, epoch: 6 }))
  t.deepEqual(waiting.state, { promoting: { sealing: 'persisting' } })
})

test('broker: asks again when no head comes', (t) => {
  const broker = after('register')
  broker.expire('headRetry')
  t.deepEqual(types(broker), ['readHead'])
})

test('broker: the higher epoch wins, whoever it elects', (t) => {
  for (const last of ['elect', 'persist', 'mark', 'open'] as const) {
    const broker = after(last)
    broker.send(heard({ revision: 11, syncStateSet: members(0) }))
    t.not(broker.state, 'demoting')
    broker.send(heard({ revision: 12, epoch: 6, masterId: 1 }))
    t.is(broker.state, 'demoting')
    t.deepEqual(broker.take(), [{ type: 'closeGate', params: { epoch: 5, drain: false } }])
  }
})

test('broker: a deposed master follows only after its gate is closed and the new epoch promised', (t) => {
  const broker = after('open')
  broker.send(heard({ revision: 11, epoch: 6, masterId: 1 }))
  broker.take()
  broker.send({ type: 'gate.drained' })
  t.deepEqual(broker.take(), [{ type: 'persistEpoch', params: { epoch: 6 } }])
  broker.send({ type: 'epoch.persisted', epoch: 6 })
  t.deepEqual(broker.take(), [
    { type: 'followMaster', params: { epoch: 6, masterId: 1 } },
    { type: 'registerBroker', params: { epoch: 6, role: 'slave' } },
  ])
})

test('broker: an answer for an older epoch does not promote it', (t) => {
  const broker = after('elect')
  broker.send({ type: 'epoch.persisted', epoch: 4 })
  t.deepEqual(broker.state, { promoting: { sealing: 'persisting' } })
  broker.send(moves.persist)
  broker.send({ type: 'epoch.marked', epoch: 4 })
  t.deepEqual(broker.state, { promoting: { sealing: 'marking' } })
})

test('broker: a full disk blocks writes and leaves reads', (t) => {
  const broker = after('open')
  broker.send({ type: 'disk.filled' })
  t.deepEqual(broker.state, { master: { service: 'blocked', membership: 'settled' } })
  t.false(broker.hasTag('accepts-writes'))
  t.true(broker.hasTag('serves-reads'))
  broker.send({ type: 'disk.freed' })
  t.true(broker.hasTag('accepts-writes'))
})

test('broker: a disk that filled before the promotion blocks the new master', (t) => {
  const broker = after('mark')
  broker.send({ type: 'disk.filled' })
  broker.send(moves.open)
  t.deepEqual(broker.state, { master: { service: 'blocked', membership: 'settled' } })
})

test('broker: halts and says so when the disk cannot be trusted', (t) => {
  const failures: [Move | null, BrokerRoleEvent][] = [
    [null, { type: 'store.failed', ...ioError }],
    ['load', { type: 'incarnation.failed', ...ioError }],
    ['elect', { type: 'epoch.failed', ...ioError }],
    ['persist', { type: 'epoch.failed', ...ioError }],
    ['open', { type: 'log.failed', ...ioError }],
  ]
  for (const [last, event] of failures) {
    const broker = last ? after(last) : start()
    broker.take()
    broker.send(event)
    t.is(broker.state, 'halted')
    t.deepEqual(broker.take()[0], { type: 'raiseAlarm', params: ioError })
    t.deepEqual(broker.context.alarm, ioError)
  }
})

test('broker: a halted one serves nobody and never leaves by itself', (t) => {
  const broker = after('open')
  broker.send({ type: 'log.failed', ...ioError })
  t.deepEqual(types(broker), ['raiseAlarm', 'closeGate', 'unregisterBroker'])
  broker.send(heard({ revision: 11, epoch: 9 }))
  t.is(broker.state, 'halted')
  t.deepEqual(broker.timers, [])
})

test('broker: a stop out of halted leaves the store as it lies', (t) => {
  const broker = after('open')
  broker.send({ type: 'log.failed', ...ioError })
  broker.take()
  broker.send({ type: 'stop.requested' })
  t.deepEqual(broker.take(), [{ type: 'closeStore', params: { clean: false } }])
  broker.send({ type: 'store.closed' })
  t.is(broker.state, 'stopped')
})

test('broker: a clean stop drains the gate before it closes the store', (t) => {
  const broker = after('open')
  broker.send({ type: 'stop.requested' })
  t.deepEqual(types(broker), ['unregisterBroker', 'closeGate'])
  t.false(broker.hasTag('accepts-writes'))
  broker.send({ type: 'gate.drained' })
  t.deepEqual(broker.take(), [{ type: 'closeStore', params: { clean: true } }])
  broker.send({ type: 'store.closed' })
  t.is(broker.state, 'stopped')
})

test('broker: a gate that does not drain holds up a stop for the drain limit only', (t) => {
  const broker = after('open')
  broker.send({ type: 'stop.requested' })
  broker.take()
  broker.expire('drainLimit')
  t.deepEqual(types(broker), ['closeStore'])
})

test('broker: a log that fails while it stops is not called clean', (t) => {
  const broker = after('open')
  broker.send({ type: 'stop.requested' })
  broker.send({ type: 'gate.drained' })
  broker.take()
  broker.send({ type: 'log.failed', ...ioError })
  t.deepEqual(broker.take(), [
    { type: 'raiseAlarm', params: ioError },
    { type: 'closeStore', params: { clean: false } },
  ])
})

test('broker: can be stopped wherever it is', (t) => {
  for (const last of [null, ...(Object.keys(moves) as Move[])]) {
    const broker = last ? after(last) : start()
    broker.send({ type: 'stop.requested' })
    broker.send({ type: 'gate.drained' })
    broker.send({ type: 'store.closed' })
    t.is(broker.state, 'stopped', `after ${last}`)
  }
})

// ------------------------------------------------------------------------------------------------------ a slave

test('slave: promises the epoch on disk before it follows', (t) => {
  const broker = after('register')
  broker.send(heard({ masterId: 1 }))
  t.deepEqual(broker.take(), [{ type: 'persistEpoch', params: { epoch: 5 } }])
  broker.send({ type: 'epoch.persisted', epoch: 4 })
  t.deepEqual(broker.take(), [])
  broker.send(moves.persist)
  t.deepEqual(types(broker), ['followMaster', 'registerBroker'])
})

test('slave: members come and go without a break in the stream', (t) => {
  const broker = slave()
  broker.send(heard({ revision: 11, masterId: 1, syncStateSet: members(0, 1, 2) }))
  t.deepEqual(broker.take(), [])
  t.is(broker.context.head?.revision, 11)
})

test('slave: a new mastership ends the stream', (t) => {
  const broker = slave()
  broker.send(heard({ revision: 11, epoch: 6, masterId: 2 }))
  t.deepEqual(broker.take(), [{ type: 'stopFollowing' }, { type: 'persistEpoch', params: { epoch: 6 } }])
})

test('slave: cuts where the logs differ, and asks again; a head that comes meanwhile waits', (t) => {
  const broker = slave()
  broker.send({ type: 'log.diverged', epoch: 5, to: 70, confirm: 70 })
  t.deepEqual(broker.take(), [{ type: 'stopFollowing' }, { type: 'truncateLog', params: { to: 70 } }])
  broker.send(heard({ revision: 11, epoch: 6, masterId: 2 }))
  t.deepEqual(broker.take(), [])
  broker.send({ type: 'log.truncated' })
  t.deepEqual(broker.take(), [{ type: 'persistEpoch', params: { epoch: 6 } }])
})

test('slave: halts rather than cut what is confirmed', (t) => {
  const broker = slave()
  broker.send({ type: 'log.diverged', epoch: 5, to: 69, confirm: 70 })
  t.is(broker.state, 'halted')
  t.is(broker.context.alarm?.code, 'TRUNCATION_BELOW_CONFIRMED')
})

test('slave: cuts what is confirmed when somebody ordered the loss', (t) => {
  const broker = after('register')
  broker.send(heard({ masterId: 1, unclean: true }))
  broker.send(moves.persist)
  broker.send({ type: 'log.diverged', epoch: 5, to: 69, confirm: 70 })
  t.deepEqual(broker.state, { slave: 'truncating' })
})

test('slave: reports of another epoch are not heard', (t) => {
  const broker = slave()
  for (const event of [
    { type: 'log.diverged', epoch: 4, to: 0, confirm: 70 },
    { type: 'log.gone', epoch: 4, minPosition: 9 },
    { type: 'master.silent', epoch: 4 },
    { type: 'stream.caughtUp', epoch: 4 },
  ] as const)
    broker.send(event)
  t.deepEqual(broker.state, { slave: { following: 'catchingUp' } })
})

test('slave: a log that the master no longer has the beginning of begins anew, under a lineage of its own', (t) => {
  const broker = slave()
  broker.send({ type: 'log.gone', epoch: 5, minPosition: 900 })
  t.deepEqual(broker.take(), [
    { type: 'stopFollowing' },
    { type: 'persistIncarnation', params: { incarnation: 7, lineage: 3 } },
  ])
  broker.send({ type: 'incarnation.persisted', incarnation: 7, lineage: 2 })
  t.deepEqual(broker.take(), [])
  broker.send({ type: 'incarnation.persisted', incarnation: 7, lineage: 3 })
  t.deepEqual(broker.take(), [{ type: 'emptyLog', params: { position: 900 } }])
  broker.send({ type: 'log.emptied' })
  t.deepEqual(types(broker), ['followMaster', 'registerBroker'])
})

const noRoom = { code: 'diskFull', message: 'no space left on device' }

test('slave: a disk without room for its promise, or for a cut, is tried again: it does not halt', (t) => {
  const broker = after('register')
  broker.send(heard({ masterId: 1 }))
  for (let i = 0; i < 2; i++) {
    broker.take()
    broker.send({ type: 'epoch.failed', ...noRoom })
    t.deepEqual(broker.state, { slave: 'awaitingRoom' })
    t.like(broker.context.alarm, noRoom)
    broker.expire('roomRetry')
    t.deepEqual(broker.take(), [{ type: 'persistEpoch', params: { epoch: 5 } }])
  }
  broker.send(moves.persist)
  t.is(broker.context.alarm, null)
  broker.send({ type: 'log.diverged', epoch: 5, to: 70, confirm: 60 })
  broker.take()
  broker.send({ type: 'log.failed', ...noRoom })
  broker.send(heard({ revision: 11, epoch: 6, masterId: 2 }))
  t.deepEqual(broker.take(), [])
  broker.expire('roomRetry')
  t.deepEqual(broker.take(), [{ type: 'truncateLog', params: { to: 70 } }])
  broker.send({ type: 'log.truncated' })
  t.deepEqual(broker.take(), [{ type: 'persistEpoch', params: { epoch: 6 } }])
  broker.send({ type: 'epoch.failed', code: 'ioError', message: 'the disk is broken' })
  t.is(broker.state, 'halted')
})

test('broker: one that is elected and has no room for its promise waits until somebody is elected anew', (t) => {
  const broker = after('elect')
  broker.take()
  broker.send({ type: 'epoch.failed', ...noRoom })
  t.is(broker.state, 'waiting')
  broker.send(heard({ revision: 11 }))
  t.is(broker.state, 'waiting')
  broker.send(heard({ revision: 12, epoch: 6 }))
  t.deepEqual(broker.state, { promoting: { sealing: 'persisting' } })
})

test('slave: serves readers while its master is silent', (t) => {
  const broker = slave()
  t.false(broker.hasTag('serves-reads'))
  broker.send({ type: 'master.silent', epoch: 5 })
  t.deepEqual(types(broker), ['serveOrphans'])
  broker.send({ type: 'master.heard', epoch: 5 })
  t.deepEqual(types(broker), ['leaveOrphans'])
})

test('broker: is nobody’s master with another log than the one it was elected for', (t) => {
  const broker = start()
  broker.send({ ...moves.load, mayHaveLost: true })
  broker.send({ type: 'incarnation.persisted', incarnation: 7, lineage: 3 })
  broker.send(heard())
  t.is(broker.state, 'waiting')
})

test('broker: a start that may have lost something has a new lineage', (t) => {
  const broker = start()
  broker.send({ ...moves.load, mayHaveLost: true })
  t.deepEqual(broker.take().at(-1), {
    type: 'persistIncarnation',
    params: { incarnation: 7, lineage: 3 },
  })
})

test('broker: replicas that acknowledge late wait out the lease before they are promoted', (t) => {
  const broker = after('register')
  broker.send(heard({ replication: 'async' }))
  t.deepEqual(broker.take(), [{ type: 'awaitLease', params: { epoch: 5 } }])
  broker.send({ type: 'lease.expired', epoch: 5 })
  t.deepEqual(broker.take(), [{ type: 'persistEpoch', params: { epoch: 5 } }])
})

// ----------------------------------------------------------------------------------------------------- a master

const writeId = 'broker/0/7@10'
const swapped = (broker: Broker) => {
  const order = broker.take().find(({ type }) => type === 'swapState')
  return order?.type === 'swapState' ? order.params : null
}

test('master: admits a replica that has caught up, and counts it when the register has it', (t) => {
  const broker = after('open')
  broker.send({ type: 'follower.caughtUp', epoch: 5, brokerId: 2, lineage: 2 })
  const order = swapped(broker)
  t.is(order?.expected, 10)
  t.like(order?.state, { writeId, epoch: 5, syncStateSet: members(0, 1, 2), cause: 'expand' })
  broker.send({ type: 'swap.succeeded', writeId, revision: 11 })
  t.deepEqual(broker.take(), [{ type: 'countMembers', params: { members: members(0, 1, 2) } }])
  t.is(broker.context.head?.revision, 11)
})

test('master: one change of the set at a time', (t) => {
  const broker = after('open')
  broker.send({ type: 'follower.caughtUp', epoch: 5, brokerId: 2, lineage: 2 })
  broker.take()
  broker.send({ type: 'follower.lagging', epoch: 5, brokerId: 1 })
  broker.send({ type: 'handover.requested', brokerId: 1, incarnation: 3 })
  t.deepEqual(types(broker), ['refuseHandover'])
})

test('master: neither a member nor a stranger of another epoch is admitted', (t) => {
  const broker = after('open')
  broker.send({ type: 'follower.caughtUp', epoch: 5, brokerId: 1, lineage: 2 })
  broker.send({ type: 'follower.caughtUp', epoch: 4, brokerId: 2, lineage: 2 })
  t.deepEqual(broker.take(), [])
})

test('master: a member that came back with another log is admitted anew', (t) => {
  const broker = after('open')
  broker.send({ type: 'follower.caughtUp', epoch: 5, brokerId: 1, lineage: 3 })
  t.deepEqual(swapped(broker)?.state.syncStateSet, [members(0)[0]!, { brokerId: 1, lineage: 3 }])
})

test('master: never drops below the replicas that must be in sync', (t) => {
  const broker = after('register')
  broker.send(heard({ minInSync: 2 }))
  for (const move of ['persist', 'mark', 'open'] as const) broker.send(moves[move])
  broker.take()
  broker.send({ type: 'follower.lagging', epoch: 5, brokerId: 1 })
  t.deepEqual(broker.take(), [])
})

test('master: with too few replicas in sync it takes no message', (t) => {
  const broker = after('register')
  broker.send(heard({ minInSync: 3 }))
  for (const move of ['persist', 'mark', 'open'] as const) broker.send(moves[move])
  t.false(broker.hasTag('accepts-writes'))
})

test('master: takes no message while a member is gone that may not be dropped', (t) => {
  const broker = after('register')
  broker.send(heard({ minInSync: 2 }))
  for (const move of ['persist', 'mark', 'open'] as const) broker.send(moves[move])
  const lagging = { type: 'follower.lagging', epoch: 5, brokerId: 1 } as const
  const caughtUp = { type: 'follower.caughtUp', epoch: 5, brokerId: 1, lineage: 2 } as const
  for (let i = 0; i < 2; i++) {
    broker.send({ ...lagging, epoch: 4 })
    t.true(broker.hasTag('accepts-writes'))
    broker.send(lagging)
    broker.send(lagging)
    t.false(broker.hasTag('accepts-writes'))
    broker.send({ ...caughtUp, brokerId: 2, epoch: 4 })
    t.false(broker.hasTag('accepts-writes'))
    broker.send(caughtUp)
  }
  t.true(broker.hasTag('accepts-writes'))
  broker.take()
  broker.send(lagging)
  // A third one takes its place: the one that is gone may be dropped, and enough are there BEFORE it is.
  broker.send({ ...caughtUp, brokerId: 2 })
  broker.send({ type: 'swap.succeeded', writeId: broker.context.proposal!.writeId, revision: 11 })
  t.true(broker.hasTag('accepts-writes'))
  broker.send(lagging)
  t.deepEqual(broker.context.missing, [])
  t.deepEqual(broker.context.proposal?.syncStateSet, members(0, 2))
})

test('master: a swap whose outcome is unknown is tried again as it was, and is no failure', (t) => {
  const broker = after('open')
  broker.send({ type: 'follower.lagging', epoch: 5, brokerId: 1 })
  const first = swapped(broker)
  broker.send({ type: 'swap.unknown', writeId })
  t.deepEqual(broker.take(), [])
  broker.expire('swapRetry')
  t.deepEqual(swapped(broker), first)
  const head = { ...first!.state, revision: 11 }
  broker.send({ type: 'swap.conflicted', writeId, head })
  t.deepEqual(broker.take(), [{ type: 'countMembers', params: { members: members(0) } }])
})

test('master: a register that lost everything is asked again, and who repaired it is heard', (t) => {
  const broker = after('open')
  broker.send({ type: 'follower.lagging', epoch: 5, brokerId: 1 })
  broker.send({ type: 'swap.conflicted', writeId, head: null })
  broker.take()
  broker.expire('swapRetry')
  t.deepEqual(types(broker), ['swapState'])
})

test('master: another value in the register is adopted, and one of a newer epoch deposes', (t) => {
  const changed = headOf({ revision: 11, writeId: 'x', minInSync: 2 })
  const newer = headOf({ revision: 11, writeId: 'x', epoch: 6, masterId: 1 })
  for (const [head, state] of [
    [changed, { master: { service: 'serving', membership: 'settled' } }],
    [newer, 'demoting'],
  ] as const) {
    const broker = after('open')
    broker.send({ type: 'follower.lagging', epoch: 5, brokerId: 1 })
    broker.send({ type: 'swap.conflicted', writeId, head })
    t.deepEqual(broker.state, state)
    t.deepEqual(broker.context.head, head)
  }
})

test('master: hands over only after its successor has everything, and then follows it', (t) => {
  const broker = after('open')
  broker.send({ type: 'handover.requested', brokerId: 1, incarnation: 3 })
  t.deepEqual(broker.take(), [{ type: 'holdSends', params: { brokerId: 1 } }])
  broker.send({ type: 'log.drained', epoch: 5, brokerId: 2 })
  t.deepEqual(broker.take(), [])
  broker.send({ type: 'log.drained', epoch: 5, brokerId: 1 })
  t.like(swapped(broker)?.state, { epoch: 6, masterId: 1, masterIncarnation: 3, cause: 'handover' })
  broker.send({ type: 'swap.succeeded', writeId, revision: 11 })
  t.is(broker.state, 'demoting')
  broker.send({ type: 'gate.drained' })
  t.deepEqual(types(broker), ['closeGate', 'persistEpoch'])
})

test('master: never serves on while it does not know whether it has handed over', (t) => {
  const broker = after('open')
  broker.send({ type: 'handover.requested', brokerId: 1, incarnation: 3 })
  broker.send({ type: 'log.drained', epoch: 5, brokerId: 1 })
  broker.take()
  broker.send({ type: 'swap.unknown', writeId })
  t.deepEqual(
    broker.timers.filter((name) => name.includes('handoverLimit')),
    [],
  )
  broker.expire('swapRetry')
  t.deepEqual(types(broker), ['swapState'])
})

test('master: a handover that takes too long is called off, and what was kept back goes on', (t) => {
  const broker = after('open')
  broker.send({ type: 'handover.requested', brokerId: 1, incarnation: 3 })
  broker.take()
  broker.expire('handoverLimit')
  t.deepEqual(types(broker), ['releaseSends', 'refuseHandover', 'countMembers'])
})

test('master: only a member of the set can take over', (t) => {
  for (const brokerId of [0, 2]) {
    const broker = after('open')
    broker.send({ type: 'handover.requested', brokerId, incarnation: 3 })
    t.deepEqual(types(broker), ['refuseHandover'])
  }
})

test('broker: halts when another process is the same replica', (t) => {
  const broker = slave()
  broker.send({ type: 'replica.refused', code: 'DUPLICATE_REPLICA', message: 'twice' })
  t.is(broker.state, 'halted')
})

test('broker: follows at once in an epoch that it had promised before it started anew', (t) => {
  const broker = after('register')
  broker.send(heard({ epoch: 4, masterId: 1 }))
  t.deepEqual(types(broker), ['followMaster', 'registerBroker'])
})

test('broker: outwaits no lease when mastership was handed to it', (t) => {
  const broker = after('register')
  broker.send(heard({ replication: 'async', cause: 'handover' }))
  t.deepEqual(types(broker), ['persistEpoch'])
})

test('slave: a log that is emptied is nobody’s until that is on disk', (t) => {
  const broker = slave()
  broker.send({ type: 'log.gone', epoch: 5, minPosition: 700 })
  broker.send({ type: 'incarnation.persisted', incarnation: 7, lineage: 3 })
  broker.take()
  // It was elected with the log that is gone by now.
  broker.send(heard({ epoch: 6, revision: 11 }))
  t.deepEqual(broker.take(), [])
  broker.send({ type: 'log.emptied' })
  t.is(broker.state, 'waiting')
})

test('master: the answer to a swap of an earlier mastership is not heard', (t) => {
  const broker = after('open')
  broker.send({ type: 'follower.lagging', epoch: 5, brokerId: 1 })
  broker.take()
  const other = { writeId: 'broker/0/7@3', head: headOf({ revision: 11 }) }
  for (const event of [
    { type: 'swap.conflicted', ...other },
    { type: 'swap.succeeded', writeId: other.writeId, revision: 11 },
    { type: 'swap.unknown', writeId: other.writeId },
  ] satisfies BrokerRoleEvent[]) {
    broker.send(event)
    t.deepEqual(broker.take(), [])
    t.like(broker.state, { master: { membership: { proposing: 'swapping' } } })
  }
})

test('master: an order that messages may be lost stays until every replica is in the set', (t) => {
  const broker = after('register')
  broker.send(heard({ syncStateSet: members(0), unclean: true }))
  for (const move of ['persist', 'mark', 'open'] as const) broker.send(moves[move])
  broker.take()
  for (const [brokerId, unclean] of [
    [1, true],
    [2, false],
  ] as const) {
    broker.send({ type: 'follower.caughtUp', epoch: 5, brokerId, lineage: 0 })
    const swap = broker.take().at(-1)
    if (swap?.type !== 'swapState') return t.fail()
    t.is(swap.params.state.unclean, unclean)
    const { expected, state } = swap.params
    broker.send({ type: 'swap.succeeded', writeId: state.writeId, revision: expected + 1 })
  }
})
