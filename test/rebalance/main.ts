/**
 * Consumer groups from the command line: processes that join, leave, are killed and stand still, at full load.
 *
 * Ends with 1 when something happened that must not.
 */
import { type Allocation, allocationFault, allocations } from '../../machines/allocation/index.ts'
import { type Phase, rebalanceSpeed } from '../sim/rebalance-speed.ts'
import { commandLine, conclude, fail, say, scope, tell } from '../support/program.ts'
import { seedOfRun } from '../support/seeded-random.ts'
import type { Figures, Times } from './figures.ts'
import type { FindingName } from './judge.ts'
import { type RebalanceReport, type RebalanceSettings, rebalance } from './run.ts'

/** Those that a member can be told by name alone. */
const known = (Object.keys(allocations) as Allocation[]).filter((name) => allocationFault(name, {}) === null)

const usage = `usage: npm run rebalance -- [options]
  --minutes M         for how long members come and go; default 1. Then everything is handled to its end
  --clean S           of it, how many seconds nobody is killed or stands still; default a third
  --seed N            who comes and goes, and when; another each time by default. Processes have a will of their own:
                      the same seed gives the same moves, not the same run
  --members N         about how many there are at a time; default 8
  --queues N          default 64
  --brokers N         default 1; each has as many queues as every other
  --allocation NAME   how queues are divided: ${known.join(', ')};
                      default sticky, with which as few move as can be
  --ordered yes|no    one message of a queue at a time; default by the seed, half of all
  --concurrency N     handlers that run at once in a member; default 64
  --lag N             messages that a queue may be behind before the senders wait; default 300
  --rate N            messages a second at most, for long runs: each is remembered; default as many as are handled
  --sim               instead: how long 1,000 members, 4,096 queues and 4 brokers take, in the simulated world;
                      --members, --queues, --brokers, --allocation and --seed count there, too
  --json              one JSON object as the last line
example: npm run rebalance -- --minutes 1 --seed 7
`

const { values, whole, number, one } = commandLine(usage, {
  minutes: '1',
  clean: null,
  seed: null,
  members: null,
  queues: null,
  brokers: null,
  allocation: 'sticky',
  ordered: null,
  concurrency: '64',
  lag: '300',
  rate: null,
  sim: false,
  json: false,
})

const sizes = values.sim
  ? { members: 1_000, queues: 4_096, brokers: 4 }
  : { members: 8, queues: 64, brokers: 1 }
const seed = whole('seed', 0, null) ?? seedOfRun()
const members = whole('members', 2, sizes.members)
const queues = whole('queues', 1, sizes.queues)
const brokers = whole('brokers', 1, sizes.brokers)
if (queues % brokers !== 0)
  fail(`--queues ${queues}: give a multiple of --brokers ${brokers}, each has as many`)
const allocation = one('allocation', known)
const minutes = number('minutes', 0)
const cleanSeconds = values.clean === null ? minutes * 20 : number('clean', 0)
const isOrdered = values.ordered === null ? seed % 2 === 0 : one('ordered', ['yes', 'no']) === 'yes'

const settings: RebalanceSettings = {
  ...{ seed, minutes, queues, brokers, members, allocation, cleanSeconds, ordered: isOrdered },
  ...{ concurrency: whole('concurrency', 1), lagMax: whole('lag', 1) },
  rateMax: whole('rate', 1, Number.POSITIVE_INFINITY),
  tell: values.json ? () => {} : tell,
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
  const summary = summaryOf(settings, await rebalance(scope, settings))
  const told = { ...summary, violations: summary.violations.slice(0, TOLD) }
  if (values.json) say(JSON.stringify(told))
  else print(summary)
  return summary.violations.length === 0
}

async function runSimulated(): Promise<boolean> {
  const report = await rebalanceSpeed({ seed, members, queues, brokers, allocation, limitMs: LIMIT_MS, tell })
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

await conclude(values.sim ? runSimulated : runLive)
