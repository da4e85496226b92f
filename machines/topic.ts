/**
 * Topics, registrations and routes: the words that name servers, brokers and clients share, and the pure functions on
 * them.
 *
 * Two views of one broker are ordered by (epoch, incarnation, dataVersion) and by nothing else: messages are delayed
 * and reordered, so "the last one heard" is not the newest. An older view NEVER replaces a newer one.
 *
 * RocketMQ: common/TopicConfig.java, remoting/protocol/route/TopicRouteData.java, common/message/MessageQueue.java
 */

/** RocketMQ's permission bits. */
export const PERM_READ = 4
export const PERM_WRITE = 2

export type TopicConfig = {
  topic: string
  readQueues: number
  writeQueues: number
  /** PERM_READ | PERM_WRITE; a topic that is only readable is being drained. */
  perm: number
}

/** How many queues there are, to be written or still to be read: their ids are below it. */
export const queueCountOf = ({
  readQueues,
  writeQueues,
}: Pick<TopicConfig, 'readQueues' | 'writeQueues'>): number => Math.max(readQueues, writeQueues)

export type BrokerRole = 'master' | 'slave'

/** What makes one view of a broker newer than another; compared in this order. */
export type Version = {
  /** One mastership of one process. */
  epoch: number
  /** Which start of the broker's process, counted in its store. */
  incarnation: number
  /** Counts the changes of its topics. */
  dataVersion: number
}

/** All that a name server knows of one broker process. */
export type Registration = Version & {
  brokerName: string
  /** Tells the replicas of one broker name apart. */
  brokerId: number
  role: BrokerRole
  /** Of the data on disk. Two stores never belong to one broker. */
  storeId: string
  topics: Record<string, TopicConfig>
  /** Whether a client may create a topic on it just by using it. */
  autoCreateTopic: boolean
}

/** A broker's part of a route. Its epoch is 0 while replicas of it live and none of them is known to be master. */
export type BrokerRoute = Version & {
  brokerName: string
  readQueues: number
  writeQueues: number
  perm: number
}

export type TopicRoute = {
  topic: string
  nameServerId: string
  revision: number
  /** Sorted by brokerName. */
  brokers: BrokerRoute[]
}

export type ClusterView = {
  nameServerId: string
  revision: number
  /** Sorted by brokerName, then brokerId. */
  brokers: {
    brokerName: string
    brokerId: number
    role: BrokerRole
    epoch: number
    incarnation: number
    autoCreateTopic: boolean
    /** How many. */
    topics: number
  }[]
}

/** What a name server knows. Its revision rises with every change of the brokers. */
export type Directory = {
  /** Names ONE RUN of a name server: one that restarts counts its revisions from 0 and so needs another id. */
  nameServerId: string
  revision: number
  brokers: Record<string, Registration>
}

export type QueueRef = { topic: string; brokerName: string; queueId: number }

export const queueKey = ({ topic, brokerName, queueId }: QueueRef): string =>
  `${topic}/${brokerName}/${queueId}`

/** Of a key that `queueKey` made: no name has a slash. */
export function queueOfKey(key: string): QueueRef {
  const [topic = '', brokerName = '', queueId] = key.split('/')
  return { topic, brokerName, queueId: Number(queueId) }
}

export const brokerKey = ({ brokerName, brokerId }: { brokerName: string; brokerId: number }): string =>
  `${brokerName}/${brokerId}`

/** Order of code units, as Java's String.compareTo: every client sorts alike, whatever its locale. */
export const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

export const compareQueues = (a: QueueRef, b: QueueRef): number =>
  compareText(a.topic, b.topic) || compareText(a.brokerName, b.brokerName) || a.queueId - b.queueId

/** Above 0 when `a` is newer, 0 when they are the same view. */
export const compareVersions = (a: Version, b: Version): number =>
  a.epoch - b.epoch || a.incarnation - b.incarnation || a.dataVersion - b.dataVersion

/** The queues of a route that a consumer reads, sorted. */
export const readQueuesOf = ({ topic, brokers }: TopicRoute): QueueRef[] =>
  brokers.flatMap(({ brokerName, readQueues, perm }) =>
    (perm & PERM_READ) === 0
      ? []
      : Array.from({ length: readQueues }, (_, queueId) => ({ topic, brokerName, queueId })),
  )

/** The route of a topic, or null when no broker that is known has it. */
export function routeOf({ nameServerId, revision, brokers }: Directory, topic: string): TopicRoute | null {
  const routes = leadersOf(brokers).flatMap(({ brokerName, epoch, incarnation, dataVersion, topics }) => {
    const config = topics[topic]
    if (!config) return []
    const { readQueues, writeQueues, perm } = config
    return { brokerName, epoch, incarnation, dataVersion, readQueues, writeQueues, perm }
  })
  return routes.length === 0 ? null : { topic, nameServerId, revision, brokers: routes }
}

/**
 * Of each broker name its master: after a promotion the deposed one may be registered a while longer. A name that has no
 * master at the moment stays, at epoch 0, as its newest replica tells of it: the queues do not move for want of a master,
 * and a client that knows an epoch keeps it, for every epoch is newer than 0.
 */
function leadersOf(brokers: Directory['brokers']): Registration[] {
  const leaders: Record<string, Registration> = {}
  for (const broker of Object.values(brokers)) {
    const known = leaders[broker.brokerName]
    if (!known || isAhead(broker, known)) leaders[broker.brokerName] = broker
  }
  return Object.values(leaders)
    .map((leader) => (leader.role === 'master' ? leader : { ...leader, epoch: 0 }))
    .sort((a, b) => compareText(a.brokerName, b.brokerName))
}

const isAhead = (a: Registration, b: Registration): boolean =>
  a.role === b.role ? compareVersions(a, b) > 0 : a.role === 'master'

export function clusterOf({ nameServerId, revision, brokers }: Directory): ClusterView {
  const rows = Object.values(brokers).map(({ topics, dataVersion: _, storeId: __, ...broker }) => ({
    ...broker,
    topics: Object.keys(topics).length,
  }))
  rows.sort((a, b) => compareText(a.brokerName, b.brokerName) || a.brokerId - b.brokerId)
  return { nameServerId, revision, brokers: rows }
}

/** A route as one client knows it: `shownBy` is the name server that showed the broker last, '' when it is doubted. */
export type KnownRoute = Omit<TopicRoute, 'brokers'> & { brokers: (BrokerRoute & { shownBy: string })[] }

/**
 * What a client knows after it heard `incoming`: of each broker the newer view.
 *
 * A broker is dropped only when the name server that showed it last shows it no more. Two name servers may know
 * different brokers, and that one of them does not know a broker, or has just started, proves nothing.
 */
export function mergeRoute(current: KnownRoute | null, incoming: TopicRoute): KnownRoute {
  const { nameServerId } = incoming
  if (current?.nameServerId === nameServerId && incoming.revision < current.revision) return current

  const known = Object.fromEntries(current?.brokers.map((broker) => [broker.brokerName, broker]) ?? [])
  const shown = incoming.brokers.map((broker) => {
    const older = known[broker.brokerName]
    return older && compareVersions(older, broker) > 0 ? older : { ...broker, shownBy: nameServerId }
  })
  const names = new Set(shown.map(({ brokerName }) => brokerName))
  const kept = Object.values(known).filter(
    ({ brokerName, shownBy }) => !names.has(brokerName) && shownBy !== nameServerId && shownBy !== '',
  )
  const brokers = [...shown, ...kept].sort((a, b) => compareText(a.brokerName, b.brokerName))
  return { ...incoming, brokers }
}

/** A request did not reach the broker: the next name server that does not show it takes it away. */
export const doubtBroker = (route: KnownRoute, brokerName: string): KnownRoute => ({
  ...route,
  brokers: route.brokers.map((broker) =>
    broker.brokerName === brokerName ? { ...broker, shownBy: '' } : broker,
  ),
})

/** Whether two routes lead to the same queues of the same masters. */
export function isSameRoute(a: TopicRoute | null, b: TopicRoute | null): boolean {
  const shown = (route: TopicRoute | null) =>
    JSON.stringify(
      route?.brokers.map(({ brokerName, epoch, incarnation, readQueues, writeQueues, perm }) => {
        return [brokerName, epoch, incarnation, readQueues, writeQueues, perm]
      }),
    )
  return shown(a) === shown(b)
}
