/**
 * Acknowledgements and changes of invisible times on their way to the brokers: those of one turn of the loop together.
 *
 * The promise of each resolves AFTER the broker has recorded it and its replicas have confirmed that. While a broker does
 * not answer it is told again, and so is its next master. An acknowledgement that is refused as a repetition was
 * recorded at an earlier try of this same call, if one of them had no answer: that is success.
 */
import { ask } from '../../../transport/codec.ts'
import { codes, isRetryable } from '../../../transport/codes.ts'
import { type PopSettle, SETTLE_ITEMS_MAX } from '../../../transport/pop-messages.ts'
import { badInput, errorOfFailure, errorOfRefusal, type StateMQError } from '../../errors.ts'
import type { Process } from '../../node/process.ts'
import type { ReceiptHandle } from './receipt-handle.ts'

const ASK_MS = 3_000
const PAUSE_MS = 200
/** In all: longer than a broker takes to get another master. */
const SETTLE_MS = 15_000

/** What a client knows of masters. */
export type KnownMasters = {
  /** The mastership to ask, 0 when none is known. */
  epochOf(brokerName: string): number
  unreachable(brokerName: string, epoch: number): void
}

type Item = {
  handle: ReceiptHandle
  invisibleMs: number | null
  /** On the monotonic clock. */
  until: number
  inDoubt: boolean
  resolve: () => void
  reject: (error: StateMQError) => void
}

export class Settling {
  readonly #process: Process
  readonly #group: string
  readonly #clientId: string
  readonly #masters: KnownMasters
  readonly #waiting = new Map<string, Item[]>()
  readonly #pauses = new Map<string, unknown>()
  #isDeferred = false
  #open = 0
  #idle: (() => void)[] = []

  constructor(process: Process, group: string, clientId: string, masters: KnownMasters) {
    this.#process = process
    this.#group = group
    this.#clientId = clientId
    this.#masters = masters
  }

  /** `invisibleMs` null acknowledges. */
  settle(handle: ReceiptHandle, invisibleMs: number | null): Promise<void> {
    const { clock } = this.#process.world
    const settled = new Promise<void>((resolve, reject) => {
      this.#open++
      const end = () => {
        if (--this.#open === 0) for (const tell of this.#idle.splice(0)) tell()
      }
      this.#wait({
        ...{ handle, invisibleMs, until: clock.monotonic() + SETTLE_MS, inDoubt: false },
        resolve: () => {
          resolve()
          end()
        },
        reject: (error) => {
          reject(error)
          end()
        },
      })
    })
    if (!this.#isDeferred) {
      this.#isDeferred = true
      clock.defer(() => {
        this.#isDeferred = false
        for (const brokerName of [...this.#waiting.keys()]) this.#ship(brokerName)
      })
    }
    return settled
  }

  #wait(item: Item): void {
    const { brokerName } = item.handle
    const waiting = this.#waiting.get(brokerName)
    if (waiting) waiting.push(item)
    else this.#waiting.set(brokerName, [item])
  }

  #ship(brokerName: string): void {
    if (this.#pauses.has(brokerName)) return
    const items = this.#waiting.get(brokerName) ?? []
    this.#waiting.delete(brokerName)
    const epoch = this.#masters.epochOf(brokerName)
    if (items.length > 0 && epoch === 0) {
      this.#masters.unreachable(brokerName, 0)
      const message = `no master of ${brokerName} is known: see 'statemq broker list'`
      return this.#later(brokerName, items, errorOfRefusal(codes.SERVICE_NOT_AVAILABLE, message))
    }
    for (let at = 0; at < items.length; at += SETTLE_ITEMS_MAX)
      this.#ask(brokerName, epoch, items.slice(at, at + SETTLE_ITEMS_MAX))
  }

  #ask(brokerName: string, epoch: number, items: Item[]): void {
    const { world, subjects } = this.#process
    const request: PopSettle = {
      group: this.#group,
      clientId: this.#clientId,
      items: items.map(({ handle, invisibleMs }) => {
        const { topic, queueId, offset, attempt, token } = handle
        return [topic, queueId, offset, attempt, token, invisibleMs]
      }),
    }
    ask(world.transport, subjects.broker(brokerName, epoch).popSettle, request, ASK_MS, (outcome) => {
      if (!outcome.ok) {
        const { failure } = outcome
        if (failure.code !== 'noResponders') for (const item of items) item.inDoubt = true
        if (failure.code !== 'closed') this.#masters.unreachable(brokerName, epoch)
        const message = `${brokerName} does not answer: ${failure.message}`
        return this.#later(brokerName, items, errorOfFailure({ ...failure, message, retryable: true }))
      }
      const answer = outcome.value
      if ('value' in answer) return this.#answered(items, answer.value.faults)
      const error = errorOfRefusal(answer.code, answer.message)
      if (!error.retryable || !isRetryable(error.code as 'NOT_MASTER'))
        for (const { reject } of items) reject(error)
      else this.#later(brokerName, items, error)
    })
  }

  #answered(
    items: readonly Item[],
    faults: readonly [item: number, fault: 'done' | 'stale' | 'unknown'][],
  ): void {
    const faultOf = new Map(faults)
    for (const [i, { handle, invisibleMs, inDoubt, resolve, reject }] of items.entries()) {
      const fault = faultOf.get(i)
      if (fault === undefined || (fault === 'done' && inDoubt && invisibleMs === null)) resolve()
      else reject(badInput(`${placeOf(handle)} ${sentences[fault]}`, 'INVALID_RECEIPT_HANDLE'))
    }
  }

  /** Once more after a pause; those whose time is over are told why. */
  #later(brokerName: string, items: readonly Item[], error: StateMQError): void {
    const { clock } = this.#process.world
    const now = clock.monotonic()
    for (const item of items) {
      if (item.until <= now || error.code === 'CLOSED') item.reject(error)
      else this.#wait(item)
    }
    if (!this.#waiting.has(brokerName) || this.#pauses.has(brokerName)) return
    const pause = clock.setTimeout(() => {
      this.#pauses.delete(brokerName)
      this.#ship(brokerName)
    }, PAUSE_MS)
    this.#pauses.set(brokerName, pause)
  }

  /** Resolves when everything that was asked is settled, or refused; at most SETTLE_MS later. */
  drain(): Promise<void> {
    return this.#open === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve))
  }
}

const placeOf = ({ topic, brokerName, queueId, offset }: ReceiptHandle): string =>
  `${topic}/${brokerName}/${queueId}@${offset}`

const sentences = {
  done: 'was acknowledged already, or has become a dead letter: nothing is left to do',
  stale: 'was given again since: its invisible time was over; only the last delivery can be acknowledged',
  unknown: 'was not given under this handle: use the receiptHandle of the message as it was received',
} as const
