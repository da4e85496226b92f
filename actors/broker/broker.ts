/**
 * Runs one broker: hosts its role, and carries out what the role orders on disk and on the wire.
 *
 * The role decides; here every effect is one handler and every answer one event. Messages do not pass through the
 * role: it opens and closes the gate through which they do.
 */

import { brokerRoleMachine } from '../../machines/broker-role.ts'
import { bind } from '../../machines/effect.ts'
import type { Registration } from '../../machines/topic.ts'
import { hear, tell } from '../../transport/codec.ts'
import { type Failure, fail, type Outcome, succeed } from '../../transport/failures.ts'
import { kinds } from '../../transport/frames.ts'
import {
  type BrokerDescription,
  nameServerStarted,
  nothing,
  registrationRefused,
} from '../../transport/messages.ts'
import { host } from '../node/host.ts'
import type { Process } from '../node/process.ts'
import { BrokerState } from './broker-state.ts'
import { Gate } from './gate.ts'
import type { RetentionOptions } from './store/retention.ts'
import { openStore, type Store } from './store/store.ts'

export type BrokerOptions = {
  cluster: string
  brokerName: string
  brokerId: number
  /** Where its data lives; taken by this process until it stops. */
  folder: string
  flush?: 'sync' | 'async'
  /** Whether clients may make topics by using them; default true. */
  autoCreateTopic?: boolean
  segmentBytes?: number
  retention?: Partial<RetentionOptions>
}

export type BrokerHooks = {
  /** It serves: every name server that listens has been told. */
  serving(): void
  /** Its data cannot be trusted, or cannot be had; it waits for a person. */
  halted(alarm: { code: string; message: string }): void
  /** A bug stopped it: start another from the same folder. */
  failed(cause: unknown): void
}

export type RunningBroker = {
  readonly address: string
  stop(stopped: () => void): void
}

const BEAT_MS = 1_000

/** What a broker keeps beside its log, in `broker.json`. */
type Durable = { incarnation: number; promisedEpoch: number }

export function startBroker(process: Process, options: BrokerOptions, hooks: BrokerHooks): RunningBroker {
  const { brokerName, brokerId, folder, flush = 'async', autoCreateTopic = true } = options
  const { world, subjects, directory } = process
  const { clock, disk, log, transport } = world
  const address = `broker/${brokerName}/${brokerId}`
  const state = new BrokerState(() => clock.monotonic())
  const startedAt = clock.now()
  let durable: Durable = { incarnation: 0, promisedEpoch: 0 }
  let store: Store | null = null
  let gate: Gate | null = null
  let beatTimer: unknown = null
  /** The epoch that name servers are told of; null while it is not the master. */
  let servedEpoch: number | null = null
  let stopped: (() => void) | null = null

  const machine = bind(brokerRoleMachine, {
    loadStore: () =>
      void load().then((outcome) => {
        if (outcome.ok) {
          store = outcome.value
          const epoch = Math.max(durable.promisedEpoch, store.lastEpoch)
          const { incarnation } = durable
          role.actor.send({ type: 'store.loaded', epoch, incarnation, endPosition: store.endPosition })
          if (!store.accepting) role.actor.send({ type: 'disk.filled' })
        } else role.actor.send({ type: 'store.failed', ...alarmOf(outcome.failure) })
      }),
    persistIncarnation: ({ incarnation }) =>
      save({ ...durable, incarnation }, (outcome) =>
        role.actor.send(
          outcome.ok
            ? { type: 'incarnation.persisted', incarnation }
            : { type: 'incarnation.failed', ...alarmOf(outcome.failure) },
        ),
      ),
    // One replica: nobody else can be master of this broker's log.
    readHead: ({ epoch, incarnation }) =>
      role.actor.send({
        type: 'head.changed',
        epoch: epoch + 1,
        masterId: brokerId,
        masterIncarnation: incarnation,
      }),
    persistEpoch: ({ epoch }) =>
      save({ ...durable, promisedEpoch: epoch }, (outcome) =>
        role.actor.send(
          outcome.ok
            ? { type: 'epoch.persisted', epoch }
            : { type: 'epoch.failed', ...alarmOf(outcome.failure) },
        ),
      ),
    markEpoch: ({ epoch }) => {
      const log = store!
      log.epoch = epoch
      gate = new Gate(process, {
        brokerName,
        brokerId,
        epoch,
        store: log,
        state,
        topicChanged: register,
        describe,
      })
      const position = log.appendControl(
        kinds.epoch,
        Buffer.from(JSON.stringify({ brokerName, brokerId, epoch })),
      )
      gate.afterStored(() => role.actor.send({ type: 'epoch.marked', epoch, position }))
    },
    openGate: ({ epoch }) => gate!.open(() => role.actor.send({ type: 'gate.opened', epoch })),
    closeGate: () => {
      if (!gate) return role.actor.send({ type: 'gate.drained' })
      const closing = gate
      closing.drain(() => {
        closing.close()
        if (gate === closing) gate = null
        role.actor.send({ type: 'gate.drained' })
      })
    },
    registerBroker: ({ epoch }) => {
      servedEpoch = epoch
      register()
      beat()
    },
    unregisterBroker: () => {
      servedEpoch = null
      clock.clearTimeout(beatTimer)
      beatTimer = null
      if (store) tell(transport, subjects.nameServer.unregister, run())
    },
    closeStore: ({ clean }) => {
      gate?.close()
      gate = null
      if (!store) return role.actor.send({ type: 'store.closed' })
      store.close((outcome) => {
        if (!outcome.ok && clean) role.actor.send({ type: 'store.failed', ...alarmOf(outcome.failure) })
        else role.actor.send({ type: 'store.closed' })
      })
    },
    raiseAlarm: (alarm) => {
      log.error(`${address}: ${alarm.message}`, { code: alarm.code })
      hooks.halted(alarm)
    },
  })
  const role = host({
    address,
    machine,
    input: { brokerName, brokerId },
    clock,
    directory,
    failed: (cause) => abandon(() => hooks.failed(cause)),
  })

  let isServing = false
  role.actor.subscribe({
    next(snapshot) {
      gate?.setAccepting(snapshot.hasTag('accepts-writes'))
      if (snapshot.matches('master') && !isServing) {
        isServing = true
        hooks.serving()
      }
      if (snapshot.status === 'done') finish()
    },
    error() {},
  })
  const mine = subjects.brokerProcess(brokerName, brokerId)
  const subscriptions = [
    hear(transport, subjects.nameServer.started, nameServerStarted, () => register()),
    hear(transport, mine.registerAgain, nothing, () => register()),
    hear(transport, mine.refused, registrationRefused, ({ storeId, incarnation, message }) => {
      if (storeId === store?.storeId && incarnation === durable.incarnation)
        log.error(`${address}: ${message}`)
    }),
  ]
  role.start()

  return {
    address,
    stop(done) {
      stopped = done
      const { status } = role.actor.getSnapshot()
      if (status === 'active') role.actor.send({ type: 'stop.requested' })
      else finish()
    },
  }

  function finish(): void {
    for (const subscription of subscriptions) subscription.unsubscribe()
    role.stop()
    const done = stopped
    stopped = null
    done?.()
  }

  /** The role died of a bug: lets go of everything, as it lies, so that the next start can take it. */
  function abandon(abandoned: () => void): void {
    clock.clearTimeout(beatTimer)
    for (const subscription of subscriptions) subscription.unsubscribe()
    gate?.close()
    gate = null
    role.stop()
    if (store) store.close(abandoned)
    else abandoned()
    store = null
  }

  async function load(): Promise<Outcome<Store>> {
    const read = await new Promise<Outcome<Durable>>((resolve) => {
      disk.readFile(`${folder}/broker.json`, (outcome) =>
        resolve(outcome.ok ? durableIn(outcome.value) : outcome),
      )
    })
    if (!read.ok) return read
    durable = read.value
    const { segmentBytes, retention } = options
    return openStore(
      world,
      {
        folder,
        cluster: options.cluster,
        broker: `${brokerName}/${brokerId}`,
        flush,
        ...(segmentBytes === undefined ? {} : { segmentBytes }),
        ...(retention === undefined ? {} : { retention }),
      },
      {
        restore: (json) => state.restore(json),
        replay: (bytes, at) => state.replay(bytes, at),
        snapshot: () => state.save(),
        stored: (position) => gate?.stored(position),
        space: (space) => role.actor.send({ type: space === 'full' ? 'disk.filled' : 'disk.freed' }),
        broken: (failure) => role.actor.send({ type: 'log.failed', ...alarmOf(failure) }),
      },
    )
  }

  function save(next: Durable, saved: (outcome: Outcome<void>) => void): void {
    durable = next
    disk.replaceFile(`${folder}/broker.json`, Buffer.from(`${JSON.stringify(next)}\n`), saved)
  }

  function run() {
    return { brokerName, brokerId, storeId: store!.storeId, incarnation: durable.incarnation }
  }

  function register(): void {
    if (servedEpoch === null) return
    const registration: Registration = {
      ...run(),
      role: 'master',
      epoch: servedEpoch,
      dataVersion: state.dataVersion,
      topics: Object.fromEntries(state.topics),
      autoCreateTopic,
    }
    tell(transport, subjects.nameServer.register, registration)
  }

  function beat(): void {
    clock.clearTimeout(beatTimer)
    if (servedEpoch === null) return
    tell(transport, subjects.nameServer.beat, {
      ...run(),
      epoch: servedEpoch,
      dataVersion: state.dataVersion,
    })
    beatTimer = clock.setTimeout(beat, BEAT_MS)
  }

  function describe({ ingest, delivery, groups, coordinators }: Gate): BrokerDescription {
    const { value, context } = role.actor.getSnapshot()
    return {
      brokerName,
      brokerId,
      role: typeof value === 'string' ? value : Object.keys(value)[0]!,
      epoch: context.epoch,
      incarnation: context.incarnation,
      flush,
      topics: state.topics.size,
      groups: new Set([...groups.names(), ...coordinators.groups]).size,
      ...ingest.counters,
      ...delivery.counters,
      logBytes: store!.endPosition - store!.minPosition,
      startedAt,
      accepting: ingest.refusal === null,
    }
  }
}

const alarmOf = ({ code, message }: Failure) => ({ code, message })

function durableIn(bytes: Buffer | null): Outcome<Durable> {
  if (bytes === null) return succeed({ incarnation: 0, promisedEpoch: 0 })
  try {
    const { incarnation, promisedEpoch } = JSON.parse(bytes.toString()) as Partial<Durable>
    if (Number.isSafeInteger(incarnation) && Number.isSafeInteger(promisedEpoch)) {
      return succeed({ incarnation: incarnation!, promisedEpoch: promisedEpoch! })
    }
  } catch {
    // Said below: what is not JSON is as damaged as what has no numbers.
  }
  return fail(
    'malformed',
    "broker.json is damaged: restore it, or remove it if this broker's clients are stopped",
  )
}
