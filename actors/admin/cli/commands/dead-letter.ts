/** `statemq dead-letter …`: list, show, resend. */
import { isUtf8 } from 'node:buffer'
import type { Command } from 'commander'
import { type Cli, carriesOut, examples, withClient } from '../cli.ts'
import { UsageError } from '../explain.ts'
import { facts, json, table } from '../table.ts'
import { age, bytes, list, whole } from '../values.ts'

export function addDeadLetter(program: Command, cli: Cli): void {
  const letters = program
    .command('dead-letter')
    .description('Look at what a group could not handle in all its tries, and send it again.')
    .helpCommand(false)
    .addHelpText('after', examples('statemq dead-letter list billing'))
  addList(letters, cli)
  addShow(letters, cli)
  addResend(letters, cli)
}

function addList(letters: Command, cli: Cli): void {
  const { terminal, clock } = cli
  const command = letters
    .command('list')
    .description('List the dead letters of a group, the newest first.')
    .argument('<group>')
    .option('--max <number>', 'at most so many', whole(1, 1_000_000), 100)
    .addHelpText(
      'after',
      examples('statemq dead-letter list billing', 'statemq dead-letter list billing --max 5 --json'),
    )
  carriesOut<{ max: number }>(command, async (settings, { max }, [group]) => {
    const found = await withClient(cli, settings, `list the dead letters of '${group}'`, (client) =>
      client.admin().deadLetters(group!, { max }),
    )
    if (settings.json) return terminal.write(json(found))
    if (found.length === 0) return terminal.write(`The group '${group}' has no dead letters.\n`)
    const rows = found.map(({ messageId, topic, attempts, time, keys, reason }) => [
      messageId,
      topic,
      attempts,
      `${age(clock.now() - time)} ago`,
      keys.join(' '),
      reason,
    ])
    terminal.write(table(terminal, ['message', 'topic', 'tries', 'died', 'keys', 'reason'], rows))
    if (found.length === max) terminal.write(`\nThere may be more than ${max}: add --max.\n`)
  })
}

function addShow(letters: Command, cli: Cli): void {
  const { terminal } = cli
  const command = letters
    .command('show')
    .description('Show a dead letter with its body.')
    .argument('<group>')
    .argument('<message>', 'its id, as the list shows it')
    .addHelpText('after', examples('statemq dead-letter show billing 1d0f3a5b7c9e21-17'))
  carriesOut(command, async (settings, _, [group, id]) => {
    const { body, ...letter } = await withClient(cli, settings, `show the dead letter '${id}'`, (client) =>
      client.admin().deadLetter(group!, id!),
    )
    const text = isUtf8(body) ? Buffer.from(body).toString() : null
    if (settings.json) {
      const told = text === null ? { bodyBase64: Buffer.from(body).toString('base64') } : { body: text }
      return terminal.write(json({ ...letter, ...told }))
    }
    const { messageId, topic, attempts, reason, tag, keys, time, bornTime, brokerName, queueOffset } = letter
    terminal.write(
      facts(terminal, {
        ...{ message: messageId, topic, tag },
        keys: keys.length === 0 ? undefined : keys.join(' '),
        ...{ tries: attempts, reason },
        sent: new Date(bornTime).toISOString(),
        died: new Date(time).toISOString(),
        'lies on': `${brokerName}, at ${queueOffset}`,
        ...letter.properties,
      }),
    )
    terminal.write(`\n${text ?? `(${bytes(body.length)} that are no text: --json shows them)`}\n`)
  })
}

function addResend(letters: Command, cli: Cli): void {
  const { terminal } = cli
  const command = letters
    .command('resend')
    .description('Send dead letters again to the topics that they were sent to; every group there gets them.')
    .argument('<group>')
    .option('--message <ids>', 'ids as the list shows them: a,b or repeated', list)
    .option('--all', 'all of them', false)
    .addHelpText(
      'after',
      examples(
        'statemq dead-letter resend billing --message 1d0f3a5b7c9e21-17',
        'statemq dead-letter resend billing --all',
      ),
    )
  carriesOut<{ message?: string[]; all: boolean }>(command, async (settings, options, [group]) => {
    const { message: messageIds } = options
    if ((messageIds === undefined) !== options.all) throw new UsageError('say which: --message ID, or --all')
    const which = messageIds === undefined ? { all: true as const } : { messageIds }
    const receipts = await withClient(cli, settings, `send dead letters of '${group}' again`, (client) =>
      client.admin().resendDeadLetters(group!, which),
    )
    if (settings.json) return terminal.write(json(receipts))
    const rows = receipts.map(({ messageId, topic, brokerName, queueId, queueOffset }) => {
      return [messageId, topic, brokerName, queueId, queueOffset]
    })
    if (rows.length > 0)
      terminal.write(`${table(terminal, ['message', 'topic', 'broker', 'queue', 'offset'], rows)}\n`)
    terminal.write(`${rows.length === 1 ? '1 message was' : `${rows.length} messages were`} sent again.\n`)
  })
}
