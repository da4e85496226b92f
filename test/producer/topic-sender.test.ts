/** TopicSender: which queue a message goes to. */
import test from 'ava'
import { StateMQError } from '../../actors/index.ts'
import { Bench } from './support.ts'

const pick = (bench: Bench, message = {}): string => {
  const lane = bench.sender.laneFor({ topic: 'orders', body: 'x', ...message })
  return `${lane.pipe.brokerName}/${lane.queueId}`
}

test('round robin: takes every queue in turn, whatever the number of sends in a turn of the loop', (t) => {
  for (const perTurn of [1, 2, 3, 5, 8, 13]) {
    const bench = new Bench({ seed: perTurn })
    bench.route({ name: 'a', queues: 3 }, { name: 'b', queues: 3 })
    const picked: string[] = []
    for (let i = 0; i < 600; i++) {
      if (i % perTurn === 0) bench.turn.number++
      picked.push(pick(bench))
    }
    const counts = [...new Set(picked)].map((queue) => picked.filter((it) => it === queue).length)
    t.deepEqual(counts, [100, 100, 100, 100, 100, 100], `${perTurn}`)
    for (let i = 0; i + 6 <= picked.length; i += 6)
      t.is(new Set(picked.slice(i, i + 6)).size, 6, `${perTurn}`)
  }
})

test('round robin: begins anywhere', (t) => {
  const firsts = new Set<string>()
  for (let seed = 0; seed < 50; seed++) {
    const bench = new Bench({ seed })
    bench.route({ name: 'a', queues: 4 })
    bench.turn.number++
    firsts.add(pick(bench))
  }
  t.is(firsts.size, 4)
})

test('round robin: of very many queues one turn uses a few, and all turns use all alike', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a', queues: 160 })
  const counts = new Map<string, number>()
  for (let turn = 0; turn < 100; turn++) {
    bench.turn.number++
    const used = new Set<string>()
    for (let i = 0; i < 64; i++) {
      const queue = pick(bench)
      used.add(queue)
      counts.set(queue, (counts.get(queue) ?? 0) + 1)
    }
    t.is(used.size, 16)
  }
  t.is(counts.size, 160)
  t.deepEqual([...new Set(counts.values())], [40])
})

test('round robin: leaves out a broker that is thought to fail, until it is thought well again', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a', queues: 2 }, { name: 'b', queues: 2 })
  const brokers = () => {
    const found = new Set<string>()
    for (let i = 0; i < 20; i++) found.add(pick(bench)[0]!)
    return [...found].sort().join('')
  }
  t.is(brokers(), 'ab')
  bench.unusable.add('a')
  bench.health.version++
  t.is(brokers(), 'b')
  bench.unusable.clear()
  bench.health.version++
  t.is(brokers(), 'ab')
})

test('round robin: uses all brokers when all are thought to fail', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a' }, { name: 'b' })
  bench.unusable.add('a').add('b')
  bench.health.version++
  t.is(new Set(Array.from({ length: 10 }, () => pick(bench))).size, 2)
})

test('round robin: when all are avoided, uses those that answer, though slowly, and not those that do not', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a' }, { name: 'b' })
  bench.unusable.add('a').add('b')
  bench.dead.add('a')
  bench.health.version++
  t.deepEqual([...new Set(Array.from({ length: 10 }, () => pick(bench)))], ['b/0'])
})

test('queues: one that may not be written to is not used', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a', perm: 4 }, { name: 'b', perm: 2 })
  t.deepEqual([...new Set(Array.from({ length: 10 }, () => pick(bench)))], ['b/0'])
})

test('queues: a topic without a writable queue has no route', (t) => {
  const bench = new Bench()
  t.false(bench.sender.hasRoute)
  bench.route({ name: 'a', perm: 4 })
  t.false(bench.sender.hasRoute)
})

test('message group: stays on its queue while the queues stay, whatever fails', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a', queues: 4 }, { name: 'b', queues: 4 })
  const groups = Array.from({ length: 200 }, (_, i) => `group ${i} ü 中`)
  const before = groups.map((messageGroup) => pick(bench, { messageGroup }))
  bench.unusable.add('a')
  bench.health.version++
  bench.route({ name: 'a', epoch: 2, queues: 4 }, { name: 'b', queues: 4 })
  t.deepEqual(
    groups.map((messageGroup) => pick(bench, { messageGroup })),
    before,
  )
  t.is(new Set(before).size, 8)
})

test('message group: one whose hash is the least number has a queue', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a', queues: 3 })
  t.regex(pick(bench, { messageGroup: 'polygenelubricants' }), /^a\/[012]$/)
})

test('selectQueue: is shown the queues sorted by broker and id, and wins over the message group', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a', queues: 2 }, { name: 'b', queues: 1 })
  let seen: unknown
  const select = (queues: unknown) => {
    seen = queues
    return 2
  }
  t.is(pick(bench, { selectQueue: select, messageGroup: 'g' }), 'b/0')
  t.deepEqual(seen, [
    { topic: 'orders', brokerName: 'a', queueId: 0 },
    { topic: 'orders', brokerName: 'a', queueId: 1 },
    { topic: 'orders', brokerName: 'b', queueId: 0 },
  ])
})

test('selectQueue: an index that no queue has is refused', (t) => {
  const bench = new Bench()
  bench.route({ name: 'a', queues: 2 })
  for (const index of [-1, 2, 0.5, Number.NaN, undefined]) {
    t.throws(() => pick(bench, { selectQueue: () => index }), { instanceOf: StateMQError }, `${index}`)
  }
})
