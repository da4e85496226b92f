/**
 * ProducerRoute: what one client knows of one topic's route. Producers and consumers both host it.
 *
 * Routes are pushed; asking is for the start, for what a push may have missed, and for a broker that a send did not
 * reach: while somebody waits for its next master, a name server is asked every `retryInterval`, and no more often. A route that is known stays usable whatever becomes of the name servers: losing all of them loses nothing.
 * An older route NEVER replaces a newer one (mergeRoute). A topic that was just created is usable only AFTER a name
 * server shows it on every broker that made it: only then can every client find it, and a message group that was sent
 * to one queue would move to another when the rest appears.
 *
 *   resolving ──missing──▶ creating ──▶ known ⟲ refreshing     resolving ──failed──▶ unreachable ──retry──▶ resolving
 *        └────missing───▶ missing ──poll, or wanted──▶ resolving       a pushed route leads to 'known', from 'creating' when it is whole
 *
 * RocketMQ: client/impl/factory/MQClientInstance.updateTopicRouteInfoFromNameServer
 */
import { assign, setup } from 'xstate'
import { effect } from './effect.ts'
import { doubtBroker, isSameRoute, type KnownRoute, mergeRoute, type TopicRoute } from './topic.ts'

export type ProducerRouteInput = { topic: string; createTopic: boolean }
export type ProducerRouteContext = {
  topic: string
  createTopic: boolean
  route: KnownRoute | null
  /** The brokers that made the topic for us; null while that is not known. */
  created: string[] | null
  /** Why the last request brought nothing; null when it did. */
  failure: { code: string; message: string } | null
  /** Somebody wants news since the last request was made. */
  isAwaited: boolean
}
export type ProducerRouteEvent =
  | { type: 'route.answered'; route: TopicRoute }
  | { type: 'route.pushed'; route: TopicRoute }
  /** A name server says that no broker has the topic. */
  | { type: 'route.missing' }
  /** Somebody needs the route, or has reason to think that pushes were missed. */
  | { type: 'route.wanted' }
  /** At least one broker made the topic; these did. */
  | { type: 'topic.created'; brokerNames?: string[] }
  | { type: 'topic.refused'; code: string; message: string }
  /** A broker of the route says that it has no such topic. */
  | { type: 'topic.deleted' }
  | { type: 'request.failed'; code: string; message: string; retryable: boolean }
  /** A request met no responders under this epoch, or somebody who is not the master. */
  | { type: 'broker.unreachable'; brokerName: string; epoch: number }
  /** Requests under this epoch have had no answer for a while; it may only be slow. */
  | { type: 'broker.silent'; brokerName: string; epoch: number }

type Heard = { route: TopicRoute }

const producerRoute = setup({
  types: {} as { input: ProducerRouteInput; context: ProducerRouteContext; events: ProducerRouteEvent },
  actions: {
    requestRoute: effect<{ topic: string }>('requestRoute'),
    /** On every broker that lets clients create topics. */
    createTopic: effect<{ topic: string }>('createTopic'),
    /** To all who use the route: this is it from now on. */
    announceRoute: effect<{ route: TopicRoute }>('announceRoute'),
    reportMissing: effect<{ topic: string; code: string; message: string }>('reportMissing'),
    reportUnreachable: effect<{ topic: string; code: string; message: string }>('reportUnreachable'),
  },
  guards: {
    mayCreate: ({ context }) => context.createTopic,
    isNews: ({ context }, { route }: Heard) => !isSameRoute(mergeRoute(context.route, route), context.route),
    isShown: ({ context }, broker: { brokerName: string; epoch: number }) =>
      context.route?.brokers.some(
        ({ brokerName, epoch }) => brokerName === broker.brokerName && epoch === broker.epoch,
      ) ?? false,
    isWhole: ({ context: { created, route } }, { route: heard }: Heard) =>
      created?.every((name) =>
        mergeRoute(route, heard).brokers.some(({ brokerName }) => brokerName === name),
      ) ?? false,
    isEmpty: ({ context }) => context.route?.brokers.length === 0,
    mayCreateAnew: ({ context }) => context.route?.brokers.length === 0 && context.createTopic,
    mustAskAgain: ({ context }) => context.failure !== null || context.isAwaited,
  },
  delays: { pollInterval: 30_000, retryInterval: 500, createTimeout: 5_000 },
})

const adopt = producerRoute.assign({
  route: ({ context, event }) => ('route' in event ? mergeRoute(context.route, event.route) : context.route),
  failure: null,
})
const blame = producerRoute.assign({
  failure: ({ event }) => ('code' in event ? { code: event.code, message: event.message } : null),
})
const forgive = producerRoute.assign({ failure: null })
const wantNews = producerRoute.assign({ isAwaited: true })

const request = {
  type: 'requestRoute',
  params: ({ context: { topic } }: { context: ProducerRouteContext }) => ({ topic }),
} as const
const announce = {
  type: 'announceRoute',
  params: ({ context: { route } }: { context: ProducerRouteContext }) => ({ route: route! }),
} as const
const heard = ({ event: { route } }: { event: Heard }): Heard => ({ route })
const shown = {
  type: 'isShown',
  params: ({ event: { brokerName, epoch } }: { event: { brokerName: string; epoch: number } }) => ({
    brokerName,
    epoch,
  }),
} as const
/** Asking is under way, or has just brought nothing: it is asked again as soon as it may. */
const awaited = {
  'route.wanted': { actions: wantNews },
  'broker.unreachable': { guard: shown, actions: wantNews },
  'broker.silent': { guard: shown, actions: wantNews },
} as const
const news = { type: 'isNews', params: heard } as const
const found = { target: '#known', actions: [adopt, announce] } as const
const foundWhole = [{ guard: { type: 'isWhole', params: heard }, ...found }, { actions: adopt }] as const

export const producerRouteMachine = producerRoute.createMachine({
  id: 'producerRoute',
  context: ({ input: { topic, createTopic } }) => ({
    topic,
    createTopic,
    route: null,
    created: null,
    failure: null,
    isAwaited: false,
  }),
  initial: 'resolving',
  on: { 'route.pushed': found },
  states: {
    resolving: {
      entry: request,
      on: {
        'route.answered': found,
        'route.missing': [
          { guard: 'mayCreate', target: 'creating' },
          { target: 'missing', actions: forgive },
        ],
        'request.failed': { target: 'unreachable', actions: blame },
      },
    },
    creating: {
      id: 'creating',
      initial: 'requested',
      after: {
        createTimeout: {
          target: 'unreachable',
          actions: producerRoute.assign({
            failure: { code: 'timedOut', message: 'no name server shows the topic that was just created' },
          }),
        },
      },
      on: {
        'route.answered': foundWhole,
        'route.pushed': foundWhole,
        'request.failed': { target: 'unreachable', actions: blame },
      },
      states: {
        requested: {
          entry: [
            producerRoute.assign({ created: null }),
            { type: 'createTopic', params: ({ context: { topic } }) => ({ topic }) },
          ],
          on: {
            'topic.created': {
              target: 'awaited',
              actions: assign({ created: ({ event }) => event.brokerNames ?? [] }),
            },
            'topic.refused': { target: '#missing', actions: blame },
          },
        },
        /** Made, but no name server has shown all of it yet: 'route.missing' is no news here. */
        awaited: {
          entry: request,
          after: { retryInterval: { target: 'awaited', reenter: true } },
        },
      },
    },
    known: {
      id: 'known',
      initial: 'fresh',
      on: {
        'route.pushed': [{ guard: news, actions: [adopt, announce] }, { actions: adopt }],
        'topic.deleted': { target: 'resolving', actions: producerRoute.assign({ route: null }) },
      },
      states: {
        fresh: {
          after: { pollInterval: 'refreshing' },
          on: {
            'route.wanted': 'refreshing',
            'broker.silent': { guard: shown, target: 'refreshing' },
            'broker.unreachable': {
              guard: shown,
              target: 'refreshing',
              actions: assign({
                route: ({ context, event }) => doubtBroker(context.route!, event.brokerName),
              }),
            },
          },
        },
        refreshing: {
          entry: [producerRoute.assign({ isAwaited: false }), request],
          on: {
            ...awaited,
            'route.answered': [
              { guard: news, target: 'fresh', actions: [adopt, announce] },
              { target: 'stale', actions: adopt },
            ],
            'route.missing': [
              { guard: 'mayCreateAnew', target: '#creating' },
              { guard: 'isEmpty', target: '#missing', actions: forgive },
              // The brokers may be unknown there for a while and still be reached: the route stays.
              { target: 'stale', actions: forgive },
            ],
            'request.failed': { target: 'stale', actions: blame },
          },
        },
        /** Has just asked and learnt nothing new: it does not ask again at once, whoever wants it. */
        stale: {
          on: awaited,
          after: {
            retryInterval: [{ guard: 'mustAskAgain', target: 'refreshing' }, { target: 'fresh' }],
          },
        },
      },
    },
    missing: {
      id: 'missing',
      entry: {
        type: 'reportMissing',
        params: ({ context: { topic, failure } }) => ({
          topic,
          code: failure?.code ?? 'TOPIC_NOT_EXIST',
          message: failure?.message ?? `no broker has the topic '${topic}'`,
        }),
      },
      after: { pollInterval: 'resolving' },
      on: { 'route.wanted': 'resolving' },
    },
    /** Tries again by itself; 'route.wanted' does not make it try more often. */
    unreachable: {
      entry: {
        type: 'reportUnreachable',
        params: ({ context: { topic, failure } }) => ({ topic, ...failure! }),
      },
      after: { retryInterval: 'resolving' },
    },
  },
})
