/** A simple consumer alone: what it leaves behind, and what it does while brokers are away. */
import test from 'ava'
import { connect, startNode } from '../../../actors/index.ts'
import { realClock, realRandom } from '../../../actors/node/real-world.ts'
import { SimulatedDisk } from '../../../actors/node/simulated-disk.ts'
import type { Clock } from '../../../actors/node/world.ts'
import { createHub } from '../../../transport/memory.ts'
import { createRegisterHub } from '../../../transport/register-memory.ts'
import { notedLog } from '../../support/transports.ts'
import { until } from '../../support/until.ts'

/** A clock that knows how many of its timers are set. */
function countedClock(): Clock & { readonly set: number } {
  const set = new Set<unknown>()
  return {
    ...realClock,
    setTimeout(run, ms) {
      const timer = realClock.setTimeout(() => {
        set.delete(timer)
        run()
      }, ms)
      set.add(timer)
      return timer
    },
    clearTimeout(timer) {
      set.delete(timer)
      realClock.clearTimeout(timer)
    },
    get set() {
      return set.size
    },
  }
}

test('simple consumer: leaves no timer behind when it closes, whatever it was waiting for', async (t) => {
  const random = realRandom()
  const world = {
    clock: realClock,
    random,
    disk: new SimulatedDisk({ clock: realClock, random }).mount(),
    log: notedLog(),
  }
  const hub = createHub({ ...world, maxPayload: 1024 * 1024 })
  const node = await startNode({
    ...{ cluster: 'test', world, collectMs: 1, dir: 'test', register: createRegisterHub(world).connect() },
    ...{ transport: hub.connect(), roles: ['nameServer', 'broker'], broker: { name: 'broker-a' } },
  })
  const clock = countedClock()
  const client = await connect({ cluster: 'test', transport: hub.connect(), world: { ...world, clock } })
  await client.admin().createTopic('orders', { queues: 2 })
  await client.producer({ timeoutMs: 60_000 }).send({ topic: 'orders', body: 'x' })
  const subscriptions = [{ topic: 'orders' }]
  const consumer = client.simpleConsumer({ group: 'g', subscriptions, from: 'first' })
  const [message] = await consumer.receive()
  const waiting = consumer.receive(1, 60_000)
  const settled = consumer.ack(message!)
  await consumer.close()
  await settled
  t.deepEqual(await waiting, [])
  await client.close()
  t.is(clock.set, 0)
  await node.close()
})

test('simple consumer: acknowledges while the broker is away as soon as it is back, and says why when it stays away', async (t) => {
  const random = realRandom()
  const log = notedLog()
  const world = {
    clock: realClock,
    random,
    disk: new SimulatedDisk({ clock: realClock, random }).mount(),
    log,
  }
  const hub = createHub({ ...world, maxPayload: 1024 * 1024 })
  const register = createRegisterHub(world).connect()
  const common = { cluster: 'test', world, collectMs: 1, dir: 'test', register }
  const names = await startNode({ ...common, transport: hub.connect(), roles: ['nameServer'] })
  const broker = () =>
    startNode({ ...common, transport: hub.connect(), roles: ['broker'], broker: { name: 'broker-a' } })
  const first = await broker()
  t.teardown(() => names.close())
  const client = await connect({ cluster: 'test', transport: hub.connect(), world })
  t.teardown(() => client.close())
  const producer = client.producer({ timeoutMs: 60_000 })
  await Promise.all(['a', 'b'].map((body) => producer.send({ topic: 'orders', body })))
  const consumer = client.simpleConsumer({ group: 'g', subscriptions: [{ topic: 'orders' }], from: 'first' })
  const messages: Awaited<ReturnType<typeof consumer.receive>> = []
  await until('both are received', async () => messages.push(...(await consumer.receive())) >= 2)
  await first.close()
  const acknowledging = consumer.ack(messages[0]!)
  const error = await t.throwsAsync(consumer.receive(1, 500))
  t.regex(error!.message, /broker/)
  t.true((error as { retryable?: boolean }).retryable)
  const second = await broker()
  t.teardown(() => second.close())
  await acknowledging
  // A consumer that has asked for no topic finds the broker by the handle.
  const stranger = client.simpleConsumer({ group: 'g' })
  await stranger.ack(messages[1]!.receiptHandle)
  await until('both are committed', async () => {
    const { queues } = await client.admin().group('g')
    return queues.length > 0 && queues.every(({ lag }) => lag === 0)
  })
})
