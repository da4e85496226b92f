/**
 * Where a queue begins, where it ends, and what was stored since a time: by what is confirmed, as readers see it.
 *
 * RocketMQ: broker/processor/AdminBrokerProcessor.java (searchOffsetByTimestamp, getMinOffset, getMaxOffset)
 */
import { queueCountOf } from '../../machines/topic.ts'
import { type Answer, accept, refuse } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import type { OffsetSearch } from '../../transport/messages.ts'
import type { BrokerState } from './broker-state.ts'
import type { Store } from './store/store.ts'

export function searchOffset(
  store: Pick<Store, 'queue' | 'bounds' | 'offsetByTime'>,
  { topics }: Pick<BrokerState, 'topics'>,
  { topic, queueId, to }: OffsetSearch,
  answer: (answer: Answer<{ offset: number }>) => void,
): void {
  const config = topics.get(topic)
  if (!config || queueId >= queueCountOf(config))
    return answer(refuse(codes.TOPIC_NOT_EXIST, `there is no queue ${queueId} of a topic '${topic}'`))
  const queue = store.queue(topic, queueId)
  const { minOffset, maxOffset } = store.bounds(queue)
  if (to === 'first') return answer(accept({ offset: minOffset }))
  if (to === 'last') return answer(accept({ offset: maxOffset }))
  store.offsetByTime(queue, to, (outcome) => {
    if (outcome.ok) answer(accept({ offset: outcome.value }))
    else answer(refuse(codes.SYSTEM_ERROR, outcome.failure.message))
  })
}
