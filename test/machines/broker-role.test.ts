import test from 'ava'
import { type BrokerRoleEvent, brokerRoleMachine } from '../../machines/broker-role.ts'
import { type Stepper, stepper } from '../support/stepper.ts'

type Broker = Stepper<typeof brokerRoleMachine>
const ioError = { code: 'ioError', message: 'the disk is gone' }

const start = () => stepper(brokerRoleMachine, { brokerName: 'a', brokerId: 0 })

/** Moves, in order: each is what the world answers when all goes well. */
const moves = {
  load: { type: 'store.loaded', epoch: 4, incarnation: 6, endPosition: 100 },
  register: { type: 'incarnation.persisted', incarnation: 7 },
  elect: { type: 'head.changed', epoch: 5, masterId: 0, masterIncarnation: 7 },
  persist: { type: 'epoch.persisted', epoch: 5 },
  mark: { type: 'epoch.marked', epoch: 5, position: 140 },
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
const types = (broker: Broker) => broker.take().map(({ type }) => type)

test('broker: is a new incarnation, on disk before anything else is asked', (t) => {
  const broker = start()
  t.deepEqual(broker.take(), [{ type: 'loadStore' }])
  broker.send(moves.load)
  t.deepEqual(broker.take(), [{ type: 'persistIncarnation', params: { incarnation: 7 } }])
  broker.send(moves.register)
  t.is(broker.state, 'awaitingHead')
  t.deepEqual(broker.take(), [{ type: 'readHead', params: { epoch: 4, incarnation: 7 } }])
})

test('broker: before the gate opens, the epoch is on disk and then marked in the log', (t) => {
  const broker = after('register')
  broker.send(moves.elect)
  t.deepEqual(broker.take(), [{ type: 'persistEpoch', params: { epoch: 5 } }])
  broker.send(moves.persist)
  t.deepEqual(broker.take(), [{ type: 'markEpoch', params: { epoch: 5 } }])
  broker.send(moves.mark)
  t.deepEqual(broker.take(), [{ type: 'openGate', params: { epoch: 5 } }])
  t.false(broker.hasTag('accepts-writes'))
  broker.send(moves.open)
  t.true(broker.hasTag('accepts-writes'))
  t.deepEqual(broker.take(), [{ type: 'registerBroker', params: { epoch: 5 } }])
  t.is(broker.context.endPosition, 140)
})

test('broker: never continues the epoch of its earlier incarnation', (t) => {
  const broker = after('register')
  broker.send({ type: 'head.changed', epoch: 5, masterId: 0, masterIncarnation: 6 })
  t.is(broker.state, 'awaitingHead')
  broker.send({ type: 'head.changed', epoch: 4, masterId: 0, masterIncarnation: 7 })
  t.is(broker.state, 'awaitingHead')
})

test('broker: a head of an older epoch than one it has heard of is never acted on', (t) => {
  const broker = after('register')
  broker.send({ type: 'head.changed', epoch: 9, masterId: 1, masterIncarnation: 1 })
  broker.send({ type: 'head.changed', epoch: 8, masterId: 0, masterIncarnation: 7 })
  t.is(broker.state, 'awaitingHead')
})

test('broker: asks again when no head comes', (t) => {
  const broker = after('register')
  broker.expire('headRetry')
  t.deepEqual(types(broker), ['readHead'])
})

test('broker: the higher epoch wins, whoever it elects', (t) => {
  for (const last of ['elect', 'persist', 'mark', 'open'] as const) {
    const broker = after(last)
    broker.send({ type: 'head.changed', epoch: 5, masterId: 1, masterIncarnation: 1 })
    t.not(broker.state, 'demoting')
    broker.send({ type: 'head.changed', epoch: 6, masterId: 0, masterIncarnation: 7 })
    t.is(broker.state, 'demoting')
    t.deepEqual(broker.take(), [{ type: 'closeGate', params: { epoch: 5 } }, { type: 'unregisterBroker' }])
  }
})

test('broker: a deposed master reads the head only after its gate is drained', (t) => {
  const broker = after('open')
  broker.send({ type: 'head.changed', epoch: 6, masterId: 0, masterIncarnation: 7 })
  broker.take()
  broker.send({ type: 'gate.drained' })
  t.deepEqual(broker.take(), [{ type: 'readHead', params: { epoch: 5, incarnation: 7 } }])
  broker.send({ type: 'head.changed', epoch: 6, masterId: 0, masterIncarnation: 7 })
  t.deepEqual(broker.take(), [{ type: 'persistEpoch', params: { epoch: 6 } }])
})

test('broker: an answer for an older epoch does not promote it', (t) => {
  const broker = after('elect')
  broker.send({ type: 'epoch.persisted', epoch: 4 })
  t.deepEqual(broker.state, { promoting: { sealing: 'persisting' } })
  broker.send(moves.persist)
  broker.send({ type: 'epoch.marked', epoch: 4, position: 1 })
  t.deepEqual(broker.state, { promoting: { sealing: 'marking' } })
})

test('broker: a full disk blocks writes and leaves reads', (t) => {
  const broker = after('open')
  broker.send({ type: 'disk.filled' })
  t.deepEqual(broker.state, { master: 'blocked' })
  t.false(broker.hasTag('accepts-writes'))
  t.true(broker.hasTag('serves-reads'))
  broker.send({ type: 'disk.freed' })
  t.true(broker.hasTag('accepts-writes'))
})

test('broker: a disk that filled before the promotion blocks the new master', (t) => {
  const broker = after('mark')
  broker.send({ type: 'disk.filled' })
  broker.send(moves.open)
  t.deepEqual(broker.state, { master: 'blocked' })
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
  broker.send({ type: 'head.changed', epoch: 9, masterId: 0, masterIncarnation: 7 })
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
