/**
 * A steady sender to one queue of one broker: by it is measured for how long that broker took nothing.
 *
 * It sends at a fixed rate whatever is under way, so that a time is exact to that rate. A fault counts as survived by the
 * first message that is acknowledged in a LATER epoch: what was under way when the master died may still be answered.
 */
import { type Client, type Producer, StateMQError } from '../../actors/index.ts'
import { queueKey } from '../../machines/topic.ts'
import { bodyOf, type Record } from '../support/load.ts'
import { until } from '../support/until.ts'

const EVERY_MS = 5
const BODY_BYTES = 40
const TIMEOUT_MS = 600_000
/** So many are under way at most: the rest of an outage is not sampled. */
const UNDER_WAY_MAX = 5_000

export class Probe {
  readonly brokerName: string
  readonly #producer: Producer
  readonly #record: Record
  readonly #topic: string
  readonly #timer: NodeJS.Timeout
  readonly #firstOf = new Map<number, number>()
  #sequence = 0
  #underWay = 0
  acknowledged = 0
  epoch = 0

  constructor(client: Client, record: Record, topic: string, brokerName: string) {
    this.brokerName = brokerName
    this.#producer = client.producer({ timeoutMs: TIMEOUT_MS })
    this.#record = record
    this.#topic = topic
    this.#timer = setInterval(() => void this.#send(), EVERY_MS)
  }

  /** From `since` to the first message that was acknowledged in a later epoch than this one. */
  async outage(epoch: number, since: number): Promise<number> {
    await until(`${this.brokerName} acknowledges in a later epoch than ${epoch}`, () => this.epoch > epoch)
    const later = [...this.#firstOf].filter(([other]) => other > epoch).map(([, at]) => at)
    return Math.min(...later) - since
  }

  /** No more is sent, and what is under way is awaited. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await until('all probes are answered', () => this.#underWay === 0)
    await this.#producer.close()
  }

  abandon(): void {
    clearInterval(this.#timer)
  }

  async #send(): Promise<void> {
    if (this.#underWay >= UNDER_WAY_MAX) return
    const sender = `probe-${this.brokerName}`
    const sequence = this.#sequence++
    const message = `${sender}/${sequence}`
    this.#record.note({ type: 'send.invoked', message, sender, sequence, messageGroup: sender })
    this.#underWay++
    try {
      const receipt = await this.#producer.send({
        topic: this.#topic,
        body: bodyOf(message, BODY_BYTES),
        selectQueue: (queues) => queues.findIndex(({ brokerName }) => brokerName === this.brokerName),
      })
      const { queueOffset: offset, epoch, messageId } = receipt
      this.#record.note({ type: 'send.stored', message, queue: queueKey(receipt), offset, epoch, messageId })
      this.acknowledged++
      this.epoch = Math.max(this.epoch, epoch)
      if (!this.#firstOf.has(epoch)) this.#firstOf.set(epoch, performance.now())
    } catch (error) {
      const code = error instanceof StateMQError ? error.code : String(error)
      this.#record.note({ type: 'send.failed', message, code })
    } finally {
      this.#underWay--
    }
  }
}
