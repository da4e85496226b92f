/**
 * What a simulation learns from the wire: which broker granted which queue to whom, whom it served, what was committed.
 *
 * It reads the messages themselves, so it believes neither the broker's tables nor the consumers'.
 */
import { codes } from '../../transport/codes.ts'
import { answerCode, PULL_HEAD_BYTES } from '../../transport/exchange.ts'
import type { Delivery } from '../../transport/memory.ts'
import type {
  ClaimAnswer,
  ClaimRequest,
  CommitAnswer,
  CommitRequest,
  PullRequest,
  ReleaseRequest,
} from '../../transport/messages.ts'
import type { HistoryEvent } from '../support/history.ts'

type Asked =
  | { what: 'claim'; request: ClaimRequest }
  | { what: 'release'; request: ReleaseRequest }
  | { what: 'commit'; request: CommitRequest }
  | { what: 'pull'; request: PullRequest }
type Waiting = Asked & { broker: string; run: string }

export function listenToWire(happened: (event: HistoryEvent) => void): (delivery: Delivery) => void {
  /** By reply subject. */
  const waiting = new Map<string, Waiting>()

  function ask({ subject, reply, payload }: Delivery): void {
    const [, , to, broker = '', epoch, what] = subject.split('.')
    if (to !== 'broker' || !(what === 'claim' || what === 'release' || what === 'commit' || what === 'pull'))
      return
    const request = JSON.parse(payload.toString())
    const run = `${broker} of epoch ${epoch}`
    waiting.set(reply, { what, request, broker, run } as Waiting)
    if (what !== 'commit') return
    const { group, clientId: consumer, offsets } = request as CommitRequest
    for (const [topic, queueId, offset] of offsets)
      happened({ type: 'offset.sent', group, consumer, queue: `${topic}/${broker}/${queueId}`, offset })
  }

  function answer({ subject, payload }: Delivery): void {
    const asked = waiting.get(subject)
    if (asked === undefined) return
    waiting.delete(subject)
    if (payload.length === 0) return // Nobody listens.
    const { broker, run } = asked
    if (asked.what === 'pull') {
      const { owner, topic, queueId } = asked.request
      if (!owner || answerCode(payload) !== codes.SUCCESS || payload.length === PULL_HEAD_BYTES) return
      const { group, clientId: consumer, generation } = owner
      const queue = `${topic}/${broker}/${queueId}`
      return happened({ type: 'queue.served', group, consumer, queue, generation, run })
    }
    const { code, value } = JSON.parse(payload.toString()) as { code: number; value: unknown }
    if (code !== codes.SUCCESS) return
    const { group, clientId: consumer } = asked.request
    if (asked.what === 'commit') {
      const { fenced } = value as CommitAnswer
      for (const [topic, queueId, offset] of asked.request.offsets) {
        if (fenced.some(([name, id]) => name === topic && id === queueId)) continue
        happened({ type: 'offset.stored', group, consumer, queue: `${topic}/${broker}/${queueId}`, offset })
      }
      return
    }
    const { topic, queueId, generation } = asked.request
    const queue = `${topic}/${broker}/${queueId}`
    if (asked.what === 'release')
      return happened({ type: 'queue.released', group, consumer, queue, run, generation })
    const answered = value as ClaimAnswer
    if (!answered.granted) return
    const { committed, maxOffset } = answered
    happened({ type: 'queue.granted', group, consumer, queue, generation, run, committed, maxOffset })
  }

  return (delivery) => {
    if (delivery.subject.startsWith('_INBOX.')) answer(delivery)
    else if (delivery.reply !== '') ask(delivery)
  }
}
