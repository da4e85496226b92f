import test from 'ava'
import fc from 'fast-check'
import {
  clusterOf,
  compareQueues,
  compareVersions,
  type Directory,
  doubtBroker,
  type KnownRoute,
  mergeRoute,
  queueKey,
  type Registration,
  readQueuesOf,
  routeOf,
  type TopicRoute,
} from '../../machines/topic.ts'

const orders = { topic: 'orders', readQueues: 2, writeQueues: 2, perm: 6 }
const broker = (changes: Partial<Registration> = {}): Registration => ({
  brokerName: 'a',
  brokerId: 0,
  role: 'master',
  epoch: 1,
  incarnation: 1,
  storeId: 's1',
  dataVersion: 1,
  topics: { orders },
  autoCreateTopic: true,
  ...changes,
})
const directory = (...brokers: Registration[]): Directory => ({
  nameServerId: 'n1',
  revision: 7,
  brokers: Object.fromEntries(brokers.map((one) => [`${one.brokerName}/${one.brokerId}`, one])),
})
const route = (nameServerId: string, revision: number, ...brokers: [string, number][]): TopicRoute => ({
  topic: 'orders',
  nameServerId,
  revision,
  brokers: brokers.map(([brokerName, epoch]) => ({
    brokerName,
    epoch,
    incarnation: 1,
    dataVersion: 1,
    readQueues: 2,
    writeQueues: 2,
    perm: 6,
  })),
})
/** What a client knows that has heard these, one after the other. */
const heard = (...routes: TopicRoute[]) => routes.reduce<KnownRoute | null>(mergeRoute, null)!
const shown = ({ brokers }: TopicRoute) => brokers.map(({ brokerName, epoch }) => `${brokerName}@${epoch}`)

test('route: the brokers are sorted by name', (t) => {
  const found = routeOf(directory(broker({ brokerName: 'b' }), broker()), 'orders')
  t.deepEqual(shown(found!), ['a@1', 'b@1'])
})

test('route: is null when no broker has the topic', (t) => {
  t.is(routeOf(directory(), 'orders'), null)
  t.is(routeOf(directory(broker({ topics: {} })), 'orders'), null)
})

test('route: a broker whose master is gone stays while a replica lives, at epoch 0', (t) => {
  const replica = broker({ brokerId: 1, role: 'slave', epoch: 3 })
  t.deepEqual(shown(routeOf(directory(replica), 'orders')!), ['a@0'])
  t.deepEqual(shown(routeOf(directory(replica, broker({ epoch: 2 })), 'orders')!), ['a@2'])
})

test('route: a topic that the master does not have is not taken from a slave', (t) => {
  const replica = broker({ brokerId: 1, role: 'slave', epoch: 3 })
  t.is(routeOf(directory(replica, broker({ topics: {} })), 'orders'), null)
})

test('route: who knows an epoch NEVER gives it up for a broker that has no master', (t) => {
  t.deepEqual(shown(heard(route('n1', 1, ['a', 5]), route('n1', 2, ['a', 0]))), ['a@5'])
  t.deepEqual(shown(heard(route('n1', 1, ['a', 0]), route('n1', 2, ['a', 1]))), ['a@1'])
})

test('route: of several masters of one name, the one with the highest epoch is shown', (t) => {
  const found = routeOf(directory(broker({ epoch: 2 }), broker({ brokerId: 1, epoch: 3 })), 'orders')
  t.deepEqual(shown(found!), ['a@3'])
})

test('route: a broker that no longer allows reading offers no queue to read', (t) => {
  const writeOnly = broker({ topics: { orders: { ...orders, perm: 2 } } })
  const found = routeOf(directory(writeOnly, broker({ brokerName: 'b' })), 'orders')
  t.deepEqual(readQueuesOf(found!).map(queueKey), ['orders/b/0', 'orders/b/1'])
})

test('cluster: counts topics and keeps them to itself', (t) => {
  t.deepEqual(clusterOf(directory(broker())).brokers, [
    {
      brokerName: 'a',
      brokerId: 0,
      role: 'master',
      epoch: 1,
      incarnation: 1,
      autoCreateTopic: true,
      topics: 1,
    },
  ])
})

test('queues: are ordered by topic, broker name and number, not by the digits of the number', (t) => {
  const queue = (topic: string, brokerName: string, queueId: number) => ({ topic, brokerName, queueId })
  const sorted = [queue('t', 'b', 0), queue('t', 'a', 10), queue('t', 'a', 2), queue('s', 'z', 0)].sort(
    compareQueues,
  )
  t.deepEqual(sorted.map(queueKey), ['s/z/0', 't/a/2', 't/a/10', 't/b/0'])
})

test('versions: the epoch decides before the incarnation, and that before the data version', (t) => {
  const version = (epoch: number, incarnation: number, dataVersion: number) => ({
    epoch,
    incarnation,
    dataVersion,
  })
  t.true(compareVersions(version(2, 1, 1), version(1, 9, 9)) > 0)
  t.true(compareVersions(version(1, 2, 1), version(1, 1, 9)) > 0)
  t.true(compareVersions(version(1, 1, 2), version(1, 1, 1)) > 0)
  t.is(compareVersions(version(1, 1, 1), version(1, 1, 1)), 0)
})

test('merged route: an older view of a broker never replaces a newer one', (t) => {
  t.deepEqual(shown(heard(route('n1', 1, ['a', 5]), route('n2', 9, ['a', 4], ['b', 1]))), ['a@5', 'b@1'])
})

test('merged route: a broker is gone when the name server that showed it shows it no more', (t) => {
  t.deepEqual(shown(heard(route('n1', 1, ['a', 1], ['b', 1]), route('n1', 2, ['a', 1]))), ['a@1'])
})

test('merged route: a broker that another name server does not know stays', (t) => {
  const other = route('n2', 2, ['a', 1])
  t.deepEqual(shown(heard(route('n1', 1, ['a', 1], ['b', 1]), other, other)), ['a@1', 'b@1'])
})

test('merged route: a broker is gone once all name servers have let it go, in whatever order', (t) => {
  const [first, second] = [route('n1', 1, ['a', 1], ['b', 1]), route('n2', 1, ['a', 1], ['b', 1])]
  const [firstLater, secondLater] = [route('n1', 2, ['a', 1]), route('n2', 2, ['a', 1])]
  t.deepEqual(shown(heard(first, second, firstLater, secondLater)), ['a@1'])
  t.deepEqual(shown(heard(first, second, secondLater, firstLater)), ['a@1'])
})

test('merged route: a broker that was not reached is gone when any name server does not show it', (t) => {
  const doubted = doubtBroker(heard(route('n1', 1, ['a', 1], ['b', 1])), 'b')
  t.deepEqual(shown(mergeRoute(doubted, route('n2', 1, ['a', 1]))), ['a@1'])
  t.deepEqual(shown(mergeRoute(doubted, route('n2', 1, ['a', 1], ['b', 1]))), ['a@1', 'b@1'])
})

test('merged route: what a name server said earlier is not heard after what it said later', (t) => {
  const later = heard(route('n1', 2, ['a', 1]))
  t.is(mergeRoute(later, route('n1', 1, ['a', 1], ['b', 1])), later)
})

test('merged route: hearing the same route twice changes nothing', (t) => {
  const epochs = fc.dictionary(fc.constantFrom('a', 'b', 'c'), fc.nat(5))
  const routes = fc
    .tuple(fc.constantFrom('n1', 'n2'), fc.nat(5), epochs)
    .map(([server, revision, brokers]) => route(server, revision, ...Object.entries(brokers).sort()))
  fc.assert(
    fc.property(fc.array(routes, { minLength: 1 }), (told) => {
      const once = heard(...told)
      t.deepEqual(mergeRoute(once, told.at(-1)!), once)
    }),
  )
})
