/** `statemq node`: one node with chosen roles, in a cluster whose NATS runs elsewhere. For production. */
import { type Command, Option } from 'commander'
import { type Cli, carriesOut, examples, untilStopped } from '../cli.ts'
import { UsageError } from '../explain.ts'
import type { Flush, NodeOptions } from '../face.ts'
import { jsonLine } from '../table.ts'
import { list, whole } from '../values.ts'

interface NodeCommandOptions {
  roles: string[]
  broker?: string
  id: number
  nats?: string
  dir: string
  flush: Flush
  autoCreate: boolean
}

const roles = ['nameServer', 'broker'] as const

export const flushOption = (): Option =>
  new Option('--flush <when>', 'acknowledge a message after (sync) or before (async) it is on disk')
    .choices(['sync', 'async'])
    .default('async')

export function addNode(program: Command, cli: Cli): void {
  const command = program
    .command('node')
    .description('Run one node with the given roles against a NATS that runs elsewhere.')
    .requiredOption('--roles <list>', `what it is, of: ${roles.join(', ')}`, list)
    .option('--broker <name>', 'name of the broker; needed for the role broker')
    .option(
      '--id <number>',
      'id of the broker; 0 is the master, and this version has masters only',
      whole(0, 0),
      0,
    )
    .option('--nats <url>', 'where NATS listens; the same as --servers')
    .option('--dir <folder>', 'where the broker keeps its data', './statemq-data')
    .addOption(flushOption())
    .option('--no-auto-create', 'refuse messages to topics that nobody created')
    .addHelpText(
      'after',
      examples(
        'statemq node --roles nameServer --nats nats://10.0.0.5:4222',
        'statemq node --roles broker --broker broker-a --nats nats://10.0.0.5:4222 --flush sync',
      ),
    )

  carriesOut<NodeCommandOptions>(command, async (settings, options) => {
    const { terminal } = cli
    const chosen = options.roles.map((role) => roleOf(role))
    if (chosen.includes('broker') && options.broker === undefined) {
      throw new UsageError('the role broker needs a name: add --broker broker-a')
    }
    const node: NodeOptions = {
      roles: chosen,
      cluster: settings.cluster,
      servers: options.nats ?? settings.servers,
    }
    if (chosen.includes('broker')) {
      const { broker, id, flush, autoCreate, dir } = options
      node.broker = { name: broker!, id, flush, autoCreateTopic: autoCreate }
      node.dir = dir
    }
    const { startNode } = await cli.library()
    await untilStopped(cli, settings, `a node over ${node.servers}`, async (failed) => {
      const running = await startNode({ ...node, failed })
      const { servers } = running
      terminal.write(
        settings.json
          ? jsonLine({ ready: true, roles: chosen, cluster: settings.cluster, servers })
          : `Ready: ${chosen.join(', ')} in cluster '${settings.cluster}' over ${servers}. Ctrl-C drains and stops.\n`,
      )
      return running
    })
  })
}

function roleOf(text: string): (typeof roles)[number] {
  const role = roles.find((known) => known === text)
  if (role === undefined) throw new UsageError(`'${text}' is no role: give ${roles.join(' or ')}`)
  return role
}
