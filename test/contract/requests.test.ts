/** The multiplexer of requests, on a clock that the test moves. */
import test from 'ava'
import type { Outcome } from '../../transport/failures.ts'
import { CALLS_MAX, createRequests } from '../../transport/requests.ts'
import { virtualClock } from '../support/virtual-clock.ts'

function place(firstCall?: number) {
  const clock = virtualClock()
  const sent: { subject: string; reply: string }[] = []
  const errors: unknown[] = []
  const requests = createRequests({
    clock,
    id: 'x',
    ...(firstCall === undefined ? {} : { firstCall }),
    publish(subject, _payload, reply) {
      if (subject === 'bad subject') throw new TypeError('a bug')
      sent.push({ subject, reply })
    },
    report: (error) => errors.push(error),
  })
  const answers: string[] = []
  const note = (name: string) => (outcome: Outcome<Buffer>) =>
    void answers.push(`${name} ${outcome.ok ? outcome.value : outcome.failure.code} at ${clock.monotonic()}`)
  return {
    clock,
    requests,
    sent,
    errors,
    answers,
    note,
    ask: (name: string, timeoutMs: number) => requests.request(name, Buffer.alloc(0), timeoutMs, note(name)),
    reply: (i: number, text: string, status?: string) =>
      requests.hear(
        Buffer.from(text),
        '',
        sent[i]!.reply,
        status === undefined ? undefined : { Status: status },
      ),
  }
}

test('requests: an answer finds its request by the reply subject, ONCE', (t) => {
  const { ask, reply, answers, sent, requests } = place()
  ask('a', 1_000)
  ask('b', 1_000)
  t.is(new Set(sent.map((one) => one.reply)).size, 2)
  for (const { reply } of sent) t.true(reply.startsWith(requests.inbox.slice(0, -1)))
  reply(1, 'second')
  reply(0, 'first')
  reply(0, 'again')
  t.deepEqual(answers, ['b second at 0', 'a first at 0'])
  t.is(requests.pending, 0)
})

test('requests: one fails NEVER BEFORE its time and at most a tick AFTER it', (t) => {
  const { clock, ask, answers } = place()
  const due = new Map<string, number>()
  for (const [start, timeoutMs] of [
    [0, 1],
    [3, 30],
    [7, 30],
    [7, 5_120],
    [9, 5_115],
    [12, 20_000],
    [12, 60_000],
  ] as const) {
    clock.advance(start - clock.monotonic())
    due.set(`r${start}-${timeoutMs}`, start + timeoutMs)
    ask(`r${start}-${timeoutMs}`, timeoutMs)
  }
  clock.advance(100_000)
  t.is(answers.length, due.size)
  for (const answer of answers) {
    const [name, code, , at] = answer.split(' ')
    t.is(code, 'timedOut')
    t.true(Number(at) >= due.get(name!)!, answer)
    t.true(Number(at) < due.get(name!)! + 20, answer)
  }
})

test('requests: what is left of a budget is told in whole milliseconds', (t) => {
  const { clock, requests, answers } = place()
  requests.request('a', Buffer.alloc(0), 20.4301, (outcome) => {
    answers.push(outcome.ok ? '' : outcome.failure.message)
  })
  clock.advance(1_000)
  t.regex(answers[0]!, /did not answer within 20 ms:/)
})

test('requests: the wheel turns only while requests wait', (t) => {
  const { clock, ask, reply } = place()
  t.is(clock.timers, 0)
  ask('a', 1_000)
  t.is(clock.timers, 1)
  ask('b', 1_000)
  t.is(clock.timers, 1)
  reply(0, '')
  reply(1, '')
  clock.advance(20)
  t.is(clock.timers, 0)
  ask('c', 100)
  clock.advance(200)
  t.is(clock.timers, 0)
})

test('requests: an answer that has arrived when a stalled loop goes on beats its time-out', (t) => {
  const clock = virtualClock()
  const deferred: (() => void)[] = []
  const replies: string[] = []
  const answers: string[] = []
  const requests = createRequests({
    clock: { ...clock, defer: (run) => void deferred.push(run) },
    id: 'x',
    publish: (_subject, _payload, reply) => void replies.push(reply),
    report: () => {},
  })
  requests.request(
    'a',
    Buffer.alloc(0),
    50,
    (outcome) => void answers.push(outcome.ok ? 'answered' : 'failed'),
  )
  clock.advance(10_000) // A turn of the loop: timers first,
  requests.hear(Buffer.alloc(0), '', replies[0]!, undefined) // then what lies in the sockets,
  for (const run of deferred) run() // then what was deferred.
  t.deepEqual(answers, ['answered'])
})

test('requests: after a stall of many turns all that is due expires, and nothing else', (t) => {
  const clock = virtualClock()
  let skipped = 0
  const stalling = { ...clock, monotonic: () => clock.monotonic() + skipped }
  const answers: string[] = []
  const requests = createRequests({ clock: stalling, id: 'x', publish: () => {}, report: () => {} })
  const note = (name: string) => () => void answers.push(name)
  requests.request('a', Buffer.alloc(0), 100, note('short'))
  requests.request('a', Buffer.alloc(0), 9_000, note('longer'))
  requests.request('a', Buffer.alloc(0), 60_000, note('long'))
  skipped = 30_000
  clock.advance(10)
  t.deepEqual(answers.sort(), ['longer', 'short'])
  t.is(requests.pending, 1)
})

test('requests: the statuses of the server are failures, and only without a payload', (t) => {
  const { ask, reply, answers } = place()
  for (const name of ['a', 'b', 'c', 'd']) ask(name, 1_000)
  reply(0, '', '503')
  reply(1, '', '413')
  reply(2, 'a page', '503')
  reply(3, '', '200')
  t.deepEqual(answers, ['a noResponders at 0', 'b tooLarge at 0', 'c a page at 0', 'd  at 0'])
})

test('requests: a broken connection fails all that wait, in the order of the calls', (t) => {
  const { ask, requests, answers, reply, clock } = place()
  for (const [name, timeoutMs] of [
    ['a', 900],
    ['b', 30],
    ['c', 5_000],
    ['d', 30],
  ] as const)
    ask(name, timeoutMs)
  requests.failAll('disconnected')
  reply(0, 'too late')
  clock.advance(10_000)
  t.deepEqual(answers, [
    'a disconnected at 0',
    'b disconnected at 0',
    'c disconnected at 0',
    'd disconnected at 0',
  ])
})

test('requests: a refusal comes AFTER the call has returned', (t) => {
  const { requests, note, answers, clock } = place()
  requests.refuse('a', 'closed', note('a'))
  t.deepEqual(answers, [])
  clock.settle()
  t.deepEqual(answers, ['a closed at 0'])
})

test('requests: a request may follow from an answer, without end', (t) => {
  const { requests, clock } = place()
  let tries = 0
  const again = () => {
    if (++tries < 50) requests.request('a', Buffer.alloc(0), 0, again)
  }
  again()
  clock.advance(1_000)
  t.is(tries, 50)
  t.is(clock.timers, 0)
})

test('requests: an answer whose hearer throws keeps no other from its own', (t) => {
  const { requests, ask, answers, errors, clock } = place()
  requests.request('a', Buffer.alloc(0), 20, () => {
    throw new Error('broken')
  })
  ask('b', 20)
  clock.advance(100)
  t.deepEqual(answers, ['b timedOut at 20'])
  t.is(errors.length, 1)
})

test('requests: one that cannot be published does not wait', (t) => {
  const { ask, requests } = place()
  t.throws(() => ask('bad subject', 1_000), { instanceOf: TypeError })
  t.is(requests.pending, 0)
})

test('requests: an answer on a reply subject that was never given out is ignored', (t) => {
  const { requests, ask, answers } = place()
  ask('a', 1_000)
  for (const token of ['', 'x', '-1', '1.5', '1e99', '999999', 'NaN'])
    requests.hear(Buffer.alloc(0), '', `_INBOX.x.${token}`, undefined)
  t.deepEqual(answers, [])
  t.is(requests.pending, 1)
})

test('requests: where their numbers end they begin anew, and each is still answered EXACTLY ONCE, in order', (t) => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f']
  const { clock, ask, answers, requests, reply } = place(CALLS_MAX - 2)
  for (const name of names) ask(name, 1_000)
  requests.failAll('disconnected')
  t.deepEqual(
    answers.splice(0),
    names.map((name) => `${name} disconnected at 0`),
  )
  const second = place(CALLS_MAX - 2)
  for (const name of names) second.ask(name, 1_000)
  for (const i of [5, 1, 3]) second.reply(i, 'x')
  second.clock.advance(1_020)
  t.deepEqual(
    second.answers.map((answer) => answer.slice(0, 3)),
    ['f x', 'b x', 'd x', 'a t', 'c t', 'e t'],
  )
  t.is(second.requests.pending, 0)
  reply(0, 'late')
  clock.advance(2_000)
  t.deepEqual(answers, [])
})
