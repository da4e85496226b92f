/** The commands for replicated brokers against a library that only remembers: node, start, broker, topic show. */
import test from 'ava'
import type { BrokerProcessOptions } from '../../actors/admin/cli/face.ts'
import { argumentsOf } from '../../actors/node/broker-process.ts'
import { stage, transport } from './stage.ts'

test('broker list: a row a replica, with what the master promises and how far the slaves are', async (t) => {
  const { stdout, code } = await stage().run('broker', 'list')
  t.is(code, 0)
  const rows = stdout.split('\n').map((line) => line.replace(/ {2,}/g, ' | '))
  t.deepEqual(rows.slice(1, 4), [
    'broker-a | 0 | master | 4 | 0, 1 | - | async flush, 2 copies | yes | 0 | 1,200 | 0 | 4.0 KiB',
    'broker-a | 1 | slave | 4 | - | 10 B | - | - | 0 | 0 | 0 | 4.0 KiB',
    'broker-a | 2 | unreachable slave | 3 | - | - | - | - | - | - | - | -',
  ])
})

test('broker list: --json is one array with a replica that does not answer in it', async (t) => {
  const { stdout } = await stage().run('broker', 'list', '--json')
  const replicas = JSON.parse(stdout)
  t.is(replicas.length, 3)
  t.like(replicas[0], { reachable: true, durability: { copies: 2 } })
  t.deepEqual(replicas[2], { reachable: false, brokerName: 'broker-a', brokerId: 2, role: 'slave', epoch: 3 })
})

test('broker show: tells master, durability, replicas, and who was master why', async (t) => {
  const { stdout } = await stage().run('broker', 'show', 'broker-a')
  for (const words of [
    /^master +broker-a\/0$/m,
    /^durability +async flush, 2 copies$/m,
    /^survives +the loss of 1 of its 2 machines/m,
    /^sync state set +0, 1$/m,
    /^1 +slave +4 +yes +10 B +5 ms/m,
    /^2 +unreachable slave +3/m,
    /^ +4 +broker-a\/0 +failover/m,
  ]) {
    t.regex(stdout, words)
  }
})

test('broker show: what a replica cut and what alarms it is said aloud', async (t) => {
  const { replicas } = await stage()
    .library.connect({ servers: '', cluster: '' })
    .then((client) => client.admin().broker('broker-a'))
  const hurt = {
    ...replicas[1]!,
    lastCut: { at: Date.now(), bytes: 300, messages: 3 },
    alarm: { code: 'REGISTER_REGRESSED', message: 'it was put back' },
  }
  const { stdout } = await stage([], { replicas: [hurt] }).run('broker', 'show', 'broker-a')
  t.regex(stdout, /broker-a\/1 cut 3 messages \(300 B\) from its log/)
  t.regex(stdout, /ALARM broker-a\/1: REGISTER_REGRESSED: it was put back/)
})

test('broker show: without a master it says who may be elected, and what another one costs', async (t) => {
  const changed = { masterId: null, syncStateSet: [0], durability: null }
  const one = await stage([], { changed }).run('broker', 'show', 'broker-a')
  t.regex(one.stdout, /^master +none at the moment$/m)
  t.regex(one.stdout, /elects a master as soon as it reaches broker-a\/0: see that/)
  t.regex(one.stdout, /promote broker-a ID --unclean' takes another and LOSES what it lacks/)

  const gone = { replicas: [], changed: { ...changed, syncStateSet: [] } }
  const none = await stage([], gone).run('broker', 'show', 'broker-a')
  t.regex(none.stdout, /^No replica of broker-a answers/m)
})

test('broker show: a sync state set that nobody who answers knows is not called empty', async (t) => {
  const changed = { masterId: null, syncStateSet: [], durability: null }
  const { stdout } = await stage([], { changed }).run('broker', 'show', 'broker-a')
  t.regex(stdout, /^sync state set +not known$/m)
  t.regex(stdout, /^1 +slave +4 +- +10 B/m)
  t.regex(stdout, /as soon as it reaches a replica of the sync state set/)
})

test('broker show: a master that takes nothing says why, and whose disk is full is said of any replica', async (t) => {
  const { replicas } = await stage()
    .library.connect({ servers: '', cluster: '' })
    .then((client) => client.admin().broker('broker-a'))
  const [master, slave] = replicas as [(typeof replicas)[number], (typeof replicas)[number]]
  const show = async (...shown: typeof replicas) =>
    (await stage([], { replicas: shown }).run('broker', 'show', 'broker-a')).stdout
  const few = { accepting: false, minInSync: 2, syncStateSet: [0] }
  t.regex(await show({ ...master, ...few }), /^accepts writes +no: only 1 of at least 2 replicas in sync$/m)
  const full = { accepting: false, diskFull: true }
  t.regex(await show({ ...master, ...full }), /^accepts writes +no: its disk is nearly full$/m)
  t.regex(await show(master, { ...slave, ...full }), /^The disk of broker-a\/1 is nearly full: free space/m)
})

test('broker promote: hands over and says at which epoch', async (t) => {
  const { run, named } = stage()
  const { stdout, code } = await run('broker', 'promote', 'broker-a', '1')
  t.is(code, 0)
  t.is(stdout, 'broker-a/1 is the master at epoch 5.\n')
  t.deepEqual(named('promote'), [['broker-a', 1, { unclean: false }]])
})

test('broker promote: unclean needs --yes in a pipe, and the replica typed on a terminal', async (t) => {
  const piped = stage()
  const refused = await piped.run('broker', 'promote', 'broker-a', '1', '--unclean')
  t.is(refused.code, 2)
  t.regex(refused.stderr, /loses the acknowledged messages that it lacks: add --yes/)
  t.is(
    (await stage([], { hasInput: false }).run('broker', 'promote', 'broker-a', '1', '--unclean')).code,
    130,
  )
  t.deepEqual(piped.named('promote'), [])

  await piped.run('broker', 'promote', 'broker-a', '1', '--unclean', '--yes')
  const typed = stage([], { hasInput: false, answer: 'broker-a/1' })
  await typed.run('broker', 'promote', 'broker-a', '1', '--unclean')
  for (const { named } of [piped, typed]) t.deepEqual(named('promote'), [['broker-a', 1, { unclean: true }]])
})

test('broker promote: a refusal ends with 1 and what to type next', async (t) => {
  const { code, stderr } = await stage().run('broker', 'promote', 'broker-a', '9')
  t.is(code, 1)
  t.regex(
    stderr,
    /could not make broker-a\/9 master\n {2}CONTROLLER_BROKER_ID_INVALID: .*\n {2}next: .*broker list/,
  )
})

test('topic show: says what a message to the topic survives', async (t) => {
  const { stdout } = await stage().run('topic', 'show', 'orders')
  t.regex(stdout, /^durability +async flush, 2 copies\nsurvives +the loss of 1 of its 2 machines/)
})

// --------------------------------------------------------------------------------------------------------- node

test('node: takes the roles of a replicated cluster and passes on how a broker is replicated', async (t) => {
  const { run, named } = stage()
  await run('node', '--role', 'nameServer,controller', '--roles', 'register', '--detect', '500')
  t.like(named('startNode')[0]?.[0], {
    roles: ['nameServer', 'controller', 'register'],
    failover: { detectMs: 500 },
  })
  const broker = ['--roles', 'broker', '--broker', 'broker-b', '--id', '2', '--replication', 'async']
  await run('node', ...broker, '--replicas', '3', '--min-in-sync', '2', '--register', 'jetstream')
  t.like(named('startNode')[1]?.[0], {
    register: 'jetstream',
    broker: { name: 'broker-b', id: 2, replication: 'async', replicas: 3, minInSync: 2 },
  })
})

test('node: a broker of one replica is asked for nothing that it was not given', async (t) => {
  const { run, named } = stage()
  await run('node', '--roles', 'broker', '--broker', 'broker-a')
  t.deepEqual((named('startNode')[0]![0] as { broker: object }).broker, {
    name: 'broker-a',
    id: 0,
    flush: 'async',
    autoCreateTopic: true,
  })
})

const impossible: [args: string, says: RegExp][] = [
  ['--roles broker --broker a --id 1', /--id needs several replicas: add --replication sync/],
  ['--roles broker --broker a --replicas 2', /--replicas needs several replicas: add --replication/],
  ['--roles broker --broker a --min-in-sync 2', /--min-in-sync needs several replicas/],
  ['--roles broker --broker a --replication sync --replicas 1', /needs at least 2 replicas/],
  ['--roles broker --broker a --replication sync --id 2', /--id 2 is too high: .* 0 to 1; give --replicas 3/],
  ['--roles broker --broker a --replication sync --min-in-sync 3', /can never be met: there are 2 replicas/],
  ['--roles register --register jetstream', /NATS keeps the register/],
  ['--roles controller --replication sync', /--replication is for brokers: add broker to --roles/],
  ['--roles nameServer --broker a', /--broker is for brokers/],
  ['--roles broker --broker a --replication twice', /Allowed choices are none, sync, async/],
]
for (const [args, says] of impossible) {
  test(`node: '${args}' is a usage error that says what to do`, async (t) => {
    const { run, nodes } = stage()
    const { code, stderr } = await run('node', ...args.split(' '))
    t.is(code, 2)
    t.regex(stderr, says)
    t.deepEqual(nodes, [])
  })
}

test('node: --with-parent stops with the process that started it', async (t) => {
  const { run, named } = stage()
  await run('node', '--roles', 'nameServer')
  t.is(named('stopWithInput').length, 0)
  await run('node', '--roles', 'nameServer', '--with-parent')
  t.is(named('stopWithInput').length, 1)
})

test('node: a process is started with a command line that says what its owner wants', async (t) => {
  const wanted: BrokerProcessOptions = {
    cluster: 'blue',
    servers: 'nats://h:1',
    dir: '/data',
    register: 'served',
    detectMs: 700,
    broker: {
      ...{ name: 'broker-b', id: 1, flush: 'sync', autoCreateTopic: false },
      ...{ replication: 'async', replicas: 3, minInSync: 2 },
    },
  }
  const { run, named } = stage()
  await run(...argumentsOf(wanted))
  const { failed: _, ...given } = named('startNode')[0]![0] as Record<string, unknown>
  t.deepEqual(given, {
    roles: ['broker'],
    cluster: 'blue',
    servers: 'nats://h:1',
    dir: '/data',
    register: 'served',
    failover: { detectMs: 700 },
    broker: wanted.broker,
  })
  t.is(named('stopWithInput').length, 1)
})

// -------------------------------------------------------------------------------------------------------- start

test('start: with slaves every replica is a process, and their ids are told', async (t) => {
  const { run, named } = stage()
  const { stdout, stderr } = await run(
    ...[
      'start',
      '--brokers',
      '2',
      '--slaves',
      '1',
      '--flush',
      'sync',
      '--port',
      '0',
      '--dir',
      '/d',
      '--json',
    ],
  )
  t.like(named('startNode')[0]?.[0], { roles: ['nameServer'], listen: { port: 0 } })
  t.like(named('startNode')[1]?.[0], { roles: ['register'], dir: '/d', transport })
  t.like(named('startNode')[2]?.[0], { roles: ['controller'], transport })
  const started = named('startBrokerProcess').map(([options]) => options as BrokerProcessOptions)
  t.deepEqual(
    started.map(({ broker: { name, id } }) => `${name}/${id}`),
    ['broker-a/0', 'broker-a/1', 'broker-b/0', 'broker-b/1'],
  )
  t.like(started[0], {
    servers: 'nats://127.0.0.1:5000',
    cluster: 'default',
    dir: '/d',
    broker: { flush: 'sync', autoCreateTopic: true, replication: 'sync', replicas: 2 },
  })
  t.like(JSON.parse(stdout), {
    ready: true,
    brokers: ['broker-a', 'broker-b'],
    replicas: [
      { brokerName: 'broker-a', brokerId: 0, pid: 100 },
      { brokerName: 'broker-a', brokerId: 1, pid: 101 },
      { brokerName: 'broker-b', brokerId: 0, pid: 100 },
      { brokerName: 'broker-b', brokerId: 1, pid: 101 },
    ],
  })
  t.regex(stderr, /^broker-b\/1 \| says a word$/m)
})

test('start: stops the controller FIRST, then masters, then slaves, and what they stand on LAST', async (t) => {
  const { run, stops, nodes } = stage()
  t.is((await run('start', '--slaves', '2')).code, 0)
  t.deepEqual(stops, [...['controller', 'broker-a/0', 'broker-a/1', 'broker-a/2', 'register', 'nameServer']])
  t.deepEqual(nodes, [])
})

test('start: when one replica cannot start, all that was started is stopped again', async (t) => {
  const { run, nodes } = stage()
  const { code, stderr } = await run('start', '--brokers', '3', '--slaves', '1')
  t.is(code, 1)
  t.regex(stderr, /IN_USE/)
  t.deepEqual(nodes, [])
})

const modes: [flags: string, mode: RegExp][] = [
  ['--brokers 1', /^mode +single master$/m],
  ['--brokers 2', /^mode +multi-master$/m],
  [
    '--brokers 2 --slaves 1 --replication async',
    /^mode +multi-master, multi-slave, asynchronous replication$/m,
  ],
  [
    '--brokers 2 --slaves 1 --replication sync',
    /^mode +multi-master, multi-slave, synchronous double write$/m,
  ],
  ['--slaves 1', /^mode +single master, multi-slave, synchronous double write$/m],
]
for (const [flags, mode] of modes) {
  test(`start: '${flags}' is one of the cluster modes and says which`, async (t) => {
    t.regex((await stage().run('start', ...flags.split(' '))).stdout, mode)
  })
}

const unfit: [args: string, says: RegExp][] = [
  ['--replication async', /--replication async needs slaves: add --slaves 1/],
  ['--min-in-sync 2', /--min-in-sync 2 needs slaves: add --slaves 1/],
  ['--slaves 1 --min-in-sync 3', /--min-in-sync 3 can never be met: there are 2 replicas/],
]
for (const [args, says] of unfit) {
  test(`start: '${args}' is a usage error that says what to do`, async (t) => {
    const { run, calls } = stage()
    const { code, stderr } = await run('start', ...args.split(' '))
    t.is(code, 2)
    t.regex(stderr, says)
    t.deepEqual(calls, [])
  })
}
