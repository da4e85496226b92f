/** A group of consumers that join and leave, and note what they are given. */
import { type Client, type Consumer, type IncomingMessage, StateMQError } from '../../actors/index.ts'
import type { Random } from '../../actors/node/world.ts'
import { queueKey } from '../../machines/topic.ts'
import type { HistoryEvent } from '../support/history.ts'
import { nameOf, type Record } from '../support/load.ts'
import { until } from '../support/until.ts'

const GROUP = 'chaos'
const MEMBERS_MAX = 4
const DRAIN_MS = 120_000

type Member = { name: string; consumer: Consumer; owned: string[] }

export class Members {
  readonly #client: Client
  readonly #record: Record
  readonly #topic: string
  readonly #random: Random
  readonly #members: Member[] = []
  #joined = 0
  handled = 0

  constructor(client: Client, record: Record, topic: string, random: Random) {
    this.#client = client
    this.#record = record
    this.#topic = topic
    this.#random = random
    for (let i = 0; i < 2; i++) this.#join()
  }

  /** Somebody comes, somebody goes, or nobody. */
  async change(): Promise<void> {
    const chance = this.#random.next()
    if (chance < 0.25 && this.#members.length < MEMBERS_MAX) this.#join()
    else if (chance < 0.5 && this.#members.length > 1) await this.#leave()
  }

  #join(): void {
    const name = `member-${++this.#joined}`
    const consumer = this.#client.consumer({ group: GROUP, clientId: name, from: 'first', ordered: true })
    const member: Member = { name, consumer, owned: [] }
    consumer.assignment$.subscribe((owned) => {
      member.owned = owned.map(queueKey)
    })
    this.#members.push(member)
    void consumer.subscribe(this.#topic).run((message) => this.#handle(name, message))
  }

  async #leave(): Promise<void> {
    const [member] = this.#members.splice(this.#random.below(this.#members.length), 1)
    await member!.consumer.close()
    this.#record.note({ type: 'consumer.gone', group: GROUP, consumer: member!.name })
  }

  #handle(consumer: string, message: IncomingMessage): void {
    const { queueOffset: offset, epoch, messageId, deliveryAttempt: attempt } = message
    const read = { group: GROUP, consumer, queue: queueKey(message) }
    this.#record.note({
      ...{ type: 'message.delivered', ...read, offset, epoch, message: nameOf(message.text) },
      ...{ messageId, attempt, isOrdered: true },
    })
    this.handled++
    this.#record.note({ type: 'message.handled', ...read, offset })
  }

  /** Resolves when all that is stored is handled and committed; says how the group stands then. */
  async drain(queues: number): Promise<HistoryEvent> {
    let seen: Extract<HistoryEvent, { type: 'group.settled' }> | null = null
    const isSettled = async () => {
      try {
        const { queues: rows } = await this.#client.admin().group(GROUP)
        const owned = Object.fromEntries(this.#members.map(({ name, owned }) => [name, owned]))
        const settled = rows.map(({ owner, committed, minOffset, maxOffset, ...row }) => {
          return { queue: queueKey(row), owner, committed, minOffset, maxOffset }
        })
        seen = { type: 'group.settled', group: GROUP, queues: settled, owned }
        return (
          settled.length === queues &&
          settled.every(
            ({ queue, owner, committed, minOffset, maxOffset }) =>
              owner !== null && owned[owner]?.includes(queue) && (committed ?? minOffset) === maxOffset,
          )
        )
      } catch (error) {
        if (error instanceof StateMQError) return false
        throw error
      }
    }
    // Whoever has not settled in time has an anomaly, which the checker names.
    await until('the group is drained', isSettled, DRAIN_MS).catch((error) => {
      if (seen === null) throw error
    })
    return seen!
  }

  async close(): Promise<void> {
    await Promise.all(this.#members.splice(0).map(({ consumer }) => consumer.close()))
  }
}
