/** Signs of life: on the loop in virtual time, on a thread of their own against real servers, busy and hanging loops. */
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { probe, type Sign } from '../../actors/node/probe.ts'
import { loopPulse, type Pulse } from '../../actors/node/pulse.ts'
import { type ThreadPulseOptions, threadPulse } from '../../actors/node/thread-pulse.ts'
import { hear } from '../../transport/codec.ts'
import { createHub } from '../../transport/memory.ts'
import { type ReplicaBeat, replicaBeat } from '../../transport/messages.ts'
import type { Transport } from '../../transport/transport.ts'
import { startNatsServer } from '../support/nats-server.ts'
import { Processes } from '../support/processes.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { clock, close, connectTo, flush, homes, notedLog } from '../support/transports.ts'
import { until } from '../support/until.ts'
import { virtualClock } from '../support/virtual-clock.ts'
import { beatOf, hang, hangUntil, startRecorder, subjects } from './pulse-support.ts'

const { brokerName, brokerId } = beatOf()

const stop = (pulse: Pulse) => new Promise<void>((resolve) => pulse.stop(resolve))
const ping = (transport: Transport, timeoutMs = 60_000) =>
  new Promise<Sign>((resolve) => probe(transport, subjects, brokerName, brokerId, timeoutMs, resolve))
const answers = async (transport: Transport) => typeof (await ping(transport, 500)) === 'object'

function beatsOn(transport: Transport): ReplicaBeat[] {
  const beats: ReplicaBeat[] = []
  hear(transport, subjects.replicas(brokerName).beat, replicaBeat, (beat) => void beats.push(beat))
  return beats
}

/** A pulse on a thread of its own, stopped at the latest when the test ends. */
function startThread(t: ExecutionContext, servers: string, more: Partial<ThreadPulseOptions> = {}) {
  const log = notedLog()
  const options = { subjects, beat: beatOf(), connection: { servers }, beatMs: 20, hangMs: 60_000, ...more }
  const pulse = threadPulse({ clock, log }, options)
  t.teardown(() => stop(pulse))
  return { pulse, log }
}

async function serverOf(t: ExecutionContext, config = '') {
  const server = await startNatsServer({ config })
  t.teardown(() => server.stop())
  return server
}

async function clientOf(t: ExecutionContext, url: string): Promise<Transport> {
  const transport = await connectTo(url)
  t.teardown(() => close(transport))
  return transport
}

// ------------------------------------------------------------------------------------------------- on the loop

function virtualWorld() {
  const clock = virtualClock()
  const hub = createHub({ clock, random: seededRandom(1) })
  return { clock, transport: hub.connect(), other: hub.connect() }
}

test('pulse: on the loop a beat goes out every interval, changed or not', (t) => {
  const { clock, transport, other } = virtualWorld()
  const beats = beatsOn(other)
  const pulse = loopPulse({ clock, transport }, { subjects, beat: beatOf(), beatMs: 100 })
  clock.advance(1_000)
  t.deepEqual(beats, Array(11).fill(beatOf()))
  pulse.update(beatOf({ role: 'master' }))
  clock.advance(100)
  t.deepEqual(beats.slice(11), [beatOf({ role: 'master' })])
})

test('pulse: on the loop a ping is answered with the latest beat', (t) => {
  const { clock, transport, other } = virtualWorld()
  const signs: Sign[] = []
  const pulse = loopPulse({ clock, transport }, { subjects, beat: beatOf(), beatMs: 100 })
  pulse.update(beatOf({ epoch: 4 }))
  probe(other, subjects, brokerName, brokerId, 50, (sign) => signs.push(sign))
  clock.advance(0)
  t.deepEqual(signs, [beatOf({ epoch: 4 })])
})

test('pulse: on the loop nothing is told AFTER stop, and nobody listens', (t) => {
  const { clock, transport, other } = virtualWorld()
  const beats = beatsOn(other)
  const signs: Sign[] = []
  const pulse = loopPulse({ clock, transport }, { subjects, beat: beatOf(), beatMs: 100 })
  clock.advance(250)
  let isStopped = false
  pulse.stop(() => {
    isStopped = true
  })
  clock.settle()
  t.true(isStopped)
  t.is(clock.timers, 0)
  clock.advance(1_000)
  t.is(beats.length, 3)
  probe(other, subjects, brokerName, brokerId, 50, (sign) => signs.push(sign))
  clock.advance(0)
  t.deepEqual(signs, ['unreachable'])
})

// ---------------------------------------------------------------------------------------------------- the probe

test('probe: who listens and does not answer is silent, and so is all when there is no connection', (t) => {
  const { clock, transport, other } = virtualWorld()
  const signs: Sign[] = []
  const ask = () => probe(other, subjects, brokerName, brokerId, 50, (sign) => signs.push(sign))
  transport.subscribe(subjects.brokerProcess(brokerName, brokerId).ping, () => {})
  ask()
  clock.advance(40)
  t.deepEqual(signs, [])
  clock.advance(40)
  t.deepEqual(signs, ['silent'])
  other.sever()
  ask()
  clock.advance(0)
  t.deepEqual(signs, ['silent', 'silent'])
})

// ------------------------------------------------------------------------------------- on a thread of its own

// Serial, and first: no other test of this file may need the loop meanwhile.
test.serial('pulse: beats go on and pings are answered WHILE the main loop is busy', async (t) => {
  const { url } = await serverOf(t)
  const count = await startRecorder(t, url)
  startThread(t, url)
  await until('it beats', () => count('beats') > 0 && count('pongs') > 0)
  const [beats, pongs, unreachable] = [count('beats'), count('pongs'), count('unreachable')]
  hangUntil('beats go on', () => count('beats') > beats + 20 && count('pongs') > pongs + 20)
  t.is(count('unreachable'), unreachable)
})

test.serial(
  'pulse: nothing is told and nobody listens AFTER the main loop hung, UNTIL it turns again',
  async (t) => {
    const { url } = await serverOf(t)
    const count = await startRecorder(t, url)
    const { log } = startThread(t, url, { hangMs: 300 })
    await until('it beats', () => count('beats') > 0 && count('pongs') > 0)
    const unreachable = count('unreachable')
    hangUntil('nobody listens', () => count('unreachable') > unreachable + 1)
    const [beats, pongs] = [count('beatsWhenUnreachable'), count('pongs')]
    hang(200)
    t.is(count('beats'), beats)
    t.is(count('pongs'), pongs)
    await until('it beats again', () => count('beats') > beats && count('pongs') > pongs)
    t.regex(log.lines.join('\n'), /main loop stood still for 300 ms/)
  },
)

for (const home of homes.filter(({ name }) => name !== 'memory')) {
  test(`pulse: by ${home.name} beats and pongs tell the latest, and AFTER stop nobody listens`, async (t) => {
    const station = await home.start()
    t.teardown(() => station.stop())
    const transport = await station.connect()
    const beats = beatsOn(transport)
    await flush(transport)
    const { pulse } = startThread(t, `nats://127.0.0.1:${station.port}`)
    await until('it beats', () => beats.length > 2)
    t.deepEqual(beats[0], beatOf())
    for (let epoch = 4; epoch <= 9; epoch++) pulse.update(beatOf({ epoch }))
    await until('the latest is told', () => beats.at(-1)!.epoch === 9)
    t.deepEqual(await ping(transport), beatOf({ epoch: 9 }))
    await stop(pulse)
    t.is(await ping(transport), 'unreachable')
    const heard = beats.length
    await flush(transport)
    t.is(beats.length, heard)
  })
}

test('pulse: when its server is killed and comes back, it beats again', async (t) => {
  const server = await serverOf(t)
  const transport = await clientOf(t, server.url)
  startThread(t, server.url)
  for (let round = 0; round < 2; round++) {
    await until('pings are answered', () => answers(transport))
    await server.kill()
    t.is(await ping(transport, 100), 'silent')
    await server.restart()
  }
  const beats = beatsOn(transport)
  await until('it beats again', () => beats.length > 2)
})

test('pulse: without a server it tries again and again, and says so once', async (t) => {
  let attempts = 0
  const closed = createServer((socket) => {
    attempts++
    socket.destroy()
  })
  closed.listen(0, '127.0.0.1')
  await once(closed, 'listening')
  t.teardown(() => closed.close())
  const { log } = startThread(t, `nats://127.0.0.1:${(closed.address() as AddressInfo).port}`)
  await until('it tries again', () => attempts >= 4)
  t.is(log.lines.length, 1)
  t.regex(log.lines[0]!, /no signs of life are sent: no NATS server answers at .*: start one/)
})

test('pulse: it beats as soon as its server is there', async (t) => {
  const server = await serverOf(t)
  await server.kill()
  const { log } = startThread(t, server.url)
  await until('it complains', () => log.lines.length > 0)
  await server.restart()
  const beats = beatsOn(await clientOf(t, server.url))
  await until('it beats', () => beats.length > 0)
  t.deepEqual(beats[0], beatOf())
})

test('pulse: the thread logs in as it is told to', async (t) => {
  const server = await serverOf(t, 'authorization { user: "u", password: "secret" }')
  const { log } = startThread(t, server.url)
  await until('it is refused', () => log.lines.some((line) => /refuses the user/.test(line)))
  startThread(t, server.url, { connection: { servers: server.url, user: 'u', pass: 'secret' } })
  const transport = await clientOf(t, server.url.replace('nats://', 'nats://u:secret@'))
  await until('pings are answered', () => answers(transport))
  t.deepEqual(await ping(transport), beatOf())
})

test('pulse: a thread that ends by a bug is started anew and tells the latest', async (t) => {
  const server = await serverOf(t)
  const beats = beatsOn(await clientOf(t, server.url))
  const { pulse, log } = startThread(t, server.url)
  await until('it beats', () => beats.length > 0)
  pulse.update(beatOf({ endPosition: 1n as never })) // JSON cannot say it.
  await until('the thread ends', () => log.lines.length > 0)
  t.regex(log.lines[0]!, /thread that beats for broker-a\/1 ended: another one is started/)
  t.regex(String((log.fields[0] as { cause: unknown }).cause), /BigInt/)
  pulse.update(beatOf({ endPosition: 200 }))
  await until('it beats again', () => beats.at(-1)!.endPosition === 200)
})

test('pulse: when its process is killed, a ping fails at once', async (t) => {
  const server = await serverOf(t)
  const transport = await clientOf(t, server.url)
  const child = await new Processes(t).startModule(
    new URL('./pulsing.js', import.meta.url),
    server.url,
    'beat',
  )
  await until('it answers', () => answers(transport))
  const killedAt = performance.now()
  await child.kill()
  // What is asked before the server notices is lost with the dead connection.
  await until('nobody listens', async () => (await ping(transport, 100)) === 'unreachable')
  t.log(`${(performance.now() - killedAt).toFixed(1)} ms from kill -9 to 'unreachable'`)
  t.is(await ping(transport), 'unreachable')
})

test('pulse: a process that was stopped as a whole is silent, and answers when it goes on', async (t) => {
  const server = await serverOf(t)
  const transport = await clientOf(t, server.url)
  const child = await new Processes(t).startModule(
    new URL('./pulsing.js', import.meta.url),
    server.url,
    'beat',
  )
  await until('it answers', () => answers(transport))
  process.kill(child.pid, 'SIGSTOP')
  // Its threads stop one after the other. The time is longer than a loop may hang.
  await until('it is silent', async () => (await ping(transport, 3_000)) === 'silent')
  t.is(await ping(transport, 100), 'silent')
  process.kill(child.pid, 'SIGCONT')
  await until('it answers again', () => answers(transport))
})

test('pulse: it stops although its server is stuck', async (t) => {
  const server = await serverOf(t)
  const beats = beatsOn(await clientOf(t, server.url))
  const { pulse } = startThread(t, server.url)
  await until('it beats', () => beats.length > 0)
  process.kill(server.pid, 'SIGSTOP')
  await t.notThrowsAsync(stop(pulse))
  process.kill(server.pid, 'SIGCONT')
})

test('pulse: AFTER stop the process ends by itself, with a server and without one', async (t) => {
  const server = await serverOf(t)
  const processes = new Processes(t)
  const run = async () => {
    const child = await processes.startModule(new URL('./pulsing.js', import.meta.url), server.url, 'stop')
    const code = await child.exited()
    return [code, child.output.split('\n').slice(1), child.errors]
  }
  t.deepEqual(await run(), [0, ['stopped', ''], ''])
  await server.kill()
  t.deepEqual(await run(), [0, ['stopped', ''], ''])
})
