/** `statemq bench`: hands its arguments to the benchmark, which runs in a process of its own. */
import type { Command } from 'commander'
import { type Cli, examples } from '../cli.ts'
import { attempt, Ended } from '../explain.ts'

export function addBench(program: Command, { terminal }: Cli, file: string): void {
  const command = program
    .command('bench')
    .description('Measure throughput and latency. All arguments go to the benchmark.')
    .argument('[arguments...]')
    .allowUnknownOption()
    .helpOption(false)
    .addHelpText('after', examples('statemq bench --help'))
  command.action(async () => {
    const code = await attempt('run the benchmark', () => terminal.runProgram(file, command.args))
    if (code !== 0) throw new Ended(code)
  })
}
