/**
 * Runs one name server: hosts its machine, hears brokers, answers clients and pushes to them what changed.
 *
 * Every name server hears every broker; a client asks any one of them (queue group) and hears the pushes of all.
 */
import { bind } from '../../machines/effect.ts'
import { nameServerMachine } from '../../machines/name-server.ts'
import { clusterOf, compareText, routeOf, type TopicConfig } from '../../machines/topic.ts'
import { accept, hear, refuse, serve, tell } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import * as m from '../../transport/messages.ts'
import { host } from '../node/host.ts'
import type { Process } from '../node/process.ts'

export type NameServerHooks = {
  /** A bug stopped it: start another, which asks all brokers to register. */
  failed(cause: unknown): void
}

export type RunningNameServer = {
  readonly address: string
  stop(stopped: () => void): void
}

export function startNameServer(
  process: Process,
  name: string,
  hooks: NameServerHooks,
  collectMs?: number,
): RunningNameServer {
  const { world, subjects, directory } = process
  const { transport, clock, random, log } = world
  const address = `name-server/${name}`
  // Names this run: a name server that restarts counts its revisions from 0.
  const nameServerId = `${name}-${random.id()}`
  // Outside of effects only: within a transition the snapshot is still the old one.
  const directoryNow = () => server.actor.getSnapshot().context

  /** Which start of a store was refused last for each replica: its beats are refused in silence. */
  const refusedRuns = new Map<string, string>()
  const machine = bind(nameServerMachine, {
    announceStart: (message) => tell(transport, subjects.nameServer.started, message),
    pushRoutes: ({ routes }) => {
      for (const route of routes) tell(transport, subjects.routeChanged(route.topic), route)
    },
    pushCluster: ({ view }) => tell(transport, subjects.clusterChanged, view),
    requestRegistration: ({ brokerName, brokerId }) =>
      tell(transport, subjects.brokerProcess(brokerName, brokerId).registerAgain, {}),
    refuseRegistration: ({ brokerName, brokerId, ...refused }) => {
      const run = `${refused.storeId}/${refused.incarnation}`
      if (refusedRuns.get(`${brokerName}/${brokerId}`) !== run) log.warn(`${address}: ${refused.message}`)
      refusedRuns.set(`${brokerName}/${brokerId}`, run)
      tell(transport, subjects.brokerProcess(brokerName, brokerId).refused, refused)
    },
  })
  const server = host({
    address,
    machine: collectMs === undefined ? machine : machine.provide({ delays: { collectWindow: collectMs } }),
    input: { nameServerId },
    clock,
    directory,
    failed: (cause) => {
      close()
      hooks.failed(cause)
    },
  })

  const malformed = (what: string) => (message: string) =>
    log.warn(`${address}: a ${what} was ignored: ${message}`)
  const { nameServer } = subjects
  const queue = subjects.nameServerQueue
  const subscriptions = [
    hear(
      transport,
      nameServer.register,
      m.registration,
      (registration) => server.actor.send({ type: 'broker.registered', registration }),
      malformed('registration'),
    ),
    hear(
      transport,
      nameServer.beat,
      m.brokerBeat,
      (beat) => server.actor.send({ type: 'broker.beat', ...beat }),
      malformed('beat'),
    ),
    hear(
      transport,
      nameServer.unregister,
      m.brokerLeave,
      (run) => server.actor.send({ type: 'broker.unregistered', ...run }),
      malformed('farewell'),
    ),
    serve(
      transport,
      nameServer.route,
      m.onTopic,
      ({ topic }, answer) => {
        const route = routeOf(directoryNow(), topic)
        if (route || server.actor.getSnapshot().hasTag('answers-routes')) answer(accept(route))
        else
          answer(
            refuse(codes.SYSTEM_BUSY, 'the name server has just started and does not know all brokers yet'),
          )
      },
      queue,
    ),
    serve(
      transport,
      nameServer.cluster,
      m.nothing,
      (_, answer) => answer(accept(clusterOf(directoryNow()))),
      queue,
    ),
    serve(transport, nameServer.topics, m.nothing, (_, answer) => answer(accept(topicsNow())), queue),
  ]
  server.start()

  function topicsNow(): m.TopicOverview[] {
    const overview = new Map<string, m.TopicOverview>()
    for (const { brokerName, role, topics } of Object.values(directoryNow().brokers)) {
      if (role !== 'master') continue
      for (const config of Object.values<TopicConfig>(topics)) {
        const known = overview.get(config.topic)
        if (!known) overview.set(config.topic, { ...config, brokers: [brokerName] })
        else {
          known.brokers.push(brokerName)
          known.readQueues += config.readQueues
          known.writeQueues += config.writeQueues
        }
      }
    }
    return [...overview.values()].sort((a, b) => compareText(a.topic, b.topic))
  }

  function close(): void {
    for (const subscription of subscriptions) subscription.unsubscribe()
    server.stop()
  }

  return {
    address,
    stop(stopped) {
      close()
      stopped()
    },
  }
}
