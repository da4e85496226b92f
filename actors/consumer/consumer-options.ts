/** What a consumer may be told, with what is assumed when it is not, and what is wrong with it. */
import { type Allocation, allocations } from '../../machines/allocation/index.ts'
import { groupFault } from '../../machines/names.ts'
import {
  DEFAULT_MAX_RECONSUME_TIMES,
  RECONSUME_TIMES_MAX,
  SUSPEND_MS_MAX,
  SUSPEND_MS_MIN,
} from '../../machines/retry-policy.ts'
import { badInput } from '../errors.ts'
import { defaultLimits, type FlowLimits } from './queue-reader.ts'
import type { StartPosition } from './start-position.ts'

export type ConsumerOptions = {
  group: string
  /** 'clustering' (default): each message to one consumer of the group. 'broadcasting': each to all. */
  messageModel?: 'clustering' | 'broadcasting'
  /** How the queues are divided; default 'averagely'. */
  allocation?: Allocation
  /** Where a group begins that has committed nothing; default 'last'. A queue that appears later is read from its start. */
  from?: 'first' | 'last' | Date
  /** One message of a queue at a time, in order; default false. */
  ordered?: boolean
  /** Handlers that run at once; default 20. */
  concurrency?: number
  /** Names this consumer in its group; two that run at once need two names. Made up by default. */
  clientId?: string
  flow?: Partial<FlowLimits>
  /**
   * How often a message that failed is tried again before it becomes a dead letter. Default 16; with `ordered` a message
   * is tried for as long as it fails, unless this is given.
   */
  maxReconsumeTimes?: number
  /** With `ordered`: how long a queue stands still when its handler fails, 10 to 30,000; default 1,000. */
  suspendMs?: number
  /** A handler that runs longer has failed: its message is sent back. Default 15 minutes. Not with `ordered`. */
  consumeTimeoutMs?: number
}

export type ConsumerSettings = Required<Omit<ConsumerOptions, 'from' | 'flow'>> & {
  from: StartPosition
  flow: FlowLimits
}

const SUSPEND_MS = 1_000
const CONSUME_TIMEOUT_MS = 15 * 60_000

/** Throws INVALID_PARAMETER with what is allowed. */
export function settingsOf(options: ConsumerOptions, madeUpId: string): ConsumerSettings {
  const invalid = (message: string): never => {
    throw badInput(message, 'INVALID_PARAMETER')
  }
  if (typeof options !== 'object' || options === null || typeof options.group !== 'string') {
    return invalid('a consumer needs a group: client.consumer({ group })')
  }
  const { group, messageModel = 'clustering', allocation = 'averagely', from = 'last' } = options
  const { ordered = false, concurrency = 20, clientId = madeUpId, flow = {} } = options
  const { maxReconsumeTimes = ordered ? RECONSUME_TIMES_MAX : DEFAULT_MAX_RECONSUME_TIMES } = options
  const { suspendMs = SUSPEND_MS, consumeTimeoutMs = CONSUME_TIMEOUT_MS } = options
  const fault = groupFault(group)
  if (fault) throw badInput(fault.message, fault.code)
  if (messageModel !== 'clustering' && messageModel !== 'broadcasting') {
    invalid(`messageModel '${messageModel}': give 'clustering' or 'broadcasting'`)
  }
  if (!Object.hasOwn(allocations, allocation)) {
    invalid(`allocation '${allocation}': give one of ${Object.keys(allocations).join(', ')}`)
  }
  if (from instanceof Date ? Number.isNaN(from.getTime()) : from !== 'first' && from !== 'last') {
    invalid("from: give 'first', 'last' or a Date")
  }
  if (!(Number.isInteger(concurrency) && concurrency > 0)) {
    invalid(`concurrency ${concurrency}: give a whole number above 0`)
  }
  if (typeof ordered !== 'boolean') invalid(`ordered '${ordered}': give true or false`)
  for (const [name, value] of Object.entries({ ...flow })) {
    if (typeof value !== 'number' || !(value > 0)) invalid(`flow.${name} is ${value}: give a number above 0`)
  }
  if (typeof clientId !== 'string' || !/^[\w%|@-]{1,120}$/.test(clientId)) {
    invalid(`clientId '${clientId}': give 1 to 120 letters, digits, _, -, @, % or |`)
  }
  if (!(Number.isInteger(maxReconsumeTimes) && maxReconsumeTimes >= 0)) {
    invalid(`maxReconsumeTimes ${maxReconsumeTimes}: give a whole number from 0 on`)
  }
  if (!(suspendMs >= SUSPEND_MS_MIN && suspendMs <= SUSPEND_MS_MAX)) {
    invalid(`suspendMs ${suspendMs}: give milliseconds from ${SUSPEND_MS_MIN} to ${SUSPEND_MS_MAX}`)
  }
  if (!(typeof consumeTimeoutMs === 'number' && consumeTimeoutMs > 0)) {
    invalid(`consumeTimeoutMs ${consumeTimeoutMs}: give milliseconds above 0, or Infinity`)
  }
  return {
    ...{ maxReconsumeTimes: Math.min(maxReconsumeTimes, RECONSUME_TIMES_MAX), suspendMs, consumeTimeoutMs },
    ...{ group, messageModel, allocation, ordered, concurrency, clientId },
    from: from instanceof Date ? { time: Math.max(0, from.getTime()) } : from,
    flow: { ...defaultLimits, ...flow },
  }
}
