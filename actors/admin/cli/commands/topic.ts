/** `statemq topic …`: create, list, show, route, delete. */
import { type Command, Option } from 'commander'
import { isDerived } from '../../../../machines/names.ts'
import { type Cli, carriesOut, examples, withClient } from '../cli.ts'
import { Interrupted, UsageError } from '../explain.ts'
import type { TopicDescription } from '../face.ts'
import { facts, json, table } from '../table.ts'
import { permission, permissionName, whole } from '../values.ts'

export function addTopic(program: Command, cli: Cli): void {
  const topic = program
    .command('topic')
    .description('Create, list, show and delete topics.')
    .helpCommand(false)
    .addHelpText('after', examples('statemq topic create orders', 'statemq topic show orders'))
  addCreate(topic, cli)
  addList(topic, cli)
  addShow(topic, cli)
  addRoute(topic, cli)
  addDelete(topic, cli)
}

function addCreate(topic: Command, cli: Cli): void {
  const { terminal } = cli
  const command = topic
    .command('create')
    .description('Create a topic on every broker, or change it.')
    .argument('<topic>')
    .option('--queues <count>', 'queues on each broker', whole(1, 65_535), 8)
    .addOption(new Option('--perm <rights>', 'r, w or rw').argParser(permission).default(6, 'rw'))
    .addHelpText('after', examples('statemq topic create orders --queues 8'))
  carriesOut<{ queues: number; perm: number }>(command, async (settings, { queues, perm }, [name]) => {
    await withClient(cli, settings, `create the topic '${name}'`, (client) =>
      client.admin().createTopic(name!, { queues, perm }),
    )
    terminal.write(
      settings.json
        ? json({ topic: name, queues, perm })
        : `Created the topic '${name}' with ${queues} ${queues === 1 ? 'queue' : 'queues'} on each broker.\n`,
    )
  })
}

function addList(topic: Command, cli: Cli): void {
  const { terminal } = cli
  const command = topic
    .command('list')
    .description('List the topics of the cluster.')
    .addHelpText('after', examples('statemq topic list', 'statemq topic list --json'))
  carriesOut(command, async (settings) => {
    const topics = await withClient(cli, settings, 'list the topics', (client) => client.admin().topics())
    if (settings.json) return terminal.write(json(topics))
    if (topics.length === 0) return terminal.write('No topics yet. Make one: statemq topic create orders\n')
    // Those of groups come last: nobody made them, and few look for them.
    const sorted = [...topics].sort((a, b) => Number(isDerived(a.topic)) - Number(isDerived(b.topic)))
    const rows = sorted.map((one) => [
      one.topic,
      one.readQueues,
      one.writeQueues,
      permissionName(one.perm),
      one.brokers.join(', '),
    ])
    terminal.write(table(terminal, ['topic', 'read queues', 'write queues', 'perm', 'brokers'], rows))
  })
}

function addShow(topic: Command, cli: Cli): void {
  const { terminal } = cli
  const command = topic
    .command('show')
    .description('Show the queues of a topic and what they hold.')
    .argument('<topic>')
    .addHelpText('after', examples('statemq topic show orders'))
  carriesOut(command, async (settings, _, [name]) => {
    const found = await withClient(cli, settings, `show the topic '${name}'`, (client) =>
      client.admin().topic(name!),
    )
    if (settings.json) return terminal.write(json(found))
    const rows = found.queues.map(({ brokerName, queueId, minOffset, maxOffset }) => [
      brokerName,
      queueId,
      minOffset,
      maxOffset,
      maxOffset - minOffset,
    ])
    terminal.write(facts(terminal, durabilityFacts(found.durability)))
    terminal.write(`\n${table(terminal, ['broker', 'queue', 'min offset', 'max offset', 'messages'], rows)}`)
  })
}

function addRoute(topic: Command, cli: Cli): void {
  const { terminal } = cli
  const command = topic
    .command('route')
    .description('Show where clients send and read a topic, as a name server tells them.')
    .argument('<topic>')
    .addHelpText('after', examples('statemq topic route orders'))
  carriesOut(command, async (settings, _, [name]) => {
    const found = await withClient(cli, settings, `find the route of '${name}'`, (client) =>
      client.admin().route(name!),
    )
    if (settings.json) return terminal.write(json(found))
    const rows = found.brokers.map(({ brokerName, epoch, readQueues, writeQueues, perm }) => [
      brokerName,
      epoch,
      readQueues,
      writeQueues,
      permissionName(perm),
    ])
    terminal.write(facts(terminal, { 'name server': found.nameServerId, revision: found.revision }))
    terminal.write(`\n${table(terminal, ['broker', 'epoch', 'read queues', 'write queues', 'perm'], rows)}`)
  })
}

function addDelete(topic: Command, cli: Cli): void {
  const { terminal } = cli
  const command = topic
    .command('delete')
    .description('Delete a topic and its messages on every broker.')
    .argument('<topic>')
    .option('--yes', 'do not ask', false)
    .addHelpText('after', examples('statemq topic delete orders --yes'))
  carriesOut<{ yes: boolean }>(command, async (settings, { yes }, [name]) => {
    if (!yes) {
      if (terminal.hasInput)
        throw new UsageError(`deleting '${name}' deletes its messages: add --yes to do it`)
      const answer = await terminal.ask(`Delete the topic '${name}' and its messages? Type its name: `)
      if (answer.trim() !== name) throw new Interrupted()
    }
    await withClient(cli, settings, `delete the topic '${name}'`, (client) =>
      client.admin().deleteTopic(name!),
    )
    terminal.write(settings.json ? json({ topic: name, deleted: true }) : `Deleted the topic '${name}'.\n`)
  })
}

/** One line where all brokers promise the same, else one for each. */
function durabilityFacts(found: TopicDescription['durability']): Record<string, string> {
  const [first] = found
  if (first === undefined) return { durability: 'no broker has it' }
  if (found.every((one) => one.class === first.class))
    return { durability: first.class, survives: first.survives }
  return Object.fromEntries(found.map((one) => [`durability on ${one.brokerName}`, one.class]))
}
