/**
 * Hosts a group-coordinator machine for each consumer group whose members joined at this broker.
 *
 * A coordinator stays when its group is empty, for its generation must not go back. Membership is not kept on disk:
 * after a restart the members' next beat is rejected, and they join again.
 */
import { bind } from '../../machines/effect.ts'
import { groupCoordinatorMachine, membershipOf } from '../../machines/group-coordinator.ts'
import { type Answer, accept, refuse, tell } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import type { JoinRequest, MemberBeat, Membership } from '../../transport/messages.ts'
import { type Hosted, host } from '../node/host.ts'
import type { Process } from '../node/process.ts'

type Coordinator = Hosted<typeof groupCoordinatorMachine>
type Nothing = Record<string, never>
type Tell<T> = (answer: Answer<T>) => void

export class Coordinators {
  readonly #process: Process
  readonly #address: string
  readonly #hosted = new Map<string, Coordinator>()
  // The machine answers within the event that asked: AT MOST ONE join and one beat are open at a time.
  #joining: Tell<Membership> | null = null
  #rejected = false

  constructor(process: Process, address: string) {
    this.#process = process
    this.#address = address
  }

  /** Those that have members. */
  get groups(): string[] {
    return [...this.#hosted.keys()].filter((group) => this.membership(group).members.length > 0)
  }

  membership(group: string): Membership {
    const hosted = this.#hosted.get(group)
    if (!hosted) return { group, generation: 0, members: [] }
    return { group, ...membershipOf(hosted.actor.getSnapshot().context) }
  }

  join({ group, clientId, instance, topics, generation }: JoinRequest, answer: Tell<Membership>): void {
    const { actor } = this.#hosted.get(group) ?? this.#start(group)
    this.#joining = answer
    actor.send({ type: 'member.joined', clientId, instance, topics, generation })
    this.#joining = null
  }

  beat({ group, clientId, instance, generation }: MemberBeat, answer: Tell<Nothing>): void {
    this.#rejected = false
    const hosted = this.#hosted.get(group)
    hosted?.actor.send({ type: 'member.beat', clientId, instance, generation })
    if (!hosted || this.#rejected)
      answer(refuse(codes.SUBSCRIPTION_GROUP_NOT_EXIST, `${clientId} is to join again`))
    else answer(accept({}))
  }

  leave({ group, clientId, instance }: MemberBeat, answer: Tell<Nothing>): void {
    this.#hosted.get(group)?.actor.send({ type: 'member.left', clientId, instance })
    answer(accept({}))
  }

  #start(group: string): Coordinator {
    const { world, subjects, directory } = this.#process
    const { transport, clock, log } = world
    const machine = bind(groupCoordinatorMachine, {
      welcomeMember: ({ generation, members }) =>
        this.#joining?.(accept({ group, generation, members: [...members] })),
      pushMembers: ({ generation, members }) =>
        tell(transport, subjects.membersChanged(group), { group, generation, members: [...members] }),
      refuseMember: ({ message }) => this.#joining?.(refuse(codes.NO_PERMISSION, message)),
      rejectBeat: () => {
        this.#rejected = true
      },
    })
    const coordinator = host({
      address: `group-coordinator/${this.#address}/${group}`,
      machine,
      input: { group },
      clock,
      directory,
      failed: (cause) => {
        log.error(`the coordinator of '${group}' failed; its members join again`, { cause })
        this.#forget(group)
      },
    })
    this.#hosted.set(group, coordinator)
    coordinator.start()
    return coordinator
  }

  #forget(group: string): void {
    this.#hosted.get(group)?.stop()
    this.#hosted.delete(group)
  }

  close(): void {
    for (const group of this.#hosted.keys()) this.#forget(group)
  }
}
