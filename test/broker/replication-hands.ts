/** One side of the stream by hand: a slave that says what a test tells it to say, or such a master. */
import { type Answer, ask, serve } from '../../transport/codec.ts'
import { type FollowAnswer, type FollowRequest, followRequest } from '../../transport/messages.ts'
import {
  type Ack,
  ackBytes,
  DATA_HEAD_BYTES,
  type DataHead,
  readAck,
  readDataHead,
  writeDataHead,
} from '../../transport/stream.ts'
import type { Transport } from '../../transport/transport.ts'
import { type Bench, BROKER, subjects } from './replication-bench.ts'

const TURN_MS = 20
let hands = 0

export class SlaveByHand {
  readonly heads: DataHead[] = []
  /** Acknowledges all that comes, as soon as it comes. */
  answers = false
  /** Of what comes, so much less is acknowledged. */
  behindBytes = 0
  readonly transport: Transport
  readonly #bench: Bench
  readonly #epoch: number
  request: FollowRequest
  position = 0

  constructor(bench: Bench, brokerId: number, epoch: number, request: Partial<FollowRequest> = {}) {
    this.#bench = bench
    this.#epoch = epoch
    this.transport = bench.world.hub.connect(`by-hand-${++hands}`)
    this.request = {
      ...{ brokerId, incarnation: 1, lineage: 1, position: 0, lastEpoch: 0, session: hands * 1_000 },
      storeId: `store of ${brokerId}`,
      processId: `process ${hands}`,
      ...request,
    }
    this.transport.subscribe(subjects.brokerProcess(BROKER, brokerId).data(epoch), (bytes) => {
      const head = readDataHead(bytes)!
      if (head.session !== this.request.session) return
      this.heads.push(head)
      this.position = Math.max(this.position, head.from + bytes.length - DATA_HEAD_BYTES)
      if (this.answers) this.ack(this.position - this.behindBytes)
    })
  }

  /** Asks to follow, in a session of its own; a word for what came of it. */
  async follow(more: Partial<FollowRequest> = {}): Promise<string> {
    this.request = { ...this.request, session: this.request.session + 1, ...more }
    let answer: Answer<FollowAnswer> | null = null
    const { follow } = subjects.broker(BROKER, this.#epoch)
    ask(this.transport, follow, this.request, 500, (outcome) => {
      answer = outcome.ok ? outcome.value : null
    })
    await this.#bench.advance(TURN_MS)
    const said = answer as Answer<FollowAnswer> | null
    if (said === null) return 'nothing'
    return 'value' in said ? said.value.result : said.message
  }

  /** Says once what it has. */
  ack(position: number, more: Partial<Ack> = {}): void {
    const { brokerId, lineage, incarnation, session } = this.request
    const echo = this.heads.at(-1)?.sentAt ?? 0
    const epoch = this.#epoch
    const ack = {
      epoch,
      session,
      brokerId,
      lineage,
      incarnation,
      position,
      unfinishedBytes: 0,
      echo,
      isFull: false,
      ...more,
    }
    this.transport.publish(subjects.broker(BROKER, this.#epoch).ack, ackBytes(ack))
  }

  async acked(position: number, more: Partial<Ack> = {}): Promise<void> {
    this.ack(position, more)
    await this.#bench.advance(TURN_MS)
  }

  /** Answers pings, as a process that lives does. */
  servePings(): void {
    const { ping } = subjects.brokerProcess(BROKER, this.request.brokerId)
    this.transport.subscribe(ping, (_, reply) => this.transport.publish(reply, Buffer.from('{"code":0}')))
  }
}

export class MasterByHand {
  readonly requests: FollowRequest[] = []
  readonly acks: Ack[] = []
  readonly transport: Transport
  readonly #bench: Bench
  readonly #epoch: number
  #serving: { unsubscribe(): void }[] = []

  constructor(bench: Bench, epoch: number) {
    this.#bench = bench
    this.#epoch = epoch
    this.transport = bench.world.hub.connect(`by-hand-${++hands}`)
  }

  serve(answerTo: (request: FollowRequest) => Answer<FollowAnswer>): void {
    const to = subjects.broker(BROKER, this.#epoch)
    this.#serving = [
      serve(this.transport, to.follow, followRequest, (request, answer) => {
        this.requests.push(request)
        answer(answerTo(request))
      }),
      this.transport.subscribe(to.ack, (bytes) => void this.acks.push(readAck(bytes)!)),
    ]
  }

  /** Lets everybody follow. */
  stream(): void {
    this.serve(({ position }) => ({ code: 0, value: { result: 'streaming', position } }))
  }

  leave(): void {
    for (const serving of this.#serving.splice(0)) serving.unsubscribe()
  }

  /** Sends to the slave 1, in its last session. */
  async send(head: Partial<DataHead> & { from: number }, bytes: Buffer = Buffer.alloc(0)): Promise<void> {
    const message = Buffer.concat([Buffer.alloc(DATA_HEAD_BYTES), bytes])
    writeDataHead(message, {
      ...{ epoch: this.#epoch, session: this.requests.at(-1)?.session ?? 0, confirm: 0 },
      ...{ end: head.from + bytes.length, sentAt: this.#bench.world.clock.monotonic() },
      ...head,
    })
    this.transport.publish(subjects.brokerProcess(BROKER, 1).data(this.#epoch), message)
    await this.#bench.advance(TURN_MS)
  }
}
