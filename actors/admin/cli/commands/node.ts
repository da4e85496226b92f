/** `statemq node`: one node with chosen roles, in a cluster whose NATS runs elsewhere. For production. */
import { type Command, Option } from 'commander'
import { type Cli, carriesOut, examples, untilStopped } from '../cli.ts'
import { UsageError } from '../explain.ts'
import type { Flush, NodeOptions, RegisterHome, Replication, Role } from '../face.ts'
import { jsonLine } from '../table.ts'
import { list, whole } from '../values.ts'

interface NodeCommandOptions {
  roles: string[]
  broker?: string
  id?: number
  nats?: string
  dir: string
  flush: Flush
  autoCreate: boolean
  replication?: Replication
  replicas?: number
  minInSync?: number
  register?: RegisterHome
  detect?: number
  withParent: boolean
}

const roles: readonly Role[] = ['nameServer', 'broker', 'controller', 'register']
export const REPLICAS_MAX = 9

export const flushOption = (): Option =>
  new Option('--flush <when>', 'acknowledge a message after (sync) or before (async) it is on disk')
    .choices(['sync', 'async'])
    .default('async')

export function addNode(program: Command, cli: Cli): void {
  const command = program
    .command('node')
    .description('Run one node with the given roles against a NATS that runs elsewhere.')
    .requiredOption('--role, --roles <list>', `what it is, of: ${roles.join(', ')}`, list)
    .option('--broker <name>', 'name of the broker; needed for the role broker')
    .option('--id <number>', 'which replica of the broker this is, from 0 on', whole(0, REPLICAS_MAX - 1))
    .addOption(
      new Option(
        '--replication <kind>',
        'acknowledge a message after (sync) or before (async) the replicas in sync have it; none: one replica',
      ).choices(['none', 'sync', 'async']),
    )
    .option(
      '--replicas <count>',
      'how many replicas the broker has; default 2 with --replication',
      whole(1, REPLICAS_MAX),
    )
    .option(
      '--min-in-sync <count>',
      'with fewer replicas in sync it takes nothing; default 1',
      whole(1, REPLICAS_MAX),
    )
    .addOption(
      new Option(
        '--register <home>',
        'where brokers and controllers agree; jetstream where the NATS has it, else served by a node of this role',
      ).choices(['served', 'jetstream']),
    )
    .option(
      '--detect <ms>',
      'silence after which a replica counts as gone; default 1000',
      whole(100, 600_000),
    )
    .option('--nats <url>', 'where NATS listens; the same as --servers')
    .option('--dir <folder>', 'where the broker, or the register, keeps its data', './statemq-data')
    .addOption(flushOption())
    .option('--no-auto-create', 'refuse messages to topics that nobody created')
    .option(
      '--with-parent',
      'stop when stdin ends, as it does when the process that started this one dies',
      false,
    )
    .addHelpText(
      'after',
      examples(
        'statemq node --roles nameServer,controller --nats nats://10.0.0.5:4222',
        'statemq node --roles broker --broker broker-a --nats nats://10.0.0.5:4222 --flush sync',
        'statemq node --roles broker --broker broker-b --id 1 --replication sync --nats nats://10.0.0.5:4222',
      ),
    )

  carriesOut<NodeCommandOptions>(command, async (settings, options) => {
    const { terminal } = cli
    const node = nodeOf(options, settings)
    if (options.withParent) terminal.stopWithInput()
    const { startNode } = await cli.library()
    await untilStopped(cli, settings, `a node over ${node.servers}`, async (failed) => {
      const running = await startNode({ ...node, failed })
      const { servers } = running
      terminal.write(
        settings.json
          ? jsonLine({ ready: true, roles: node.roles, cluster: settings.cluster, servers })
          : `Ready: ${node.roles.join(', ')} in cluster '${settings.cluster}' over ${servers}. Ctrl-C drains and stops.\n`,
      )
      return running
    })
  })
}

function nodeOf(options: NodeCommandOptions, settings: { cluster: string; servers: string }): NodeOptions {
  const { broker, register, detect, dir, nats } = options
  const chosen = options.roles.map(roleOf)
  const node: NodeOptions = {
    roles: chosen,
    cluster: settings.cluster,
    servers: nats ?? settings.servers,
    dir,
    ...(register === undefined ? {} : { register }),
    ...(detect === undefined ? {} : { failover: { detectMs: detect } }),
  }
  if (chosen.includes('register') && register === 'jetstream') {
    throw new UsageError(
      'with --register jetstream NATS keeps the register: leave out the role register, or give --register served',
    )
  }
  if (chosen.includes('broker')) {
    if (broker === undefined) throw new UsageError('the role broker needs a name: add --broker broker-a')
    const { id = 0, flush, autoCreate } = options
    node.broker = { name: broker, id, flush, autoCreateTopic: autoCreate, ...replicationOf(options) }
    return node
  }
  const flags = { broker, id: options.id, replication: options.replication, replicas: options.replicas }
  for (const [flag, value] of Object.entries({ ...flags, 'min-in-sync': options.minInSync })) {
    if (value !== undefined) throw new UsageError(`--${flag} is for brokers: add broker to --roles`)
  }
  return node
}

/** Throws where the flags cannot all be true. */
function replicationOf({
  id = 0,
  replication = 'none',
  replicas,
  minInSync,
}: NodeCommandOptions): Pick<NonNullable<NodeOptions['broker']>, 'replication' | 'replicas' | 'minInSync'> {
  if (replication === 'none') {
    const given = { '--id': id > 0, '--replicas': (replicas ?? 1) > 1, '--min-in-sync': (minInSync ?? 1) > 1 }
    for (const [flag, isGiven] of Object.entries(given)) {
      if (isGiven) throw new UsageError(`${flag} needs several replicas: add --replication sync (or async)`)
    }
    return {}
  }
  const count = replicas ?? 2
  if (count < 2) {
    throw new UsageError(`--replication ${replication} needs at least 2 replicas: give --replicas 2`)
  }
  if (id >= count) {
    throw new UsageError(
      `--id ${id} is too high: the ids of ${count} replicas are 0 to ${count - 1}; give --replicas ${id + 1}`,
    )
  }
  checkMinInSync(minInSync, count)
  return { replication, replicas: count, ...(minInSync === undefined ? {} : { minInSync }) }
}

export function checkMinInSync(minInSync: number | undefined, replicas: number): void {
  if (minInSync === undefined || minInSync <= replicas) return
  throw new UsageError(`--min-in-sync ${minInSync} can never be met: there are ${replicas} replicas`)
}

function roleOf(text: string): Role {
  const role = roles.find((known) => known === text)
  if (role === undefined) throw new UsageError(`'${text}' is no role: give ${roles.join(', ')}`)
  return role
}
