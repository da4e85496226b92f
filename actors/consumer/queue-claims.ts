/**
 * Asks the brokers of the queues, for one member of a group: give me this queue; I am done with that one.
 *
 * Every claim is answered, with null when nobody knows. A release is the last commit, too: it is asked again UNTIL somebody
 * answers, for the next owner waits for it and begins where it says. When it takes too long, that one uses force.
 *
 * RocketMQ: client/impl/consumer/RebalanceImpl.java (lock, unlock)
 */
import type { QueueRef } from '../../machines/topic.ts'
import { ask } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import type { ClaimAnswer } from '../../transport/messages.ts'
import type { Process } from '../node/process.ts'
import type { Masters } from './commit.ts'

const RELEASE_MS = 2_000
const RELEASE_RETRY_MS = 200
/** A claim that waits is answered after two seconds at the latest. */
const CLAIM_MS = 4_000

export type Granted = Extract<ClaimAnswer, { granted: true }>

export type QueueClaims = {
  claim(
    queue: QueueRef,
    generation: number,
    how: { force: boolean; waits: boolean },
    answered: (answer: ClaimAnswer | null) => void,
  ): void
  /** `offset`: where the next owner goes on, null for nothing new. */
  release(
    queue: QueueRef,
    what: { generation: number; assignEpoch: number; offset: number | null },
    released: () => void,
  ): void
  /** Nothing is asked again. */
  stop(): void
}

/** `isMember`: whether anybody still waits for what is released. */
export function queueClaims(
  { world, subjects }: Process,
  who: { group: string; clientId: string; instance: string },
  { epochOf, unreachable }: Masters,
  isMember: () => boolean,
): QueueClaims {
  const { transport, clock, log } = world
  /** Timers of releases that are asked again. */
  const releases = new Set<unknown>()
  let warned = ''

  /** The same answer comes again and again. */
  function warnOnce(message: string): void {
    if (message === warned) return
    warned = message
    log.warn(`consumer ${who.clientId} reads nothing: ${message}`)
  }

  const claim: QueueClaims['claim'] = ({ topic, brokerName, queueId }, generation, how, answered) => {
    const epoch = epochOf(brokerName)
    if (epoch === 0) return void clock.defer(() => answered(null))
    const request = { ...who, topic, queueId, generation, ...how }
    ask(transport, subjects.broker(brokerName, epoch).claim, request, CLAIM_MS, (outcome) => {
      if (!outcome.ok && outcome.failure.code === 'noResponders') unreachable(brokerName, epoch)
      const isAnswered = outcome.ok && outcome.value.code === codes.SUCCESS && 'value' in outcome.value
      if (outcome.ok && outcome.value.code === codes.NO_PERMISSION && 'message' in outcome.value) {
        warnOnce(outcome.value.message)
      }
      answered(isAnswered ? outcome.value.value : null)
    })
  }

  const release: QueueClaims['release'] = (ref, what, released) => {
    const { topic, brokerName, queueId } = ref
    const epoch = epochOf(brokerName)
    const again = () => {
      // Left at last, or closed: nobody waits for it any more.
      if (!isMember()) return released()
      const timer = clock.setTimeout(() => {
        releases.delete(timer)
        release(ref, what, released)
      }, RELEASE_RETRY_MS)
      releases.add(timer)
    }
    if (epoch === 0) return again()
    const request = { ...who, topic, queueId, ...what }
    ask(transport, subjects.broker(brokerName, epoch).release, request, RELEASE_MS, (outcome) => {
      if (!outcome.ok) {
        if (outcome.failure.code === 'closed') return released()
        if (outcome.failure.code === 'noResponders') unreachable(brokerName, epoch)
        return again()
      }
      if (outcome.value.code === codes.NOT_MASTER) return again()
      released()
    })
  }

  return {
    claim,
    release,
    stop() {
      for (const again of releases) clock.clearTimeout(again)
      releases.clear()
    },
  }
}
