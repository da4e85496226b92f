/** What the tests of replicated brokers share: a cluster of processes, load on it, and the judgement at the end. */
import type { ExecutionContext } from 'ava'
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
  record: Record
  load(settings?: Partial<LoadSettings>): Load
  /** Resolves when all replicas are in sync. */
  converged(): Promise<BrokerOverview>
  /** Stops the load, waits until all replicas are equal, and looks for everything that must not have happened. `alarms` may be. */
  judge(load: Load, alarms?: readonly string[]): Promise<BrokerOverview>
}

export async function stage(t: ExecutionContext, settings: Partial<ClusterSettings> = {}): Promise<Stage> {
  t.timeout(TEST_MS)
  const cluster = await ClusterOfProcesses.start(t, settings)
  const client = await cluster.client()
  await client.admin().createTopic('orders', { queues: 4 })
  const record = new Record()
  const { replication, maxLagBytes = Number.MAX_SAFE_INTEGER } = cluster.settings
  record.note({ type: 'group.formed', broker: 'broker-a', replication, maxLagBytes })
  const made: Stage = {
    cluster,
    client,
    record,
    load(given) {
      const load = new Load(client, record, given)
      // A test that failed has not stopped it.
      t.teardown(() => load.abandon())
      return load
    },
    converged: () => cluster.converged(client),
    async judge(load, alarms = []) {
      await load.stop()
      const overview = await cluster.converged(client)
      const ends = [...groupEventsOf(overview), ...(await readLogs(client, 'orders'))]
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
  await made.converged()
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

/** Of a topic, as the brokers say. */
export const storedMessages = async (client: Client): Promise<number> =>
  (await client.admin().topic('orders')).queues.reduce((sum, { maxOffset }) => sum + maxOffset, 0)

export async function isMaster({ cluster, client }: Stage, brokerId: number): Promise<void> {
  const isSo = async () => (await cluster.look(client, 'broker-a'))?.masterId === brokerId
  await until(`broker-a/${brokerId} is master`, isSo).catch((error: Error) => {
    throw new Error(`${error.message}\n${cluster.words()}`)
  })
}
