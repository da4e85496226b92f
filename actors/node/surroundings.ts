/**
 * What a process takes from the machine it runs on when it is not told otherwise: its World, its name, its cluster.
 *
 * Nodes and clients begin here. An environment variable that is empty counts as unset.
 */
import { homedir, hostname } from 'node:os'
import { join } from 'node:path'
import { env, pid } from 'node:process'
import { clusterNameFault } from '../../machines/names.ts'
import { badInput } from '../errors.ts'
import { realDisk } from './disk.ts'
import { consoleLog, realClock, realRandom } from './real-world.ts'
import type { Random, World } from './world.ts'

/** The World before it is connected. */
export type LocalWorld = Omit<World, 'transport'>

export const localWorld = (given: Partial<LocalWorld> = {}): LocalWorld => ({
  clock: realClock,
  random: realRandom(),
  disk: realDisk,
  log: consoleLog({ level: 'warn' }),
  ...given,
})

/** Names a process in addresses: letters, digits, _ and - only, for it becomes a token of subjects. */
export const processId = (random: Random): string =>
  `${hostname().replace(/[^a-zA-Z0-9_-]/g, '_')}-${pid}-${random.id().slice(0, 6)}`

/** The cluster's name; throws INVALID_PARAMETER with what is allowed. */
export function clusterName(given: string | undefined): string {
  const cluster = given ?? (env.STATEMQ_CLUSTER || 'default')
  if (typeof cluster !== 'string') throw badInput('the name of the cluster is no string', 'INVALID_PARAMETER')
  const fault = clusterNameFault(cluster)
  if (fault) throw badInput(fault.message, 'INVALID_PARAMETER')
  return cluster
}

/** Where NATS listens; throws INVALID_PARAMETER for what is no address and no list of some. */
export function serversOf(given: string | readonly string[] | undefined): string | readonly string[] {
  const servers = given ?? (env.STATEMQ_SERVERS || 'nats://127.0.0.1:4222')
  const list: readonly unknown[] = [servers].flat()
  if (list.length > 0 && list.every((one) => typeof one === 'string' && one !== '')) return servers
  throw badInput("servers: give 'nats://host:4222', or a list of such addresses", 'INVALID_PARAMETER')
}

/** Where broadcasting consumers keep their offsets. */
export const defaultOffsetsDir = (): string =>
  env.STATEMQ_OFFSETS_DIR || join(homedir(), '.statemq', 'offsets')
