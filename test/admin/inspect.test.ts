/** Watching actors from a client: what is told at the end of an actor and at the end of the client. */
import test from 'ava'
import { firstValueFrom, lastValueFrom, takeWhile, toArray } from 'rxjs'
import { createTestCluster } from '../../actors/index.ts'

test('inspect: the transition that ends an actor is told to those who watch it', async (t) => {
  const cluster = await createTestCluster()
  t.teardown(() => cluster.close())
  const member = await cluster.connect()
  await member.admin().createTopic('orders')
  await member
    .consumer({ group: 'billing', clientId: 'one' })
    .subscribe('orders')
    .run(() => {})

  const inspect = (await cluster.connect()).inspect()
  const address = 'rebalancer/billing/one'
  const told = lastValueFrom(
    inspect.watch(address).pipe(
      takeWhile(({ to }) => to !== 'left', true),
      toArray(),
    ),
  )
  await inspect.actor(address)
  await member.close()
  t.is((await told).at(-1)?.to, 'left')
})

test('inspect: when the client closes, those who watch are told that it is over, and those who come later, too', async (t) => {
  const cluster = await createTestCluster()
  t.teardown(() => cluster.close())
  const client = await cluster.connect()
  const inspect = client.inspect()
  const watched = lastValueFrom(inspect.watch('broker/broker-a/0'), { defaultValue: null })
  const listed = lastValueFrom(inspect.actors$)
  t.true((await firstValueFrom(inspect.actors$)).some(({ address }) => address === 'broker/broker-a/0'))

  await client.close()
  t.is(await watched, null)
  t.deepEqual(await lastValueFrom(inspect.actors$), await listed)
})
