/** What a consumer may be told, with what is assumed when it is not, and what is wrong with it. */
import {
  type Allocate,
  type Allocation,
  type AllocationSettings,
  allocationFault,
  allocations,
} from '../../machines/allocation/index.ts'
import { groupFault } from '../../machines/names.ts'
import {
  DEFAULT_MAX_RECONSUME_TIMES,
  RECONSUME_TIMES_MAX,
  SUSPEND_MS_MAX,
  SUSPEND_MS_MIN,
} from '../../machines/retry-policy.ts'
import { TIMER_MS_MAX } from '../../transport/ports.ts'
import { badInput } from '../errors.ts'
import { defaultOffsetsDir } from '../node/surroundings.ts'
import { type Names, refuseUnknown } from '../options.ts'
import { defaultFlow, type FlowOptions } from './flow-control.ts'
import type { StartPosition } from './start-position.ts'

export type ConsumerOptions = {
  group: string
  /** 'clustering' (default): each message to one consumer of the group. 'broadcasting': each to all. */
  messageModel?: 'clustering' | 'broadcasting'
  /**
   * How the queues are divided; default 'averagely'. A function is a strategy of your own, which EVERY consumer of the
   * group needs: it gives the queues of one consumer out of those of a topic.
   */
  allocation?: Allocation | Allocate
  /** The machine room that this consumer runs in; 'machine-room-nearby' needs it. */
  room?: string
  /** 'by-config': the queues that this consumer reads, each as `topic/broker/number`. */
  queues?: string[]
  /** 'by-machine-room': the rooms whose brokers (`room@broker`) the group reads. */
  consumerRooms?: string[]
  /** It counts as gone when nothing is heard of it for so long; default 10,000, with `instanceId` 60,000. */
  sessionMs?: number
  /**
   * Names a place in the group that outlives a process: whoever comes back under it within the session keeps its
   * queues. Takes the place of `clientId`.
   */
  instanceId?: string
  /**
   * Where a group begins that has committed nothing; default 'last'. A queue that appears later is read from its start: on
   * a broker that is new to the group if one of its consumers is there to see it, else always.
   */
  from?: 'first' | 'last' | Date
  /** One message of a queue at a time, in order; default false. */
  ordered?: boolean
  /** Handlers that run at once; default 20. */
  concurrency?: number
  /** Names this consumer in its group; two that run at once need two names. Made up by default. */
  clientId?: string
  /** How much is read ahead of the handler: limits of a queue, of a topic and of the consumer. */
  flow?: Partial<FlowOptions>
  /**
   * How often a message that failed is tried again before it becomes a dead letter; default 16, with `ordered` within about
   * six minutes. 2**31 - 1 with `ordered`: for ever.
   */
  maxReconsumeTimes?: number
  /**
   * With `ordered`: how long a queue stands still when its handler fails for the first time, 10 to 30,000 milliseconds;
   * default 1,000. Twice as long each time that the same message fails, AT MOST 30,000.
   */
  suspendMs?: number
  /** A handler that runs longer has failed: its message is sent back. Default 15 minutes. Not with `ordered`. */
  consumeTimeoutMs?: number
  /** How long `close` waits for handlers that run; default 30,000. */
  closeTimeoutMs?: number
  /**
   * Of a broadcasting consumer with a clientId: the folder of its offsets, which its next run goes on from. Default
   * STATEMQ_OFFSETS_DIR, or `.statemq/offsets` in the home folder. Without a clientId it begins where `from` says.
   */
  offsetsDir?: string
}

// biome-ignore format: one name a line says no more
const consumerOptions: Names<ConsumerOptions> = {
  group: true, messageModel: true, from: true, ordered: true, concurrency: true,
  clientId: true, instanceId: true, sessionMs: true, allocation: true,
  room: true, queues: true, consumerRooms: true, flow: true,
  maxReconsumeTimes: true, suspendMs: true, consumeTimeoutMs: true,
  closeTimeoutMs: true, offsetsDir: true,
}

type Reshaped = 'from' | 'flow' | 'offsetsDir' | 'room' | 'queues' | 'consumerRooms' | 'instanceId'
export type ConsumerSettings = Required<Omit<ConsumerOptions, Reshaped>> & {
  /** What its allocation goes by. */
  place: { room: string; queues: string[]; consumerRooms: string[] }
  isStatic: boolean
  from: StartPosition
  flow: FlowOptions
  /** Null when nothing is kept on this machine. */
  offsetsDir: string | null
}

/** Three beats. */
const SESSION_MS_MIN = 6_000
const SESSION_MS_MAX = 30 * 60_000
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
  refuseUnknown('a consumer', options, consumerOptions)
  const { group, messageModel = 'clustering', allocation = 'averagely', from = 'last' } = options
  const { ordered = false, concurrency = 20, flow = {}, instanceId } = options
  const { clientId = instanceId ?? madeUpId } = options
  const isStatic = instanceId !== undefined
  const { sessionMs = isStatic ? 60_000 : 10_000 } = options
  const { maxReconsumeTimes = DEFAULT_MAX_RECONSUME_TIMES } = options
  const { suspendMs = SUSPEND_MS, consumeTimeoutMs = CONSUME_TIMEOUT_MS } = options
  const fault = groupFault(group)
  if (fault) throw badInput(fault.message, fault.code)
  if (messageModel !== 'clustering' && messageModel !== 'broadcasting') {
    invalid(`messageModel '${messageModel}': give 'clustering' or 'broadcasting'`)
  }
  if (isStatic && options.clientId !== undefined) invalid('give a clientId or an instanceId, not both')
  if (!(Number.isInteger(sessionMs) && sessionMs >= SESSION_MS_MIN && sessionMs <= SESSION_MS_MAX)) {
    invalid(`sessionMs ${sessionMs}: give ${SESSION_MS_MIN} to ${SESSION_MS_MAX} milliseconds`)
  }
  if (typeof allocation !== 'function' && !Object.hasOwn(allocations, allocation)) {
    invalid(`allocation '${allocation}': give a function, or one of ${Object.keys(allocations).join(', ')}`)
  }
  const place = placeOf(options, allocation)
  if (from instanceof Date ? Number.isNaN(from.getTime()) : from !== 'first' && from !== 'last') {
    invalid("from: give 'first', 'last' or a Date")
  }
  if (!(Number.isInteger(concurrency) && concurrency > 0)) {
    invalid(`concurrency ${concurrency}: give a whole number above 0`)
  }
  if (typeof ordered !== 'boolean') invalid(`ordered '${ordered}': give true or false`)
  const { closeTimeoutMs = 30_000 } = options
  if (!(typeof closeTimeoutMs === 'number' && closeTimeoutMs >= 0 && closeTimeoutMs <= TIMER_MS_MAX)) {
    invalid(`closeTimeoutMs ${closeTimeoutMs}: give 0 to ${TIMER_MS_MAX} milliseconds`)
  }
  if (typeof clientId !== 'string' || !/^[\w%|@-]{1,120}$/.test(clientId)) {
    invalid(
      `${isStatic ? 'instanceId' : 'clientId'} '${clientId}': give 1 to 120 letters, digits, _, -, @, % or |`,
    )
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
    ...{ group, messageModel, allocation, ordered, concurrency, clientId, closeTimeoutMs, place },
    ...{ sessionMs, isStatic },
    from: from instanceof Date ? { time: Math.max(0, from.getTime()) } : from,
    flow: flowOf(flow),
    offsetsDir: offsetsDirOf(options),
  }
}

function placeOf(options: ConsumerOptions, allocation: Allocation | Allocate): ConsumerSettings['place'] {
  const { room = '', queues, consumerRooms } = options
  const settings: AllocationSettings & { room: string } = {
    room,
    ...(queues === undefined ? {} : { queues }),
    ...(consumerRooms === undefined ? {} : { consumerRooms }),
  }
  const fault = allocationFault(typeof allocation === 'function' ? 'custom' : allocation, settings)
  if (fault) throw badInput(fault.message, fault.code)
  return { room, queues: [...(queues ?? [])], consumerRooms: [...(consumerRooms ?? [])] }
}

// biome-ignore format: one name a line says no more
const flowOptions: Names<FlowOptions> = {
  messages: true, bytes: true, span: true, topicMessages: true, topicBytes: true,
  totalBytes: true,
}

function flowOf(given: Partial<FlowOptions>): FlowOptions {
  const flow: FlowOptions = { ...defaultFlow }
  if (typeof given !== 'object' || given === null) {
    throw badInput('flow: give an object such as { messages: 100 }', 'INVALID_PARAMETER')
  }
  refuseUnknown('flow', given, flowOptions)
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) continue
    const isOff = value === null && name.startsWith('topic')
    const isLimit = value === Number.POSITIVE_INFINITY || (Number.isInteger(value) && (value as number) > 0)
    if (!isOff && !isLimit) {
      throw badInput(`flow.${name} is ${value}: give a whole number above 0`, 'INVALID_PARAMETER')
    }
    flow[name as 'messages'] = value as number
  }
  return flow
}

function offsetsDirOf({ messageModel, clientId, offsetsDir }: ConsumerOptions): string | null {
  const isKept = messageModel === 'broadcasting' && clientId !== undefined
  if (offsetsDir === undefined) return isKept ? defaultOffsetsDir() : null
  if (typeof offsetsDir !== 'string' || offsetsDir === '') {
    throw badInput('offsetsDir: give the path of a folder', 'INVALID_PARAMETER')
  }
  if (isKept) return offsetsDir
  const what =
    "give messageModel 'broadcasting' and a clientId with it; else the offsets are the brokers', or nobody's"
  throw badInput(`offsetsDir: ${what}`, 'INVALID_PARAMETER')
}
