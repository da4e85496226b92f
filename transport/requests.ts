/**
 * Requests: many callers, one inbox subscription, one timer.
 *
 * A request costs one small record. It waits in a slot of a wheel that turns once a tick; its token, which travels in
 * the reply subject, names the slot, so that an answer finds it in one look-up. A promise and a timer a call, as
 * NATS's client spends them, cap a process at a sixth of the requests that this carries.
 *
 * Invariants: each request is answered EXACTLY ONCE and NEVER from inside the call that made it; it does not time out
 * BEFORE its time and at most one tick and one loop turn AFTER it; the wheel turns only while requests wait.
 */

import { type FailureCode, fail, type Outcome, succeed } from './failures.ts'
import { NO_RESPONDERS, TOO_LARGE } from './headers.ts'
import type { Clock } from './ports.ts'
import type { Headers, Hear } from './transport.ts'

export type Answer = (outcome: Outcome<Buffer>) => void

export interface Requests {
  /** What the home subscribes to, once, with `hear`. */
  readonly inbox: string
  readonly hear: Hear
  /** How many wait for an answer. */
  readonly pending: number
  request(subject: string, payload: Uint8Array, timeoutMs: number, answer: Answer, headers?: Headers): void
  /** Answers a request that cannot even be sent. */
  refuse(subject: string, code: RefusalCode, answer: Answer): void
  /** Fails all that wait. */
  failAll(code: RefusalCode): void
}

export type RefusalCode = Extract<FailureCode, 'disconnected' | 'closed' | 'tooLarge'>

export type RequestsOptions = {
  readonly clock: Clock
  /** Unlike that of any other transport at the same hub or server. */
  readonly id: string
  readonly publish: (subject: string, payload: Uint8Array, reply: string, headers?: Headers) => void
  /** Hears what an answer's hearer throws. */
  readonly report: (error: unknown) => void
  /** The number of the first request, 1 to CALLS_MAX; default 1. */
  readonly firstCall?: number
}

const TICK_MS = 10
const SLOTS = 512

type Waiting = { token: number; subject: string; timeoutMs: number; due: number; answer: Answer }

/** Tokens count up in steps of this; what is below names the place in the table. */
const PLACES_MAX = 2 ** 20
/** A token is a whole number that a float holds exactly. A busy process has made so many requests within weeks. */
export const CALLS_MAX: number = 2 ** 33 - 1

export function createRequests({ clock, id, publish, report, firstCall = 1 }: RequestsOptions): Requests {
  const prefix = `_INBOX.${id}.`
  // A request has a place in a table, and its token in a slot of the wheel. No Map: one from which entries come and go
  // all the time leaves its outgrown tables linked to the newer ones, and the young generation fills with the dead.
  const waiting: (Waiting | undefined)[] = []
  const free: number[] = []
  const slots = Array.from({ length: SLOTS }, (): number[] => [])
  let pending = 0
  let call = firstCall // NEVER 0: that token an empty text would pass for.
  let hand = 0 // The tick up to which the wheel has been read.
  let turning = false

  const tickNow = () => Math.floor(clock.monotonic() / TICK_MS)

  function request(
    subject: string,
    payload: Uint8Array,
    timeoutMs: number,
    answer: Answer,
    headers?: Headers,
  ): void {
    if (!turning) start()
    const due = Math.max(hand + 1, Math.ceil((clock.monotonic() + timeoutMs) / TICK_MS))
    const place = free.length > 0 ? free.pop()! : waiting.length
    if (place >= PLACES_MAX) throw new Error(`more than ${PLACES_MAX} requests are under way`)
    const token = call * PLACES_MAX + place
    call = call < CALLS_MAX ? call + 1 : 1
    waiting[place] = undefined
    try {
      publish(subject, payload, prefix + token, headers) // BEFORE it is noted: a malformed subject throws.
    } catch (error) {
      free.push(place)
      throw error
    }
    waiting[place] = { token, subject, timeoutMs, due, answer }
    slots[due % SLOTS]!.push(token)
    pending++
  }

  /** The request of this token, which is not under way any more; undefined when it was not. */
  function take(token: number): Waiting | undefined {
    const place = token % PLACES_MAX
    const found = waiting[place]
    if (found?.token !== token) return undefined // A second answer, or one that came too late.
    waiting[place] = undefined
    free.push(place)
    pending--
    return found
  }

  const hear: Hear = (payload, _reply, subject, headers) => {
    const found = take(Number(subject.slice(prefix.length)))
    if (found === undefined) return
    const status = payload.length === 0 ? headers?.Status : undefined
    if (status === NO_RESPONDERS) settle(found, 'noResponders')
    else if (status === TOO_LARGE) settle(found, 'tooLarge')
    else tell(found.answer, succeed(payload))
  }

  function start(): void {
    turning = true
    hand = tickNow()
    clock.setTimeout(turn, TICK_MS)
  }

  // What has arrived is heard BEFORE anything expires: after a stall of the loop, answers lie in the socket already.
  const turn = () => clock.defer(expire)

  function expire(): void {
    const now = tickNow()
    const from = Math.max(hand + 1, now - SLOTS + 1) // A long stall passes each slot once.
    hand = now
    for (let tick = from; tick <= now; tick++) {
      const slot = tick % SLOTS
      const tokens = slots[slot]!
      if (tokens.length === 0) continue
      slots[slot] = []
      for (const token of tokens) {
        const found = waiting[token % PLACES_MAX]
        if (found?.token !== token) continue // Answered long ago.
        if (found.due > now)
          slots[slot]!.push(token) // Of a later revolution.
        else settle(take(token)!, 'timedOut')
      }
    }
    turning = pending > 0
    if (turning) clock.setTimeout(turn, TICK_MS)
  }

  /** How many calls ago. */
  const ageOf = ({ token }: Waiting) => (call - Math.floor(token / PLACES_MAX) + CALLS_MAX) % CALLS_MAX

  function failAll(code: RefusalCode): void {
    const all = waiting.filter((one) => one !== undefined).sort((a, b) => ageOf(b) - ageOf(a))
    for (const { token } of all) take(token)
    for (const one of all) settle(one, code)
  }

  const settle = ({ subject, timeoutMs, answer }: Waiting, code: keyof typeof sentences) =>
    tell(answer, failure(code, subject, timeoutMs))

  function tell(answer: Answer, outcome: Outcome<Buffer>): void {
    try {
      answer(outcome)
    } catch (error) {
      report(error)
    }
  }

  return {
    inbox: `${prefix}*`,
    hear,
    get pending() {
      return pending
    },
    request,
    refuse: (subject, code, answer) => clock.defer(() => tell(answer, failure(code, subject, 0))),
    failAll,
  }
}

const sentences = {
  timedOut: (subject: string, timeoutMs: number) =>
    `'${subject}' did not answer within ${Math.round(timeoutMs)} ms: whether the order was carried out is unknown`,
  noResponders: (subject: string) => `nobody listens on '${subject}'`,
  disconnected: (subject: string) =>
    `there is no connection, or it broke before '${subject}' answered: the client reconnects by itself, try again`,
  closed: (subject: string) => `the transport was closed before '${subject}' answered`,
  tooLarge: (subject: string) =>
    `the request to '${subject}' is larger than its hearers can take in one piece: send less at a time`,
}
const retryable = { timedOut: true, noResponders: true, disconnected: true, closed: false, tooLarge: false }

const failure = (code: keyof typeof sentences, subject: string, timeoutMs: number) =>
  fail(code, sentences[code](subject, timeoutMs), retryable[code])
