/** The homes of the register, each in a place of its own, behind one face. */
import type { ExecutionContext } from 'ava'
import { type RegisterServer, serveRegister } from '../../actors/node/register-server.ts'
import { SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import type { Log } from '../../actors/node/world.ts'
import type { Json } from '../../machines/effect.ts'
import { fail, type Outcome } from '../../transport/failures.ts'
import { createHub, type MemoryTransport } from '../../transport/memory.ts'
import type { Held, Register, RegisterTimes, SwapOutcome } from '../../transport/register.ts'
import { openJetStreamRegister } from '../../transport/register-jetstream.ts'
import { createRegisterHub } from '../../transport/register-memory.ts'
import { servedRegister } from '../../transport/register-served.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import type { Transport } from '../../transport/transport.ts'
import { startNatsServer } from './nats-server.ts'
import { Processes, temporaryFolder } from './processes.ts'
import { seededRandom } from './seeded-random.ts'
import { clock, close, connectTo, notedLog, random, reaches } from './transports.ts'

export const subjects = subjectsOf('test')

/** Generous: no answer is late because the machine is slow. What is lost on order is told at once. */
const TIMES: RegisterTimes = { readTimeoutMs: 60_000, swapTimeoutMs: 60_000, pollMs: 50 }
/** Longer than any test: who hears something all the same was told. */
export const NEVER_MS = 3_600_000

export const read = (register: Register, key: string) =>
  new Promise<Outcome<Held | null>>((resolve) => register.read(key, resolve))

/** What is there; throws when it cannot be read. */
export async function held(register: Register, key: string): Promise<Held | null> {
  const outcome = await read(register, key)
  if (!outcome.ok) throw new Error(outcome.failure.message)
  return outcome.value
}

export const swap = (register: Register, key: string, expected: number, value: Json) =>
  new Promise<SwapOutcome>((resolve) => register.swap(key, expected, value, resolve))

/** The same swap again until its outcome is definite. */
export async function swapSurely(
  register: Register,
  key: string,
  expected: number,
  value: Json,
): Promise<SwapOutcome> {
  for (;;) {
    const outcome = await swap(register, key, expected, value)
    if (outcome.result !== 'unknown') return outcome
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** What the network of one member loses; changed by the test at any time. */
export type Losses = { orders: boolean; answers: boolean; pushes: boolean }

export type Member = { readonly register: Register; readonly losses: Losses }

export interface RegisterStation {
  connect(times?: Partial<RegisterTimes>): Promise<Member>
  /** What keeps the register ends without a warning; members lose their connection. */
  kill(): Promise<void>
  /** Comes back with what was kept; members are connected again AFTER it. */
  restart(): Promise<void>
}

export type RegisterHome = {
  readonly name: string
  /** Whether what keeps the register can be killed. */
  readonly isMortal: boolean
  start(t: ExecutionContext): Promise<RegisterStation>
}

export const homes: readonly RegisterHome[] = [
  { name: 'memory', isMortal: false, start: startMemory },
  { name: 'served over memory', isMortal: true, start: startServed },
  { name: 'served by a process over its listener', isMortal: true, start: startServedByProcess },
  { name: 'jetstream', isMortal: true, start: startJetStream },
]

const noLosses = (): Losses => ({ orders: false, answers: false, pushes: false })

async function startMemory(): Promise<RegisterStation> {
  const members: Losses[] = []
  const hub = createRegisterHub({
    clock,
    log: notedLog(),
    route({ member, leg }, carry) {
      const { orders, answers, pushes } = members[Number(member)]!
      if (!{ order: orders, answer: answers, push: pushes }[leg]) carry()
    },
  })
  return {
    async connect(times) {
      const losses = noLosses()
      members.push(losses)
      const member = String(members.length - 1)
      const connect = (timeoutMs: number) =>
        hub.connect(member, { ...TIMES, ...times, readTimeoutMs: timeoutMs, swapTimeoutMs: timeoutMs })
      // Only a timer tells of what is lost here: it is short for those that lose something just now.
      const [patient, hasty, watching] = [connect(60_000), connect(20), connect(1_000)]
      const now = () => (losses.orders || losses.answers ? hasty : patient)
      return {
        losses,
        register: {
          read: (key, done) => now().read(key, done),
          swap: (key, expected, value, done) => now().swap(key, expected, value, done),
          watch: watching.watch,
          close() {
            for (const one of [patient, hasty, watching]) one.close()
          },
        },
      }
    },
    kill: async () => {},
    restart: async () => {},
  }
}

/** A simulated disk that loses with the power what was not synced. */
async function startServed(): Promise<RegisterStation> {
  const hub = createHub({ clock, random, log: notedLog() })
  const disk = new SimulatedDisk({ clock, random: seededRandom(1), latencyMs: () => 1 })
  const members: MemoryTransport[] = []
  let server = hub.connect()
  const serve = () => tryServe(server, disk.mount())
  await serve()
  return {
    async connect(times) {
      const transport = hub.connect()
      members.push(transport)
      return memberOver(transport, times)
    },
    async kill() {
      disk.crash({ losesUnsynced: true })
      for (const transport of [server, ...members]) transport.sever()
    },
    async restart() {
      server = hub.connect()
      await serve()
      for (const transport of members) transport.mend()
    },
  }
}

export async function tryServe(
  transport: Transport,
  disk: Parameters<typeof serveRegister>[0]['disk'],
  folder = '/register',
  log: Log = notedLog(),
): Promise<RegisterServer> {
  const outcome = await new Promise<Outcome<RegisterServer>>((resolve) =>
    serveRegister({ clock, disk, transport, log }, subjects, folder, resolve),
  )
  if (!outcome.ok) throw new Error(outcome.failure.message)
  return outcome.value
}

const node = new URL('./register-node.js', import.meta.url)

async function startServedByProcess(t: ExecutionContext): Promise<RegisterStation> {
  const folder = await temporaryFolder(t)
  const processes = new Processes(t)
  let running = await processes.startModule(node, folder, '0')
  const { servers } = running.ready
  const members = natsMembers(t, servers)
  return {
    connect: async (times) => memberOver(await members.connect(), times),
    kill: () => running.kill(),
    async restart() {
      running = await processes.startModule(node, folder, new URL(servers).port)
      await members.back()
    },
  }
}

async function startJetStream(t: ExecutionContext): Promise<RegisterStation> {
  const server = await startNatsServer({ jetstream: true })
  t.teardown(server.stop)
  const members = natsMembers(t, server.url)
  return {
    async connect(times) {
      const losses = noLosses()
      const transport = losing(await members.connect(), losses)
      return { losses, register: await openJetStream(transport, times) }
    },
    kill: server.kill,
    async restart() {
      await server.restart()
      await members.back()
    },
  }
}

export async function openJetStream(
  transport: Transport,
  times: Partial<RegisterTimes> = {},
  replicas = 1,
  log: Log = notedLog(),
): Promise<Register> {
  const outcome = await tryOpenJetStream(transport, times, replicas, log)
  if (!outcome.ok) throw new Error(outcome.failure.message)
  return outcome.value
}

export const tryOpenJetStream = (
  transport: Transport,
  times: Partial<RegisterTimes> = {},
  replicas = 1,
  log: Log = notedLog(),
) =>
  new Promise<Outcome<Register>>((resolve) =>
    openJetStreamRegister(
      { transport, subjects, clock, log, replicas, times: { ...TIMES, ...times } },
      resolve,
    ),
  )

function natsMembers(t: ExecutionContext, url: string) {
  const transports: Transport[] = []
  t.teardown(() => Promise.all(transports.map(close)))
  return {
    async connect() {
      const transport = await connectTo(url)
      transports.push(transport)
      return transport
    },
    back: () => Promise.all(transports.map((transport) => reaches(transport, 'connected'))),
  }
}

function memberOver(transport: Transport, times: Partial<RegisterTimes> = {}): Member {
  const losses = noLosses()
  return {
    losses,
    register: servedRegister(losing(transport, losses), subjects, clock, { ...TIMES, ...times }),
  }
}

/** A transport that loses on order: requests, their answers, or pushes of the register. */
export function losing(transport: Transport, losses: Losses): Transport {
  const lost = (subject: string) => fail('timedOut', `'${subject}' was lost on order`, true)
  return {
    get maxPayload() {
      return transport.maxPayload
    },
    get state() {
      return transport.state
    },
    get server() {
      return transport.server
    },
    publish: (...given) => transport.publish(...given),
    subscribe: (subject, hear, queue) =>
      transport.subscribe(
        subject,
        (...given) => {
          if (!losses.pushes) hear(...given)
        },
        queue,
      ),
    request(subject, payload, timeoutMs, answer, headers) {
      if (losses.orders) return clock.defer(() => answer(lost(subject)))
      const isLost = losses.answers
      const answered = (outcome: Outcome<Buffer>) => answer(isLost ? lost(subject) : outcome)
      transport.request(subject, payload, timeoutMs, answered, headers)
    },
    flush: (done) => transport.flush(done),
    onState: (hear) => transport.onState(hear),
    close: (done) => transport.close(done),
  }
}
