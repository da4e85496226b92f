/**
 * How an operator's order reaches the master of a broker, also while that changes hands.
 *
 * An order goes to the master that a name server shows. When nobody listens there any more, or it is no master now, the
 * order goes AT MOST ONCE more, to the master of a HIGHER epoch, AFTER that one has registered. Orders are such that one
 * which is carried out twice has done no more than one that is carried out once. What timed out is NEVER sent again: it
 * may still be on its way.
 */
import { type ClusterView, compareText } from '../../machines/topic.ts'
import { ask } from '../../transport/codec.ts'
import type { Subject, Subjects } from '../../transport/subjects.ts'
import { StateMQError, settle } from '../errors.ts'
import type { Process } from '../node/process.ts'

const ASK_MS = 3_000
/** A name server that has just started answers after a moment. */
const SETTLING_TRIES = 5
const SETTLING_MS = 200
/** For so long an order waits for a broker's next master. */
const SUCCESSOR_MS = 3_000
const LOOK_MS = 100

export type Master = { brokerName: string; epoch: number }
type ToMaster = ReturnType<Subjects['broker']>
/** Which order it is, on the subjects of whoever is master. */
export type Order<Request, Value> = (to: ToMaster) => readonly [Subject<Request, Value>, Request]

export class Masters {
  readonly process: Process

  constructor(process: Process) {
    this.process = process
  }

  /** What a name server knows of the brokers; throws when none is registered. */
  async view(): Promise<ClusterView> {
    const { cluster } = this.process.subjects.nameServer
    for (let attempt = 1; ; attempt++) {
      const view: ClusterView = await this.ask(cluster, {}, 'listing brokers')
      if (view.brokers.length > 0) return view
      if (attempt === SETTLING_TRIES) break
      await this.pause(SETTLING_MS)
    }
    throw new StateMQError('SERVICE_NOT_AVAILABLE', "no broker is registered: start one with 'statemq node'")
  }

  /** The master of every broker name; waits a while for a name that has none at the moment. */
  async all(): Promise<Master[]> {
    let view = await this.view()
    const { clock } = this.process.world
    const end = clock.monotonic() + SUCCESSOR_MS
    for (;;) {
      const missing = namesIn(view).find((brokerName) => masterIn(view, brokerName) === null)
      if (missing === undefined) return namesIn(view).map((brokerName) => masterIn(view, brokerName)!)
      if (clock.monotonic() >= end) throw noMaster(missing)
      await this.pause(LOOK_MS)
      view = await this.view()
    }
  }

  /** Carries an order out on the master of every broker. */
  async onEach<Request, Value>(
    what: string,
    order: Order<Request, Value>,
  ): Promise<{ brokerName: string; value: Value }[]> {
    const masters = await this.all()
    return Promise.all(
      masters.map(async (master) => ({
        brokerName: master.brokerName,
        value: await this.on(master, `${what} on ${master.brokerName}`, order),
      })),
    )
  }

  /** Carries an order out on one broker: on this master, or on the one after it. */
  async on<Request, Value>(
    { brokerName, epoch }: Master,
    what: string,
    order: Order<Request, Value>,
  ): Promise<Value> {
    const { subjects } = this.process
    try {
      return await this.#request(...order(subjects.broker(brokerName, epoch)), what)
    } catch (error) {
      if (!isDeposed(error)) throw error
      const successor = await this.#successor(brokerName, epoch)
      if (!successor) throw noMaster(brokerName, what, error)
      return this.#request(...order(subjects.broker(brokerName, successor.epoch)), what)
    }
  }

  /** For questions to name servers and to single processes. */
  async ask<Request, Value>(
    subject: Subject<Request, Value>,
    request: Request,
    what: string,
    timeoutMs = ASK_MS,
  ): Promise<Value> {
    try {
      return await this.#request(subject, request, what, timeoutMs)
    } catch (error) {
      throw error instanceof StateMQError ? explained(error, what) : error
    }
  }

  pause(ms: number): Promise<void> {
    return new Promise((resolve) => void this.process.world.clock.setTimeout(resolve, ms))
  }

  async #successor(brokerName: string, epoch: number): Promise<Master | null> {
    const { clock } = this.process.world
    const end = clock.monotonic() + SUCCESSOR_MS
    while (clock.monotonic() < end) {
      await this.pause(LOOK_MS)
      const master = masterIn(await this.view(), brokerName)
      if (master && master.epoch > epoch) return master
    }
    return null
  }

  #request<Request, Value>(
    subject: Subject<Request, Value>,
    request: Request,
    what: string,
    timeoutMs = ASK_MS,
  ): Promise<Value> {
    return new Promise((resolve, reject) =>
      ask(this.process.world.transport, subject, request, timeoutMs, (outcome) =>
        settle(outcome, what, resolve, reject),
      ),
    )
  }
}

const namesIn = ({ brokers }: ClusterView): string[] =>
  [...new Set(brokers.map(({ brokerName }) => brokerName))].sort(compareText)

/** After a promotion the deposed master may be registered a while longer: the higher epoch wins. */
function masterIn({ brokers }: ClusterView, brokerName: string): Master | null {
  const epochs = brokers
    .filter((broker) => broker.brokerName === brokerName && broker.role === 'master')
    .map(({ epoch }) => epoch)
  return epochs.length === 0 ? null : { brokerName, epoch: Math.max(...epochs) }
}

const isDeposed = (error: unknown): boolean =>
  error instanceof StateMQError && (error.code === 'NO_RESPONDERS' || error.code === 'NOT_MASTER')

export const noMaster = (brokerName: string, what?: string, cause?: unknown): StateMQError =>
  new StateMQError(
    'CONTROLLER_MASTER_NOT_AVAILABLE',
    `${what === undefined ? '' : `${what}: `}${brokerName} has no master at the moment: ` +
      `see its replicas with 'statemq broker show ${brokerName}'`,
    { cause },
  )

/** Nobody listens where name servers do: there is no such cluster. */
function explained(error: StateMQError, what: string): StateMQError {
  if (error.code !== 'NO_RESPONDERS') return error
  return new StateMQError(
    'NO_NAME_SERVER',
    `${what}: nobody answers for this cluster; is 'statemq start' running, and is the cluster's name right?`,
    { retryable: true, cause: error },
  )
}
