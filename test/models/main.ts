/** Explores one configuration of a broker group or of a consumer group, as large as you have patience for. */
import process from 'node:process'
import { allocations } from '../../machines/allocation/index.ts'
import { explore, printed, wander } from '../support/explore.ts'
import { commandLine, fail, say } from '../support/program.ts'
import { seededRandom } from '../support/seeded-random.ts'
import type { Configuration } from './configurations.ts'
import type { GroupConfiguration } from './group-configurations.ts'
import { consumerGroup } from './group-model.ts'
import { replicaGroup } from './replica-group.ts'

const usage = `usage: npm run model -- [options]
How large, of a broker group (default 2 replicas, 1 in sync, 1 send, 2 epochs; nothing goes wrong):
  --replicas N, --min-in-sync N, --sends N, --epochs N, --starts-empty
  so often: --crashes N, --losses N (of power), --proposals N, --silences N, --handovers N, --retentions N, --rollbacks N,
            --wipes N, --unclean N
  allowed:  --late-heads, --late-answers, --late-messages, --stale-votes, --has-gaps
Of a consumer group (default 2 members, 2 queues):
  --group             a consumer group, with
  --members N, --queues N, --brokers N, --messages N, --allocation NAME (averagely)
  so often: --joins N, --closes N, --crashes N, --pauses N, --losses N (of messages), --delays N, --forces N,
            --expiries N, --resets N, --doubts N (whether an owner is gone), --coordinator-crashes N,
            --broker-crashes N
  allowed:  --takes-over, --is-hasty; --is-clean: nothing that entitles anybody to read a message twice
Of both:
  --worlds N          gives up after so many; default 20,000,000
  --seed N            wanders by chance in place of going through all worlds,
  --steps N           so many steps; default 1,000,000
  --depth N           so many in a walk; default 200
examples: npm run model -- --replicas 3 --sends 1 --epochs 3
          npm run model -- --group --members 2 --queues 2 --messages 1 --crashes 1
What each means: test/models/configurations.ts, group-configurations.ts. Ends with 1 when a property is broken.
`

/** What an option takes: a whole number from this one on, one of these names, or nothing. */
type Kind = number | readonly string[] | false
type Kinds<C> = { readonly [N in keyof C]-?: Exclude<C[N], undefined> extends boolean ? false : Kind }
const ofBrokers: Kinds<Configuration> = {
  ...{ replicas: 1, minInSync: 1, sends: 0, epochs: 1, startsEmpty: false },
  ...{ crashes: 0, losses: 0, proposals: 0, silences: 0, handovers: 0, retentions: 0, rollbacks: 0 },
  ...{ wipes: 0, unclean: 0 },
  ...{ lateHeads: false, lateAnswers: false, lateMessages: false, staleVotes: false, hasGaps: false },
}
const ofConsumers: Kinds<GroupConfiguration> = {
  ...{ members: 1, queues: 1, brokers: 1, messages: 0, allocation: Object.keys(allocations) },
  ...{ joins: 0, closes: 0, crashes: 0, pauses: 0, losses: 0, delays: 0, forces: 0, expiries: 0 },
  ...{ resets: 0, doubts: 0, coordinatorCrashes: 0, brokerCrashes: 0 },
  ...{ takesOver: false, isHasty: false, isClean: false },
}

const optionOf = (name: string) => name.replace(/[A-Z]/g, '-$&').toLowerCase()
const options = Object.entries<Kind>({ ...ofBrokers, ...ofConsumers }).map(
  ([name, kind]) => [optionOf(name), kind === false ? false : null] as const,
)
const { values, whole, one } = commandLine<Record<string, string | null | false>>(usage, {
  ...{ ...Object.fromEntries(options), group: false },
  ...{ seed: null, steps: '1_000_000', depth: '200', worlds: '20_000_000' },
})

/** The part of a configuration that was given. */
function givenOf(kinds: Readonly<Record<string, Kind>>): Record<string, unknown> {
  const taken = (option: string, kind: Kind) => {
    if (kind === false) return true
    return typeof kind === 'number' ? whole(option, kind) : one(option, kind)
  }
  const known = Object.entries(kinds).map(([name, kind]) => ({ name, option: optionOf(name), kind }))
  const alien = options.find(([option]) => values[option] && !known.some((one) => one.option === option))
  if (alien) fail(`--${alien[0]}: a ${values.group ? 'consumer' : 'broker'} group has no such thing`)
  return Object.fromEntries(
    known.flatMap(({ name, option, kind }) => (values[option] ? [[name, taken(option, kind)]] : [])),
  )
}

function systemOf() {
  if (values.group) {
    const configuration = { members: 2, queues: 2, ...givenOf(ofConsumers) } as GroupConfiguration
    return { configuration, group: consumerGroup(configuration) }
  }
  const usual = { replicas: 2, minInSync: 1, sends: 1, epochs: 2 }
  const configuration = { ...usual, ...givenOf(ofBrokers) } as Configuration
  return { configuration, group: replicaGroup(configuration) }
}

const seed = whole('seed', 0, null)
const [steps, depth, worlds] = [whole('steps', 1), whole('depth', 1), whole('worlds', 1)]
const { configuration, group } = systemOf()
const startedAt = process.cpuUsage().user
const { violation, ...figures } =
  seed === null
    ? explore(group, worlds)
    : wander(group, seededRandom(seed), { stepsMax: steps, stepsPerWalk: depth })
const seconds = (process.cpuUsage().user - startedAt) / 1_000_000
say(JSON.stringify(configuration))
say(`${JSON.stringify(figures)} in ${seconds.toFixed(1)} s of a processor`)
say(`seen: ${[...group.seen].join('; ')}`)
if (violation) {
  say(`BROKEN: ${printed(violation)}`)
  process.exitCode = 1
}
