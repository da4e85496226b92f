/**
 * Chaos from the command line: real processes, real signals, a network that is cut.
 *
 * Ends with 1 when something happened that must not.
 */
import { percentile } from '../sim/failover-times.ts'
import { hasNatsServer } from '../support/nats-server.ts'
import { commandLine, conclude, fail, say, scope, tell } from '../support/program.ts'
import { seedOfRun } from '../support/seeded-random.ts'
import { type ChaosReport, type ChaosSettings, chaos } from './run.ts'

const usage = `usage: npm run chaos -- [options]
  --minutes M         for how long things go wrong; default 2
  --kills N           instead: kills N masters, and does nothing else, to measure the time of a failover
  --cuts N            instead: cuts N masters off the network, and does nothing else, to measure the time of a
                      partition; by turns in (what they send is lost), out (what is sent to them is), and both
  --seed N            what goes wrong, and when; another each time by default. Processes have a will of their own:
                      the same seed gives the same faults, not the same run
  --transport NAME    nats: a nats-server with JetStream; or listener: the one that is built in. Default nats where a
                      nats-server is found
  --brokers N         default 2
  --replicas N        of each broker; default 2
  --detect MS         silence after which a replica counts as gone; default 1000
  --json              one JSON object, and nothing else
example: npm run chaos -- --minutes 2 --seed 7
`

const { values, whole, number, one } = commandLine(usage, {
  minutes: '2',
  kills: null,
  cuts: null,
  seed: null,
  transport: hasNatsServer() ? 'nats' : 'listener',
  brokers: '2',
  replicas: '2',
  detect: '1000',
  json: false,
})

function onlyOf(): ChaosSettings['only'] {
  const [kills, cuts] = [whole('kills', 1, null), whole('cuts', 1, null)]
  if (kills !== null && cuts !== null) fail('--kills and --cuts: give one of them')
  if (kills !== null) return { fault: 'killMaster', times: kills }
  return cuts === null ? null : { fault: 'cutMaster', times: cuts }
}

const settings: ChaosSettings = {
  seed: whole('seed', 0, null) ?? seedOfRun(),
  minutes: number('minutes', 0),
  only: onlyOf(),
  home: one('transport', ['nats', 'listener']) === 'nats' ? 'jetstream' : 'listener',
  brokers: whole('brokers', 1),
  replicas: whole('replicas', 2),
  detectMs: whole('detect', 100),
  tell: values.json ? () => {} : tell,
}
if (settings.home === 'jetstream' && !hasNatsServer())
  fail('--transport nats: put a nats-server (2.9 or newer) on the PATH, or give listener')

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
  const { anomalies, failoverMs, partitionMs, cutMs, ...rest } = report
  const { logsIdentical, acknowledged, consumed, ranMs, ...counts } = rest
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
    cutMs: { in: timesOf(cutMs.in), out: timesOf(cutMs.out), both: timesOf(cutMs.both) },
    logsIdentical,
  }
}

function print(summary: ReturnType<typeof summaryOf>): void {
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
  for (const [direction, cut] of Object.entries(summary.cutMs))
    if (cut.count > 0) say(`    cut ${direction.padEnd(7)}${times(cut)}`)
  say(`  logs         ${summary.logsIdentical ? 'identical, byte by byte' : 'DIFFERENT, or not compared'}`)
  for (const name of new Set(anomalies.map((anomaly) => anomaly.name))) {
    const same = anomalies.filter((anomaly) => anomaly.name === name)
    for (const { what } of same.slice(0, SHOWN)) say(`ANOMALY ${name}: ${what}`)
    if (same.length > SHOWN) say(`ANOMALY ${name}: ${same.length - SHOWN} more`)
  }
  say(anomalies.length === 0 ? 'Nothing happened that must not.' : `${anomalies.length} anomalies.`)
}

await conclude(async () => {
  const summary = summaryOf(settings, await chaos(scope, settings))
  if (values.json) say(JSON.stringify({ ...summary, anomalies: summary.anomalies.slice(0, TOLD) }))
  else print(summary)
  return summary.anomalies.length === 0
})
