import test from 'ava'
import { producerRouteMachine } from '../../machines/producer-route.ts'
import { isSameRoute, mergeRoute, type TopicRoute } from '../../machines/topic.ts'
import { type Stepper, stepper } from '../support/stepper.ts'

const route = (revision: number, epoch = 1): TopicRoute => ({
  topic: 'orders',
  nameServerId: 'n1',
  revision,
  brokers: [
    { brokerName: 'a', epoch, incarnation: 1, dataVersion: 1, readQueues: 4, writeQueues: 4, perm: 6 },
  ],
})
const failure = { type: 'request.failed', code: 'noResponders', message: 'nobody', retryable: true } as const

const start = (createTopic = false) => stepper(producerRouteMachine, { topic: 'orders', createTopic })
const types = (client: Stepper<typeof producerRouteMachine>) => client.take().map(({ type }) => type)
function known() {
  const client = start()
  client.send({ type: 'route.answered', route: route(2, 5) })
  client.take()
  return client
}

test('route: is asked for, then announced', (t) => {
  const client = start()
  t.deepEqual(client.take(), [{ type: 'requestRoute', params: { topic: 'orders' } }])
  client.send({ type: 'route.answered', route: route(1) })
  t.deepEqual(client.state, { known: 'fresh' })
  t.deepEqual(client.take(), [{ type: 'announceRoute', params: { route: mergeRoute(null, route(1)) } }])
})

test('route: a push leads to known from anywhere', (t) => {
  for (const events of [[], [failure], [{ type: 'route.missing' } as const]]) {
    const client = start()
    for (const event of events) client.send(event)
    client.take()
    client.send({ type: 'route.pushed', route: route(1) })
    t.deepEqual(client.state, { known: 'fresh' })
    t.deepEqual(types(client), ['announceRoute'])
  }
})

test('route: an older route never replaces a newer one', (t) => {
  const client = known()
  client.send({ type: 'route.pushed', route: route(1, 4) })
  t.true(isSameRoute(client.context.route, route(2, 5)))
  t.deepEqual(client.take(), [])
})

test('route: is announced only when it changed', (t) => {
  const client = known()
  client.send({ type: 'route.pushed', route: route(3, 5) })
  t.deepEqual(client.take(), [])
  client.send({ type: 'route.pushed', route: route(4, 6) })
  t.deepEqual(client.take(), [{ type: 'announceRoute', params: { route: mergeRoute(null, route(4, 6)) } }])
})

test('route: is asked for again after the poll interval, and when it is wanted', (t) => {
  const polled = known()
  polled.expire('pollInterval')
  t.deepEqual(types(polled), ['requestRoute'])
  const wanted = known()
  wanted.send({ type: 'route.wanted' })
  t.deepEqual(types(wanted), ['requestRoute'])
})

test('route: losing all name servers loses nothing', (t) => {
  const client = known()
  client.expire('pollInterval')
  client.send(failure)
  t.true(isSameRoute(client.context.route, route(2, 5)))
  t.deepEqual(client.state, { known: 'stale' })
  client.take()
  client.expire('retryInterval')
  t.deepEqual(types(client), ['requestRoute'])
})

test('route: a name server that does not know the topic takes it from nobody', (t) => {
  const client = known()
  client.send({ type: 'route.wanted' })
  client.send({ type: 'route.missing' })
  t.true(isSameRoute(client.context.route, route(2, 5)))
})

test('route: a broker that a send did not reach is asked after at once', (t) => {
  const client = known()
  client.send({ type: 'broker.unreachable', brokerName: 'a', epoch: 5 })
  t.deepEqual(types(client), ['requestRoute'])
})

test('route: a broker that was not reached and is not shown any more is gone', (t) => {
  const client = start()
  const [a] = route(1).brokers
  const both = { ...route(1), brokers: [a!, { ...a!, brokerName: 'b' }] }
  client.send({ type: 'route.answered', route: both })
  client.send({ type: 'broker.unreachable', brokerName: 'b', epoch: 1 })
  client.take()
  client.send({ type: 'route.answered', route: { ...route(1), nameServerId: 'n2' } })
  t.deepEqual(types(client), ['announceRoute'])
  t.true(isSameRoute(client.context.route, route(1)))
})

test('route: a send that missed an epoch which is not shown any more asks for nothing', (t) => {
  const client = known()
  client.send({ type: 'broker.unreachable', brokerName: 'a', epoch: 4 })
  t.deepEqual(client.take(), [])
})

test('route: who has just learnt nothing new does not ask again at once', (t) => {
  const client = known()
  client.send({ type: 'broker.unreachable', brokerName: 'a', epoch: 5 })
  client.send({ type: 'route.answered', route: route(2, 5) })
  client.take()
  client.send({ type: 'broker.unreachable', brokerName: 'a', epoch: 5 })
  t.deepEqual(client.take(), [])
  client.expire('retryInterval')
  t.deepEqual(types(client), ['requestRoute'])
})

test('route: who has just learnt nothing new asks again after the retry interval while somebody waits, and only then', (t) => {
  for (const type of ['route.wanted', 'broker.unreachable', 'broker.silent'] as const) {
    const client = known()
    const want = () => client.send({ type, brokerName: 'a', epoch: 5 })
    want()
    want() // The answer that is under way may be from before.
    client.send({ type: 'route.answered', route: route(2, 5) })
    client.take()
    client.expire('retryInterval')
    t.deepEqual(types(client), ['requestRoute'])
    client.send({ type: 'route.answered', route: route(2, 5) })
    client.expire('retryInterval')
    t.deepEqual(client.state, { known: 'fresh' })
    t.deepEqual(client.take(), [])
  }
})

test('route: a broker that is silent is asked after, and is not doubted', (t) => {
  const client = known()
  client.send({ type: 'broker.silent', brokerName: 'a', epoch: 4 })
  t.deepEqual(client.take(), [])
  client.send({ type: 'broker.silent', brokerName: 'a', epoch: 5 })
  t.deepEqual(types(client), ['requestRoute'])
  t.is(client.context.route?.brokers[0]?.shownBy, 'n1')
})

test('route: of a missing topic is reported, and looked for again when it is wanted', (t) => {
  const client = start()
  client.send({ type: 'route.missing' })
  t.is(client.state, 'missing')
  t.like(client.take().at(-1), {
    type: 'reportMissing',
    params: { topic: 'orders', code: 'TOPIC_NOT_EXIST' },
  })
  client.send({ type: 'route.wanted' })
  t.deepEqual(types(client), ['requestRoute'])
})

test('route: without a name server is reported and asked for again', (t) => {
  const client = start()
  client.send(failure)
  t.is(client.state, 'unreachable')
  t.deepEqual(client.take().at(-1), {
    type: 'reportUnreachable',
    params: { topic: 'orders', code: 'noResponders', message: 'nobody' },
  })
  client.expire('retryInterval')
  t.deepEqual(types(client), ['requestRoute'])
})

test('route: a topic that was created is usable only after a name server shows it', (t) => {
  const client = start(true)
  client.take()
  client.send({ type: 'route.missing' })
  t.deepEqual(client.take(), [{ type: 'createTopic', params: { topic: 'orders' } }])
  client.send({ type: 'topic.created' })
  t.deepEqual(client.state, { creating: 'awaited' })
  client.send({ type: 'route.missing' })
  client.take()
  client.expire('retryInterval')
  t.deepEqual(types(client), ['requestRoute'])
  client.send({ type: 'route.answered', route: route(1) })
  t.deepEqual(client.state, { known: 'fresh' })
})

test('route: a refused topic is missing, with the reason of the refusal', (t) => {
  const client = start(true)
  client.send({ type: 'route.missing' })
  client.send({ type: 'topic.refused', code: 'NO_PERMISSION', message: 'not here' })
  t.is(client.state, 'missing')
  t.deepEqual(client.take().at(-1), {
    type: 'reportMissing',
    params: { topic: 'orders', code: 'NO_PERMISSION', message: 'not here' },
  })
})

test('route: a topic that nobody shows after it was created is looked for anew', (t) => {
  const client = start(true)
  client.send({ type: 'route.missing' })
  client.send({ type: 'topic.created' })
  client.expire('createTimeout')
  t.is(client.state, 'unreachable')
  t.like(client.take().at(-1), { type: 'reportUnreachable', params: { code: 'timedOut' } })
})

test('route: of a topic that a broker says is deleted is forgotten', (t) => {
  const client = known()
  client.send({ type: 'topic.deleted' })
  t.is(client.context.route, null)
  t.deepEqual(types(client), ['requestRoute'])
})

test('route: a topic that is being made is usable only AFTER it is shown on every broker that made it', (t) => {
  const [a] = route(1).brokers
  const part = route(1)
  const whole = { ...route(2), brokers: [a!, { ...a!, brokerName: 'b' }] }
  const client = start(true)
  client.send({ type: 'route.missing' })
  client.send({ type: 'route.pushed', route: part })
  t.deepEqual(client.state, { creating: 'requested' })
  client.send({ type: 'topic.created', brokerNames: [a!.brokerName, 'b'] })
  client.send({ type: 'route.answered', route: part })
  t.deepEqual(client.state, { creating: 'awaited' })
  client.send({ type: 'route.pushed', route: whole })
  t.deepEqual(client.state, { known: 'fresh' })
  t.is(client.take().filter(({ type }) => type === 'announceRoute').length, 1)
})

test('route: of a topic that was deleted is missing as soon as it is wanted', (t) => {
  for (const [createTopic, next] of [
    [false, 'missing'],
    [true, { creating: 'requested' }],
  ] as const) {
    const client = start(createTopic)
    client.send({ type: 'route.answered', route: route(2, 5) })
    client.send({ type: 'route.pushed', route: { ...route(3), brokers: [] } })
    client.send({ type: 'route.wanted' })
    client.send({ type: 'route.missing' })
    t.deepEqual(client.state, next)
  }
})
