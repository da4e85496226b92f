/** Control messages: what does not parse goes no further, and says what is wrong with it. */
import test from 'ava'
import { z } from 'zod'
import { realClock, realRandom } from '../../actors/node/real-world.ts'
import { type Answer, accept, ask, decode, encode, hear, refuse, serve, tell } from '../../transport/codec.ts'
import { codeName, codes, isRetryable } from '../../transport/codes.ts'
import {
  answerCode,
  answerEpoch,
  PULL_HEAD_BYTES,
  pullAnswer,
  pullMaxOffset,
  pullMinOffset,
  pullNextOffset,
  sendAnswer,
  sendResultCode,
  sendResultOffset,
  sendResults,
  setSendResult,
} from '../../transport/exchange.ts'
import { createHub } from '../../transport/memory.ts'
import * as m from '../../transport/messages.ts'
import { type Subject, subjectsOf } from '../../transport/subjects.ts'
import { notedLog } from '../support/transports.ts'

const hub = () =>
  createHub({ clock: realClock, random: realRandom(), log: notedLog(), maxPayload: 1024 * 1024 })

const order = z.object({ name: z.string(), count: z.number().int().nonnegative() })
type Order = z.infer<typeof order>
const subject = 'mq.test.x' as Subject<Order, { done: string }>

for (const [what, payload, said] of [
  ['no JSON', 'nonsense', /not JSON/],
  ['nothing', '', /not JSON/],
  ['half of JSON', '{"name":"a","cou', /not JSON/],
  ['a list', '[]', /wrong ''/],
  ['null', 'null', /wrong ''/],
  ['a missing field', '{"name":"a"}', /wrong 'count'/],
  ['a wrong type', '{"name":"a","count":"1"}', /wrong 'count'/],
  ['a number below 0', '{"name":"a","count":-1}', /wrong 'count'/],
  ['half a number', '{"name":"a","count":1.5}', /wrong 'count'/],
] as const) {
  test(`codec: ${what} is malformed, and it is said where`, (t) => {
    const outcome = decode(order, Buffer.from(payload))
    t.false(outcome.ok)
    if (outcome.ok) return
    t.is(outcome.failure.code, 'malformed')
    t.regex(outcome.failure.message, said)
  })
}

test('codec: a request that does not parse is answered, and not carried out', async (t) => {
  const { connect } = hub()
  const transport = connect()
  serve(transport, subject, order, () => t.fail('it was carried out'))
  const outcome = await new Promise<Answer<{ done: string }> | null>((resolve) =>
    ask(transport, subject, { name: 5 } as never, 5_000, (it) => resolve(it.ok ? it.value : null)),
  )
  t.is(outcome?.code, codes.INVALID_PARAMETER)
})

test('codec: an answer is a value, a refusal, or a failure', async (t) => {
  const { connect } = hub()
  const transport = connect()
  serve(transport, subject, order, ({ name }, answer) => {
    if (name === 'good') answer(accept({ done: 'yes' }))
    else if (name === 'bad') answer(refuse(codes.NO_PERMISSION, 'not you'))
    // Else never.
  })
  const asked = (name: string) =>
    new Promise((resolve) =>
      ask(transport, subject, { name, count: 0 }, 50, (it) => resolve(it.ok ? it.value : it.failure.code)),
    )
  t.deepEqual(await asked('good'), { code: 0, value: { done: 'yes' } })
  t.deepEqual(await asked('bad'), { code: codes.NO_PERMISSION, message: 'not you' })
  t.is(await asked('slow'), 'timedOut')
})

for (const [what, payload] of [
  ['no JSON', 'nonsense'],
  ['nothing', ''],
  ['null', 'null'],
  ['no object', '5'],
  ['no code', '{"value":1}'],
  ['a code that is text', '{"code":"0"}'],
] as const) {
  test(`codec: an answer with ${what} is a failure`, async (t) => {
    const { connect } = hub()
    const transport = connect()
    transport.subscribe(subject, (_, reply) => transport.publish(reply, Buffer.from(payload)))
    const code = await new Promise((resolve) =>
      ask(transport, subject, { name: 'x', count: 0 }, 5_000, (it) => resolve(it.ok ? it : it.failure.code)),
    )
    t.is(code, 'malformed')
  })
}

test('codec: a message that does not parse is told of and not heard', async (t) => {
  const { connect } = hub()
  const transport = connect()
  const heard: Order[] = []
  const malformed: string[] = []
  hear(
    transport,
    subject,
    order,
    (message) => heard.push(message),
    (why) => malformed.push(why),
  )
  transport.publish(subject, Buffer.from('{"name":1,"count":1}'))
  tell(transport, subject, { name: 'a', count: 1 })
  await new Promise<void>((resolve) => transport.flush(() => resolve()))
  t.deepEqual(heard, [{ name: 'a', count: 1 }])
  t.deepEqual(
    malformed.map((why) => why.includes("'name'")),
    [true],
  )
})

test('codes: a number that nobody knows reads as SYSTEM_ERROR', (t) => {
  t.is(codeName(12_345), 'SYSTEM_ERROR')
  t.is(codeName(17), 'TOPIC_NOT_EXIST')
})

test('codes: what a change of the message alone can mend is not retryable', (t) => {
  for (const name of ['MESSAGE_ILLEGAL', 'INVALID_PARAMETER', 'SUBSCRIPTION_PARSE_FAILED'] as const) {
    t.false(isRetryable(name), name)
  }
  for (const name of ['SYSTEM_BUSY', 'NOT_MASTER', 'SERVICE_NOT_AVAILABLE'] as const)
    t.true(isRetryable(name), name)
})

test('exchange: the results of a send come back as they were', (t) => {
  const answer = sendAnswer(codes.SUCCESS, 3, 2 ** 32 - 1)
  setSendResult(answer, 0, codes.SUCCESS, 2 ** 53 - 1)
  setSendResult(answer, 1, codes.OUT_OF_ORDER_SEQUENCE, 0)
  setSendResult(answer, 2, codes.SUCCESS, 7)
  t.deepEqual([answerCode(answer), answerEpoch(answer), sendResults(answer)], [0, 2 ** 32 - 1, 3])
  t.deepEqual(
    [0, 1, 2].map((i) => [sendResultCode(answer, i), sendResultOffset(answer, i)]),
    [
      [codes.SUCCESS, 2 ** 53 - 1],
      [codes.OUT_OF_ORDER_SEQUENCE, 0],
      [codes.SUCCESS, 7],
    ],
  )
})

test('exchange: the answer to a pull carries its frames verbatim', (t) => {
  const frames = [Buffer.from('one'), Buffer.from('three')]
  const head = {
    code: codes.SUCCESS,
    epoch: 3,
    nextOffset: 2 ** 53 - 1,
    minOffset: 1,
    maxOffset: 2 ** 40,
  } as const
  const answer = pullAnswer(head, frames)
  t.deepEqual([answerCode(answer), answerEpoch(answer)], [0, 3])
  t.deepEqual(
    [pullNextOffset(answer), pullMinOffset(answer), pullMaxOffset(answer)],
    [2 ** 53 - 1, 1, 2 ** 40],
  )
  t.is(answer.subarray(PULL_HEAD_BYTES).toString(), 'onethree')
})

const claim = {
  ...{ group: 'g', topic: 't', queueId: 0, clientId: 'c', instance: 'i' },
  ...{ generation: 1, force: false, waits: true },
}
const checks: [name: string, schema: z.ZodType, good: object, bad: Record<string, unknown>][] = [
  [
    'a claim',
    m.claimRequest,
    claim,
    {
      group: '',
      queueId: -1,
      clientId: null,
      instance: undefined,
      generation: 0.5,
      force: 'yes',
      waits: 1,
      topic: 'x'.repeat(256),
    },
  ],
  [
    'a pull',
    m.pullRequest,
    { topic: 't', queueId: 0, offset: 0, maxBytes: 1, waitMs: 0 },
    { topic: '', queueId: '0', offset: -1, maxBytes: null, waitMs: Number.NaN, owner: { group: 'g' } },
  ],
  [
    'a commit',
    m.commitRequest,
    { group: 'g', clientId: 'c', offsets: [['t', 0, 5, 1]] },
    { offsets: [['t', 0, 5]], clientId: 5, group: undefined },
  ],
  [
    'a topic',
    m.topicOrder,
    { config: { topic: 't', readQueues: 1, writeQueues: 1, perm: 6 }, ifMissing: true },
    { config: { topic: 't', readQueues: 65_536, writeQueues: 1, perm: 6 }, ifMissing: 1 },
  ],
  ['a search', m.offsetSearch, { topic: 't', queueId: 0, to: 'first' }, { to: 'middle', queueId: -1 }],
  [
    'a reset',
    m.offsetReset,
    { group: 'g', topic: 't', offsets: [[0, 5]] },
    { offsets: [[0, -5]], group: '', topic: null },
  ],
]
for (const [name, schema, good, bad] of checks) {
  test(`messages: ${name} with a wrong field does not pass`, (t) => {
    t.true(decode(schema, encode(good)).ok)
    for (const [field, value] of Object.entries(bad)) {
      t.false(decode(schema, encode({ ...good, [field]: value })).ok, `${field} ${JSON.stringify(value)}`)
    }
  })
}

test('subjects: each belongs to one cluster, and those of a broker to one epoch', (t) => {
  const one = subjectsOf('one')
  const two = subjectsOf('two')
  t.not(one.broker('a', 1).send, two.broker('a', 1).send)
  t.not(one.broker('a', 1).send, one.broker('a', 2).send)
  const all = Object.values(one.broker('a', 1))
  t.is(new Set(all).size, all.length)
  t.is(one.broker('a', 1).send, 'mq.one.broker.a.1.send')
})
