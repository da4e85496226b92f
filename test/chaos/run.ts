/**
 * One run of chaos: a cluster of processes under load, faults one after the other, and the judgement of what happened.
 *
 * The judgement is that of the simulation (history.ts): the same promises, held by real processes over a real network.
 * What cannot be judged, because the cluster did not become well again, is an anomaly too.
 */
import type { BrokerOverview, Client } from '../../actors/index.ts'
import { ClusterOfProcesses, type Home } from '../support/cluster-of-processes.ts'
import { type Anomaly, check, type HistoryEvent } from '../support/history.ts'
import { Load, Record, readLogs } from '../support/load.ts'
import type { Scope } from '../support/processes.ts'
import { seededRandom } from '../support/seeded-random.ts'
import {
  type Counts,
  doFault,
  type Fault,
  type Measured,
  nextFault,
  nothingMeasured,
  type Only,
} from './faults.ts'
import { Members } from './members.ts'
import { Probe } from './probe.ts'

export type ChaosSettings = {
  seed: number
  /** For how long, unless `only` says what is done and how often: then that counts. */
  minutes: number
  only: Only
  home: Home
  brokers: number
  replicas: number
  detectMs: number
  tell(line: string): void
}

export type ChaosReport = Counts &
  Measured & {
    acknowledged: number
    consumed: number
    anomalies: { name: string; what: string }[]
    logsIdentical: boolean
    ranMs: number
  }

const TOPIC = 'orders'
const QUEUES = 4

export async function chaos(scope: Scope, settings: ChaosSettings): Promise<ChaosReport> {
  const began = performance.now()
  const { seed, home, replicas, detectMs } = settings
  const brokers = Array.from({ length: settings.brokers }, (_, i) => `broker-${String.fromCharCode(97 + i)}`)
  const cluster = await ClusterOfProcesses.start(scope, {
    ...{ home, brokers, replicas, detectMs, seed, proxied: true },
  })
  const run = new Run(scope, settings, cluster, brokers)
  await run.start()
  const report = await run.whole()
  return { ...report, ranMs: Math.round(performance.now() - began) }
}

class Run {
  readonly #scope: Scope
  readonly #settings: ChaosSettings
  readonly #cluster: ClusterOfProcesses
  readonly #brokers: readonly string[]
  readonly #record = new Record()
  readonly #counts: Counts = { kills: 0, stops: 0, cuts: 0, handovers: 0, restarts: 0 }
  readonly #measured = nothingMeasured()
  readonly #anomalies: { name: string; what: string }[] = []
  #client!: Client
  #load!: Load
  #members!: Members
  #probes: Probe[] = []

  constructor(
    scope: Scope,
    settings: ChaosSettings,
    cluster: ClusterOfProcesses,
    brokers: readonly string[],
  ) {
    this.#scope = scope
    this.#settings = settings
    this.#cluster = cluster
    this.#brokers = brokers
  }

  async start(): Promise<void> {
    const cluster = this.#cluster
    this.#client = await cluster.client()
    await this.#client.admin().createTopic(TOPIC, { queues: QUEUES })
    for (const broker of this.#brokers) {
      this.#record.note({ type: 'group.formed', broker, replication: 'sync', maxLagBytes: 0 })
      await cluster.converged(this.#client, broker)
    }
    const random = seededRandom(this.#settings.seed + 1)
    this.#members = new Members(await cluster.client(), this.#record, TOPIC, random)
    const shape = { topic: TOPIC, senders: 4, burst: 2, pauseMs: 20 }
    this.#load = new Load(await cluster.client(), this.#record, shape)
    const probing = await cluster.client()
    this.#probes = this.#brokers.map((name) => new Probe(probing, this.#record, TOPIC, name))
    this.#scope.teardown(() => {
      this.#load.abandon()
      for (const probe of this.#probes) probe.abandon()
    })
  }

  async whole(): Promise<Omit<ChaosReport, 'ranMs'>> {
    let logsIdentical = false
    try {
      await this.#disturb()
      logsIdentical = await this.#settle()
    } catch (error) {
      this.#anomalies.push({
        name: 'not well again',
        what: error instanceof Error ? error.message : String(error),
      })
    }
    this.#settings.tell('judging')
    const found: Anomaly[] = check(this.#record.events)
    const acknowledged = this.#probes.reduce(
      (sum, probe) => sum + probe.acknowledged,
      this.#load.receipts.length,
    )
    return {
      ...{ ...this.#counts, ...this.#measured, acknowledged, consumed: this.#members.handled, logsIdentical },
      anomalies: [...this.#anomalies, ...found.map(({ name, what }) => ({ name, what }))],
    }
  }

  // ------------------------------------------------------------------------------------------------ faults

  async #disturb(): Promise<void> {
    const { minutes, only, seed } = this.#settings
    const random = seededRandom(seed)
    const end = performance.now() + minutes * 60_000
    const isOver = (done: number) => (only === null ? performance.now() > end : done >= only.times)
    for (let done = 0; !isOver(done); done++) {
      const brokerName = this.#brokers[random.below(this.#brokers.length)]!
      const next = nextFault(only, done, random)
      const before = await this.#cluster.converged(this.#client, brokerName)
      await this.#load.goesOn(20)
      await new Promise((resolve) => setTimeout(resolve, 200 + random.below(800)))
      await this.#fault(next, brokerName, before)
      await this.#members.change()
    }
  }

  async #fault({ name, direction }: Fault, brokerName: string, before: BrokerOverview): Promise<void> {
    const cluster = this.#cluster
    const { replicas, seed, tell } = this.#settings
    const random = seededRandom(seed + this.#record.events.length)
    const masterId = before.masterId!
    const master = cluster.replica(brokerName, masterId)
    const slave = cluster.replica(brokerName, (masterId + 1 + random.below(replicas - 1)) % replicas)
    const probe = this.#probes.find((one) => one.brokerName === brokerName)!
    const where = `of ${brokerName}, whose master is ${masterId} at epoch ${before.epoch}`
    const fault = `${name} ${where}`
    this.#record.note({ type: 'fault.began', fault })
    try {
      const target = { cluster, random, probe, master, slave, direction, client: this.#client }
      const measuring = { epoch: before.epoch, counts: this.#counts, measured: this.#measured }
      const done = await doFault(name, { ...target, ...measuring })
      const cut = done.direction === undefined ? '' : ` (${done.direction})`
      const outage = done.outageMs === undefined ? '' : `: ${Math.round(done.outageMs)} ms`
      tell(`${name}${cut} ${where}${outage}`)
    } catch (error) {
      tell(`${fault}: it does not end`)
      throw error
    }
    this.#record.note({ type: 'fault.ended', fault })
  }

  // ------------------------------------------------------------------------------------------------ the end

  async #settle(): Promise<boolean> {
    const { tell } = this.#settings
    tell('all is well again: what is under way is awaited')
    await this.#load.stop()
    for (const probe of this.#probes) await probe.stop()
    for (const broker of this.#brokers) await this.#cluster.converged(this.#client, broker)
    const ends: HistoryEvent[] = [await this.#members.drain(QUEUES * this.#brokers.length)]
    await this.#members.close()
    let logsIdentical = true
    for (const broker of this.#brokers) {
      const { masterships } = await this.#cluster.converged(this.#client, broker)
      ends.push(...headsOf(broker, masterships))
      const what = await this.#cluster.differenceOf(broker)
      if (what === null) continue
      logsIdentical = false
      this.#anomalies.push({ name: 'logs differ', what })
    }
    tell('reading the logs')
    ends.push(...(await readLogs(this.#client, TOPIC)))
    for (const event of ends) this.#record.note(event)
    return logsIdentical
  }
}

const headsOf = (broker: string, masterships: BrokerOverview['masterships']): HistoryEvent[] =>
  [...masterships].reverse().map(({ epoch, masterId, cause }) => ({
    ...{ type: 'head.changed' as const, broker, epoch, masterId, members: [], cause },
  }))
