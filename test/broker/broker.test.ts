/** A whole broker, and the parts of it that its role's orders go to: how they begin, and that they end. */
import test from 'ava'
import { Agreement } from '../../actors/broker/agreement.ts'
import { Announcer } from '../../actors/broker/announcer.ts'
import { type BrokerOptions, startBroker } from '../../actors/broker/broker.ts'
import { Handover } from '../../actors/broker/handover.ts'
import { Masterships } from '../../actors/broker/masterships.ts'
import { ReplicaDisk } from '../../actors/broker/replica-disk.ts'
import type { Store } from '../../actors/broker/store/store.ts'
import { createDirectory } from '../../actors/node/inspection.ts'
import type { Process } from '../../actors/node/process.ts'
import { SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import {
  type BrokerRoleContext,
  type BrokerRoleEvent,
  brokerRoleMachine,
} from '../../machines/broker-role.ts'
import type { Answer } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { fail, type Outcome, succeed } from '../../transport/failures.ts'
import { createHub } from '../../transport/memory.ts'
import type { Held, Register } from '../../transport/register.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import type { Transport } from '../../transport/transport.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { listen, notedLog } from '../support/transports.ts'
import { virtualClock } from '../support/virtual-clock.ts'

/** A process with a disk, on a clock of the test's. */
function start() {
  const clock = virtualClock()
  const random = seededRandom(1)
  const log = notedLog()
  const hub = createHub({ clock, random, log })
  const subjects = subjectsOf('test')
  const transport = hub.connect()
  /** How long the disk takes for what it is asked from now on. */
  const latency = { ms: 0 }
  const simulated = new SimulatedDisk({ clock, random, latencyMs: () => latency.ms })
  const world = { clock, random, log, transport, disk: simulated.mount() }
  const directory = createDirectory('p1', transport, subjects, clock)
  const process: Process = { id: 'p1', world, subjects, directory }
  return {
    ...{ clock, simulated, latency, subjects, hub, process },
    /** Lets the disk, the transport and promises do all that they were asked for. */
    async settle(): Promise<void> {
      for (let i = 0; i < 50; i++) {
        clock.advance(1)
        await new Promise((resolve) => setImmediate(resolve))
      }
    },
  }
}
type Bench = ReturnType<typeof start>

const head = {
  ...{ revision: 5, writeId: 'w', epoch: 5, masterId: 0, masterIncarnation: 1, minInSync: 1, replicas: 2 },
  syncStateSet: [0, 1].map((brokerId) => ({ brokerId, lineage: 1 })),
  ...({ replication: 'sync', cause: 'boot', unclean: false } as const),
}

const options: BrokerOptions = { cluster: 'test', brokerName: 'a', brokerId: 0, folder: '/data' }

/** Runs a broker, and notes in order what it tells. */
function run(process: Process) {
  const said: string[] = []
  const broker = startBroker(process, options, {
    serving: () => void said.push('serving'),
    halted: ({ code }) => void said.push(code),
    failed: (cause) => void said.push(String(cause)),
  })
  return { said, stop: () => broker.stop(() => void said.push('stopped')) }
}

/** A broker that is started now can have the folder. */
async function isFree({ process, settle }: Bench): Promise<boolean> {
  const next = run(process)
  await settle()
  next.stop()
  await settle()
  return next.said.join() === 'serving,stopped'
}

test('broker: one that is stopped while it starts opens NOTHING AFTER it has stopped', async (t) => {
  const bench = start()
  const { said, stop } = run(bench.process)
  stop()
  await bench.settle()
  t.deepEqual(said, ['stopped'])
  t.deepEqual(bench.simulated.paths, [])
  t.true(await isFree(bench))
})

test('broker: whoever stops it while a bug ends it is told AFTER its store is closed', async (t) => {
  const bench = start()
  let isBroken = false
  const { transport } = bench.process.world
  const subscribe: Transport['subscribe'] = (subject, hear, queue) => {
    isBroken ||= subject.endsWith('.send')
    if (isBroken) throw new Error('a bug')
    return transport.subscribe(subject, hear, queue)
  }
  const world = { ...bench.process.world, transport: Object.assign(Object.create(transport), { subscribe }) }
  const { said, stop } = run({ ...bench.process, world })
  while (!isBroken) {
    bench.clock.advance(1)
    await new Promise((resolve) => setImmediate(resolve))
  }
  stop()
  stop()
  await bench.settle()
  t.deepEqual(said, ['Error: a bug', 'stopped', 'stopped'])
  stop()
  t.is(said.length, 4, 'it has stopped already')
  t.true(await isFree(bench))
})

/** Another machine with a disk of its own, on the same server. */
function besides({ hub, clock, subjects, process }: Bench) {
  const { random, log } = process.world
  const transport = hub.connect()
  const simulated = new SimulatedDisk({ clock, random })
  const world = { clock, random, log, transport, disk: simulated.mount() }
  const directory = createDirectory('p2', transport, subjects, clock)
  const write = (path: string, text: string) => world.disk.replaceFile(path, Buffer.from(text), () => {})
  return { id: 'p2', world, subjects, directory, write, paths: () => simulated.paths }
}

test('broker: one whose name is taken halts, serves NEVER, and touches NOTHING on its disk', async (t) => {
  const bench = start()
  const first = run(bench.process)
  await bench.settle()
  const other = besides(bench)
  const second = run(other)
  for (let i = 0; i < 100; i++) await bench.settle()
  t.deepEqual([first.said, second.said], [['serving'], ['inUse']])
  t.deepEqual(other.paths(), [])
  second.stop()
  await bench.settle()
  t.deepEqual(second.said, ['inUse', 'stopped'])
})

test('broker: one whose name is taken, and whose folder is there, is told first what is wrong with that', async (t) => {
  const bench = start()
  run(bench.process)
  await bench.settle()
  const other = besides(bench)
  const identity = '{"format":999,"storeId":"x","cluster":"test","broker":"a/0"}'
  other.write('/data/statemq.json', identity)
  const newer = run(other)
  for (let i = 0; i < 100; i++) await bench.settle()
  t.deepEqual(newer.said, ['malformed'])

  const copy = besides(bench)
  copy.write('/data/statemq.json', identity.replace('999', '1'))
  const second = run(copy)
  for (let i = 0; i < 100; i++) await bench.settle()
  t.deepEqual(second.said, ['inUse'])
})

test('broker: one whose namesake is just stopping waits for that, and serves', async (t) => {
  const bench = start()
  const first = run(bench.process)
  await bench.settle()
  const second = run(besides(bench))
  for (let i = 0; i < 20; i++) await bench.settle()
  t.deepEqual(second.said, [])
  first.stop()
  for (let i = 0; i < 20; i++) await bench.settle()
  t.deepEqual([first.said, second.said], [['serving', 'stopped'], ['serving']])
})

test('broker: a namesake that is silent is taken for gone AFTER it was asked twice', async (t) => {
  const bench = start()
  const { brokerName, brokerId } = options
  let asked = 0
  bench.hub
    .connect()
    .subscribe(bench.subjects.brokerProcess(brokerName, brokerId).describe, () => void asked++)
  const { said } = run(bench.process)
  for (let i = 0; i < 30; i++) await bench.settle()
  t.deepEqual([asked, said], [2, ['serving']])
})

test('broker: one that is stopped while it looks for its namesake opens NOTHING AFTER it has stopped', async (t) => {
  const bench = start()
  run(bench.process)
  await bench.settle()
  const other = besides(bench)
  const second = run(other)
  for (let i = 0; i < 10; i++) await bench.settle()
  second.stop()
  for (let i = 0; i < 100; i++) await bench.settle()
  t.deepEqual(second.said, ['stopped'])
  t.deepEqual(other.paths(), [])
})

// ------------------------------------------------------------------------------------------------ its disk

test('replica disk: NOTHING is written AFTER it is closed', async (t) => {
  const { process, latency, settle } = start()
  const told: BrokerRoleEvent['type'][] = []
  const disk = new ReplicaDisk(
    process.world,
    { folder: '/data', cluster: 'test', broker: 'a/0' },
    { tell: ({ type }) => void told.push(type), stored() {}, appended() {} },
  )
  disk.load()
  await settle()
  latency.ms = 20
  disk.persistEpoch(7)
  latency.ms = 0
  disk.closeStore(true)
  await settle()
  t.deepEqual(told, ['store.loaded', 'epoch.persisted', 'store.closed'])
})

// ------------------------------------------------------------------------------------------------ agreement

/** A master's way to a register that answers when the test says so. */
function agreeing() {
  const { process } = start()
  const reads: ((outcome: Outcome<Held | null>) => void)[] = []
  const swaps: number[] = []
  const told: string[] = []
  const register: Register = {
    read: (_, done) => void reads.push(done),
    swap: (_, expected) => void swaps.push(expected),
    watch: () => ({ unsubscribe() {} }),
    close() {},
  }
  const own = { isMaster: true }
  const agreement = new Agreement(process.world, { brokerName: 'a', brokerId: 0 }, register, {
    tell: ({ type }) => void told.push(type),
    isMaster: () => own.isMaster,
  })
  return { agreement, own, swaps, told, answer: (outcome: Outcome<null>) => reads.shift()!(outcome) }
}
const shrunk = { ...head, cause: 'shrink' } as const

test('agreement: a member is dropped ONLY AFTER the register was reached', (t) => {
  const { agreement, swaps, told, answer } = agreeing()
  agreement.swap(5, { ...head, cause: 'expand' })
  t.deepEqual(swaps, [5], 'one is admitted at once')
  agreement.swap(6, shrunk)
  answer(fail('timedOut', 'no answer'))
  t.deepEqual(told, ['swap.unknown'])
  agreement.swap(7, shrunk)
  t.deepEqual(swaps, [5])
  answer(succeed(null))
  t.deepEqual(swaps, [5, 7])
})

test('agreement: NOTHING is swapped AFTER this replica is no longer master, or has ended', (t) => {
  const { agreement, own, swaps, told, answer } = agreeing()
  agreement.swap(5, shrunk)
  own.isMaster = false
  answer(succeed(null))
  agreement.swap(5, shrunk)
  own.isMaster = true
  agreement.close()
  answer(succeed(null))
  t.deepEqual(swaps, [])
  t.deepEqual(told, [])
})

// ---------------------------------------------------------------------------------------------- masterships

test('masterships: one that is over before its log was opened anew NEVER begins', (t) => {
  const { process } = start()
  const told: string[] = []
  const reopened: ((outcome: Outcome<Store>) => void)[] = []
  const store = { endsInState: true } as Store
  const masterships = new Masterships(
    process,
    { store, reopen: (done) => void reopened.push(done) } as ReplicaDisk,
    { brokerName: 'a', brokerId: 0, flush: 'async', replication: null },
    {
      tell: ({ type }) => void told.push(type),
      topicChanged() {},
      describe: () => t.fail() as never,
      handOver() {},
    },
  )
  const term = { epoch: 7, members: [], minInSync: 1, replication: 'sync' } as const
  masterships.begin({ ...term, members: [] })
  masterships.end({ drain: false })
  t.deepEqual(told, [], 'the log is not there yet')
  reopened.shift()!(succeed(store))
  t.deepEqual(told, ['gate.drained'])
  masterships.begin({ ...term, members: [] })
  masterships.close()
  reopened.shift()!(succeed(store))
  t.deepEqual(told, ['gate.drained'])
  t.is(masterships.current, null)
})

// ------------------------------------------------------------------------------------------------- handover

const handingOver = { master: { service: 'serving', membership: { handingOver: 'draining' } } } as const
const settled = { master: { service: 'serving', membership: 'settled' } } as const
const roleIn = (value: typeof handingOver | typeof settled | 'demoting', change: Partial<typeof head> = {}) =>
  brokerRoleMachine.resolveState({
    value,
    context: { epoch: 5, head: { ...head, ...change } } as BrokerRoleContext,
  })

/** The handover of a master that replica 1 follows. */
function master() {
  const { clock } = start()
  const told: BrokerRoleEvent[] = []
  const handover = new Handover(clock, 'a', {
    tell: (event) => void told.push(event),
    mastership: () => ({ heir: 1, incarnationOf: (brokerId) => (brokerId === 1 ? 9 : null) }),
  })
  const answers: Answer<{ epoch: number }>[] = []
  return {
    ...{ clock, told, handover, answers },
    ask: (successor = 1) => handover.request(successor, (answer) => void answers.push(answer)),
    codes: () => answers.map(({ code }) => code),
  }
}

test('handover: whoever asked is answered AT MOST ONCE, with the epoch of the successor', (t) => {
  const { handover, told, answers, ask } = master()
  ask()
  t.deepEqual(told, [{ type: 'handover.requested', brokerId: 1, incarnation: 9 }])
  handover.heed(roleIn(handingOver))
  t.deepEqual(answers, [])
  handover.heed(roleIn('demoting', { epoch: 6, masterId: 1 }))
  handover.heed(roleIn('demoting', { epoch: 7, masterId: 2 }))
  t.deepEqual(answers, [{ code: codes.SUCCESS, value: { epoch: 6 } }])
})

test('handover: one at a time, to a replica that follows', (t) => {
  const { handover, told, codes: answered, ask } = master()
  ask(2)
  ask(1)
  ask(1)
  t.deepEqual(answered(), [codes.CONTROLLER_INVALID_REPLICAS, codes.NO_PERMISSION])
  t.is(told.length, 1)
  handover.refuse('it did not store everything in time')
  t.deepEqual(answered(), [codes.CONTROLLER_INVALID_REPLICAS, codes.NO_PERMISSION, codes.NO_PERMISSION])
})

test('handover: whoever asked hears when another replica became master instead', (t) => {
  const { handover, codes: answered, ask } = master()
  ask()
  handover.heed(roleIn('demoting', { epoch: 6, masterId: 2 }))
  t.deepEqual(answered(), [codes.NOT_MASTER])
})

test('handover: a master that stops goes ONCE, when its successor is master, or refused, or late', (t) => {
  for (const end of ['done', 'refused', 'late'] as const) {
    const { clock, handover } = master()
    let gone = 0
    handover.beforeStop(() => void gone++)
    handover.heed(roleIn(handingOver))
    clock.advance(1_999)
    t.is(gone, 0, end)
    if (end === 'done') handover.heed(roleIn('demoting', { epoch: 6, masterId: 1 }))
    else if (end === 'refused') handover.refuse('it did not store everything in time')
    else clock.advance(1)
    handover.heed(roleIn(settled))
    clock.advance(10_000)
    t.is(gone, 1, end)
    t.is(clock.timers, 0, end)
  }
})

test('handover: a master that is to stop while it hands over goes AFTER that', (t) => {
  const { clock, handover, ask, codes: answered } = master()
  let gone = 0
  ask()
  handover.heed(roleIn(handingOver))
  handover.beforeStop(() => void gone++)
  handover.heed(roleIn(handingOver))
  t.is(gone, 0)
  handover.heed(roleIn('demoting', { epoch: 6, masterId: 1 }))
  t.is(gone, 1)
  t.deepEqual(answered(), [codes.SUCCESS])
  t.is(clock.timers, 0)
})

test('handover: a role that dies meanwhile leaves nothing behind', (t) => {
  const { clock, handover } = master()
  handover.beforeStop(() => t.fail())
  handover.close()
  handover.heed(roleIn(settled))
  t.is(clock.timers, 0)
  clock.advance(10_000)
})

// ------------------------------------------------------------------------------------------------ announcer

test('announcer: a replica whose log is being cut says farewell too', async (t) => {
  const { process, hub, subjects, settle } = start()
  const { heard } = listen(hub.connect(), subjects.nameServer.unregister)
  const run = { brokerName: 'a', brokerId: 1, storeId: 's', incarnation: 3 }
  let hasLog = true
  const announcer = new Announcer(process, { brokerName: 'a', brokerId: 1, address: 'broker/a/1' }, () =>
    hasLog ? { run, dataVersion: 1, topics: {}, autoCreateTopic: true } : null,
  )
  announcer.announce(5, 'slave')
  hasLog = false
  announcer.farewell()
  await settle()
  t.deepEqual(
    heard.map(({ payload }) => JSON.parse(payload.toString())),
    [run],
  )
  announcer.close()
})
