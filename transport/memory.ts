/**
 * The memory home of the transport: actors of one process on one hub.
 *
 * It behaves as a connection to nats-server does, less the network: deliveries come in a later turn and in order, a
 * connection can break (`sever`) and mend, and what is under way when it breaks is lost.
 *
 * Payloads are copied once, at the publish: a publisher may use its bytes again at once, and a hearer may change its own.
 */
import { keepable } from './bytes.ts'
import { fail, done as succeeded } from './failures.ts'
import { decodeHeaders, encodeHeaders } from './headers.ts'
import { createRequests } from './requests.ts'
import { checkPublish, checkSubscribe } from './subject-checks.ts'
import { createSwitchboard, type Ear, type Switchboard, type SwitchboardOptions } from './switchboard.ts'
import type { ConnectionState, Headers, Hear, Subscription, Transport } from './transport.ts'

export interface MemoryTransport extends Transport {
  /** What a hub's `route` calls this member. */
  readonly name: string
  /** Breaks the connection as a network would: what is under way is lost, requests fail 'disconnected'. */
  sever(): void
  /** Connects again; the subscriptions are those of before. */
  mend(): void
}

export interface Hub extends Switchboard {
  connect(name?: string): MemoryTransport
}

export type { Delivery, SwitchboardOptions as HubOptions } from './switchboard.ts'

export function createHub(options: SwitchboardOptions): Hub {
  const board = createSwitchboard(options)
  let members = 0
  return { ...board, connect: (name = `memory-${++members}`) => connectTo(board, name) }
}

function connectTo(board: Switchboard, name: string): MemoryTransport {
  const member = { name, echo: true, wantsNoResponders: true }
  const ears = new Set<Ear>()
  const watchers = new Set<(state: ConnectionState) => void>()
  let state: ConnectionState = 'connected'
  let life = 0 // Counts connections: what was queued for an earlier one is lost.
  let closers: (() => void)[] | undefined

  const requests = createRequests({
    clock: board.clock,
    id: board.random.id(),
    publish,
    report: board.report,
  })
  subscribe(requests.inbox, requests.hear)

  function publish(subject: string, payload: Uint8Array, reply = '', headers?: Headers): void {
    checkPublish(state === 'closed', subject, reply)
    const block = headers && encodeHeaders(headers)
    if (payload.length > board.maxPayload)
      board.report(
        new RangeError(`${payload.length} bytes for '${subject}' are refused: ${board.maxPayload} travel`),
      )
    else if (state === 'connected') board.publish(member, subject, payload, reply, block, false)
  }

  function subscribe(pattern: string, hear: Hear, queue = ''): Subscription {
    checkSubscribe(closers !== undefined, pattern, queue)
    const ear: Ear = {
      member,
      pattern,
      queue,
      take(payload, reply, subject, block, sole) {
        if (!ears.has(ear) || state !== 'connected') return false
        const bytes = sole ? keepable(payload) : Buffer.from(payload)
        const born = life
        board.later(() => {
          if (ears.has(ear) && born === life) hear(bytes, reply, subject, block && decodeHeaders(block))
        })
        return true
      },
    }
    ears.add(ear)
    if (state === 'connected') board.listen(ear)
    return {
      unsubscribe() {
        if (ears.delete(ear) && state === 'connected' && closers === undefined) board.leave(ear)
      },
    }
  }

  function become(next: ConnectionState): void {
    state = next
    for (const hear of watchers) {
      try {
        hear(next)
      } catch (error) {
        board.report(error)
      }
    }
  }

  function finish(): void {
    ears.clear()
    become('closed')
    requests.failAll('closed')
    for (const done of closers!) board.later(done)
  }

  return {
    name,
    maxPayload: board.maxPayload,
    get state() {
      return state
    },
    server: null,
    publish,
    subscribe,
    request(subject, payload, timeoutMs, answer, headers) {
      if (closers !== undefined) requests.refuse(subject, 'closed', answer)
      else if (state !== 'connected') requests.refuse(subject, 'disconnected', answer)
      else if (payload.length > board.maxPayload) requests.refuse(subject, 'tooLarge', answer)
      else requests.request(subject, payload, timeoutMs, answer, headers)
    },
    flush(done) {
      const born = life
      board.later(() => done(born === life && state === 'connected' ? succeeded : brokenFlush))
    },
    onState(hear) {
      watchers.add(hear)
      return () => void watchers.delete(hear)
    },
    close(done) {
      if (closers === undefined) {
        closers = [done]
        if (state === 'connected') for (const ear of ears) board.leave(ear)
        board.later(finish) // AFTER what is under way; until then hearers may still publish their answers.
      } else if (state === 'closed') board.later(done)
      else closers.push(done)
    },
    sever() {
      if (state !== 'connected' || closers !== undefined) return
      life++
      for (const ear of ears) board.leave(ear)
      become('reconnecting')
      requests.failAll('disconnected')
    },
    mend() {
      if (state !== 'reconnecting' || closers !== undefined) return
      for (const ear of ears) board.listen(ear)
      become('connected')
    },
  }
}

const brokenFlush = fail(
  'disconnected',
  'the connection broke before all was sent: what was published may be lost',
  true,
)
