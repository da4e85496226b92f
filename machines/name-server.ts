/**
 * NameServer: knows every broker and every route, and forgets a broker that falls silent.
 *
 * Name servers do not know each other; brokers register with all of them. Nothing is kept on disk, so a name server
 * that has just started knows nothing: it asks all brokers to register, and while it collects it tells what it has
 * heard but NEVER denies a topic, for the broker that has it may be about to register. It denies in 'serving' only.
 *
 * A stale message NEVER overwrites a newer registration (the order is in topic.ts). A broker belongs to its store:
 * while one store is registered, another process that claims the same name and id is refused, and its beats and its
 * farewell do not touch the first.
 *
 *   collecting ──collectWindow──▶ serving
 *
 * RocketMQ: namesrv/routeinfo/RouteInfoManager.java, BrokerHousekeepingService.java
 */
import { setup } from 'xstate'
import { effect } from './effect.ts'
import {
  brokerKey,
  type ClusterView,
  clusterOf,
  compareVersions,
  type Directory,
  isSameRoute,
  type Registration,
  routeOf,
  type TopicRoute,
  type Version,
} from './topic.ts'

/** One start of one broker process: who it is and which data it brought. */
export type BrokerRun = { brokerName: string; brokerId: number; storeId: string; incarnation: number }

export type NameServerInput = { nameServerId: string }
export type NameServerContext = Directory
export type NameServerEvent =
  | { type: 'broker.registered'; registration: Registration }
  /** A registration without its topics: proves life, and shows when something was missed. */
  | ({ type: 'broker.beat'; epoch: number; dataVersion: number } & BrokerRun)
  /** A clean stop. */
  | ({ type: 'broker.unregistered' } & BrokerRun)
  | ({ type: 'broker.expired' } & BrokerRun)

/** How what was just heard of a broker stands to what is registered. 'foreign': another store is. */
type Standing = 'unknown' | 'foreign' | 'newer' | 'same' | 'older'

function standingOf({ brokers }: Directory, heard: BrokerRun & Version): Standing {
  const known = brokers[brokerKey(heard)]
  if (!known) return 'unknown'
  if (known.storeId !== heard.storeId) return 'foreign'
  const order = compareVersions(heard, known)
  return order > 0 ? 'newer' : order < 0 ? 'older' : 'same'
}

/** Whether that very run of the broker is the one that is registered. */
function isRegistered({ brokers }: Directory, run: BrokerRun): boolean {
  const known = brokers[brokerKey(run)]
  return known?.storeId === run.storeId && known.incarnation === run.incarnation
}

/** The topics of a broker whose route differs between two directories; a new dataVersion alone is no difference. */
function changedTopics(before: Directory, after: Directory, key: string): string[] {
  const topics = { ...before.brokers[key]?.topics, ...after.brokers[key]?.topics }
  return Object.keys(topics).filter((topic) => !isSameRoute(routeOf(before, topic), routeOf(after, topic)))
}

/** The route of a topic; one without brokers when no broker has it. */
const routeNow = (directory: Directory, topic: string): TopicRoute =>
  routeOf(directory, topic) ?? {
    topic,
    nameServerId: directory.nameServerId,
    revision: directory.revision,
    brokers: [],
  }

/** Whether another set of brokers, or another master, is to be seen; the number of topics alone is no difference. */
function isClusterChanged(before: Directory, after: Directory): boolean {
  const shown = (directory: Directory) =>
    JSON.stringify(clusterOf(directory).brokers.map((broker) => ({ ...broker, topics: 0 })))
  return shown(before) !== shown(after)
}

function brokersAfter({ brokers }: Directory, event: NameServerEvent): Directory['brokers'] {
  if (event.type === 'broker.registered') {
    return { ...brokers, [brokerKey(event.registration)]: event.registration }
  }
  const { [brokerKey(event)]: _, ...others } = brokers
  return others
}

const runOf = (event: NameServerEvent): BrokerRun => {
  const { brokerName, brokerId, storeId, incarnation } =
    event.type === 'broker.registered' ? event.registration : event
  return { brokerName, brokerId, storeId, incarnation }
}

const nameServer = setup({
  types: {} as {
    input: NameServerInput
    context: NameServerContext
    events: NameServerEvent
    tags: 'answers-routes'
  },
  actions: {
    /** To every broker: register now. */
    announceStart: effect<{ nameServerId: string }>('announceStart'),
    /** To the clients of these topics; a topic that is gone has a route without brokers. */
    pushRoutes: effect<{ routes: TopicRoute[] }>('pushRoutes'),
    pushCluster: effect<{ view: ClusterView }>('pushCluster'),
    requestRegistration: effect<{ brokerName: string; brokerId: number }>('requestRegistration'),
    refuseRegistration: effect<{
      brokerName: string
      brokerId: number
      storeId: string
      incarnation: number
      code: string
      message: string
    }>('refuseRegistration'),
  },
  delays: { collectWindow: 300, brokerExpiry: 10_000 },
})

/** Takes the registration in, or out, and tells those whom it concerns. */
const change = nameServer.enqueueActions(({ context, event, enqueue }) => {
  const after = { ...context, revision: context.revision + 1, brokers: brokersAfter(context, event) }
  const topics = changedTopics(context, after, brokerKey(runOf(event)))
  enqueue.assign(after)
  if (topics.length > 0) {
    enqueue({ type: 'pushRoutes', params: { routes: topics.map((topic) => routeNow(after, topic)) } })
  }
  if (isClusterChanged(context, after)) enqueue({ type: 'pushCluster', params: { view: clusterOf(after) } })
})

const cancelExpiry = nameServer.enqueueActions(({ event, enqueue }) => {
  enqueue.cancel(`expiry/${brokerKey(runOf(event))}`)
})

const armExpiry = nameServer.enqueueActions(({ event, enqueue }) => {
  const run = runOf(event)
  const id = `expiry/${brokerKey(run)}`
  enqueue.cancel(id)
  enqueue.raise({ type: 'broker.expired', ...run }, { id, delay: 'brokerExpiry' })
})

const refuse = nameServer.enqueueActions(({ event, enqueue }) => {
  const run = runOf(event)
  const message =
    `broker ${brokerKey(run)} is registered with another store: give this process a name or an id of its own, ` +
    'or wait until the other one is stopped'
  enqueue({ type: 'refuseRegistration', params: { ...run, code: 'NO_PERMISSION', message } })
})

const request = {
  type: 'requestRegistration',
  params: ({ event: { brokerName, brokerId } }: { event: BrokerRun }) => ({ brokerName, brokerId }),
} as const

export const nameServerMachine = nameServer.createMachine({
  id: 'nameServer',
  context: ({ input: { nameServerId } }) => ({ nameServerId, revision: 0, brokers: {} }),
  initial: 'collecting',
  states: {
    collecting: {
      entry: { type: 'announceStart', params: ({ context: { nameServerId } }) => ({ nameServerId }) },
      after: { collectWindow: 'serving' },
    },
    serving: { tags: 'answers-routes' },
  },
  on: {
    'broker.registered': [
      {
        guard: ({ context, event }) => standingOf(context, event.registration) === 'foreign',
        actions: refuse,
      },
      {
        guard: ({ context, event }) => standingOf(context, event.registration) === 'same',
        actions: armExpiry,
      },
      {
        guard: ({ context, event }) => standingOf(context, event.registration) !== 'older',
        actions: [change, armExpiry],
      },
    ],
    'broker.beat': [
      { guard: ({ context, event }) => standingOf(context, event) === 'foreign', actions: refuse },
      { guard: ({ context, event }) => standingOf(context, event) === 'unknown', actions: request },
      {
        guard: ({ context, event }) => standingOf(context, event) === 'newer' && isRegistered(context, event),
        actions: [request, armExpiry],
      },
      { guard: ({ context, event }) => standingOf(context, event) === 'newer', actions: request },
      { guard: ({ context, event }) => isRegistered(context, event), actions: armExpiry },
    ],
    'broker.unregistered': {
      guard: ({ context, event }) => isRegistered(context, event),
      actions: [change, cancelExpiry],
    },
    'broker.expired': { guard: ({ context, event }) => isRegistered(context, event), actions: change },
  },
})
