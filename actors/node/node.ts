/**
 * Node: one process's share of a cluster. It builds the World, takes part in the transport and supervises its roles.
 *
 * A node is ready AFTER all its roles serve; one that cannot be started stops what it started and says why. `close`
 * drains: what was accepted is stored and answered first.
 */
import { brokerNameFault } from '../../machines/names.ts'
import { createHub } from '../../transport/memory.ts'
import { connectNats } from '../../transport/nats.ts'
import { type Listener, startListener } from '../../transport/nats-listener.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import type { Transport } from '../../transport/transport.ts'
import { type RunningBroker, startBroker } from '../broker/broker.ts'
import { badInput, errorOfFailure, StateMQError } from '../errors.ts'
import { startNameServer } from '../name-server/name-server.ts'
import { createDirectory } from './inspection.ts'
import type { Process } from './process.ts'
import { type Supervision, supervise } from './supervise.ts'
import { clusterName, defaultServers, type LocalWorld, localWorld, processId } from './surroundings.ts'
import type { World } from './world.ts'

export type Role = 'nameServer' | 'broker'

export type NodeOptions = {
  roles: readonly Role[]
  /** Default 'default', or STATEMQ_CLUSTER. */
  cluster?: string
  broker?: {
    name: string
    /** 0 is the master; this version has masters only. */
    id?: number
    /** 'sync': acknowledged when on disk. 'async' (default): acknowledged when written, synced soon after. */
    flush?: 'sync' | 'async'
    autoCreateTopic?: boolean
    segmentBytes?: number
    /** How long messages are kept, hours; default 72. */
    retentionHours?: number
  }
  /** Brokers keep their data below it, each in a folder of its own; default './statemq-data'. */
  dir?: string
  /** How the node talks; exactly one of the three. A nats-server: */
  servers?: string | readonly string[]
  /** its own listener, which any NATS client can attach to: */
  listen?: { port: number; host?: string }
  /** or the transport of another node in this process. */
  transport?: Transport
  /** What a role does not decide by itself; for tests and simulations. */
  world?: Partial<LocalWorld>
  /** How long a name server that has just started denies no topic, milliseconds. */
  collectMs?: number
  /** A role failed too often, or a broker halted after it had served: the node does not do its work any more. */
  failed?: (message: string) => void
}

export type Node = {
  /** Where clients connect. */
  readonly servers: string
  /** For more nodes and clients in this process. */
  readonly transport: Transport
  /** Drains and stops. */
  close(): Promise<void>
}

const LISTENER_PAYLOAD = 8 * 1024 * 1024
const EMBEDDED_COLLECT_MS = 50

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

  const close = async () => {
    for (const supervision of supervisions.splice(0).reverse()) {
      await new Promise<void>((stopped) => supervision.stop(stopped))
    }
    directory.close()
    await way.leave()
  }
  try {
    for (const role of options.roles) {
      await new Promise<void>((ready, refused) => {
        supervisions.push(startRole(role, member, { ...options, cluster }, ready, refused))
      })
    }
  } catch (error) {
    await close()
    throw error
  }
  return { servers: way.servers, transport: way.transport, close }
}

function startRole(
  role: Role,
  member: Process,
  options: NodeOptions & { cluster: string },
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
  const { name, id = 0, flush, autoCreateTopic, segmentBytes, retentionHours } = options.broker!
  return supervise(member, `broker/${name}/${id}`, {
    start: (failed): RunningBroker => {
      let hasServed = false
      return startBroker(
        member,
        {
          cluster: options.cluster,
          brokerName: name,
          brokerId: id,
          folder: `${options.dir ?? './statemq-data'}/${name}-${id}`,
          ...(flush === undefined ? {} : { flush }),
          ...(autoCreateTopic === undefined ? {} : { autoCreateTopic }),
          ...(segmentBytes === undefined ? {} : { segmentBytes }),
          ...(retentionHours === undefined ? {} : { retention: { retentionMs: retentionHours * 3_600_000 } }),
        },
        {
          serving() {
            hasServed = true
            ready()
          },
          halted({ code, message }) {
            const error = errorOfFailure({ code: code as never, message, retryable: false })
            if (hasServed) options.failed?.(message)
            else refused(error)
          },
          failed,
        },
      )
    },
    givenUp,
  })
}

type Way = { transport: Transport; servers: string; leave(): Promise<void> }

async function attach(
  { transport, listen, servers }: NodeOptions,
  local: LocalWorld,
  name: string,
): Promise<Way> {
  if (transport) return { transport, servers: 'shared', leave: async () => {} }
  if (listen) {
    const hub = createHub({
      clock: local.clock,
      random: local.random,
      log: local.log,
      maxPayload: LISTENER_PAYLOAD,
    })
    const listener = await new Promise<Listener>((resolve, reject) =>
      startListener({ hub, ...local, ...listen }, (outcome) =>
        outcome.ok ? resolve(outcome.value) : reject(errorOfFailure(outcome.failure)),
      ),
    )
    const own = hub.connect(name)
    const leave = async () => {
      await new Promise<void>((closed) => own.close(closed))
      await new Promise<void>((closed) => listener.close(closed))
    }
    return { transport: own, servers: listener.url, leave }
  }
  const given = servers ?? defaultServers()
  return new Promise((resolve, reject) =>
    connectNats({ servers: given, name, ...local }, (outcome) => {
      if (!outcome.ok) return reject(errorOfFailure(outcome.failure))
      const own = outcome.value
      const leave = () => new Promise<void>((closed) => own.close(closed))
      resolve({ transport: own, servers: [given].flat().join(','), leave })
    }),
  )
}

function checkOptions({ roles, broker, servers, listen, transport }: NodeOptions): void {
  const invalid = (message: string): never => {
    throw badInput(message, 'INVALID_PARAMETER')
  }
  if (!Array.isArray(roles) || roles.length === 0)
    invalid("roles: give at least one of 'nameServer', 'broker'")
  for (const role of roles as readonly string[]) {
    if (role === 'controller') {
      throw new StateMQError(
        'REQUEST_CODE_NOT_SUPPORTED',
        "the role 'controller' is not supported by this version: brokers are single masters",
      )
    }
    if (role !== 'nameServer' && role !== 'broker') invalid(`role '${role}': give 'nameServer' or 'broker'`)
  }
  if ([servers, listen, transport].filter((way) => way !== undefined).length > 1) {
    invalid('give one of servers, listen and transport, not several')
  }
  if (!roles.includes('broker')) return
  if (!broker || typeof broker.name !== 'string')
    return invalid("the role 'broker' needs broker: { name: 'broker-a' }")
  const fault = brokerNameFault(broker.name)
  if (fault) invalid(fault.message)
  if ((broker.id ?? 0) !== 0 || 'replication' in broker) {
    throw new StateMQError(
      'REQUEST_CODE_NOT_SUPPORTED',
      'slaves and replication are not supported by this version: start brokers with id 0, each with a name of its own',
    )
  }
  if (broker.flush !== undefined && broker.flush !== 'sync' && broker.flush !== 'async') {
    invalid(`flush '${broker.flush}': give 'sync' or 'async'`)
  }
}
