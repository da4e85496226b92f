/**
 * The register in NATS's JetStream: a stream for each key, with one subject and a few of its last values, for audit.
 *
 * A swap is a publish that names the last sequence of the WHOLE STREAM; a revision is the sequence in it. This is
 * compared when the write is applied, by every version and with every number of copies. The other form, which names
 * the last sequence of a subject, is not (register-advice.ts): so a stream has one subject and NOTHING else in it.
 *
 * Reads go to the stream's leader and to nobody else. One that was deposed and does not know it yet answers with an
 * older value: a conflict is told only AFTER a value was read that is not older than the conflict itself.
 *
 * Streams are created at first use, which is when a node starts: in the middle of a failover NATS may not be able to. One
 * that a read finds missing was deleted: the next use creates it. That nobody takes values is no sign of it, for a stream
 * may be without a leader; that is looked for BESIDE the swap. The server tells of a stream a moment BEFORE it takes values.
 */

import { tell } from './codec.ts'
import { type Failure, fail, type Outcome, succeed } from './failures.ts'
import {
  type JetStream,
  type JetStreamError,
  jetStreamCodes,
  jetStreamFailure,
  jetStreamOver,
} from './jetstream.ts'
import type { Clock, Log } from './ports.ts'
import { type Held, REGISTER_TIMES, type Register, type RegisterTimes, type SwapOutcome } from './register.ts'
import { registerAdvice } from './register-advice.ts'
import { parseValue, pushesOver, registerOver, unknown } from './register-client.ts'
import { openStreams } from './register-streams.ts'
import type { Subjects } from './subjects.ts'
import type { Transport } from './transport.ts'

export type JetStreamRegisterOptions = {
  readonly transport: Transport
  readonly subjects: Subjects
  readonly clock: Clock
  readonly log: Log
  /** How many servers keep a copy: 1, or 3 in a cluster. A stream that is there keeps what it has. */
  readonly replicas?: number
  readonly times?: Partial<RegisterTimes>
}

/** More than the head of a swap takes; a payload above what the server carries would be stored in parts. */
const HEAD_BYTES = 128
const STORE_RETRY_MS = 20

/** Calls back with the register, or with why there can be none here. Warns of servers that may forget. */
export function openJetStreamRegister(
  options: JetStreamRegisterOptions,
  done: (outcome: Outcome<Register>) => void,
): void {
  const { transport, log, clock, replicas = 1 } = options
  const times = { ...REGISTER_TIMES, ...options.times }
  const { server } = transport
  if (server === null) return clock.defer(() => done(withoutJetStream))
  const advice = registerAdvice({ ...server, replicas, form: 'stream' })
  if (advice !== 'fine' && 'refuse' in advice) return clock.defer(() => done(fail('missing', advice.refuse)))
  jetStreamOver(transport, times.readTimeoutMs).info((outcome) => {
    if (!outcome.ok) return done(outcome.failure.code === 'noResponders' ? withoutJetStream : outcome)
    const { error } = outcome.value
    if (error?.err_code === jetStreamCodes.notEnabledForAccount) return done(withoutJetStream)
    if (error !== null) return done(jetStreamFailure('to tell of itself', error))
    if (advice !== 'fine') log.warn(advice.warn)
    done(succeed(registerIn(options, replicas, times)))
  })
}

const withoutJetStream = fail(
  'missing',
  'no NATS server with JetStream is there, which keeps the register: start it as `nats-server -js`, or let one node serve the register',
)

function registerIn(
  { transport, subjects: { register }, clock, log }: JetStreamRegisterOptions,
  replicas: number,
  times: RegisterTimes,
): Register {
  const jetStream = jetStreamOver(transport, times.readTimeoutMs)
  const streams = openStreams(jetStream, register, replicas, { clock, log })

  function read(key: string, done: (outcome: Outcome<Held | null>) => void): void {
    streams.open(key, (opened) => {
      if (!opened.ok) return done(opened)
      jetStream.lastMessage(register.stream(key), register.value(key), (outcome) => {
        if (!outcome.ok) return done(outcome)
        const { error } = outcome.value
        if (error?.err_code === jetStreamCodes.noMessageFound) return done(succeed(null))
        if (error?.err_code === jetStreamCodes.streamNotFound) streams.missing(key)
        if (error !== null) return done(jetStreamFailure(`to read '${key}'`, error))
        done(heldIn(outcome.value.value))
      })
    })
  }

  function swap(key: string, expected: number, text: string, done: (outcome: SwapOutcome) => void): void {
    const payload = Buffer.from(text)
    if (payload.length + HEAD_BYTES > transport.maxPayload) {
      const { failure } = fail(
        'tooLarge',
        `the NATS server carries ${transport.maxPayload} bytes, not a value of ${payload.length}`,
      )
      return clock.defer(() => done(unknown(failure)))
    }
    streams.open(key, (opened) => {
      if (!opened.ok) return done(unknown(opened.failure))
      store(key, expected, payload, clock.monotonic() + times.swapTimeoutMs, (outcome) => {
        if (!outcome.ok) {
          if (outcome.failure.code === 'noResponders') read(key, () => {})
          return done(unknown(namingStream(outcome.failure, register.stream(key))))
        }
        const { error } = outcome.value
        if (error !== null) return refused(key, expected, error, done)
        const { seq } = outcome.value.value
        tell(transport, register.changed(key), { revision: seq, value: parseValue(text) })
        done({ result: 'ok', revision: seq })
      })
    })
  }

  // That nobody listens is definite: a stream that begins, or changes its leader, is waited for. Each try has its time.
  const store = (
    key: string,
    expected: number,
    payload: Buffer,
    until: number,
    done: Parameters<JetStream['store']>[4],
  ): void =>
    jetStream.store(register.value(key), expected, payload, times.swapTimeoutMs, (outcome) => {
      const isLate = clock.monotonic() >= until
      if (outcome.ok || outcome.failure.code !== 'noResponders' || isLate) done(outcome)
      else clock.setTimeout(() => store(key, expected, payload, until, done), STORE_RETRY_MS)
    })

  function refused(
    key: string,
    expected: number,
    error: JetStreamError,
    done: (outcome: SwapOutcome) => void,
  ): void {
    const isConflict =
      error.err_code === jetStreamCodes.wrongLastSequence ||
      error.err_code === jetStreamCodes.wrongLastSequenceConstant
    if (!isConflict) return done(unknown(jetStreamFailure(`to swap '${key}'`, error).failure))
    const last = Number(/(\d+)$/.exec(error.description)?.[1] ?? 0)
    read(key, (outcome) => {
      if (!outcome.ok) return done(unknown(outcome.failure))
      const held = outcome.value
      const revision = held?.revision ?? 0
      if (revision !== expected && revision >= last) done({ result: 'conflict', held })
      else done(unknown(staleRead(key, register.stream(key)).failure))
    })
  }

  return registerOver({ clock, pollMs: times.pollMs, read, swap, listen: pushesOver(transport, register) })
}

/** Nobody listens where a value is stored: told in the words of who can do something about it. */
const namingStream = (failure: Failure, stream: string): Failure =>
  failure.code !== 'noResponders'
    ? failure
    : {
        ...failure,
        message: `no stream '${stream}' takes values: JetStream is starting, or has no leader, or the stream was deleted; then the next try creates it`,
      }

const staleRead = (key: string, stream: string) =>
  fail(
    'ioError',
    `'${key}' was swapped by somebody else, and what it holds now could not be read: try again; if it stays so, messages were removed from the stream '${stream}', which NOBODY may do`,
    true,
  )

function heldIn({ sequence, payload }: { sequence: number; payload: Buffer }): Outcome<Held> {
  try {
    return succeed({ revision: sequence, value: parseValue(payload.toString()) })
  } catch (cause) {
    return fail(
      'malformed',
      `the register holds something at revision ${sequence} that is not JSON`,
      false,
      cause,
    )
  }
}
