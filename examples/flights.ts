/**
 * The demo: 20,000 real flights through a cluster that this process starts, over TCP and with real files.
 *
 * A flight is a message and its airport of origin the message group, so that the flights of an airport stay in order.
 * Three members of one group share the queues; a fourth joins half-way and one leaves later, while flights come in. At
 * the end the delays of every airport, as consumed, are held against the same figures computed straight from the file.
 *
 * Run it: npm run demo
 */
import { setTimeout as pause } from 'node:timers/promises'
import { filter, firstValueFrom, Subject, startWith, TimeoutError, timeout } from 'rxjs'
import { interruption } from '../actors/admin/cli/cli.ts'
import type { Demo } from '../actors/admin/cli/commands/demo.ts'
import { Interrupted } from '../actors/admin/cli/explain.ts'
// In a project of your own: from 'statemq'.
import { type Client, type Consumer, connect, type IncomingMessage, startNode } from '../actors/index.ts'
import { figuresOf, loadFlights, type NumberedFlight } from './flights/data.ts'
import { freshFolder } from './flights/folder.ts'
import { Ledger } from './flights/ledger.ts'
import { type Comparison, type Report, type Shares, Stage } from './flights/stage.ts'

const CLUSTER = 'demo'
const TOPIC = 'flights'
const GROUP = 'delays'
const BROKERS = ['broker-a', 'broker-b']
const QUEUES_EACH = 6
const QUEUES = BROKERS.length * QUEUES_EACH
/** The producer is at most so many flights ahead of the group: it still sends while members come and go. */
const AHEAD = 4_000
const BATCH = 500
/** What a handler does with a flight takes so long, as a row for a database would. */
const HANDLER_MS = 1
/** When nothing at all moves for so long, the demo ends and tells what is missing. */
const STALL_MS = 20_000

type Closeable = { close(): Promise<void> }

export const demo: Demo = async ({ terminal, json }) => {
  const flights = await loadFlights()
  const folder = await freshFolder()
  const stage = new Stage(terminal, json, flights.length)
  const opened: Closeable[] = []
  try {
    const servers = await startCluster(folder.path, opened)
    const run = new Run(flights, stage, servers, opened)
    const interrupted = interruption(terminal.signal).then((): never => {
      stage.interrupt()
      throw new Interrupted()
    })
    await Promise.race([run.play(), interrupted])
    const { report, comparisons, broken } = run.report()
    stage.conclude(report, comparisons)
    if (broken.length > 0) throw new Error(`not all that went in came out right: ${broken.join(', ')}`)
  } finally {
    stage.close()
    // What was opened last is closed first: the clients drain before the brokers stop.
    while (opened.length > 0) await opened.pop()!.close()
    await folder.remove()
  }
}

/** A name server that listens on a free port, and two brokers with files of their own. */
async function startCluster(dir: string, opened: Closeable[]): Promise<string> {
  const listen = { port: 0 }
  const first = await startNode({ cluster: CLUSTER, roles: ['nameServer'], listen })
  opened.push(first)
  for (const name of BROKERS) {
    const { transport } = first
    opened.push(await startNode({ cluster: CLUSTER, roles: ['broker'], broker: { name }, dir, transport }))
  }
  return first.servers
}

type Member = { name: string; consumer: Consumer; consumed: number; queues: number; isIn: boolean }

class Run {
  readonly #flights: readonly NumberedFlight[]
  readonly #stage: Stage
  readonly #servers: string
  readonly #opened: Closeable[]
  readonly #ledger = new Ledger()
  readonly #members: Member[] = []
  readonly #broadcast = new Set<string>()
  readonly #divisions: Shares[] = []
  /** Something happened: whoever waits looks again. */
  readonly #moved = new Subject<void>()
  #sent = 0
  #sendingMs = 0
  #consumingMs = 0
  #uncommitted = 0
  #isStalled = false

  constructor(flights: readonly NumberedFlight[], stage: Stage, servers: string, opened: Closeable[]) {
    this.#flights = flights
    this.#stage = stage
    this.#servers = servers
    this.#opened = opened
  }

  async play(): Promise<void> {
    try {
      await this.#playThrough()
    } catch (error) {
      if (!(error instanceof TimeoutError)) throw error
      this.#isStalled = true
    }
  }

  async #playThrough(): Promise<void> {
    const stage = this.#stage
    const total = this.#flights.length
    const admin = (await this.#connect()).admin()
    await admin.createTopic(TOPIC, { queues: QUEUES_EACH })
    stage.open(
      {
        cluster: `1 name server, ${BROKERS.length} brokers of ${QUEUES_EACH} queues, at ${this.#servers}`,
        flights: `of ${figuresOf(this.#flights).size} US airports, January to March 2001, in order of time`,
        promised: 'none lost, none twice, the flights of an airport in order',
      },
      ['ann', 'bob', 'cleo', 'dan'],
    )
    await this.#listen()
    await Promise.all(['ann', 'bob', 'cleo'].map((name) => this.#join(name)))
    stage.tell(`ann, bob and cleo share the ${QUEUES} queues`, await this.#divided())

    const began = performance.now()
    await Promise.all([this.#publish(), this.#comeAndGo()])
    await this.#until(() => this.#ledger.consumed.length >= total)
    this.#consumingMs = performance.now() - began
    await this.#until(() => this.#broadcast.size >= total)
    await Promise.all(this.#members.map(({ consumer }) => consumer.close()))
    const { queues } = await admin.group(GROUP)
    this.#uncommitted = queues.reduce((sum, { lag }) => sum + lag, 0)
  }

  /** Sends as fast as it can, and never so far ahead that the group could not follow. */
  async #publish(): Promise<void> {
    const producer = (await this.#connect()).producer({ group: 'airlines' })
    for (let from = 0; from < this.#flights.length; from += BATCH) {
      await this.#until(() => this.#sent - this.#ledger.consumed.length <= AHEAD)
      const began = performance.now()
      const sends = this.#flights.slice(from, from + BATCH).map((flight) =>
        producer.send({
          topic: TOPIC,
          messageGroup: flight.origin,
          tag: flight.origin,
          body: JSON.stringify(flight),
        }),
      )
      this.#sent += (await Promise.all(sends)).length
      this.#sendingMs += performance.now() - began
    }
  }

  async #comeAndGo(): Promise<void> {
    const total = this.#flights.length
    const { consumed } = this.#ledger
    await this.#until(() => consumed.length >= total / 2)
    const joining = performance.now()
    await this.#join('dan')
    this.#tellDivided('half-way: dan joins', joining, await this.#divided())

    await this.#until(() => consumed.length >= (total * 3) / 4)
    const bob = this.#members.find(({ name }) => name === 'bob')!
    bob.isIn = false
    const leaving = performance.now()
    // Finishes what it handles, commits, and hands its queues over.
    await bob.consumer.close()
    this.#tellDivided('bob leaves', leaving, await this.#divided())
  }

  #tellDivided(what: string, began: number, shares: Shares): void {
    const seconds = ((performance.now() - began) / 1_000).toFixed(1)
    this.#stage.tell(`${what}; shared anew in ${seconds} s`, shares)
  }

  /** A member of the group, on a connection of its own as if it were another process. */
  async #join(name: string): Promise<void> {
    const client = await this.#connect()
    const consumer = client.consumer({ group: GROUP, clientId: name, ordered: true, from: 'first' })
    const member: Member = { name, consumer, consumed: 0, queues: 0, isIn: true }
    this.#members.push(member)
    consumer.assignment$.subscribe((queues) => {
      member.queues = queues.length
      this.#moved.next()
    })
    consumer.subscribe(TOPIC)
    await consumer.run(async (message: IncomingMessage) => {
      const flight = message.json<NumberedFlight>()
      if (!this.#ledger.begin(message.messageId, flight)) return
      await pause(HANDLER_MS)
      this.#ledger.end(flight)
      member.consumed++
      this.#stage.progress(this.#ledger.consumed.length)
      this.#moved.next()
    })
  }

  /** In no group of its own making: a broadcasting consumer reads every queue, whoever else does. */
  async #listen(): Promise<void> {
    const client = await this.#connect()
    const tower = client.consumer({ group: 'tower', messageModel: 'broadcasting', from: 'first' })
    tower.subscribe(TOPIC)
    await tower.run(({ messageId }) => {
      this.#broadcast.add(messageId)
      this.#moved.next()
    })
  }

  /** Waits until the queues are divided evenly among those who are in. */
  async #divided(): Promise<Shares> {
    const members = this.#members.filter(({ isIn }) => isIn)
    await this.#until(() => members.every(({ queues }) => queues === QUEUES / members.length))
    const shares = Object.fromEntries(members.map(({ name, queues }) => [name, queues]))
    this.#divisions.push(shares)
    return shares
  }

  async #until(holds: () => boolean): Promise<void> {
    await firstValueFrom(this.#moved.pipe(startWith(undefined), timeout({ each: STALL_MS }), filter(holds)))
  }

  async #connect(): Promise<Client> {
    const client = await connect({ servers: this.#servers, cluster: CLUSTER })
    this.#opened.push(client)
    return client
  }

  report(): { report: Report; comparisons: Comparison[]; broken: string[] } {
    const { consumed, duplicates, misordered } = this.#ledger
    const figures = figuresOf(consumed)
    const comparisons = [...figuresOf(this.#flights)].map(([airport, file]): Comparison => {
      const own = figures.get(airport) ?? { flights: 0, delaySum: 0 }
      const agree = own.flights === file.flights && own.delaySum === file.delaySum
      return { airport, consumed: own, file, agree }
    })
    const perSecond = (count: number, ms: number) => (ms === 0 ? 0 : Math.round((count * 1_000) / ms))
    const report: Report = {
      sent: this.#sent,
      consumed: consumed.length,
      duplicates,
      lost: this.#sent - consumed.length,
      misordered,
      mismatches: comparisons.filter(({ agree }) => !agree).length,
      uncommitted: this.#uncommitted,
      broadcast: this.#broadcast.size,
      rebalances: this.#divisions.length - 1,
      divisions: this.#divisions,
      members: this.#members.map(({ name, consumed: own }) => ({ name, consumed: own })),
      airports: comparisons.length,
      sendPerSecond: perSecond(this.#sent, this.#sendingMs),
      consumePerSecond: perSecond(consumed.length, this.#consumingMs),
      handlerMs: HANDLER_MS,
      seconds: Math.round(this.#stage.seconds * 10) / 10,
    }
    const { lost, mismatches, broadcast, sent } = report
    const broken = Object.entries({ lost, misordered, mismatches, 'not broadcast': sent - broadcast })
      .filter(([, count]) => count !== 0)
      .map(([what, count]) => `${count} ${what}`)
    if (this.#isStalled) broken.unshift(`nothing moved for ${STALL_MS / 1_000} s`)
    return { report, comparisons, broken }
  }
}
