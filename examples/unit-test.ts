/**
 * A unit test of a service of your own: the whole cluster in memory, without a port, a file or a second process.
 *
 * The service takes its client from outside. In production that is `connect()`, here it is the test cluster's; the
 * brokers, the protocol and the rebalancing behind it are the same code.
 *
 * Run it: `node --test dist/examples/unit-test.js`
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
// In a project of your own: from 'statemq'.
import { type Client, createTestCluster } from '../actors/index.ts'

/** The service: bills every order that is paid. */
async function startBilling(client: Client) {
  const invoices = client.producer({ group: 'billing' })
  const consumer = client.consumer({ group: 'billing', from: 'first' }).subscribe('orders', 'paid')
  await consumer.run(async (message) => {
    const { id, amount } = message.json<{ id: string; amount: number }>()
    // Throws when it cannot be stored: the order then comes again, and no invoice is forgotten.
    await invoices.send({ topic: 'invoices', keys: id, body: `${id}: ${amount.toFixed(2)} EUR` })
  })
}

test('billing: an order that is paid gets an invoice, one that is only created does not', async () => {
  const cluster = await createTestCluster({ brokers: 2 })
  try {
    const client = await cluster.connect()
    await startBilling(await cluster.connect())
    const shop = client.producer()
    await shop.send({ topic: 'orders', tag: 'created', body: JSON.stringify({ id: 'A-1', amount: 10 }) })
    await shop.send({ topic: 'orders', tag: 'paid', body: JSON.stringify({ id: 'B-2', amount: 12.5 }) })

    const invoices = client.consumer({ group: 'test', from: 'first' }).subscribe('invoices')
    for await (const invoice of invoices.messages()) {
      assert.equal(invoice.text, 'B-2: 12.50 EUR')
      await invoice.ack()
      break
    }
  } finally {
    await cluster.close()
  }
})
