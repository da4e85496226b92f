import test from 'ava'
import { nameServerMachine } from '../../machines/name-server.ts'
import { type Registration, routeOf } from '../../machines/topic.ts'
import { stepper } from '../support/stepper.ts'

const orders = { topic: 'orders', readQueues: 2, writeQueues: 2, perm: 6 }
const bills = { ...orders, topic: 'bills' }
const a: Registration = {
  brokerName: 'a',
  brokerId: 0,
  role: 'master',
  epoch: 1,
  incarnation: 1,
  storeId: 's1',
  dataVersion: 1,
  topics: { orders },
  autoCreateTopic: true,
}
const run = { brokerName: 'a', brokerId: 0, storeId: 's1', incarnation: 1 }
const beat = { type: 'broker.beat', ...run, epoch: 1, dataVersion: 1 } as const

function started() {
  const server = stepper(nameServerMachine, { nameServerId: 'n1' })
  server.take()
  return {
    ...server,
    register(registration: Registration) {
      server.send({ type: 'broker.registered', registration })
    },
    route: (topic = 'orders') => routeOf(server.context, topic)?.brokers.map(({ epoch }) => epoch) ?? null,
    get revision() {
      return server.context.revision
    },
    get state() {
      return server.state
    },
    get timers() {
      return server.timers
    },
  }
}

/** What is pushed, in short: each route with the epochs of its brokers. */
const pushed = (effects: ReturnType<ReturnType<typeof started>['take']>) =>
  effects.map((effect) => {
    if (effect.type === 'pushRoutes') {
      return effect.params.routes.map(
        ({ topic, brokers }) => `${topic}: ${brokers.map(({ epoch }) => epoch)}`,
      )
    }
    return effect.type === 'pushCluster' ? `brokers: ${effect.params.view.brokers.length}` : effect.type
  })

function withA() {
  const server = started()
  server.register(a)
  server.take()
  return server
}

test('name server: asks all brokers to register when it starts', (t) => {
  const server = stepper(nameServerMachine, { nameServerId: 'n1' })
  t.deepEqual(server.take(), [{ type: 'announceStart', params: { nameServerId: 'n1' } }])
})

test('name server: denies no topic until the collect window is over', (t) => {
  const server = started()
  server.register(a)
  t.is(server.state, 'collecting')
  t.false(server.hasTag('answers-routes'))
  t.deepEqual(server.route(), [1])
  server.expire('collectWindow')
  t.true(server.hasTag('answers-routes'))
})

test('name server: tells the clients of the changed topics, and those of the cluster', (t) => {
  const server = started()
  server.register(a)
  t.deepEqual(pushed(server.take()), [['orders: 1'], 'brokers: 1'])
  t.is(server.revision, 1)
})

test('name server: pushes only the routes that changed', (t) => {
  const server = withA()
  server.register({ ...a, dataVersion: 2, topics: { orders, bills } })
  t.deepEqual(pushed(server.take()), [['bills: 1']])
})

test('name server: a deleted topic is a changed route', (t) => {
  const server = withA()
  server.register({ ...a, dataVersion: 2, topics: {} })
  t.deepEqual(pushed(server.take()), [['orders: ']])
  t.is(server.route(), null)
})

test('name server: a stale registration never overwrites a newer one', (t) => {
  const server = started()
  server.register({ ...a, epoch: 2, incarnation: 2 })
  server.take()
  server.register({ ...a, epoch: 1, incarnation: 1, dataVersion: 99 })
  t.deepEqual(server.route(), [2])
  t.deepEqual(server.take(), [])
})

test('name server: a stale farewell never removes a newer registration', (t) => {
  const server = started()
  server.register({ ...a, epoch: 2, incarnation: 2 })
  server.send({ type: 'broker.unregistered', ...run })
  t.deepEqual(server.route(), [2])
})

test('name server: a stale expiry never removes a newer registration', (t) => {
  const server = started()
  server.register({ ...a, epoch: 2, incarnation: 2 })
  server.send({ type: 'broker.expired', ...run })
  t.deepEqual(server.route(), [2])
})

test('name server: forgets at once a broker that says farewell', (t) => {
  const server = withA()
  server.send({ type: 'broker.unregistered', ...run })
  t.is(server.route(), null)
  t.deepEqual(pushed(server.take()), [['orders: '], 'brokers: 0'])
  t.deepEqual(server.timers, ['xstate.after.collectWindow.nameServer.collecting'])
})

test('name server: forgets a broker that falls silent', (t) => {
  const server = withA()
  server.expire('expiry/a/0')
  t.is(server.route(), null)
  t.deepEqual(pushed(server.take()), [['orders: '], 'brokers: 0'])
})

test('name server: a beat keeps a broker and changes nothing', (t) => {
  const server = withA()
  server.send(beat)
  t.deepEqual(server.take(), [])
  t.is(server.revision, 1)
  t.true(server.timers.includes('expiry/a/0'))
})

test('name server: asks an unknown broker that beats to register', (t) => {
  const server = started()
  server.send(beat)
  t.deepEqual(server.take(), [{ type: 'requestRegistration', params: { brokerName: 'a', brokerId: 0 } }])
})

test('name server: asks for the registration that it missed', (t) => {
  for (const missed of [{ dataVersion: 2 }, { epoch: 2 }, { epoch: 2, incarnation: 2 }]) {
    const server = withA()
    server.send({ ...beat, ...missed })
    t.deepEqual(server.take(), [{ type: 'requestRegistration', params: { brokerName: 'a', brokerId: 0 } }])
  }
})

test('name server: a broker belongs to its store, another process that claims it is refused', (t) => {
  const server = withA()
  server.register({ ...a, storeId: 's2', epoch: 9, incarnation: 9 })
  const [refusal] = server.take()
  t.is(refusal?.type, 'refuseRegistration')
  t.like(refusal, {
    params: { brokerName: 'a', brokerId: 0, storeId: 's2', incarnation: 9, code: 'NO_PERMISSION' },
  })
  t.deepEqual(server.route(), [1])
})

test('name server: the beat and the farewell of a refused process do not touch the registered one', (t) => {
  const server = withA()
  server.send({ ...beat, storeId: 's2' })
  t.is(server.take()[0]?.type, 'refuseRegistration')
  server.send({ type: 'broker.unregistered', ...run, storeId: 's2' })
  t.deepEqual(server.route(), [1])
})

test('name server: a store of the same name is welcome once the other one is gone', (t) => {
  const server = withA()
  server.expire('expiry/a/0')
  server.register({ ...a, storeId: 's2' })
  t.deepEqual(server.route(), [1])
})

test('name server: after a promotion the route shows the new master while the deposed one is still there', (t) => {
  const server = withA()
  server.register({ ...a, brokerId: 1, epoch: 2, storeId: 's2' })
  t.deepEqual(server.route(), [2])
  server.send({ type: 'broker.unregistered', ...run })
  t.deepEqual(server.route(), [2])
})
