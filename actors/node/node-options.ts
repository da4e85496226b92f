/** What a node may be told, with what is assumed when it is not, and what is wrong with it. */
import { brokerNameFault } from '../../machines/names.ts'
import { DEFAULT_DELAY_LEVELS, delaysOf } from '../../machines/retry-policy.ts'
import type { Register } from '../../transport/register.ts'
import type { Transport } from '../../transport/transport.ts'
import { badInput } from '../errors.ts'
import { type Names, refuseUnknown } from '../options.ts'
import type { FailoverOptions } from './failover.ts'
import type { LocalWorld } from './surroundings.ts'

/** 'register' serves the register from a file below `dir`, where there is no JetStream to keep it. */
export type Role = 'nameServer' | 'controller' | 'register' | 'broker'

export type NodeOptions = {
  roles: readonly Role[]
  /** Default 'default', or STATEMQ_CLUSTER. */
  cluster?: string
  broker?: {
    name: string
    /** Tells the replicas of one broker name apart: 0 to `replicas` - 1; default 0. */
    id?: number
    /** 'none' (default): the only replica. 'sync': acknowledged when all replicas in sync have it. 'async': soon after. */
    replication?: 'none' | 'sync' | 'async'
    /** How many replicas this broker has in all; default 2 when it is replicated. */
    replicas?: number
    /** Fewer replicas in sync than this: sends are refused. Default 1. */
    minInSync?: number
    /** With 'async': sends are acknowledged at most so far beyond the slowest replica in sync; default 64 MiB. */
    maxLagBytes?: number
    /** 'sync': acknowledged when on disk. 'async' (default): acknowledged when written, synced soon after. */
    flush?: 'sync' | 'async'
    autoCreateTopic?: boolean
    /** Of one file of the log: 4,096 bytes to 2 GiB; default 256 MiB. */
    segmentBytes?: number
    /** How long messages are kept, hours, more than 0; default 72. */
    retentionHours?: number
    /** RocketMQ's messageDelayLevel: the pauses of the 18 delay levels. THE SAME on all brokers of a cluster. */
    messageDelayLevel?: string
  }
  /** Brokers keep their data below it, each in a folder of its own; default './statemq-data'. */
  dir?: string
  /** How the node talks; exactly one of the three. A nats-server: */
  servers?: string | readonly string[]
  /** its own listener, which any NATS client can attach to: */
  listen?: { port: number; host?: string }
  /** or the transport of another node in this process. */
  transport?: Transport
  /** Where broker groups keep who is master. Default: JetStream where the server has it, else a node serves it. */
  register?: 'served' | 'jetstream' | Register
  /** How many servers of a NATS cluster keep a copy of it; default 1. */
  registerReplicas?: 1 | 3
  /** How fast a silent replica is missed. THE SAME on all nodes: asynchronous masters and slaves count on it. */
  failover?: FailoverOptions
  /** What a role does not decide by itself; for tests and simulations. */
  world?: Partial<LocalWorld>
  /** How long a name server that has just started denies no topic, milliseconds. */
  collectMs?: number
  /** A role failed too often, or a broker halted after the node was ready: the node does not do its work any more. */
  failed?: (message: string) => void
}

// biome-ignore format: one name a line says no more
const nodeOptions: Names<NodeOptions> = {
  roles: true, cluster: true, broker: true, dir: true, servers: true,
  listen: true, transport: true, register: true, registerReplicas: true,
  failover: true, world: true, collectMs: true, failed: true,
}
// biome-ignore format: one name a line says no more
const nodeBrokerOptions: Names<NonNullable<NodeOptions['broker']>> = {
  name: true, id: true, replication: true, replicas: true, minInSync: true,
  maxLagBytes: true, flush: true, autoCreateTopic: true, segmentBytes: true,
  retentionHours: true, messageDelayLevel: true,
}
const listenOptions: Names<NonNullable<NodeOptions['listen']>> = { port: true, host: true }
const failoverOptions: Names<FailoverOptions> = { detectMs: true }

export const DEFAULT_DIR = './statemq-data'
export const isReplicated = ({ broker }: NodeOptions): boolean => (broker?.replication ?? 'none') !== 'none'

/** Throws INVALID_PARAMETER for what is none, or does not go together. */
export function checkNodeOptions(options: NodeOptions): void {
  const invalid = (message: string): never => {
    throw badInput(message, 'INVALID_PARAMETER')
  }
  if (typeof options !== 'object' || options === null)
    invalid("a node needs roles: startNode({ roles: ['broker'], … })")
  const { roles, broker, servers, listen, transport, failover } = options
  refuseUnknown('startNode', options, nodeOptions)
  refuseUnknown('broker', broker ?? {}, nodeBrokerOptions)
  refuseUnknown('listen', listen ?? {}, listenOptions)
  refuseUnknown('failover', failover ?? {}, failoverOptions)
  if (!Array.isArray(roles) || roles.length === 0) invalid(`roles: give at least one of ${ROLES.join(', ')}`)
  for (const role of roles as readonly string[]) {
    if (!ROLES.includes(role as Role)) invalid(`role '${role}': give one of ${ROLES.join(', ')}`)
  }
  const { detectMs = DETECT_MS_MIN } = failover ?? {}
  if (!(detectMs >= DETECT_MS_MIN && detectMs <= DETECT_MS_MAX))
    invalid(`failover.detectMs ${detectMs}: give milliseconds, ${DETECT_MS_MIN} to ${DETECT_MS_MAX}`)
  if ([servers, listen, transport].filter((way) => way !== undefined).length > 1) {
    invalid('give one of servers, listen and transport, not several')
  }
  if (!roles.includes('broker')) return
  if (!broker || typeof broker.name !== 'string')
    return invalid("the role 'broker' needs broker: { name: 'broker-a' }")
  const fault = brokerNameFault(broker.name)
  if (fault) invalid(fault.message)
  checkReplicas(broker, invalid)
  checkLog(broker, invalid)
  if (broker.flush !== undefined && broker.flush !== 'sync' && broker.flush !== 'async') {
    invalid(`flush '${broker.flush}': give 'sync' or 'async'`)
  }
  const delays = delaysOf(broker.messageDelayLevel ?? DEFAULT_DELAY_LEVELS)
  if (typeof delays === 'string') invalid(delays)
}

const ROLES: readonly Role[] = ['nameServer', 'controller', 'register', 'broker']
const REPLICAS_MAX = 9
const DETECT_MS_MIN = 100
const DETECT_MS_MAX = 3_600_000
const SEGMENT_BYTES_MIN = 4_096
/** Places in a segment are 32 bits in its index, and its last frame may go beyond. */
const SEGMENT_BYTES_MAX = 2 ** 31

function checkLog(
  { retentionHours = 1, segmentBytes = SEGMENT_BYTES_MIN }: NonNullable<NodeOptions['broker']>,
  invalid: (message: string) => never,
): void {
  if (!(Number.isFinite(retentionHours) && retentionHours > 0))
    invalid(`broker.retentionHours ${retentionHours}: give a number above 0`)
  if (!isWhole(segmentBytes, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX))
    invalid(`broker.segmentBytes ${segmentBytes}: give ${SEGMENT_BYTES_MIN} to ${SEGMENT_BYTES_MAX} bytes`)
}

const isWhole = (value: number, least: number, most: number): boolean =>
  Number.isInteger(value) && value >= least && value <= most

function checkReplicas(
  { id = 0, replication = 'none', replicas, minInSync, maxLagBytes }: NonNullable<NodeOptions['broker']>,
  invalid: (message: string) => never,
): void {
  if (!['none', 'sync', 'async'].includes(replication))
    invalid(`replication '${replication}': give 'none', 'sync' or 'async'`)
  if (replication === 'none') {
    if (id !== 0 || (replicas ?? 1) !== 1)
      invalid("a broker with several replicas needs replication: 'sync' or 'async'")
    return
  }
  const count = replicas ?? 2
  if (!isWhole(count, 2, REPLICAS_MAX)) invalid(`replicas ${count}: give 2 to ${REPLICAS_MAX}`)
  if (!isWhole(id, 0, count - 1)) invalid(`id ${id}: the ${count} replicas have the ids 0 to ${count - 1}`)
  if (!isWhole(minInSync ?? 1, 1, count)) invalid(`minInSync ${minInSync}: give 1 to ${count}`)
  if (maxLagBytes !== undefined && !isWhole(maxLagBytes, 0, Number.MAX_SAFE_INTEGER))
    invalid(`maxLagBytes ${maxLagBytes}: give a number of bytes`)
}
