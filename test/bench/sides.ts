/** What is measured: StateMQ's broker in a process of its own, and JetStream on the same nats-server. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { AckPolicy, connect as connectNats, DeliverPolicy, StorageType } from 'nats'
import { connect } from '../../actors/index.ts'
import type { Options } from './main.ts'

export type Side = {
  readonly name: string
  send(body: Buffer): Promise<unknown>
  /** Stores so many messages as fast as it can. */
  fill(messages: number): Promise<{ perSecond: number }>
  /** Consumes all that is stored and acknowledges each; tells the time from the first to the last. */
  consumeAll(count: number): Promise<{ seconds: number }>
  /** Memory of the process that stores. */
  residentBytes(): number
  close(): Promise<void>
}

const cli = fileURLToPath(new URL('../../bin/statemq.js', import.meta.url))

/** Runs the command line until it says, as JSON, that it is ready. */
export async function launch(args: string[]): Promise<{ child: ChildProcess; ready: { servers: string } }> {
  const child = spawn(process.execPath, [cli, ...args, '--json'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const killAtExit = () => void child.kill('SIGKILL')
  process.on('exit', killAtExit)
  child.on('exit', () => process.off('exit', killAtExit))
  const [line] = (await once(createInterface(child.stdout!), 'line')) as [string]
  return { child, ready: JSON.parse(line) as { servers: string } }
}

export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGTERM')
  await exit
}

export const residentBytesOf = (pid: number): number => {
  const line = readFileSync(`/proc/${pid}/status`, 'utf8').match(/VmRSS:\s+(\d+) kB/)
  return Number(line?.[1] ?? 0) * 1024
}

let sides = 0

export type Mode = { flush: 'sync' | 'async'; replication: 'none' | 'sync' | 'async' }
type Launched = { child: ChildProcess; ready: { servers: string } }

/** One broker; with replication its slave too, and whoever elects, each in a process of its own. */
async function launchBroker(servers: string, data: string[], mode: Mode): Promise<Launched[]> {
  const node = (roles: string, ...args: string[]) =>
    launch(['node', '--roles', roles, '--nats', servers, ...data, ...args])
  const broker = ['--broker', 'broker-a', '--flush', mode.flush]
  if (mode.replication === 'none') return [await node('nameServer,broker', ...broker)]
  const around = await node('nameServer,controller')
  const replicas = await Promise.all(
    [0, 1].map((id) =>
      node('broker', ...broker, '--id', String(id), '--replication', mode.replication, '--replicas', '2'),
    ),
  )
  return [...replicas, around]
}

export async function stateMq(
  name: string,
  servers: string,
  mode: Mode,
  { queues, transport, size, inFlight }: Options,
): Promise<Side> {
  const dir = mkdtempSync(join(tmpdir(), 'statemq-bench-'))
  const cluster = `bench-${++sides}-${process.pid}`
  const data = ['--cluster', cluster, '--dir', dir]
  const launched =
    transport === 'listener'
      ? [await launch(['start', '--port', '0', ...data, '--flush', mode.flush])]
      : await launchBroker(servers, data, mode)
  const [{ child, ready }] = launched as [Launched]
  const client = await connect({ servers: ready.servers, cluster })
  const topic = 'bench'
  await client.admin().createTopic(topic, { queues })
  const producer = client.producer({ group: 'bench', timeoutMs: 30_000 })
  let groups = 0

  return {
    name,
    send: (body) => producer.send({ topic, body }),
    async fill(messages) {
      const body = Buffer.alloc(size, 'x')
      let left = messages
      const began = performance.now()
      const worker = async () => {
        while (left-- > 0) await producer.send({ topic, body })
      }
      await Promise.all(Array.from({ length: Math.max(inFlight, 2_000) }, worker))
      return { perSecond: (messages * 1_000) / (performance.now() - began) }
    },
    async consumeAll(count) {
      const consumer = client.consumer({ group: `bench-${++groups}`, from: 'first', concurrency: 64 })
      consumer.subscribe(topic)
      let consumed = 0
      let began = 0
      const seconds = await new Promise<number>((resolve, reject) => {
        consumer
          .run(async () => {
            if (consumed === 0) began = performance.now()
            if (++consumed === count) resolve((performance.now() - began) / 1_000)
          })
          .catch(reject)
      })
      await consumer.close()
      return { seconds }
    },
    residentBytes: () => residentBytesOf(child.pid!),
    async close() {
      await client.close()
      for (const one of launched) await stop(one.child)
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

/** `tuned`: without the stack traces that the `nats` package takes of every publish unless it is told not to. */
export async function jetStream(servers: string, tuned: boolean, { size, inFlight }: Options): Promise<Side> {
  const nc = await connectNats({ servers, noAsyncTraces: tuned })
  const manager = await nc.jetstreamManager()
  const stream = 'BENCH'
  const subject = 'bench.jetstream'
  await manager.streams.add({ name: stream, subjects: [subject], storage: StorageType.File, num_replicas: 1 })
  const js = nc.jetstream()
  let consumers = 0

  return {
    name: tuned ? 'jetstream-tuned' : 'jetstream',
    send: (body) => js.publish(subject, body),
    async fill(messages) {
      const body = Buffer.alloc(size, 'x')
      let left = messages
      const began = performance.now()
      const worker = async () => {
        while (left-- > 0) await js.publish(subject, body)
      }
      await Promise.all(Array.from({ length: inFlight }, worker))
      return { perSecond: (messages * 1_000) / (performance.now() - began) }
    },
    async consumeAll(count) {
      const name = `bench-${++consumers}`
      await manager.consumers.add(stream, {
        durable_name: name,
        ack_policy: AckPolicy.Explicit,
        deliver_policy: DeliverPolicy.All,
        max_ack_pending: 10_000,
      })
      const consumer = await js.consumers.get(stream, name)
      let consumed = 0
      let began = 0
      const messages = await consumer.consume({ max_messages: 5_000 })
      for await (const message of messages) {
        if (consumed === 0) began = performance.now()
        message.ack()
        if (++consumed === count) break
      }
      const seconds = (performance.now() - began) / 1_000
      await manager.consumers.delete(stream, name)
      return { seconds }
    },
    residentBytes: () => 0,
    close: () => nc.close(),
  }
}
