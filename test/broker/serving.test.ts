/** Ingest, Delivery and Groups: what a broker takes, what it gives and to whom. */
import test from 'ava'
import { generationOf } from '../../machines/generation.ts'
import type { Answer } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import {
  answerCode,
  answerEpoch,
  PULL_HEAD_BYTES,
  pullMaxOffset,
  pullMinOffset,
  pullNextOffset,
  sendResultCode,
  sendResultOffset,
  sendResults,
} from '../../transport/exchange.ts'
import { countAt, frameBytesAt, queueOffsetAt } from '../../transport/frames.ts'
import type { ClaimAnswer, CommitAnswer, GroupOnBroker } from '../../transport/messages.ts'
import { BrokerBench, frame } from './support.ts'

async function broker(queues = 2, perm = 6): Promise<BrokerBench> {
  const bench = await BrokerBench.start()
  bench.topic('orders', { queues, perm })
  bench.settle()
  return bench
}

const results = (answer: Buffer | null): [code: number, offset: number][] =>
  answer === null
    ? []
    : Array.from({ length: sendResults(answer) }, (_, i) => [
        sendResultCode(answer, i),
        sendResultOffset(answer, i),
      ])

const offsetsIn = (answer: Buffer): number[] => {
  const offsets: number[] = []
  for (let at = PULL_HEAD_BYTES; at < answer.length; at += frameBytesAt(answer, at)) {
    for (let i = 0; i < countAt(answer, at); i++) offsets.push(queueOffsetAt(answer, at) + i)
  }
  return offsets
}

test('ingest: answers AFTER the last of the frames is stored', async (t) => {
  const bench = await broker()
  bench.send('r', frame(['1', '2']), frame(['3'], { queueId: 1 }), frame(['4']))
  t.is(bench.answer('r'), null)
  bench.settle()
  t.deepEqual(results(bench.answer('r')), [
    [0, 0],
    [0, 0],
    [0, 2],
  ])
  t.is(answerEpoch(bench.answer('r')!), bench.store.epoch)
})

test('ingest: answers those alone whose frames are stored', async (t) => {
  const bench = await broker()
  bench.send('1', frame(['1']))
  const first = bench.store.endPosition
  bench.send('2', frame(['2']))
  bench.ingest.answer(first)
  t.deepEqual(results(bench.answer('1')), [[0, 0]])
  t.is(bench.answer('2'), null)
})

test('ingest: a frame that is sent again is stored once, and answered with its first place', async (t) => {
  const bench = await broker()
  bench.send('1', frame(['a', 'b'], { producerId: 9, sequence: 0 }))
  bench.send('2', frame(['a', 'b'], { producerId: 9, sequence: 0 }))
  bench.settle()
  bench.send('3', frame(['a', 'b'], { producerId: 9, sequence: 0 }))
  t.deepEqual(
    ['1', '2', '3'].map((reply) => results(bench.answer(reply))),
    [[[0, 0]], [[0, 0]], [[0, 0]]],
  )
  t.is(bench.store.bounds(bench.store.queue('orders', 0)).maxOffset, 2)
})

test('ingest: NEVER answers a repetition before its first copy is stored', async (t) => {
  const bench = await broker()
  bench.send('1', frame(['a'], { producerId: 9 }))
  bench.send('2', frame(['a'], { producerId: 9 }))
  t.is(bench.answer('2'), null)
  bench.settle()
  t.deepEqual(results(bench.answer('2')), [[0, 0]])
})

test('ingest: a frame whose predecessor is missing is refused', async (t) => {
  const bench = await broker()
  bench.send('r', frame(['b'], { producerId: 9, sequence: 1 }))
  t.deepEqual(results(bench.answer('r')), [[codes.OUT_OF_ORDER_SEQUENCE, 0]])
})

const refusals: [what: string, bytes: () => Buffer, code: number][] = [
  ['of an unknown topic', () => frame(['x'], { topic: 'other' }), codes.TOPIC_NOT_EXIST],
  ['of no topic', () => frame(['x'], { topic: '' }), codes.TOPIC_NOT_EXIST],
  ['of a queue that is not there', () => frame(['x'], { queueId: 2 }), codes.NO_PERMISSION],
  ['without messages', () => frame([]), codes.MESSAGE_ILLEGAL],
  ['with a wrong count', () => frame(['x'], { count: 2 }), codes.MESSAGE_ILLEGAL],
  ["of the log's own kind", () => frame(['x'], { kind: 2 }), codes.MESSAGE_ILLEGAL],
  ['of a kind that nobody knows', () => frame(['x'], { kind: 200 as never }), codes.MESSAGE_ILLEGAL],
]
for (const [what, bytes, code] of refusals) {
  test(`ingest: a frame ${what} is refused and leaves no trace`, async (t) => {
    const bench = await broker()
    const end = bench.store.endPosition
    bench.send('r', bytes())
    t.deepEqual(results(bench.answer('r')), [[code, 0]])
    t.is(bench.store.endPosition, end)
    t.deepEqual(bench.ingest.counters, { messagesIn: 0, bytesIn: 0 })
  })
}

test('ingest: one frame that is refused does not keep its neighbours out', async (t) => {
  const bench = await broker()
  bench.send('r', frame(['1']), frame(['x'], { topic: 'other' }), frame(['2']))
  bench.settle()
  t.deepEqual(results(bench.answer('r')), [
    [0, 0],
    [codes.TOPIC_NOT_EXIST, 0],
    [0, 1],
  ])
})

test('ingest: a topic that may not be written to takes nothing', async (t) => {
  const bench = await broker(1, 4)
  bench.send('r', frame(['1']))
  t.deepEqual(results(bench.answer('r')), [[codes.NO_PERMISSION, 0]])
})

test('ingest: a request with one broken byte is refused whole, and leaves no trace', async (t) => {
  const bench = await broker()
  const sound = Buffer.concat([frame(['1'], { producerId: 9 }), frame(['2'], { producerId: 9, sequence: 1 })])
  const end = bench.store.endPosition
  for (let at = 0; at < sound.length; at += 3) {
    const broken = Buffer.from(sound)
    broken[at]! ^= 0x10
    bench.send(`${at}`, broken)
    t.is(answerCode(bench.answer(`${at}`)!), codes.CORRUPT_FRAME)
    t.is(sendResults(bench.answer(`${at}`)!), 0)
  }
  bench.send('cut', sound.subarray(0, -1))
  t.is(answerCode(bench.answer('cut')!), codes.CORRUPT_FRAME)
  t.is(bench.store.endPosition, end)
  bench.send('sound', sound)
  bench.settle()
  t.deepEqual(results(bench.answer('sound')), [
    [0, 0],
    [0, 1],
  ])
})

test('ingest: nothing at all is answered with nothing', async (t) => {
  const bench = await broker()
  bench.send('r', Buffer.alloc(0))
  t.deepEqual(results(bench.answer('r')), [])
})

test('ingest: more frames than an answer can count are refused, not dropped', async (t) => {
  const bench = await broker()
  const one = frame([], { topic: '' })
  bench.send('r', Buffer.concat(Array.from({ length: 65_536 }, () => one)))
  t.not(answerCode(bench.answer('r')!), codes.SUCCESS)
})

test('ingest: a closed gate refuses, and says that nothing was stored', async (t) => {
  const bench = await broker()
  bench.ingest.refusal = codes.SERVICE_NOT_AVAILABLE
  bench.send('r', frame(['1']))
  t.is(answerCode(bench.answer('r')!), codes.SERVICE_NOT_AVAILABLE)
})

test('ingest: who waits when the mastership ends learns that it must ask the next master', async (t) => {
  const bench = await broker()
  bench.send('r', frame(['1']))
  bench.ingest.close()
  t.is(answerCode(bench.answer('r')!), codes.NOT_MASTER)
  bench.settle()
  t.not(bench.answer('r'), null) // Once.
  t.true(bench.ingest.isDrained)
})

test('delivery: gives stored frames verbatim, and where to go on', async (t) => {
  const bench = await broker()
  bench.send('', frame(['1', '2']), frame(['3']))
  bench.settle()
  bench.pull('r')
  const answer = bench.answer('r')!
  t.deepEqual(offsetsIn(answer), [0, 1, 2])
  t.deepEqual(
    [answerCode(answer), pullNextOffset(answer), pullMinOffset(answer), pullMaxOffset(answer)],
    [0, 3, 0, 3],
  )
})

test('delivery: shows nobody what is not stored', async (t) => {
  const bench = await broker()
  bench.send('', frame(['1']))
  bench.pull('r')
  t.is(answerCode(bench.answer('r')!), codes.PULL_NOT_FOUND)
})

test('delivery: a pull that finds nothing is held until something is stored', async (t) => {
  const bench = await broker()
  bench.pull('r', { waitMs: 15_000 })
  bench.clock.advance(5_000)
  t.is(bench.answer('r'), null)
  bench.send('', frame(['1'], { queueId: 1 }))
  bench.settle()
  t.is(bench.answer('r'), null)
  bench.send('', frame(['2']))
  bench.settle()
  t.deepEqual(offsetsIn(bench.answer('r')!), [0])
})

test('delivery: a pull is held no longer than it asked for, and the broker does not look for ever', async (t) => {
  const bench = await broker()
  bench.pull('r', { waitMs: 1_000 })
  bench.clock.advance(900)
  t.is(bench.answer('r'), null)
  bench.clock.advance(400)
  t.is(answerCode(bench.answer('r')!), codes.PULL_NOT_FOUND)
})

test('delivery: an offset beyond the end, or before the start, moves to where the queue is', async (t) => {
  const bench = await broker()
  bench.send('', frame(['1', '2']))
  bench.settle()
  bench.pull('r', { offset: 9, waitMs: 15_000 })
  t.is(answerCode(bench.answer('r')!), codes.PULL_OFFSET_MOVED)
  t.is(pullNextOffset(bench.answer('r')!), 2)
})

test('delivery: a queue that is not there is refused', async (t) => {
  const bench = await broker()
  bench.pull('1', { topic: 'other' })
  bench.pull('2', { queueId: 2 })
  t.deepEqual(
    ['1', '2'].map((reply) => answerCode(bench.answer(reply)!)),
    [codes.TOPIC_NOT_EXIST, codes.TOPIC_NOT_EXIST],
  )
})

test('delivery: a topic that may not be read gives nothing', async (t) => {
  const bench = await broker(1, 2)
  bench.pull('r')
  t.is(answerCode(bench.answer('r')!), codes.NO_PERMISSION)
})

const owner = (clientId: string, assignEpoch = 1) => ({ group: 'g', clientId, assignEpoch })
const orders = { group: 'g', topic: 'orders', queueId: 0 }
const who = (clientId: string) => ({ clientId, instance: clientId })
const claim = (bench: BrokerBench, clientId: string, generation = 1, force = false) => {
  let answer: Answer<ClaimAnswer> | null = null
  bench.groups.claim({ ...orders, ...who(clientId), generation, force, waits: false }, (it) => {
    answer = it
  })
  bench.settle()
  return answer as unknown as { code: number; value: ClaimAnswer }
}

test('delivery: a queue of a group is read by its owner only', async (t) => {
  const bench = await broker()
  bench.send('', frame(['1']))
  bench.settle()
  bench.pull('nobody', { owner: owner('a') })
  claim(bench, 'a')
  bench.pull('owner', { owner: owner('a') })
  bench.pull('other', { owner: owner('b') })
  bench.pull('older', { owner: owner('a', 0) })
  t.deepEqual(
    ['nobody', 'owner', 'other', 'older'].map((reply) => answerCode(bench.answer(reply)!)),
    [codes.FENCED_OWNER, codes.SUCCESS, codes.FENCED_OWNER, codes.FENCED_OWNER],
  )
})

test('delivery: who was overtaken while its pull was held gets nothing more', async (t) => {
  const bench = await broker()
  claim(bench, 'a')
  bench.pull('old', { owner: owner('a'), waitMs: 15_000 })
  claim(bench, 'b', generationOf(1, 0), true)
  bench.pull('new', { owner: owner('b', 2), waitMs: 15_000 })
  bench.send('', frame(['1']))
  bench.settle()
  t.is(answerCode(bench.answer('old')!), codes.FENCED_OWNER)
  t.deepEqual(offsetsIn(bench.answer('new')!), [0])
})

test('delivery: a reader that asks again has given up its earlier pull', async (t) => {
  const bench = await broker()
  claim(bench, 'a')
  bench.pull('1', { owner: owner('a'), waitMs: 15_000 })
  bench.pull('2', { owner: owner('a'), waitMs: 15_000 })
  t.is(answerCode(bench.answer('1')!), codes.PULL_NOT_FOUND)
  bench.send('', frame(['1']))
  bench.settle()
  t.deepEqual(offsetsIn(bench.answer('2')!), [0])
})

test('delivery: readers without a group are held side by side', async (t) => {
  const bench = await broker()
  bench.pull('1', { waitMs: 15_000 })
  bench.pull('2', { waitMs: 15_000 })
  bench.send('', frame(['1']))
  bench.settle()
  t.deepEqual([offsetsIn(bench.answer('1')!), offsetsIn(bench.answer('2')!)], [[0], [0]])
})

test('delivery: who is held when the mastership ends learns that it must ask the next master', async (t) => {
  const bench = await broker()
  bench.pull('r', { waitMs: 15_000 })
  bench.delivery.close()
  t.is(answerCode(bench.answer('r')!), codes.NOT_MASTER)
})

const commit = (bench: BrokerBench, clientId: string, offset: number, assignEpoch = 1, queueId = 0) => {
  let answer: { code: number; value: CommitAnswer } | null = null
  bench.groups.commit({ group: 'g', clientId, offsets: [['orders', queueId, offset, assignEpoch]] }, (it) => {
    answer = it as never
  })
  bench.settle()
  return answer as unknown as { code: number; value: CommitAnswer }
}
const committed = (bench: BrokerBench) => bench.state.offsets.get('g')?.get('orders/0')

test('groups: a claim tells where to go on', async (t) => {
  const bench = await broker()
  bench.send('', frame(['1', '2', '3']))
  bench.settle()
  t.deepEqual(claim(bench, 'a').value, {
    ...{ granted: true, assignEpoch: 1, committed: null, minOffset: 0, maxOffset: 3, isLater: false },
  })
  commit(bench, 'a', 2)
  t.like(claim(bench, 'a').value, { granted: true, committed: 2 })
  t.like(claim(bench, 'b').value, { granted: false, owner: 'a' })
})

test('groups: a claim tells whether the queue was there when the group began', async (t) => {
  const bench = await broker(2)
  const isLater = (queueId: number, group = 'g') => {
    let answer: Answer<ClaimAnswer> | null = null
    const request = { ...orders, group, queueId, ...who('a'), generation: 1, force: false, waits: false }
    bench.groups.claim(request, (it) => {
      answer = it
    })
    bench.settle()
    return (answer as unknown as { value: { isLater: boolean } }).value.isLater
  }
  t.deepEqual([isLater(0), isLater(1)], [false, false])
  bench.topic('orders', { queues: 4 })
  t.deepEqual(
    [0, 1, 2, 3].map((queueId) => isLater(queueId)),
    [false, false, true, true],
  )
  t.deepEqual(
    [0, 3].map((queueId) => isLater(queueId, 'new')),
    [false, false],
  )
  bench.state.changeTopic({ deleted: 'orders' })
  bench.topic('orders', { queues: 4 })
  t.deepEqual(
    [0, 3].map((queueId) => isLater(queueId)),
    [false, false],
  )
})

const described = (bench: BrokerBench): GroupOnBroker => {
  let found: GroupOnBroker | null = null
  const nobody = { generation: 0, members: [], allocation: null, disagreements: [], rebalances: [] }
  bench.groups.describe('g', nobody, (answer) => {
    if ('value' in answer) found = answer.value
  })
  bench.settle()
  return found!
}
const fencedIn = (bench: BrokerBench): number => described(bench).fenced

test('groups: how long a queue is behind is told whenever messages wait in it, committed or not', async (t) => {
  const bench = await broker()
  bench.clock.advance(5_000)
  bench.send('', frame(['1', '2', '3']))
  bench.settle()
  claim(bench, 'a')
  bench.settle()
  const [first] = described(bench).queues
  t.like(first, { committed: null, maxOffset: 3 })
  t.is(typeof first!.behindSince, 'number')
  commit(bench, 'a', 3)
  bench.settle()
  t.like(described(bench).queues[0], { committed: 3, behindSince: null })
})

test('groups: who claims what another one owns is told until it has it or asks no more, and whether their lists are the same', async (t) => {
  const bench = await broker()
  const claimant = () => described(bench).queues[0]!.claimant
  const wait = (generation: number) =>
    bench.groups.claim({ ...orders, ...who('b'), generation, force: false, waits: true }, () => {})
  claim(bench, 'a', 5)
  t.is(claimant(), null)
  claim(bench, 'b', 5)
  t.is(claimant(), null, 'it does not wait')
  wait(6)
  t.deepEqual(claimant(), { clientId: 'b', isSameList: false })
  bench.groups.release({ ...orders, ...who('b'), generation: 6, assignEpoch: 0, offset: null }, () => {})
  t.is(claimant(), null, 'it has given up')
  wait(5)
  bench.clock.advance(3_000)
  t.deepEqual(claimant(), { clientId: 'b', isSameList: true }, 'it was told to ask again')
  bench.clock.advance(1_500)
  t.is(claimant(), null, 'it has not asked again')
  wait(6)
  bench.groups.release({ ...orders, ...who('a'), generation: 5, assignEpoch: 1, offset: null }, () => {})
  t.like(described(bench).queues[0], { owner: 'b', claimant: null })
})

test('groups: only the owner commits, under the assignEpoch of its grant; others are counted', async (t) => {
  const bench = await broker()
  bench.send('', frame(['1', '2', '3']))
  bench.settle()
  t.deepEqual(commit(bench, 'a', 1, 0).value.fenced, [['orders', 0]])
  claim(bench, 'a', 1)
  claim(bench, 'a', 2)
  t.deepEqual(commit(bench, 'a', 1, 1).value.fenced, [['orders', 0]])
  t.deepEqual(commit(bench, 'a', 1, 3).value.fenced, [['orders', 0]])
  t.deepEqual(commit(bench, 'b', 1, 2).value.fenced, [['orders', 0]])
  t.is(committed(bench), undefined)
  t.is(fencedIn(bench), 4)
  t.deepEqual(commit(bench, 'a', 1, 2).value.fenced, [])
  t.is(committed(bench), 1)
  t.is(fencedIn(bench), 4)
})

test('groups: who gives its queue back while its pull is held, is NEVER counted as refused', async (t) => {
  const bench = await broker()
  claim(bench, 'a')
  bench.pull('held', { owner: owner('a'), waitMs: 15_000 })
  bench.groups.release({ ...orders, ...who('a'), generation: 1, assignEpoch: 1, offset: null }, () => {})
  claim(bench, 'b', 2)
  bench.settle()
  t.is(answerCode(bench.answer('held')!), codes.FENCED_OWNER)
  t.is(fencedIn(bench), 0)
  bench.pull('late', { owner: owner('a'), waitMs: 15_000 })
  t.is(answerCode(bench.answer('late')!), codes.FENCED_OWNER)
  t.is(fencedIn(bench), 1)
})

test('groups: of one commit what its owner may is committed, and the rest is refused', async (t) => {
  const bench = await broker()
  bench.send('', frame(['1']), frame(['1'], { queueId: 1 }))
  bench.settle()
  claim(bench, 'a')
  let fenced: CommitAnswer['fenced'] | null = null
  const offsets: [string, number, number, number][] = [
    ['orders', 0, 1, 1],
    ['orders', 1, 1, 1],
    ['orders', 9, 1, 1],
    ['other', 0, 1, 1],
  ]
  bench.groups.commit({ group: 'g', clientId: 'a', offsets }, (answer) => {
    if ('value' in answer) fenced = answer.value.fenced
  })
  bench.settle()
  t.deepEqual(fenced as unknown, [
    ['orders', 1],
    ['orders', 9],
    ['other', 0],
  ])
  t.deepEqual([...bench.state.offsets.get('g')!], [['orders/0', 1]])
})

test('groups: how many messages wait in each queue is told without reading one', async (t) => {
  const bench = await broker()
  bench.send('', frame(['1', '2', '3']))
  bench.settle()
  claim(bench, 'a')
  commit(bench, 'a', 1)
  let reads = 0
  bench.store.read = () => void reads++
  let told: unknown = null
  bench.groups.lags({ group: 'g', topics: ['orders', 'unknown'] }, (answer) => {
    told = answer
  })
  const queues = bench.state.topics.get('orders')!.readQueues
  const lags = Array.from({ length: queues }, (_, queueId) => ['orders', queueId, queueId === 0 ? 2 : 0])
  t.deepEqual(told, { code: 0, value: { lags } })
  t.is(reads, 0)
})

test('groups: a release commits, and whoever waited begins there', async (t) => {
  const bench = await broker()
  bench.send('', frame(['1', '2', '3']))
  bench.settle()
  claim(bench, 'a')
  let answer: unknown = null
  bench.groups.claim({ ...orders, ...who('b'), generation: 2, force: false, waits: true }, (it) => {
    answer = it
  })
  bench.groups.release({ ...orders, ...who('a'), generation: 1, assignEpoch: 1, offset: 2 }, () => {})
  bench.settle()
  t.deepEqual(answer, {
    code: 0,
    value: { granted: true, assignEpoch: 2, committed: 2, minOffset: 0, maxOffset: 3, isLater: false },
  })
})

test('groups: a release NEVER sets an offset back, nor beyond what is stored', async (t) => {
  const bench = await broker()
  bench.send('', frame(['1', '2', '3']))
  bench.settle()
  for (const offset of [4, 1]) {
    claim(bench, 'a')
    const { assignEpoch } = bench.state.ownership('g', 'orders/0')
    commit(bench, 'a', 2, assignEpoch)
    bench.groups.release({ ...orders, ...who('a'), generation: 1, assignEpoch, offset }, () => {})
    bench.settle()
    t.is(committed(bench), 2)
    t.is(bench.groups.owners.of('g', 'orders/0'), null)
  }
})

test('groups: a release is answered AFTER its record is stored, also when it is repeated', async (t) => {
  const bench = await broker()
  claim(bench, 'a')
  let answers = 0
  const release = () =>
    bench.groups.release({ ...orders, ...who('a'), generation: 1, assignEpoch: 1, offset: null }, () => {
      answers++
    })
  release()
  t.is(answers, 0)
  bench.settle()
  release()
  bench.settle()
  t.is(answers, 2)
})

test('groups: an offset goes NEVER back and NEVER beyond what is stored', async (t) => {
  const bench = await broker()
  bench.send('', frame(['1', '2', '3']))
  bench.settle()
  claim(bench, 'a')
  commit(bench, 'a', 2)
  commit(bench, 'a', 1)
  t.is(committed(bench), 2)
  t.deepEqual(commit(bench, 'a', 4).value.fenced, [['orders', 0]], 'whoever is beyond reads another log')
  t.is(committed(bench), 2)
  commit(bench, 'a', 3)
  t.is(committed(bench), 3)
})

test('groups: a commit is answered AFTER its record is stored', async (t) => {
  const bench = await broker()
  bench.send('', frame(['1']))
  bench.settle()
  claim(bench, 'a')
  let isAnswered = false
  bench.groups.commit({ group: 'g', clientId: 'a', offsets: [['orders', 0, 1, 1]] }, () => {
    isAnswered = true
  })
  t.false(isAnswered)
  bench.settle()
  t.true(isAnswered)
})

test('groups: a commit that changes nothing writes nothing', async (t) => {
  const bench = await broker()
  bench.send('', frame(['1']))
  bench.settle()
  claim(bench, 'a')
  commit(bench, 'a', 1)
  const end = bench.store.endPosition
  commit(bench, 'a', 1)
  t.is(bench.store.endPosition, end)
})

test('groups: a claim of a topic or a group that cannot be is refused', async (t) => {
  const bench = await broker()
  const codesOf = [
    { topic: 'other', group: 'g' },
    { topic: 'orders', group: 'no group' },
  ].map((part) => {
    let code = -1
    const asked = { queueId: 0, ...who('a'), generation: 1, force: false, waits: false, ...part }
    bench.groups.claim(asked, (answer) => {
      code = answer.code
    })
    return code
  })
  t.deepEqual(codesOf, [codes.TOPIC_NOT_EXIST, codes.INVALID_PARAMETER])
})

test('groups: a queue that its topic has not can be neither claimed nor committed', async (t) => {
  const bench = await broker(1)
  let code = -1
  const asked = { ...orders, queueId: 7, ...who('a'), generation: 1, force: false, waits: false }
  bench.groups.claim(asked, (answer) => {
    code = answer.code
  })
  t.not(code, codes.SUCCESS)
})

const reset = (bench: BrokerBench, offset: number, part: { topic?: string; queueId?: number } = {}) => {
  let code = -1
  const { topic = 'orders', queueId = 0 } = part
  bench.groups.reset({ group: 'g', topic, offsets: [[queueId, offset]] }, (answer) => {
    code = answer.code
  })
  bench.settle()
  return code
}

test('groups: a reset goes back, and stays within the queue', async (t) => {
  const bench = await broker()
  bench.send('', frame(['1', '2', '3']))
  bench.settle()
  t.is(reset(bench, 99), codes.SUCCESS)
  t.is(committed(bench), 3)
  t.is(reset(bench, 1), codes.SUCCESS)
  t.is(committed(bench), 1)
  t.is(reset(bench, 1, { queueId: 7 }), codes.TOPIC_NOT_EXIST)
  t.is(reset(bench, 1, { topic: 'other' }), codes.TOPIC_NOT_EXIST)
})

test('groups: a reset unseats the owner at once, and its later commits and releases NEVER undo it', async (t) => {
  const bench = await broker()
  bench.send('', frame(['1', '2', '3']))
  bench.settle()
  claim(bench, 'a')
  commit(bench, 'a', 3)
  bench.pull('held', { offset: 3, owner: owner('a'), waitMs: 15_000 })
  t.is(bench.answer('held'), null)
  t.is(reset(bench, 1), codes.SUCCESS)
  t.is(answerCode(bench.answer('held')!), codes.FENCED_OWNER)
  t.deepEqual(commit(bench, 'a', 3).value.fenced, [['orders', 0]])
  bench.groups.release({ ...orders, ...who('a'), generation: 1, assignEpoch: 1, offset: 3 }, () => {})
  bench.settle()
  t.is(committed(bench), 1)
  t.like(claim(bench, 'a').value, { granted: true, assignEpoch: 2, committed: 1 })
})
