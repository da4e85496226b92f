/**
 * One run: a cluster and the members of one group as processes, senders at full load, and the judgement of what the
 * members were given.
 *
 * First members only come and leave, as programs do that are started and stopped. Then some are also killed and some
 * stand still for longer than their session. At the end everybody goes on, and what is stored is handled.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../../actors/index.ts'
import type { Allocation } from '../../machines/allocation/index.ts'
import { Processes, type Scope, temporaryFolder } from '../support/processes.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { until } from '../support/until.ts'
import { Crew } from './crew.ts'
import { type Figures, figuresOf } from './figures.ts'
import { sharedClock } from './journal.ts'
import { type Finding, judge } from './judge.ts'
import { Load, lagsOf } from './load.ts'
import { type Zombies, zombiesOf } from './zombies.ts'

export type RebalanceSettings = {
  seed: number
  minutes: number
  /** Of these minutes, how many seconds without kills and pauses. */
  cleanSeconds: number
  brokers: number
  queues: number
  members: number
  ordered: boolean
  allocation: Allocation
  concurrency: number
  /** Messages that the queue in the middle may be behind before the senders wait. */
  lagMax: number
  /** Messages a second at most; Infinity: as many as the members handle. */
  rateMax: number
  tell(line: string): void
}

export type RebalanceReport = {
  messages: number
  handled: number
  /** Of these, before anybody was killed or stood still. */
  handledClean: number
  failedSends: number
  heldMs: number
  members: number
  joins: number
  leaves: number
  kills: number
  pauses: number
  findings: Finding[]
  /** What went wrong apart from the messages. */
  troubles: string[]
  zombies: Zombies
  clean: Figures
  faulty: Figures
  ranMs: number
}

const TOPIC = 'orders'
const GROUP = 'billing'
const DRAIN_MS = 120_000
/** A session lasts 10 to 30 seconds. Of three pauses one is shorter. */
const PAUSE_MS = [
  { least: 1_000, most: 10_000 },
  { least: 12_000, most: 30_000 },
  { least: 12_000, most: 30_000 },
]
const PAUSED_MAX = 2

export async function rebalance(scope: Scope, settings: RebalanceSettings): Promise<RebalanceReport> {
  const { brokers, queues, ordered, concurrency, seed, tell } = settings
  const { lagMax, rateMax, allocation } = settings
  const began = sharedClock()
  const dir = await temporaryFolder(scope)
  const processes = new Processes(scope)
  const cluster = await processes.start('start', '--port', '0', '--dir', dir, '--brokers', String(brokers))
  const { servers } = cluster.ready
  const client = await connect({ servers })
  scope.teardown(() => client.close())
  await client.admin().createTopic(TOPIC, { queues: queues / brokers })

  const random = seededRandom(seed)
  const shape = { servers, topic: TOPIC, group: GROUP, ordered, allocation, concurrency, dir }
  const crew = new Crew(processes, shape, random)
  await crew.join()
  const load = new Load(client, { topic: TOPIC, group: GROUP, queues, lagMax, rateMax })
  scope.teardown(() => load.abandon())

  const run = { settings, crew, random, tell }
  await disturb(run, began + settings.cleanSeconds * 1_000, clean)
  const cleanUntil = sharedClock()
  tell('from now on members are also killed, and stand still')
  await disturb(run, began + settings.minutes * 60_000, faulty)
  tell('what is under way is awaited')
  await load.stop()
  await crew.rested()
  const troubles = await drained(() => lagsOf(client, GROUP))
  const end = sharedClock()
  await crew.close()

  tell('judging')
  const { deliveries } = crew.tell()
  const { faults, changes } = crew
  const { stored } = load
  const findings = judge({ ordered, cleanUntil, stored, deliveries, faults })
  const before = changes.filter(({ at }) => at < cleanUntil)
  const after = changes.filter(({ at }) => at >= cleanUntil)
  const count = (kind: string) => changes.filter((change) => change.kind === kind).length
  return {
    ...{ messages: stored.length, handled: deliveries.length, failedSends: load.failed.length },
    handledClean: deliveries.filter(({ startedAt }) => startedAt < cleanUntil).length,
    ...{ heldMs: load.heldMs, members: crew.joined, joins: count('joined'), leaves: count('left') },
    ...{ kills: count('killed'), pauses: count('paused'), findings },
    troubles: [...troubles, ...crew.deaths],
    zombies: zombiesOf(faults, deliveries),
    clean: figuresOf(before, stored, deliveries, cleanUntil),
    faulty: figuresOf(after, stored, deliveries, end),
    ranMs: sharedClock() - began,
  }
}

type Run = {
  readonly settings: RebalanceSettings
  readonly crew: Crew
  readonly random: ReturnType<typeof seededRandom>
  tell(line: string): void
}
type Move = 'join' | 'leave' | 'kill' | 'pause'

const clean: readonly Move[] = ['join', 'leave']
const faulty: readonly Move[] = ['join', 'join', 'join', 'leave', 'leave', 'kill', 'kill', 'pause', 'pause']

/** One move after the other; sometimes the next comes before the last one has settled. */
async function disturb(run: Run, end: number, moves: readonly Move[]): Promise<void> {
  const { crew, random, settings } = run
  while (sharedClock() < end) {
    const isFew = crew.size - crew.paused < settings.members * 0.75
    const isMany = crew.size > settings.members * 1.25
    const drawn = moves[random.below(moves.length)]!
    const move = isFew ? 'join' : isMany && drawn === 'join' ? 'leave' : drawn
    if (move === 'pause' && crew.paused >= PAUSED_MAX) continue
    await doMove(run, move)
    await sleep(
      isFew ? random.below(300) : random.below(2) === 0 ? random.below(500) : 2_000 + random.below(2_000),
    )
  }
}

async function doMove({ crew, random, tell }: Run, move: Move): Promise<void> {
  switch (move) {
    case 'join':
      return tell(`${await crew.join()} joined, ${crew.size} are there`)
    case 'leave':
      return tell(`${await crew.leave()} left, ${crew.size} are there`)
    case 'kill':
      return tell(`${await crew.kill()} was killed, ${crew.size} are there`)
    case 'pause': {
      const { least, most } = PAUSE_MS[random.below(PAUSE_MS.length)]!
      const ms = least + random.below(most - least)
      return tell(`${crew.pause(ms)} stands still for ${Math.round(ms / 1_000)} s`)
    }
  }
}

/** All that is stored is handled and committed; says what is not. */
async function drained(lags: () => Promise<number[] | null>): Promise<string[]> {
  let seen: number[] | null = null
  const isSo = async () => {
    seen = await lags()
    return seen?.every((lag) => lag === 0) ?? false
  }
  try {
    await until('everything is handled and committed', isSo, DRAIN_MS)
    return []
  } catch (error) {
    return [`${(error as Error).message}; what is left, by queue: ${JSON.stringify(seen)}`]
  }
}
