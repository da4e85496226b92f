/**
 * Payloads that are larger than a server carries: sent in parts, joined again by the hearer's transport.
 *
 * Each part names its message, its place and the whole size in one header. Only the first carries the reply subject and
 * the message's own headers. NATS keeps the order of one publisher, so a sender has at most one message under way to a
 * subscription: a part that does not continue it ends it, as a part was lost with a connection.
 *
 * Invariants: a message is heard whole or NEVER; what is incomplete is held for at most 10 s and takes at most 128 MiB.
 */
import type { Clock, Log } from './ports.ts'
import type { Headers } from './transport.ts'

export const PART_HEADER = 'Statemq-Part'
/** The largest payload that is sent in parts. */
export const MAX_WHOLE_BYTES: number = 32 * 1024 * 1024
/** What all incomplete messages of a connection take together. */
const MAX_HELD_BYTES = 128 * 1024 * 1024
/** What the header of a part takes at most, in bytes. */
const HEAD_BYTES = 128
const MAX_AGE_MS = 10_000

export type Whole = { payload: Buffer; reply: string; headers: Headers | undefined }

/** Calls `send` for each part, in order. The views are of the payload's own bytes. */
export function split(
  payload: Uint8Array,
  maxPayload: number,
  message: string,
  headers: Headers | undefined,
  send: (part: Uint8Array, headers: Headers, first: boolean) => void,
): void {
  const partBytes = maxPayload - HEAD_BYTES - headersBytes(headers)
  if (partBytes <= 0)
    throw new RangeError('the headers of a message fill all that the server carries at once')
  const parts = Math.ceil(payload.length / partBytes)
  for (let i = 0; i < parts; i++) {
    const place = { [PART_HEADER]: `${message} ${i} ${parts} ${payload.length}` }
    const part = payload.subarray(i * partBytes, (i + 1) * partBytes)
    send(part, i === 0 ? { ...headers, ...place } : place, i === 0)
  }
}

/** An upper bound: a character takes at most three bytes. */
const headersBytes = (headers: Headers | undefined) =>
  Object.entries(headers ?? {}).reduce((sum, [name, value]) => sum + (name.length + value.length) * 3 + 4, 0)

type Joining = Whole & { message: string; next: number; parts: number; filled: number; began: number }

export interface Joiner {
  /** Takes a part that came to `subscription`; returns the message when it was the last one. */
  join(
    subscription: object,
    part: Uint8Array,
    place: string,
    reply: string,
    headers: Headers,
  ): Whole | undefined
  /** Bytes set aside for messages that are not whole. */
  readonly heldBytes: number
  clear(): void
}

export function createJoiner(clock: Clock, log: Log): Joiner {
  // By subscription and sender, the oldest first.
  const joining = new Map<string, Joining>()
  const numbers = new WeakMap<object, number>()
  let subscriptions = 0
  let heldBytes = 0
  let timer: unknown

  function keyOf(subscription: object, sender: string): string {
    const number = numbers.get(subscription) ?? ++subscriptions
    numbers.set(subscription, number)
    return `${number} ${sender}`
  }

  function forget(key: string, why?: string): void {
    const one = joining.get(key)
    if (one === undefined) return
    joining.delete(key)
    heldBytes -= one.payload.length
    if (why !== undefined)
      log.warn('a message that came in parts was dropped', { why, message: one.message, parts: one.parts })
  }

  function expire(): void {
    timer = undefined
    const before = clock.monotonic() - MAX_AGE_MS
    for (const [key, { began }] of joining) if (began <= before) forget(key, 'the rest did not come in 10 s')
    if (joining.size > 0) timer = clock.setTimeout(expire, MAX_AGE_MS / 10)
  }

  function begin(
    key: string,
    message: string,
    parts: number,
    bytes: number,
    reply: string,
    headers: Headers,
  ) {
    forget(key, 'its sender began another one')
    for (const oldest of joining.keys()) {
      if (heldBytes + bytes <= MAX_HELD_BYTES) break
      forget(oldest, 'too many are incomplete')
    }
    const { [PART_HEADER]: _, ...own } = headers
    const one: Joining = {
      message,
      next: 0,
      parts,
      filled: 0,
      began: clock.monotonic(),
      payload: Buffer.allocUnsafeSlow(bytes),
      reply,
      headers: Object.keys(own).length === 0 ? undefined : own,
    }
    joining.set(key, one)
    heldBytes += bytes
    timer ??= clock.setTimeout(expire, MAX_AGE_MS / 10)
    return one
  }

  function join(
    subscription: object,
    part: Uint8Array,
    place: string,
    reply: string,
    headers: Headers,
  ): Whole | undefined {
    const [, message, sender, index, parts, bytes] = /^(([^\s-]+)-\d+) (\d+) (\d+) (\d+)$/.exec(place) ?? []
    if (message === undefined || Number(bytes) > MAX_WHOLE_BYTES) {
      log.warn('a part of a message is malformed and was dropped', { place })
      return undefined
    }
    const key = keyOf(subscription, sender!)
    const one =
      Number(index) === 0
        ? begin(key, message, Number(parts), Number(bytes), reply, headers)
        : joining.get(key)
    if (one === undefined) return undefined // Its beginning was lost; that was told.
    const fits = one.message === message && one.next === Number(index)
    if (!fits || one.filled + part.length > one.payload.length) {
      forget(key, 'a part is missing')
      return undefined
    }
    one.payload.set(part, one.filled)
    one.filled += part.length
    one.next++
    if (one.next < one.parts) return undefined
    const whole = one.filled === one.payload.length
    forget(key, whole ? undefined : 'a part is missing')
    return whole ? one : undefined
  }

  return {
    join,
    get heldBytes() {
      return heldBytes
    },
    clear() {
      joining.clear()
      heldBytes = 0
      clock.clearTimeout(timer)
      timer = undefined
    },
  }
}
