/**
 * The transport: how actors' messages travel. One contract, three homes: memory.ts, nats-listener.ts, nats.ts.
 *
 * - Subjects are dot-separated tokens; a subscription may hold `*` (one token) and a final `>` (one or more).
 * - Of the subscriptions that share a `queue` name, exactly one hears a message; all others hear each message.
 * - Messages of one publisher reach one subscription in the order in which they were published.
 * - Delivery is AT MOST ONCE: a message may be lost when a connection breaks. Nothing is delivered to a closed
 *   subscription.
 * - The bytes handed to a hearer belong to the hearer: it may keep or change them.
 * - The bytes given to publish or request must NOT change before this turn of the loop is over.
 * - A request that nobody listens to fails with 'noResponders' within one round trip, it does not wait for its time.
 */
import type { Outcome } from './failures.ts'

/** Headers of a message, as NATS has them; undefined when there are none, which is the fast case. */
export type Headers = Readonly<Record<string, string>>

/** Positional, so that a delivery costs no object. `reply` is '' when no answer is asked for. */
export type Hear = (payload: Buffer, reply: string, subject: string, headers: Headers | undefined) => void

export interface Subscription {
  /** Stops at once. What was delivered before stays delivered. */
  unsubscribe(): void
}

export type ConnectionState = 'connected' | 'reconnecting' | 'closed'

/** What the server says of itself. The built-in listener names the level of NATS's protocol that it speaks. */
export type ServerFacts = {
  readonly version: string
  readonly isClustered: boolean
  /** Whether it is set up to keep streams; it may be about to start to. */
  readonly hasJetStream: boolean
}

export interface Transport {
  /** The largest payload, in bytes, that travels in one piece. Larger ones are split where the home can, else refused. */
  readonly maxPayload: number
  readonly state: ConnectionState
  /** The server of this connection, or of the last one; null in memory, where there is none. */
  readonly server: ServerFacts | null
  /** Sends and does not wait. Throws only on a malformed subject or after close: both are bugs. */
  publish(subject: string, payload: Uint8Array, reply?: string, headers?: Headers): void
  subscribe(subject: string, hear: Hear, queue?: string): Subscription
  /** Answers exactly once: the first reply, or a failure ('timedOut' | 'noResponders' | 'disconnected' | 'closed' | 'tooLarge'). */
  request(
    subject: string,
    payload: Uint8Array,
    timeoutMs: number,
    answer: (outcome: Outcome<Buffer>) => void,
    headers?: Headers,
  ): void
  /** Calls back when all that was published so far has reached the hub or the server. */
  flush(done: (outcome: Outcome<void>) => void): void
  /** Hears every change of the connection; returns how to stop hearing. */
  onState(hear: (state: ConnectionState) => void): () => void
  /** Delivers what is under way, then closes. Never fails; calls back once. */
  close(done: () => void): void
}
