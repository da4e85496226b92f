/**
 * Runs one broker: hosts its role, and carries out what the role orders on disk and on the wire.
 *
 * The role decides; here every effect is one handler and every answer one event. Messages do not pass through the
 * role: it opens and closes the gate through which they do, and says which replicas count.
 */

import { brokerRoleMachine } from '../../machines/broker-role.ts'
import { bind } from '../../machines/effect.ts'
import type { Head, Member } from '../../machines/group-state.ts'
import { delaysOf } from '../../machines/retry-policy.ts'
import { type Answer, accept, refuse, serve } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import type { Failure } from '../../transport/failures.ts'
import { type BrokerDescription, nothing, type ReplicaBeat } from '../../transport/messages.ts'
import type { Subscription } from '../../transport/transport.ts'
import { GroupRegister } from '../node/group-register.ts'
import { host } from '../node/host.ts'
import type { Process } from '../node/process.ts'
import { Announcer } from './announcer.ts'
import { describeBroker } from './description.ts'
import { DurableFile } from './durable.ts'
import { LogKeeper } from './log-keeper.ts'
import { Mastership } from './mastership.ts'
import { OrphanReads } from './orphan-reads.ts'
import { Presence } from './presence.ts'
import { leaseFrom, sessions } from './replication/context.ts'
import { Following } from './replication/following.ts'
import type { ReplicationOptions } from './replication/options.ts'
import type { RetentionOptions } from './store/retention.ts'
import type { Store } from './store/store.ts'

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

/** How long a stopping master waits for another to take over. */
const HANDOVER_MS = 2_000

export function startBroker(process: Process, options: BrokerOptions, hooks: BrokerHooks): RunningBroker {
  const { brokerName, brokerId, folder, flush = 'async', autoCreateTopic = true, replication } = options
  const { world, subjects, directory } = process
  const { clock, log, transport } = world
  const address = `broker/${brokerName}/${brokerId}`
  const { messageDelayLevel } = options
  const delaysMs = messageDelayLevel === undefined ? undefined : (delaysOf(messageDelayLevel) as number[])
  const startedAt = clock.now()
  const durable = new DurableFile(world, folder)
  const nextSession = sessions(world.random)
  const group = replication ? new GroupRegister(replication.register, brokerName, world) : null
  const keeper = new LogKeeper(world, storeOptions(options), {
    stored: (position) => stored(position),
    appended: () => mastership?.appended(),
    space: (space) => role.actor.send({ type: space === 'full' ? 'disk.filled' : 'disk.freed' }),
    broken: (failure) => role.actor.send({ type: 'log.failed', ...alarmOf(failure) }),
  })
  let mastership: Mastership | null = null
  let following: Following | null = null
  let orphanReads: OrphanReads | null = null
  /** Until when a deposed master may believe that this replica follows it. */
  let leaseEndsAt = 0
  let leaseTimer: unknown = null
  let handover: { successor: number; answer: (answered: Answer<{ epoch: number }>) => void } | null = null
  let stopped: (() => void) | null = null
  let isEntering = false
  /** The store is opened anew for a marker; `instead`: what to do when that mastership is over by then. */
  let reopening: { instead: (() => void) | null } | null = null

  const machine = bind(brokerRoleMachine, {
    loadStore: () =>
      durable.read((read) => {
        if (!read.ok) return role.actor.send({ type: 'store.failed', ...alarmOf(read.failure) })
        if (read.value.replicated && !replication)
          return role.actor.send({ type: 'store.failed', ...notAlone(brokerName, folder) })
        keeper.open((outcome) => {
          if (!outcome.ok) return role.actor.send({ type: 'store.failed', ...alarmOf(outcome.failure) })
          const store = outcome.value
          const { incarnation, promisedEpoch, lineage } = durable.value
          const epoch = Math.max(promisedEpoch, store.lastEpoch)
          const { mayHaveLost } = store
          role.actor.send({ type: 'store.loaded', epoch, incarnation, lineage, mayHaveLost })
          if (!store.accepting) role.actor.send({ type: 'disk.filled' })
        })
      }),
    persistIncarnation: ({ incarnation, lineage }) =>
      durable.save({ incarnation, lineage, ...(replication && { replicated: true }) }, (outcome) => {
        if (!outcome.ok) return role.actor.send({ type: 'incarnation.failed', ...alarmOf(outcome.failure) })
        keeper.store?.forgetLoss()
        if (presence === null || isEntering)
          return role.actor.send({ type: 'incarnation.persisted', incarnation, lineage })
        isEntering = true
        leaseEndsAt = leaseFrom(clock.monotonic(), replication!.failover.leaseMs)
        presence.enter(() => role.actor.send({ type: 'incarnation.persisted', incarnation, lineage }))
      }),
    readHead: ({ epoch, incarnation }) => {
      if (group === null)
        return role.actor.send({ type: 'head.changed', head: ownHead(epoch + 1, incarnation) })
      watch ??= group.watch(heardHead, (head) => head && heardHead(head))
      group.read((outcome) => {
        if (outcome.ok && outcome.value) heardHead(outcome.value)
      })
    },
    persistEpoch: ({ epoch }) =>
      durable.save({ promisedEpoch: epoch }, (outcome) => {
        if (!outcome.ok) warnOfRoom(outcome.failure)
        role.actor.send(
          outcome.ok
            ? { type: 'epoch.persisted', epoch }
            : { type: 'epoch.failed', ...alarmOf(outcome.failure) },
        )
      }),
    awaitLease: ({ epoch }) => {
      const left = Math.max(0, leaseEndsAt - clock.monotonic())
      clock.clearTimeout(leaseTimer)
      leaseTimer = clock.setTimeout(() => role.actor.send({ type: 'lease.expired', epoch }), left)
    },
    markEpoch: ({ epoch, ...agreed }) => {
      const store = keeper.store!
      if (!store.endsInState) return begin(store, epoch, agreed)
      const turn: { instead: (() => void) | null } = { instead: null }
      reopening = turn
      keeper.reopen((outcome) => {
        reopening = null
        if (!outcome.ok)
          role.actor.send({ type: turn.instead ? 'log.failed' : 'epoch.failed', ...alarmOf(outcome.failure) })
        else if (turn.instead) turn.instead()
        else begin(outcome.value, epoch, agreed)
      })
    },
    openGate: ({ epoch }) => mastership!.open(() => role.actor.send({ type: 'gate.opened', epoch })),
    closeGate: ({ drain }) => {
      const closing = mastership
      const close = () => {
        if (mastership === closing) dropMastership()
        role.actor.send({ type: 'gate.drained' })
      }
      if (reopening) reopening.instead = close
      else if (drain && closing) closing.drain(close)
      else close()
    },
    registerBroker: ({ epoch, role: as }) => announcer.announce(epoch, as),
    unregisterBroker: () => announcer.farewell(),
    followMaster: ({ epoch, masterId }) => follow(epoch, masterId),
    stopFollowing: () => {
      if (following) leaseEndsAt = following.leaseEndsAt
      following?.close()
      following = null
    },
    truncateLog: ({ to }) =>
      keeper.cut(to, (outcome) => {
        if (!outcome.ok) warnOfRoom(outcome.failure)
        if (!outcome.ok) return role.actor.send({ type: 'log.failed', ...alarmOf(outcome.failure) })
        const { lastCut } = keeper
        if (lastCut) {
          log.warn(
            `${address}: ${lastCut.bytes} bytes with ${lastCut.messages} messages were cut from the end of the log: no later ` +
              'master has them',
          )
        }
        role.actor.send({ type: 'log.truncated' })
      }),
    emptyLog: ({ position }) =>
      keeper.empty(position, (outcome) => {
        if (!outcome.ok) return role.actor.send({ type: 'log.failed', ...alarmOf(outcome.failure) })
        role.actor.send({ type: 'log.emptied' })
      }),
    serveOrphans: () => {
      const { store, state } = keeper
      if (store && replication) orphanReads = new OrphanReads(process, brokerName, store.epoch, store, state)
    },
    leaveOrphans: () => {
      orphanReads?.close()
      orphanReads = null
    },
    swapState: ({ expected, state }) => {
      mastership?.count(null, state.syncStateSet)
      const swap = () => group!.swap(expected, state, (swapped) => role.actor.send(swapped))
      if (state.cause !== 'shrink') return swap()
      // Whoever hears nobody takes everybody for gone: it would be the only one that may be elected, and never learn of it.
      group!.read((heard) =>
        !role.actor.getSnapshot().matches('master')
          ? undefined
          : heard.ok
            ? swap()
            : role.actor.send({ type: 'swap.unknown', writeId: state.writeId }),
      )
    },
    countMembers: ({ members }) => mastership?.count(members, null),
    holdSends: ({ brokerId: successor }) => mastership?.hold(successor),
    releaseSends: () => mastership?.release(),
    refuseHandover: ({ message }) => answerHandover(refuse(codes.NO_PERMISSION, message)),
    closeStore: ({ clean }) => {
      if (reopening) reopening.instead = () => {}
      dropMastership()
      keeper.close((outcome) => {
        if (!outcome.ok && clean) role.actor.send({ type: 'store.failed', ...alarmOf(outcome.failure) })
        else role.actor.send({ type: 'store.closed' })
      })
    },
    raiseAlarm: (alarm) => {
      log.error(`${address}: ${alarm.message}`, { code: alarm.code })
      if (alarm.code !== 'REGISTER_REGRESSED') hooks.halted(alarm)
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
  const presence = replication
    ? new Presence(process, replication, {
        beat,
        vote,
        duplicated: (message) => {
          // Signs of life of this one would be taken for the other's.
          presence!.close(() => {})
          role.actor.send({ type: 'replica.refused', code: 'DUPLICATE_REPLICA', message })
        },
      })
    : null
  const announcer = new Announcer(process, { brokerName, brokerId, address }, () => {
    const { store, state } = keeper
    if (store === null) return null
    const { incarnation } = durable.value
    return {
      run: { brokerName, brokerId, storeId: store.storeId, incarnation },
      dataVersion: state.dataVersion,
      topics: Object.fromEntries(state.topics),
      autoCreateTopic,
    }
  })
  let watch: Subscription | null = null
  const described = serve(
    transport,
    subjects.brokerProcess(brokerName, brokerId).describe,
    nothing,
    (_, answer) => answer(accept(describe())),
  )

  let isServing = false
  role.actor.subscribe({
    next(snapshot) {
      const { head, epoch, diskFull } = snapshot.context
      mastership?.setAccepting(snapshot.hasTag('accepts-writes'), diskFull)
      presence?.update()
      const isMaster = snapshot.matches('master')
      if (!isServing && (isMaster || snapshot.matches({ slave: { following: 'inSync' } }))) {
        isServing = true
        hooks.serving()
      }
      if (handover && !isMaster) {
        const isDone = head !== null && head.epoch > epoch && head.masterId === handover.successor
        answerHandover(
          isDone
            ? accept({ epoch: head.epoch })
            : refuse(codes.NOT_MASTER, 'this replica is no longer master: ask the new one'),
        )
      }
      if (snapshot.status === 'done') finish()
    },
    error() {},
  })
  role.start()

  return {
    address,
    stop(done) {
      stopped = done
      const { status } = role.actor.getSnapshot()
      if (status !== 'active') return finish()
      handOverFirst(() => role.actor.send({ type: 'stop.requested' }))
    },
  }

  /** A master that stops lets another replica go on at once, where there is one that has everything. */
  function handOverFirst(then: () => void): void {
    const successor = role.actor.getSnapshot().matches('master') ? (mastership?.heir ?? null) : null
    if (successor === null) return then()
    let isOver = false
    const go = () => {
      if (isOver) return
      isOver = true
      watching.unsubscribe()
      clock.clearTimeout(timer)
      then()
    }
    const watching = role.actor.subscribe((next) => {
      if (!next.matches({ master: { membership: 'handingOver' } })) go()
    })
    const timer = clock.setTimeout(go, HANDOVER_MS)
    handOver(successor, ({ code }) => {
      if (code !== codes.SUCCESS) go()
    })
  }

  function heardHead(head: Head): void {
    role.actor.send({ type: 'head.changed', head })
  }

  /** One replica: nobody else can be master of this broker's log. */
  function ownHead(epoch: number, incarnation: number): Head {
    const { lineage } = role.actor.getSnapshot().context
    return {
      revision: epoch,
      writeId: '',
      epoch,
      masterId: brokerId,
      masterIncarnation: incarnation,
      syncStateSet: [{ brokerId, lineage }],
      replicas: 1,
      minInSync: 1,
      replication: 'sync',
      cause: 'boot',
      unclean: false,
    }
  }

  function follow(epoch: number, masterId: number): void {
    const store = keeper.store!
    const { incarnation, lineage } = durable.value
    const { failover, stream } = replication!
    following = new Following(
      {
        transport: stream,
        clock,
        log,
        subjects,
        brokerName,
        brokerId,
        masterId,
        storeId: store.storeId,
        processId: process.id,
        epoch,
        incarnation,
        lineage,
        store,
        nextSession,
        leaseEndsAt,
        settings: failover,
      },
      {
        started: () => role.actor.send({ type: 'stream.started', epoch }),
        caughtUp: () => role.actor.send({ type: 'stream.caughtUp', epoch }),
        behind: () => role.actor.send({ type: 'stream.behind', epoch }),
        silent: () => role.actor.send({ type: 'master.silent', epoch }),
        heard: () => role.actor.send({ type: 'master.heard', epoch }),
        diverged: (to, confirm) => role.actor.send({ type: 'log.diverged', epoch, to, confirm }),
        gone: (minPosition) => role.actor.send({ type: 'log.gone', epoch, minPosition }),
        refused: (code, message) => role.actor.send({ type: 'replica.refused', code, message }),
        confirmed: (position) => {
          store.confirmLimit = position
        },
        broken: (failure) => role.actor.send({ type: 'log.failed', ...alarmOf(failure) }),
      },
    )
  }

  /** It is tried again and again: that is told once. */
  function warnOfRoom({ code, message }: Failure): void {
    if (code !== 'diskFull' || role.actor.getSnapshot().context.alarm?.code === code) return
    log.warn(`${address}: ${message}: tried again until there is room`)
  }

  function stored(position: number): void {
    following?.stored(position)
    mastership?.stored(position)
  }

  function begin(store: Store, epoch: number, agreed: Agreed): void {
    const { members, minInSync, replication: mode } = agreed
    mastership = new Mastership(
      process,
      {
        brokerName,
        brokerId,
        epoch,
        store,
        state: keeper.state,
        flush,
        members,
        minInSync,
        mode,
        replication: replication ?? null,
        delaysMs,
      },
      {
        marked: () => role.actor.send({ type: 'epoch.marked', epoch }),
        topicChanged: () => announcer.register(),
        describe,
        handOver,
        followerCaughtUp: (id, lineage) =>
          role.actor.send({ type: 'follower.caughtUp', epoch, brokerId: id, lineage }),
        followerLagging: (id) => role.actor.send({ type: 'follower.lagging', epoch, brokerId: id }),
        drained: (id) => role.actor.send({ type: 'log.drained', epoch, brokerId: id }),
      },
    )
  }

  function dropMastership(): void {
    mastership?.close()
    mastership = null
  }

  function handOver(successor: number, answer: (answered: Answer<{ epoch: number }>) => void): void {
    if (handover !== null) return answer(refuse(codes.NO_PERMISSION, 'a handover is under way already'))
    const incarnation = mastership?.incarnationOf(successor) ?? null
    if (incarnation === null) {
      const message = `${brokerName}/${successor} does not follow this master, or has not caught up`
      return answer(refuse(codes.CONTROLLER_INVALID_REPLICAS, message))
    }
    handover = { successor, answer }
    role.actor.send({ type: 'handover.requested', brokerId: successor, incarnation })
  }

  function answerHandover(answered: Answer<{ epoch: number }>): void {
    const asked = handover
    handover = null
    asked?.answer(answered)
  }

  function beat(): ReplicaBeat {
    const { store } = keeper
    const { context } = role.actor.getSnapshot()
    const { replicas = 1, minInSync = 1, replication: mode = 'sync' as const } = replication ?? {}
    return {
      brokerName,
      brokerId,
      processId: process.id,
      storeId: store?.storeId ?? '-',
      incarnation: context.incarnation,
      lineage: context.lineage,
      epoch: context.epoch,
      role: roleName(),
      lastEpoch: store?.lineage.starts.at(-1)?.epoch ?? 0,
      endPosition: store?.endPosition ?? 0,
      confirmPosition: store?.confirmPosition ?? 0,
      replicas,
      minInSync,
      replication: mode,
    }
  }

  function roleName(): ReplicaBeat['role'] {
    const { value } = role.actor.getSnapshot()
    const state = typeof value === 'string' ? value : Object.keys(value)[0]!
    if (state === 'awaitingHead' || state === 'routing') return 'waiting'
    return state === 'stopped' ? 'stopping' : (state as ReplicaBeat['role'])
  }

  function vote() {
    const { store } = keeper
    const { context } = role.actor.getSnapshot()
    const as = roleName()
    if (store === null || as === 'starting' || as === 'halted' || as === 'stopping') return null
    const { incarnation, lineage, epoch: promisedEpoch } = context
    return {
      brokerId,
      incarnation,
      lineage,
      promisedEpoch,
      lastEpoch: store.lineage.starts.at(-1)?.epoch ?? 0,
      // What was received and not stored would be lost by a crash before the promotion.
      endPosition: store.storedPosition,
      hearsMaster: following?.hearsMaster(replication!.failover.hearMs) ?? false,
    }
  }

  function describe(): BrokerDescription {
    const { store, state, lastCut } = keeper
    return describeBroker({
      brokerName,
      brokerId,
      role: roleName(),
      context: role.actor.getSnapshot().context,
      flush,
      startedAt,
      store,
      state,
      gate: mastership?.gate ?? null,
      orphanReads,
      replication: replication ?? null,
      followers: mastership?.followers?.describe() ?? [],
      masterships: [...(group?.masterships ?? [])],
      lastCut,
    })
  }

  function letGo(closed: () => void): void {
    for (const subscription of [described, watch]) subscription?.unsubscribe()
    watch = null
    clock.clearTimeout(leaseTimer)
    announcer.close()
    orphanReads?.close()
    following?.close()
    following = null
    dropMastership()
    if (presence) presence.close(closed)
    else closed()
  }

  function finish(): void {
    letGo(() => {
      role.stop()
      const done = stopped
      stopped = null
      done?.()
    })
  }

  /** The role died of a bug: lets go of everything, as it lies, so that the next start can take it. */
  function abandon(abandoned: () => void): void {
    letGo(() => {
      role.stop()
      keeper.close(abandoned)
    })
  }
}

/** What the group has agreed on for one epoch. */
type Agreed = Pick<Head, 'minInSync' | 'replication'> & { members: Member[] }

/** It would begin epochs by itself that the others know as another's: two logs with one epoch would pass for equal. */
const notAlone = (brokerName: string, folder: string) => ({
  code: 'inUse',
  message:
    `${folder} is one of several replicas of ${brokerName}, and replication 'none' would make it a master beside theirs: ` +
    "give replication 'sync' or 'async', as before. To go on with this copy alone, stop the others for good and set " +
    `"replicated" to false in ${folder}/broker.json`,
})

const alarmOf = ({ code, message }: Failure) => ({ code, message })

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
