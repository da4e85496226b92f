/**
 * Hosts a rebalancer machine: carries its orders to the coordinator and to the brokers of the queues.
 *
 * What is read, and how, is the consumer's: this file only says which queue it owns from which offset on.
 */
import type { Allocation } from '../../machines/allocation/index.ts'
import { coordinatorOf } from '../../machines/coordinator-of.ts'
import { bind } from '../../machines/effect.ts'
import { rebalancerMachine } from '../../machines/rebalancer.ts'
import { type QueueRef, queueKey } from '../../machines/topic.ts'
import { ask, hear } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { type ClaimAnswer, membership } from '../../transport/messages.ts'
import { host } from '../node/host.ts'
import type { Process } from '../node/process.ts'
import { watchCluster } from './cluster-watch.ts'
import type { Masters } from './commit.ts'

const ASK_MS = 2_000
const RECLAIM_MS = 200
const RELEASE_TRIES = 5

export type Granted = Extract<ClaimAnswer, { granted: true }>

export type GroupMemberOptions = {
  group: string
  clientId: string
  topics: string[]
  allocation: Allocation
  masters: Masters
  /** The queue is ours: read it. */
  granted(queue: QueueRef, generation: number, claim: Granted): void
  /** Finish what was read and commit; then call back. Called for queues that were never granted, too. */
  drain(queue: QueueRef, drained: () => void): void
  /** Another one owns it: forget what was read. */
  drop(queue: QueueRef): void
  assigned(owned: QueueRef[]): void
  /** Every queue that is ours is held; again after each change. */
  settled(): void
  refused(message: string): void
  left(): void
}

export type GroupMember = {
  queuesChanged(topic: string, queues: QueueRef[]): void
  /**
   * Asks the queue's broker whether it is still ours; a new master, or one that was started anew, does not know.
   * `claim` is null when nobody answered.
   */
  reclaim(queue: QueueRef, generation: number, goOn: (claim: Granted | null) => void): void
  close(): void
}

export function joinGroup(process: Process, options: GroupMemberOptions): GroupMember {
  const { world, subjects, directory } = process
  const { transport, clock, random, log } = world
  const { group, clientId } = options
  const { epochOf, unreachable } = options.masters
  const cluster = watchCluster(process)
  const instance = random.id()
  const refs = new Map<string, QueueRef>()
  const refOf = (key: string): QueueRef => refs.get(key)!

  /** The subjects of the broker that coordinates the group now, or null when no broker is known. */
  function coordinator() {
    const brokerName = coordinatorOf(
      group,
      cluster.masters.map((master) => master.brokerName),
    )
    const master = cluster.masters.find((known) => known.brokerName === brokerName)
    return master ? subjects.broker(master.brokerName, master.epoch) : null
  }

  const machine = bind(rebalancerMachine, {
    joinGroup: (member) =>
      cluster.refresh(() => {
        const to = coordinator()
        if (!to) {
          const message = 'no name server tells of a broker'
          return rebalancer.actor.send({ type: 'join.failed', code: 'noResponders', message })
        }
        ask(transport, to.join, member, ASK_MS, (outcome) => {
          if (!outcome.ok) rebalancer.actor.send({ type: 'join.failed', ...outcome.failure })
          else if (outcome.value.code === 0 && 'value' in outcome.value) {
            const { generation, members } = outcome.value.value
            rebalancer.actor.send({ type: 'member.welcomed', generation, members })
          } else if ('message' in outcome.value) {
            rebalancer.actor.send({ type: 'join.refused', code: 'refused', message: outcome.value.message })
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
    leaveGroup: (member) => {
      const to = coordinator()
      if (to) ask(transport, to.leave, { ...member, generation: 0 }, ASK_MS, () => options.left())
      else options.left()
    },
    claimQueue: ({ queue, generation, force }) =>
      claim(refOf(queue), generation, force, (answer) => {
        if (answer === null) rebalancer.actor.send({ type: 'claim.failed', queue, generation })
        else if (!answer.granted) {
          const { owner, ownerGeneration } = answer
          rebalancer.actor.send({ type: 'claim.refused', queue, generation, owner, ownerGeneration })
        } else {
          rebalancer.actor.send({ type: 'queue.claimed', queue, generation })
          const holding = rebalancer.actor.getSnapshot().context.held[queue]
          if (holding?.status === 'owned' && holding.generation === generation) {
            options.granted(refOf(queue), generation, answer)
          }
        }
      }),
    drainQueue: ({ queue, generation }) => {
      const drained = () => rebalancer.actor.send({ type: 'queue.drained', queue })
      options.drain(refOf(queue), () => release(refOf(queue), generation, RELEASE_TRIES, drained))
    },
    dropQueue: ({ queue }) => options.drop(refOf(queue)),
    announceAssignment: ({ owned }) => options.assigned(owned.map(refOf)),
    reportRefused: ({ message }) => options.refused(message),
  })

  /** Timers of releases that are asked again. */
  const releases = new Set<unknown>()

  /** Asks again while nobody knows whether it was heard: the next owner waits for it. */
  function release(ref: QueueRef, generation: number, tries: number, released: () => void): void {
    const { topic, brokerName, queueId } = ref
    const to = subjects.broker(brokerName, epochOf(brokerName))
    ask(transport, to.release, { group, topic, queueId, clientId, generation }, ASK_MS, (outcome) => {
      const isUnknown =
        !outcome.ok && outcome.failure.code !== 'noResponders' && outcome.failure.code !== 'closed'
      const hasLeft = rebalancer.actor.getSnapshot().status !== 'active'
      if (!isUnknown || tries === 1 || hasLeft) return released()
      const again = clock.setTimeout(() => {
        releases.delete(again)
        release(ref, generation, tries - 1, released)
      }, RECLAIM_MS)
      releases.add(again)
    })
  }

  function claim(
    { topic, brokerName, queueId }: QueueRef,
    generation: number,
    force: boolean,
    answered: (answer: ClaimAnswer | null) => void,
  ): void {
    const epoch = epochOf(brokerName)
    if (epoch === 0) return void clock.defer(() => answered(null))
    const to = subjects.broker(brokerName, epoch)
    ask(transport, to.claim, { group, topic, queueId, clientId, generation, force }, ASK_MS, (outcome) => {
      if (!outcome.ok && outcome.failure.code === 'noResponders') unreachable(brokerName, epoch)
      const granted = outcome.ok && outcome.value.code === codes.SUCCESS && 'value' in outcome.value
      answered(granted ? outcome.value.value : null)
    })
  }

  const rebalancer = host({
    address: `rebalancer/${group}/${clientId}`,
    machine,
    input: { group, clientId, instance, topics: options.topics, allocation: options.allocation },
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
      for (const again of releases) clock.clearTimeout(again)
      pushes.unsubscribe()
      cluster.stop()
      rebalancer.stop()
    },
    error() {},
  })
  const pushes = hear(transport, subjects.membersChanged(group), membership, ({ generation, members }) =>
    rebalancer.actor.send({ type: 'members.changed', generation, members }),
  )
  rebalancer.start()

  return {
    queuesChanged(topic, queues) {
      for (const queue of queues) refs.set(queueKey(queue), queue)
      rebalancer.actor.send({ type: 'queues.changed', topic, queues })
    },
    reclaim(ref, generation, goOn) {
      claim(ref, generation, false, (answer) => {
        // Nobody knows: asked again by the next pull, which is refused again if it is not ours.
        if (answer === null) clock.setTimeout(() => goOn(null), RECLAIM_MS)
        else if (answer.granted) goOn(answer)
        else rebalancer.actor.send({ type: 'queue.fenced', queue: queueKey(ref), generation })
      })
    },
    close: () => rebalancer.actor.send({ type: 'consumer.closed' }),
  }
}
