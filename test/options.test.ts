import test from 'ava'
import { type Client, connect, createTestCluster, startNode } from '../actors/index.ts'
import { type Names, nearest, refuseUnknown } from '../actors/options.ts'

test('options: a list of names that lacks one of its type, or has one too many, does not compile', (t) => {
  type Options = { group: string; from?: 'first' }
  // @ts-expect-error: `from` is missing.
  const lacking: Names<Options> = { group: true }
  // @ts-expect-error: there is no `form`.
  const tooLong: Names<Options> = { group: true, from: true, form: true }
  const names: Names<Options> = { group: true, from: true }
  t.deepEqual([lacking, tooLong, names].length, 3)
  t.notThrows(() => refuseUnknown('a consumer', { group: 'g', from: 'first' }, names))
})

test('options: what is near a name is told, and what is near none hears all of them', (t) => {
  const names = ['maxReconsumeTimes', 'from', 'flow', 'concurrency']
  t.is(nearest('maxReconsumeTime', names), 'maxReconsumeTimes')
  t.is(nearest('MaxReconsumetimes', names), 'maxReconsumeTimes')
  t.is(nearest('form', names), 'from')
  t.is(nearest('flwo', names), 'flow')
  t.is(nearest('filter', names), null)
  t.is(nearest('conncurency', names), 'concurrency')
  t.is(nearest('tag', names), null)
  const known = { group: true, from: true } as const
  t.throws(() => refuseUnknown('a consumer', { tag: 'a' }, known), {
    code: 'INVALID_PARAMETER',
    message: "'tag' is no option of a consumer: there are group, from",
  })
})

test('options: what is no object is refused', (t) => {
  const call = () => refuseUnknown('a producer', 'shop' as never, { group: true })
  t.throws(call, { code: 'INVALID_PARAMETER', message: 'the options of a producer are an object' })
})

const nodeWith = (broker: object) => startNode({ roles: ['broker'], broker: { name: 'a', ...broker } })

const wrong: [what: string, call: (client: Client) => unknown, says: RegExp][] = [
  ['servers', () => connect({ servers: 5 as never }), /^servers: give 'nats:/],
  ['no server', () => connect({ servers: [] }), /^servers: give 'nats:/],
  ['a cluster', () => connect({ cluster: 5 as never }), /^the name of the cluster is no string/],
  ['brokers', () => createTestCluster({ brokers: 0 }), /^brokers 0: give a whole number from 1 to 26/],
  ['slaves', () => createTestCluster({ slaves: -1 }), /^slaves -1: give a whole number from 0 to 8/],
  [
    'queues',
    (client) => client.admin().createTopic('t', { queues: 'a' as never }),
    /^queues a: give a whole number/,
  ],
  [
    'a number of queues',
    (client) => client.admin().createTopic('t', { queues: -1 }),
    /^queues -1: give a whole number from 1 to 65535/,
  ],
  ['rights', (client) => client.admin().createTopic('t', { perm: 99 }), /^perm 99: give 6 /],
  [
    "a reader's queues",
    (client) => client.reader({ topic: 't', queues: 3 as never }),
    /^queues: give a function/,
  ],
  ['hours of retention', () => nodeWith({ retentionHours: 0 }), /^broker.retentionHours 0: give a number/],
  ['hours at all', () => nodeWith({ retentionHours: Number.NaN }), /^broker.retentionHours NaN: give/],
  [
    "a segment's bytes",
    () => nodeWith({ segmentBytes: 8 * 2 ** 30 }),
    /^broker.segmentBytes 8589934592: give/,
  ],
  [
    'a time in which a silence is noticed',
    () => startNode({ roles: ['nameServer'], failover: { detectMs: Number.POSITIVE_INFINITY } }),
    /^failover.detectMs Infinity: give milliseconds, 100 to 3600000$/,
  ],
  ["a reader's beginning", (client) => client.reader({ topic: 't', from: 'x' as never }), /^from 'x': give/],
]
for (const [what, call, says] of wrong) {
  test(`options: a value that is none of ${what} is refused`, async (t) => {
    const cluster = await createTestCluster()
    t.teardown(() => cluster.close())
    const client = await cluster.connect()
    await t.throwsAsync(async () => call(client), { code: 'INVALID_PARAMETER', message: says })
  })
}

const typos: [what: string, call: (client: Client) => unknown, says: RegExp][] = [
  [
    'a consumer',
    (client) => client.consumer({ group: 'g', maxReconsumeTime: 3 } as never),
    /^'maxReconsumeTime' is no option of a consumer: did you mean maxReconsumeTimes\?$/,
  ],
  [
    'flow',
    (client) => client.consumer({ group: 'g', flow: { message: 3 } as never }),
    /'message' is no option of flow: did you mean messages\?/,
  ],
  ['a producer', (client) => client.producer({ timeout: 3 } as never), /did you mean timeoutMs\?/],
  [
    'a simple consumer',
    (client) => client.simpleConsumer({ group: 'g', invisibleMS: 300 } as never),
    /did you mean invisibleMs\?/,
  ],
  [
    'a subscription of a simple consumer',
    (client) =>
      client.simpleConsumer({ group: 'g', subscriptions: [{ topic: 't', expresion: 'a' } as never] }),
    /did you mean expression\?/,
  ],
  ['a reader', (client) => client.reader({ topic: 't', filters: 'a' } as never), /did you mean filter\?/],
  ['connect', () => connect({ server: 'nats://127.0.0.1:1' } as never), /did you mean servers\?/],
  ['startNode', () => startNode({ roles: ['broker'], brokers: {} } as never), /did you mean broker\?/],
  [
    'the broker of a node',
    () => startNode({ roles: ['broker'], broker: { name: 'a', minInSynch: 2 } as never }),
    /did you mean minInSync\?/,
  ],
  ['createTestCluster', () => createTestCluster({ broker: 2 } as never), /did you mean brokers\?/],
  [
    'createTopic',
    (client) => client.admin().createTopic('t', { queue: 4 } as never),
    /did you mean queues\?/,
  ],
  [
    'resetOffsets, which then changes nothing',
    (client) => client.admin().resetOffsets('g', 't', 'first', { dryrun: true } as never),
    /did you mean dryRun\?/,
  ],
]

for (const [what, call, says] of typos) {
  test(`options: a typo is refused by ${what}`, async (t) => {
    const cluster = await createTestCluster()
    t.teardown(() => cluster.close())
    const client = await cluster.connect()
    await t.throwsAsync(async () => call(client), { code: 'INVALID_PARAMETER', message: says })
  })
}
