/**
 * The roles of a node, each under its supervisor, which starts it anew when a bug stopped it.
 *
 * Whoever starts a role hears ONE of both FIRST: that it is up, or why it never will be. What befalls it AFTER that is told
 * through the node's `failed`. A replicated broker counts as up when it has waited for a while: the other replicas may come
 * later, or not at all.
 */
import { type BrokerOptions, startBroker } from '../broker/broker.ts'
import type { ReplicationOptions } from '../broker/replication/options.ts'
import { startController } from '../controller/controller.ts'
import { errorOfFailure, StateMQError } from '../errors.ts'
import { startNameServer } from '../name-server/name-server.ts'
import { failoverOf } from './failover.ts'
import type { GroupLinks } from './group-links.ts'
import { DEFAULT_DIR, isReplicated, type NodeOptions, type Role } from './node-options.ts'
import type { Process } from './process.ts'
import { type Supervision, supervise } from './supervise.ts'

/** A role that is about to start. */
export type Starting = {
  member: Process
  options: NodeOptions
  cluster: string
  /** Null for what takes no part in electing masters. */
  group: GroupLinks | null
  ready(): void
  refused(error: StateMQError): void
}

const EMBEDDED_COLLECT_MS = 50
/** A replica that has no master by then counts as started. */
const SETTLE_MS = 10_000
const MAX_LAG_BYTES = 64 * 1024 * 1024

export function startRole(role: Exclude<Role, 'register'>, starting: Starting): Supervision {
  if (role === 'nameServer') return superviseNameServer(starting)
  if (role === 'controller') return superviseController(starting)
  return superviseBroker(starting)
}

/** It failed too often. */
const givenUp =
  ({ options, refused }: Pick<Starting, 'options' | 'refused'>) =>
  (message: string): void => {
    refused(new StateMQError('SYSTEM_ERROR', message))
    options.failed?.(message)
  }

function superviseNameServer(starting: Starting): Supervision {
  const { member, options, ready } = starting
  const collectMs = options.collectMs ?? (options.listen ? EMBEDDED_COLLECT_MS : undefined)
  const supervision = supervise(member, `name-server/${member.id}`, {
    start: (failed) => startNameServer(member, member.id, { failed }, collectMs),
    givenUp: givenUp(starting),
  })
  ready()
  return supervision
}

function superviseController(starting: Starting): Supervision {
  const { member, options, group, ready } = starting
  const { control, register } = group!
  const failover = failoverOf(options.failover)
  const supervision = supervise(member, `controller/${member.id}`, {
    start: (failed) => startController(member, { control, register, failover }, { failed }),
    givenUp: givenUp(starting),
  })
  ready()
  return supervision
}

function superviseBroker(starting: Starting): Supervision {
  const { member, options } = starting
  const { name, id = 0 } = options.broker!
  const { clock, log } = member.world
  const address = `broker/${name}/${id}`
  let isUp = false
  const up = (): void => {
    clock.clearTimeout(waiting)
    isUp = true
    starting.ready()
  }
  const refused = (error: StateMQError): void => {
    clock.clearTimeout(waiting)
    starting.refused(error)
  }
  const upAnyway = (): void => {
    log.warn(`${address} waits for the other replicas, or for a controller`)
    up()
  }
  const waiting = isReplicated(options) ? clock.setTimeout(upAnyway, SETTLE_MS) : null
  const halted = ({ code, message }: { code: string; message: string }): void => {
    if (isUp) options.failed?.(message)
    else refused(errorOfFailure({ code: code as never, message, retryable: false }))
  }
  return supervise(member, address, {
    start: (failed) => startBroker(member, brokerOptionsOf(starting), { serving: up, halted, failed }),
    givenUp: givenUp({ options, refused }),
  })
}

function brokerOptionsOf(starting: Starting): BrokerOptions {
  const { options, cluster } = starting
  const { name, id = 0, flush, autoCreateTopic, segmentBytes } = options.broker!
  const { messageDelayLevel, retentionHours } = options.broker!
  const replication = replicationOf(starting)
  return {
    cluster,
    brokerName: name,
    brokerId: id,
    folder: `${options.dir ?? DEFAULT_DIR}/${name}-${id}`,
    ...(flush === undefined ? {} : { flush }),
    ...(autoCreateTopic === undefined ? {} : { autoCreateTopic }),
    ...(segmentBytes === undefined ? {} : { segmentBytes }),
    ...(messageDelayLevel === undefined ? {} : { messageDelayLevel }),
    ...(replication === null ? {} : { replication }),
    ...(retentionHours === undefined ? {} : { retention: { retentionMs: retentionHours * 3_600_000 } }),
  }
}

/** Null where the broker is its only replica. */
function replicationOf({ options, group }: Starting): ReplicationOptions | null {
  const { replication = 'none', replicas = 2, minInSync = 1, maxLagBytes = MAX_LAG_BYTES } = options.broker!
  if (replication === 'none' || group === null) return null
  return { replication, replicas, minInSync, maxLagBytes, failover: failoverOf(options.failover), ...group }
}
