import test from 'ava'
import { explore, type Violation } from '../support/explore.ts'
import { consumerGroup } from './group-model.ts'
import { type GroupMutant, groupMutants, harmlessInGroups } from './group-mutants.ts'
import { groupRules } from './group-rules.ts'
import { turn } from './throughout.ts'

const harmOf = ({ rules, configuration }: GroupMutant, worldsMax?: number): Violation | null =>
  explore(consumerGroup(configuration, { ...groupRules, ...rules }), worldsMax).violation

for (const mutant of groupMutants) {
  test.serial(`mutant: ${mutant.name}`, async (t) => {
    t.timeout(600_000)
    await turn()
    t.is(harmOf(mutant)?.property, mutant.breaks)
  })
}

for (const mutant of harmlessInGroups) {
  test.serial(`mutant without harm: ${mutant.name}`, async (t) => {
    t.timeout(600_000)
    await turn()
    t.is(harmOf(mutant), null)
  })
}

test.serial('mutant: without a fault, none of these models breaks anything as soon', async (t) => {
  t.timeout(600_000)
  const models = new Map(groupMutants.map((mutant) => [JSON.stringify(mutant.configuration), mutant]))
  for (const mutant of models.values()) {
    await turn()
    t.is(harmOf({ ...mutant, rules: {} }, 12_000), null, mutant.name)
  }
})
