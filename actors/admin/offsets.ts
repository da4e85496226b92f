/**
 * Moves a group to another place in a topic: to one of the ends, to a time, to an offset.
 *
 * Consumers may run: whoever owns a queue is refused at its next pull or commit, claims the queue anew and begins at the
 * new place.
 */
import type { TopicRoute } from '../../machines/topic.ts'
import type { GroupOnBroker } from '../../transport/messages.ts'
import { badInput } from '../errors.ts'
import type { Master, Masters } from './masters.ts'

export type OffsetChange = { brokerName: string; queueId: number; from: number | null; to: number }
export type OffsetPosition = 'first' | 'last' | Date | number

type GroupOnEach = { brokerName: string; value: GroupOnBroker }[]
type Target = { offset?: number; search: 'first' | 'last' | number }

export class OffsetMove {
  readonly #masters: Masters
  readonly #topic: string
  readonly #target: Target

  constructor(masters: Masters, topic: string, to: OffsetPosition) {
    this.#masters = masters
    this.#topic = topic
    this.#target = targetOf(to)
  }

  /** What would change. */
  async plan({ brokers }: TopicRoute, before: GroupOnEach): Promise<OffsetChange[]> {
    const changes = await Promise.all(
      brokers.map((master) => {
        const known = before.find(({ brokerName }) => brokerName === master.brokerName)?.value.queues ?? []
        return this.#planOn(master, known)
      }),
    )
    const { offset } = this.#target
    if (offset !== undefined && changes.flat().every(({ end }) => offset > end)) {
      const end = Math.max(...changes.flat().map((change) => change.end))
      const message = `no queue of '${this.#topic}' reaches offset ${offset}: the longest ends at ${end}; 'last' is its end`
      throw badInput(message, 'PULL_OFFSET_MOVED')
    }
    return changes.flat().map(({ end: _, ...change }) => change)
  }

  async #planOn(master: Master, known: GroupOnBroker['queues']): Promise<(OffsetChange & { end: number })[]> {
    const { brokerName } = master
    const topic = this.#topic
    const what = `the queues of '${topic}' on ${brokerName}`
    const rows = await this.#masters.on(master, what, (to) => [to.queues, { topic }] as const)
    const { offset, search } = this.#target
    return Promise.all(
      rows.map(async ({ queueId, minOffset, maxOffset }) => {
        const from = known.find((row) => row.topic === topic && row.queueId === queueId)?.committed ?? null
        if (offset !== undefined) {
          const to = Math.max(minOffset, Math.min(offset, maxOffset))
          return { brokerName, queueId, from, to, end: maxOffset }
        }
        const found = await this.#masters.on(
          master,
          `offset by time of queue ${queueId} on ${brokerName}`,
          (to) => [to.searchOffset, { topic, queueId, to: search }] as const,
        )
        return { brokerName, queueId, from, to: found.offset, end: maxOffset }
      }),
    )
  }
}

/** Carries a plan out, on the brokers that it speaks of. */
export async function setOffsets(
  masters: Masters,
  group: string,
  topic: string,
  { brokers }: TopicRoute,
  changes: readonly OffsetChange[],
): Promise<void> {
  await Promise.all(
    brokers.map(async (master) => {
      const offsets = changes
        .filter(({ brokerName }) => brokerName === master.brokerName)
        .map(({ queueId, to }): [number, number] => [queueId, to])
      if (offsets.length === 0) return
      const what = `resetting '${group}' on ${master.brokerName}`
      await masters.on(master, what, (to) => [to.resetOffsets, { group, topic, offsets }] as const)
    }),
  )
}

function targetOf(to: OffsetPosition): Target {
  if (to === 'first' || to === 'last') return { search: to }
  if (to instanceof Date && !Number.isNaN(to.getTime())) return { search: Math.max(0, to.getTime()) }
  if (typeof to === 'number' && Number.isSafeInteger(to) && to >= 0) return { offset: to, search: 'first' }
  throw badInput("reset to 'first', 'last', a Date, or an offset from 0 on", 'INVALID_PARAMETER')
}
