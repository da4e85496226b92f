/**
 * Chaos from the command line: real processes, real signals, a network that is cut.
 *
 *   npm run chaos -- --minutes 2 --seed 7 --json
 *
 *   --minutes M      for how long things go wrong; default 2
 *   --kills N        instead: kills masters until so many are killed, to measure the time of a failover
 *   --seed N         what goes wrong, and when; another each time by default. Processes have a will of their own: the
 *                    same seed gives the same faults, not the same run
 *   --transport T    listener, or nats with JetStream; default nats where a nats-server is found
 *   --brokers N, --replicas N    default 2 and 2
 *   --detect MS      silence after which a replica counts as gone; default 1,000
 *   --json           one object, for programs
 *
 * Ends with 1 when something happened that must not.
 */
import { parseArgs } from 'node:util'
import { percentile } from '../sim/failover-times.ts'
import { hasNatsServer } from '../support/nats-server.ts'
import { scope, tearDown, tell } from '../support/program.ts'
import { seedOfRun } from '../support/seeded-random.ts'
import { type ChaosReport, type ChaosSettings, chaos } from './run.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '2' },
    kills: { type: 'string' },
    seed: { type: 'string' },
    transport: { type: 'string', default: hasNatsServer() ? 'nats' : 'listener' },
    brokers: { type: 'string', default: '2' },
    replicas: { type: 'string', default: '2' },
    detect: { type: 'string', default: '1000' },
    json: { type: 'boolean', default: false },
  },
})

function whole(name: 'kills' | 'seed' | 'brokers' | 'replicas' | 'detect', least: number): number {
  const value = Number(values[name])
  if (Number.isInteger(value) && value >= least) return value
  throw new RangeError(`--${name} ${values[name]}: give a whole number from ${least} on`)
}

/** Of what is wrong, so much is shown of each kind to people, and told to programs in all. */
const SHOWN = 5
const TOLD = 50

type Times = { p50: number; p99: number; max: number; count: number }
const timesOf = (ms: readonly number[]): Times => {
  const [p50, p99, max] = [0.5, 0.99, 1].map((share) => Math.round(percentile(ms, share))) as [
    number,
    number,
    number,
  ]
  return { p50, p99, max, count: ms.length }
}

function summaryOf(settings: ChaosSettings, report: ChaosReport) {
  const { anomalies, failoverMs, partitionMs, logsIdentical, acknowledged, consumed, ranMs, ...counts } =
    report
  const count = (...names: string[]) => anomalies.filter(({ name }) => names.includes(name)).length
  return {
    seed: settings.seed,
    minutes: Math.round(ranMs / 600) / 100,
    transport: settings.home === 'listener' ? 'listener' : 'nats',
    ...counts,
    acknowledged,
    consumed,
    lost: count('lost', 'never handled'),
    duplicates: count('duplicate', 'delivered again'),
    reordered: count('reordered', 'not in order'),
    skipped: count('skipped', 'gap in the log'),
    anomalies,
    failoverMs: timesOf(failoverMs),
    partitionMs: timesOf(partitionMs),
    logsIdentical,
  }
}

function print(summary: ReturnType<typeof summaryOf>): void {
  const say = (words: string) => void process.stdout.write(`${words}\n`)
  const times = ({ p50, p99, max, count }: Times) =>
    count === 0 ? 'none' : `p50 ${p50} ms   p99 ${p99} ms   max ${max} ms   of ${count}`
  const { kills, stops, cuts, handovers, restarts, acknowledged, consumed } = summary
  const { lost, duplicates, reordered, skipped, anomalies } = summary
  say(`seed ${summary.seed}, ${summary.minutes} minutes over ${summary.transport}`)
  say(
    `  done to it   ${kills} kills, ${stops} stops, ${cuts} cuts, ${handovers} handovers, ${restarts} controllers`,
  )
  say(`  messages     ${acknowledged} acknowledged, ${consumed} consumed`)
  say(`  wrong        ${lost} lost, ${duplicates} duplicates, ${reordered} reordered, ${skipped} skipped`)
  say(
    `  failover     ${times(summary.failoverMs)}   (from the kill of a master to the next acknowledged message)`,
  )
  say(`  partition    ${times(summary.partitionMs)}   (a master that stands still or is cut off)`)
  say(`  logs         ${summary.logsIdentical ? 'identical, byte by byte' : 'DIFFERENT, or not compared'}`)
  for (const name of new Set(anomalies.map((anomaly) => anomaly.name))) {
    const same = anomalies.filter((anomaly) => anomaly.name === name)
    for (const { what } of same.slice(0, SHOWN)) say(`ANOMALY ${name}: ${what}`)
    if (same.length > SHOWN) say(`ANOMALY ${name}: ${same.length - SHOWN} more`)
  }
  say(anomalies.length === 0 ? 'Nothing happened that must not.' : `${anomalies.length} anomalies.`)
}

if (!['nats', 'listener'].includes(values.transport))
  throw new RangeError(`--transport ${values.transport}: give nats or listener`)
const settings: ChaosSettings = {
  seed: values.seed === undefined ? seedOfRun() : whole('seed', 0),
  minutes: Number(values.minutes),
  kills: values.kills === undefined ? null : whole('kills', 1),
  home: values.transport === 'nats' ? 'jetstream' : 'listener',
  brokers: whole('brokers', 1),
  replicas: whole('replicas', 2),
  detectMs: whole('detect', 100),
  tell: values.json ? () => {} : tell,
}
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void tearDown().finally(() => process.exit(130)))
try {
  const summary = summaryOf(settings, await chaos(scope, settings))
  if (values.json)
    process.stdout.write(`${JSON.stringify({ ...summary, anomalies: summary.anomalies.slice(0, TOLD) })}\n`)
  else print(summary)
  process.exitCode = summary.anomalies.length === 0 ? 0 : 1
} finally {
  await tearDown()
}
process.exit()
