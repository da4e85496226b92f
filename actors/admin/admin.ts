/**
 * Admin: what operators ask of a cluster. Everything the command line does goes through here.
 *
 * An order to several brokers is carried out on each; what failed on one is thrown and names it.
 */
import { groupFault, topicFault } from '../../machines/names.ts'
import { type BrokerRoute, compareText, type TopicRoute } from '../../machines/topic.ts'
import { ask } from '../../transport/codec.ts'
import type {
  BrokerDescription,
  ClusterView,
  GroupOnBroker,
  Member,
  QueueBounds,
  TopicConfig,
  TopicOverview,
} from '../../transport/messages.ts'
import type { Subject } from '../../transport/subjects.ts'
import { badInput, StateMQError, settle } from '../errors.ts'
import type { Process } from '../node/process.ts'

const ASK_MS = 3_000
/** A name server that has just started answers after a moment. */
const SETTLING_TRIES = 5
const SETTLING_MS = 200

export type TopicDescription = {
  topic: string
  queues: (QueueBounds & { brokerName: string })[]
}

export type GroupDescription = {
  group: string
  generation: number
  members: Member[]
  /** Members that own no queue: there are fewer queues than members. */
  idle: string[]
  queues: (GroupOnBroker['queues'][number] & { brokerName: string; lag: number })[]
}

export type OffsetChange = { brokerName: string; queueId: number; from: number | null; to: number }
export type OffsetPosition = 'first' | 'last' | Date | number

export class Admin {
  readonly #process: Process

  constructor(process: Process) {
    this.#process = process
  }

  /** Makes a topic, or changes its queues, on every master; `queues` is for each broker. */
  async createTopic(
    topic: string,
    { queues = 8, perm = 6 }: { queues?: number; perm?: number } = {},
  ): Promise<TopicConfig & { brokers: string[] }> {
    checkTopicName(topic)
    const config = { topic, readQueues: queues, writeQueues: queues, perm }
    const masters = await this.#masters()
    await Promise.all(
      masters.map(({ brokerName, epoch }) =>
        this.#ask(
          this.#process.subjects.broker(brokerName, epoch).createTopic,
          { config, ifMissing: false },
          `creating '${topic}' on ${brokerName}`,
        ),
      ),
    )
    return { ...config, brokers: masters.map(({ brokerName }) => brokerName) }
  }

  /** Deletes a topic and its messages on every broker. */
  async deleteTopic(topic: string): Promise<void> {
    const { brokers } = await this.route(topic)
    await Promise.all(
      brokers.map(({ brokerName, epoch }) =>
        this.#ask(
          this.#process.subjects.broker(brokerName, epoch).deleteTopic,
          { topic },
          `deleting '${topic}' on ${brokerName}`,
        ),
      ),
    )
  }

  topics(): Promise<TopicOverview[]> {
    return this.#ask(this.#process.subjects.nameServer.topics, {}, 'listing topics')
  }

  /** Where a topic lives. Throws TOPIC_NOT_EXIST when no broker has it. */
  async route(topic: string): Promise<TopicRoute> {
    checkTopicName(topic)
    const route = await this.#ask(
      this.#process.subjects.nameServer.route,
      { topic },
      `the route of '${topic}'`,
    )
    if (route) return route
    throw new StateMQError(
      'TOPIC_NOT_EXIST',
      `there is no topic '${topic}': create it with 'statemq topic create ${topic}'`,
      { retryable: false },
    )
  }

  /** The queues of a topic with their first and last offsets. */
  async topic(topic: string): Promise<TopicDescription> {
    const { brokers } = await this.route(topic)
    const queues = await Promise.all(
      brokers.map(async ({ brokerName, epoch }) => {
        const { queues } = this.#process.subjects.broker(brokerName, epoch)
        const rows = await this.#ask(queues, { topic }, `the queues of '${topic}' on ${brokerName}`)
        return rows.map((row) => ({ brokerName, ...row }))
      }),
    )
    return { topic, queues: queues.flat() }
  }

  /** The groups that have members or committed offsets. */
  async groups(): Promise<string[]> {
    const names = await this.#onEachMaster('listing groups', (to) => [to.groups, {}] as const)
    return [...new Set(names.flatMap(({ value }) => value))].sort(compareText)
  }

  /** Members, owners, offsets and lag of a group. Throws SUBSCRIPTION_GROUP_NOT_EXIST when nobody knows it. */
  async group(group: string): Promise<GroupDescription> {
    checkGroupName(group)
    const parts = await this.#onEachMaster(`group '${group}'`, (to) => [to.group, { group }] as const)
    const coordinator = parts.map(({ value }) => value).sort((a, b) => b.generation - a.generation)[0]
    const members = coordinator?.members ?? []
    const queues = parts.flatMap(({ brokerName, value }) =>
      value.queues.map((row) => ({
        brokerName,
        ...row,
        lag: Math.max(0, row.maxOffset - Math.max(row.committed ?? row.minOffset, row.minOffset)),
      })),
    )
    if (members.length === 0 && queues.length === 0) {
      throw new StateMQError(
        'SUBSCRIPTION_GROUP_NOT_EXIST',
        `no broker knows the group '${group}': see 'statemq group list'`,
        { retryable: false },
      )
    }
    const owners = new Set(queues.map(({ owner }) => owner))
    return {
      group,
      generation: coordinator?.generation ?? 0,
      members,
      idle: members.map(({ clientId }) => clientId).filter((clientId) => !owners.has(clientId)),
      queues,
    }
  }

  /** Moves a stopped group to another place. Refused while somebody reads. `dryRun` tells what would be done. */
  async resetOffsets(
    group: string,
    topic: string,
    to: OffsetPosition,
    { dryRun = false }: { dryRun?: boolean } = {},
  ): Promise<OffsetChange[]> {
    checkGroupName(group)
    const target = targetOf(to)
    const { brokers } = await this.route(topic)
    const before = await this.#onEachMaster(`group '${group}'`, (of) => [of.group, { group }] as const)
    const changes = (
      await Promise.all(
        brokers.map(async ({ brokerName, epoch }) => {
          const of = this.#process.subjects.broker(brokerName, epoch)
          const rows = await this.#ask(of.queues, { topic }, `the queues of '${topic}' on ${brokerName}`)
          const known = before.find((part) => part.brokerName === brokerName)?.value.queues ?? []
          return Promise.all(
            rows.map(async ({ queueId, minOffset, maxOffset }): Promise<OffsetChange> => {
              const from =
                known.find((row) => row.topic === topic && row.queueId === queueId)?.committed ?? null
              if (target.offset !== undefined) {
                return {
                  brokerName,
                  queueId,
                  from,
                  to: Math.max(minOffset, Math.min(target.offset, maxOffset)),
                }
              }
              const what = `offset by time of queue ${queueId} on ${brokerName}`
              const { offset } = await this.#ask(of.searchOffset, { topic, queueId, to: target.search }, what)
              return { brokerName, queueId, from, to: offset }
            }),
          )
        }),
      )
    ).flat()
    if (dryRun) return changes
    const coordinator = before.map(({ value }) => value).sort((a, b) => b.generation - a.generation)[0]
    const generation = coordinator?.generation ?? 0
    const members = coordinator?.members.map(({ clientId }) => clientId) ?? []
    await Promise.all(
      brokers.map(({ brokerName, epoch }) => {
        const offsets = changes
          .filter((change) => change.brokerName === brokerName)
          .map((change): [number, number] => [change.queueId, change.to])
        const { resetOffsets } = this.#process.subjects.broker(brokerName, epoch)
        return this.#ask(
          resetOffsets,
          { group, topic, generation, members, offsets },
          `resetting '${group}' on ${brokerName}`,
        )
      }),
    )
    return changes
  }

  async brokers(): Promise<BrokerDescription[]> {
    const described = await this.#onEachMaster('describing brokers', (to) => [to.describe, {}] as const)
    return described.map(({ value }) => value)
  }

  /** One broker; throws when no name server knows it. */
  async broker(brokerName: string): Promise<BrokerDescription> {
    const master = (await this.#masters()).find((known) => known.brokerName === brokerName)
    if (!master) {
      throw new StateMQError(
        'QUERY_NOT_FOUND',
        `there is no broker '${brokerName}': see 'statemq broker list'`,
      )
    }
    const { describe } = this.#process.subjects.broker(brokerName, master.epoch)
    return this.#ask(describe, {}, `describing ${brokerName}`)
  }

  async #masters(): Promise<Pick<BrokerRoute, 'brokerName' | 'epoch'>[]> {
    const { cluster } = this.#process.subjects.nameServer
    const { clock } = this.#process.world
    for (let attempt = 1; ; attempt++) {
      const view: ClusterView = await this.#ask(cluster, {}, 'listing brokers')
      const masters = view.brokers.filter(({ role }) => role === 'master')
      if (masters.length > 0) return masters
      if (attempt === SETTLING_TRIES) break
      await new Promise<void>((resolve) => void clock.setTimeout(resolve, SETTLING_MS))
    }
    throw new StateMQError('SERVICE_NOT_AVAILABLE', "no broker is registered: start one with 'statemq node'")
  }

  async #onEachMaster<Request, Value>(
    what: string,
    pick: (to: ReturnType<Process['subjects']['broker']>) => readonly [Subject<Request, Value>, Request],
  ): Promise<{ brokerName: string; value: Value }[]> {
    const masters = await this.#masters()
    return Promise.all(
      masters.map(async ({ brokerName, epoch }) => {
        const [subject, request] = pick(this.#process.subjects.broker(brokerName, epoch))
        return { brokerName, value: await this.#ask(subject, request, `${what} on ${brokerName}`) }
      }),
    )
  }

  #ask<Request, Value>(subject: Subject<Request, Value>, request: Request, what: string): Promise<Value> {
    return new Promise((resolve, reject) => {
      ask(this.#process.world.transport, subject, request, ASK_MS, (outcome) =>
        settle(outcome, what, resolve, (error) => reject(explained(error, what))),
      )
    })
  }
}

/** Nobody listens: of a name server that means there is no cluster, of a broker that it has just gone. */
function explained(error: StateMQError, what: string): StateMQError {
  if (error.code !== 'NO_RESPONDERS') return error
  return new StateMQError(
    'NO_NAME_SERVER',
    `${what}: nobody answers for this cluster; is 'statemq start' running, and is the cluster's name right?`,
    { retryable: true, cause: error },
  )
}

function targetOf(to: OffsetPosition): { offset?: number; search: 'first' | 'last' | number } {
  if (to === 'first' || to === 'last') return { search: to }
  if (to instanceof Date && !Number.isNaN(to.getTime())) return { search: Math.max(0, to.getTime()) }
  if (typeof to === 'number' && Number.isSafeInteger(to) && to >= 0) return { offset: to, search: 'first' }
  throw badInput("reset to 'first', 'last', a Date, or an offset from 0 on", 'INVALID_PARAMETER')
}

function checkTopicName(topic: unknown): void {
  const fault =
    typeof topic === 'string'
      ? topicFault(topic)
      : { code: 'MESSAGE_ILLEGAL' as const, message: 'the topic is no string' }
  if (fault) throw badInput(fault.message, fault.code)
}

function checkGroupName(group: unknown): void {
  const fault =
    typeof group === 'string'
      ? groupFault(group)
      : { code: 'INVALID_PARAMETER' as const, message: 'the group is no string' }
  if (fault) throw badInput(fault.message, fault.code)
}
