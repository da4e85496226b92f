/** `statemq broker …`: list, show, promote. */
import type { Command } from 'commander'
import { type Cli, carriesOut, examples, withClient } from '../cli.ts'
import { Interrupted, UsageError } from '../explain.ts'
import type { BrokerOverview, Replica } from '../face.ts'
import { type Cell, facts, json, strong, table } from '../table.ts'
import { age, bytes, whole } from '../values.ts'

type Reachable = Extract<Replica, { reachable: true }>

export function addBroker(program: Command, cli: Cli): void {
  const broker = program
    .command('broker')
    .description('Show the brokers of the cluster and their replicas; hand mastership over.')
    .helpCommand(false)
    .addHelpText('after', examples('statemq broker list', 'statemq broker show broker-a'))
  addList(broker, cli)
  addShow(broker, cli)
  addPromote(broker, cli)
}

function addList(broker: Command, cli: Cli): void {
  const { terminal } = cli
  const command = broker
    .command('list')
    .description('List the brokers, a row for each replica.')
    .addHelpText('after', examples('statemq broker list', 'statemq broker list --json'))
  carriesOut(command, async (settings) => {
    const replicas = await withClient(cli, settings, 'list the brokers', (client) => client.admin().brokers())
    if (settings.json) return terminal.write(json(replicas))
    if (replicas.length === 0)
      return terminal.write('No brokers. Start one: statemq node --roles broker --broker broker-a\n')
    const headings = [
      ...['broker', 'id', 'role', 'epoch', 'sync state set', 'lag', 'durability'],
      ...['accepts writes', 'topics', 'in', 'out', 'log'],
    ]
    terminal.write(table(terminal, headings, replicas.map(rowOf)))
  })
}

function rowOf(replica: Replica): Cell[] {
  const { brokerName, brokerId } = replica
  if (!replica.reachable) return [brokerName, String(brokerId), missing(replica), replica.epoch]
  const { role, epoch, syncStateSet, lag, durability } = replica
  const isMaster = role === 'master'
  return [
    ...[brokerName, String(brokerId), role, epoch],
    ...[isMaster ? setOf(syncStateSet) : null, lag === null ? null : bytes(lag.lagBytes)],
    ...[durability?.class ?? null, isMaster ? (replica.accepting ? 'yes' : 'no') : null],
    ...[replica.topics, replica.messagesIn, replica.messagesOut, bytes(replica.logBytes)],
  ]
}

function addShow(broker: Command, cli: Cli): void {
  const { terminal, clock } = cli
  const command = broker
    .command('show')
    .description('Show one broker: its replicas, how far they are, and who was master when and why.')
    .argument('<name>')
    .addHelpText('after', examples('statemq broker show broker-a'))
  carriesOut(command, async (settings, _, [name]) => {
    const found = await withClient(cli, settings, `show the broker '${name}'`, (client) =>
      client.admin().broker(name!),
    )
    if (settings.json) return terminal.write(json(found))
    const now = clock.now()
    const heading = (words: string) => terminal.write(`\n${strong(terminal, words)}\n`)
    terminal.write(facts(terminal, summaryOf(found)))
    const replicas = found.replicas.map((replica) => replicaRow(replica, found, now))
    terminal.write(`\n${table(terminal, replicaHeadings, replicas)}`)
    if (found.masterships.length > 0) {
      heading('masterships, newest first')
      const rows = found.masterships.map(({ epoch, masterId, cause, at }) => [
        epoch,
        masterId === null ? null : `${found.brokerName}/${masterId}`,
        cause,
        `${age(now - at)} ago`,
      ])
      terminal.write(table(terminal, ['epoch', 'master', 'cause', 'when'], rows))
    }
    const notes = [...wayOutOf(found), ...found.replicas.flatMap((replica) => notesOf(replica, now))]
    if (notes.length > 0) terminal.write(`\n${notes.map((note) => `${note}\n`).join('')}`)
  })
}

function summaryOf(found: BrokerOverview): Record<string, Cell> {
  const { brokerName, masterId, epoch, syncStateSet, durability, replicas } = found
  const settled = replicas.find((replica) => replica.reachable)
  const master = replicas.find((replica) => replica.reachable && replica.brokerId === masterId)
  const figures = master?.reachable
    ? {
        'accepts writes': acceptance(master),
        topics: master.topics,
        groups: master.groups,
        'messages in': master.messagesIn,
        'messages out': master.messagesOut,
      }
    : {}
  return {
    broker: brokerName,
    master: masterId === null ? 'none at the moment' : `${brokerName}/${masterId}`,
    epoch: String(epoch),
    durability: durability?.class ?? 'nothing is acknowledged without a master',
    survives: durability?.survives,
    'sync state set': setOf(syncStateSet),
    replication: settled && `${settled.replication}, flush ${settled.flush}`,
    replicas: settled && `${settled.replicas}, of which ${settled.minInSync} in sync at least`,
    ...figures,
  }
}

/** Whether a master takes messages, and if not why. */
function acceptance({ accepting, diskFull, syncStateSet, minInSync }: Reachable): string {
  if (accepting) return 'yes'
  if (diskFull) return 'no: its disk is nearly full'
  const few = `only ${syncStateSet.length} of at least ${minInSync} replicas in sync`
  return syncStateSet.length < minInSync ? `no: ${few}` : 'no'
}

const replicaHeadings = [
  ...['id', 'role', 'epoch', 'in sync', 'lag', 'behind', 'confirmed', 'log ends', 'log', 'start', 'lineage'],
  'up for',
]

function replicaRow(replica: Replica, { syncStateSet }: BrokerOverview, now: number): Cell[] {
  const id = String(replica.brokerId)
  if (!replica.reachable) return [id, missing(replica), replica.epoch]
  const { role, epoch, lag, confirmPosition, endPosition, logBytes, incarnation, lineage } = replica
  const isInSync = syncStateSet.length === 0 ? null : syncStateSet.includes(replica.brokerId) ? 'yes' : 'no'
  return [
    ...[id, role, epoch, isInSync],
    ...[lag === null ? null : bytes(lag.lagBytes), lag === null ? null : age(lag.lagMs)],
    ...[confirmPosition, endPosition, bytes(logBytes), incarnation, lineage, age(now - replica.startedAt)],
  ]
}

/** What to do where there is no master. */
function wayOutOf({ brokerName, masterId, syncStateSet, replicas }: BrokerOverview): string[] {
  if (masterId !== null) return []
  const answering = replicas.find((replica) => replica.reachable)
  if (answering === undefined) return [`No replica of ${brokerName} answers: see that its processes run.`]
  if (answering.replication === 'none') return []
  const clean = syncStateSet.map((id) => `${brokerName}/${id}`).join(' or ')
  const who = clean === '' ? 'a replica of the sync state set' : clean
  return [
    `A controller elects a master as soon as it reaches ${who}: see that one of these runs. Where that cannot be, ` +
      `'statemq broker promote ${brokerName} ID --unclean' takes another and LOSES what it lacks.`,
  ]
}

function notesOf(replica: Replica, now: number): string[] {
  if (!replica.reachable) return []
  const { brokerName, brokerId, lastCut, diskFull, alarm } = replica
  const name = `${brokerName}/${brokerId}`
  const notes: string[] = []
  if (lastCut !== null) {
    const { at, bytes: count, messages } = lastCut
    notes.push(
      `${name} cut ${messages} ${messages === 1 ? 'message' : 'messages'} (${bytes(count)}) from its log ${age(now - at)} ago.`,
    )
  }
  if (diskFull)
    notes.push(`The disk of ${name} is nearly full: free space there, or it waits until messages expire.`)
  if (alarm !== null) notes.push(`ALARM ${name}: ${alarm.code}: ${alarm.message}`)
  return notes
}

function addPromote(broker: Command, cli: Cli): void {
  const { terminal } = cli
  const command = broker
    .command('promote')
    .description('Make a replica the master of its broker. The master hands over; no send fails.')
    .argument('<name>')
    .argument('<id>', 'id of the replica', whole(0))
    .option('--unclean', 'where there is no master: take this replica and LOSE what it lacks', false)
    .option('--yes', 'do not ask', false)
    .addHelpText(
      'after',
      examples('statemq broker promote broker-a 1', 'statemq broker promote broker-a 1 --unclean --yes'),
    )
  carriesOut<{ unclean: boolean; yes: boolean }>(command, async (settings, { unclean, yes }, [name, id]) => {
    const replica = `${name}/${id}`
    if (unclean && !yes) {
      if (terminal.hasInput) {
        throw new UsageError(
          `making ${replica} master unclean loses the acknowledged messages that it lacks: add --yes to do it`,
        )
      }
      const question = `Make ${replica} master and lose the acknowledged messages that it lacks? Type ${replica}: `
      if ((await terminal.ask(question)).trim() !== replica) throw new Interrupted()
    }
    const { epoch } = await withClient(cli, settings, `make ${replica} master`, (client) =>
      client.admin().promote(name!, Number(id), { unclean }),
    )
    terminal.write(
      settings.json
        ? json({ brokerName: name, brokerId: Number(id), epoch, unclean })
        : `${replica} is the master at epoch ${epoch}.\n`,
    )
  })
}

/** No set is empty: it is that nobody who answers knows it. */
const setOf = (ids: readonly number[]): string => (ids.length === 0 ? 'not known' : ids.join(', '))

const missing = ({ role }: { role: string | null }): string =>
  role === null ? 'not there' : `unreachable ${role}`
