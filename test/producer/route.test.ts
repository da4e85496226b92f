/** A topic that a client makes by its first use: what refuses it, and what only takes another while. Time is virtual. */
import test from 'ava'
import { createDirectory } from '../../actors/node/inspection.ts'
import type { Process } from '../../actors/node/process.ts'
import { watchRoute } from '../../actors/producer/route.ts'
import { type Answer, accept, encode, refuse } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { createHub } from '../../transport/memory.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { notedLog } from '../support/transports.ts'
import { virtualClock } from '../support/virtual-clock.ts'

type Said = Answer<unknown> | null
const made = accept({})
const row = {
  ...{ brokerName: 'a', brokerId: 0, role: 'master', epoch: 1, incarnation: 1 },
  ...{ autoCreateTopic: true, topics: 0 },
}

/** One broker that is asked to make the topic, and a name server that shows it from then on. */
function bench() {
  const clock = virtualClock()
  const log = notedLog()
  const random = seededRandom(1)
  const hub = createHub({ clock, random, log })
  const [servers, transport] = [hub.connect(), hub.connect()]
  const subjects = subjectsOf('test')
  /** What is said to whoever asks; null: nothing. */
  const says = { brokers: [row] as object[], cluster: true, create: made as Said }
  let asked = 0
  let isMade = false
  const serve = (subject: string, said: () => Said) =>
    servers.subscribe(subject, (_, reply) => {
      const answer = said()
      if (answer !== null) servers.publish(reply, encode(answer))
    })
  const part = {
    brokerName: 'a',
    epoch: 1,
    incarnation: 1,
    dataVersion: 1,
    readQueues: 4,
    writeQueues: 4,
    perm: 6,
  }
  const shown = { topic: 'orders', nameServerId: 'n', revision: 1, brokers: [part] }
  serve(subjects.nameServer.route, () => accept(isMade ? shown : null))
  serve(subjects.nameServer.cluster, () =>
    says.cluster ? accept({ nameServerId: 'n', revision: 1, brokers: says.brokers }) : null,
  )
  serve(subjects.broker('a', 1).createTopic, () => {
    asked++
    isMade ||= says.create === made
    return says.create
  })
  const told: string[] = []
  const directory = createDirectory('p', transport, subjects, clock)
  const world = { clock, random, log, transport, disk: null as never }
  const process: Process = { id: 'p', world, subjects, directory }
  const route = watchRoute(process, {
    ...{ topic: 'orders', createTopic: true },
    announced: ({ brokers }) => void told.push(`at ${brokers.map(({ brokerName }) => brokerName)}`),
    missing: ({ code }) => void told.push(code),
  })
  return {
    ...{ clock, says, told, route },
    get asked() {
      return asked
    },
  }
}

test('route: a topic that is made by its first use is told when it is shown', (t) => {
  const it = bench()
  it.clock.advance(100)
  t.deepEqual(it.told, ['at a'])
})

for (const [what, change, trouble] of [
  ['answers nothing', { create: null }, /^a was asked to make the topic: .*within 1000 ms/],
  ['is no master any more', { create: refuse(codes.NOT_MASTER, 'deposed') }, /^a does not make .* deposed;/],
  [
    'takes nothing at the moment',
    { create: refuse(codes.SERVICE_NOT_AVAILABLE, 'its disk is full') },
    /^a does not make the topic now: its disk is full;/,
  ],
  [
    'has no master at the moment',
    { brokers: [{ ...row, role: 'slave' }] },
    /^no broker that creates .* has a master;/,
  ],
] as const)
  test(`route: a broker that ${what} has NOT refused the topic, and is asked again`, (t) => {
    const it = bench()
    const { create, brokers } = it.says
    Object.assign(it.says, change)
    it.clock.advance(4_000)
    t.deepEqual(it.told, [])
    t.regex(it.route.trouble, trouble)
    Object.assign(it.says, { create, brokers })
    it.clock.advance(2_000)
    t.deepEqual(it.told, ['at a'])
  })

test('route: a name server that says nothing of the brokers refuses no topic', (t) => {
  const it = bench()
  it.says.cluster = false
  it.clock.advance(4_000)
  t.deepEqual(it.told, [])
  it.says.cluster = true
  it.clock.advance(2_000)
  t.deepEqual(it.told, ['at a'])
})

for (const [what, change, asks] of [
  ['every broker that may make it says no', { create: refuse(codes.NO_PERMISSION, 'not here') }, 1],
  ['no broker makes topics by itself', { brokers: [{ ...row, autoCreateTopic: false }] }, 0],
] as const)
  test(`route: a topic is refused at once when ${what}`, (t) => {
    const it = bench()
    Object.assign(it.says, change)
    it.clock.advance(100)
    t.deepEqual(it.told, ['TOPIC_NOT_EXIST'])
    t.is(it.asked, asks)
  })
