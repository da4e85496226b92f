/**
 * Consumer groups from the command line: processes that join, leave, are killed and stand still, at full load.
 *
 *   npm run rebalance -- --minutes 1 --seed 7 --json
 *
 *   --minutes M      for how long members come and go; default 1. Then everything is handled to its end
 *   --clean S        of it, how many seconds nobody is killed or stands still; default a third
 *   --seed N         who comes and goes, and when; another each time by default. Processes have a will of their own: the
 *                    same seed gives the same moves, not the same run
 *   --members N      about how many there are at a time; default 8
 *   --queues N, --brokers N    default 64 queues on 1 broker
 *   --allocation A   how queues are divided; default sticky, with which as few move as can be
 *   --ordered yes|no    one message of a queue at a time; default by the seed, half of all
 *   --concurrency N  handlers that run at once in a member; default 64
 *   --lag N          messages that a queue may be behind before the senders wait; default 300
 *   --rate N         messages a second at most, for long runs: each is remembered; default as many as are handled
 *   --sim            instead: how long 1,000 members and 4,096 queues take, in the simulated world; --members, --queues,
 *                    --brokers (default 4) and --seed count there, too
 *   --json           one object, for programs
 *
 * Ends with 1 when something happened that must not.
 */
import { parseArgs } from 'node:util'
import { type Allocation, allocations } from '../../machines/allocation/index.ts'
import { type Phase, rebalanceSpeed } from '../sim/rebalance-speed.ts'
import { scope, tearDown, tell } from '../support/program.ts'
import { seedOfRun } from '../support/seeded-random.ts'
import type { Figures, Times } from './figures.ts'
import type { FindingName } from './judge.ts'
import { type RebalanceReport, type RebalanceSettings, rebalance } from './run.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    clean: { type: 'string' },
    seed: { type: 'string' },
    members: { type: 'string' },
    queues: { type: 'string' },
    brokers: { type: 'string' },
    allocation: { type: 'string', default: 'sticky' },
    sim: { type: 'boolean', default: false },
    ordered: { type: 'string' },
    concurrency: { type: 'string', default: '64' },
    lag: { type: 'string', default: '300' },
    rate: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})

type Whole = 'seed' | 'members' | 'queues' | 'brokers' | 'concurrency' | 'lag' | 'rate'
function whole(name: Whole, least: number, usual = Number.NaN): number {
  const value = Number(values[name] ?? usual)
  if (value === usual || (Number.isInteger(value) && value >= least)) return value
  throw new RangeError(`--${name} ${values[name]}: give a whole number from ${least} on`)
}

function number(name: 'minutes' | 'clean', value: string): number {
  if (Number(value) >= 0) return Number(value)
  throw new RangeError(`--${name} ${value}: give a number from 0 on`)
}

const seed = values.seed === undefined ? seedOfRun() : whole('seed', 0)
const sizes = values.sim
  ? { members: 1_000, queues: 4_096, brokers: 4 }
  : { members: 8, queues: 64, brokers: 1 }
const members = whole('members', 2, sizes.members)
const queues = whole('queues', 1, sizes.queues)
const brokers = whole('brokers', 1, sizes.brokers)
if (queues % brokers !== 0)
  throw new RangeError(`--queues ${queues}: give a multiple of --brokers ${brokers}, each has as many`)

if (!Object.hasOwn(allocations, values.allocation))
  throw new RangeError(
    `--allocation ${values.allocation}: give one of ${Object.keys(allocations).join(', ')}`,
  )
const allocation = values.allocation as Allocation

function settingsOf(): RebalanceSettings {
  const minutes = number('minutes', values.minutes)
  if (values.ordered !== undefined && !['yes', 'no'].includes(values.ordered))
    throw new RangeError(`--ordered ${values.ordered}: give yes or no`)
  return {
    ...{ seed, minutes, queues, brokers, members, allocation },
    cleanSeconds: values.clean === undefined ? minutes * 20 : number('clean', values.clean),
    ordered: values.ordered === undefined ? seed % 2 === 0 : values.ordered === 'yes',
    ...{ concurrency: whole('concurrency', 1), lagMax: whole('lag', 1) },
    rateMax: whole('rate', 1, Number.POSITIVE_INFINITY),
    tell: values.json ? () => {} : tell,
  }
}

/** Of what is wrong, so much is shown of each kind to people, and told to programs in all. */
const SHOWN = 5
const TOLD = 50
/** No rebalance of the simulated group may take longer. */
const LIMIT_MS = 60_000

function summaryOf(
  { seed, ordered, queues, brokers, allocation }: RebalanceSettings,
  report: RebalanceReport,
) {
  const { findings, troubles, clean, faulty, ranMs, handledClean, ...counts } = report
  const count = (name: FindingName, isClean: boolean, isExplained = false) =>
    findings.filter(
      (one) => one.name === name && one.isClean === isClean && (one.cause !== null) === isExplained,
    ).length
  const partOf = (isClean: boolean) => ({
    skipped: count('skipped', isClean),
    reordered: count('reordered', isClean),
    overlaps: count('overlap', isClean),
    epochs: count('epoch', isClean),
    changed: count('changed', isClean),
  })
  const [explained, unexplained] = [count('duplicate', false, true), count('duplicate', false)]
  return {
    ...{ seed, minutes: Math.round(ranMs / 600) / 100, ordered, allocation, queues, brokers, ...counts },
    clean: { handled: handledClean, duplicates: count('duplicate', true), ...partOf(true) },
    faulty: { duplicates: explained + unexplained, explained, unexplained, ...partOf(false) },
    /** Duplicates by the event that explains them. */
    causes: causesOf(report),
    longestPauseOfAQueueMs: { clean: pausesOf(clean), faulty: pausesOf(faulty) },
    movesPerRebalance: { clean: movesOf(clean), faulty: movesOf(faulty) },
    violations: [
      ...troubles.map((what) => ({ name: 'trouble', what })),
      ...findings.filter(({ cause }) => cause === null).map(({ name, what }) => ({ name, what })),
    ],
  }
}
type Summary = ReturnType<typeof summaryOf>

function causesOf({ findings }: RebalanceReport): Record<string, number> {
  const causes: Record<string, number> = {}
  for (const { name, cause } of findings)
    if (name === 'duplicate' && cause !== null) causes[cause] = (causes[cause] ?? 0) + 1
  return causes
}

const pausesOf = ({ moved, stayed }: Figures) => ({ moved, stayed })
const movesOf = ({ rebalances }: Figures) => {
  const sum = (which: 'moved' | 'needed') => rebalances.reduce((total, one) => total + one[which], 0)
  return { rebalances: rebalances.length, moved: sum('moved'), needed: sum('needed') }
}

function print(summary: Summary): void {
  const say = (words: string) => void process.stdout.write(`${words}\n`)
  const times = ({ p50, p99, max, count, worst }: Times) =>
    `p50 ${p50} ms   p99 ${p99} ms   max ${max} ms   of ${count}; the longest: ${worst}`
  const { clean, faulty, joins, leaves, kills, pauses, longestPauseOfAQueueMs: pause } = summary
  const wrong = ({ skipped, reordered, overlaps, epochs }: Summary['clean'] | Summary['faulty']) =>
    `${skipped} skipped, ${reordered} reordered, ${overlaps} times two owners, ${epochs} old ones`
  say(
    `seed ${summary.seed}, ${summary.minutes} minutes, ${summary.ordered ? 'ordered' : 'concurrent'}, ${summary.allocation}`,
  )
  say(`  members      ${joins} joined, ${leaves} left, ${kills} were killed, ${pauses} stood still`)
  say(`  messages     ${summary.messages} acknowledged, ${summary.handled} times one was begun`)
  say(`  clean part   ${clean.duplicates} duplicates of ${clean.handled}, ${wrong(clean)}`)
  say(`  then         ${faulty.duplicates} duplicates, ${faulty.unexplained} unexplained, ${wrong(faulty)}`)
  const { woke, begun, longestMs } = summary.zombies
  say(`  woke up      ${woke}, began ${begun} messages of queues of others, for ${longestMs} ms at most`)
  for (const [cause, count] of Object.entries(summary.causes)) say(`               ${count}: ${cause}`)
  for (const [part, name] of [
    ['clean', 'clean part'],
    ['faulty', 'then      '],
  ] as const) {
    say(`  ${name}   a queue that moved stood still  ${times(pause[part].moved)}`)
    say(`  ${name}   one that did not move           ${times(pause[part].stayed)}`)
    const { rebalances, moved, needed } = summary.movesPerRebalance[part]
    say(`  ${name}   ${moved} moves in ${rebalances} rebalances, ${needed} had to be`)
  }
  for (const name of new Set(summary.violations.map((violation) => violation.name))) {
    const same = summary.violations.filter((violation) => violation.name === name)
    for (const { what } of same.slice(0, SHOWN)) say(`VIOLATION ${name}: ${what}`)
    if (same.length > SHOWN) say(`VIOLATION ${name}: ${same.length - SHOWN} more`)
  }
  const { length } = summary.violations
  say(length === 0 ? 'Nothing happened that must not.' : `${length} violations.`)
}

async function runLive(): Promise<boolean> {
  const settings = settingsOf()
  const summary = summaryOf(settings, await rebalance(scope, settings))
  const told = { ...summary, violations: summary.violations.slice(0, TOLD) }
  if (values.json) process.stdout.write(`${JSON.stringify(told)}\n`)
  else print(summary)
  return summary.violations.length === 0
}

async function runSimulated(): Promise<boolean> {
  const report = await rebalanceSpeed({ seed, members, queues, brokers, allocation, limitMs: LIMIT_MS, tell })
  const say = (words: string) => void process.stdout.write(`${words}\n`)
  if (values.json) say(JSON.stringify({ seed, members, queues, brokers, allocation, ...report }))
  else {
    say(`seed ${seed}: ${members} members, ${queues} queues on ${brokers} brokers, ${allocation}`)
    for (const phase of report.phases) say(lineOf(phase))
    for (const trouble of report.troubles) say(`TROUBLE ${trouble}`)
  }
  return report.troubles.length === 0 && report.phases.every(({ isConverged }) => isConverged)
}

function lineOf({ name, isConverged, tookMs, rounds, moved, needed, given, wallMs, ...wire }: Phase): string {
  const result = isConverged ? `balanced after ${tookMs} ms` : `NOT BALANCED after ${tookMs} ms`
  const kinds = Object.entries(wire.kinds).map(([kind, count]) => `${count} ${kind}`)
  return (
    `  ${name.padEnd(12)} ${result}, ${rounds} rounds, ${moved} queues moved, ${needed} had to, given ${given} times\n` +
    `               ${wire.messages} messages, ${(wire.bytes / 1e6).toFixed(1)} MB: ${kinds.join(', ')}; computed in ${(wallMs / 1_000).toFixed(1)} s`
  )
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(signal, () => void tearDown().finally(() => process.exit(130)))
try {
  const isWell = await (values.sim ? runSimulated() : runLive())
  process.exitCode = isWell ? 0 : 1
} finally {
  await tearDown()
}
process.exit()
