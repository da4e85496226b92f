/** `statemq demo`: the main job on real data, from nothing, in one process. The program itself is an example. */
import type { Command } from 'commander'
import { type Cli, carriesOut, examples, refuseGiven } from '../cli.ts'
import { attempt } from '../explain.ts'
import type { Terminal } from '../terminal.ts'

export type Demo = (options: { terminal: Terminal; json: boolean }) => Promise<void>

export function addDemo(program: Command, { terminal }: Cli, demo: Demo): void {
  const command = program
    .command('demo')
    .description('See it work: a cluster, producers and consumers on real data, in a minute.')
    .addHelpText('after', examples('statemq demo'))
  carriesOut(command, async ({ json }) => {
    for (const option of ['servers', 'cluster'] as const)
      refuseGiven(command, option, 'the demo starts a cluster of its own')
    await attempt('run the demo', () => demo({ terminal, json }))
  })
}
