/**
 * What a simulation learns from the wire: which broker granted which queue to whom, whom it served, what was committed,
 * which process acted as master of which epoch, and when it acknowledged what.
 *
 * It reads the messages themselves, so it believes neither the broker's tables nor the consumers'.
 */
import { codes } from '../../transport/codes.ts'
import { answerCode, PULL_HEAD_BYTES, sendResultCode, sendResultOffset } from '../../transport/exchange.ts'
import { countAt, frameBytesAt, queueIdAt, topicAt } from '../../transport/frames.ts'
import type { Delivery } from '../../transport/memory.ts'
import type {
  ClaimAnswer,
  ClaimRequest,
  CommitAnswer,
  CommitRequest,
  PullRequest,
  ReleaseRequest,
  ReplicaBeat,
  SendBackRequest,
} from '../../transport/messages.ts'
import type { HistoryEvent } from '../support/history.ts'

type Asked =
  | { what: 'claim'; request: ClaimRequest }
  | { what: 'release'; request: ReleaseRequest }
  | { what: 'commit'; request: CommitRequest }
  | { what: 'pull'; request: PullRequest }
  | { what: 'send-back'; request: SendBackRequest }
  | { what: 'send'; request: Buffer }
type Waiting = Asked & { broker: string; epoch: number }

const understood = ['claim', 'release', 'commit', 'pull', 'send-back']

export type Wire = {
  readonly hear: (delivery: Delivery) => void
  /** When a broker told for the first time that this place of a queue is taken. */
  answeredAt(queue: string, offset: number, epoch: number): number | null
}

export type WireHooks = {
  happened(event: HistoryEvent): void
  beat(beat: ReplicaBeat, from: string): void
  monotonic(): number
}

export function listenToWire({ happened, beat, monotonic }: WireHooks): Wire {
  /** By reply subject. */
  const waiting = new Map<string, Waiting>()
  /** The masterships that were asked, by reply subject: two may answer. */
  const runs = new Map<string, { broker: string; epoch: number }>()
  const acknowledged = new Map<string, number>()
  const served = new Set<string>()

  function ask({ subject, reply, payload }: Delivery): void {
    const [, , to, broker = '', epochToken, what = ''] = subject.split('.')
    if (to !== 'broker') return
    const epoch = Number(epochToken)
    runs.set(reply, { broker, epoch })
    if (what === 'send') return void waiting.set(reply, { what, request: payload, broker, epoch })
    if (!understood.includes(what)) return
    const request = JSON.parse(payload.toString())
    waiting.set(reply, { what, request, broker, epoch } as Waiting)
    if (what !== 'commit') return
    const { group, clientId: consumer, offsets } = request as CommitRequest
    for (const [topic, queueId, offset] of offsets)
      happened({ type: 'offset.sent', group, consumer, queue: `${topic}/${broker}/${queueId}`, offset })
  }

  function sawServing(reply: string, process: string): void {
    const run = runs.get(reply)
    if (run === undefined) return
    const name = `${run.broker} of epoch ${run.epoch} by ${process}`
    if (served.has(name)) return
    served.add(name)
    happened({ type: 'epoch.served', ...run, process })
  }

  function answer({ from, subject, payload }: Delivery): void {
    if (payload.length > 0) sawServing(subject, from)
    const asked = waiting.get(subject)
    if (asked === undefined) return
    waiting.delete(subject)
    if (payload.length === 0) return // Nobody listens.
    const { broker, epoch } = asked
    const run = `${broker} of epoch ${epoch}`
    if (asked.what === 'send') return sent(asked.request, payload, broker, epoch)
    if (asked.what === 'pull') {
      const { owner, topic, queueId } = asked.request
      if (!owner || answerCode(payload) !== codes.SUCCESS || payload.length === PULL_HEAD_BYTES) return
      const { group, clientId: consumer, assignEpoch } = owner
      const queue = `${topic}/${broker}/${queueId}`
      return happened({ type: 'queue.served', group, consumer, queue, assignEpoch, run })
    }
    const { code, value } = JSON.parse(payload.toString()) as { code: number; value: unknown }
    if (code !== codes.SUCCESS) return
    if (asked.what === 'send-back') {
      const { owner, topic, queueId, offset } = asked.request
      const queue = `${topic}/${broker}/${queueId}`
      return happened({
        type: 'message.sentBack',
        group: owner.group,
        consumer: owner.clientId,
        queue,
        offset,
      })
    }
    const { group, clientId: consumer } = asked.request
    if (asked.what === 'commit') {
      const { fenced } = value as CommitAnswer
      for (const [topic, queueId, offset] of asked.request.offsets) {
        if (fenced.some(([name, id]) => name === topic && id === queueId)) continue
        happened({ type: 'offset.stored', group, consumer, queue: `${topic}/${broker}/${queueId}`, offset })
      }
      return
    }
    const { topic, queueId } = asked.request
    const queue = `${topic}/${broker}/${queueId}`
    if (asked.what === 'release') {
      const { assignEpoch } = asked.request
      // Who gives back what it does not know to be granted read nothing of it.
      if (assignEpoch > 0) happened({ type: 'queue.released', group, consumer, queue, run, assignEpoch })
      return
    }
    const answered = value as ClaimAnswer
    if (!answered.granted) return
    const { assignEpoch, committed, maxOffset } = answered
    happened({ type: 'queue.granted', group, consumer, queue, assignEpoch, run, committed, maxOffset })
  }

  /** The request was stamped in place: only its heads are read. */
  function sent(request: Buffer, payload: Buffer, broker: string, epoch: number): void {
    if (answerCode(payload) !== codes.SUCCESS) return
    for (let at = 0, frame = 0; at < request.length; at += frameBytesAt(request, at), frame++) {
      if (sendResultCode(payload, frame) !== codes.SUCCESS) continue
      const queue = `${topicAt(request, at)}/${broker}/${queueIdAt(request, at)}`
      const first = sendResultOffset(payload, frame)
      for (let i = 0; i < countAt(request, at); i++) {
        const place = `${queue}@${first + i} of ${epoch}`
        if (!acknowledged.has(place)) acknowledged.set(place, monotonic())
      }
    }
  }

  return {
    hear(delivery) {
      const { subject, reply, payload, from } = delivery
      if (subject.startsWith('_INBOX.')) answer(delivery)
      else if (reply !== '') ask(delivery)
      else if (subject.split('.')[2] === 'replica') beat(JSON.parse(payload.toString()), from)
    },
    answeredAt: (queue, offset, epoch) => acknowledged.get(`${queue}@${offset} of ${epoch}`) ?? null,
  }
}
