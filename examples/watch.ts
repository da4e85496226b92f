/**
 * Watching the machines: every role of the cluster is a state machine, and its state can be seen while it works.
 *
 * `actors$` is the list of all actors, told anew with every change; `watch` is each transition of one of them.
 *
 * Run it: `npm start` in one terminal, then `node dist/examples/watch.js` in another.
 */
import { filter, firstValueFrom } from 'rxjs'
// In a project of your own: from 'statemq'.
import { connect } from '../actors/index.ts'

const client = await connect()
await client.admin().createTopic('readings', { queues: 2 })

/** A consumer on a connection of its own. Its side of dividing the queues is an actor, too: its rebalancer. */
async function startGauge(clientId: string) {
  const own = await connect()
  const consumer = own.consumer({ group: 'gauges', clientId }).subscribe('readings')
  await consumer.run(() => {})
  return own
}

const first = await startGauge('gauge-1')
const inspect = client.inspect()
console.log('The actors that run:')
for (const { address, state } of await firstValueFrom(inspect.actors$)) console.log(`  ${address}: ${state}`)

const address = 'rebalancer/gauges/gauge-1'
console.log(`\nThe transitions of ${address}:`)
const transitions$ = inspect.watch(address).pipe(filter(({ from, to }) => from !== to))
const left = new Promise<void>((resolve) => {
  transitions$.subscribe(({ from, event, to }) => {
    console.log(`  ${from}\n    --${event}-->  ${to}`)
    if (to === 'left') resolve()
  })
})
// The answer to this tells that the watch, which was asked for before it, has begun.
await inspect.actor(address)

const second = await startGauge('gauge-2') // It takes half of the queues from the first.
await first.close() // It gives the other half back, too, and leaves the group.
await left
await second.close()
await client.close()
