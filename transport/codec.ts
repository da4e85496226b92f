/**
 * Control messages as bytes: JSON, parsed and checked once at the border.
 *
 * An answer is `{ code: 0, value }`, or a refusal `{ code, message }` whose code is RocketMQ's where RocketMQ has one.
 */
import type { z } from 'zod'
import { type Code, codeName, codes } from './codes.ts'
import { fail, type Outcome, succeed } from './failures.ts'
import type { Subject } from './subjects.ts'
import type { Hear, Subscription, Transport } from './transport.ts'

export type Refusal = { code: Code; message: string }
export type Answer<T> = { code: 0; value: T } | Refusal

export const encode = (message: unknown): Buffer => Buffer.from(JSON.stringify(message))
export const accept = <T>(value: T): Answer<T> => ({ code: codes.SUCCESS, value })
export const refuse = (code: Code, message: string): Refusal => ({ code, message })

/** The message in `payload`, or a failure that names the first thing that is wrong with it. */
export function decode<T>(schema: z.ZodType<T>, payload: Buffer): Outcome<T> {
  let json: unknown
  try {
    json = JSON.parse(payload.toString())
  } catch (cause) {
    return fail('malformed', 'the message is not JSON', false, cause)
  }
  const parsed = schema.safeParse(json)
  if (parsed.success) return succeed(parsed.data)
  const issue = parsed.error.issues[0]!
  return fail('malformed', `the message has a wrong '${issue.path.join('.')}': ${issue.message}`)
}

/** Publishes without waiting for an answer. */
export const tell = <T>(transport: Transport, subject: Subject<T, any>, message: T): void =>
  transport.publish(subject, encode(message))

/** Hears messages of one subject; what does not parse is passed to `malformed` and goes no further. */
export const hear = <T>(
  transport: Transport,
  subject: Subject<T, any>,
  schema: z.ZodType<T>,
  heard: (message: T) => void,
  malformed: (message: string) => void = () => {},
): Subscription =>
  transport.subscribe(subject, (payload) => {
    const parsed = decode(schema, payload)
    if (parsed.ok) heard(parsed.value)
    else malformed(parsed.failure.message)
  })

/** Serves requests of one subject. `serve` answers through `answer`, now or later, AT MOST ONCE. */
export const serve = <Request, Value>(
  transport: Transport,
  subject: Subject<Request, Value>,
  schema: z.ZodType<Request>,
  carryOut: (request: Request, answer: (answer: Answer<Value>) => void) => void,
  queue?: string,
): Subscription => {
  const hearRequest: Hear = (payload, reply) => {
    const answer = (message: Answer<Value>) => {
      if (reply !== '') transport.publish(reply, encode(message))
    }
    const parsed = decode(schema, payload)
    if (parsed.ok) carryOut(parsed.value, answer)
    else answer(refuse(codes.INVALID_PARAMETER, parsed.failure.message))
  }
  return transport.subscribe(subject, hearRequest, queue)
}

/** Asks and hears the answer: a value, a refusal of the other side, or a failure of the world. */
export const ask = <Request, Value>(
  transport: Transport,
  subject: Subject<Request, Value>,
  request: Request,
  timeoutMs: number,
  answered: (outcome: Outcome<Answer<Value>>) => void,
): void =>
  transport.request(subject, encode(request), timeoutMs, (outcome) => {
    if (!outcome.ok) return answered(outcome)
    answered(decodeAnswer<Value>(outcome.value))
  })

// Answers come from our own actors, whose subjects are typed: only their shape as an answer is checked.
function decodeAnswer<T>(payload: Buffer): Outcome<Answer<T>> {
  try {
    const answer = JSON.parse(payload.toString()) as Partial<{ code: number; value: T; message: string }>
    if (answer.code === codes.SUCCESS) return succeed({ code: 0, value: answer.value as T })
    if (typeof answer.code === 'number') {
      return succeed({ code: codes[codeName(answer.code)], message: String(answer.message) } as Refusal)
    }
    return fail('malformed', 'the answer has no code')
  } catch (cause) {
    return fail('malformed', 'the answer is not JSON', false, cause)
  }
}
