/**
 * Cache invalidation: every instance of a service hears of every change, by broadcasting.
 *
 * In clustering, the default, a message goes to ONE member of a group. In broadcasting it goes to each: that is what a
 * cache in memory needs. A new instance has an empty cache, so it begins at the end: `from: 'last'`.
 *
 * Run it: `npm start` in one terminal, then `node dist/examples/cache.js` in another.
 */
// In a project of your own: from 'statemq'.
import { connect } from '../actors/index.ts'

const database = new Map([['tea', 4]])

const admin = await connect()
await admin.admin().createTopic('price-changes', { queues: 1 })

/** One instance of the price service: its own connection, its own cache. */
async function startInstance(name: string) {
  const client = await connect()
  const cache = new Map<string, number>()
  let heard = () => {}
  const invalidated = new Promise<void>((resolve) => {
    heard = resolve
  })
  const consumer = client.consumer({ group: 'price-caches', messageModel: 'broadcasting', from: 'last' })
  consumer.subscribe('price-changes')
  // Resolves when it knows from where to read: a change that is sent from now on is heard.
  await consumer.run((message) => {
    cache.delete(message.text)
    heard()
  })
  return {
    name,
    invalidated,
    close: () => client.close(),
    price(product: string): number {
      const price = cache.get(product) ?? database.get(product)!
      cache.set(product, price)
      return price
    },
  }
}

const instances = await Promise.all(['one', 'two', 'three'].map(startInstance))
const show = (when: string) =>
  console.log(`${when}: ${instances.map(({ name, price }) => `${name} says ${price('tea')}`).join(', ')}`)

show('at first')
database.set('tea', 5)
show('changed, caches are stale')
await admin.producer().send({ topic: 'price-changes', body: 'tea' })
await Promise.all(instances.map(({ invalidated }) => invalidated))
show('after one message to all')

await Promise.all(instances.map((instance) => instance.close()))
await admin.close()
