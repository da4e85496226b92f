/** What the tests of replicated brokers share: a cluster of processes, load on it, and the judgement at the end. */
import test, { type ExecutionContext } from 'ava'
import type { BrokerOverview, Client } from '../../actors/index.ts'
import { ClusterOfProcesses, type ClusterSettings } from '../support/cluster-of-processes.ts'
import { check, type HistoryEvent } from '../support/history.ts'
import { Load, type LoadSettings, Record, readLogs } from '../support/load.ts'
import { until } from '../support/until.ts'

/** A test waits as long as a machine needs that has much else to do. */
export const TEST_MS = 600_000

export type Stage = {
  cluster: ClusterOfProcesses
  client: Client
  topic: string
  record: Record
  load(settings?: Partial<LoadSettings>, by?: Client, name?: string): Load
  /** Resolves when all replicas are in sync. */
  converged(): Promise<BrokerOverview>
  /** Stops the load, waits until all replicas are equal, and looks for everything that must not have happened. `alarms` may be. */
  judge(load: Load, alarms?: readonly string[]): Promise<BrokerOverview>
}

/** A cluster of a test's own. */
export async function stage(t: ExecutionContext, settings: Partial<ClusterSettings> = {}): Promise<Stage> {
  t.timeout(TEST_MS)
  return setStage(t, await ClusterOfProcesses.start(t, settings), 'orders')
}

/** ONE cluster for tests of one file that take their turns; each has a topic of its own. */
export function sharedStage(
  settings: Partial<ClusterSettings> = {},
): (t: ExecutionContext) => Promise<Stage> {
  const ends: (() => unknown)[] = []
  const scope = { teardown: (end: () => unknown) => void ends.push(end) }
  let cluster: Promise<ClusterOfProcesses> | null = null
  let turns = 0
  test.after.always(async () => {
    for (const end of ends.reverse()) await end()
  })
  return async (t) => {
    t.timeout(TEST_MS)
    cluster ??= ClusterOfProcesses.start(scope, settings)
    // A test that failed may have left something undone.
    ;(await cluster).mend()
    return setStage(t, await cluster, `orders-${++turns}`)
  }
}

async function setStage(t: ExecutionContext, cluster: ClusterOfProcesses, topic: string): Promise<Stage> {
  const client = await cluster.client()
  await cluster.converged(client)
  await client.admin().createTopic(topic, { queues: 4 })
  const record = new Record()
  const { replication, maxLagBytes = Number.MAX_SAFE_INTEGER } = cluster.settings
  record.note({ type: 'group.formed', broker: 'broker-a', replication, maxLagBytes })
  const made: Stage = {
    cluster,
    client,
    topic,
    record,
    load(given, by = client, name = 'sender') {
      const load = new Load(by, record, { topic, ...given }, name)
      // A test that failed has not stopped it.
      t.teardown(() => load.abandon())
      return load
    },
    converged: () => cluster.converged(client),
    async judge(load, alarms = []) {
      await load.stop()
      const overview = await cluster.converged(client)
      const ends = [...groupEventsOf(overview), ...(await readLogs(client, topic))]
      for (const event of ends) record.note(event)
      t.log(`${load.receipts.length} acknowledged, ${load.failures.length} failed`)
      t.deepEqual(load.failures, [], 'sends failed')
      t.deepEqual(check(record.events).slice(0, 5), [])
      t.is(await cluster.differenceOf(), null)
      const raised = overview.replicas.map((one) => (one.reachable ? (one.alarm?.code ?? null) : 'gone'))
      t.deepEqual(
        raised.filter((code) => code !== null && !alarms.includes(code)),
        [],
      )
      return overview
    },
  }
  return made
}

/** Who was master when, and what was cut, as the replicas tell it. */
function groupEventsOf({
  brokerName: broker,
  masterships,
  replicas,
  syncStateSet,
}: BrokerOverview): HistoryEvent[] {
  const heads = [...masterships].reverse().map(
    ({ epoch, masterId, cause }): HistoryEvent => ({
      ...{ type: 'head.changed', broker, epoch, masterId, members: syncStateSet, cause },
    }),
  )
  const cuts = replicas.flatMap((one): HistoryEvent[] =>
    one.reachable && one.lastCut
      ? [{ type: 'log.cut', broker, replica: one.brokerId, messages: one.lastCut.messages }]
      : [],
  )
  return [...heads, ...cuts]
}

export async function isMaster({ cluster, client }: Stage, brokerId: number): Promise<void> {
  const isSo = async () => (await cluster.look(client, 'broker-a'))?.masterId === brokerId
  await until(`broker-a/${brokerId} is master`, isSo).catch((error: Error) => {
    throw new Error(`${error.message}\n${cluster.words()}`)
  })
}
