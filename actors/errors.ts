/**
 * The one error that users of StateMQ catch.
 *
 * `code` is RocketMQ's name where RocketMQ has one (then `responseCode` is its number), else the name of what the
 * world did: TIMED_OUT, NO_RESPONDERS, DISCONNECTED, CLOSED, IN_USE, … The message says what to do.
 */

import type { Answer } from '../transport/codec.ts'
import { type Code, type CodeName, codeName, codes, isRetryable } from '../transport/codes.ts'
import type { Failure, Outcome } from '../transport/failures.ts'

export type ErrorCode =
  | CodeName
  | 'TIMED_OUT'
  | 'NO_RESPONDERS'
  | 'DISCONNECTED'
  | 'CLOSED'
  | 'TOO_LARGE'
  | 'MALFORMED'
  | 'DISK_FULL'
  | 'IO_ERROR'
  | 'IN_USE'
  | 'MISSING'
  | 'NO_NAME_SERVER'
  | 'TOO_MANY_REQUESTS'

export class StateMQError extends Error {
  override readonly name = 'StateMQError'
  readonly code: ErrorCode
  /** RocketMQ's number of the code; undefined when it has none. */
  readonly responseCode: number | undefined
  /** True when the same call may succeed later without a change of what was asked. */
  readonly retryable: boolean

  constructor(code: ErrorCode, message: string, options: { retryable?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.responseCode = code in codes ? codes[code as CodeName] : undefined
    this.retryable = options.retryable ?? (code in codes && isRetryable(code as CodeName))
  }
}

/** Failures say 'diskFull'; alarms of machines are in capitals already. */
const snake = (code: string): ErrorCode =>
  (code === code.toUpperCase() ? code : code.replace(/[A-Z]/g, '_$&').toUpperCase()) as ErrorCode

export const errorOfFailure = ({ code, message, retryable, cause }: Failure): StateMQError =>
  new StateMQError(snake(code), message, { retryable, cause })

export const errorOfRefusal = (code: Code | number, message: string): StateMQError =>
  new StateMQError(codeName(code), message)

/** The caller gave something that cannot be carried out; nothing was sent. */
export const badInput = (message: string, code: ErrorCode = 'MESSAGE_ILLEGAL'): StateMQError =>
  new StateMQError(code, message, { retryable: false })

/** An ask whose answer a caller awaits: the value, or the error to throw. */
export function settle<T>(
  outcome: Outcome<Answer<T>>,
  what: string,
  resolve: (value: T) => void,
  reject: (error: StateMQError) => void,
): void {
  if (!outcome.ok) {
    const { failure } = outcome
    return reject(errorOfFailure({ ...failure, message: `${what}: ${failure.message}` }))
  }
  if (outcome.value.code === 0) resolve((outcome.value as { value: T }).value)
  else
    reject(errorOfRefusal(outcome.value.code, `${what}: ${(outcome.value as { message: string }).message}`))
}
