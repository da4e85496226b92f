/** The commands for dead letters against a library that only remembers. */
import test from 'ava'
import { stage } from './stage.ts'

test('dead-letter list: a row a message, with where it was sent, how often it was tried and why it failed', async (t) => {
  const { run, named } = stage()
  const { code, stdout } = await run('dead-letter', 'list', 'billing', '--max', '5')
  t.is(code, 0)
  t.regex(stdout, /^MESSAGE +TOPIC +TRIES +DIED +KEYS +REASON$/m)
  t.regex(stdout, /^M7 +orders +17 +\d+ d \d+ h ago +A-7 +Error: no stock$/m)
  t.deepEqual(named('deadLetters'), [['billing', { max: 5 }]])
})

test('dead-letter list: --json is one array', async (t) => {
  const { stdout } = await stage().run('dead-letter', 'list', 'billing', '--json')
  t.like(JSON.parse(stdout)[0], { messageId: 'M7', topic: 'orders', attempts: 17, reason: 'Error: no stock' })
})

test('dead-letter show: tells all of a message and its body', async (t) => {
  const { run } = stage()
  const { stdout } = await run('dead-letter', 'show', 'billing', 'M7')
  for (const words of [/^message +M7$/m, /^reason +Error: no stock$/m, /^town +Köln$/m, /^A-7 costs 12 €$/m])
    t.regex(stdout, words)
  const { stdout: machines } = await run('dead-letter', 'show', 'billing', 'M7', '--json')
  t.like(JSON.parse(machines), { messageId: 'M7', body: 'A-7 costs 12 €' })
})

test('dead-letter show: an id that is none fails and says so', async (t) => {
  const { code, stderr } = await stage().run('dead-letter', 'show', 'billing', 'M8')
  t.is(code, 1)
  t.regex(stderr, /no dead letter M8/)
})

test('dead-letter resend: sends those that were named, or all', async (t) => {
  const { run, named } = stage()
  const { stdout } = await run('dead-letter', 'resend', 'billing', '--message', 'M7,M8')
  t.regex(stdout, /^M7 +orders +broker-a +1 +9$/m)
  t.regex(stdout, /^1 message was sent again\.$/m)
  await run('dead-letter', 'resend', 'billing', '--all')
  t.deepEqual(named('resendDeadLetters'), [
    ['billing', { messageIds: ['M7', 'M8'] }],
    ['billing', { all: true }],
  ])
})

test('dead-letter resend: without saying which it is a wrong command line, and nothing is sent', async (t) => {
  const { run, named } = stage()
  for (const which of [[], ['--all', '--message', 'M7']]) {
    const { code, stderr } = await run('dead-letter', 'resend', 'billing', ...which)
    t.is(code, 2)
    t.regex(stderr, /--message ID, or --all/)
  }
  t.deepEqual(named('resendDeadLetters'), [])
})

test('send: --delay-level says when it is delivered, and a level that is none is a wrong command line', async (t) => {
  const { run, named } = stage()
  t.is((await run('send', 'orders', 'x', '--delay-level', '3')).code, 0)
  t.deepEqual(named('send'), [[{ topic: 'orders', body: 'x', delayLevel: 3 }]])
  t.is((await run('send', 'orders', 'x', '--delay-level', '19')).code, 2)
})
