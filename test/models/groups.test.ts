import test from 'ava'
import { type AnyMachineSnapshot, transition } from 'xstate'
import { explore, printed, wander } from '../support/explore.ts'
import { seededRandom, seedOfRun } from '../support/seeded-random.ts'
import { clean, type GroupModel, overtaken, strangers, wildGroup } from './group-configurations.ts'
import { withoutCauses } from './group-coordinators.ts'
import { consumerGroup } from './group-model.ts'
import { groupRules } from './group-rules.ts'
import { withoutRounds } from './group-slots.ts'
import { turn } from './throughout.ts'

function holdsThroughout(of: string, { name, configuration, worlds, sees }: GroupModel): void {
  test.serial(`consumer group: ${of}: ${name}`, async (t) => {
    t.timeout(600_000)
    await turn()
    const group = consumerGroup(configuration)
    const { violation, ...found } = explore(group)
    t.is(violation && printed(violation), null)
    t.deepEqual(
      sees.filter((what) => !group.seen.has(what)),
      [],
    )
    t.true(found.isWhole)
    t.is(found.worlds, worlds)
  })
}

for (const model of clean) holdsThroughout('every message is handled exactly once', model)
for (const model of overtaken) holdsThroughout('a queue has one owner and loses nothing', model)

test.serial(
  'consumer group: newcomers that are first at another coordinator take nothing of whoever lives',
  async (t) => {
    t.timeout(600_000)
    await turn()
    const group = consumerGroup(strangers)
    const { violation } = explore(group, 200_000)
    t.is(violation && printed(violation), null)
    t.true(group.seen.has('a gathering'))
  },
)

test.serial('consumer group: every promise is kept wherever chance leads', async (t) => {
  t.timeout(600_000)
  await turn()
  const seed = seedOfRun()
  t.log(`STATEMQ_SEED=${seed}`)
  const { violation } = wander(consumerGroup(wildGroup), seededRandom(seed), {
    stepsMax: 10_000,
    stepsPerWalk: 300,
  })
  t.is(violation && printed(violation), null)
})

test.serial("consumer group: the machines do what XState's own transition() says", async (t) => {
  t.timeout(600_000)
  await turn()
  const { configuration } = overtaken.find(({ name }) =>
    name.startsWith('a consumer is closed'),
  ) as GroupModel
  const group = consumerGroup(configuration)
  explore(group)
  const { tables } = group
  const forgets = {
    coordinator: withoutCauses,
    rebalancer: withoutRounds,
    queueOwner: (same: unknown) => same,
  }
  for (const name of ['coordinator', 'rebalancer', 'queueOwner'] as const) {
    const forget = forgets[name] as (snapshot: AnyMachineSnapshot) => AnyMachineSnapshot
    const edges = tables[name].edges()
    t.true(edges.length > 15)
    for (const { state, event, move } of edges) {
      const [next, actions] = transition(groupRules[name], tables[name].at(state) as never, event as never)
      const known = tables[name].at(move.state)
      t.deepEqual(next.value, known.value)
      t.deepEqual(forget(next).context, known.context)
      const ordered = (list: readonly { type: string; params?: unknown }[]) =>
        list.filter(({ type }) => !type.startsWith('xstate.')).map(({ type, params }) => ({ type, params }))
      t.deepEqual(ordered(actions), ordered(move.effects))
    }
  }
})
