import test from 'ava'
import { explore, type Violation, wander } from '../support/explore.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { harmless, type Mutant, mutants, trusted } from './mutants.ts'
import { replicaGroup } from './replica-group.ts'
import { production } from './rules.ts'
import { turn } from './throughout.ts'

function harmOf({ rules, configuration, walk }: Mutant, worldsMax?: number): Violation | null {
  const group = replicaGroup(configuration, { ...production, ...rules })
  const found = walk ? wander(group, seededRandom(walk.seed), walk) : explore(group, worldsMax)
  return found.violation
}

for (const mutant of [...mutants, trusted]) {
  test.serial(`mutant: ${mutant.name}`, async (t) => {
    t.timeout(600_000)
    await turn()
    t.is(harmOf(mutant)?.property, mutant.breaks)
    if (mutant.walk) t.log(`seed ${mutant.walk.seed}`)
  })
}

for (const mutant of harmless) {
  test.serial(`mutant without harm: ${mutant.name}`, async (t) => {
    t.timeout(600_000)
    await turn()
    t.is(harmOf(mutant), null)
  })
}

test.serial('mutant: without a fault, none of these models breaks anything as soon', async (t) => {
  t.timeout(600_000)
  for (const mutant of mutants) {
    await turn()
    t.is(harmOf({ ...mutant, rules: {} }, 12_000), null, mutant.name)
  }
})
