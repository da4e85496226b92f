/** `statemq group …`: list, show, lag, reset. */
import type { Command } from 'commander'
import { type Cli, carriesOut, examples, withClient } from '../cli.ts'
import type { GroupDescription, Position } from '../face.ts'
import { facts, json, table } from '../table.ts'
import { age, target } from '../values.ts'

export function addGroup(program: Command, cli: Cli): void {
  const { terminal, clock } = cli
  const group = program
    .command('group')
    .description('Show consumer groups, how far they are, and set them back.')

  const all = group
    .command('list')
    .description('List the consumer groups and how far each is behind.')
    .addHelpText('after', examples('statemq group list'))
  carriesOut(all, async (settings) => {
    const groups = await withClient(cli, settings, 'list the groups', async (client) => {
      const admin = client.admin()
      const found: GroupDescription[] = []
      for (const name of await admin.groups()) found.push(await admin.group(name))
      return found
    })
    const summaries = groups.map((one) => ({ group: one.group, ...summary(one) }))
    if (settings.json) return terminal.write(json(summaries))
    if (groups.length === 0) {
      return terminal.write('No groups yet. A consumer makes one: statemq consume orders --group billing\n')
    }
    const rows = summaries.map((one) => [
      one.group,
      one.topics.join(', '),
      one.members,
      one.idle,
      one.queues,
      one.lag,
    ])
    terminal.write(table(terminal, ['group', 'topics', 'members', 'idle', 'queues', 'lag'], rows))
  })

  const show = group
    .command('show')
    .description('Show the members of a group and the queues that each owns.')
    .argument('<group>')
    .addHelpText('after', examples('statemq group show billing'))
  carriesOut(show, async (settings, _, [name]) => {
    const found = await withClient(cli, settings, `show the group '${name}'`, (client) =>
      client.admin().group(name!),
    )
    if (settings.json) return terminal.write(json(found))
    const { members, idle, lag } = summary(found)
    terminal.write(facts(terminal, { group: found.group, members, idle, lag }))
    if (found.members.length > 0) {
      const rows = found.members.map(({ clientId, subscriptions }) => [
        clientId,
        Object.keys(subscriptions).join(', '),
        owned(found, clientId),
      ])
      terminal.write(`\n${table(terminal, ['member', 'topics', 'queues'], rows)}`)
    }
    if (found.idle.length > 0) {
      terminal.write(
        `\n${found.idle.length} of the members own no queue: there are more members than queues.\n`,
      )
    }
    terminal.write(`\n${queueTable(found, clock.now())}`)
  })

  const lag = group
    .command('lag')
    .description('Show how many messages wait for a group, queue by queue.')
    .argument('<group>')
    .addHelpText('after', examples('statemq group lag billing', 'statemq group lag billing --json'))
  carriesOut(lag, async (settings, _, [name]) => {
    const found = await withClient(cli, settings, `show the lag of '${name}'`, (client) =>
      client.admin().group(name!),
    )
    if (settings.json)
      return terminal.write(json({ group: found.group, lag: summary(found).lag, queues: found.queues }))
    terminal.write(queueTable(found, clock.now()))
    terminal.write(`\n${facts(terminal, { total: summary(found).lag })}`)
  })

  const reset = group
    .command('reset')
    .description('Set the place from which a group reads on. Its consumers may run.')
    .argument('<group>')
    .argument('<topic>')
    .requiredOption(
      '--to <place>',
      'first, last, a time, how long ago (15m, 2h, 7d) or offset:N',
      target(() => clock.now()),
    )
    .option('--dry-run', 'show what would change, change nothing', false)
    .addHelpText(
      'after',
      examples(
        'statemq group reset billing orders --to 2h --dry-run',
        'statemq group reset billing orders --to first',
      ),
    )
  carriesOut<{ to: Position | number; dryRun: boolean }>(
    reset,
    async (settings, { to, dryRun }, [name, topic]) => {
      const changes = await withClient(cli, settings, `reset the group '${name}' on '${topic}'`, (client) =>
        client.admin().resetOffsets(name!, topic!, to, { dryRun }),
      )
      if (settings.json) return terminal.write(json({ group: name, topic, dryRun, changes }))
      const rows = changes.map(({ brokerName, queueId, from, to: after }) => [
        brokerName,
        queueId,
        from,
        after,
        from === null ? null : after - from,
      ])
      terminal.write(table(terminal, ['broker', 'queue', 'from', 'to', 'change'], rows))
      if (dryRun) terminal.write('\nNothing was changed. Without --dry-run it will be.\n')
    },
  )

  function queueTable(found: GroupDescription, now: number): string {
    const rows = found.queues.map((queue) => [
      queue.topic,
      queue.brokerName,
      queue.queueId,
      queue.owner,
      queue.committed,
      queue.maxOffset,
      queue.lag,
      queue.behindSince === null ? null : age(now - queue.behindSince),
    ])
    return table(
      terminal,
      ['topic', 'broker', 'queue', 'owner', 'committed', 'max offset', 'lag', 'behind'],
      rows,
    )
  }
}

const owned = ({ queues }: GroupDescription, clientId: string): number =>
  queues.filter(({ owner }) => owner === clientId).length

const summary = ({ members, idle, queues }: GroupDescription) => ({
  topics: [...new Set(queues.map(({ topic }) => topic))],
  members: members.length,
  idle: idle.length,
  queues: queues.length,
  lag: queues.reduce((sum, { lag }) => sum + lag, 0),
})
