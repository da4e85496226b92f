import test from 'ava'
import { backoffMs, supervisorMachine } from '../../machines/supervisor.ts'
import { stepper } from '../support/stepper.ts'

const started = (restartsMax = 5) => stepper(supervisorMachine, { name: 'broker', restartsMax })
const failure = { type: 'actor.failed', message: 'it broke' } as const

test('supervisor: starts its actor at once', (t) => {
  t.deepEqual(started().take(), [{ type: 'startActor', params: { attempt: 0 } }])
})

test('supervisor: starts a failed actor anew after a pause', (t) => {
  const supervisor = started()
  supervisor.send({ type: 'actor.started' })
  supervisor.take()
  supervisor.send(failure)
  t.is(supervisor.state, 'backingOff')
  t.deepEqual(supervisor.take(), [])
  supervisor.expire('backoff')
  t.deepEqual(supervisor.take(), [{ type: 'startActor', params: { attempt: 1 } }])
})

test('supervisor: each pause is twice as long as the last, up to ten seconds', (t) => {
  t.deepEqual([1, 2, 3, 7, 8, 50].map(backoffMs), [100, 200, 400, 6_400, 10_000, 10_000])
})

test('supervisor: an actor that ran for the stable period is forgiven', (t) => {
  const supervisor = started()
  supervisor.send(failure)
  supervisor.expire('backoff')
  supervisor.send({ type: 'actor.started' })
  t.is(supervisor.context.attempt, 1)
  supervisor.expire('stablePeriod')
  t.is(supervisor.context.attempt, 0)
  t.is(supervisor.state, 'running')
})

test('supervisor: gives up an actor that fails once too often, and says why', (t) => {
  const supervisor = started(2)
  for (let attempt = 0; attempt < 2; attempt++) {
    supervisor.send(failure)
    supervisor.expire('backoff')
  }
  supervisor.take()
  supervisor.send(failure)
  t.is(supervisor.state, 'givenUp')
  t.deepEqual(supervisor.take(), [{ type: 'reportGivenUp', params: { name: 'broker', message: 'it broke' } }])
  t.deepEqual(supervisor.timers, [])
})

test('supervisor: stops its actor before it has stopped', (t) => {
  const supervisor = started()
  supervisor.send({ type: 'actor.started' })
  supervisor.take()
  supervisor.send({ type: 'stop.requested' })
  t.is(supervisor.state, 'stopping')
  t.deepEqual(supervisor.take(), [{ type: 'stopActor' }])
  supervisor.send({ type: 'actor.stopped' })
  t.is(supervisor.state, 'stopped')
})

test('supervisor: does not start an actor whose stop was asked for', (t) => {
  const supervisor = started()
  supervisor.send(failure)
  supervisor.send({ type: 'stop.requested' })
  t.is(supervisor.state, 'stopped')
  t.deepEqual(supervisor.timers, [])
})

test('supervisor: does not start again an actor that stopped by itself', (t) => {
  const supervisor = started()
  supervisor.send({ type: 'actor.started' })
  supervisor.send({ type: 'actor.stopped' })
  t.is(supervisor.state, 'stopped')
})
