/**
 * The benchmark. It starts what it measures: a nats-server, brokers as processes of their own, and for a comparison
 * the other side on the SAME nats-server in the same run. Rounds of both sides alternate; medians and their ratio count.
 *
 * Every send is awaited on its own, `--in-flight` of them at a time; latency is from the call to its promise. The load
 * is a closed loop: it says how fast, and how long a send takes at that load, not what an open arrival rate would see.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { startNatsServer } from '../support/nats-server.ts'
import { commandLine } from '../support/program.ts'
import type { Run } from './measure.ts'
import type { Answer, SideName, Task } from './side.ts'
import type { Mode } from './sides.ts'
import { measureStart } from './single.ts'

const usage = `usage: npm run bench -- [options]
  --workload NAME     send (default), consume, latency (one send at a time), start (of an embedded cluster)
  --against NAME      also measure: jetstream (file, one replica, its client as it comes), jetstream-tuned (its client
                      without stack traces), pipe (the same bytes with no messaging in between)
  --size BYTES        of a body; default 128
  --in-flight N       sends that are awaited at a time; default 1000
  --queues N          of the topic; default 8
  --flush MODE        async (default), or sync: then async is measured too, for the ratio
  --replication MODE  none (default), sync or async: with a slave in another process; then one replica is measured
                      too, for the ratio
  --backlog N         first store N messages, then tell memory of the broker; with consume: read them from disk
  --seconds S         of each round; default 3
  --rounds N          default 3
  --transport NAME    nats (default): a nats-server; listener: the one that is built in
  --json              one JSON object as the last line
example: npm run bench -- --against jetstream --size 128 --in-flight 1000 --json
`

export type Options = {
  size: number
  inFlight: number
  queues: number
  backlog: number
  seconds: number
  rounds: number
  transport: 'nats' | 'listener'
}

const { values, whole, one } = commandLine(usage, {
  workload: 'send',
  against: null,
  size: '128',
  'in-flight': '1000',
  queues: '8',
  flush: 'async',
  replication: 'none',
  backlog: '0',
  seconds: '3',
  rounds: '3',
  transport: 'nats',
  json: false,
})
const workload = one('workload', ['send', 'consume', 'latency', 'start'])
const flush = one('flush', ['async', 'sync'])
const replication = one('replication', ['none', 'sync', 'async'])
const against = values.against === null ? [] : [one('against', ['jetstream', 'jetstream-tuned', 'pipe'])]
const options: Options = {
  size: whole('size', 1),
  inFlight: whole('in-flight', 1),
  queues: whole('queues', 1),
  backlog: whole('backlog', 0),
  seconds: whole('seconds', 1),
  rounds: whole('rounds', 1),
  transport: one('transport', ['nats', 'listener']),
}

const tell = (text: string) => process.stderr.write(text)
const number = (value: number) => Math.round(value).toLocaleString('en-US')

const result: Record<string, unknown> = { workload, flush, replication, ...options }
if (workload === 'start') Object.assign(result, await measureStart(options.rounds))
else {
  const server = await startNatsServer({ jetstream: true })
  const sides: Remote[] = []
  try {
    const names: SideName[] = [
      'statemq',
      ...(flush === 'sync' ? ['async' as const] : []),
      ...(replication === 'none' ? [] : ['alone' as const]),
      ...against,
    ]
    for (const name of names) {
      const mode: Mode = {
        flush: name === 'async' ? 'async' : flush,
        replication: name === 'alone' ? 'none' : replication,
      }
      sides.push(await startSide(name, server.url, mode))
    }
    if (workload === 'latency') Object.assign(result, await sides[0]!.carryOut('latency'))
    else await alternate(sides)
  } finally {
    for (const side of sides) await side.carryOut('close')
    await server.stop()
  }
}
if (values.json) process.stdout.write(`${JSON.stringify(result)}\n`)
else process.stdout.write(`${table(result)}\n`)
process.exit(0)

type Remote = { name: SideName; carryOut<T>(task: Task): Promise<T> }

/** Starts a side in a process of its own. */
async function startSide(name: SideName, servers: string, mode: Mode): Promise<Remote> {
  const child = fork(fileURLToPath(new URL('side.js', import.meta.url)), [
    name,
    servers,
    JSON.stringify(mode),
    JSON.stringify(options),
  ])
  process.on('exit', () => child.kill('SIGKILL'))
  await once(child, 'message')
  return {
    name,
    async carryOut<T>(task: Task) {
      child.send(task)
      const [answer] = (await once(child, 'message')) as [Answer]
      if (answer.error !== undefined) throw new Error(`${name}: ${answer.error}`)
      return answer.value as T
    },
  }
}

async function alternate(all: Remote[]): Promise<void> {
  const residentMiB = async (side: Remote) =>
    Math.round((await side.carryOut<number>('residentBytes')) / 2 ** 20)
  const runs = new Map<string, Run[]>(all.map(({ name }) => [name, []]))
  if (options.backlog > 0) {
    tell(`storing a backlog of ${number(options.backlog)} messages ... `)
    const built = await all[0]!.carryOut<{ perSecond: number }>('fill')
    result.backlogPerSecond = Math.round(built.perSecond)
    result.backlogResidentMiB = await residentMiB(all[0]!)
    tell(`${number(built.perSecond)} /s, broker ${result.backlogResidentMiB} MiB\n`)
  }
  // The first run of a side compiles its code: it is not counted.
  for (let round = 0; round <= options.rounds; round++) {
    for (const side of all) {
      const run = await side.carryOut<Run>(workload === 'send' ? 'send' : 'consume')
      tell(
        `${round === 0 ? 'warm-up' : `round ${round}`}  ${side.name.padEnd(10)} ${number(run.perSecond)} /s\n`,
      )
      if (round > 0) runs.get(side.name)!.push(run)
    }
  }
  for (const side of all) {
    const counted = runs.get(side.name)!.sort((a, b) => a.perSecond - b.perSecond)
    result[side.name] = {
      ...counted[counted.length >> 1],
      residentMiB: await residentMiB(side),
    }
  }
  const median = (name: string) => (result[name] as Run | undefined)?.perSecond
  for (const { name } of all.slice(1)) {
    const title = name.replace(/(^|-)([a-z])/g, (_, __, letter: string) => letter.toUpperCase())
    result[`ratioTo${title}`] = Math.round((median('statemq')! / median(name)!) * 100) / 100
  }
}

function table(row: Record<string, unknown>, indent = ''): string {
  return Object.entries(row)
    .map(([name, value]) =>
      typeof value === 'object' && value !== null
        ? `${indent}${name}\n${table(value as Record<string, unknown>, `${indent}  `)}`
        : `${indent}${name.padEnd(24 - indent.length)} ${typeof value === 'number' ? value.toLocaleString('en-US') : value}`,
    )
    .join('\n')
}
