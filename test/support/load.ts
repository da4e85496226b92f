/**
 * Load on a topic: senders that go on whatever happens, and note for the history what they sent and what became of it.
 *
 * The body of a message is its name and a padding that follows from it, so whoever reads it sees that no byte of it
 * changed. A sender has several messages under way, some of them in message groups.
 */

import type { FrameView } from '../../actors/consumer/incoming-message.ts'
import type { Client, IncomingMessage, Producer, Receipt } from '../../actors/index.ts'
import { StateMQError } from '../../actors/index.ts'
import { queueKey } from '../../machines/topic.ts'
import { producerIdAt, sequenceAt } from '../../transport/frames.ts'
import type { Happened, HistoryEvent, LoggedMessage } from './history.ts'
import { until } from './until.ts'

export type LoadSettings = {
  topic: string
  senders: number
  /** Message groups of each sender; every other message has one. 0 for none. */
  messageGroups: number
  /** Sent at once by one sender, and then awaited. */
  burst: number
  pauseMs: number
  bodyBytes: number
  timeoutMs: number
}

const DEFAULTS: LoadSettings = {
  topic: 'orders',
  senders: 10,
  messageGroups: 3,
  burst: 4,
  pauseMs: 10,
  bodyBytes: 100,
  timeoutMs: 600_000,
}

/** All that happened, in order. */
export class Record {
  readonly events: Happened[] = []

  note(event: HistoryEvent): void {
    this.events.push({ ...event, at: performance.now() })
  }
}

export class Load {
  readonly settings: LoadSettings
  readonly record: Record
  readonly receipts: Receipt[] = []
  /** The codes of those that failed. */
  readonly failures: string[] = []
  readonly #epochs = new Set<string>()
  readonly #producer: Producer
  readonly #running: Promise<unknown>
  #isOver = false

  constructor(client: Client, record: Record, given: Partial<LoadSettings> = {}, name = 'sender') {
    this.settings = { ...DEFAULTS, ...given }
    this.record = record
    this.#producer = client.producer({ timeoutMs: this.settings.timeoutMs })
    const senders = Array.from({ length: this.settings.senders }, (_, i) => this.#run(`${name}-${i}`))
    this.#running = Promise.all(senders)
    this.#running.catch(() => {})
  }

  /** Resolves when `count` more were acknowledged. */
  async goesOn(count = 200): Promise<void> {
    const enough = this.receipts.length + count
    const isSo = () => this.receipts.length >= enough
    await Promise.race([until(`${count} more messages are acknowledged`, isSo), this.#running])
  }

  /** No more is sent, and what is under way is awaited. */
  async stop(): Promise<void> {
    this.#isOver = true
    await this.#running
    await this.#producer.close()
  }

  /** No more is sent, and nobody waits for what is under way. */
  abandon(): void {
    this.#isOver = true
  }

  async #run(sender: string): Promise<void> {
    const { burst, pauseMs } = this.settings
    for (let sequence = 0; !this.#isOver; sequence += burst) {
      await Promise.all(Array.from({ length: burst }, (_, i) => this.#send(sender, sequence + i)))
      await new Promise((resolve) => setTimeout(resolve, pauseMs))
    }
  }

  async #send(sender: string, sequence: number): Promise<void> {
    const { topic, messageGroups, bodyBytes } = this.settings
    const { record } = this
    const isGrouped = messageGroups > 0 && sequence % 2 === 0
    const messageGroup = isGrouped ? `${sender}-${(sequence / 2) % messageGroups}` : null
    const message = `${sender}/${sequence}`
    const body = bodyOf(message, bodyBytes)
    record.note({ type: 'send.invoked', message, sender, sequence, messageGroup, bytes: body.length })
    const group = messageGroup === null ? {} : { messageGroup }
    try {
      const receipt = await this.#producer.send({ topic, body, ...group })
      this.receipts.push(receipt)
      const { queueOffset: offset, epoch, messageId } = receipt
      this.#served(receipt)
      record.note({ type: 'send.stored', message, queue: queueKey(receipt), offset, epoch, messageId })
    } catch (error) {
      if (!(error instanceof StateMQError)) throw error
      this.failures.push(error.code)
      record.note({ type: 'send.failed', message, code: error.code })
    }
  }

  /** A sender sees an epoch and not a process: which one it was is told by the register. */
  #served({ brokerName: broker, epoch }: Receipt): void {
    const key = `${broker} ${epoch}`
    if (this.#epochs.has(key)) return
    this.#epochs.add(key)
    this.record.note({ type: 'epoch.served', broker, epoch, process: key })
  }
}

export const bodyOf = (message: string, bytes: number): string =>
  `${message} ${`${message}.`.repeat(Math.ceil(bytes / (message.length + 1)))}`.slice(
    0,
    Math.max(bytes, message.length + 1),
  )

/** The message's name; a body that was changed has one that nobody sent. */
export function nameOf(text: string): string {
  const name = text.slice(0, text.indexOf(' '))
  return text === bodyOf(name, text.length) ? name : `damaged: ${text.slice(0, 60)}`
}

/** The queues of a topic from first to last, as a reader sees them, for the history. */
export async function readLogs(client: Client, topic: string): Promise<HistoryEvent[]> {
  const { queues } = await client.admin().topic(topic)
  const reader = client.reader({ topic })
  const logs = new Map(
    queues.map(({ brokerName, queueId, minOffset, maxOffset }) => [
      queueKey({ topic, brokerName, queueId }),
      { minOffset, maxOffset, messages: [] as LoggedMessage[] },
    ]),
  )
  let left = queues.reduce((sum, { minOffset, maxOffset }) => sum + maxOffset - minOffset, 0)
  await until(`the ${left} messages of '${topic}' are read`, async () => {
    const found = await reader.poll(10_000, 1_000)
    for (const message of found) logs.get(queueKey(message))!.messages.push(loggedOf(message))
    left -= found.length
    return left <= 0
  })
  await reader.close()
  return [...logs].map(([queue, log]) => ({ type: 'log.read', queue, ...log }))
}

function loggedOf(message: IncomingMessage): LoggedMessage {
  const { queueOffset: offset, epoch, messageId, text } = message
  // A message that was moved to another broker keeps its id and comes in another frame.
  const { bytes } = (message as unknown as { frame: FrameView }).frame
  const frame = `${producerIdAt(bytes, 0)}-${sequenceAt(bytes, 0)}`
  return { offset, epoch, message: nameOf(text), messageId, frame }
}
