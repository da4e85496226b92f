/** A cluster in memory with clients, as the tests of whole ways use it. */
import type { ExecutionContext } from 'ava'
import type {
  Client,
  Consumer,
  ConsumerOptions,
  FilterExpression,
  IncomingMessage,
  TestCluster,
  TestClusterOptions,
} from '../../actors/index.ts'
import type { Clock } from '../../actors/node/world.ts'
import { startTestCluster } from '../../actors/test-cluster.ts'
import { patientClock } from '../support/patient-clock.ts'
import { until } from '../support/until.ts'

/** Delay levels that a test can wait for; the last one it cannot. */
export const SHORT_LEVELS =
  '60ms 120ms 180ms 30ms 30ms 30ms 30ms 30ms 30ms 30ms 30ms 30ms 30ms 30ms 30ms 30ms 30ms 1h'

/** Closed with the test. */
export async function clusterOf(
  t: ExecutionContext,
  options: TestClusterOptions = {},
  clock: Clock = patientClock,
): Promise<TestCluster> {
  const cluster = await startTestCluster(options, clock)
  t.teardown(() => cluster.close())
  return cluster
}

export async function clientOf(t: ExecutionContext, options: TestClusterOptions = {}): Promise<Client> {
  return (await clusterOf(t, options)).connect()
}

export type Listener = {
  readonly consumer: Consumer
  readonly heard: IncomingMessage[]
  readonly texts: string[]
  /** The keys of the queues that it owns. */
  readonly owned: string[]
}

/** A consumer that runs and keeps what it hears. */
export async function listen(
  client: Client,
  topic: string,
  options: ConsumerOptions & {
    expression?: FilterExpression
    handle?: (message: IncomingMessage) => unknown
  },
): Promise<Listener> {
  const { expression, handle, ...own } = options
  const heard: IncomingMessage[] = []
  let owned: string[] = []
  const consumer = client.consumer(own)
  consumer.assignment$.subscribe((queues) => {
    owned = queues.map(({ brokerName, queueId }) => `${brokerName}/${queueId}`)
  })
  consumer.subscribe(topic, expression)
  await consumer.run((message) => {
    heard.push(message)
    return handle?.(message)
  })
  return {
    consumer,
    heard,
    get texts() {
      return heard.map(({ text }) => text)
    },
    get owned() {
      return owned
    },
  }
}

export const hears = (listener: Listener, count: number): Promise<void> =>
  until(
    () => `${count} messages are heard, of which ${listener.heard.length} are`,
    () => listener.heard.length >= count,
  )

export const numbers = (count: number, from = 0): string[] =>
  Array.from({ length: count }, (_, i) => `${from + i}`)

export const sorted = (texts: readonly string[]): string[] => [...texts].sort((a, b) => Number(a) - Number(b))

/** The bodies of each queue, in the order of the queue. */
export function byQueue(messages: readonly IncomingMessage[]): Map<string, string[]> {
  const queues = new Map<string, string[]>()
  for (const { brokerName, queueId, text } of messages) {
    const key = `${brokerName}/${queueId}`
    queues.set(key, [...(queues.get(key) ?? []), text])
  }
  return queues
}
