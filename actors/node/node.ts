/**
 * Node: one process's share of a cluster. It builds the World, takes part in the transport and supervises its roles.
 *
 * A node is ready AFTER all its roles serve; one that cannot be started stops what it started and says why. `close`
 * drains: what was accepted is stored and answered first.
 */
import { brokerNameFault } from '../../machines/names.ts'
import { DEFAULT_DELAY_LEVELS, delaysOf } from '../../machines/retry-policy.ts'
import type { Register } from '../../transport/register.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import type { Transport } from '../../transport/transport.ts'
import { type RunningBroker, startBroker } from '../broker/broker.ts'
import { startController } from '../controller/controller.ts'
import { badInput, errorOfFailure, StateMQError } from '../errors.ts'
import { startNameServer } from '../name-server/name-server.ts'
import { type Names, refuseUnknown } from '../options.ts'
import { type FailoverOptions, failoverOf } from './failover.ts'
import { type GroupLinks, openGroupLinks } from './group-links.ts'
import { createDirectory } from './inspection.ts'
import { attach } from './links.ts'
import type { Process } from './process.ts'
import { type RegisterServer, serveRegister } from './register-server.ts'
import { type Supervision, supervise } from './supervise.ts'
import { clusterName, type LocalWorld, localWorld, processId } from './surroundings.ts'
import type { World } from './world.ts'

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
    segmentBytes?: number
    /** How long messages are kept, hours; default 72. */
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

export type Node = {
  /** Where clients connect. */
  readonly servers: string
  /** For more nodes and clients in this process. */
  readonly transport: Transport
  /** Drains and stops. */
  close(): Promise<void>
}

const EMBEDDED_COLLECT_MS = 50
/** A replica that has no master by then counts as started. */
const SETTLE_MS = 10_000

export async function startNode(options: NodeOptions): Promise<Node> {
  checkOptions(options)
  const cluster = clusterName(options.cluster)
  const local = localWorld(options.world)
  const id = processId(local.random)
  const way = await attach(options, local, id)
  const world: World = { ...local, transport: way.transport }
  const subjects = subjectsOf(cluster)
  const directory = createDirectory(id, way.transport, subjects, world.clock)
  const member: Process = { id, world, subjects, directory }
  const supervisions: Supervision[] = []

  const end = async () => {
    for (const supervision of supervisions.splice(0).reverse()) {
      await new Promise<void>((stopped) => supervision.stop(stopped))
    }
    const group = await links?.catch(() => null)
    group?.register.close()
    directory.close()
    await way.leave()
  }
  let ending: Promise<void> | null = null
  const close = () => (ending ??= end())
  let links: Promise<GroupLinks> | null = null
  const groupLinks = () => (links ??= openGroupLinks(way, local, subjects, options))
  try {
    for (const role of inOrder(options.roles)) await start(role)
  } catch (error) {
    await close()
    throw error
  }
  return { servers: way.servers, transport: way.transport, close }

  async function start(role: Role): Promise<void> {
    if (role === 'register') {
      if (options.register === undefined && way.transport.server?.hasJetStream) {
        throw badInput(
          "the NATS server has JetStream, which keeps the register: leave out the role 'register', or give every node " +
            "register: 'served' (--register served)",
          'INVALID_PARAMETER',
        )
      }
      const folder = `${options.dir ?? DEFAULT_DIR}/register`
      const server = await new Promise<RegisterServer>((resolve, reject) =>
        serveRegister(world, subjects, folder, (outcome) =>
          outcome.ok ? resolve(outcome.value) : reject(errorOfFailure(outcome.failure)),
        ),
      )
      return void supervisions.push({ stop: (stopped) => server.close(stopped) })
    }
    const needsGroup = role === 'controller' || isReplicated(options)
    const group = needsGroup ? await groupLinks() : null
    await new Promise<void>((ready, refused) => {
      supervisions.push(startRole(role, member, { ...options, cluster }, group, ready, refused))
    })
  }
}

const DEFAULT_DIR = './statemq-data'
const isReplicated = ({ broker }: NodeOptions): boolean => (broker?.replication ?? 'none') !== 'none'

/** What others stand on comes first, and goes last. */
const inOrder = (roles: readonly Role[]): Role[] =>
  (['register', 'nameServer', 'controller', 'broker'] as const).filter((role) => roles.includes(role))

function startRole(
  role: Role,
  member: Process,
  options: NodeOptions & { cluster: string },
  group: GroupLinks | null,
  ready: () => void,
  refused: (error: StateMQError) => void,
): Supervision {
  const givenUp = (message: string) => {
    refused(new StateMQError('SYSTEM_ERROR', message))
    options.failed?.(message)
  }
  if (role === 'nameServer') {
    const settings = options.collectMs ?? (options.listen ? EMBEDDED_COLLECT_MS : undefined)
    const supervision = supervise(member, `name-server/${member.id}`, {
      start: (failed) => startNameServer(member, member.id, { failed }, settings),
      givenUp,
    })
    ready()
    return supervision
  }
  const failover = failoverOf(options.failover)
  if (role === 'controller') {
    const { control, register } = group!
    const supervision = supervise(member, `controller/${member.id}`, {
      start: (failed) => startController(member, { control, register, failover }, { failed }),
      givenUp,
    })
    ready()
    return supervision
  }
  const { name, id = 0, flush, autoCreateTopic, segmentBytes, retentionHours } = options.broker!
  const { messageDelayLevel } = options.broker!
  const { replication = 'none', replicas = 2, minInSync = 1, maxLagBytes = MAX_LAG_BYTES } = options.broker!
  let isUp = false
  // The other replicas may come later, or not at all: the node is up nevertheless.
  if (replication !== 'none') {
    const { clock, log } = member.world
    const waiting = clock.setTimeout(() => {
      log.warn(`broker/${name}/${id} waits for the other replicas, or for a controller`)
      ready()
    }, SETTLE_MS)
    const [settled, rejected] = [ready, refused]
    ready = () => {
      clock.clearTimeout(waiting)
      isUp = true
      settled()
    }
    refused = (error) => {
      clock.clearTimeout(waiting)
      rejected(error)
    }
  }
  return supervise(member, `broker/${name}/${id}`, {
    start: (failed): RunningBroker => {
      return startBroker(
        member,
        {
          cluster: options.cluster,
          brokerName: name,
          brokerId: id,
          folder: `${options.dir ?? DEFAULT_DIR}/${name}-${id}`,
          ...(flush === undefined ? {} : { flush }),
          ...(autoCreateTopic === undefined ? {} : { autoCreateTopic }),
          ...(segmentBytes === undefined ? {} : { segmentBytes }),
          ...(messageDelayLevel === undefined ? {} : { messageDelayLevel }),
          ...(replication === 'none' || group === null
            ? {}
            : { replication: { replication, replicas, minInSync, maxLagBytes, failover, ...group } }),
          ...(retentionHours === undefined ? {} : { retention: { retentionMs: retentionHours * 3_600_000 } }),
        },
        {
          serving() {
            isUp = true
            ready()
          },
          halted({ code, message }) {
            const error = errorOfFailure({ code: code as never, message, retryable: false })
            if (isUp) options.failed?.(message)
            else refused(error)
          },
          failed,
        },
      )
    },
    givenUp,
  })
}

function checkOptions(options: NodeOptions): void {
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
  if (failover?.detectMs !== undefined && !(failover.detectMs >= DETECT_MS_MIN))
    invalid(`failover.detectMs ${failover.detectMs}: give milliseconds, ${DETECT_MS_MIN} at least`)
  if ([servers, listen, transport].filter((way) => way !== undefined).length > 1) {
    invalid('give one of servers, listen and transport, not several')
  }
  if (!roles.includes('broker')) return
  if (!broker || typeof broker.name !== 'string')
    return invalid("the role 'broker' needs broker: { name: 'broker-a' }")
  const fault = brokerNameFault(broker.name)
  if (fault) invalid(fault.message)
  checkReplicas(broker, invalid)
  if (broker.flush !== undefined && broker.flush !== 'sync' && broker.flush !== 'async') {
    invalid(`flush '${broker.flush}': give 'sync' or 'async'`)
  }
  const delays = delaysOf(broker.messageDelayLevel ?? DEFAULT_DELAY_LEVELS)
  if (typeof delays === 'string') invalid(delays)
}

const ROLES: readonly Role[] = ['nameServer', 'controller', 'register', 'broker']
const MAX_LAG_BYTES = 64 * 1024 * 1024
const REPLICAS_MAX = 9
const DETECT_MS_MIN = 100

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
  const isWhole = (value: number, least: number, most: number) =>
    Number.isInteger(value) && value >= least && value <= most
  if (!isWhole(count, 2, REPLICAS_MAX)) invalid(`replicas ${count}: give 2 to ${REPLICAS_MAX}`)
  if (!isWhole(id, 0, count - 1)) invalid(`id ${id}: the ${count} replicas have the ids 0 to ${count - 1}`)
  if (!isWhole(minInSync ?? 1, 1, count)) invalid(`minInSync ${minInSync}: give 1 to ${count}`)
  if (maxLagBytes !== undefined && !isWhole(maxLagBytes, 0, Number.MAX_SAFE_INTEGER))
    invalid(`maxLagBytes ${maxLagBytes}: give a number of bytes`)
}
