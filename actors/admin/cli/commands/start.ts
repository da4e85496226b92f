/** `statemq start`: a whole cluster in one process, over its own listener or over a NATS that runs already. */
import type { Command } from 'commander'
import { type Cli, carriesOut, examples, type Settings, untilStopped } from '../cli.ts'
import type { Flush, Library, NodeOptions, RunningNode } from '../face.ts'
import { facts, jsonLine, strong } from '../table.ts'
import { whole } from '../values.ts'
import { flushOption } from './node.ts'

interface StartOptions {
  brokers: number
  nameServers: number
  flush: Flush
  dir: string
  port: number
  nats?: string
  autoCreate: boolean
}

export function addStart(program: Command, cli: Cli): void {
  const command = program
    .command('start')
    .description('Start a cluster here: name servers and brokers in one process, nothing else installed.')
    .option('--brokers <count>', 'how many brokers (single masters)', whole(1, 64), 1)
    .option('--name-servers <count>', 'how many name servers', whole(1, 16), 1)
    .addOption(flushOption())
    .option('--dir <folder>', 'where the brokers keep their data', './statemq-data')
    .option('--port <port>', 'port of the listener on 127.0.0.1; 0 takes a free one', whole(0, 65_535), 4222)
    .option('--nats <url>', 'use the NATS there, open no port')
    .option('--no-auto-create', 'refuse messages to topics that nobody created')
    .addHelpText(
      'after',
      examples('statemq start', 'statemq start --brokers 2 --flush sync --dir /var/lib/statemq'),
    )

  carriesOut<StartOptions>(command, async (settings, options) => {
    const { terminal, clock } = cli
    const began = clock.monotonic()
    const library = await cli.library()
    const names = Array.from({ length: options.brokers }, (_, index) => brokerName(index))

    await untilStopped(cli, settings, place(options), async (failed) => {
      const cluster = await startCluster(library, settings, options, names, failed)
      const { servers } = cluster
      const ms = Math.round(clock.monotonic() - began)
      if (settings.json) {
        const { dir } = options
        terminal.write(jsonLine({ ready: true, servers, cluster: settings.cluster, brokers: names, dir, ms }))
      } else {
        terminal.write(`${strong(terminal, 'StateMQ is ready')} at ${servers} in ${ms} ms\n\n`)
        terminal.write(describe(cli, settings, options, names))
        terminal.write(`\nTry in another terminal:\n${hints(settings, servers)}\nCtrl-C drains and stops.\n`)
      }
      return cluster
    })
  })
}

/** The first node holds the listener, so it starts first and stops last. */
async function startCluster(
  { startNode }: Library,
  { cluster }: Settings,
  options: StartOptions,
  names: readonly string[],
  failed: (message: string) => void,
): Promise<{ servers: string; close(): Promise<void> }> {
  const nodes: RunningNode[] = []
  const close = async () => {
    for (const node of nodes.reverse()) await node.close()
  }
  const start = async (node: Omit<NodeOptions, 'cluster'>) => {
    nodes.push(await startNode({ ...node, cluster, failed }))
  }
  try {
    await start({
      roles: ['nameServer'],
      ...(options.nats === undefined ? { listen: { port: options.port } } : { servers: options.nats }),
    })
    const { transport, servers } = nodes[0]!
    for (let index = 1; index < options.nameServers; index++)
      await start({ roles: ['nameServer'], transport })
    for (const name of names) {
      const { flush, autoCreate, dir } = options
      await start({
        roles: ['broker'],
        broker: { name, id: 0, flush, autoCreateTopic: autoCreate },
        dir,
        transport,
      })
    }
    return { servers, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** broker-a … broker-z, then broker-27 and on. */
const brokerName = (index: number): string =>
  `broker-${index < 26 ? String.fromCharCode('a'.charCodeAt(0) + index) : index + 1}`

const place = ({ nats, port }: StartOptions): string =>
  nats === undefined ? `a cluster on port ${port}` : `a cluster over ${nats}`

function describe(
  { terminal }: Cli,
  { cluster }: Settings,
  options: StartOptions,
  names: readonly string[],
): string {
  return facts(terminal, {
    cluster,
    brokers: `${names.join(', ')} (single masters)`,
    'name servers': options.nameServers,
    flush:
      options.flush === 'sync'
        ? 'sync: acknowledged when on disk'
        : 'async: acknowledged before it is on disk',
    data: options.dir,
  })
}

function hints({ cluster }: Settings, servers: string): string {
  const where =
    (servers === 'nats://127.0.0.1:4222' ? '' : ` --servers ${servers}`) +
    (cluster === 'default' ? '' : ` --cluster ${cluster}`)
  return [
    `statemq send orders 'hello'${where}`,
    `statemq consume orders --group billing --from first${where}`,
    `statemq inspect${where}`,
  ]
    .map((line) => `  $ ${line}\n`)
    .join('')
}
