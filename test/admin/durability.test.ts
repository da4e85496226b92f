/** The durability class: what is promised for each way of replicating and flushing, and for each state of the set. */
import test from 'ava'
import { durabilityOf, type Promised } from '../../actors/admin/durability.ts'

const two: Promised = { replication: 'sync', flush: 'async', replicas: 2, minInSync: 1, syncStateSet: [0, 1] }
const one: Promised = { ...two, replication: 'none', replicas: 1, syncStateSet: [0] }

const cases: [what: string, promised: Promised, words: string, copies: number, onDisk: boolean][] = [
  ['one replica, flush async', one, 'async flush, 1 copy', 1, false],
  ['one replica, flush sync', { ...one, flush: 'sync' }, 'sync flush, 1 copy', 1, true],
  ['two in sync, flush async', two, 'async flush, 2 copies', 2, false],
  ['two in sync, flush sync', { ...two, flush: 'sync' }, 'sync flush, 2 copies', 2, true],
  [
    'two of three in sync',
    { ...two, replicas: 3, syncStateSet: [0, 2] },
    'async flush, 2 copies of 3',
    2,
    false,
  ],
  [
    'two in sync, replication async',
    { ...two, replication: 'async' },
    'async flush, 1 copy + 1 later',
    1,
    false,
  ],
  [
    'three in sync, both async and on disk',
    { ...two, replication: 'async', flush: 'sync', replicas: 3, syncStateSet: [0, 1, 2] },
    'sync flush, 1 copy + 2 later',
    1,
    true,
  ],
  [
    'fewer in sync than are demanded',
    { ...two, minInSync: 2, syncStateSet: [1] },
    'takes nothing: 1 of 2 copies',
    0,
    false,
  ],
]

for (const [what, promised, words, copies, onDisk] of cases) {
  test(`durability: ${what} is '${words}'`, (t) => {
    t.like(durabilityOf(promised), { class: words, copies, onDisk })
  })
}

test('durability: a master that is alone counts one copy, on disk whatever its flush', (t) => {
  for (const replication of ['sync', 'async'] as const) {
    t.like(durabilityOf({ ...two, replication, syncStateSet: [1] }), {
      class: 'sync flush, 1 copy of 2',
      copies: 1,
      onDisk: true,
    })
  }
})

test('durability: with replication async it says that a failover loses what no slave has', (t) => {
  t.regex(durabilityOf({ ...two, replication: 'async' }).survives, /failover loses what no slave had/)
})
