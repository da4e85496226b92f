/** `statemq broker …`: list, show. */
import type { Command } from 'commander'
import { type Cli, carriesOut, examples, withClient } from '../cli.ts'
import type { BrokerDescription } from '../face.ts'
import { facts, json, table } from '../table.ts'
import { age, bytes } from '../values.ts'

export function addBroker(program: Command, cli: Cli): void {
  const { terminal, clock } = cli
  const broker = program.command('broker').description('Show the brokers of the cluster.')

  const all = broker
    .command('list')
    .description('List the brokers.')
    .addHelpText('after', examples('statemq broker list'))
  carriesOut(all, async (settings) => {
    const brokers = await withClient(cli, settings, 'list the brokers', (client) => client.admin().brokers())
    if (settings.json) return terminal.write(json(brokers))
    if (brokers.length === 0)
      return terminal.write('No brokers. Start one: statemq node --roles broker --broker broker-a\n')
    const rows = brokers.map((one) => [
      one.brokerName,
      one.brokerId,
      one.role,
      one.epoch,
      one.flush,
      one.accepting ? 'yes' : 'no',
      one.topics,
      one.messagesIn,
      one.messagesOut,
      bytes(one.logBytes),
    ])
    const headings = [
      'broker',
      'id',
      'role',
      'epoch',
      'flush',
      'accepts writes',
      'topics',
      'in',
      'out',
      'log',
    ]
    terminal.write(table(terminal, headings, rows))
  })

  const show = broker
    .command('show')
    .description('Show one broker.')
    .argument('<name>')
    .addHelpText('after', examples('statemq broker show broker-a'))
  carriesOut(show, async (settings, _, [name]) => {
    const found = await withClient(cli, settings, `show the broker '${name}'`, (client) =>
      client.admin().broker(name!),
    )
    terminal.write(settings.json ? json(found) : facts(terminal, describe(found, clock.now())))
  })
}

const describe = (broker: BrokerDescription, now: number) => ({
  broker: broker.brokerName,
  id: String(broker.brokerId),
  role: broker.role,
  epoch: String(broker.epoch),
  incarnation: String(broker.incarnation),
  flush: broker.flush,
  'accepts writes': broker.accepting ? 'yes' : 'no',
  topics: broker.topics,
  groups: broker.groups,
  'messages in': broker.messagesIn,
  'messages out': broker.messagesOut,
  'bytes in': bytes(broker.bytesIn),
  'bytes out': bytes(broker.bytesOut),
  'log on disk': bytes(broker.logBytes),
  'up for': age(now - broker.startedAt),
})
