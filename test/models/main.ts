/**
 * Explores one configuration: `npm run model -- replicas=3 sends=1 epochs=3 crashes=1 [seed=7 steps=1000000 depth=200]`, or of
 * a consumer group: `npm run model -- group members=3 queues=3 messages=1 crashes=1`.
 */
import process from 'node:process'
import { explore, printed, wander } from '../support/explore.ts'
import { seededRandom } from '../support/seeded-random.ts'
import type { Configuration } from './configurations.ts'
import type { GroupConfiguration } from './group-configurations.ts'
import { consumerGroup } from './group-model.ts'
import { replicaGroup } from './replica-group.ts'

const given: Record<string, number> = Object.fromEntries(
  process.argv.slice(2).map((word) => {
    const [name, value] = word.split('=')
    return [name, Number(value ?? 1)]
  }),
)
const { seed, steps = 1_000_000, depth = 200, worlds = 20_000_000, group: isGroup, ...rest } = given
const configuration = isGroup
  ? ({ members: 2, queues: 2, ...rest } as GroupConfiguration)
  : ({ replicas: 2, minInSync: 1, sends: 1, epochs: 2, ...rest } as Configuration)

const group =
  'members' in configuration ? consumerGroup(configuration) : replicaGroup(configuration as Configuration)
const startedAt = process.cpuUsage().user
const { violation, ...figures } =
  seed === undefined
    ? explore(group, worlds)
    : wander(group, seededRandom(seed), { stepsMax: steps, stepsPerWalk: depth })
const seconds = (process.cpuUsage().user - startedAt) / 1_000_000
process.stdout.write(
  `${JSON.stringify(configuration)}\n${JSON.stringify(figures)} in ${seconds.toFixed(1)} s of a processor\n`,
)
process.stdout.write(`seen: ${[...group.seen].join('; ')}\n`)
if (violation) {
  process.stdout.write(`BROKEN: ${printed(violation)}\n`)
  process.exitCode = 1
}
