/** The live run in small, with real processes; `npm run rebalance` is the long one. */
import test from 'ava'
import { seedOfRun } from '../support/seeded-random.ts'
import { type RebalanceSettings, rebalance } from './run.ts'

test('group: while processes only join and leave at full load, nothing is given twice or skipped', async (t) => {
  const seed = seedOfRun()
  const settings: RebalanceSettings = {
    ...{ seed, minutes: 0.08, cleanSeconds: 5, brokers: 2, queues: 8, members: 3 },
    ...{
      ordered: seed % 2 === 0,
      allocation: 'averagely',
      concurrency: 16,
      lagMax: 300,
      rateMax: 20_000,
      tell: () => {},
    },
  }
  const report = await rebalance(t, settings)
  const replay = `npm run rebalance -- --seed ${seed} --minutes 0.1 --clean 6 --members 3 --queues 8 --brokers 2`
  t.deepEqual(report.findings.slice(0, 5), [], replay)
  t.deepEqual(report.troubles, [], replay)
  t.true(report.messages > 0 && report.handled === report.messages, replay)
})
