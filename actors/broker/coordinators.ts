/**
 * Hosts a group-coordinator machine for each consumer group whose members joined at this broker.
 *
 * A coordinator stays when its group is empty, for its generation must not go back. Membership is not kept on disk:
 * after a restart the members' next beat is rejected, and they join again and tell what they hold.
 *
 * A share is told by a request, for the network knows at once when NOBODY listens any more: a member whose process has
 * ended counts as silent within a round trip, and what it was just given goes to the others. One that listens and does
 * not answer may only be busy, and is given its time.
 */
import { bind } from '../../machines/effect.ts'
import { COORDINATORS, countOf } from '../../machines/generation.ts'
import {
  type Assignment,
  allocationOf,
  disagreementsOf,
  groupCoordinatorMachine,
  type RebalanceNote,
} from '../../machines/group-coordinator.ts'
import { RETRY_PREFIX } from '../../machines/names.ts'
import { compareText, queueKey, readQueuesOf, type TopicRoute } from '../../machines/topic.ts'
import { type Answer, accept, ask, refuse } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import type {
  AssignmentPush,
  JoinAnswer,
  JoinRequest,
  MemberBeat,
  MemberLeave,
  OwnerDoubt,
  OwnerDoubtAnswer,
} from '../../transport/messages.ts'
import { type Hosted, host } from '../node/host.ts'
import type { Process } from '../node/process.ts'
import { type RouteWatch, watchRoute } from '../producer/route.ts'
import type { Coordinated } from './groups.ts'

const REBALANCES_KEPT = 20
const ASK_MS = 1_000

type Nothing = Record<string, never>
type Tell<T> = (answer: Answer<T>) => void
type Watched = { watch: RouteWatch; route: TopicRoute | null }
type Coordinator = {
  hosted: Hosted<typeof groupCoordinatorMachine>
  /** Newest first. */
  rebalances: (RebalanceNote & { at: number })[]
  topics: Map<string, Watched>
}

export class Coordinators {
  readonly #process: Process
  readonly #address: string
  readonly #coordinators = new Map<string, Coordinator>()
  // The machine answers within the event that asked: AT MOST ONE of each kind is open at a time.
  #joining: Tell<JoinAnswer> | null = null
  #doubting: Tell<OwnerDoubtAnswer> | null = null
  #rejected = false

  constructor(process: Process, address: string) {
    this.#process = process
    this.#address = address
  }

  /** Those that have members. */
  get groups(): string[] {
    const hasMembers = ({ hosted }: Coordinator) =>
      Object.keys(hosted.actor.getSnapshot().context.members).length > 0
    return [...this.#coordinators].filter(([, known]) => hasMembers(known)).map(([group]) => group)
  }

  describe(group: string): Coordinated {
    const known = this.#coordinators.get(group)
    if (!known) return { generation: 0, members: [], allocation: null, disagreements: [], rebalances: [] }
    const { context } = known.hosted.actor.getSnapshot()
    const members = Object.values(context.members).sort((a, b) => compareText(a.clientId, b.clientId))
    const retries = `${RETRY_PREFIX}${group}/`
    const shares = new Map(
      context.told.members.map(({ clientId, queues }) => [
        clientId,
        queues?.filter((queue) => !queue.startsWith(retries)).length ?? null,
      ]),
    )
    return {
      generation: countOf(context.told.generation),
      members: members.map(({ subscriptions, ...member }) => {
        const { clientId, instance, allocation, isStatic, isSilent, sessionMs } = member
        // Every member reads the retry topic, too: that tells nobody anything.
        const { [RETRY_PREFIX + group]: _, ...own } = subscriptions
        const share = shares.get(clientId)
        return {
          clientId,
          instance,
          subscriptions: own,
          ...{ allocation, isStatic, isSilent, sessionMs },
          isTold: share !== undefined,
          share: share === undefined ? 0 : share,
        }
      }),
      allocation: members.length > 0 ? allocationOf(context) : null,
      disagreements: disagreementsOf(members),
      rebalances: known.rebalances,
    }
  }

  join({ group, ...member }: JoinRequest, answer: Tell<JoinAnswer>): void {
    const { actor } = (this.#coordinators.get(group) ?? this.#start(group)).hosted
    this.#joining = answer
    actor.send({ type: 'member.joined', ...member })
    this.#joining = null
  }

  beat({ group, ...beat }: MemberBeat, answer: Tell<Nothing>): void {
    this.#rejected = false
    const known = this.#coordinators.get(group)
    known?.hosted.actor.send({ type: 'member.beat', ...beat })
    if (!known || this.#rejected)
      answer(refuse(codes.SUBSCRIPTION_GROUP_NOT_EXIST, `${beat.clientId} is to join again`))
    else answer(accept({}))
  }

  leave({ group, phase, ...who }: MemberLeave, answer: Tell<Nothing>): void {
    const type = ({ leaving: 'member.leaving', left: 'member.left', away: 'member.silent' } as const)[phase]
    this.#coordinators.get(group)?.hosted.actor.send({ type, ...who })
    answer(accept({}))
  }

  /** Also where the group has no coordinator: those who only lost theirs are waited for. */
  doubt({ group, ...doubt }: OwnerDoubt, answer: Tell<OwnerDoubtAnswer>): void {
    const { actor } = (this.#coordinators.get(group) ?? this.#start(group)).hosted
    this.#doubting = answer
    actor.send({ type: 'owners.doubted', ...doubt })
    this.#doubting = null
  }

  #start(group: string): Coordinator {
    const { world, directory } = this.#process
    const { clock, random, log } = world
    const machine = bind(groupCoordinatorMachine, {
      acceptMember: () => this.#joining?.(accept({ accepted: true })),
      refuseMember: ({ isFinal, message }) => this.#joining?.(accept({ accepted: false, isFinal, message })),
      rejectBeat: () => {
        this.#rejected = true
      },
      pushAssignment: (assignment) => this.#push(group, coordinator, assignment),
      watchTopics: ({ topics }) => this.#watch(coordinator, topics),
      measureLags: ({ topics }) =>
        this.#measure(group, coordinator, topics, (lags) =>
          coordinator.hosted.actor.send({ type: 'lags.measured', lags }),
        ),
      reportGone: (told) => this.#doubting?.(accept(told)),
      noteRebalance: (note) => {
        coordinator.rebalances = [
          { ...note, causes: [...note.causes], at: clock.now() },
          ...coordinator.rebalances,
        ].slice(0, REBALANCES_KEPT)
      },
    })
    const hosted = host({
      address: `group-coordinator/${this.#address}/${group}`,
      machine,
      input: { group, number: random.below(COORDINATORS) },
      clock,
      directory,
      failed: (cause) => {
        log.error(`the coordinator of '${group}' failed; its members join again`, { cause })
        this.#forget(group)
      },
    })
    const coordinator: Coordinator = { hosted, rebalances: [], topics: new Map() }
    this.#coordinators.set(group, coordinator)
    hosted.start()
    return coordinator
  }

  #push(
    group: string,
    coordinator: Coordinator,
    { generation, members, to }: Assignment & { to: string | null },
  ): void {
    const { world, subjects } = this.#process
    const names = members.map(({ clientId }) => clientId)
    const isCustom = members.some(({ queues }) => queues === null)
    const topics = isCustom ? members.map((member) => [...member.topics]) : undefined
    for (const { clientId, instance, queues } of members) {
      if (to !== null && to !== clientId) continue
      const push: AssignmentPush = {
        ...{ group, generation, instance, members: names, queues: queues && [...queues] },
        ...(topics && { topics }),
      }
      ask(world.transport, subjects.assignmentChanged(group, clientId), push, ASK_MS, (outcome) => {
        if (outcome.ok || outcome.failure.code !== 'noResponders') return
        if (this.#coordinators.get(group) !== coordinator) return
        coordinator.hosted.actor.send({ type: 'member.silent', clientId, instance })
      })
    }
  }

  #watch({ hosted, topics }: Coordinator, wanted: readonly string[]): void {
    for (const [topic, { watch }] of topics) {
      if (wanted.includes(topic)) continue
      watch.stop()
      topics.delete(topic)
    }
    for (const topic of wanted) {
      if (topics.has(topic)) continue
      const tellQueues = (route: TopicRoute | null) => {
        const watched = topics.get(topic)
        if (watched) watched.route = route
        hosted.actor.send({ type: 'queues.changed', topic, queues: route ? readQueuesOf(route) : [] })
      }
      const watch = watchRoute(this.#process, {
        topic,
        createTopic: false,
        announced: tellQueues,
        missing: () => tellQueues(null),
      })
      topics.set(topic, { watch, route: null })
    }
  }

  /** How many messages wait in each queue, as far as brokers answer. */
  #measure(
    group: string,
    { topics }: Coordinator,
    wanted: readonly string[],
    measured: (lags: Record<string, number>) => void,
  ): void {
    const { world, subjects } = this.#process
    const masters = new Map<string, number>()
    for (const topic of wanted) {
      for (const { brokerName, epoch } of topics.get(topic)?.route?.brokers ?? []) {
        if (epoch > 0) masters.set(brokerName, epoch)
      }
    }
    const lags: Record<string, number> = {}
    let left = masters.size
    if (left === 0) return world.clock.defer(() => measured(lags))
    for (const [brokerName, epoch] of masters) {
      const { groupLags } = subjects.broker(brokerName, epoch)
      ask(world.transport, groupLags, { group, topics: [...wanted] }, ASK_MS, (outcome) => {
        const told = outcome.ok && 'value' in outcome.value ? outcome.value.value.lags : []
        for (const [topic, queueId, lag] of told) lags[queueKey({ topic, brokerName, queueId })] = lag
        if (--left === 0) measured(lags)
      })
    }
  }

  #forget(group: string): void {
    const known = this.#coordinators.get(group)
    known?.hosted.stop()
    for (const { watch } of known?.topics.values() ?? []) watch.stop()
    this.#coordinators.delete(group)
  }

  close(): void {
    for (const group of [...this.#coordinators.keys()]) this.#forget(group)
  }
}
