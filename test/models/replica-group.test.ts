import test from 'ava'
import { transition } from 'xstate'
import { explore, printed, wander } from '../support/explore.ts'
import { seededRandom, seedOfRun } from '../support/seeded-random.ts'
import { type Configuration, type Model, ofTwo, wild, withFaults } from './configurations.ts'
import { replicaGroup } from './replica-group.ts'
import { production } from './rules.ts'
import { holdsThroughout, turn } from './throughout.ts'

for (const model of ofTwo) holdsThroughout('two replicas', model)

test.serial('replica group: three replicas keep every promise wherever chance leads', async (t) => {
  t.timeout(600_000)
  await turn()
  const seed = seedOfRun()
  t.log(`STATEMQ_SEED=${seed}`)
  for (const configuration of [wild, { ...wild, minInSync: 1 }] satisfies Configuration[]) {
    const group = replicaGroup(configuration)
    const { violation } = wander(group, seededRandom(seed), { stepsMax: 20_000, stepsPerWalk: 250 })
    t.is(violation && printed(violation), null)
  }
})

test.serial('replica group: the same seed wanders the same way', (t) => {
  const walk = () => {
    const group = replicaGroup(wild)
    return [wander(group, seededRandom(7), { stepsMax: 2_000, stepsPerWalk: 100 }), [...group.seen]]
  }
  t.deepEqual(walk(), walk())
})

test.serial("replica group: the machines do what XState's own transition() says", async (t) => {
  t.timeout(600_000)
  await turn()
  const { configuration } = withFaults.find(({ name }) => name.startsWith('a handover')) as Model
  const group = replicaGroup({ ...configuration, epochs: 2 })
  explore(group)
  const { brokerRole, controller } = group.tables
  for (const [machine, table] of [
    [production.brokerRole, brokerRole],
    [production.controller, controller],
  ] as const) {
    const edges = table.edges()
    t.true(edges.length > 100)
    for (const { state, event, move } of edges) {
      const [next, actions] = transition(machine, table.at(state) as never, event as never)
      const known = table.at(move.state)
      t.deepEqual(next.value, known.value)
      t.deepEqual(
        { ...next.context, alarm: null, position: 0 },
        { ...known.context, alarm: null, position: 0 },
      )
      const effects = actions
        .filter(({ type }) => !type.startsWith('xstate.'))
        .map(({ type, params }) => ({ type, params }))
      t.deepEqual(effects, move.effects)
    }
  }
})
