/** `statemq start`: a whole cluster here, over its own listener or over a NATS that runs already. */
import { type Command, Option } from 'commander'
import { type Cli, carriesOut, examples, refuseGiven, type Settings, untilStopped } from '../cli.ts'
import { UsageError } from '../explain.ts'
import type { BrokerProcess, Flush, Replication } from '../face.ts'
import { type ClusterOptions, startCluster } from '../start-cluster.ts'
import { facts, faint, jsonLine, strong, table } from '../table.ts'
import { whole } from '../values.ts'
import { checkMinInSync, flushOption, REPLICAS_MAX } from './node.ts'

interface StartOptions {
  brokers: number
  slaves: number
  nameServers: number
  flush: Flush
  replication?: Exclude<Replication, 'none'>
  minInSync?: number
  dir: string
  port: number
  nats?: string
  autoCreate: boolean
}

export function addStart(program: Command, cli: Cli): void {
  const command = program
    .command('start')
    .description(
      'Start a cluster here, with nothing else installed: in one process, or, with slaves, each replica in its own.',
    )
    .option('--brokers <count>', 'how many brokers', whole(1, 64), 1)
    .option('--slaves <count>', 'how many slaves each broker has', whole(0, REPLICAS_MAX - 1), 0)
    .addOption(
      new Option(
        '--replication <kind>',
        'with slaves: acknowledge a message after (sync) or before (async) they have it; default sync',
      ).choices(['sync', 'async']),
    )
    .option(
      '--min-in-sync <count>',
      'with fewer replicas in sync a broker takes nothing; default 1',
      whole(1, REPLICAS_MAX),
    )
    .option('--name-servers <count>', 'how many name servers', whole(1, 16), 1)
    .addOption(flushOption())
    .option('--dir <folder>', 'where the brokers keep their data', './statemq-data')
    .option('--port <port>', 'port of the listener on 127.0.0.1; 0 takes a free one', whole(0, 65_535), 4222)
    .option('--nats <url>', 'use the NATS there, open no port')
    .option('--no-auto-create', 'refuse messages to topics that nobody created')
    .addHelpText(
      'after',
      examples(
        'statemq start',
        'statemq start --brokers 2 --flush sync --dir /var/lib/statemq',
        'statemq start --brokers 2 --slaves 1 --replication sync',
      ),
    )

  carriesOut<StartOptions>(command, async (settings, given) => {
    const { terminal, clock } = cli
    refuseGiven(
      command,
      'servers',
      'start listens itself (--port); to use a NATS that runs already, give --nats',
    )
    if (given.nats !== undefined && command.getOptionValueSource('port') === 'cli')
      throw new UsageError('give --nats or --port: with --nats no port is opened')
    const options = checked(given)
    const began = clock.monotonic()
    const library = await cli.library()
    const names = Array.from({ length: options.brokers }, (_, index) => brokerName(index))
    const tell = (replica: string, line: string) =>
      terminal.tell(`${faint(terminal, `${replica} |`)} ${line}\n`)

    await untilStopped(cli, settings, place(options), async (failed) => {
      const cluster = await startCluster(library, settings, options, names, failed, tell)
      const { servers, processes } = cluster
      const ms = Math.round(clock.monotonic() - began)
      if (settings.json) {
        const { dir } = options
        const replicas = processes.map(({ brokerName, brokerId, pid }) => ({ brokerName, brokerId, pid }))
        terminal.write(
          jsonLine({ ready: true, servers, cluster: settings.cluster, brokers: names, replicas, dir, ms }),
        )
      } else {
        terminal.write(`${strong(terminal, 'StateMQ is ready')} at ${servers} in ${ms} ms\n\n`)
        terminal.write(describe(cli, settings, options, names))
        if (processes.length > 0) terminal.write(`\n${processTable(cli, processes)}`)
        terminal.write(
          `\nTry in another terminal:\n${hints(cli, settings, servers, processes)}\nCtrl-C drains and stops.\n`,
        )
      }
      return cluster
    })
  })
}

/** Throws where the flags cannot all be true. */
function checked({ replication, ...options }: StartOptions): ClusterOptions {
  const { slaves, minInSync } = options
  if (slaves === 0 && replication !== undefined)
    throw new UsageError(`--replication ${replication} needs slaves: add --slaves 1`)
  if (slaves === 0 && (minInSync ?? 1) > 1)
    throw new UsageError(`--min-in-sync ${minInSync} needs slaves: add --slaves ${minInSync! - 1}`)
  checkMinInSync(minInSync, slaves + 1)
  return { ...options, replication: replication ?? 'sync' }
}

/** broker-a … broker-z, then broker-27 and on. */
const brokerName = (index: number): string =>
  `broker-${index < 26 ? String.fromCharCode('a'.charCodeAt(0) + index) : index + 1}`

const place = ({ nats, port }: ClusterOptions): string =>
  nats === undefined ? `a cluster on port ${port}` : `a cluster over ${nats}`

/** RocketMQ's four. */
function modeOf({ brokers, slaves, replication }: ClusterOptions): string {
  if (slaves === 0) return brokers === 1 ? 'single master' : 'multi-master'
  const masters = brokers === 1 ? 'single master' : 'multi-master'
  return `${masters}, multi-slave, ${replication === 'sync' ? 'synchronous double write' : 'asynchronous replication'}`
}

function describe(
  { terminal }: Cli,
  { cluster }: Settings,
  options: ClusterOptions,
  names: readonly string[],
): string {
  const { slaves, replication, minInSync = 1, flush, nameServers, dir } = options
  return facts(terminal, {
    cluster,
    mode: modeOf(options),
    brokers: names.join(', '),
    replicas: slaves === 0 ? undefined : `${slaves + 1} of each broker, at least ${minInSync} in sync`,
    replication:
      slaves === 0
        ? undefined
        : replication === 'sync'
          ? 'sync: acknowledged when all replicas in sync have it'
          : 'async: acknowledged when the master has it',
    'name servers': nameServers,
    flush: flush === 'sync' ? 'sync: acknowledged when on disk' : 'async: acknowledged before it is on disk',
    data: dir,
  })
}

const processTable = ({ terminal }: Cli, processes: readonly BrokerProcess[]): string =>
  table(
    terminal,
    ['broker', 'id', 'process'],
    processes.map(({ brokerName, brokerId, pid }) => [brokerName, String(brokerId), String(pid ?? '-')]),
  )

function hints(
  { terminal: { env } }: Cli,
  { cluster }: Settings,
  servers: string,
  [first]: readonly BrokerProcess[],
): string {
  // npx and `npm start` know where the command is; the other terminal does not.
  const statemq = env.npm_execpath === undefined ? 'statemq' : 'npx statemq'
  const where =
    (servers === 'nats://127.0.0.1:4222' ? '' : ` --servers ${servers}`) +
    (cluster === 'default' ? '' : ` --cluster ${cluster}`)
  return [
    `${statemq} send orders 'hello'${where}`,
    `${statemq} consume orders --group billing --from first${where}`,
    ...(first === undefined
      ? [`${statemq} inspect${where}`]
      : [
          `${statemq} broker list${where}`,
          `kill -9 ${first.pid}   # a slave takes over if this is a master`,
        ]),
  ]
    .map((line) => `  $ ${line}\n`)
    .join('')
}
