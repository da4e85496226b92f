/** The command line against a library that only remembers: what is printed, on which stream, with which exit code. */
import test from 'ava'
import { stage, transport } from './stage.ts'

const commands = [
  'start',
  'node',
  'demo',
  'topic',
  'topic create',
  'topic list',
  'topic show',
  'topic route',
  'topic delete',
  'group',
  'group list',
  'group show',
  'group lag',
  'group reset',
  'group skip',
  'group clone',
  'dead-letter',
  'dead-letter list',
  'dead-letter show',
  'dead-letter resend',
  'broker',
  'broker list',
  'broker show',
  'broker promote',
  'send',
  'consume',
  'inspect',
]

for (const command of commands) {
  test(`statemq ${command}: its help has an example and connects to nothing`, async (t) => {
    const { run, calls } = stage()
    const { code, stdout, stderr } = await run(...command.split(' '), '--help')
    t.is(code, 0)
    t.is(stderr, '')
    t.regex(stdout, new RegExp(`Examples?:\\n {2}\\$ .*statemq ${command}`))
    t.regex(stdout, /--cluster <name>/)
    t.deepEqual(calls, [])
  })
}

test('command line: an unknown command is a usage error that names the nearest', async (t) => {
  const { code, stderr } = await stage().run('topik', 'list')
  t.is(code, 2)
  t.regex(stderr, /Did you mean topic\?/)
})

test('command line: an option out of range is a usage error that says the range', async (t) => {
  const { code, stderr } = await stage().run('start', '--port', '70000')
  t.is(code, 2)
  t.regex(stderr, /from 0 to 65535/)
})

test('command line: an option without an upper bound is a usage error that says the lower one', async (t) => {
  const { stderr } = await stage().run('consume', 'orders', '--group', 'billing', '--limit', '0')
  t.regex(stderr, /Give a whole number from 1 on\./)
})

test('command line: a NATS that would not be used is refused, unless the environment says it', async (t) => {
  const { run, calls } = stage([], { env: { STATEMQ_SERVERS: 'nats://h:1', STATEMQ_CLUSTER: 'blue' } })
  for (const [option, command] of [
    ['--servers', 'start'],
    ['--servers', 'demo'],
    ['--cluster', 'demo'],
  ] as const) {
    const { code, stderr } = await run(command, option, 'x')
    t.is(code, 2)
    t.regex(stderr, new RegExp(`^error: ${option}: `))
  }
  t.deepEqual(calls, [])
  t.is((await run('demo')).code, 0)
  t.is((await run('start')).code, 0)
})

test('command line: start listens at a port, or uses a NATS, not both', async (t) => {
  const { run, calls } = stage()
  const { code, stderr } = await run('start', '--port', '5000', '--nats', 'nats://h:1')
  t.is(code, 2)
  t.regex(stderr, /give --nats or --port/)
  t.deepEqual(calls, [])
})

test('command line: a noun without its verb shows the help of the noun', async (t) => {
  const { code, stderr } = await stage().run('topic')
  t.is(code, 2)
  t.regex(stderr, /create .*<topic>/)
})

test('command line: global options are heard before and after the verb', async (t) => {
  const { run, named } = stage()
  await run('--cluster', 'blue', 'topic', 'list', '--servers', 'nats://h:1', '--json')
  t.deepEqual(named('connect'), [[{ servers: 'nats://h:1', cluster: 'blue' }]])
})

test('error: says what was tried, what happened and what to type next', async (t) => {
  const { run } = stage()
  const { code, stdout, stderr } = await run('topic', 'list', '--servers', 'nats://nowhere:1')
  t.is(code, 1)
  t.is(stdout, '')
  t.regex(
    stderr,
    /^error: could not list the topics\n {2}DISCONNECTED: connection refused\n {2}next: .*statemq start/,
  )
})

test('command line: a login in an address is NEVER printed', async (t) => {
  const servers = 'nats://me:secret@nowhere:1'
  const { run } = stage([], { env: { STATEMQ_SERVERS: servers } })
  for (const words of [
    ['topic', 'list'],
    ['topic', 'list', '--help'],
    ['node', '--roles', 'nameServer'],
    ['node', '--roles', 'nameServer', '--json'],
    ['node', '--roles', 'nameServer', '--nats', servers.replace('nowhere', 'here')],
  ]) {
    const { stdout, stderr } = await run(...words)
    t.regex(stdout + stderr, /here:1|"servers"/, words.join(' '))
    t.notRegex(stdout + stderr, /secret/, words.join(' '))
  }
})

test('error: that a file is not there is said once', async (t) => {
  const { code, stderr } = await stage().run('send', 'orders', '--file', 'absent')
  t.is(code, 1)
  t.regex(
    stderr,
    /^error: could not send to 'orders'\n {2}ENOENT: no such file.*\n {2}next: look at the path\n$/,
  )
})

test('error: with --json it is one object on stderr', async (t) => {
  const { stderr } = await stage().run('broker', 'show', 'broker-slow', '--json')
  const { error } = JSON.parse(stderr)
  t.is(error.tried, "could not show the broker 'broker-slow'")
  t.is(error.code, 'TIMED_OUT')
  t.true(error.retryable)
})

test('error: the client is closed also when the command fails', async (t) => {
  const { run, named } = stage()
  await run('inspect', 'broker/none/0')
  t.is(named('close').length, 1)
})

test('topic list: columns stand straight under wide letters, and the topics of groups come last', async (t) => {
  const { stdout } = await stage().run('topic', 'list')
  t.is(
    stdout,
    'TOPIC   READ QUEUES  WRITE QUEUES  PERM  BROKERS\n' +
      '订单              8             8  rw    broker-a\n' +
      '%DLQ%b            1             1  rw    broker-a\n',
  )
})

test('topic delete: in a pipe it needs --yes', async (t) => {
  const { run, named } = stage()
  t.is((await run('topic', 'delete', 'orders')).code, 2)
  t.deepEqual(named('deleteTopic'), [])
  t.is((await run('topic', 'delete', 'orders', '--yes')).code, 0)
  t.deepEqual(named('deleteTopic'), [['orders']])
})

test('topic delete: on a terminal any answer but the name deletes nothing', async (t) => {
  const { run, named } = stage([], { hasInput: false })
  t.is((await run('topic', 'delete', 'orders')).code, 130)
  t.deepEqual(named('deleteTopic'), [])
})

test('send: of a message that waits it is told where, and at which level', async (t) => {
  const { stdout } = await stage().run('send', 'orders', 'x', '--delay-level', '2')
  t.is(stdout, 'Sent M1 to broker-a, where it waits for the time of level 2.\n')
})

test('group show: members without a queue are shown, with the reason', async (t) => {
  const { stdout } = await stage().run('group', 'show', 'billing')
  t.regex(stdout, /c2 .*there are more members \(2\) than queues \(1\)/)
})

test('group show: a queue whose last owner is gone says so', async (t) => {
  const { stdout } = await stage().run('group', 'show', 'billing')
  t.regex(stdout, /^orders +broker-a +0 +c1, and c2 waits /m)
  const gone = await stage([], { queue: { owner: 'c9', claimant: null } }).run('group', 'show', 'billing')
  t.regex(gone.stdout, /^orders +broker-a +0 +c9 \(no member\) /m)
  const none = await stage([], { queue: { owner: null, claimant: null } }).run('group', 'show', 'billing')
  t.regex(none.stdout, /^orders +broker-a +0 +- /m)
})

test('group show: a share that no division has told yet is not called 0', async (t) => {
  const { stdout } = await stage([], { member: { isTold: false } }).run('group', 'show', 'billing')
  t.regex(stdout, /^c1 +orders +1 +1 /m)
  t.regex(stdout, /^c2 +orders +0 +- /m)
})

test('group show: subscriptions that differ are told, and the rebalances with their causes', async (t) => {
  const { stdout } = await stage().run('group', 'show', 'billing')
  t.regex(stdout, /The members are not alike.*topic 'orders': \* \(c1\) and a \(c2\)/)
  t.regex(stdout, /c2 joined/)
})

test('group show, group lag: what waits for its next try is a figure of its own, and in no lag', async (t) => {
  for (const command of ['show', 'lag']) {
    t.regex((await stage().run('group', command, 'billing')).stdout, /^retrying +2$/m)
    const { retrying } = JSON.parse((await stage().run('group', command, 'billing', '--json')).stdout)
    t.is(retrying, 2)
  }
})

test('group show: a queue that two members count as theirs is told, with both, and who waits for it', async (t) => {
  const { stdout } = await stage().run('group', 'show', 'billing')
  t.regex(stdout, /functions of their own.*\n {2}orders\/broker-a\/0: c1 has it, and c2 wants it too\n/)
  t.regex(stdout, /c1, and c2 waits/)
})

test('group reset: the topic is an option or an argument, and exactly one', async (t) => {
  const { run, calls } = stage()
  await run('group', 'reset', 'billing', '--topic', 'orders', '--to', 'first')
  await run('group', 'skip', 'billing', 'orders')
  t.deepEqual(
    calls.filter(([name]) => name === 'resetOffsets'),
    [
      ['resetOffsets', 'billing', 'orders', 'first', { dryRun: false, create: false }],
      ['resetOffsets', 'billing', 'orders', 'last', { dryRun: false }],
    ],
  )
  for (const args of [[], ['orders', '--topic', 'paid']]) {
    const { code, stderr } = await run('group', 'reset', 'billing', ...args, '--to', 'first')
    t.is(code, 2)
    t.regex(stderr, /give one topic: --topic orders/)
  }
})

test('group reset: what is neither an offset nor a time is refused, and nothing is moved', async (t) => {
  const { run, named } = stage()
  for (const to of [
    'offset:-1',
    'offset:1.5',
    'offset:',
    'offset:99999999999999999',
    'yesterday 3',
    '-1',
    '12',
  ]) {
    const { code, stderr } = await run('group', 'reset', 'billing', 'orders', '--to', to)
    t.is(code, 2, to)
    t.regex(stderr, /Give /)
  }
  for (const to of ['2026-05-01', '2026-05-01T12:00', '2026-05-01T12:00:01.5Z', '2026-05-01T12:00+02:00'])
    t.is((await run('group', 'reset', 'billing', 'orders', '--to', to)).code, 0, to)
  t.is(named('resetOffsets').length, 4)
})

test('group reset: a place that is none hears of all that are', async (t) => {
  const { stderr } = await stage().run('group', 'reset', 'billing', 'orders', '--to', 'zork')
  t.regex(stderr, /Give first, last, .*or offset:N\./)
})

test('group clone: tells where the other group goes on', async (t) => {
  const { run, calls } = stage()
  const { stdout } = await run('group', 'clone', 'billing', 'audit', '--topic', 'orders', '--dry-run')
  t.deepEqual(
    calls.find(([name]) => name === 'cloneOffsets'),
    ['cloneOffsets', 'billing', 'audit', { dryRun: true, topic: 'orders' }],
  )
  t.regex(stdout, /orders +broker-a +0 +- +5/)
})

test('group reset: --dry-run says that nothing was changed', async (t) => {
  const { run, named } = stage()
  const { stdout } = await run('group', 'reset', 'billing', 'orders', '--to', 'offset:7', '--dry-run')
  t.deepEqual(named('resetOffsets'), [['billing', 'orders', 7, { dryRun: true, create: false }]])
  t.regex(stdout, /Nothing was changed/)
})

test('send: one body is one message with its attributes', async (t) => {
  const { run, named } = stage()
  const { stdout } = await run(
    ...['send', 'orders', 'hello', '--tag', 'paid', '--keys', 'a,b', '--property', 'x=1=2', '--group', 'g'],
  )
  t.deepEqual(named('send'), [
    [
      {
        topic: 'orders',
        body: 'hello',
        tag: 'paid',
        keys: ['a', 'b'],
        properties: { x: '1=2' },
        messageGroup: 'g',
      },
    ],
  ])
  t.is(stdout, 'Sent M1 to broker-a, queue 3, offset 0.\n')
})

test('send: a line is a body, or a message when it is an object with a body', async (t) => {
  const { run, named } = stage(['plain', '', '{"a":1}', '{"body":{"a":1},"tag":"t","keys":["k"]}', '{broken'])
  const { code } = await run('send', 'orders', '--tag', 'all')
  t.is(code, 0)
  t.deepEqual(
    named('send').map(([message]) => message),
    [
      { topic: 'orders', tag: 'all', body: 'plain' },
      { topic: 'orders', tag: 'all', body: '{"a":1}' },
      { topic: 'orders', tag: 't', keys: ['k'], body: '{"a":1}' },
      { topic: 'orders', tag: 'all', body: '{broken' },
    ],
  )
})

test('send: a failure stops it and names the topic', async (t) => {
  const { code, stderr } = await stage().run('send', 'absent', 'x', '--count', '5000')
  t.is(code, 1)
  t.regex(stderr, /could not send to 'absent'\n {2}TOPIC_NOT_EXIST: .*\n {2}next: .*statemq topic create/)
})

test('send: without anything to send it is a usage error', async (t) => {
  const { code, stderr } = await stage([], { hasInput: false }).run('send', 'orders')
  t.is(code, 2)
  t.regex(stderr, /nothing to send/)
})

test('consume: acknowledges exactly the messages that it printed', async (t) => {
  const { run, named } = stage()
  const { code, stdout } = await run(
    'consume',
    'orders',
    '--group',
    'billing',
    '--limit',
    '2',
    '--tags',
    'a || b',
  )
  t.is(code, 0)
  t.is(stdout, 'broker-a/0@0  paid  body 0\nbroker-a/0@1  paid  body 1\n')
  t.deepEqual(named('ack'), [[0], [1]])
  t.deepEqual(named('consume'), [
    [{ group: 'billing', messageModel: 'clustering', from: 'last', ordered: false }, 'orders', 'a || b'],
  ])
  t.is(named('close').length, 1)
})

test('consume: filters by SQL, and refuses a filter that does not parse, or two, as a wrong command line', async (t) => {
  const { run, named } = stage()
  const consume = (...filter: string[]) => run('consume', 'orders', '--group', 'g', '--limit', '1', ...filter)
  t.is((await consume('--sql', 'price > 5')).code, 0)
  t.is((await consume()).code, 0)
  t.deepEqual(
    named('consume').map(([, , filter]) => filter),
    ['sql:price > 5', undefined],
  )
  const broken = await consume('--sql', 'price >')
  t.is(broken.code, 2)
  t.regex(broken.stderr, /--sql .*'price >'.*column 8: expected the name of a property/s)
  t.is((await consume('--tags', 'a |')).code, 2)
  const both = await consume('--tags', 'a', '--sql', 'price > 5')
  t.is(both.code, 2)
  t.regex(both.stderr, /give --tags or --sql/)
})

test('consume: with --pop it receives no more than it may print, and acknowledges what it printed', async (t) => {
  const { run, named } = stage()
  const { code, stdout } = await run('consume', 'orders', '--group', 'billing', '--limit', '2', '--pop')
  t.is(code, 0)
  t.is(stdout, 'broker-a/0@0  paid  body 0\nbroker-a/0@1  paid  body 1\n')
  t.deepEqual(named('ack'), [['handle 0'], ['handle 1']])
  const subscriptions = [{ topic: 'orders', expression: '*' }]
  t.deepEqual(named('pop'), [[{ group: 'billing', subscriptions, ordered: false, from: 'last' }]])
})

test('consume: --pop neither goes with --broadcasting nor begins at a time', async (t) => {
  for (const more of [['--broadcasting'], ['--from', '15m']]) {
    const { code, stderr } = await stage().run('consume', 'orders', '--group', 'g', '--pop', ...more)
    t.is(code, 2)
    t.regex(stderr, /--pop/)
  }
})

test('start: brokers share the transport of the first node, and all are closed on Ctrl-C', async (t) => {
  const { run, nodes, named } = stage()
  const { code, stdout } = await run('start', '--brokers', '2', '--port', '0', '--flush', 'sync', '--json')
  t.is(code, 0)
  t.deepEqual(JSON.parse(stdout).brokers, ['broker-a', 'broker-b'])
  t.like(named('startNode')[0]?.[0], { roles: ['nameServer'], listen: { port: 0 }, cluster: 'default' })
  t.like(named('startNode')[2]?.[0], { transport, broker: { name: 'broker-b', flush: 'sync' } })
  t.deepEqual(nodes, [])
})

test('start: what to try next begins with npx where npm has started it', async (t) => {
  const { stdout } = await stage().run('start')
  t.regex(stdout, /\$ statemq send orders/)
  const byNpm = await stage([], { env: { npm_execpath: '/usr/lib/npm-cli.js' } }).run('start')
  t.regex(byNpm.stdout, /\$ npx statemq send orders/)
})

test('bench: ends as the benchmark did, which has said why itself', async (t) => {
  const { code, stdout, stderr } = await stage([], { benchCode: 2 }).run('bench', '--sise', '3')
  t.deepEqual([code, stdout, stderr], [2, '', ''])
})

test('start: when one broker cannot start the others are closed again', async (t) => {
  const { run, nodes } = stage()
  const { code, stderr } = await run('start', '--brokers', '3')
  t.is(code, 1)
  t.regex(stderr, /IN_USE/)
  t.deepEqual(nodes, [])
})

test('node: a node that failed for good ends with its reason', async (t) => {
  const { run, nodes } = stage()
  const { code, stderr } = await run('node', '--roles', 'broker', '--broker', 'broker-d')
  t.is(code, 1)
  t.regex(stderr, /could not run a node over nats.*\n {2}the disk is gone/)
  t.deepEqual(nodes, [])
})

test('node: a broker needs a name', async (t) => {
  t.is((await stage().run('node', '--roles', 'broker')).code, 2)
  t.is((await stage().run('node', '--roles', 'king')).code, 2)
})

test('inspect: transitions of one actor are printed until Ctrl-C', async (t) => {
  const { code, stdout } = await stage().run('inspect', 'broker/broker-a/0', '--watch')
  t.is(code, 0)
  t.regex(stdout, /broker\/broker-a\/0 {2}recovering -> master {2}store.recovered\n$/)
})
