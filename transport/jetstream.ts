/**
 * As much of NATS's JetStream as the register needs, over our transport: its JSON interface, request by request.
 *
 * JetStream refuses with a number (`err_code`) that says why; what is no refusal and does not parse is a failure.
 */
import { z } from 'zod'
import { decode, encode } from './codec.ts'
import { fail, type Outcome, succeed } from './failures.ts'
import { jetStreamSubjects as at } from './subjects.ts'
import type { Headers, Transport } from './transport.ts'

export const jetStreamCodes = {
  notEnabledForAccount: 10039,
  noMessageFound: 10037,
  streamNameInUse: 10058,
  streamNotFound: 10059,
  /** Also what the slower of two that create the same stream at once may hear. */
  subjectsOverlap: 10065,
  wrongLastSequence: 10071,
  /** Newer servers, where another write is under way. */
  wrongLastSequenceConstant: 10164,
} as const

const apiError = z.object({
  code: z.number(),
  err_code: z.number().default(0),
  description: z.string().default(''),
})
export type JetStreamError = z.infer<typeof apiError>
type Answered<T> = Outcome<{ error: JetStreamError } | { error: null; value: T }>
type Done<T> = (outcome: Answered<T>) => void

/** Of a stream's configuration, in JetStream's words. */
const streamConfig = z.object({
  name: z.string(),
  subjects: z.array(z.string()).default([]),
  storage: z.string(),
  retention: z.string(),
  discard: z.string(),
  num_replicas: z.number(),
  max_msgs_per_subject: z.number().default(-1),
  max_msgs: z.number().default(-1),
  max_bytes: z.number().default(-1),
  max_age: z.number().default(0),
  allow_direct: z.boolean().default(false),
  deny_delete: z.boolean().default(false),
  deny_purge: z.boolean().default(false),
})
export type StreamConfig = z.infer<typeof streamConfig>

const accountInfo = z.object({ streams: z.number() })
const streamInfo = z.object({ config: streamConfig })
const storedMessage = z.object({ message: z.object({ seq: z.number(), data: z.string().default('') }) })
const stored = z.object({ stream: z.string(), seq: z.number() })

export interface JetStream {
  info(done: Done<z.infer<typeof accountInfo>>): void
  streamInfo(stream: string, done: Done<z.infer<typeof streamInfo>>): void
  createStream(config: StreamConfig, done: Done<z.infer<typeof streamInfo>>): void
  /** The last message of a subject, as the stream's leader has it. */
  lastMessage(stream: string, subject: string, done: Done<{ sequence: number; payload: Buffer }>): void
  /** Stores a message if the stream's last sequence is `expected`. */
  store(
    subject: string,
    expected: number,
    payload: Uint8Array,
    timeoutMs: number,
    done: Done<z.infer<typeof stored>>,
  ): void
}

/** `timeoutMs` is for each question, except where a write names its own. */
export function jetStreamOver(transport: Transport, timeoutMs: number): JetStream {
  function request<T>(
    subject: string,
    payload: Uint8Array,
    schema: z.ZodType<T>,
    done: Done<T>,
    waitMs = timeoutMs,
    headers?: Headers,
  ): void {
    const answered = (outcome: Outcome<Buffer>) =>
      done(outcome.ok ? answerIn(schema, outcome.value, subject) : outcome)
    transport.request(subject, payload, waitMs, answered, headers)
  }
  const nothing = Buffer.alloc(0)

  return {
    info: (done) => request(at.info, nothing, accountInfo, done),
    streamInfo: (stream, done) => request(at.streamInfo(stream), nothing, streamInfo, done),
    createStream: (config, done) => request(at.createStream(config.name), encode(config), streamInfo, done),
    lastMessage(stream, subject, done) {
      request(at.getMessage(stream), encode({ last_by_subj: subject }), storedMessage, (outcome) => {
        if (!outcome.ok) return done(outcome)
        const answer = outcome.value
        if (answer.error !== null) return done(succeed(answer))
        const { seq, data } = answer.value.message
        done(succeed({ error: null, value: { sequence: seq, payload: Buffer.from(data, 'base64') } }))
      })
    },
    store(subject, expected, payload, waitMs, done) {
      const headers = { 'Nats-Expected-Last-Sequence': String(expected) }
      request(subject, payload, stored, done, waitMs, headers)
    },
  }
}

function answerIn<T>(schema: z.ZodType<T>, payload: Buffer, subject: string): Answered<T> {
  const refused = decode(z.object({ error: apiError }), payload)
  if (refused.ok) return succeed({ error: refused.value.error })
  const answer = decode(schema, payload)
  if (answer.ok) return succeed({ error: null, value: answer.value })
  return fail('malformed', `JetStream answered '${subject}' with something else: ${answer.failure.message}`)
}

/** A refusal that the caller has no use for; whether it is worth another try is what JetStream says. */
export const jetStreamFailure = (what: string, { code, err_code, description }: JetStreamError) =>
  fail('ioError', `JetStream refuses ${what}: ${description} (${err_code})`, code >= 500)
