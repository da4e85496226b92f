/** A reader of one queue without a broker: time is virtual, and each pull waits until the test answers it. */
import type { QueueLimits } from '../../actors/consumer/flow-control.ts'
import { QueueReader, type QueueReaderHooks } from '../../actors/consumer/queue-reader.ts'
import type { Process } from '../../actors/node/process.ts'
import { codes } from '../../transport/codes.ts'
import { pullAnswer } from '../../transport/exchange.ts'
import { fail, type Outcome, succeed } from '../../transport/failures.ts'
import { FRAME_HEAD_BYTES, kinds, RECORD_HEAD_BYTES, sealFrame, stampFrame } from '../../transport/frames.ts'
import type { PullRequest } from '../../transport/messages.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import { notedLog } from '../support/transports.ts'
import { virtualClock } from '../support/virtual-clock.ts'

export const TOPIC = 'orders'

/** A stored frame whose first message has this offset; each body is the offset of its message. */
export function stored(offset: number, count: number, { tag = '', tagsCode = 0 } = {}): Buffer {
  const properties = tag === '' ? '' : `TAGS\u0001${tag}\u0002`
  const records = Array.from({ length: count }, (_, i) => {
    const body = `${offset + i}`
    const record = Buffer.alloc(RECORD_HEAD_BYTES + properties.length + body.length)
    record.writeUInt32LE(record.length, 0)
    record.writeUInt32LE(i, 4)
    record.writeInt32LE(tagsCode, 8)
    record.writeUInt16LE(properties.length, 12)
    record.write(properties + body, RECORD_HEAD_BYTES)
    return record
  })
  const frame = Buffer.concat([Buffer.alloc(FRAME_HEAD_BYTES), Buffer.from(TOPIC), ...records])
  sealFrame(frame, 0, frame.length, {
    kind: kinds.messages,
    bornTime: 1_000,
    producerId: 0xabc,
    sequence: 100,
    queueId: 0,
    count,
    topicBytes: TOPIC.length,
  })
  stampFrame(frame, 0, 7, offset, 2_000)
  return frame
}

export type Pull = {
  /** Of the master that was asked; null when it went to replicas. */
  epoch: number | null
  request: PullRequest
  answer(outcome: Outcome<Buffer>): void
  isAnswered: boolean
}

export class ReaderBench {
  readonly clock = virtualClock()
  readonly log = notedLog()
  readonly pulls: Pull[] = []
  readonly unreachable: number[] = []
  readonly reader: QueueReader
  epoch = 3
  fenced = 0
  readonly rewound: number[] = []
  arrived = () => {}
  mayPull = true

  constructor(limits?: QueueLimits, filter?: string) {
    const process = {
      id: 'p',
      subjects: subjectsOf('test'),
      world: {
        clock: this.clock,
        log: this.log,
        transport: {
          request: (
            subject: string,
            payload: Uint8Array,
            _: number,
            answer: (outcome: Outcome<Buffer>) => void,
          ) => {
            const pull: Pull = {
              epoch: subject === subjectsOf('test').replicas('a').pull ? null : Number(subject.split('.')[4]),
              request: JSON.parse(Buffer.from(payload).toString()) as PullRequest,
              isAnswered: false,
              answer(outcome) {
                pull.isAnswered = true
                answer(outcome)
              },
            }
            this.pulls.push(pull)
          },
        },
      },
    } as unknown as Process
    const hooks: QueueReaderHooks = {
      epoch: () => this.epoch,
      arrived: () => this.arrived(),
      unreachable: (epoch) => void this.unreachable.push(epoch),
      fenced: () => void this.fenced++,
      mayPull: () => this.mayPull,
      rewound: (offset) => void this.rewound.push(offset),
    }
    const ref = { topic: TOPIC, brokerName: 'a', queueId: 0 }
    this.reader = new QueueReader(process, ref, hooks, { ...(limits && { limits }), filter })
  }

  get open(): Pull[] {
    return this.pulls.filter(({ isAnswered }) => !isAnswered)
  }

  /** The one pull that waits. */
  get pull(): Pull {
    if (this.open.length !== 1) throw new Error(`${this.open.length} pulls wait`)
    return this.open[0]!
  }

  give(...frames: Buffer[]): void {
    const head = { code: codes.SUCCESS, epoch: this.epoch, nextOffset: 0, minOffset: 0, maxOffset: 1_000_000 }
    this.pull.answer(succeed(pullAnswer(head, frames)))
  }

  /** As a broker with a filter answers: whatever is not in these frames is not wanted, up to `nextOffset`. */
  giveUpTo(nextOffset: number, ...frames: Buffer[]): void {
    const code = frames.length > 0 ? codes.SUCCESS : codes.PULL_RETRY_IMMEDIATELY
    const head = { code, epoch: this.epoch, nextOffset, minOffset: 0, maxOffset: 1_000_000 }
    this.pull.answer(succeed(pullAnswer(head, frames)))
  }

  refuse(code: number, nextOffset = 0): void {
    const head = { code: code as never, epoch: this.epoch, nextOffset, minOffset: 0, maxOffset: 0 }
    this.pull.answer(succeed(pullAnswer(head, [])))
  }

  /** No replica answers either. */
  failReplicas(): void {
    if (this.pull.epoch !== null) throw new Error('a master is asked, not the replicas')
    this.fail('noResponders')
  }

  fail(code: 'timedOut' | 'noResponders' | 'disconnected' | 'closed'): void {
    this.pull.answer(fail(code, code))
  }

  /** All that is cached. */
  take(): number[] {
    const offsets: number[] = []
    for (let message = this.reader.next(); message; message = this.reader.next()) {
      if (message.text !== `${message.queueOffset}`)
        throw new Error(`'${message.text}' at ${message.queueOffset}`)
      offsets.push(message.queueOffset)
      this.reader.release(message)
    }
    return offsets
  }
}
