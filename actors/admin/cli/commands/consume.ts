/**
 * `statemq consume`: prints the messages of a topic and acknowledges each AFTER it was printed.
 *
 * Ctrl-C and --limit drain: what was printed is acknowledged, what was not is left to the group.
 */
import { isUtf8 } from 'node:buffer'
import type { Command } from 'commander'
import { SQL_PREFIX } from '../../../../machines/filter/filter.ts'
import { type Cli, carriesOut, examples, interruption, withClient } from '../cli.ts'
import { UsageError } from '../explain.ts'
import type { Client, Incoming, Position } from '../face.ts'
import { faint, jsonLine } from '../table.ts'
import { bytes, filter, position, whole } from '../values.ts'
import { popped } from './pop.ts'

interface ConsumeOptions {
  group?: string
  tags?: string
  sql?: string
  from: Position
  broadcasting: boolean
  pop: boolean
  ordered: boolean
  limit?: number
}

export function addConsume(program: Command, cli: Cli): void {
  const { terminal, clock } = cli
  const command = program
    .command('consume')
    .description('Print the messages of a topic as a member of a group, until Ctrl-C.')
    .argument('<topic>')
    .requiredOption('--group <name>', 'consumer group: its members share the queues of the topic')
    .option('--tags <expression>', "only these tags, e.g. 'created || paid'", filter(''))
    .option(
      '--sql <expression>',
      `only what this holds for, e.g. "price BETWEEN 5 AND 9 AND region = 'north'"`,
      filter(SQL_PREFIX),
    )
    .option(
      '--from <place>',
      'where a NEW group begins: first, last, a time, or how long ago (15m, 2h)',
      position(() => clock.now()),
      'last',
    )
    .option('--broadcasting', 'every member gets every message', false)
    .option('--pop', 'share the queues with other poppers, message by message', false)
    .option('--ordered', 'one message of a queue at a time, in order', false)
    .option('--limit <number>', 'stop after so many messages', whole(1))
    .addHelpText(
      'after',
      examples(
        'statemq consume orders --group billing --from first',
        'statemq consume orders --group workers --pop',
        "statemq consume orders --group audit --tags 'paid || refunded' --limit 10 --json",
        `statemq consume orders --group large --sql "price > 1000 AND TAGS IN ('paid', 'refunded')"`,
      ),
    )

  carriesOut<ConsumeOptions>(command, async (settings, options, [topic]) => {
    const { group, tags, sql, from, broadcasting, pop, ordered, limit = Number.POSITIVE_INFINITY } = options
    if (group === undefined || group === '') throw new UsageError('give the group a name: --group billing')
    if (tags !== undefined && sql !== undefined)
      throw new UsageError("give --tags or --sql: in SQL the tag is the property TAGS, as in TAGS = 'paid'")
    if (pop && broadcasting) throw new UsageError('give --pop or --broadcasting, not both')
    if (pop && typeof from !== 'string') throw new UsageError('with --pop a group begins first or last')
    const print = settings.json ? jsonOf : peoplesLine
    const messageModel = broadcasting ? 'broadcasting' : 'clustering'
    await withClient(
      cli,
      settings,
      `consume '${topic}' as '${group}'`,
      async (client) => {
        const { consumer, messages } = pop ? popping(client) : owning(client)
        const stop = interruption(terminal.signal)
        for (let count = 0; count < limit; count++) {
          const next = await Promise.race([messages.next(), stop])
          // Only a closed consumer ends a `next` for which no message comes.
          if (next === undefined) return consumer.close()
          if (next.done === true) return
          terminal.write(print(next.value))
          await next.value.ack()
        }
        await messages.return()
      },
      { endsItself: true },
    )

    function owning(client: Client) {
      const consumer = client.consumer({ group: group!, messageModel, from, ordered })
      consumer.subscribe(topic!, sql ?? tags)
      return { consumer, messages: consumer.messages() }
    }

    function popping(client: Client) {
      const subscriptions = [{ topic: topic!, expression: sql ?? tags ?? '*' }]
      const consumer = client.simpleConsumer({
        ...{ group: group!, subscriptions, ordered },
        from: from as 'first' | 'last',
      })
      return { consumer, messages: popped(consumer, limit) }
    }
  })

  function peoplesLine(message: Incoming): string {
    const place = faint(terminal, `${message.brokerName}/${message.queueId}@${message.queueOffset}`)
    const keys = message.keys.length === 0 ? undefined : `keys=${message.keys.join(',')}`
    const parts = [place, message.tag, keys, text(message.body) ?? `<${bytes(message.body.length)}>`]
    return `${parts.filter((part) => part !== undefined).join('  ')}\n`
  }
}

function jsonOf(message: Incoming): string {
  const { topic, brokerName, queueId, queueOffset, messageId, bornTime, storeTime } = message
  const { tag, keys, messageGroup, properties, body } = message
  const content = text(body)
  return jsonLine({
    ...{ topic, brokerName, queueId, queueOffset, messageId, bornTime, storeTime },
    ...{ tag, keys, messageGroup, properties, body: content ?? null },
    ...(content === undefined ? { bodyBase64: Buffer.from(body).toString('base64') } : {}),
  })
}

const text = (body: Uint8Array): string | undefined =>
  isUtf8(body) ? Buffer.from(body).toString() : undefined
