/** `statemq group …`: list, show, lag, reset, skip, clone. */
import type { Command } from 'commander'
import { type Cli, carriesOut, examples, withClient } from '../cli.ts'
import type { GroupDescription, OffsetChange, Position } from '../face.ts'
import { facts, json, table } from '../table.ts'
import type { Terminal } from '../terminal.ts'
import { age, target } from '../values.ts'

const REBALANCES_SHOWN = 8
const CONTESTED_SHOWN = 8

export function addGroup(program: Command, cli: Cli): void {
  const group = program
    .command('group')
    .description('Show consumer groups, how far they are, and set them back.')
    .helpCommand(false)
    .addHelpText('after', examples('statemq group list', 'statemq group show billing'))
  addList(group, cli)
  addShow(group, cli)
  addLag(group, cli)
  addReset(group, cli)
  addSkip(group, cli)
  addClone(group, cli)
}

function addList(group: Command, cli: Cli): void {
  const { terminal } = cli
  const command = group
    .command('list')
    .description('List the consumer groups and how far each is behind.')
    .addHelpText('after', examples('statemq group list'))
  carriesOut(command, async (settings) => {
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
}

function addShow(group: Command, cli: Cli): void {
  const { terminal, clock } = cli
  const command = group
    .command('show')
    .description(
      'Show who owns which queue, who idles and why, how far each queue is, and the last rebalances.',
    )
    .argument('<group>')
    .addHelpText('after', examples('statemq group show billing'))
  carriesOut(command, async (settings, _, [name]) => {
    const found = await withClient(cli, settings, `show the group '${name}'`, (client) =>
      client.admin().group(name!),
    )
    if (settings.json) return terminal.write(json(found))
    const { members, lag } = summary(found)
    const { allocation, idle, retrying, fenced } = found
    terminal.write(
      facts(terminal, { group: found.group, members, allocation, idle: idle.length, lag, retrying, fenced }),
    )
    for (const sentence of found.disagreements) {
      terminal.write(`\nThe members are not alike, so messages may be missed. ${sentence}\n`)
    }
    if (found.contested.length > 0) terminal.write(contest(found.contested))
    if (found.members.length > 0) {
      const rows = found.members.map(({ clientId, subscriptions, isStatic, isSilent, isTold, share }) => [
        `${clientId}${isStatic ? ' (static)' : ''}${isSilent ? ' (silent)' : ''}`,
        subscriptionsText(subscriptions),
        owned(found, clientId),
        isTold ? share : null,
        idle.find((one) => one.clientId === clientId)?.why,
      ])
      const headings = ['member', 'subscriptions', 'queues', 'share', 'idle because']
      terminal.write(`\n${table(terminal, idle.length > 0 ? headings : headings.slice(0, 4), rows)}`)
    }
    terminal.write(`\n${queueTable(terminal, found, clock.now())}`)
    if (found.rebalances.length > 0) {
      const rows = found.rebalances
        .slice(0, REBALANCES_SHOWN)
        .map((rebalance) => [
          `${age(clock.now() - rebalance.at)} ago`,
          rebalance.generation,
          rebalance.members,
          rebalance.moves,
          rebalance.causes.join('; '),
        ])
      terminal.write(
        `\n${table(terminal, ['rebalanced', 'generation', 'members', 'moves', 'because'], rows)}`,
      )
    }
  })
}

function addLag(group: Command, cli: Cli): void {
  const { terminal, clock } = cli
  const command = group
    .command('lag')
    .description('Show how many messages wait for a group, queue by queue.')
    .argument('<group>')
    .addHelpText('after', examples('statemq group lag billing', 'statemq group lag billing --json'))
  carriesOut(command, async (settings, _, [name]) => {
    const found = await withClient(cli, settings, `show the lag of '${name}'`, (client) =>
      client.admin().group(name!),
    )
    const { retrying, queues } = found
    if (settings.json)
      return terminal.write(json({ group: found.group, lag: summary(found).lag, retrying, queues }))
    terminal.write(queueTable(terminal, found, clock.now()))
    terminal.write(`\n${facts(terminal, { total: summary(found).lag, retrying })}`)
  })
}

function addReset(group: Command, cli: Cli): void {
  const { terminal, clock } = cli
  const command = group
    .command('reset')
    .description(
      'Set the place from which a group reads on. Its consumers may run: they go on there at once.',
    )
    .argument('<group>')
    .argument('[topic]')
    .option('--topic <topic>', 'the topic, when it is not given after the group')
    .requiredOption(
      '--to <place>',
      'first, last, a time, how long ago (15m, 2h, 7d) or offset:N',
      target(() => clock.now()),
    )
    .option('--create', 'the group may be a new one', false)
    .option('--dry-run', 'show what would change, change nothing', false)
    .addHelpText(
      'after',
      examples(
        'statemq group reset billing --topic orders --to 2h --dry-run',
        'statemq group reset billing --topic orders --to 2026-05-01T12:00',
        'statemq group reset billing orders --to first',
      ),
    )
  carriesOut<{ to: Position | number; dryRun: boolean; create: boolean; topic?: string }>(
    command,
    async (settings, { to, dryRun, create, topic: option }, [name, argument]) => {
      const topic = oneTopic(command, option, argument)
      const changes = await withClient(cli, settings, `reset the group '${name}' on '${topic}'`, (client) =>
        client.admin().resetOffsets(name!, topic, to, { dryRun, create }),
      )
      if (settings.json) return terminal.write(json({ group: name, topic, dryRun, changes }))
      writeChanges(terminal, changes, dryRun)
    },
  )
}

function addSkip(group: Command, cli: Cli): void {
  const { terminal } = cli
  const command = group
    .command('skip')
    .description(
      'Skip the backlog: the group goes on at the end of the topic, and never reads what waits now.',
    )
    .argument('<group>')
    .argument('[topic]')
    .option('--topic <topic>', 'the topic, when it is not given after the group')
    .option('--dry-run', 'show what would be skipped, change nothing', false)
    .addHelpText('after', examples('statemq group skip billing --topic orders --dry-run'))
  carriesOut<{ dryRun: boolean; topic?: string }>(
    command,
    async (settings, { dryRun, topic: option }, [name, argument]) => {
      const topic = oneTopic(command, option, argument)
      const doing = `skip the backlog of '${name}' on '${topic}'`
      const changes = await withClient(cli, settings, doing, (client) =>
        client.admin().resetOffsets(name!, topic, 'last', { dryRun }),
      )
      if (settings.json) return terminal.write(json({ group: name, topic, dryRun, changes }))
      writeChanges(terminal, changes, dryRun)
    },
  )
}

function addClone(group: Command, cli: Cli): void {
  const { terminal } = cli
  const command = group
    .command('clone')
    .description('Let another group go on where this one is.')
    .argument('<group>')
    .argument('<other-group>')
    .option('--topic <topic>', 'this topic only; all that the group has read by default')
    .option('--dry-run', 'show what would change, change nothing', false)
    .addHelpText('after', examples('statemq group clone billing billing-test --topic orders'))
  carriesOut<{ dryRun: boolean; topic?: string }>(
    command,
    async (settings, { dryRun, topic }, [name, other]) => {
      const options = topic === undefined ? { dryRun } : { dryRun, topic }
      const changes = await withClient(
        cli,
        settings,
        `clone the offsets of '${name}' to '${other}'`,
        (client) => client.admin().cloneOffsets(name!, other!, options),
      )
      if (settings.json) return terminal.write(json({ group: other, from: name, dryRun, changes }))
      if (changes.length === 0)
        return terminal.write(`'${name}' has committed nothing there: nothing to clone.\n`)
      writeChanges(terminal, changes, dryRun)
    },
  )
}

function writeChanges(
  terminal: Terminal,
  changes: readonly (OffsetChange & { topic?: string })[],
  dryRun: boolean,
): void {
  const hasTopics = changes.some(({ topic }) => topic !== undefined)
  const rows = changes.map(({ topic, brokerName, queueId, from, to }) => [
    ...(hasTopics ? [topic] : []),
    brokerName,
    queueId,
    from,
    to,
    from === null ? null : to - from,
  ])
  const headings = ['broker', 'queue', 'from', 'to', 'change']
  terminal.write(table(terminal, hasTopics ? ['topic', ...headings] : headings, rows))
  if (dryRun) terminal.write('\nNothing was changed. Without --dry-run it will be.\n')
}

function queueTable(terminal: Terminal, found: GroupDescription, now: number): string {
  const rows = found.queues.map((queue) => [
    queue.topic,
    queue.brokerName,
    queue.queueId,
    ownerText(queue, found.members),
    queue.assignEpoch,
    queue.committed,
    queue.maxOffset,
    queue.lag,
    queue.behindSince === null ? null : age(now - queue.behindSince),
  ])
  return table(
    terminal,
    ['topic', 'broker', 'queue', 'owner', 'epoch', 'committed', 'max offset', 'lag', 'behind'],
    rows,
  )
}

/** Who owns a queue, and who waits for it. A queue keeps its last owner until another one claims it. */
function ownerText(
  { isPopped, owner, claimant }: GroupDescription['queues'][number],
  members: GroupDescription['members'],
): string | null {
  if (isPopped) return 'shared: its members pop'
  if (owner === null) return null
  const name = members.some(({ clientId }) => clientId === owner) ? owner : `${owner} (no member)`
  return claimant === null ? name : `${name}, and ${claimant.clientId} waits`
}

const contest = (contested: readonly string[]): string => {
  const more = contested.length - CONTESTED_SHOWN
  const shown = contested.slice(0, CONTESTED_SHOWN).map((one) => `  ${one}\n`)
  const rest = more > 0 ? `  … and ${more} more\n` : ''
  return `\nThe members divide by functions of their own, which give one queue to several. One gets it, by chance:\n${shown.join('')}${rest}`
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

/** By topic, what is wanted of it: `*` is not said. */
const subscriptionsText = (subscriptions: Readonly<Record<string, string>>): string =>
  Object.entries(subscriptions)
    .map(([topic, expression]) => (expression === '*' ? topic : `${topic}: ${expression}`))
    .join(', ')

function oneTopic(command: Command, option: string | undefined, argument: string | undefined): string {
  const topic = option ?? argument
  if (topic === undefined || (option !== undefined && argument !== undefined && option !== argument)) {
    command.error('error: give one topic: --topic orders')
  }
  return topic!
}
