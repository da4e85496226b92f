/**
 * Admin: what operators ask of a cluster. Everything the command line does goes through here.
 *
 * An order to several brokers is carried out on each; what failed on one is thrown and names it.
 */
import { brokerNameFault, groupFault, isDerived, ownTopicFault, RETRY_PREFIX } from '../../machines/names.ts'
import { compareText, type TopicRoute } from '../../machines/topic.ts'
import type { QueueBounds, TopicConfig, TopicOverview } from '../../transport/messages.ts'
import { badInput, StateMQError } from '../errors.ts'
import type { Process } from '../node/process.ts'
import { type Names, refuseUnknown } from '../options.ts'
import type { Receipt } from '../producer/batch.ts'
import { type BrokerOverview, describeBroker, describeReplicas, promote, type Replica } from './brokers.ts'
import { type DeadLetter, DeadLetters, type DeadLetterWithBody } from './dead-letters.ts'
import { type Durability, durabilityOf } from './durability.ts'
import { describeGroup, type GroupDescription } from './groups.ts'
import { Masters } from './masters.ts'
import { type OffsetChange, OffsetMove, type OffsetPosition, setOffsets } from './offsets.ts'

export type TopicDescription = {
  topic: string
  queues: (QueueBounds & { brokerName: string })[]
  /** What a message to this topic survives, on each broker that has it. */
  durability: (Durability & { brokerName: string })[]
}

type CreateTopicOptions = { queues?: number; perm?: number }
type SkipOptions = { dryRun?: boolean }
type ResetOptions = SkipOptions & { create?: boolean }
type CloneOptions = SkipOptions & { topic?: string }
type DeadLettersOptions = { max?: number }
const QUEUES_MAX = 65_535
const createTopicOptions: Names<CreateTopicOptions> = { queues: true, perm: true }
const resetOptions: Names<ResetOptions> = { dryRun: true, create: true }
const skipOptions: Names<SkipOptions> = { dryRun: true }
const cloneOptions: Names<CloneOptions> = { dryRun: true, topic: true }
const deadLettersOptions: Names<DeadLettersOptions> = { max: true }

export class Admin {
  readonly #masters: Masters

  constructor(process: Process) {
    this.#masters = new Masters(process)
  }

  /** Makes a topic, or changes its queues, on every master; `queues` is for each broker. */
  async createTopic(
    topic: string,
    options: CreateTopicOptions = {},
  ): Promise<TopicConfig & { brokers: string[] }> {
    checkTopicName(topic)
    refuseUnknown('createTopic', options, createTopicOptions)
    const { queues = 8, perm = 6 } = options
    if (!(Number.isInteger(queues) && queues >= 1 && queues <= QUEUES_MAX))
      throw badInput(`queues ${queues}: give a whole number from 1 to ${QUEUES_MAX}`, 'INVALID_PARAMETER')
    if (![2, 4, 6].includes(perm))
      throw badInput(`perm ${perm}: give 6 (read and write), 4 (read) or 2 (write)`, 'INVALID_PARAMETER')
    const config = { topic, readQueues: queues, writeQueues: queues, perm }
    const order = { config, ifMissing: false }
    const made = await this.#masters.onEach(`creating '${topic}'`, (to) => [to.createTopic, order] as const)
    return { ...config, brokers: made.map(({ brokerName }) => brokerName) }
  }

  /** Deletes a topic and its messages on every broker. */
  async deleteTopic(topic: string): Promise<void> {
    const { brokers } = await this.route(topic)
    await Promise.all(
      brokers.map((master) =>
        this.#masters.on(
          master,
          `deleting '${topic}' on ${master.brokerName}`,
          (to) => [to.deleteTopic, { topic }] as const,
        ),
      ),
    )
  }

  topics(): Promise<TopicOverview[]> {
    return this.#masters.ask(this.#masters.process.subjects.nameServer.topics, {}, 'listing topics')
  }

  /** Where a topic lives. Throws TOPIC_NOT_EXIST when no broker has it. */
  async route(topic: string): Promise<TopicRoute> {
    checkTopicName(topic)
    const { nameServer } = this.#masters.process.subjects
    const route = await this.#masters.ask(nameServer.route, { topic }, `the route of '${topic}'`)
    if (route) return route
    const advice = isDerived(topic)
      ? "it is made when it is first needed; see 'statemq topic list'"
      : `create it with 'statemq topic create ${topic}'`
    throw new StateMQError('TOPIC_NOT_EXIST', `there is no topic '${topic}': ${advice}`, { retryable: false })
  }

  /** The queues of a topic with their first and last offsets, and what a message to them survives. */
  async topic(topic: string): Promise<TopicDescription> {
    const { brokers } = await this.route(topic)
    const parts = await Promise.all(
      brokers.map(async (master) => {
        const { brokerName } = master
        const [rows, description] = await Promise.all([
          this.#masters.on(
            master,
            `the queues of '${topic}' on ${brokerName}`,
            (to) => [to.queues, { topic }] as const,
          ),
          this.#masters.on(master, `describing ${brokerName}`, (to) => [to.describe, {}] as const),
        ])
        return {
          queues: rows.map((row) => ({ brokerName, ...row })),
          durability: { brokerName, ...durabilityOf(description) },
        }
      }),
    )
    return {
      topic,
      queues: parts.flatMap(({ queues }) => queues),
      durability: parts.map(({ durability }) => durability),
    }
  }

  /** The groups that have members or committed offsets. */
  async groups(): Promise<string[]> {
    const names = await this.#masters.onEach('listing groups', (to) => [to.groups, {}] as const)
    return [...new Set(names.flatMap(({ value }) => value))].sort(compareText)
  }

  /** Members, owners, offsets and lag of a group. Throws SUBSCRIPTION_GROUP_NOT_EXIST when nobody knows it. */
  async group(group: string): Promise<GroupDescription> {
    checkGroupName(group)
    const parts = await this.#masters.onEach(`group '${group}'`, (to) => [to.group, { group }] as const)
    return mustBeKnown(describeGroup(group, parts))
  }

  /**
   * Moves a group to another place; its consumers go on there at once. `dryRun` tells what would be done. `create`: the
   * group may be a new one, else it throws SUBSCRIPTION_GROUP_NOT_EXIST. Throws PULL_OFFSET_MOVED for an offset that lies
   * behind the end of every queue; a shorter queue goes to its end.
   */
  async resetOffsets(
    group: string,
    topic: string,
    to: OffsetPosition,
    options: ResetOptions = {},
  ): Promise<OffsetChange[]> {
    refuseUnknown('resetOffsets', options, resetOptions)
    const { dryRun = false, create = false } = options
    checkGroupName(group)
    const move = new OffsetMove(this.#masters, topic, to)
    const route = await this.route(topic)
    const before = await this.#masters.onEach(`group '${group}'`, (of) => [of.group, { group }] as const)
    if (!create) mustBeKnown(describeGroup(group, before), "; 'statemq group reset --create' makes a new one")
    const changes = await move.plan(route, before)
    if (!dryRun) await setOffsets(this.#masters, group, topic, route, changes)
    return changes
  }

  /** The group goes on at the end of the topic: what waits for it is not read. */
  async skipBacklog(group: string, topic: string, options: SkipOptions = {}): Promise<OffsetChange[]> {
    refuseUnknown('skipBacklog', options, skipOptions)
    return this.resetOffsets(group, topic, 'last', options)
  }

  /**
   * Group `to` goes on where `from` is: in one topic, or in all that `from` has read. Queues of which `from` has
   * committed nothing are left alone, and so are its retries.
   */
  async cloneOffsets(
    from: string,
    to: string,
    options: CloneOptions = {},
  ): Promise<(OffsetChange & { topic: string })[]> {
    refuseUnknown('cloneOffsets', options, cloneOptions)
    const { topic, dryRun = false } = options
    checkGroupName(to)
    if (from === to) throw badInput(`'${to}' is where it is: give another group`, 'INVALID_PARAMETER')
    if (topic !== undefined) await this.route(topic)
    const source = await this.group(from)
    const target = await this.#masters.onEach(`group '${to}'`, (of) => [of.group, { group: to }] as const)
    const changes = source.queues.flatMap(({ topic: name, brokerName, queueId, committed }) => {
      if (committed === null || name === RETRY_PREFIX + from || (topic ?? name) !== name) return []
      const known = target.find((part) => part.brokerName === brokerName)?.value.queues ?? []
      const before = known.find((row) => row.topic === name && row.queueId === queueId)?.committed ?? null
      return { topic: name, brokerName, queueId, from: before, to: committed }
    })
    if (!dryRun) {
      for (const name of new Set(changes.map((change) => change.topic))) {
        const route = await this.route(name)
        const own = changes.filter((change) => change.topic === name)
        await setOffsets(this.#masters, to, name, route, own)
      }
    }
    return changes
  }

  /**
   * What a group could not handle in all its tries, the newest first; at most `max`, default 100. Throws
   * SUBSCRIPTION_GROUP_NOT_EXIST when nobody knows the group.
   */
  async deadLetters(group: string, options: DeadLettersOptions = {}): Promise<DeadLetter[]> {
    refuseUnknown('deadLetters', options, deadLettersOptions)
    const { max = 100 } = options
    const found = await this.#dead(group).list(max)
    if (found.length === 0) await this.group(group)
    return found
  }

  /** One of them with its body. Throws QUERY_NOT_FOUND. */
  async deadLetter(group: string, messageId: string): Promise<DeadLetterWithBody> {
    if (typeof messageId !== 'string' || messageId === '') throw badInput('give the id of a dead letter')
    return this.#dead(group).show(messageId)
  }

  /**
   * Sends dead letters to the topics that they were sent to first, under their ids; each stays what it is. They go to ALL
   * groups that read the topic: one that had handled such a message knows it by its id. Throws QUERY_NOT_FOUND for an id,
   * SUBSCRIPTION_GROUP_NOT_EXIST for a group that nobody knows.
   */
  async resendDeadLetters(
    group: string,
    which: { messageIds: readonly string[] } | { all: true },
  ): Promise<Receipt[]> {
    const { all, messageIds } = (which ?? {}) as { all?: unknown; messageIds?: unknown }
    if (all === true) {
      const receipts = await this.#dead(group).resend('all')
      if (receipts.length === 0) await this.group(group)
      return receipts
    }
    const isList = Array.isArray(messageIds) && messageIds.length > 0
    if (!isList || !messageIds.every((id) => typeof id === 'string' && id !== ''))
      throw badInput('give { messageIds: [id, …] } or { all: true }', 'INVALID_PARAMETER')
    return this.#dead(group).resend(messageIds)
  }

  #dead(group: string): DeadLetters {
    checkGroupName(group)
    return new DeadLetters(this.#masters, group)
  }

  /** Every replica of every broker; one that does not answer is listed as that. */
  brokers(): Promise<Replica[]> {
    return describeReplicas(this.#masters)
  }

  /** One broker with its replicas; throws when no name server knows it. */
  broker(brokerName: string): Promise<BrokerOverview> {
    checkBrokerName(brokerName)
    return describeBroker(this.#masters, brokerName)
  }

  /**
   * Makes a replica the master of its broker, and resolves AFTER it serves. Without a failed send: the master itself
   * hands over, and only to a replica in the sync state set. `unclean`, where there is no master: takes a replica that
   * may lack acknowledged messages; THEY ARE LOST.
   */
  promote(
    brokerName: string,
    brokerId: number,
    options: { unclean?: boolean } = {},
  ): Promise<{ epoch: number }> {
    checkBrokerName(brokerName)
    return promote(this.#masters, brokerName, brokerId, options)
  }
}

function mustBeKnown(found: GroupDescription, more = ''): GroupDescription {
  if (found.members.length > 0 || found.queues.length > 0) return found
  const message = `no broker knows the group '${found.group}': see 'statemq group list'${more}`
  throw new StateMQError('SUBSCRIPTION_GROUP_NOT_EXIST', message, { retryable: false })
}

function checkTopicName(topic: unknown): void {
  const fault =
    typeof topic === 'string'
      ? ownTopicFault(topic)
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

function checkBrokerName(brokerName: unknown): void {
  const fault =
    typeof brokerName === 'string'
      ? brokerNameFault(brokerName)
      : { message: 'the name of the broker is no string' }
  if (fault) throw badInput(fault.message, 'INVALID_PARAMETER')
}
