/**
 * Hosts a producer-route machine: what one client knows of one topic's route, kept fresh by pushes.
 *
 * Producers and consumers use it alike. Losing every name server takes no route away.
 */
import { bind } from '../../machines/effect.ts'
import { producerRouteMachine } from '../../machines/producer-route.ts'
import type { TopicRoute } from '../../machines/topic.ts'
import { ask, hear, type Refusal } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { topicRoute } from '../../transport/messages.ts'
import { StateMQError } from '../errors.ts'
import { host } from '../node/host.ts'
import type { Process } from '../node/process.ts'

const ASK_MS = 1_000
/** RocketMQ's DefaultMQProducer.defaultTopicQueueNums: queues of a topic made by its first send, on each broker. */
const DEFAULT_QUEUES = 4
/** Refusals that say nothing of the topic: another moment, or another master, may take it. */
const passing: ReadonlySet<number> = new Set([codes.NOT_MASTER, codes.SERVICE_NOT_AVAILABLE])

export type RouteWatchOptions = {
  topic: string
  createTopic: boolean
  announced(route: TopicRoute): void
  /** A name server has just shown the topic, whether that was news or not. */
  answered?(): void
  /** There is no such topic, and it is not made; told each time somebody wanted it. */
  missing(error: StateMQError): void
}

export type RouteWatch = {
  /** Somebody needs the route and has none. */
  want(): void
  /** A request to this broker met nobody, or somebody who is not the master. */
  unreachable(brokerName: string, epoch: number): void
  /** Requests to this broker have had no answer for a while. */
  silent(brokerName: string, epoch: number): void
  /** A broker of the route says that it has no such topic. */
  deleted(): void
  /** Why there is no route at the moment, for an error message. */
  readonly trouble: string
  stop(): void
}

export function watchRoute(process: Process, options: RouteWatchOptions): RouteWatch {
  const { world, subjects, directory } = process
  const { transport, clock, log } = world
  const { topic, createTopic } = options
  let trouble = 'no name server has answered yet'
  /** The brokers that had the topic when it was seen last. */
  let home: string[] = []

  const machine = bind(producerRouteMachine, {
    requestRoute: () =>
      ask(transport, subjects.nameServer.route, { topic }, ASK_MS, (outcome) => {
        if (!outcome.ok) {
          const { code, message, retryable } = outcome.failure
          route.actor.send({
            type: 'request.failed',
            code,
            message: `asking a name server: ${message}`,
            retryable,
          })
        } else if (outcome.value.code !== 0) {
          const { message } = outcome.value as { message: string }
          route.actor.send({ type: 'request.failed', code: 'refused', message, retryable: true })
        } else {
          const { value } = outcome.value as { value: TopicRoute | null }
          if (!value) return whyMissing()
          route.actor.send({ type: 'route.answered', route: value })
          options.answered?.()
        }
      }),
    createTopic: () => createEverywhere(),
    announceRoute: ({ route }) => {
      if (route.brokers.length > 0) home = route.brokers.map(({ brokerName }) => brokerName)
      options.announced(route)
    },
    reportMissing: ({ message }) =>
      options.missing(
        new StateMQError(
          'TOPIC_NOT_EXIST',
          `${message}: create the topic with 'statemq topic create ${topic}'`,
          { retryable: false },
        ),
      ),
    reportUnreachable: ({ message }) => {
      trouble = `${message}; is 'statemq start' running there?`
    },
  })

  const route = host({
    address: `producer-route/${process.id}/${topic}`,
    machine,
    input: { topic, createTopic },
    clock,
    directory,
    failed: (cause) => log.error(`the route of '${topic}' failed`, { cause }),
  })
  route.start()
  const pushes = hear(transport, subjects.routeChanged(topic), topicRoute, (pushed) =>
    route.actor.send({ type: 'route.pushed', route: pushed }),
  )
  // Pushes may have been lost with the connection.
  const unhear = transport.onState((state) => {
    if (state === 'connected') route.actor.send({ type: 'route.wanted' })
  })

  return {
    want: () => route.actor.send({ type: 'route.wanted' }),
    unreachable: (brokerName, epoch) => route.actor.send({ type: 'broker.unreachable', brokerName, epoch }),
    silent: (brokerName, epoch) => route.actor.send({ type: 'broker.silent', brokerName, epoch }),
    deleted: () => route.actor.send({ type: 'topic.deleted' }),
    get trouble() {
      return trouble
    },
    stop() {
      unhear()
      pushes.unsubscribe()
      route.stop()
    },
  }

  /** No broker that is registered has the topic. It is missing only when none that may have it is away. */
  function whyMissing(): void {
    ask(transport, subjects.nameServer.cluster, {}, ASK_MS, (outcome) => {
      const view = outcome.ok && outcome.value.code === 0 ? outcome.value : null
      const names = view && 'value' in view ? view.value.brokers.map(({ brokerName }) => brokerName) : []
      const away = home.filter((name) => !names.includes(name))
      if (names.length > 0 && away.length === 0) return route.actor.send({ type: 'route.missing' })
      const message =
        names.length === 0
          ? 'no broker is registered'
          : `${away.join(', ')}, where the topic was seen, is not registered`
      route.actor.send({ type: 'request.failed', code: 'noResponders', message, retryable: true })
    })
  }

  function failed(code: string, message: string): void {
    route.actor.send({ type: 'request.failed', code, message, retryable: true })
  }

  /**
   * Makes the topic on EVERY broker that allows it, so that its load is spread from the first message on. Refused is it ONLY
   * by brokers that say so: one that is slow, or has no master at the moment, is asked again.
   */
  function createEverywhere(): void {
    ask(transport, subjects.nameServer.cluster, {}, ASK_MS, (outcome) => {
      if (!outcome.ok) return failed(outcome.failure.code, `asking a name server: ${outcome.failure.message}`)
      if (!('value' in outcome.value)) return failed('refused', outcome.value.message)
      const willing = outcome.value.value.brokers.filter(({ autoCreateTopic }) => autoCreateTopic)
      const masters = willing.filter(({ role }) => role === 'master')
      if (masters.length > 0) return createOn(masters)
      if (willing.length > 0) return failed('noResponders', 'no broker that creates topics has a master')
      const message = 'no broker creates topics by itself'
      route.actor.send({ type: 'topic.refused', code: 'TOPIC_NOT_EXIST', message })
    })
  }

  function createOn(masters: readonly { brokerName: string; epoch: number }[]): void {
    let left = masters.length
    let trouble = ''
    const created: string[] = []
    const config = { topic, readQueues: DEFAULT_QUEUES, writeQueues: DEFAULT_QUEUES, perm: 6 }
    for (const { brokerName, epoch } of masters) {
      const to = subjects.broker(brokerName, epoch).createTopic
      ask(transport, to, { config, ifMissing: true }, ASK_MS, (answered) => {
        if (!answered.ok) trouble = `${brokerName} was asked to make the topic: ${answered.failure.message}`
        else if (answered.value.code === 0) created.push(brokerName)
        else if (passing.has(answered.value.code))
          trouble = `${brokerName} does not make the topic now: ${(answered.value as Refusal).message}`
        if (--left > 0) return
        if (created.length > 0) route.actor.send({ type: 'topic.created', brokerNames: created })
        else if (trouble !== '') failed('noResponders', trouble)
        else {
          const message = 'no broker took the topic'
          route.actor.send({ type: 'topic.refused', code: 'SYSTEM_ERROR', message })
        }
      })
    }
  }
}
