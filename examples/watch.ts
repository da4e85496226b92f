/**
 * Watching the machines: every role of the cluster is a state machine, and its state can be seen while it works.
 *
 * `actors$` is the list of all actors, told anew with every change; `watch` is each transition of one of them.
 *
 * Run it: `npm start` in one terminal, then `node dist/examples/watch.js` in another.
 */
import { filter, firstValueFrom, map } from 'rxjs'
// In a project of your own: from 'statemq'.
import { connect } from '../actors/index.ts'

const client = await connect()
const inspect = client.inspect()

console.log('The actors that run:')
for (const { address, state } of await firstValueFrom(inspect.actors$))
  console.log(`  ${address} is ${state}`)

// Somebody else's consumer: its rebalancer is an actor, too, and can be seen from here.
const other = await connect()
await other.admin().createTopic('readings', { queues: 2 })
const consumer = other.consumer({ group: 'gauges', clientId: 'gauge-1' }).subscribe('readings')
await consumer.run(() => {})

const address = 'rebalancer/gauges/gauge-1'
const balanced = await firstValueFrom(
  inspect.actors$.pipe(
    map((actors) => actors.find((actor) => actor.address === address)),
    filter((actor) => actor !== undefined),
  ),
)
console.log(`\nA consumer runs: ${address} is ${balanced.state}`)

console.log('\nIt leaves:')
const left = new Promise<void>((resolve) => {
  inspect.watch(address).subscribe({
    next({ from, event, to }) {
      console.log(`  ${from} --${event}--> ${to}`)
      if (to.startsWith('left')) resolve()
    },
    // Nobody hosts it any more.
    error: () => resolve(),
  })
})
// `watch` asks first; what happens after the answer is told.
await inspect.actor(address)
await other.close()
await left
await client.close()
