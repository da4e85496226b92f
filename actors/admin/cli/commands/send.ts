/**
 * `statemq send`: one message from the command line, or one for each line of a file or of stdin.
 *
 * A line that is a JSON object with a `body` is a message with its tag, keys, properties and messageGroup, which is
 * what `consume --json` prints; any other line is a body as it stands. Empty lines are no messages.
 */
import type { Command } from 'commander'
import { DELAY_LEVEL_MAX } from '../../../../machines/retry-policy.ts'
import { type Cli, carriesOut, examples, withClient } from '../cli.ts'
import { Interrupted, UsageError } from '../explain.ts'
import type { Outgoing, Producer, Receipt } from '../face.ts'
import { progress } from '../progress.ts'
import { formatNumber, jsonLine } from '../table.ts'
import { list, property, whole } from '../values.ts'

interface SendOptions {
  file?: string
  tag?: string
  keys?: string[]
  group?: string
  property?: Record<string, string>
  delayLevel?: number
  count: number
}

/** Enough to fill the producer's batches; few enough to stop soon when something fails. */
const inFlightMax = 2_000

export function addSend(program: Command, cli: Cli): void {
  const { terminal } = cli
  const command = program
    .command('send')
    .description('Send a message, or one for each line of a file or of what is piped in.')
    .argument('<topic>')
    .argument('[body]')
    .option(
      '--file <lines>',
      'one message a line; a line {"body": …, "tag": …, "keys": […]} may hold more than a body',
    )
    .option('--tag <tag>', 'tag that consumers filter by')
    .option('--keys <list>', 'keys to find the message by: a,b or repeated', list)
    .option('--group <name>', 'message group: its messages keep their order')
    .option('--property <name=value>', 'a property; may be repeated', property)
    .option('--delay-level <level>', 'deliver later: 1 (1 s) to 18 (2 h)', whole(1, DELAY_LEVEL_MAX))
    .option('--count <number>', 'send the body so many times', whole(1, 1_000_000_000), 1)
    .addHelpText(
      'after',
      examples(
        "statemq send orders 'hello' --tag created --keys A-1",
        'statemq send orders --file orders.ndjson',
        'tail -f app.log | statemq send logs',
      ),
    )

  carriesOut<SendOptions>(command, async (settings, options, [topic, body]) => {
    const messages = source(cli, topic!, body, options)
    const total = body === undefined ? undefined : options.count
    const isOne = total === 1
    await withClient(
      cli,
      settings,
      `send to '${topic}'`,
      async (client) => {
        const producer = client.producer({ group: 'statemq-cli' })
        const print = settings.json
          ? (receipt: Receipt) => terminal.write(jsonLine(receipt))
          : ({ messageId, brokerName, queueId, queueOffset }: Receipt) => {
              if (!isOne) return
              const { delayLevel } = options
              const where =
                delayLevel === undefined
                  ? `, queue ${queueId}, offset ${queueOffset}`
                  : `, where it waits for the time of level ${delayLevel}`
              terminal.write(`Sent ${messageId} to ${brokerName}${where}.\n`)
            }
        const { sent, ms } = await sendAll(cli, producer, messages, total, print)
        if (!isOne && !settings.json) {
          const rate = formatNumber(Math.round((sent * 1000) / Math.max(1, ms)))
          terminal.write(
            `Sent ${formatNumber(sent)} messages to '${topic}' in ${(ms / 1000).toFixed(1)} s, ${rate} /s.\n`,
          )
        }
      },
      { endsItself: true },
    )
    if (terminal.signal.aborted) throw new Interrupted()
  })
}

/** Keeps many sends under way, stops reading at the first failure, and waits for all that were begun. */
async function sendAll(
  { terminal, clock }: Cli,
  producer: Producer,
  messages: AsyncIterable<Outgoing>,
  total: number | undefined,
  print: (receipt: Receipt) => void,
): Promise<{ sent: number; ms: number }> {
  const began = clock.monotonic()
  const bar = progress(terminal, clock, 'messages', total)
  let failure: { cause: unknown } | undefined
  let inFlight = 0
  let sent = 0
  let wake = () => {}
  const settled = () => {
    inFlight--
    wake()
  }
  const change = () =>
    new Promise<void>((resolve) => {
      wake = resolve
    })

  for await (const message of messages) {
    inFlight++
    producer.send(message).then(
      (receipt) => {
        sent++
        print(receipt)
        bar.set(sent)
        settled()
      },
      (cause: unknown) => {
        failure ??= { cause }
        settled()
      },
    )
    while (inFlight >= inFlightMax) await change()
    if (failure !== undefined || terminal.signal.aborted) break
  }
  while (inFlight > 0) await change()
  bar.end()
  if (failure !== undefined) {
    if (sent > 0) terminal.tell(`${formatNumber(sent)} messages were sent before this:\n`)
    throw failure.cause
  }
  return { sent, ms: clock.monotonic() - began }
}

function source(
  { terminal }: Cli,
  topic: string,
  body: string | undefined,
  options: SendOptions,
): AsyncIterable<Outgoing> {
  const { file, tag, keys, group, property: properties, delayLevel, count } = options
  const common: Omit<Outgoing, 'body'> = { topic }
  if (tag !== undefined) common.tag = tag
  if (keys !== undefined) common.keys = keys
  if (group !== undefined) common.messageGroup = group
  if (properties !== undefined) common.properties = properties
  if (delayLevel !== undefined) common.delayLevel = delayLevel

  if (body !== undefined) {
    if (file !== undefined) throw new UsageError('give a body or --file, not both')
    return repeat({ ...common, body }, count)
  }
  if (count !== 1) throw new UsageError('--count repeats a body: give one')
  if (file === undefined && !terminal.hasInput) {
    throw new UsageError(
      "nothing to send: give a body, --file lines.ndjson, or pipe lines in (see 'statemq send --help')",
    )
  }
  return fromLines(terminal.lines(file), common)
}

async function* repeat(message: Outgoing, count: number): AsyncIterable<Outgoing> {
  for (let index = 0; index < count; index++) yield message
}

async function* fromLines(
  lines: AsyncIterable<string>,
  common: Omit<Outgoing, 'body'>,
): AsyncIterable<Outgoing> {
  for await (const line of lines) {
    if (line !== '') yield { ...common, ...messageOfLine(line) }
  }
}

/** What a line says of a message; it wins over the options, which stand for all lines. */
function messageOfLine(line: string): Pick<Outgoing, 'body'> & Partial<Outgoing> {
  const parsed = line.startsWith('{') ? parse(line) : undefined
  if (parsed === undefined || !('body' in parsed)) return { body: line }
  const { body, bodyBase64, tag, keys, properties, messageGroup, delayLevel } = parsed
  const message: Pick<Outgoing, 'body'> & Partial<Outgoing> = {
    body:
      typeof bodyBase64 === 'string'
        ? Buffer.from(bodyBase64, 'base64')
        : typeof body === 'string'
          ? body
          : JSON.stringify(body),
  }
  if (typeof tag === 'string') message.tag = tag
  if (typeof keys === 'string') message.keys = [keys]
  else if (Array.isArray(keys) && keys.length > 0) message.keys = keys.map(String)
  if (typeof messageGroup === 'string') message.messageGroup = messageGroup
  if (delayLevel !== undefined && delayLevel !== null) message.delayLevel = Number(delayLevel)
  if (typeof properties === 'object' && properties !== null && Object.keys(properties).length > 0) {
    message.properties = Object.fromEntries(
      Object.entries(properties).map(([name, value]) => [name, String(value)]),
    )
  }
  return message
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(line) as Record<string, unknown>
  } catch {
    return undefined // A body that only looks like JSON.
  }
}
