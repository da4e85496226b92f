/**
 * Hosts a rebalancer machine: carries its orders to the group's coordinator, and through queue-claims.ts to the brokers.
 *
 * What is read, and how, is the consumer's: this file only says which queue it owns from which offset on.
 */
import { type Allocate, averagely } from '../../machines/allocation/index.ts'
import { coordinatorOf } from '../../machines/coordinator-of.ts'
import { bind } from '../../machines/effect.ts'
import { RETRY_PREFIX } from '../../machines/names.ts'
import { type QueueNews, rebalancerMachine } from '../../machines/rebalancer.ts'
import { type QueueRef, queueKey, queueOfKey } from '../../machines/topic.ts'
import { accept, ask, serve } from '../../transport/codec.ts'
import { type AssignmentPush, assignmentPush, type Member } from '../../transport/messages.ts'
import { host } from '../node/host.ts'
import type { Process } from '../node/process.ts'
import { watchCluster } from './cluster-watch.ts'
import type { Masters } from './commit.ts'
import { type Granted, queueClaims } from './queue-claims.ts'

const ASK_MS = 2_000

/** A queue that a consumer owns; `assignEpoch` rises whenever the queue changes hands. */
export type Assignment = QueueRef & { assignEpoch: number }

export type GroupMemberOptions = {
  group: string
  member: Omit<Member, 'instance'>
  /** A strategy of the user's own; what it throws is told of, and the share stays as it was. */
  allocate: Allocate | null
  masters: Masters
  /** These queues are ours: read them. */
  granted(grants: { queue: QueueRef; claim: Granted }[]): void
  /** Finish what was read, then call back with the offset where the next owner goes on, null for nothing new. */
  drain(queue: QueueRef, drained: (offset: number | null) => void): void
  /** It is given back, or nobody knows. */
  released(queue: QueueRef): void
  /** Another one owns it: forget what was read. */
  drop(queue: QueueRef): void
  assigned(owned: Assignment[]): void
  /** Every queue that is ours is held; again after each change. */
  settled(): void
  /** `isFinal`: another consumer lives under this id, and this one is no member. */
  refused(message: string, isFinal: boolean): void
  left(): void
  /** How long `close` may take to give everything back, milliseconds. */
  leaveMs: number
}

export type GroupMember = {
  queuesChanged(topic: string, queues: QueueRef[]): void
  /** A pull or a commit under this grant was refused. */
  fenced(queue: QueueRef, assignEpoch: number): void
  /** Whether these are still ours is not known: they are dropped in this very call, and asked for again. */
  doubted(queues: readonly Assignment[]): void
  close(): void
}

const fencedAt = (queue: QueueRef, assignEpoch: number): QueueNews => ({
  type: 'queue.fenced',
  queue: queueKey(queue),
  assignEpoch,
})

export function joinGroup(process: Process, options: GroupMemberOptions): GroupMember {
  const { world, subjects, directory } = process
  const { transport, clock, random, log } = world
  const { group, member } = options
  const { clientId } = member
  const cluster = watchCluster(process)
  const instance = random.id()
  const claims = queueClaims(
    process,
    { group, clientId, instance },
    options.masters,
    () => rebalancer.actor.getSnapshot().status === 'active',
  )
  /** Of each topic, for a strategy of the user's own. */
  const queues = new Map<string, QueueRef[]>()
  let share: string[] = []
  let told: AssignmentPush | null = null

  /** The subjects of the broker that coordinates the group now, or null when no broker is known. */
  function coordinator() {
    const brokerName = coordinatorOf(
      group,
      cluster.masters.map((master) => master.brokerName),
    )
    const master = cluster.masters.find((known) => known.brokerName === brokerName)
    return master ? subjects.broker(master.brokerName, master.epoch) : null
  }

  /** What was heard in this turn of the loop, of thousands of queues perhaps: told at once. */
  let news: QueueNews[] = []
  let grants: { queue: string; claim: Granted }[] = []
  const hear = (told: QueueNews): void => {
    if (news.push(told) === 1) clock.defer(tellNews)
  }
  function tellNews(): void {
    const [heard, granted] = [news, grants]
    news = []
    grants = []
    rebalancer.actor.send({ type: 'queues.heard', news: heard })
    const { held } = rebalancer.actor.getSnapshot().context
    const own = granted.filter(({ queue, claim: { assignEpoch } }) => {
      const holding = held[queue]
      return holding?.status === 'owned' && holding.assignEpoch === assignEpoch
    })
    if (own.length > 0) options.granted(own.map(({ queue, claim }) => ({ queue: queueOfKey(queue), claim })))
  }

  const carriedOut = bind(rebalancerMachine, {
    joinGroup: (joining) =>
      cluster.refresh(() => {
        // It may have left meanwhile: whoever joins after its farewell has a share that nobody reads.
        if (!rebalancer.actor.getSnapshot().matches({ joining: 'asking' })) return
        const to = coordinator()
        if (!to) {
          const message = 'no name server tells of a broker'
          return rebalancer.actor.send({ type: 'join.failed', code: 'noResponders', message })
        }
        ask(transport, to.join, joining, ASK_MS, (outcome) => {
          if (!outcome.ok) return rebalancer.actor.send({ type: 'join.failed', ...outcome.failure })
          const answer = outcome.value
          if (!('value' in answer)) {
            rebalancer.actor.send({
              type: 'join.refused',
              code: 'refused',
              isFinal: false,
              message: answer.message,
            })
          } else if (answer.value.accepted) rebalancer.actor.send({ type: 'join.accepted' })
          else {
            const { isFinal, message } = answer.value
            rebalancer.actor.send({ type: 'join.refused', code: 'NO_PERMISSION', isFinal, message })
          }
        })
      }),
    sendBeat: (beat) => {
      const to = coordinator()
      if (!to) return rebalancer.actor.send({ type: 'beat.failed' })
      ask(transport, to.beat, beat, ASK_MS, (outcome) => {
        if (!outcome.ok) rebalancer.actor.send({ type: 'beat.failed' })
        else if (outcome.value.code !== 0) rebalancer.actor.send({ type: 'beat.rejected' })
      })
    },
    announceLeaving: (who) => {
      const to = coordinator()
      if (to) ask(transport, to.leave, { ...who, phase: 'leaving' }, ASK_MS, () => {})
    },
    leaveGroup: ({ isAway, ...who }) => {
      const to = coordinator()
      const phase = isAway ? 'away' : 'left'
      if (to) ask(transport, to.leave, { ...who, phase }, ASK_MS, () => options.left())
      else options.left()
    },
    claimQueue: ({ queue, generation, force, waits }) =>
      claims.claim(queueOfKey(queue), generation, { force, waits }, (answer) => {
        if (answer === null) hear({ type: 'claim.failed', queue, generation })
        else if (!answer.granted) {
          const { owner, ownerGeneration } = answer
          hear({ type: 'claim.refused', queue, generation, owner, ownerGeneration })
        } else {
          grants.push({ queue, claim: answer })
          hear({ type: 'queue.claimed', queue, generation, assignEpoch: answer.assignEpoch })
        }
      }),
    drainQueue: ({ queue, ...claimed }) => {
      const ref = queueOfKey(queue)
      const giveBack = (offset: number | null) =>
        claims.release(ref, { ...claimed, offset }, () => {
          // The queue may be read under a later grant by now.
          if (claimed.assignEpoch !== 0 && isDraining(queue, claimed)) options.released(ref)
          hear({ type: 'queue.drained', queue, ...claimed })
        })
      if (claimed.assignEpoch === 0) giveBack(null)
      else options.drain(ref, giveBack)
    },
    dropQueue: ({ queue }) => options.drop(queueOfKey(queue)),
    announceAssignment: ({ owned }) =>
      options.assigned(owned.map(({ queue, assignEpoch }) => ({ ...queueOfKey(queue), assignEpoch }))),
    reportRefused: ({ message, isFinal }) => options.refused(message, isFinal),
  })

  const machine = carriedOut.provide({ delays: { leaveLimit: options.leaveMs } })

  function isDraining(queue: string, { assignEpoch }: { assignEpoch: number }): boolean {
    const holding = rebalancer.actor.getSnapshot().context.held[queue]
    return holding?.status === 'draining' && holding.assignEpoch === assignEpoch
  }

  const rebalancer = host({
    address: `rebalancer/${group}/${clientId}`,
    machine,
    input: { group, member: { ...member, instance } },
    clock,
    directory,
    failed: (cause) => log.error(`the rebalancer of '${group}' failed`, { cause }),
  })
  rebalancer.actor.subscribe({
    next(snapshot) {
      const isSettled =
        snapshot.matches({ member: { balance: 'balanced' } }) ||
        snapshot.matches({ member: { balance: 'idle' } })
      if (isSettled) options.settled()
    },
    complete() {
      claims.stop()
      pushes.unsubscribe()
      cluster.stop()
      rebalancer.stop()
    },
    error() {},
  })
  const pushes = serve(
    transport,
    subjects.assignmentChanged(group, clientId),
    assignmentPush,
    (push, answer) => {
      if (push.instance !== instance) return // It is for another one of our name.
      heed(push)
      answer(accept({}))
    },
  )
  rebalancer.start()

  function heed(push: AssignmentPush): void {
    told = push
    const { generation, members } = push
    share = push.queues ?? ownShare(push)
    rebalancer.actor.send({ type: 'members.changed', generation, members, share })
  }

  /**
   * By the user's own strategy, topic by topic; only those who subscribe a topic count for it. The retry topic is not
   * the user's: a strategy that leaves out what it does not know would leave what failed to nobody.
   */
  function ownShare({ members, topics = [] }: AssignmentPush): string[] {
    try {
      return Object.keys(member.subscriptions).flatMap((topic) => {
        const known = queues.get(topic) ?? []
        const clientIds = members.filter((_, index) => topics[index]?.includes(topic))
        const keys = new Set(known.map(queueKey))
        // What is no queue of the topic cannot be claimed, and nothing twice.
        const allocate = topic === RETRY_PREFIX + group ? averagely : (options.allocate ?? averagely)
        const own = allocate(clientId, known, clientIds).map(queueKey)
        return [...new Set(own)].filter((queue) => keys.has(queue))
      })
    } catch (error) {
      log.error(`the allocation strategy of '${group}' failed; its share stays as it was`, {
        error: String(error),
      })
      return share
    }
  }

  return {
    queuesChanged(topic, known) {
      queues.set(topic, known)
      if (told && options.allocate) heed(told)
    },
    fenced: (queue, assignEpoch) => hear(fencedAt(queue, assignEpoch)),
    doubted: (queues) => {
      const news = queues.map((queue) => fencedAt(queue, queue.assignEpoch))
      rebalancer.actor.send({ type: 'queues.heard', news })
    },
    close() {
      if (rebalancer.actor.getSnapshot().status === 'active')
        rebalancer.actor.send({ type: 'consumer.closed' })
      else options.left() // It was turned away.
    },
  }
}
