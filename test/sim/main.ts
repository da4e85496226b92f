/**
 * Simulates from the command line: one seed, told line by line, or new ones for as long as is wished.
 *
 * Ends with 1 when something happened that must not.
 */
import { commandLine, fail, say as print } from '../support/program.ts'
import { type Failover, percentile } from './failover-times.ts'
import { isReplicated } from './schedule.ts'
import { type Result, simulate } from './simulate.ts'
import type { TraceLine } from './world.ts'

const usage = `usage: npm run sim -- [options]
  --seed N            replays one seed and prints what happened
  --about TEXT        with --seed: prints also what the history has of it, a queue say
  --minutes M         without --seed: tries new seeds for so long; default 1
  --from N            the seed to begin with; another each time by default
  --replicated        leaves out those without replicated brokers
example: npm run sim -- --seed 7 --about orders/broker-a/0
`

const { values, whole, number } = commandLine(usage, {
  seed: null,
  about: null,
  minutes: '1',
  from: null,
  replicated: false,
})
const seed = whole('seed', 0, null)
const from = whole('from', 0, Date.now() % 2 ** 31)
const minutes = number('minutes', 0)
if (seed === null && values.about !== null) fail('--about: give a --seed, too')

const printLine = ({ at, who, what }: TraceLine) =>
  print(`${(at / 1_000).toFixed(3).padStart(9)} s  ${who.padEnd(16)} ${what}`)

const isGood = ({ faults, anomalies }: Result): boolean => faults.length + anomalies.length === 0

function summary({ seed, faults, anomalies, counts, ranMs, hash }: Result): string {
  const { sent, stored, failed, delivered } = counts
  const found = [
    ...new Set([...faults.map((fault) => fault.split('\n')[0]!), ...anomalies.map(({ name }) => name)]),
  ]
  const told = `${sent} sent, ${stored} stored, ${failed} failed, ${delivered} delivered in ${Math.round(ranMs / 1_000)} s`
  return `seed ${seed}  ${hash}  ${told}${found.length === 0 ? '' : `\n    ${found.join('\n    ')}`}`
}

/** The trace with all events of the history that have these words in them. */
function printHistory({ trace, history }: Result, words: string): void {
  const events = history.flatMap(({ at, type, ...event }) => {
    const what = JSON.stringify(event)
    return what.includes(words) && type !== 'log.read' ? { at, who: type, what } : []
  })
  for (const line of [...trace, ...events].sort((a, b) => a.at - b.at)) printLine(line)
}

function printAll(result: Result): void {
  for (const fault of result.faults) print(`FAULT    ${fault}`)
  for (const { at, name, what } of result.anomalies.slice(0, 50))
    printLine({ at, who: 'ANOMALY', what: `${name}: ${what}` })
  if (result.anomalies.length > 50) print(`… and ${result.anomalies.length - 50} more anomalies`)
  print(summary(result))
}

/** How long brokers were without a master, by the simulated clock. */
type Seen = Failover & { seed: number }
function printFailovers(failovers: readonly Seen[]): void {
  const row = (what: string, some: readonly Seen[]) => {
    if (some.length === 0) return print(`    ${what.padEnd(30)} none`)
    const ms = some.map((failover) => failover.ms)
    const [p50, p99, max] = [0.5, 0.99, 1].map((share) => Math.round(percentile(ms, share)))
    const longest = some.find((failover) => Math.round(failover.ms) === max)
    const where = longest ? ` (seed ${longest.seed})` : ''
    print(`    ${what.padEnd(30)} p50 ${p50} ms   p99 ${p99} ms   max ${max} ms${where}   of ${some.length}`)
  }
  if (failovers.length === 0) return
  print('from the kill of a master to the next acknowledged message')
  row(
    'a process that ends',
    failovers.filter(({ isClean, isSeen }) => isClean && isSeen),
  )
  row(
    'a machine that vanishes',
    failovers.filter(({ isClean, isSeen }) => isClean && !isSeen),
  )
  row(
    'while more is wrong',
    failovers.filter(({ isClean }) => !isClean),
  )
}

if (seed !== null) {
  const result = await simulate(seed, values.about === null ? printLine : undefined)
  if (values.about !== null) printHistory(result, values.about)
  printAll(result)
  printFailovers(result.failovers.map((failover) => ({ ...failover, seed: result.seed })))
  process.exitCode = isGood(result) ? 0 : 1
} else {
  const until = performance.now() + minutes * 60_000
  let tried = 0
  let failed = 0
  const failovers: Seen[] = []
  for (let seed = from; performance.now() < until; seed++) {
    if (values.replicated && !isReplicated(seed)) continue
    tried++
    const result = await simulate(seed)
    failovers.push(...result.failovers.map((failover) => ({ ...failover, seed })))
    if (isGood(result)) continue
    failed++
    print(summary(result))
    print(`    npm run sim -- --seed ${result.seed}`)
  }
  printFailovers(failovers)
  print(`${tried} ${tried === 1 ? 'seed' : 'seeds'} from ${from}, ${failed} failed`)
  process.exitCode = failed > 0 ? 1 : 0
}
