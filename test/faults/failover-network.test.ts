/** A network that delays, cuts and damages: what was acknowledged is there, once, in order, and not a bit of it changed. */
import test from 'ava'
import { until } from '../support/until.ts'
import { isMaster, sharedStage } from './replicated.ts'

const turn = sharedStage({ proxied: true })

/** Larger than anything that is not made of messages. */
const LARGE_BYTES = 4_000

test.serial('network: a master that is far away loses nothing', async (t) => {
  const made = await turn(t)
  const load = made.load()
  await load.goesOn()
  const { proxy } = await made.cluster.masterOf(made.client)
  proxy!.delay(200, 100)
  await load.goesOn()
  proxy!.heal()
  await load.goesOn()
  await made.judge(load)
})

for (const [direction, who] of [
  ['in', 'whom nobody hears any more'],
  ['out', 'who hears nobody any more'],
] as const) {
  test.serial(`network: a master ${who} is replaced, and becomes a slave`, async (t) => {
    const made = await turn(t)
    const { cluster, client } = made
    const load = made.load()
    await load.goesOn()
    const master = await cluster.masterOf(client)
    master.proxy!.cut(direction)
    const cutAt = performance.now()
    await isMaster(made, 1 - master.brokerId)
    t.log(`replaced after ${Math.round(performance.now() - cutAt)} ms`)
    await load.goesOn()
    master.proxy!.heal()
    await load.goesOn()
    await made.judge(load)
  })
}

test.serial('network: a slave refuses bytes that were damaged on the way and gets them again', async (t) => {
  const made = await turn(t)
  const { cluster, client } = made
  const load = made.load({ bodyBytes: 2 * LARGE_BYTES, senders: 4 })
  await load.goesOn()
  const master = await cluster.masterOf(client)
  const slave = cluster.replica('broker-a', 1 - master.brokerId)
  const damage = { direction: 'out', probability: 0.2, largerThan: LARGE_BYTES, payloadsOnly: true } as const
  slave.proxy!.corrupt(damage)
  await until('much was damaged', () => slave.proxy!.damagedBytes > 20)
  slave.proxy!.heal()
  await load.goesOn()
  t.regex(slave.running!.errors, /is damaged .*asked for anew/)
  await made.judge(load)
})

test.serial(
  'network: a broker refuses messages that were damaged on the way and gets them again',
  async (t) => {
    const made = await turn(t)
    const proxy = await made.cluster.proxy()
    const client = await made.cluster.client(`nats://127.0.0.1:${proxy.port}`)
    const load = made.load({ bodyBytes: 2 * LARGE_BYTES, senders: 4 }, client)
    await load.goesOn()
    proxy.corrupt({ direction: 'in', probability: 0.2, largerThan: LARGE_BYTES, payloadsOnly: true })
    await until('much was damaged', () => proxy.damagedBytes > 20)
    proxy.heal()
    await load.goesOn()
    await made.judge(load)
  },
)
