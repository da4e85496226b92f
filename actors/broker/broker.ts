/**
 * Runs one broker: hosts its role, and carries out what the role orders on disk and on the wire.
 *
 * The role decides; here every effect is one handler and every answer one event. Messages do not pass through the
 * role: it opens and closes the gate through which they do, and says which replicas count.
 */

import { type BrokerRoleEvent, brokerRoleMachine } from '../../machines/broker-role.ts'
import { bind } from '../../machines/effect.ts'
import { memberOf } from '../../machines/group-state.ts'
import { delaysOf } from '../../machines/retry-policy.ts'
import { accept, serve } from '../../transport/codec.ts'
import { type BrokerDescription, nothing } from '../../transport/messages.ts'
import type { Subscription } from '../../transport/transport.ts'
import { host } from '../node/host.ts'
import type { Process } from '../node/process.ts'
import { Agreement } from './agreement.ts'
import { type Announced, Announcer } from './announcer.ts'
import { describeBroker } from './description.ts'
import { Followings } from './followings.ts'
import { Handover } from './handover.ts'
import { Masterships } from './masterships.ts'
import { OrphanReads } from './orphan-reads.ts'
import { Presence } from './presence.ts'
import { ReplicaDisk } from './replica-disk.ts'
import type { ReplicationOptions } from './replication/options.ts'
import { beatOf, voteOf } from './signs.ts'
import type { RetentionOptions } from './store/retention.ts'
import { findNamesake, type Looking } from './vacancy.ts'

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
  /** RocketMQ's messageDelayLevel, checked: the pauses of the 18 delay levels. THE SAME on all replicas and brokers. */
  messageDelayLevel?: string
  retention?: Partial<RetentionOptions>
  /** Without it the broker is the only replica, and elects itself. */
  replication?: ReplicationOptions
}

export type BrokerHooks = {
  /** It serves as master, or follows one. */
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

export function startBroker(process: Process, options: BrokerOptions, hooks: BrokerHooks): RunningBroker {
  const { brokerName, brokerId, flush = 'async', autoCreateTopic = true, replication = null } = options
  const { world, subjects, directory } = process
  const { clock, log, transport } = world
  const replica = { brokerName, brokerId, address: `broker/${brokerName}/${brokerId}` }
  const { address } = replica
  const startedAt = clock.now()

  // ---------------------------------------------------------------------------------------- what it is made of

  const disk = new ReplicaDisk(world, storeOptions(options), {
    tell,
    stored(position) {
      followings?.stored(position)
      masterships.current?.stored(position)
    },
    appended: () => masterships.current?.appended(),
  })
  const agreement = new Agreement(world, replica, replication?.register ?? null, {
    tell,
    isMaster: () => now().matches('master'),
  })
  const masterships = new Masterships(
    process,
    disk,
    { brokerName, brokerId, flush, replication, delaysMs: delaysIn(options) },
    {
      tell,
      topicChanged: () => announcer.register(),
      describe,
      handOver: (successor, answer) => handover.request(successor, answer),
    },
  )
  const handover = new Handover(clock, brokerName, { tell, mastership: () => masterships.current })
  const followings = replication && new Followings(process, disk, { brokerName, brokerId, replication }, tell)
  let orphanReads: OrphanReads | null = null

  // ------------------------------------------------------------------------------------------- what it is told

  const machine = bind(brokerRoleMachine, {
    loadStore: lookAround,
    persistIncarnation: (start) =>
      disk.persistIncarnation(start, () => enter(() => tell({ type: 'incarnation.persisted', ...start }))),
    readHead: (own) => agreement.read({ ...own, lineage: disk.remembered.lineage }),
    persistEpoch: ({ epoch }) => disk.persistEpoch(epoch),
    awaitLease: ({ epoch }) => followings!.awaitLease(epoch),
    markEpoch: (term) => masterships.begin(term),
    openGate: ({ epoch }) => masterships.open(epoch),
    closeGate: ({ drain }) => masterships.end({ drain }),
    registerBroker: ({ epoch, role }) => announcer.announce(epoch, role),
    unregisterBroker: () => announcer.farewell(),
    followMaster: ({ epoch, masterId }) => followings!.follow(epoch, masterId),
    stopFollowing: () => followings!.stop(),
    truncateLog: ({ to }) => disk.truncate(to),
    emptyLog: ({ position }) => disk.empty(position),
    serveOrphans() {
      const { store, state } = disk
      if (store && replication) orphanReads = new OrphanReads(process, { brokerName, store, state, isMember })
    },
    leaveOrphans() {
      orphanReads?.close()
      orphanReads = null
    },
    swapState({ expected, state }) {
      masterships.current?.count(null, state.syncStateSet)
      agreement.swap(expected, state)
    },
    countMembers: ({ members }) => masterships.current?.count(members, null),
    holdSends: ({ brokerId: successor }) => masterships.current?.hold(successor),
    releaseSends: () => masterships.current?.release(),
    refuseHandover: ({ message }) => handover.refuse(message),
    closeStore({ clean }) {
      looking?.close()
      masterships.close()
      disk.closeStore(clean)
    },
    raiseAlarm(alarm) {
      log.error(`${address}: ${alarm.message}`, { code: alarm.code })
      if (alarm.code !== 'REGISTER_REGRESSED') hooks.halted(alarm)
    },
  })
  const role = host({
    ...{ address, machine, clock, directory },
    input: { brokerName, brokerId },
    failed: (cause) => end(() => hooks.failed(cause)),
  })

  // ---------------------------------------------------------------------------------------- what others hear of

  const presence =
    replication &&
    new Presence(process, replication, {
      beat: () => beatOf(now(), disk.store, process.id, replication),
      vote: () => voteOf(now(), disk.store, followings!.hearsMaster),
      duplicated(message) {
        // Signs of life of this one would be taken for the other's.
        presence!.close(() => {})
        tell({ type: 'replica.refused', code: 'DUPLICATE_REPLICA', message })
      },
    })
  const announcer = new Announcer(process, replica, announced)
  const { describe: question } = subjects.brokerProcess(brokerName, brokerId)
  let described: Subscription | null = null
  let looking: Looking | null = null
  let hasNamesake = false

  let isServing = false
  /** Null when all is let go of; until then whom to tell. */
  let stopped: (() => void)[] | null = []
  role.actor.subscribe({
    next(snapshot) {
      masterships.current?.setAccepting(snapshot.hasTag('accepts-writes'), snapshot.context.diskFull)
      presence?.update()
      if (
        !isServing &&
        (snapshot.matches('master') || snapshot.matches({ slave: { following: 'inSync' } }))
      ) {
        isServing = true
        hooks.serving()
      }
      handover.heed(snapshot)
      if (snapshot.status === 'done') end(null)
    },
    error() {},
  })
  role.start()

  return {
    address,
    stop(done) {
      if (stopped === null) return done()
      stopped.push(done)
      if (stopped.length > 1) return
      const go = () => tell({ type: 'stop.requested' })
      if (now().matches('master')) handover.beforeStop(go)
      else go()
    },
  }

  function tell(event: BrokerRoleEvent): void {
    role.actor.send(event)
  }

  /** The role as it is; within its own effects, as it was BEFORE them. */
  function now() {
    return role.actor.getSnapshot()
  }

  /**
   * BEFORE this one answers where it asks. A folder is made for nobody in vain; what is in one that is there may tell
   * better why this broker is not to run.
   */
  function lookAround(): void {
    looking = findNamesake(process, replica, (isTaken) => {
      hasNamesake = isTaken
      if (isTaken) return disk.hasData((hasData) => (hasData ? disk.load() : refuseNamesake()))
      described = serve(transport, question, nothing, (_, answer) => answer(accept(describe())))
      disk.load()
    })
  }

  function refuseNamesake(): void {
    tell({ type: 'replica.refused', code: 'inUse', message: duplicateOf(options) })
  }

  function isMember(): boolean {
    const { head, lineage } = now().context
    return head !== null && memberOf(head.syncStateSet, brokerId)?.lineage === lineage
  }

  function enter(entered: () => void): void {
    if (hasNamesake) return refuseNamesake()
    if (presence === null) return entered()
    followings!.beginLease()
    presence.enter(entered)
  }

  function announced(): Announced | null {
    const { store, state, remembered } = disk
    if (store === null) return null
    return {
      run: { brokerName, brokerId, storeId: store.storeId, incarnation: remembered.incarnation },
      dataVersion: state.dataVersion,
      topics: Object.fromEntries(state.topics),
      autoCreateTopic,
    }
  }

  function describe(): BrokerDescription {
    const { masterships: history } = agreement
    const mastership = masterships.current
    return describeBroker({
      ...{ role: now(), flush, startedAt, disk, mastership, orphanReads, replication },
      masterships: history,
    })
  }

  /** Lets go of everything. `failed`: a bug ended the role, so the store is open; it is closed as it lies. */
  function end(failed: (() => void) | null): void {
    looking?.close()
    described?.unsubscribe()
    agreement.close()
    announcer.close()
    orphanReads?.close()
    followings?.close()
    handover.close()
    masterships.close()
    const told = () => {
      failed?.()
      const waiting = stopped ?? []
      stopped = null
      for (const done of waiting) done()
    }
    const silent = () => {
      role.stop()
      if (failed) disk.close(told)
      else told()
    }
    if (presence) presence.close(silent)
    else silent()
  }
}

const duplicateOf = ({ brokerName, brokerId, cluster }: BrokerOptions): string =>
  `${brokerName}/${brokerId} is alive already in cluster '${cluster}': stop that one, or choose another cluster ` +
  "(--cluster) or, with 'statemq node', another name (--broker) or id (--id); a copied data directory is not another broker"

const delaysIn = ({ messageDelayLevel: levels }: BrokerOptions): number[] | undefined =>
  levels === undefined ? undefined : (delaysOf(levels) as number[])

function storeOptions(options: BrokerOptions) {
  const { folder, cluster, brokerName, brokerId, flush = 'async', segmentBytes, retention } = options
  return {
    folder,
    cluster,
    broker: `${brokerName}/${brokerId}`,
    flush,
    replicated: options.replication !== undefined,
    ...(segmentBytes === undefined ? {} : { segmentBytes }),
    ...(retention === undefined ? {} : { retention }),
  }
}
