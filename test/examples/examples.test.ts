/** The examples, run as their first lines say, against a cluster that was started as they say. */
import test, { type ExecutionContext } from 'ava'
import { start, temporary } from './program.ts'

/** Starts a cluster; what it returns runs an example against it and returns what that printed. */
async function cluster(t: ExecutionContext): Promise<(file: string) => Promise<string>> {
  const dir = await temporary(t)
  const running = start(t, 'bin/statemq.js', ['start', '--json', '--port', '0', '--dir', dir.path])
  await running.prints('\n')
  const { servers } = JSON.parse(running.output) as { servers: string }
  return async (file) => {
    const example = start(t, `examples/${file}`, [], { STATEMQ_SERVERS: servers })
    t.is(await example.ended(), 0, example.errors)
    t.is(example.errors, '')
    return example.output
  }
}

test('orders: the steps of an order are handled in order, at the first run and at the next', async (t) => {
  const run = await cluster(t)
  for (let round = 0; round < 2; round++) {
    const output = await run('orders.js')
    for (const order of ['A-1', 'B-2', 'C-3']) {
      t.true(output.includes(`${order}: created, paid, shipped\n`), output)
    }
    t.is(output.trimEnd().split('\n').length, 12)
  }
})

test('cache: one message empties the cache of every instance, at the first run and at the next', async (t) => {
  const run = await cluster(t)
  for (let round = 0; round < 2; round++) {
    const output = await run('cache.js')
    t.deepEqual(output.trimEnd().split('\n'), [
      'at first: one says 4, two says 4, three says 4',
      'changed, caches are stale: one says 4, two says 4, three says 4',
      'after one message to all: one says 5, two says 5, three says 5',
    ])
  }
})

test('watch: the actors are listed, and a rebalancer is followed until it has left', async (t) => {
  const run = await cluster(t)
  const output = await run('watch.js')
  for (const words of [
    'broker/broker-a/0: master.service.serving, membership.settled',
    'rebalancer/gauges/gauge-1: member.heart.beating, balance.balanced',
    '--members.changed-->',
    '--consumer.closed-->  leaving.draining',
    '--queues.heard-->  left',
  ]) {
    t.true(output.includes(words), `${words}\n${output}`)
  }
})

test('unit-test: passes without any cluster', async (t) => {
  const example = start(t, 'examples/unit-test.js', [], { STATEMQ_SERVERS: 'nats://127.0.0.1:1' })
  t.is(await example.ended(), 0, example.errors)
  t.regex(example.output, /pass 1\b/)
})
