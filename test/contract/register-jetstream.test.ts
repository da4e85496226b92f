/** The register on JetStream: what it asks of a server and of a stream, and answers that only a cluster in trouble gives. */
import test, { type ExecutionContext } from 'ava'
import type { Outcome } from '../../transport/failures.ts'
import { createHub } from '../../transport/memory.ts'
import type { Held, Register } from '../../transport/register.ts'
import { openJetStreamRegister } from '../../transport/register-jetstream.ts'
import { jetStreamSubjects, subjectsOf } from '../../transport/subjects.ts'
import type { Transport } from '../../transport/transport.ts'
import { type NatsServerOptions, startNatsServer } from '../support/nats-server.ts'
import {
  held,
  losing,
  NEVER_MS,
  openJetStream,
  read,
  subjects,
  swap,
  swapSurely,
  tryOpenJetStream,
} from '../support/registers.ts'
import {
  ask,
  clock,
  close,
  closeListener,
  connectTo,
  notedLog,
  openListener,
  random,
} from '../support/transports.ts'
import { until } from '../support/until.ts'

const { register: at } = subjects

async function place(t: ExecutionContext, options: NatsServerOptions = { jetstream: true }) {
  const server = await startNatsServer(options)
  t.teardown(server.stop)
  return {
    server,
    async connect() {
      const transport = await connectTo(server.url)
      t.teardown(() => close(transport))
      return transport
    },
  }
}

const api = async (transport: Transport, subject: string, body: object = {}) =>
  JSON.parse(await ask(transport, subject, JSON.stringify(body)))

const refusal = async (transport: Transport, replicas?: number) => {
  const outcome = await tryOpenJetStream(transport, {}, replicas)
  return outcome.ok ? null : outcome.failure
}

test('jetstream register: a server without JetStream is refused, with what to do', async (t) => {
  const { connect } = await place(t, {})
  const failure = await refusal(await connect())
  t.is(failure?.code, 'missing')
  t.regex(failure!.message, /`nats-server -js`, or let one node serve the register/)
})

test('jetstream register: the built-in listener and memory are refused', async (t) => {
  const hub = createHub({ clock, random, log: notedLog() })
  t.is((await refusal(hub.connect()))?.code, 'missing')
  const listener = await openListener({ hub })
  const transport = await connectTo(listener.url)
  t.is((await refusal(transport))?.code, 'missing')
  await close(transport)
  await closeListener(listener)
})

test('jetstream register: copies that one server cannot keep are refused', async (t) => {
  const { connect } = await place(t)
  t.regex((await refusal(await connect(), 3))!.message, /stands alone and cannot keep 3 copies/)
})

test('jetstream register: a key has a stream of its own, with one subject and a short history', async (t) => {
  const { connect } = await place(t)
  const transport = await connect()
  const register = await openJetStream(transport)
  for (let revision = 0; revision < 20; revision++) await swap(register, 'a', revision, revision)
  const { config, state } = await api(transport, jetStreamSubjects.streamInfo('statemq+test+a'))
  t.deepEqual(config.subjects, [at.value('a')])
  t.is(config.storage, 'file')
  t.is(config.num_replicas, 1)
  t.false(config.allow_direct)
  t.true(config.deny_delete && config.deny_purge)
  t.is(state.messages, 8)
  t.is(state.last_seq, 20)
})

test('jetstream register: clusters whose names run together share nothing', async (t) => {
  const pairs = [subjectsOf('a_b').register.stream('c'), subjectsOf('a').register.stream('b_c')]
  t.is(new Set(pairs).size, 2)
})

test('jetstream register: a stream that is no register is refused, and told how it must be', async (t) => {
  const { connect } = await place(t)
  const transport = await connect()
  const name = at.stream('a')
  await api(transport, jetStreamSubjects.createStream(name), {
    name,
    subjects: [at.value('a'), 'something.else'],
    storage: 'memory',
    num_replicas: 1,
  })
  const register = await openJetStream(transport)
  const outcome = await swap(register, 'a', 0, 1)
  t.is(outcome.result, 'unknown')
  const { failure } = outcome as { failure: { code: string; message: string } }
  t.is(failure.code, 'inUse')
  t.regex(failure.message, /must have subjects=\["mq\.test\.register\.value\.a"\], storage="file"/)
  t.false((await read(register, 'a')).ok)
})

test('jetstream register: many that begin at once share the streams', async (t) => {
  const { connect } = await place(t)
  const registers = await Promise.all([1, 2, 3, 4].map(async () => openJetStream(await connect())))
  const outcomes = await Promise.all(registers.map((register, i) => swap(register, 'a', 0, i)))
  t.is(outcomes.filter(({ result }) => result === 'ok').length, 1)
  t.is(outcomes.filter(({ result }) => result === 'conflict').length, 3)
})

test('jetstream register: a stream whose messages were removed is told of, and NEVER swapped', async (t) => {
  const { connect } = await place(t)
  const transport = await connect()
  const register = await openJetStream(transport)
  await swap(register, 'a', 0, 1)
  const stream = at.stream('a')
  const { config } = await api(transport, jetStreamSubjects.streamInfo(stream))
  t.regex(
    (await api(transport, `$JS.API.STREAM.PURGE.${stream}`)).error.description,
    /purge/,
    'the stream lets itself be purged',
  )
  // Only its limits can still take a message away.
  await api(transport, `$JS.API.STREAM.UPDATE.${stream}`, {
    ...config,
    max_age: 100_000_000,
    duplicate_window: 100_000_000,
  })
  await until('the message is gone', async () => (await held(register, 'a')) === null)
  const outcome = await swap(register, 'a', 0, 'anew')
  t.is(outcome.result, 'unknown')
  t.regex(
    (outcome as { failure: { message: string } }).failure.message,
    /messages were removed from the stream/,
  )
})

test('jetstream register: a stream that was deleted is told of, and NOT created in the middle of a swap', async (t) => {
  const { connect } = await place(t)
  const transport = await connect()
  const register = await openJetStream(transport, { swapTimeoutMs: 1_000 })
  await swapSurely(register, 'a', 0, 1)
  await api(transport, `$JS.API.STREAM.DELETE.${at.stream('a')}`)
  const outcome = await swap(register, 'a', 1, 2)
  t.is(outcome.result, 'unknown')
  const { failure } = outcome as { failure: { code: string; message: string } }
  t.is(failure.code, 'noResponders')
  t.regex(
    failure.message,
    /no stream 'statemq\+test\+a' takes values.*was deleted; then the next try creates it/,
  )
})

test('jetstream register: a stream that was deleted is created again, and a swap from what it held is a conflict', async (t) => {
  const { connect } = await place(t)
  const transport = await connect()
  const log = notedLog()
  const register = await openJetStream(transport, { swapTimeoutMs: 100, pollMs: NEVER_MS }, 1, log)
  await swapSurely(register, 'a', 0, 1)
  const { config } = await api(transport, jetStreamSubjects.streamInfo(at.stream('a')))
  await api(transport, `$JS.API.STREAM.DELETE.${at.stream('a')}`)
  t.deepEqual(await swapSurely(register, 'a', 1, 2), { result: 'conflict', held: null })
  t.deepEqual((await api(transport, jetStreamSubjects.streamInfo(at.stream('a')))).config, config)
  t.is(log.lines.filter((line) => line.includes('was deleted: it is created again')).length, 1)
  t.deepEqual(await swapSurely(register, 'a', 0, 3), { result: 'ok', revision: 1 })
})

test('jetstream register: those who watch a stream that was deleted hear that it is empty, and what comes then', async (t) => {
  const { connect } = await place(t)
  const transport = await connect()
  const registers = await Promise.all([1, 2].map(async () => openJetStream(await connect(), { pollMs: 50 })))
  const heard = registers.map((register) => {
    t.teardown(register.close)
    const told: unknown[] = []
    register.watch(
      'a',
      ({ value }) => told.push(value),
      (found) => told.push(`back to ${found === null ? 'nothing' : found.value}`),
    )
    return told
  })
  await swapSurely(registers[0]!, 'a', 0, 'one')
  await until('both know it', () => heard.every((told) => told.length === 1))
  await api(transport, `$JS.API.STREAM.DELETE.${at.stream('a')}`)
  await until('both know that it is gone', () => heard.every((told) => told.includes('back to nothing')))
  t.deepEqual(await swapSurely(registers[1]!, 'a', 0, 'two'), { result: 'ok', revision: 1 })
  await until('both know what came', () => heard.every((told) => told.includes('two')))
  for (const told of heard) t.deepEqual(told, ['one', 'back to nothing', 'two'])
})

test('jetstream register: a name that is too long for a stream is told of', async (t) => {
  const { connect } = await place(t)
  const transport = await connect()
  const long = subjectsOf('c'.repeat(127))
  const register = await new Promise<Register>((resolve) =>
    openJetStreamRegister({ transport, subjects: long, clock, log: notedLog() }, (outcome) => {
      if (outcome.ok) resolve(outcome.value)
    }),
  )
  let isInside = true
  const outcome = new Promise<Outcome<Held | null>>((resolve) => {
    register.read('b'.repeat(127), (answer) => {
      t.false(isInside)
      resolve(answer)
    })
    isInside = false
  })
  const { ok, failure } = (await outcome) as { ok: false; failure: { message: string } }
  t.false(ok)
  t.regex(failure.message, /shorten the name/)
})

test('jetstream register: a value above what the server carries is NOT stored in parts', async (t) => {
  const { connect } = await place(t, { jetstream: true, config: 'max_payload: 4096' })
  const register = await openJetStream(await connect())
  const outcome = await swap(register, 'a', 0, 'x'.repeat(4_090))
  t.is((outcome as { failure?: { code: string } }).failure?.code, 'tooLarge')
  t.is(await held(register, 'a'), null)
  t.deepEqual(await swap(register, 'a', 0, 'x'.repeat(3_000)), { result: 'ok', revision: 1 })
})

test('jetstream register: something in the stream that is no JSON is a failure', async (t) => {
  const { connect } = await place(t)
  const transport = await connect()
  const register = await openJetStream(transport)
  await held(register, 'a')
  await ask(transport, at.value('a'), 'not JSON')
  const outcome = await read(register, 'a')
  t.is(!outcome.ok && outcome.failure.code, 'malformed')
})

// ------------------------------------------------------------------- a JetStream that answers what the test tells it

type Answer = object | string | (() => object)
type Answers = Partial<Record<'info' | 'stream' | 'create' | 'message' | 'store', Answer>>

/** A JetStream of which only the answers are there. */
function pretend(t: ExecutionContext, answers: Answers, version = '2.12.4', isClustered = true) {
  const hub = createHub({ clock, random, log: notedLog() })
  const server = hub.connect()
  const log = notedLog()
  const answer = (subject: string, name: keyof Answers, usual: object) =>
    server.subscribe(subject, (_payload, reply) => {
      const answer = answers[name] ?? usual
      const told = typeof answer === 'function' ? answer() : answer
      server.publish(reply, Buffer.from(typeof told === 'string' ? told : JSON.stringify(told)))
    })
  const config = {
    name: at.stream('a'),
    subjects: [at.value('a')],
    storage: 'file',
    retention: 'limits',
    discard: 'old',
    num_replicas: 3,
    max_msgs_per_subject: 8,
    deny_delete: true,
    deny_purge: true,
  }
  answer(jetStreamSubjects.info, 'info', { streams: 1 })
  answer(jetStreamSubjects.streamInfo('*'), 'stream', { config })
  answer(jetStreamSubjects.createStream('*'), 'create', { config })
  answer(jetStreamSubjects.getMessage('*'), 'message', message(5, '"five"'))
  const takeValues = () => answer(at.value('a'), 'store', { stream: at.stream('a'), seq: 6 })
  let taking = takeValues()
  const losses = { orders: false, answers: false, pushes: false }
  const inner = losing(hub.connect(), losses)
  const transport: Transport = {
    ...inner,
    maxPayload: inner.maxPayload,
    state: 'connected',
    server: { version, isClustered, hasJetStream: true },
  }
  return {
    log,
    answers,
    config,
    takesValues(takes: boolean) {
      if (takes) taking = takeValues()
      else taking.unsubscribe()
    },
    async open(replicas = 3) {
      const outcome = await tryOpenJetStream(transport, { pollMs: NEVER_MS }, replicas, log)
      if (!outcome.ok) throw new Error(outcome.failure.message)
      t.teardown(outcome.value.close)
      return outcome.value
    },
  }
}

const message = (seq: number, data: string) => ({
  message: { subject: at.value('a'), seq, data: Buffer.from(data).toString('base64') },
})
const refused = (err_code: number, description: string, code = 400) => ({
  error: { code, err_code, description },
})

test('jetstream register: a conflict is told AFTER a value was read that is not older', async (t) => {
  const { open, answers } = pretend(t, { store: refused(10071, 'wrong last sequence: 6') })
  const register = await open()
  const stale = await swap(register, 'a', 5, 'mine')
  t.is(stale.result, 'unknown', 'a leader that was deposed was believed')
  answers.message = message(5, '"five"')
  t.is((await swap(register, 'a', 4, 'mine')).result, 'unknown')
  answers.message = message(6, '"six"')
  t.deepEqual(await swap(register, 'a', 5, 'mine'), {
    result: 'conflict',
    held: { revision: 6, value: 'six' },
  })
})

test('jetstream register: a conflict that names no sequence is one too', async (t) => {
  const { open, answers } = pretend(t, { store: refused(10164, 'wrong last sequence') })
  const register = await open()
  t.is((await swap(register, 'a', 5, 'mine')).result, 'unknown')
  answers.message = message(6, '"six"')
  t.is((await swap(register, 'a', 5, 'mine')).result, 'conflict')
})

test('jetstream register: a conflict whose value cannot be read is unknown', async (t) => {
  const { open } = pretend(t, {
    store: refused(10071, 'wrong last sequence: 6'),
    message: refused(10008, 'JetStream system temporarily unavailable', 503),
  })
  const outcome = await swap(await open(), 'a', 5, 'mine')
  t.is(outcome.result, 'unknown')
  t.true(outcome.result === 'unknown' && outcome.failure.retryable)
})

test('jetstream register: a swap waits for a stream that does not take values yet', async (t) => {
  const { open, takesValues } = pretend(t, {})
  const register = await open()
  takesValues(false)
  const outcome = swap(register, 'a', 5, 'mine')
  for (let turn = 0; turn < 50; turn++) await held(register, 'a')
  takesValues(true)
  t.deepEqual(await outcome, { result: 'ok', revision: 6 })
})

test('jetstream register: any other refusal of a swap is unknown', async (t) => {
  const { open, answers } = pretend(t, { store: refused(10077, 'insufficient storage', 503) })
  const register = await open()
  const outcome = await swap(register, 'a', 5, 'mine')
  t.is(outcome.result, 'unknown')
  t.regex((outcome as { failure: { message: string } }).failure.message, /insufficient storage \(10077\)/)
  answers.store = 'garbage'
  t.is((await swap(register, 'a', 5, 'mine')).result, 'unknown')
})

for (const [code, description] of [
  [10058, 'stream name already in use'],
  [10065, 'subjects overlap with an existing stream'],
] as const)
  test(`jetstream register: a stream that another node creates at this moment is used (${code})`, async (t) => {
    const { open, answers } = pretend(t, { stream: refused(10059, 'stream not found', 404) })
    const register = await open()
    answers.create = refused(code, description)
    // It is not there and it is: that is told, not tried for ever.
    const outcome = await read(register, 'a')
    t.regex(outcome.ok ? '' : outcome.failure.message, new RegExp(`to create the stream .*${description}`))
    answers.create = () => {
      delete answers.stream
      return refused(code, description)
    }
    t.deepEqual(await held(register, 'a'), { revision: 5, value: 'five' })
  })

test('jetstream register: nodes that come to the same new keys at once all open them', async (t) => {
  const { connect } = await place(t)
  const registers = await Promise.all(
    Array.from({ length: 6 }, async () => openJetStream(await connect(), {})),
  )
  for (let key = 0; key < 20; key++)
    t.deepEqual(
      await Promise.all(registers.map((register) => held(register, `key-${key}`))),
      registers.map(() => null),
    )
})

test('jetstream register: a stream that cannot be created is tried again at the next use', async (t) => {
  const { open, answers } = pretend(t, {
    stream: refused(10059, 'stream not found', 404),
    create: refused(10008, 'JetStream system temporarily unavailable', 503),
  })
  const register = await open()
  t.is((await swap(register, 'a', 5, 'mine')).result, 'unknown')
  delete answers.create
  t.deepEqual(await swap(register, 'a', 5, 'mine'), { result: 'ok', revision: 6 })
})

test('jetstream register: servers that may forget, and copies that are missing, are warned of', async (t) => {
  const old = pretend(t, {}, '2.9.10')
  await old.open()
  t.regex(old.log.lines.join(), /a cluster of nats-server 2\.9\.10 may forget a vote/)
  const fresh = pretend(t, {}, '2.12.4')
  fresh.answers.stream = { config: { ...fresh.config, num_replicas: 1 } }
  t.deepEqual(await held(await fresh.open(), 'a'), { revision: 5, value: 'five' })
  t.deepEqual(fresh.log.lines, ["the stream 'statemq+test+a' has 1 copies where 3 are wanted"])
})

test('jetstream register: an account without JetStream is refused', async (t) => {
  const { open } = pretend(t, { info: refused(10039, 'jetstream not enabled for account', 503) })
  await t.throwsAsync(open(), { message: /no NATS server with JetStream is there/ })
})
