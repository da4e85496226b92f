/**
 * The whole cluster on a bad network, on bad disks, with processes that crash and pause: seeds that are always the
 * same, those that once failed, and some new ones.
 */
import test, { type ExecutionContext } from 'ava'
import { seedOfRun } from '../support/seeded-random.ts'
import { everyMove, isReplicated, type Move } from './schedule.ts'
import { replicatedSeeds, seeds } from './seeds.ts'
import { type Result, simulate } from './simulate.ts'

const FIXED = 30
const NEW = 4
/** For a machine that has other work to do. */
const LIMIT_MS = 600_000

function firstSeedsOfSingleBrokers(): number[] {
  const seeds: number[] = []
  for (let seed = 1; seeds.length < FIXED; seed++) if (!isReplicated(seed)) seeds.push(seed)
  return seeds
}

function isGood(t: ExecutionContext, { seed, faults, anomalies, counts }: Result): void {
  const found = [...faults, ...anomalies.map(({ name, what }) => `${name}: ${what}`)]
  t.deepEqual(found.slice(0, 10), [], `replay with: npm run sim -- --seed ${seed}`)
  t.true(counts.stored > 0 && counts.delivered > 0, `replay with: npm run sim -- --seed ${seed}`)
}

test.serial('simulation: the same seed gives the same run', async (t) => {
  t.timeout(LIMIT_MS)
  const [first, second] = [await simulate(1), await simulate(1)]
  t.is(first.hash, second.hash)
  t.deepEqual(first.trace, second.trace)
  t.not((await simulate(3)).hash, first.hash)
})

test.serial('simulation: the same seed gives the same run of replicas', async (t) => {
  t.timeout(LIMIT_MS)
  const [first, second] = [await simulate(2), await simulate(2)]
  t.is(first.hash, second.hash)
  t.deepEqual(first.trace, second.trace)
})

test.serial(
  'cluster: no message is lost, repeated or reordered, whatever fails, in seeds that stay',
  async (t) => {
    t.timeout(LIMIT_MS)
    const made = new Set<Move>()
    for (const seed of [...firstSeedsOfSingleBrokers(), ...replicatedSeeds]) {
      const result = await simulate(seed)
      isGood(t, result)
      for (const move of result.moves) made.add(move)
    }
    t.deepEqual([...made].sort(), [...everyMove].sort())
  },
)

test.serial('cluster: what once went wrong stays right', async (t) => {
  t.timeout(LIMIT_MS)
  for (const [seed] of seeds) isGood(t, await simulate(seed))
})

test.serial(
  'cluster: no message is lost, repeated or reordered, whatever fails, in seeds that nobody chose',
  async (t) => {
    t.timeout(LIMIT_MS)
    const base = seedOfRun() >>> 0
    t.log(`seeds ${base} to ${base + NEW - 1}`)
    for (let i = 0; i < NEW; i++) isGood(t, await simulate(base + i))
  },
)
