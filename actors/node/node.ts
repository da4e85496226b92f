/**
 * Node: one process's share of a cluster. It builds the World, takes part in the transport and supervises its roles.
 *
 * A node is ready AFTER all its roles serve; one that cannot be started stops what it started and says why. `close`
 * drains: what was accepted is stored and answered first.
 */
import { subjectsOf } from '../../transport/subjects.ts'
import type { Transport } from '../../transport/transport.ts'
import { badInput, errorOfFailure } from '../errors.ts'
import { type GroupLinks, openGroupLinks } from './group-links.ts'
import { createDirectory } from './inspection.ts'
import { attach } from './links.ts'
import { checkNodeOptions, DEFAULT_DIR, isReplicated, type NodeOptions, type Role } from './node-options.ts'
import type { Process } from './process.ts'
import { type RegisterServer, serveRegister } from './register-server.ts'
import { startRole } from './roles.ts'
import type { Supervision } from './supervise.ts'
import { clusterName, localWorld, processId } from './surroundings.ts'
import type { World } from './world.ts'

export type { NodeOptions, Role } from './node-options.ts'

export type Node = {
  /** Where clients connect. */
  readonly servers: string
  /** For more nodes and clients in this process. */
  readonly transport: Transport
  /** Drains and stops. */
  close(): Promise<void>
}

export async function startNode(options: NodeOptions): Promise<Node> {
  checkNodeOptions(options)
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
    if (role === 'register') return startRegister()
    const needsGroup = role === 'controller' || isReplicated(options)
    const group = needsGroup ? await groupLinks() : null
    await new Promise<void>((ready, refused) => {
      supervisions.push(startRole(role, { member, options, cluster, group, ready, refused }))
    })
  }

  async function startRegister(): Promise<void> {
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
    supervisions.push({ stop: (stopped) => server.close(stopped) })
  }
}

/** What others stand on comes first, and goes last. */
const inOrder = (roles: readonly Role[]): Role[] =>
  (['register', 'nameServer', 'controller', 'broker'] as const).filter((role) => roles.includes(role))
