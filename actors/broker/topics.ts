/**
 * The topics of one broker: made, changed and deleted by records in the log.
 *
 * An order is answered AFTER its record is stored. The name servers hear of the change at once.
 *
 * RocketMQ: broker/topic/TopicConfigManager.java
 */
import { ownTopicFault } from '../../machines/names.ts'
import { PERM_READ, PERM_WRITE, queueCountOf, type TopicConfig } from '../../machines/topic.ts'
import { type Answer, accept, encode, refuse } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { kinds } from '../../transport/frames.ts'
import type { OffsetSearch, QueueBounds, TopicOrder } from '../../transport/messages.ts'
import type { BrokerState, TopicChange } from './broker-state.ts'
import { searchOffset } from './offset-search.ts'
import type { Store } from './store/store.ts'

const QUEUES_MAX = 65_535
const PERMS = [PERM_WRITE, PERM_READ, PERM_READ | PERM_WRITE]

type Tell<T> = (answer: Answer<T>) => void

export class Topics {
  readonly #store: Store
  readonly #state: BrokerState
  readonly #afterStored: (run: () => void) => void
  readonly #changed: (topic: string) => void

  constructor(
    store: Store,
    state: BrokerState,
    afterStored: (run: () => void) => void,
    changed: (topic: string) => void,
  ) {
    this.#store = store
    this.#state = state
    this.#afterStored = afterStored
    this.#changed = changed
  }

  create({ config, ifMissing }: TopicOrder, answer: Tell<TopicConfig>): void {
    const fault = ownTopicFault(config.topic) ?? configFault(config)
    if (fault) return answer(refuse(codes.INVALID_PARAMETER, fault.message))
    const known = this.#state.topics.get(config.topic)
    if (known && (ifMissing || isSame(known, config))) return answer(accept(known))
    this.#record({ set: config }, () => answer(accept(config)))
  }

  delete({ topic }: { topic: string }, answer: Tell<Record<string, never>>): void {
    if (!this.#state.topics.has(topic))
      return answer(refuse(codes.TOPIC_NOT_EXIST, `there is no topic '${topic}'`))
    this.#store.dropQueues(topic)
    this.#record({ deleted: topic }, () => answer(accept({})))
  }

  queues({ topic }: { topic: string }, answer: Tell<QueueBounds[]>): void {
    const config = this.#state.topics.get(topic)
    if (!config) return answer(refuse(codes.TOPIC_NOT_EXIST, `there is no topic '${topic}'`))
    const rows: QueueBounds[] = []
    for (let queueId = 0; queueId < queueCountOf(config); queueId++) {
      rows.push({ queueId, ...this.#store.bounds(this.#store.queue(topic, queueId)) })
    }
    answer(accept(rows))
  }

  searchOffset(request: OffsetSearch, answer: Tell<{ offset: number }>): void {
    searchOffset(this.#store, this.#state, request, answer)
  }

  #record(change: TopicChange, stored: () => void): void {
    this.#store.appendControl(kinds.topics, encode(change))
    this.#state.changeTopic(change)
    this.#afterStored(() => {
      this.#changed('set' in change ? change.set.topic : change.deleted)
      stored()
    })
  }
}

function configFault({ readQueues, writeQueues, perm }: TopicConfig): { message: string } | null {
  for (const queues of [readQueues, writeQueues]) {
    if (queues < 1 || queues > QUEUES_MAX) return { message: `${queues} queues: give 1 to ${QUEUES_MAX}` }
  }
  if (!PERMS.includes(perm)) return { message: `perm ${perm}: give 2 (write), 4 (read) or 6 (both)` }
  return null
}

const isSame = (a: TopicConfig, b: TopicConfig): boolean =>
  a.readQueues === b.readQueues && a.writeQueues === b.writeQueues && a.perm === b.perm
