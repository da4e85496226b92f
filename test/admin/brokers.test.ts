/**
 * What operators see of replicated brokers, and how they hand mastership over, against name servers, brokers and a
 * controller that only say what a test puts into them. Time is virtual.
 */
import test from 'ava'
import { Admin } from '../../actors/admin/admin.ts'
import { createDirectory } from '../../actors/node/inspection.ts'
import { SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import type { ClusterView } from '../../machines/topic.ts'
import { accept, refuse, serve } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { createHub } from '../../transport/memory.ts'
import * as m from '../../transport/messages.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import type { Subscription } from '../../transport/transport.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { virtualClock } from '../support/virtual-clock.ts'
import { description, follower } from './support.ts'

type Row = ClusterView['brokers'][number]
const row = (brokerId: number, role: 'master' | 'slave', epoch: number, brokerName = 'broker-a'): Row => ({
  ...{ brokerName, brokerId, role, epoch },
  ...{ incarnation: 1, autoCreateTopic: true, topics: 0 },
})

/** A cluster that is what a test says. */
function stage() {
  const clock = virtualClock()
  const random = seededRandom(1)
  const log = { info() {}, warn() {}, error() {} }
  const hub = createHub({ clock, random, log })
  const subjects = subjectsOf('test')
  const there = hub.connect('there')
  const here = hub.connect('here')
  const world = { clock, random, log, transport: here, disk: new SimulatedDisk({ clock, random }).mount() }
  const directory = createDirectory('p1', here, subjects, clock)
  const admin = new Admin({ id: 'p1', world, subjects, directory })
  let rows: Row[] = []
  const open = new Map<string, Subscription>()
  const orders: string[] = []
  serve(there, subjects.nameServer.cluster, m.nothing, (_, answer) =>
    answer(accept({ nameServerId: 'n', revision: 1, brokers: rows })),
  )
  return {
    admin,
    subjects,
    there,
    orders,
    registers: (...next: Row[]) => {
      rows = next
    },
    /** A process that answers. */
    lives(one: m.BrokerDescription) {
      const { describe } = subjects.brokerProcess(one.brokerName, one.brokerId)
      open.get(describe)?.unsubscribe()
      open.set(
        describe,
        serve(there, describe, m.nothing, (_, answer) => answer(accept(one))),
      )
    },
    /** A master that listens under its epoch. */
    serves(one: m.BrokerDescription) {
      const to = subjects.broker(one.brokerName, one.epoch)
      serve(there, to.describe, m.nothing, (_, answer) => answer(accept(one)))
      serve(there, to.createTopic, m.topicOrder, ({ config }, answer) => {
        orders.push(`create ${config.topic} at ${one.brokerName}@${one.epoch}`)
        answer(accept(config))
      })
    },
    after: (ms: number, run: () => void) => clock.setTimeout(run, ms),
    /** Runs time until it is settled. */
    async settled<T>(work: Promise<T>): Promise<T> {
      let isSettled = false
      const end = () => {
        isSettled = true
      }
      work.then(end, end)
      while (!isSettled) {
        await new Promise((resolve) => setImmediate(resolve))
        if (!isSettled) clock.advance(20)
      }
      return work
    },
  }
}

const ofPair = (cluster: ReturnType<typeof stage>) => {
  const master = description(0, { role: 'master', followers: [follower] })
  cluster.registers(row(0, 'master', 4), row(1, 'slave', 4))
  cluster.lives(master)
  cluster.serves(master)
  cluster.lives(description(1))
}

test('brokers: every replica is listed, a master with its durability and a slave with its lag', async (t) => {
  const cluster = stage()
  ofPair(cluster)
  const [master, slave] = await cluster.settled(cluster.admin.brokers())
  t.like(master, {
    reachable: true,
    role: 'master',
    durability: { class: 'async flush, 2 copies' },
    lag: null,
  })
  t.like(slave, { reachable: true, role: 'slave', durability: null, lag: follower })
})

test('brokers: a replica that does not answer is listed with what the name server knows, and hides nobody', async (t) => {
  const cluster = stage()
  cluster.registers(row(0, 'master', 3), row(1, 'master', 4))
  cluster.lives(description(1, { role: 'master', masterId: 1 }))
  const [first, second] = await cluster.settled(cluster.admin.brokers())
  t.deepEqual(first, { reachable: false, brokerName: 'broker-a', brokerId: 0, role: 'master', epoch: 3 })
  t.like(second, { reachable: true, role: 'master' })
})

test('brokers: a replica that is not even registered is missed', async (t) => {
  const cluster = stage()
  cluster.registers(row(1, 'master', 4))
  cluster.lives(description(1, { role: 'master', replicas: 3 }))
  const found = await cluster.settled(cluster.admin.brokers())
  t.deepEqual(
    found.map(({ brokerId, reachable }) => [brokerId, reachable]),
    [
      [0, false],
      [1, true],
      [2, false],
    ],
  )
})

test('broker: of two that say they are master the HIGHER epoch is', async (t) => {
  const cluster = stage()
  cluster.registers(row(0, 'master', 3), row(1, 'master', 4))
  cluster.lives(description(0, { role: 'master', epoch: 3, syncStateSet: [0, 1] }))
  cluster.lives(description(1, { role: 'master', epoch: 4, syncStateSet: [1] }))
  const found = await cluster.settled(cluster.admin.broker('broker-a'))
  t.like(found, { masterId: 1, epoch: 4, syncStateSet: [1] })
})

test('broker: one that nobody knows is not found', async (t) => {
  const cluster = stage()
  ofPair(cluster)
  await t.throwsAsync(cluster.settled(cluster.admin.broker('broker-x')), {
    code: 'QUERY_NOT_FOUND',
    message: /no broker 'broker-x'/,
  })
})

// ------------------------------------------------------------------------------------------- orders to the master

test('order: goes to the master of a HIGHER epoch when the one that was known is gone', async (t) => {
  const cluster = stage()
  cluster.registers(row(0, 'master', 4), row(1, 'slave', 4))
  cluster.after(700, () => {
    cluster.registers(row(0, 'master', 4), row(1, 'master', 5))
    cluster.serves(description(1, { role: 'master', epoch: 5 }))
  })
  await cluster.settled(cluster.admin.createTopic('orders', { queues: 1 }))
  t.deepEqual(cluster.orders, ['create orders at broker-a@5'])
})

test('order: one that a deposed master refuses is given to the next, AT MOST ONCE more', async (t) => {
  const cluster = stage()
  cluster.registers(row(0, 'master', 4), row(1, 'slave', 4))
  for (const epoch of [4, 5]) {
    serve(
      cluster.there,
      cluster.subjects.broker('broker-a', epoch).createTopic,
      m.topicOrder,
      (_, answer) => {
        cluster.orders.push(`asked ${epoch}`)
        answer(refuse(codes.NOT_MASTER, 'it is no master any more'))
      },
    )
  }
  cluster.after(100, () => cluster.registers(row(1, 'master', 5)))
  await t.throwsAsync(cluster.settled(cluster.admin.createTopic('orders')), { code: 'NOT_MASTER' })
  t.deepEqual(cluster.orders, ['asked 4', 'asked 5'])
})

test('order: when no other master comes within 3 s it says so', async (t) => {
  const cluster = stage()
  cluster.registers(row(0, 'master', 4), row(1, 'slave', 4))
  const error = await t.throwsAsync(cluster.settled(cluster.admin.createTopic('orders')), {
    code: 'CONTROLLER_MASTER_NOT_AVAILABLE',
    message: /broker-a has no master at the moment: see .*'statemq broker show broker-a'/,
  })
  t.true((error as { retryable?: boolean }).retryable)
})

test('order: to every broker NEVER leaves one out because it has no master at the moment', async (t) => {
  const cluster = stage()
  cluster.registers(row(0, 'slave', 4), row(0, 'master', 1, 'broker-b'))
  cluster.serves(description(0, { brokerName: 'broker-b', role: 'master', epoch: 1 }))
  await t.throwsAsync(cluster.settled(cluster.admin.createTopic('orders')), {
    message: /broker-a has no master/,
  })
  t.deepEqual(cluster.orders, [])
  cluster.registers(row(0, 'slave', 4), row(1, 'master', 5), row(0, 'master', 1, 'broker-b'))
  cluster.serves(description(1, { role: 'master', epoch: 5 }))
  const { brokers } = await cluster.settled(cluster.admin.createTopic('orders'))
  t.deepEqual(brokers, ['broker-a', 'broker-b'])
})

test('order: one that is not answered is NEVER sent again', async (t) => {
  const cluster = stage()
  cluster.registers(row(0, 'master', 4), row(1, 'slave', 4))
  const { createTopic } = cluster.subjects.broker('broker-a', 4)
  serve(cluster.there, createTopic, m.topicOrder, () => cluster.orders.push('heard'))
  await t.throwsAsync(cluster.settled(cluster.admin.createTopic('orders')), { code: 'TIMED_OUT' })
  t.deepEqual(cluster.orders, ['heard'])
})

// -------------------------------------------------------------------------------------------------- promotion

test('promote: resolves AFTER the new master serves', async (t) => {
  const cluster = stage()
  ofPair(cluster)
  const { handOver } = cluster.subjects.broker('broker-a', 4)
  let servesNow = false
  serve(cluster.there, handOver, m.successor, ({ brokerId }, answer) => {
    t.is(brokerId, 1)
    answer(accept({ epoch: 5 }))
    cluster.after(900, () => {
      servesNow = true
      cluster.serves(description(1, { role: 'master', epoch: 5 }))
    })
  })
  t.deepEqual(await cluster.settled(cluster.admin.promote('broker-a', 1)), { epoch: 5 })
  t.true(servesNow)
})

test('promote: a new master that never serves is told of, and the wait is bounded', async (t) => {
  const cluster = stage()
  ofPair(cluster)
  serve(cluster.there, cluster.subjects.broker('broker-a', 4).handOver, m.successor, (_, answer) =>
    answer(accept({ epoch: 5 })),
  )
  await t.throwsAsync(cluster.settled(cluster.admin.promote('broker-a', 1)), {
    code: 'CONTROLLER_ELECT_MASTER_FAILED',
    message: /does not serve after 10 s/,
  })
})

test('promote: what the master says against it is passed on', async (t) => {
  const cluster = stage()
  ofPair(cluster)
  serve(cluster.there, cluster.subjects.broker('broker-a', 4).handOver, m.successor, (_, answer) =>
    answer(refuse(codes.SYSTEM_BUSY, 'it did not drain in time')),
  )
  await t.throwsAsync(cluster.settled(cluster.admin.promote('broker-a', 1)), {
    code: 'SYSTEM_BUSY',
    message: /did not drain in time/,
  })
})

const refusals: [what: string, id: number, unclean: boolean, code: string, says: RegExp][] = [
  [
    'a replica that there is not',
    7,
    false,
    'CONTROLLER_BROKER_ID_INVALID',
    /has no replica 7: it has 0, 1, 2/,
  ],
  ['the master itself', 0, false, 'CONTROLLER_MASTER_STILL_EXIST', /is the master already, at epoch 4/],
  [
    'one outside the sync state set',
    2,
    false,
    'CONTROLLER_INVALID_REPLICAS',
    /not in the sync state set \(0, 1\)/,
  ],
  [
    'unclean while there is a master',
    2,
    true,
    'CONTROLLER_MASTER_STILL_EXIST',
    /without --unclean it hands over/,
  ],
]
for (const [what, id, unclean, code, message] of refusals) {
  test(`promote: ${what} is refused with a sentence`, async (t) => {
    const cluster = stage()
    cluster.registers(row(0, 'master', 4), row(1, 'slave', 4), row(2, 'slave', 4))
    cluster.lives(description(0, { role: 'master', replicas: 3 }))
    cluster.lives(description(1, { replicas: 3 }))
    cluster.lives(description(2, { replicas: 3 }))
    await t.throwsAsync(cluster.settled(cluster.admin.promote('broker-a', id, { unclean })), {
      code,
      message,
    })
  })
}

test('promote: without a master only an unclean order helps', async (t) => {
  const cluster = stage()
  cluster.registers(row(1, 'slave', 4))
  cluster.lives(description(1, { masterId: null, syncStateSet: [0] }))
  await t.throwsAsync(cluster.settled(cluster.admin.promote('broker-a', 1)), {
    code: 'CONTROLLER_MASTER_NOT_AVAILABLE',
    message: /a replica of the sync state set \(0\) is there: start it/,
  })
  await t.throwsAsync(cluster.settled(cluster.admin.promote('broker-a', 1, { unclean: true })), {
    code: 'CONTROLLER_ELECT_MASTER_FAILED',
    message: /no controller answers/,
  })
  serve(
    cluster.there,
    cluster.subjects.controller.electUnclean,
    m.onReplica,
    ({ brokerName, brokerId }, answer) => {
      cluster.orders.push(`${brokerName}/${brokerId}`)
      answer(accept({}))
      cluster.after(500, () => cluster.lives(description(1, { role: 'master', masterId: 1, epoch: 6 })))
    },
  )
  const done = await cluster.settled(cluster.admin.promote('broker-a', 1, { unclean: true }))
  t.deepEqual(done, { epoch: 6 })
  t.deepEqual(cluster.orders, ['broker-a/1'])
})
