/**
 * The command line: noun then verb. This file builds the tree of commands and owns the way in and the way out.
 *
 * A command does one thing with the library, prints, and returns; it never ends the process and never catches.
 * Exit codes: 0 done, 1 it failed, 2 the command line is wrong, 130 Ctrl-C came before it was done.
 */
import { Command, CommanderError, Option } from 'commander'
import { withoutLogin } from '../../../transport/nats-addresses.ts'
import { type Cli, examples, type Settings } from './cli.ts'
import { addBench } from './commands/bench.ts'
import { addBroker } from './commands/broker.ts'
import { addConsume } from './commands/consume.ts'
import { addDeadLetter } from './commands/dead-letter.ts'
import { addDemo } from './commands/demo.ts'
import { addGroup } from './commands/group.ts'
import { addInspect } from './commands/inspect.ts'
import { addNode } from './commands/node.ts'
import { addSend } from './commands/send.ts'
import { addStart } from './commands/start.ts'
import { addTopic } from './commands/topic.ts'
import { explain } from './explain.ts'

export async function runCli(args: readonly string[], cli: Cli): Promise<number> {
  const { terminal } = cli
  const program = createProgram(cli)
  try {
    await program.parseAsync(args, { from: 'user' })
    return 0
  } catch (error) {
    // The parser has already printed: help and --version are code 0, all else is a wrong command line.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    return explain(error, terminal, program.opts<Settings>())
  }
}

function createProgram(cli: Cli): Command {
  const { terminal } = cli
  const servers = terminal.env.STATEMQ_SERVERS || 'nats://127.0.0.1:4222'
  const program = new Command('statemq')
    .description('RocketMQ-style messaging as an actor runtime over NATS.')
    .version(cli.version, '-V, --version', 'print the version')
    .addOption(
      new Option(
        '--servers <urls>',
        'where NATS listens: one address, or several with commas between',
      ).default(servers, JSON.stringify(withoutLogin(servers))),
    )
    .option('--cluster <name>', 'name of the cluster', terminal.env.STATEMQ_CLUSTER || 'default')
    .option('--json', 'print JSON for machines', false)
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => terminal.write(text),
      writeErr: (text) => terminal.tell(text),
      getOutHelpWidth: () => terminal.columns ?? 100,
      getErrHelpWidth: () => terminal.columns ?? 100,
    })
    .showHelpAfterError('next: add --help to see how it is used')
    .exitOverride()
    .addHelpText(
      'after',
      examples(
        'statemq start',
        "statemq send orders 'hello'",
        'statemq consume orders --group billing --from first',
      ) +
        '\nSTATEMQ_SERVERS and STATEMQ_CLUSTER in the environment stand in for --servers and --cluster.\n' +
        'Exit codes: 0 done, 1 it failed, 2 the command line is wrong.',
    )
  addStart(program, cli)
  addNode(program, cli)
  if (cli.demo !== undefined) addDemo(program, cli, cli.demo)
  addTopic(program, cli)
  addGroup(program, cli)
  addDeadLetter(program, cli)
  addBroker(program, cli)
  addSend(program, cli)
  addConsume(program, cli)
  addInspect(program, cli)
  if (cli.benchFile !== undefined) addBench(program, cli, cli.benchFile)
  return program
}
