/**
 * The demo: 20,000 real flights through a cluster that starts here, over TCP and with real files.
 *
 * Each broker is a master and a slave in processes of their own. A flight is a message and its airport of origin the
 * message group, so that the flights of an airport stay in order. Three members of one group share the queues; a fourth
 * joins and one leaves later, while flights come in. Half-way a master is killed (SIGKILL) in the middle of a batch: its
 * slave takes over, and it comes back as a slave. At the end the delays of every airport, as consumed, are held against
 * the same figures computed straight from the file.
 *
 * Run it: npm run demo
 */
import { setTimeout as pause } from 'node:timers/promises'
import { filter, firstValueFrom, Subject, startWith, TimeoutError, timeout } from 'rxjs'
import { interruption } from '../actors/admin/cli/cli.ts'
import type { Demo } from '../actors/admin/cli/commands/demo.ts'
import { Interrupted } from '../actors/admin/cli/explain.ts'
// In a project of your own: from 'statemq'.
import { type Client, type Consumer, connect, type IncomingMessage } from '../actors/index.ts'
import { BROKERS, type DemoCluster, REPLICAS, startCluster } from './flights/cluster.ts'
import { figuresOf, loadFlights, type NumberedFlight } from './flights/data.ts'
import { backInSync, type Failover, newMaster, Outage } from './flights/failover.ts'
import { freshFolder } from './flights/folder.ts'
import { Ledger } from './flights/ledger.ts'
import { type Judgement, judge, type Shares } from './flights/report.ts'
import { Stage } from './flights/stage.ts'

const CLUSTER = 'demo'
const TOPIC = 'flights'
const GROUP = 'delays'
const QUEUES_EACH = 6
const QUEUES = BROKERS.length * QUEUES_EACH
/** The producer is at most so many flights ahead of the group: it still sends while members come and go. */
const AHEAD = 4_000
const BATCH = 500
/** What a handler does with a flight takes so long, as a row for a database would. */
const HANDLER_MS = 1
/** Whose master is killed. */
const VICTIM = BROKERS[0]!
/** A send goes on trying for so long; a failover takes a second. */
const SEND_MS = 15_000
/** The killed master is given so long to come back as a slave. */
const BACK_MS = 30_000
/** When nothing at all moves for so long, the demo ends and tells what is missing. */
const STALL_MS = 20_000

type Closeable = { close(): Promise<void> }

export const demo: Demo = async ({ terminal, json }) => {
  const flights = await loadFlights()
  const folder = await freshFolder()
  const stage = new Stage(terminal, json, flights.length)
  const opened: Closeable[] = []
  try {
    const cluster = await startCluster(CLUSTER, folder.path)
    opened.push(cluster)
    const run = new Run(flights, stage, cluster, opened)
    const interrupted = interruption(terminal.signal).then((): never => {
      stage.interrupt()
      throw new Interrupted()
    })
    await Promise.race([run.play(), interrupted])
    const { report, comparisons, broken } = run.judged()
    stage.conclude(report, comparisons)
    if (broken.length > 0) throw new Error(`not all that went in came out right: ${broken.join(', ')}`)
  } finally {
    stage.close()
    // What was opened last is closed first: the clients drain before the brokers stop.
    while (opened.length > 0) await opened.pop()!.close()
    await folder.remove()
  }
}

type Member = { name: string; consumer: Consumer; consumed: number; queues: number; isIn: boolean }

class Run {
  readonly #flights: readonly NumberedFlight[]
  readonly #stage: Stage
  readonly #cluster: DemoCluster
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
  readonly #outage = new Outage()
  #failover: Failover | null = null
  /** Set when it is time: the next batch is under way when its master dies. */
  #kill: (() => void) | null = null

  constructor(flights: readonly NumberedFlight[], stage: Stage, cluster: DemoCluster, opened: Closeable[]) {
    this.#flights = flights
    this.#stage = stage
    this.#cluster = cluster
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
        cluster: `${BROKERS.length} brokers of ${QUEUES_EACH} queues, at ${this.#cluster.servers}`,
        replicas: `a master and a slave each, in ${BROKERS.length * REPLICAS} processes of their own`,
        flights: `of ${figuresOf(this.#flights).size} US airports, January to March 2001, in order of time`,
        promised: 'none lost, those of an airport in order, also when a master dies',
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
    const producer = (await this.#connect()).producer({ group: 'airlines', timeoutMs: SEND_MS })
    for (let from = 0; from < this.#flights.length; from += BATCH) {
      await this.#until(() => this.#sent - this.#ledger.consumed.length <= AHEAD)
      const began = performance.now()
      const sends = this.#flights.slice(from, from + BATCH).map(async (flight) => {
        const { origin } = flight
        const body = JSON.stringify(flight)
        const receipt = await producer.send({ topic: TOPIC, messageGroup: origin, tag: origin, body })
        if (receipt.brokerName === VICTIM) this.#outage.acknowledged(began, performance.now(), receipt.epoch)
      })
      this.#kill?.()
      this.#sent += (await Promise.all(sends)).length
      this.#sendingMs += performance.now() - began
      this.#moved.next()
    }
  }

  async #comeAndGo(): Promise<void> {
    const total = this.#flights.length
    const { consumed } = this.#ledger
    await this.#until(() => consumed.length >= total / 4)
    const joining = performance.now()
    await this.#join('dan')
    this.#tellDivided('dan joins', joining, await this.#divided())

    await this.#until(() => this.#sent >= total / 2)
    const comesBack = await this.#failOver()

    await this.#until(() => consumed.length >= (total * 3) / 4)
    const bob = this.#members.find(({ name }) => name === 'bob')!
    bob.isIn = false
    const leaving = performance.now()
    // Finishes what it handles, commits, and hands its queues over.
    await bob.consumer.close()
    this.#tellDivided('bob leaves', leaving, await this.#divided())
    await comesBack()
  }

  /** Kills a master in the middle of a batch. Resolves when its slave serves, with how to wait until it is back. */
  async #failOver(): Promise<() => Promise<void>> {
    const client = await this.#connect()
    const { masterId: killed } = await client.admin().broker(VICTIM)
    if (killed === null) throw new Error(`${VICTIM} has no master: there is nobody to kill`)
    await new Promise<void>((done) => {
      this.#kill = () => {
        this.#kill = null
        this.#cluster.kill(VICTIM, killed)
        done()
      }
    })
    const killedAt = performance.now()
    const killedAtSeconds = this.#stage.seconds
    this.#outage.killed()
    this.#tellNow(`half-way: ${VICTIM}/${killed}, a master, is killed`)
    const isBack = backInSync(client, VICTIM, killed, BACK_MS)

    await this.#until(() => this.#outage.takenOver !== null)
    const { at, epoch } = this.#outage.takenOver!
    const master = await newMaster(client, VICTIM, killed, STALL_MS)
    this.#tellNow(`${VICTIM}/${master} takes over, at epoch ${epoch}`)
    return async () => {
      const backAt = await isBack
      if (backAt !== null) this.#tellNow(`${VICTIM}/${killed} is back, a slave in sync`)
      const backMs = backAt && Math.round(backAt - killedAt)
      const [waitedMs, takenOverMs] = [Math.round(this.#outage.waitedMs), Math.round(at - killedAt)]
      const found = {
        brokerName: VICTIM,
        killed,
        killedAtSeconds,
        master,
        epoch,
        takenOverMs,
        waitedMs,
        backMs,
      }
      this.#failover = found
    }
  }

  /** With the queues that each member owns at this moment. */
  #tellNow(words: string): void {
    const members = this.#members.filter(({ isIn }) => isIn)
    this.#stage.tell(words, Object.fromEntries(members.map(({ name, queues }) => [name, queues])))
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
    const client = await connect({ servers: this.#cluster.servers, cluster: CLUSTER })
    this.#opened.push(client)
    return client
  }

  judged(): Judgement {
    return judge({
      flights: this.#flights,
      ledger: this.#ledger,
      sent: this.#sent,
      broadcast: this.#broadcast.size,
      uncommitted: this.#uncommitted,
      divisions: this.#divisions,
      members: this.#members.map(({ name, consumed }) => ({ name, consumed })),
      failover: this.#failover,
      sendingMs: this.#sendingMs,
      consumingMs: this.#consumingMs,
      handlerMs: HANDLER_MS,
      seconds: this.#stage.seconds,
      stalledMs: this.#isStalled ? STALL_MS : null,
    })
  }
}
