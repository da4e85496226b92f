/** A library that only remembers what it was asked, and a terminal that only remembers what it was told. */
import { open } from 'node:fs/promises'
import { Observable } from 'rxjs'
import type {
  BrokerOverview,
  BrokerProcessOptions,
  Client,
  DeadLetter,
  GroupDescription,
  Incoming,
  Library,
  NodeOptions,
  Replica,
} from '../../actors/admin/cli/face.ts'
import { runCli } from '../../actors/admin/cli/main.ts'
import type { Terminal } from '../../actors/admin/cli/terminal.ts'
import { durabilityOf } from '../../actors/admin/durability.ts'
import { StateMQError } from '../../actors/errors.ts'
import { realClock } from '../../actors/node/real-world.ts'
import type { Transport } from '../../transport/transport.ts'
import { description, follower } from './support.ts'

export const transport = {} as Transport

const group: GroupDescription = {
  group: 'billing',
  generation: 3,
  allocation: 'averagely',
  disagreements: ["topic 'orders': * (c1) and a (c2)"],
  contested: ['orders/broker-a/0: c1 has it, and c2 wants it too'],
  rebalances: [
    { generation: 3, causes: ['c2 joined'], members: 2, queues: 1, moves: 0, at: Date.UTC(2026, 0, 1) },
  ],
  fenced: 0,
  retrying: 2,
  members: [
    {
      ...{ clientId: 'c1', instance: 'i1', subscriptions: { orders: '*' } },
      ...{
        allocation: 'averagely',
        isStatic: false,
        isSilent: false,
        sessionMs: 10_000,
        isTold: true,
        share: 1,
      },
    },
    {
      ...{ clientId: 'c2', instance: 'i2', subscriptions: { orders: '*' } },
      ...{
        allocation: 'averagely',
        isStatic: false,
        isSilent: false,
        sessionMs: 10_000,
        isTold: true,
        share: 0,
      },
    },
  ],
  idle: [{ clientId: 'c2', why: 'there are more members (2) than queues (1)' }],
  queues: [
    {
      topic: 'orders',
      brokerName: 'broker-a',
      queueId: 0,
      owner: 'c1',
      claimant: { clientId: 'c2', isSameList: true },
      assignEpoch: 1,
      committed: 5,
      minOffset: 0,
      maxOffset: 1_205,
      lag: 1_200,
      behindSince: null,
      isPopped: false,
    },
  ],
}

const master = description(0, { role: 'master', messagesIn: 1_200, logBytes: 4_096, followers: [follower] })
const durability = durabilityOf(master)
const promises = [{ brokerName: 'broker-a', ...durability }]
/** A master with its slave, and a third that is gone. */
const pair: Replica[] = [
  { ...master, reachable: true, durability, lag: null },
  { ...description(1, { logBytes: 4_086 }), reachable: true, durability: null, lag: follower },
  { reachable: false, brokerName: 'broker-a', brokerId: 2, role: 'slave', epoch: 3 },
]
const overview: Omit<BrokerOverview, 'replicas'> = {
  ...{ brokerName: 'broker-a', masterId: 0, epoch: 4, syncStateSet: [0, 1], durability },
  masterships: [
    { epoch: 4, masterId: 0, cause: 'failover', at: 0 },
    { epoch: 3, masterId: 1, cause: 'boot', at: 0 },
  ],
}

const letter: DeadLetter = {
  ...{ messageId: 'M7', topic: 'orders', tag: 'paid', keys: ['A-7'], properties: { town: 'Köln' } },
  ...{ attempts: 17, reason: 'Error: no stock', bornTime: 0, time: 60_000 },
  ...{ brokerName: 'broker-a', queueOffset: 3 },
}

export function stage(
  lines: string[] = [],
  {
    hasInput = true,
    answer = 'no',
    replicas = pair,
    changed = {},
    member = {},
    queue = {},
    env = {},
    benchCode = 0,
  } = {} as Partial<{
    hasInput: boolean
    env: Record<string, string>
    benchCode: number
    answer: string
    replicas: Replica[]
    /** Of what is told of the broker. */
    changed: Partial<BrokerOverview>
    /** Of what is told of the group's second member. */
    member: Partial<GroupDescription['members'][number]>
    /** Of what is told of its queue. */
    queue: Partial<GroupDescription['queues'][number]>
  }>,
) {
  const stop = new AbortController()
  const calls: unknown[][] = []
  const nodes: string[] = []
  const stops: string[] = []
  let stdout = ''
  let stderr = ''
  let sent = 0
  const call =
    <T>(name: string, answer: T) =>
    (...args: unknown[]): Promise<T> => {
      calls.push([name, ...args])
      return Promise.resolve(answer)
    }
  const client: Client = {
    producer: () => ({
      async send(message) {
        calls.push(['send', message])
        if (message.topic === 'absent') throw new StateMQError('TOPIC_NOT_EXIST', "no broker has 'absent'")
        return {
          messageId: 'M1',
          topic: message.topic,
          brokerName: 'broker-a',
          queueId: 3,
          queueOffset: sent++,
        }
      },
    }),
    consumer: (options) => ({
      subscribe: (topic, tags) => calls.push(['consume', options, topic, tags]),
      async *messages() {
        for (let offset = 0; ; offset++) yield incoming(offset, () => calls.push(['ack', offset]))
      },
      close: async () => {},
    }),
    simpleConsumer: (options) => {
      calls.push(['pop', options])
      let offset = 0
      return {
        receive: async (max) =>
          Array.from({ length: max }, () => ({
            ...incoming(offset, () => {}),
            receiptHandle: `handle ${offset++}`,
          })),
        async ack(handle) {
          calls.push(['ack', handle])
        },
        close: async () => {},
      }
    },
    admin: () => ({
      createTopic: call('createTopic', {}),
      deleteTopic: call('deleteTopic', {}),
      topics: call('topics', [
        { topic: '%DLQ%b', readQueues: 1, writeQueues: 1, perm: 6, brokers: ['broker-a'] },
        { topic: '订单', readQueues: 8, writeQueues: 8, perm: 6, brokers: ['broker-a'] },
      ]),
      topic: call('topic', { topic: 'orders', queues: [], durability: promises }),
      route: call('route', { topic: 'orders', nameServerId: 'n1', revision: 1, brokers: [] }),
      groups: call('groups', ['billing']),
      group: call('group', {
        ...group,
        members: group.members.map((one, i) => (i === 1 ? { ...one, ...member } : one)),
        queues: group.queues.map((one) => ({ ...one, ...queue })),
      }),
      resetOffsets: call('resetOffsets', [{ brokerName: 'broker-a', queueId: 0, from: 5, to: 0 }]),
      cloneOffsets: call('cloneOffsets', [
        { topic: 'orders', brokerName: 'broker-a', queueId: 0, from: null, to: 5 },
      ]),
      deadLetters: call('deadLetters', [letter]),
      deadLetter(...args) {
        calls.push(['deadLetter', ...args])
        if (args[1] !== 'M7') throw new StateMQError('QUERY_NOT_FOUND', `no dead letter ${args[1]}`)
        return Promise.resolve({ ...letter, body: Buffer.from('A-7 costs 12 €') })
      },
      resendDeadLetters: call('resendDeadLetters', [
        { messageId: 'M7', topic: 'orders', brokerName: 'broker-a', queueId: 1, queueOffset: 9 },
      ]),
      brokers: call('brokers', replicas),
      broker: (name) =>
        name === 'broker-slow'
          ? Promise.reject(new StateMQError('TIMED_OUT', 'no answer in 3000 ms', { retryable: true }))
          : Promise.resolve({ ...overview, replicas, ...changed }),
      promote(...args) {
        calls.push(['promote', ...args])
        if (args[1] === 9) throw new StateMQError('CONTROLLER_BROKER_ID_INVALID', 'broker-a has no replica 9')
        return Promise.resolve({ epoch: 5 })
      },
    }),
    inspect: () => ({
      actors: call('actors', []),
      actor: () => Promise.reject(new StateMQError('QUERY_NOT_FOUND', 'nobody has this address')),
      watch: (address) =>
        new Observable((observer) => {
          observer.next({
            address,
            at: 0,
            event: 'store.recovered',
            from: 'recovering',
            to: 'master',
            context: {},
          })
          setImmediate(() => stop.abort())
        }),
    }),
    close: call('close', undefined),
  }
  const library: Library = {
    async connect(options) {
      calls.push(['connect', options])
      if (options.servers.includes('nowhere')) throw new StateMQError('DISCONNECTED', 'connection refused')
      return client
    },
    async startNode(options: NodeOptions) {
      const name = options.broker?.name ?? 'name-server'
      if (name === 'broker-c') throw new StateMQError('IN_USE', 'the folder is in use')
      calls.push(['startNode', options])
      nodes.push(name)
      setImmediate(() => (name === 'broker-d' ? options.failed?.('the disk is gone') : stop.abort()))
      return {
        servers: options.servers ?? 'nats://127.0.0.1:5000',
        transport,
        close: async () => {
          stops.push(name === 'name-server' ? options.roles.join('+') : name)
          nodes.splice(nodes.indexOf(name), 1)
        },
      }
    },
    startBrokerProcess(options: BrokerProcessOptions) {
      const { name, id } = options.broker
      const known = `${name}/${id}`
      calls.push(['startBrokerProcess', options])
      nodes.push(known)
      options.tell?.('says a word')
      let isStopped = false
      return {
        brokerName: name,
        brokerId: id,
        ready: name === 'broker-c' ? Promise.reject(new StateMQError('IN_USE', 'in use')) : Promise.resolve(),
        pid: 100 + id,
        restarts: 0,
        async stop() {
          if (isStopped) return
          isStopped = true
          stops.push(known)
          nodes.splice(nodes.indexOf(known), 1)
        },
      }
    },
  }
  const terminal: Terminal = {
    env,
    columns: undefined,
    interactive: false,
    colours: false,
    hasInput,
    signal: stop.signal,
    stopWithInput: () => void calls.push(['stopWithInput']),
    write(text) {
      stdout += text
    },
    tell(text) {
      stderr += text
    },
    async *lines(file) {
      if (file === 'absent') await open(file)
      yield* lines
    },
    ask: () => Promise.resolve(answer),
    runProgram: () => Promise.resolve(benchCode),
  }
  return {
    library,
    calls,
    /** What runs, and what was stopped in which order. */
    nodes,
    stops,
    named: (name: string) => calls.filter((one) => one[0] === name).map((one) => one.slice(1)),
    async run(...args: string[]) {
      stdout = ''
      stderr = ''
      const code = await runCli(args, {
        version: '1.2.3',
        terminal,
        clock: realClock,
        library: () => Promise.resolve(library),
        demo: async () => void calls.push(['demo']),
        benchFile: 'bench.js',
      })
      return { code, stdout, stderr }
    },
  }
}

const incoming = (queueOffset: number, ack: () => void): Incoming => ({
  topic: 'orders',
  brokerName: 'broker-a',
  queueId: 0,
  queueOffset,
  messageId: `M${queueOffset}`,
  tag: 'paid',
  keys: [],
  messageGroup: undefined,
  bornTime: 0,
  storeTime: 0,
  properties: {},
  body: Buffer.from(`body ${queueOffset}`),
  ack,
})
