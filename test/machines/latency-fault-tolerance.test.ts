import test from 'ava'
import {
  avoidMsFor,
  candidates,
  type FaultTable,
  isAvailable,
  observe,
} from '../../machines/latency-fault-tolerance.ts'

const queues = [{ brokerName: 'a' }, { brokerName: 'b' }, { brokerName: 'c' }]
const names = (table: FaultTable, nowMs: number, last?: string) =>
  candidates(table, queues, nowMs, last).map(({ brokerName }) => brokerName)

test('fault tolerance: the table is that of RocketMQ', (t) => {
  const latencies = [0, 50, 100, 549, 550, 1_799, 1_800, 3_000, 4_999, 5_000, 14_999, 15_000, 60_000]
  t.deepEqual(
    latencies.map(avoidMsFor),
    [0, 0, 0, 0, 2_000, 2_000, 5_000, 6_000, 6_000, 10_000, 10_000, 30_000, 30_000],
  )
})

test('fault tolerance: a slow broker is avoided until its time is over', (t) => {
  const table = observe({}, 'a', 600, 1_000)
  t.false(isAvailable(table, 'a', 2_999))
  t.true(isAvailable(table, 'a', 3_000))
  t.true(isAvailable(table, 'b', 1_000))
})

test('fault tolerance: a failed send counts as an answer after ten seconds', (t) => {
  const table = observe({}, 'a', 1, 0, { isolated: true })
  t.false(isAvailable(table, 'a', 9_999))
  t.true(isAvailable(table, 'a', 10_000))
})

test('fault tolerance: a short penalty never shortens a longer one that still runs', (t) => {
  const table = observe(observe({}, 'a', 15_000, 0), 'a', 600, 1_000)
  t.false(isAvailable(table, 'a', 29_999))
})

test('fault tolerance: available brokers are chosen before reachable ones, and those before any', (t) => {
  let table = observe({}, 'a', 600, 0)
  t.deepEqual(names(table, 1), ['b', 'c'])
  table = observe(table, 'b', 600, 0, { reachable: false })
  table = observe(table, 'c', 600, 0, { reachable: false })
  t.deepEqual(names(table, 1), ['a'])
  table = observe(table, 'a', 600, 0, { reachable: false })
  t.deepEqual(names(table, 1), ['a', 'b', 'c'])
})

test('fault tolerance: the broker that was tried last is avoided, as long as there is another', (t) => {
  t.deepEqual(names({}, 0, 'a'), ['b', 'c'])
  t.deepEqual(candidates({}, [{ brokerName: 'a' }], 0, 'a'), [{ brokerName: 'a' }])
})
