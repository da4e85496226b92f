/** BrokerHealth: which brokers a producer avoids, and which it prefers when all are avoided. */
import test from 'ava'
import { BrokerHealth } from '../../actors/producer/broker-health.ts'
import { virtualClock } from '../support/virtual-clock.ts'

const queues = [{ brokerName: 'a' }, { brokerName: 'b' }]

function place() {
  const clock = virtualClock()
  const health = new BrokerHealth(clock)
  const preferred = () => health.preferred(queues).map(({ brokerName }) => brokerName)
  return { clock, health, preferred }
}

test('broker health: when all are avoided, one that answers is preferred to one that does not', (t) => {
  const { clock, health, preferred } = place()
  t.deepEqual(preferred(), ['a', 'b'])
  health.observe('a', Number.POSITIVE_INFINITY)
  t.deepEqual(preferred(), ['b'])
  health.observe('b', 600)
  t.deepEqual(preferred(), ['b'])
  health.observe('b', Number.POSITIVE_INFINITY)
  t.deepEqual(preferred(), ['a', 'b'])
  clock.advance(10_000)
  t.deepEqual(preferred(), ['a', 'b'])
})

test('broker health: an answer, however fast, says that a broker can be reached again, and the version tells', (t) => {
  const { health, preferred } = place()
  health.observe('a', Number.POSITIVE_INFINITY)
  health.observe('b', 600)
  const { version } = health
  health.observe('b', 1)
  t.is(health.version, version)
  health.observe('a', 1)
  t.true(health.version > version)
  t.deepEqual(preferred(), ['a', 'b'])
})
