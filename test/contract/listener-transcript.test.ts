/**
 * The listener speaks as nats-server speaks: each conversation below is held with both, and the transcripts are equal.
 *
 * A conversation may name several clients; what each of them heard is compared, in order, with the moment at which the
 * server hung up. Left out are INFO and the server's own pings.
 */
import test, { type ExecutionContext } from 'ava'
import { createHub } from '../../transport/memory.ts'
import type { Listener } from '../../transport/nats-listener.ts'
import { type NatsServer, startNatsServer } from '../support/nats-server.ts'
import { openRaw, type RawClient } from '../support/raw-client.ts'
import { clock, closeListener, openListener, random } from '../support/transports.ts'

const MAX_PAYLOAD = 1024 * 1024
const QUIET = 'CONNECT {"verbose":false,"pedantic":false}\r\n'
const MODERN = 'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n'

let listener: Listener
let server: NatsServer

test.before(async () => {
  const hub = createHub({ clock, random, maxPayload: MAX_PAYLOAD })
  listener = await openListener({ hub })
  server = await startNatsServer()
})

test.after.always(async () => {
  await server?.stop()
  if (listener !== undefined) await closeListener(listener)
})

type Script = {
  /** The client of that name; the first mention connects it. */
  client(name?: string): Promise<RawClient>
  /** Sends and waits until the server has obeyed or hung up. */
  say(bytes: string | Buffer, name?: string): Promise<void>
}

async function transcript(port: number, script: (script: Script) => Promise<void>) {
  const clients = new Map<string, RawClient>()
  const client = async (name = 'a') => {
    const known = clients.get(name) ?? (await openRaw(port))
    clients.set(name, known)
    return known
  }
  await script({
    client,
    async say(bytes, name) {
      const speaker = await client(name)
      speaker.send(bytes)
      await speaker.sync()
    },
  })
  for (const one of clients.values()) await one.sync() // What others caused has arrived.
  const heard = [...clients].map(([name, { heard, isClosed }]) => [
    name,
    [...settled(heard), ...(isClosed ? ['hung up'] : [])],
  ])
  for (const one of clients.values()) one.destroy()
  return Object.fromEntries(heard) as Record<string, string[]>
}

/** In which order nats-server hands one message to several subscriptions of a client is chance. */
function settled(lines: readonly string[]): string[] {
  const message = (line = '') => /^(H?MSG \S+ )\S+(.*)$/.exec(line)?.slice(1).join('?') ?? line
  const runs: string[][] = []
  for (const line of lines)
    if (message(line) !== line && message(runs.at(-1)?.[0]) === message(line)) runs.at(-1)!.push(line)
    else runs.push([line])
  return runs.flatMap((run) => run.sort())
}

type Check = (t: ExecutionContext, heard: Record<string, string[]>) => void

function conversation(title: string, script: (script: Script) => Promise<void>, check?: Check): void {
  test.serial(`transcript: ${title}`, async (t) => {
    const real = await transcript(server.port, script)
    const ours = await transcript(listener.port, script)
    t.deepEqual(ours, real)
    check?.(t, ours)
  })
}

/** One client that says one thing. */
const remark = (title: string, bytes: string | Buffer, check?: Check) =>
  conversation(title, ({ say }) => say(bytes), check)

const holds =
  (line: string): Check =>
  (t, { a }) =>
    t.true(a!.includes(line), JSON.stringify(a))

remark('ping before connect', 'PING\r\n', holds('PONG'))
remark('a connect that says nothing leaves verbose and pedantic on', 'CONNECT {}\r\nPUB a.* 0\r\n\r\n')
remark('orders before connect are acknowledged', 'SUB a 1\r\nPUB a 1\r\nx\r\nUNSUB 1\r\n', holds('+OK'))
remark('verbose', 'CONNECT {"verbose":true}\r\nSUB a 1\r\nPUB a 2\r\nhi\r\nUNSUB 1\r\nPING\r\n', holds('+OK'))
remark('quiet', `${QUIET}SUB a 1\r\nPUB a 2\r\nhi\r\n`, holds('MSG a 1 2 "hi"'))
remark('a reply subject', `${QUIET}SUB a 1\r\nPUB a r.1 2\r\nhi\r\n`, holds('MSG a 1 r.1 2 "hi"'))
remark('an empty payload', `${QUIET}SUB a 1\r\nPUB a 0\r\n\r\n`, holds('MSG a 1 0 ""'))
remark('a payload that looks like orders', `${QUIET}SUB a 1\r\nPUB a 14\r\nPUB a 2\r\nhi\r\n\r\n\r\n`)
remark('lower case, tabs and several blanks', `${QUIET}sub \t a  \t1 \r\npub\ta   r  2\r\nhi\r\n`)
remark('lines that end without a carriage return', 'CONNECT {"verbose":false}\nSUB a 1\nPUB a 2\nhi\r\n')
remark('ping with more behind it', `${QUIET}PING now\r\nPONG too\r\n`)
remark('+OK and PONG from a client are heard and ignored', `${QUIET}+OK\r\nPONG\r\nPING\r\n`)
remark('-ERR from a client ends the connection', `${QUIET}-ERR 'I am confused'\r\nPING\r\n`, holds('hung up'))
remark('echo', 'CONNECT {"verbose":false,"echo":true}\r\nSUB a 1\r\nPUB a 1\r\nx\r\n', holds('MSG a 1 1 "x"'))
remark('no echo', 'CONNECT {"verbose":false,"echo":false}\r\nSUB a 1\r\nSUB a g 2\r\nPUB a 1\r\nx\r\n')
remark(
  'wildcards',
  `${QUIET}SUB a.* 1\r\nSUB a.> 2\r\nSUB > 3\r\nPUB a.b 1\r\nx\r\nPUB a.b.c 1\r\ny\r\n`,
  (t, { a }) => t.is(a!.length, 7),
)
remark(
  'subjects with a star or > inside a token are literal',
  `${QUIET}SUB a*b 1\r\nSUB c> 2\r\nPUB a*b 1\r\nx\r\nPUB c> 1\r\ny\r\n`,
)
remark(
  'a publish on a wildcard reaches who asked for that wildcard',
  `${QUIET}SUB a.* 1\r\nSUB a.b 2\r\nPUB a.* 1\r\nx\r\n`,
)
remark(
  'a publish on a subject with an empty token reaches nobody',
  `${QUIET}SUB > 1\r\nSUB a.> 2\r\nPUB a..b 1\r\nx\r\nPUB a. 1\r\ny\r\n`,
)
remark(
  'bad subjects of subscriptions',
  `${QUIET}SUB a..b 1\r\nSUB .a 2\r\nSUB a. 3\r\nSUB >.a 4\r\nPUB a 0\r\n\r\n`,
  holds("-ERR 'Invalid Subject'"),
)
remark(
  'bad subjects of subscriptions when verbose',
  'CONNECT {"verbose":true}\r\nSUB a..b 1\r\nSUB a 1\r\n',
  holds("-ERR 'Invalid Subject'"),
)
remark(
  'a bad subject of a publish when pedantic',
  'CONNECT {"verbose":false,"pedantic":true}\r\nSUB a.* 1\r\nPUB a.* 1\r\nx\r\nPUB a..b 1\r\ny\r\n',
  holds("-ERR 'Invalid Publish Subject'"),
)
remark(
  'a bad subject of a publish when pedantic and verbose',
  'CONNECT {"verbose":true,"pedantic":true}\r\nPUB > 1\r\nx\r\n',
)
remark('the same subscription id twice', `${QUIET}SUB a 1\r\nSUB b 1\r\nPUB a 1\r\nx\r\nPUB b 1\r\ny\r\n`)
remark('an id that is no number', `${QUIET}SUB a my-id\r\nPUB a 1\r\nx\r\n`, holds('MSG a my-id 1 "x"'))
remark('unsubscribe', `${QUIET}SUB a 1\r\nSUB a 2\r\nUNSUB 1\r\nPUB a 1\r\nx\r\n`)
remark('unsubscribe of an id that nobody knows', `${QUIET}UNSUB 77\r\nPUB a 0\r\n\r\n`)
remark('unsubscribe after so many', `${QUIET}SUB a 1\r\nUNSUB 1 2\r\n${'PUB a 1\r\nx\r\n'.repeat(4)}`)
remark(
  'unsubscribe after as many as were heard',
  `${QUIET}SUB a 1\r\n${'PUB a 1\r\nx\r\n'.repeat(2)}UNSUB 1 2\r\nPUB a 1\r\ny\r\n`,
)
remark(
  'unsubscribe after more than were heard',
  `${QUIET}SUB a 1\r\n${'PUB a 1\r\nx\r\n'.repeat(2)}UNSUB 1 3\r\n${'PUB a 1\r\ny\r\n'.repeat(3)}`,
)
remark(
  'unsubscribe after none or after nonsense',
  `${QUIET}SUB a 1\r\nSUB a 2\r\nUNSUB 1 0\r\nUNSUB 2 many\r\nPUB a 1\r\nx\r\n`,
)
remark(
  'a limit that is raised',
  `${QUIET}SUB a 1\r\nUNSUB 1 1\r\nUNSUB 1 3\r\n${'PUB a 1\r\nx\r\n'.repeat(5)}`,
)
remark(
  'an id is free again after its subscription ended',
  `${QUIET}SUB a 1\r\nUNSUB 1 1\r\nPUB a 1\r\nx\r\nSUB b 1\r\nPUB b 1\r\ny\r\n`,
)

remark('headers', `${MODERN}SUB a 1\r\nHPUB a 22 24\r\nNATS/1.0\r\nNote: y\r\n\r\n\r\nhi\r\n`)
remark('headers and a reply', `${MODERN}SUB a 1\r\nHPUB a r 21 23\r\nNATS/1.0\r\nNote: y\r\n\r\nhi\r\n`)
remark('headers without a payload', `${MODERN}SUB a 1\r\nHPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n`)
remark('a header size of nothing', `${MODERN}SUB a 1\r\nHPUB a 0 2\r\nhi\r\n`)
remark(
  'headers from a client that did not announce them',
  `${QUIET}HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n`,
  holds('hung up'),
)
remark('headers that are larger than the whole', `${MODERN}HPUB a 14 12\r\n`, holds('hung up'))
remark('headers without a size', `${MODERN}HPUB a 12\r\n`, holds('hung up'))
conversation('headers are taken off for a client that does not know them', async ({ say }) => {
  await say(`${QUIET}SUB strip 1\r\n`, 'old')
  await say(`${MODERN}SUB strip 1\r\nHPUB strip 21 23\r\nNATS/1.0\r\nNote: y\r\n\r\nhi\r\n`, 'new')
})

remark('no responders', `${MODERN}SUB r.* 9\r\nPUB nobody r.1 2\r\nhi\r\n`, (t, { a }) =>
  t.is(a![0], 'HMSG r.1 9 16 16 "NATS/1.0 503\\r\\n\\r\\n"'),
)
remark(
  'no responders to a publish with headers',
  `${MODERN}SUB r.* 9\r\nHPUB nobody r.1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n`,
)
remark(
  'no responders is told once, to the first subscription',
  `${MODERN}SUB r.1 1\r\nSUB r.> 2\r\nPUB nobody r.1 0\r\n\r\n`,
)
remark('no responders is not told to a queue group', `${MODERN}SUB r.1 g 1\r\nPUB nobody r.1 0\r\n\r\n`)
remark('no responders is not told to who did not ask', `${QUIET}SUB r.* 9\r\nPUB nobody r.1 0\r\n\r\n`)
remark(
  'no responders when the only hearer would be an echo',
  'CONNECT {"verbose":false,"echo":false,"headers":true,"no_responders":true}\r\nSUB r 1\r\nSUB a 2\r\nPUB a r 0\r\n\r\n',
)
remark(
  'no responders counts against a limit',
  `${MODERN}SUB r.1 1\r\nUNSUB 1 1\r\nPUB nobody r.1 0\r\n\r\nPUB r.1 1\r\nx\r\n`,
)
conversation('no responders is not told to others', async ({ say }) => {
  await say(`${MODERN}SUB told.r 1\r\n`, 'other')
  await say(`${MODERN}PUB nobody told.r 0\r\n\r\n`)
})
remark(
  'no responders needs headers',
  'CONNECT {"verbose":false,"no_responders":true}\r\n',
  holds("-ERR 'no responders requires headers support'"),
)

conversation('a queue group hears a message once', async ({ say }) => {
  await say(`${QUIET}SUB shared g 1\r\nSUB shared h 2\r\nSUB shared 3\r\n`, 'b')
  await say(`${QUIET}PUB shared 1\r\nx\r\n`)
})
for (const members of [2, 3])
  test.serial(`transcript: one of ${members} members of a group hears each message`, async (t) => {
    const script = async ({ say }: Script) => {
      for (let i = 0; i < members; i++) await say(`${QUIET}SUB split.* g 1\r\n`, `m${i}`)
      await say(
        `${QUIET}${Array.from({ length: 60 }, (_, i) => `PUB split.x 2\r\n${i + 10}\r\n`).join('')}`,
        'p',
      )
    }
    const all = (heard: Record<string, string[]>) => Object.values(heard).flat().sort()
    const [real, ours] = [await transcript(server.port, script), await transcript(listener.port, script)]
    t.deepEqual(all(ours), all(real))
    for (const heard of [real, ours]) for (let i = 0; i < members; i++) t.true(heard[`m${i}`]!.length > 2)
  })
conversation('a group is one group across patterns', async ({ say, client }) => {
  await say(`${QUIET}SUB across.x g 1\r\n`, 'b')
  await say(`${QUIET}SUB across.* g 1\r\n`, 'c')
  await say(`${QUIET}UNSUB 1\r\n`, 'b')
  await say(`${QUIET}PUB across.x 1\r\nx\r\n`)
  await client('b')
})
conversation('subscriptions end with their connection', async ({ say, client }) => {
  await say(`${QUIET}SUB ended 1\r\n`, 'b')
  const leaver = await client('b')
  leaver.send('BYE\r\n')
  await leaver.closed
  await say(`${MODERN}SUB r 1\r\nPUB ended r 0\r\n\r\n`)
})

const unknown = holds("-ERR 'Unknown Protocol Operation'")
remark('an unknown order', `${QUIET}JUMP high\r\nPING\r\n`, unknown)
remark('an unknown order without an end', `${QUIET}JUMP`, unknown)
remark('an order that is cut short', `${QUIET}PUT a 1\r\n`, unknown)
remark('a request of HTTP', 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n', unknown)
remark('an empty line', '\r\n', unknown)
remark('an order that only servers give', `${QUIET}RS+ $G a\r\n`, unknown)
remark('SUB without a blank', `${QUIET}SUB\r\n`, unknown)
remark('PUB without a blank', `${QUIET}PUB\r\n`, unknown)
remark('CONNECT without options', 'CONNECT\r\n', holds('hung up'))
remark('CONNECT without a blank', 'CONNECT{"verbose":false}\r\n')
remark('what comes before an unknown order is obeyed', `${QUIET}SUB a 1\r\nPUB a 1\r\nx\r\nNO\r\n`, unknown)
remark('a payload longer than its size', `${QUIET}SUB a 1\r\nPUB a 2\r\nhigh\r\n`, unknown)
remark('a payload that ends with a bare line feed', `${QUIET}SUB a 1\r\nPUB a 2\r\nhi\nPING\r\n`, unknown)
remark('PUB without arguments', `${QUIET}PUB \r\n`, holds('hung up'))
remark('PUB without a size', `${QUIET}PUB a\r\n`, holds('hung up'))
remark('PUB with too many arguments', `${QUIET}PUB a b c 1\r\n`, holds('hung up'))
remark('PUB with a size that is no number', `${QUIET}PUB a x\r\n`, holds('hung up'))
remark('PUB with a negative size', `${QUIET}PUB a -1\r\n`, holds('hung up'))
remark('PUB with a size of ten digits', `${QUIET}PUB a 4294967297\r\n`, holds('hung up'))
remark('SUB without arguments', `${QUIET}SUB \r\n`, holds('hung up'))
remark('SUB without an id', `${QUIET}SUB a\r\n`, holds('hung up'))
remark('SUB with too many arguments', `${QUIET}SUB a b c d\r\n`, holds('hung up'))
remark('UNSUB with too many arguments', `${QUIET}UNSUB a b c\r\n`, holds('hung up'))
remark('CONNECT that is no JSON', 'CONNECT {nonsense}\r\n', holds('hung up'))
remark('CONNECT with an option of a wrong type', 'CONNECT {"verbose":"yes"}\r\n', holds('hung up'))
remark(
  'CONNECT with options that nobody knows',
  'CONNECT {"verbose":false,"colour":"red","headers":null}\r\nSUB a 1\r\nPUB a 1\r\nx\r\n',
)
remark('CONNECT twice', `${QUIET}CONNECT {"verbose":true}\r\nSUB a 1\r\n`, holds('+OK'))
remark(
  'CONNECT with a protocol of the future',
  'CONNECT {"verbose":false,"protocol":2}\r\n',
  holds("-ERR 'invalid client protocol'"),
)

const tooLarge = holds("-ERR 'Maximum Payload Violation'")
remark('a payload above the limit', `${QUIET}PUB a ${MAX_PAYLOAD + 1}\r\n`, tooLarge)
remark('a payload far above the limit', `${QUIET}PUB a 999999999\r\n`, tooLarge)
remark('headers and payload above the limit', `${MODERN}HPUB a 12 ${MAX_PAYLOAD + 1}\r\n`, tooLarge)
remark(
  'a payload at the limit',
  `${QUIET}SUB limit 1\r\nPUB limit ${MAX_PAYLOAD}\r\n${'x'.repeat(MAX_PAYLOAD)}\r\n`,
)

const tooLong = holds("-ERR 'maximum control line exceeded'")
remark('a control line at the limit', `${QUIET}SUB ${'a'.repeat(4094)} 1\r\nPING\r\n`)
remark('a control line above the limit', `${QUIET}SUB ${'a'.repeat(4095)} 1\r\n`, tooLong)
remark('a control line without an end', `${QUIET}PUB ${'a'.repeat(5_000)}`, tooLong)

remark(
  'bytes that are no text',
  Buffer.concat([
    Buffer.from(`${QUIET}SUB a 1\r\nPUB a 5\r\n`),
    Buffer.from([0, 13, 10, 255, 128]),
    Buffer.from('\r\n'),
  ]),
)
remark(
  'a subject beyond ASCII',
  `${QUIET}SUB größe.* 1\r\nPUB größe.x 1\r\nx\r\n`,
  holds('MSG größe.x 1 1 "x"'),
)

test.serial('listener: INFO names what clients need to know', async (t) => {
  const [real, ours] = [await openRaw(server.port), await openRaw(listener.port)]
  for (const key of [
    'server_id',
    'server_name',
    'version',
    'proto',
    'headers',
    'max_payload',
    'host',
    'port',
    'client_id',
  ]) {
    t.true(Object.hasOwn(real.info, key), `nats-server does not tell '${key}'`)
    t.is(typeof ours.info[key], typeof real.info[key], key)
  }
  t.is(ours.info.headers, true)
  t.is(ours.info.max_payload, MAX_PAYLOAD)
  t.is(ours.info.port, listener.port)
  real.destroy()
  ours.destroy()
})
