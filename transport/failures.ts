/**
 * What the world may do to a request: the one union that the ports report and the machines understand.
 *
 * A failure is the world's doing. A refusal is an answer with a code (codes.ts). A bug is thrown. Never mix the three.
 */
export type FailureCode =
  | 'timedOut' // No answer in time: whether the order was carried out is UNKNOWN.
  | 'noResponders' // Nobody listens on the subject: the order was NOT carried out.
  | 'disconnected' // The connection broke: whether the order was carried out is UNKNOWN.
  | 'closed' // This side was closed by its owner.
  | 'tooLarge' // The payload is larger than the transport carries.
  | 'malformed' // Bytes that do not parse.
  | 'diskFull'
  | 'ioError'
  | 'inUse' // Somebody else holds the port or the folder.
  | 'missing'

export type Failure = {
  readonly code: FailureCode
  readonly retryable: boolean
  /** A sentence for people: what was tried and what happened. */
  readonly message: string
  readonly cause?: unknown
}

export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly failure: Failure }

export const succeed = <T>(value: T): Outcome<T> => ({ ok: true, value })
export const done: Outcome<void> = { ok: true, value: undefined }
export const fail = (code: FailureCode, message: string, retryable = false, cause?: unknown) =>
  ({ ok: false, failure: { code, retryable, message, ...(cause === undefined ? {} : { cause }) } }) as const
