/**
 * Runs a controller: hosts one elector for each broker group whose replicas it hears.
 *
 * Any number of controllers may run; the register decides between them. Each waits a little longer than another before
 * it doubts a master, so that they seldom try at once.
 */
import { controllerMachine, type Sign } from '../../machines/controller.ts'
import { bind } from '../../machines/effect.ts'
import type { Head, Vote } from '../../machines/group-state.ts'
import { type Answer, accept, ask, hear, refuse, serve } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import * as m from '../../transport/messages.ts'
import type { Register } from '../../transport/register.ts'
import type { Subscription, Transport } from '../../transport/transport.ts'
import type { Failover } from '../node/failover.ts'
import { GroupRegister } from '../node/group-register.ts'
import { type Hosted, host } from '../node/host.ts'
import { probe } from '../node/probe.ts'
import type { Process } from '../node/process.ts'

export type ControllerOptions = {
  /** Signs of life, probes and votes: a connection that no message of a client can block. */
  control: Transport
  register: Register
  failover: Failover
}

export type RunningController = {
  readonly address: string
  stop(stopped: () => void): void
}

type Elector = {
  hosted: Hosted<typeof controllerMachine>
  group: GroupRegister
  watch: Subscription
  alarm: string | null
  /** The newest epoch of a replica that the register was held against. */
  comparedEpoch: number
}

export function startController(
  process: Process,
  { control, register, failover }: ControllerOptions,
  hooks: { failed(cause: unknown): void },
): RunningController {
  const { world, subjects, directory } = process
  const { clock, random, log } = world
  const electors = new Map<string, Elector>()
  const lateMs = failover.lateMs + random.below(failover.lateMs / 2)
  let isStopped = false

  const subscriptions = [
    hear(control, subjects.replicas('*').beat, m.replicaBeat, (beat) => {
      const { replicas, minInSync, replication } = beat
      if (replicas === 1) return
      const elector = electors.get(beat.brokerName) ?? start(beat.brokerName)
      const settings = { replicas, minInSync, replication }
      elector.hosted.actor.send({ type: 'beat.heard', settings, ...signOf(beat) })
      compare(elector, beat)
    }),
    serve(control, subjects.controller.electUnclean, m.onReplica, orderUnclean, subjects.controllerQueue),
  ]

  return {
    address: `controller/${process.id}`,
    stop(stopped) {
      stop()
      stopped()
    },
  }

  function stop(): void {
    isStopped = true
    for (const subscription of subscriptions) subscription.unsubscribe()
    for (const { hosted, watch } of electors.values()) {
      watch.unsubscribe()
      hosted.stop()
    }
    electors.clear()
  }

  function start(brokerName: string): Elector {
    const group = new GroupRegister(register, brokerName, world)
    // What comes late, for an elector that is stopped by then, is not heard.
    const send: typeof hosted.actor.send = (event) => {
      if (!isStopped) hosted.actor.send(event)
    }
    const machine = bind(controllerMachine, {
      readHead: () =>
        group.read((outcome) => {
          if (!outcome.ok) return
          send(outcome.value ? { type: 'head.changed', head: outcome.value } : { type: 'register.empty' })
        }),
      probeMaster: ({ brokerId }) =>
        probe(control, subjects, brokerName, brokerId, failover.probeMs, (sign) => {
          if (sign === 'unreachable') send({ type: 'probe.unreachable', brokerId })
          else if (sign === 'silent') send({ type: 'probe.silent', brokerId })
          else send({ type: 'probe.answered', ...signOf(sign) })
        }),
      collectVotes: ({ replicas }) =>
        collectVotes(brokerName, replicas, (votes) => send({ type: 'votes.collected', votes })),
      swapState: ({ expected, state }) =>
        group.swap(expected, state, (swapped) => {
          if (swapped.type === 'swap.succeeded' && state.epoch > 0) {
            const { epoch, masterId, cause } = state
            log.info(`${brokerName}: replica ${masterId} is elected for epoch ${epoch} (${cause})`)
          }
          send(swapped)
        }),
      raiseAlarm: ({ code, message }) => {
        const elector = electors.get(brokerName)
        if (!elector || elector.alarm === message) return
        elector.alarm = message
        log.warn(message, { code })
      },
    })
    const hosted = host({
      address: `controller/${process.id}/${brokerName}`,
      machine: machine.provide({ delays: { masterLate: lateMs } }),
      input: { controllerId: `${process.id}-${random.id().slice(0, 6)}`, brokerName },
      clock,
      directory,
      failed: (cause) => {
        stop()
        hooks.failed(cause)
      },
    })
    hosted.actor.subscribe({
      next(snapshot) {
        const elector = electors.get(brokerName)
        if (elector && snapshot.matches('tracking')) elector.alarm = null
      },
      error() {},
    })
    const watch = group.watch(
      (head) => send({ type: 'head.changed', head }),
      (head) => regressed(brokerName, head),
    )
    const elector = { hosted, group, watch, alarm: null, comparedEpoch: 0 }
    electors.set(brokerName, elector)
    hosted.start()
    return elector
  }

  function regressed(brokerName: string, head: Head | null): void {
    const elector = electors.get(brokerName)
    const known = elector?.hosted.actor.getSnapshot().context.head
    if (!elector || !known) return
    // A swap was refused before that, and what is known by now comes after it.
    if (head && head.revision >= known.revision && head.epoch >= known.epoch) return
    elector.comparedEpoch = Math.max(elector.comparedEpoch, known.epoch)
    tellRegressed(`the state of ${brokerName} was ${placeOf(known)}`, head ? placeOf(head) : 'nothing')
    elector.hosted.actor.send({ type: 'register.regressed' })
  }

  function tellRegressed(was: string, is: string): void {
    const message =
      `${was}, and the register holds ${is}: it was put back to an older value. The next election goes beyond both; see ` +
      'that nobody puts it back again'
    log.error(message, { code: 'REGISTER_REGRESSED' })
  }

  /** A replica promises an epoch AFTER the register held it: one that holds an older epoch was put back. */
  function compare(elector: Elector, { brokerName, brokerId, epoch }: m.ReplicaBeat): void {
    const { head } = elector.hosted.actor.getSnapshot().context
    if (head === null || epoch <= Math.max(head.epoch, elector.comparedEpoch)) return
    const before = elector.comparedEpoch
    elector.comparedEpoch = epoch
    elector.group.read((outcome) => {
      if (!outcome.ok) elector.comparedEpoch = before
      if (!outcome.ok || outcome.value === null || outcome.value.epoch >= epoch) return
      tellRegressed(`${brokerName}/${brokerId} is at epoch ${epoch}`, placeOf(outcome.value))
    })
  }

  /** ONE controller carries it out, and answers. */
  function orderUnclean(
    order: { brokerName: string; brokerId: number },
    answer: (answered: Answer<Record<string, never>>) => void,
  ): void {
    const { brokerName, brokerId } = order
    const elector = electors.get(brokerName)
    if (!elector) return answer(refuse(codes.QUERY_NOT_FOUND, `no replica of ${brokerName} is alive`))
    const { actor } = elector.hosted
    // It looks for votes once more: in a moment it is stalled again, or has a candidate.
    if (elector.alarm !== null && actor.getSnapshot().matches('balloting')) {
      const again = () => isStopped || orderUnclean(order, answer)
      return void clock.setTimeout(again, failover.voteMs)
    }
    if (!actor.getSnapshot().matches('stalled')) {
      const message = `${brokerName} has a master, or a replica that may become master without loss`
      return answer(refuse(codes.NO_PERMISSION, message))
    }
    actor.send({ type: 'unclean.ordered', brokerId })
    const watching = actor.subscribe((snapshot) => {
      if (snapshot.matches('ordered')) return
      watching.unsubscribe()
      if (!snapshot.matches('stalled')) return answer(accept({}))
      const message = `${brokerName}/${brokerId} does not answer: start it, and order it again`
      answer(refuse(codes.CONTROLLER_ELECT_MASTER_FAILED, message))
    })
  }

  function collectVotes(brokerName: string, replicas: number, collected: (votes: Vote[]) => void): void {
    const votes: Vote[] = []
    let left = replicas
    if (left === 0) clock.defer(() => collected(votes))
    for (let brokerId = 0; brokerId < replicas; brokerId++) {
      const { vote } = subjects.brokerProcess(brokerName, brokerId)
      ask(control, vote, {}, failover.voteMs, (outcome) => {
        if (outcome.ok && outcome.value.code === 0 && 'value' in outcome.value) {
          const parsed = m.vote.safeParse(outcome.value.value)
          if (parsed.success && parsed.data.brokerId === brokerId) votes.push(parsed.data)
        }
        if (--left === 0) collected(votes)
      })
    }
  }
}

const placeOf = ({ epoch, revision }: Head): string => `epoch ${epoch} at revision ${revision}`

const signOf = ({ brokerId, incarnation, lineage, epoch, role }: m.ReplicaBeat): Sign => ({
  brokerId,
  incarnation,
  lineage,
  epoch,
  role,
})
