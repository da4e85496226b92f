/**
 * Errors for people: what was tried, what happened, what to type next. With --json the same three as one object.
 *
 * Exit codes: 0 done, 1 it failed, 2 the command line is wrong.
 */
import { StateMQError } from '../../errors.ts'
import type { Settings } from './cli.ts'
import { jsonLine } from './table.ts'
import type { Terminal } from './terminal.ts'

/** The command line is wrong in a way that the parser cannot see. */
export class UsageError extends Error {}

/** Ctrl-C ended the work before it was done. */
export class Interrupted extends Error {}

/** Another program was run, ended with this code, and has said why itself. */
export class Ended extends Error {
  readonly code: number
  constructor(code: number) {
    super(`it ended with ${code}`)
    this.code = code
  }
}

/** A failure with what was being tried; thrown by `attempt` and nowhere else. */
class Failed extends Error {
  readonly tried: string
  constructor(tried: string, cause: unknown) {
    super(tried, { cause })
    this.tried = tried
  }
}

/** Runs `work`; should it fail, the message to the user begins with "could not <tried>". */
export async function attempt<T>(tried: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof Failed || error instanceof UsageError || error instanceof Interrupted) throw error
    throw new Failed(tried, error)
  }
}

/** Prints an error and returns the exit code. */
export function explain(error: unknown, terminal: Terminal, settings: Settings): number {
  if (error instanceof Interrupted) return 130
  if (error instanceof Ended) return error.code
  if (error instanceof UsageError) {
    terminal.tell(`error: ${error.message}\n`)
    return 2
  }
  const failed = error instanceof Failed
  const cause = failed ? error.cause : error
  const tried = failed ? `could not ${error.tried}` : 'statemq has a bug'
  const code = codeOf(cause)
  const words = cause instanceof Error ? cause.message : String(cause)
  // Node's own errors begin with their code.
  const message = words.startsWith(`${code}: `) ? words.slice(`${code}: `.length) : words
  // Many messages of the library say themselves what to type.
  const next = message.includes("'statemq ") ? undefined : nextStep(code, settings)
  const retryable = cause instanceof StateMQError && cause.retryable

  if (settings.json) {
    terminal.tell(jsonLine({ error: { tried, code: code ?? null, message, retryable, next: next ?? null } }))
    return 1
  }
  terminal.tell(`error: ${tried}\n`)
  terminal.tell(`  ${code === undefined ? '' : `${code}: `}${message}\n`)
  if (next !== undefined) terminal.tell(`  next: ${next}\n`)
  // A bug, ours: whoever reports it needs the place.
  if (!failed && cause instanceof Error && cause.stack !== undefined) terminal.tell(`${cause.stack}\n`)
  return 1
}

function codeOf(cause: unknown): string | undefined {
  const code = (cause as { code?: unknown } | undefined)?.code
  return typeof code === 'string' ? code : undefined
}

function nextStep(code: string | undefined, { servers, cluster }: Settings): string | undefined {
  switch (code) {
    case 'DISCONNECTED':
    case 'CLOSED':
      return `start one here with 'statemq start', or say where it is: --servers (now ${servers}) or STATEMQ_SERVERS`
    case 'NO_NAME_SERVER':
    case 'NO_RESPONDERS':
      return `see what runs with 'statemq inspect'; is '${cluster}' the right --cluster?`
    case 'TIMED_OUT':
      return `see whether the brokers are well with 'statemq broker list', then try again`
    case 'TOPIC_NOT_EXIST':
      return `see the topics with 'statemq topic list', or make it: statemq topic create NAME`
    case 'SUBSCRIPTION_GROUP_NOT_EXIST':
      return `see the groups with 'statemq group list'`
    case 'QUERY_NOT_FOUND':
      return `see what there is with 'statemq inspect'`
    case 'SYSTEM_BUSY':
    case 'SERVICE_NOT_AVAILABLE':
    case 'NOT_MASTER':
      return 'try again in a moment'
    case 'IN_SYNC_REPLICAS_NOT_ENOUGH':
    case 'CONTROLLER_MASTER_NOT_AVAILABLE':
    case 'CONTROLLER_ELECT_MASTER_FAILED':
    case 'CONTROLLER_INVALID_REPLICAS':
    case 'CONTROLLER_BROKER_ID_INVALID':
    case 'CONTROLLER_MASTER_STILL_EXIST':
      return `see the replicas of the brokers with 'statemq broker list'`
    case 'DISK_FULL':
      return 'free space in the folder of the broker, then try again'
    case 'ENOENT':
    case 'EACCES':
      return 'look at the path'
    default:
      return undefined
  }
}
