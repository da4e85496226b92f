/** What a slave tells of a queue while there is no master. */
import test from 'ava'
import { type Orphan, OrphanReads } from '../../actors/broker/orphan-reads.ts'
import type { Process } from '../../actors/node/process.ts'
import { ask } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { createHub } from '../../transport/memory.ts'
import type { OffsetSearch } from '../../transport/messages.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { BrokerBench, frame } from './support.ts'

async function stage() {
  const bench = await BrokerBench.start()
  const { clock, log, store, state } = bench
  const random = seededRandom(1)
  const subjects = subjectsOf('test')
  const hub = createHub({ clock, random, log })
  const world = { clock, random, log, transport: hub.connect() }
  bench.topic('orders', { queues: 1 })
  const known = { isMember: true }
  const orphan: Orphan = { brokerName: 'a', store, state, isMember: () => known.isMember }
  const reads = new OrphanReads({ id: 'p', world, subjects } as unknown as Process, orphan)
  const client = hub.connect()
  return {
    ...{ bench, known, reads },
    /** The offset, or why there is none. */
    search(to: OffsetSearch['to']): unknown {
      let said: unknown = 'nothing'
      const request = { topic: 'orders', queueId: 0, to }
      ask(client, subjects.replicas('a').searchOffset, request, 100, (outcome) => {
        said = !outcome.ok
          ? outcome.failure.code
          : 'value' in outcome.value
            ? outcome.value.value.offset
            : outcome.value.code
      })
      clock.advance(200)
      return said
    },
  }
}

test('orphan reads: where a queue begins and ends, and since when, is told by what is confirmed', async (t) => {
  const { bench, search } = await stage()
  bench.send('', frame(['one', 'two', 'three']))
  bench.settle()
  bench.store.confirmLimit = bench.store.endPosition
  t.deepEqual([search('first'), search('last'), search(0), search(2 ** 50)], [0, 3, 0, 3])
})

test('orphan reads: what is not confirmed is NEVER told of', async (t) => {
  const { bench, search } = await stage()
  bench.send('', frame(['one', 'two', 'three']))
  bench.settle()
  bench.store.confirmLimit = bench.store.endPosition
  bench.send('', frame(['four']))
  bench.settle()
  t.true(bench.store.storedPosition > bench.store.confirmPosition)
  t.deepEqual([search('last'), search(2 ** 50)], [3, 3])
})

test('orphan reads: a replica outside of the sync state set tells nobody where a queue ends', async (t) => {
  const { bench, known, search } = await stage()
  bench.send('', frame(['one']))
  bench.settle()
  known.isMember = false
  t.is(search('last'), codes.SYSTEM_BUSY)
  known.isMember = true
  t.is(search('last'), 1)
})

test('orphan reads: AFTER close nobody is told anything', async (t) => {
  const { reads, search } = await stage()
  reads.close()
  t.is(search('first'), 'noResponders')
})
