/** The whole ladder in virtual time: from the first try to the dead letter, nearly five hours, through restarts. */
import test from 'ava'
import { connect } from '../../actors/client.ts'
import { SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import { DEFAULT_DELAY_LEVELS, delaysOf } from '../../machines/retry-policy.ts'
import { Cluster } from './cluster.ts'
import { SimulatedWorld } from './world.ts'

const HOUR = 3_600_000
/** Of a hand-over of the message from log to log to consumer; a restart takes its broker about a second more. */
const LATE_MS_MAX = 500
const RESTART_MS_MAX = 3_000

test('ladder: a message that always fails is tried 17 times, after RocketMQ’s pauses, and is then a dead letter', async (t) => {
  t.timeout(600_000)
  const world = new SimulatedWorld(7)
  const cluster = new Cluster(world)
  cluster.addNameServer('name-server')
  cluster.addBroker({ name: 'broker-a', flush: 'sync', segmentBytes: 64 * 1024 * 1024 })
  await cluster.start({ orders: 2 })
  const disk = new SimulatedDisk({ clock: world.clock, random: world.fork() })
  const process = world.process('consumer', disk)
  const client = await cluster.settle(
    connect({ cluster: 'sim', transport: process.world.transport, world: process.world }),
    'connecting',
  )
  const tries: { at: number; attempt: number; id: string; topic: string }[] = []
  const consumer = client.consumer({ group: 'billing', from: 'first' })
  consumer.subscribe('orders')
  void consumer.run(({ deliveryAttempt: attempt, messageId: id, topic }) => {
    tries.push({ at: world.clock.monotonic(), attempt, id, topic })
    throw new Error('no stock')
  })
  const { messageId } = await cluster.settle(
    client.producer().send({ topic: 'orders', body: 'A-1' }),
    'sending',
  )

  // While it waits for its fifth try, and for its last, its broker dies.
  const [broker] = cluster.brokers
  const dies = async (afterTries: number) => {
    t.true(await world.until(() => tries.length === afterTries, 3 * HOUR))
    await world.advance(1_000)
    cluster.crashBroker(broker!)
    await world.advance(5_000)
    cluster.startBroker(broker!)
  }
  await dies(4)
  await dies(16)
  t.true(await world.until(() => consumer.failures!.deadLetters === 1, 3 * HOUR))

  t.deepEqual(
    tries.map(({ attempt }) => attempt),
    Array.from({ length: 17 }, (_, i) => i + 1),
  )
  t.deepEqual([...new Set(tries.map(({ id, topic }) => `${topic} ${id}`))], [`orders ${messageId}`])
  const pauses = tries.slice(1).map(({ at }, i) => at - tries[i]!.at)
  const ladder = (delaysOf(DEFAULT_DELAY_LEVELS) as number[]).slice(2)
  for (const [i, pause] of pauses.entries()) {
    const lateMs = pause - ladder[i]!
    t.true(lateMs >= 0, `try ${i + 2} is ${-lateMs} ms early`)
    t.true(lateMs <= (i === 0 ? RESTART_MS_MAX : LATE_MS_MAX), `try ${i + 2} is ${lateMs} ms late`)
  }
  const letters = await cluster.settle(client.admin().deadLetters('billing'), 'listing')
  t.like(letters[0], { messageId, topic: 'orders', attempts: 17, reason: 'Error: no stock' })
  t.is(letters.length, 1)
  for (const one of world.processes) one.kill()
})
