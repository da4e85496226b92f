/**
 * Whose folder it is, and in which format: `statemq.json`.
 *
 * It is looked at BEFORE anything in the folder is touched: a newer format and another broker's folder stay as they are.
 */
import type { Disk, Log, Random } from '../../node/world.ts'
import { need, refuse } from './asking.ts'
import { identityPath } from './layout.ts'

const FORMAT = 1

export type Identity = {
  readonly format: number
  readonly storeId: string
  readonly cluster: string
  readonly broker: string
}

/** The folder's identity; null for a folder that has none yet. Refuses a folder that this broker must not open. */
export async function readIdentity(
  disk: Disk,
  folder: string,
  cluster: string,
  broker: string,
): Promise<Identity | null> {
  const path = identityPath(folder)
  const bytes = await need<Buffer | null>((done) => disk.readFile(path, done))
  if (bytes === null) return null
  const identity = parse(bytes)
  if (identity === null)
    return refuse('malformed', `${path} is damaged; it is written anew when you remove it and start`)
  if (identity.format > FORMAT) {
    const { format } = identity
    return refuse(
      'malformed',
      `${folder} has format ${format}, this StateMQ reads ${FORMAT}: start a newer StateMQ`,
    )
  }
  if (identity.cluster !== cluster || identity.broker !== broker)
    return refuse(
      'inUse',
      `${folder} belongs to broker ${identity.broker} of cluster ${identity.cluster}, not to ${broker} of ${cluster}`,
    )
  return identity
}

function parse(bytes: Buffer): Identity | null {
  try {
    const identity = JSON.parse(bytes.toString('utf8'))
    return Number.isInteger(identity?.format) && identity.format > 0 ? identity : null
  } catch {
    return null
  }
}

export async function writeIdentity(
  { disk, random, log }: { disk: Disk; random: Random; log: Log },
  folder: string,
  cluster: string,
  broker: string,
  isNew: boolean,
): Promise<Identity> {
  const identity = { format: FORMAT, storeId: random.id(), cluster, broker }
  if (!isNew) log.warn(`${identityPath(folder)} was missing: the folder is now known as ${identity.storeId}`)
  const bytes = Buffer.from(`${JSON.stringify(identity, null, 2)}\n`)
  await need<void>((done) => disk.replaceFile(identityPath(folder), bytes, done))
  return identity
}
