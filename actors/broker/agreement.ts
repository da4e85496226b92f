/**
 * Where a replica learns who is master, and where a master changes its set: the register of its group. With one replica
 * there is none: it agrees with itself, for nobody else can be master of its log.
 *
 * A master drops a member ONLY AFTER it has reached the register: whoever hears nobody takes everybody for gone; it would
 * be the only one that may be elected, and never learn of it.
 */
import type { BrokerRoleEvent } from '../../machines/broker-role.ts'
import type { GroupState, Head } from '../../machines/group-state.ts'
import type { Mastership } from '../../transport/messages.ts'
import type { Register } from '../../transport/register.ts'
import type { Subscription } from '../../transport/transport.ts'
import { GroupRegister } from '../node/group-register.ts'
import type { World } from '../node/world.ts'

export type AgreementHooks = {
  tell(event: BrokerRoleEvent): void
  /** Whether this replica is still master when the register was heard. */
  isMaster(): boolean
}

export class Agreement {
  readonly #brokerId: number
  readonly #hooks: AgreementHooks
  readonly #group: GroupRegister | null
  #watch: Subscription | null = null
  #isClosed = false

  /** `register` is null where there are no other replicas. */
  constructor(
    world: World,
    { brokerName, brokerId }: { brokerName: string; brokerId: number },
    register: Register | null,
    hooks: AgreementHooks,
  ) {
    this.#brokerId = brokerId
    this.#hooks = hooks
    this.#group = register && new GroupRegister(register, brokerName, world)
  }

  /** Tells head.changed, now and whenever it changes from then on. */
  read(own: { epoch: number; incarnation: number; lineage: number }): void {
    if (this.#group === null) return this.#heard(this.#ownHead(own))
    this.#watch ??= this.#group.watch(
      (head) => this.#heard(head),
      (head) => head && this.#heard(head),
    )
    this.#group.read((outcome) => {
      if (outcome.ok && outcome.value) this.#heard(outcome.value)
    })
  }

  #heard(head: Head): void {
    this.#hooks.tell({ type: 'head.changed', head })
  }

  /** This start of this process, at the next epoch. */
  #ownHead({ epoch, incarnation, lineage }: { epoch: number; incarnation: number; lineage: number }): Head {
    const brokerId = this.#brokerId
    return {
      revision: epoch + 1,
      writeId: '',
      epoch: epoch + 1,
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

  /** Tells swap.*. */
  swap(expected: number, state: GroupState): void {
    const { tell, isMaster } = this.#hooks
    const group = this.#group!
    const swap = () => group.swap(expected, state, tell)
    if (state.cause !== 'shrink') return swap()
    group.read((heard) => {
      if (this.#isClosed || !isMaster()) return
      if (heard.ok) swap()
      else tell({ type: 'swap.unknown', writeId: state.writeId })
    })
  }

  /** The last changes of mastership, newest first. */
  get masterships(): readonly Mastership[] {
    return this.#group?.masterships ?? []
  }

  /** AFTER it nothing is swapped any more. */
  close(): void {
    this.#isClosed = true
    this.#watch?.unsubscribe()
    this.#watch = null
  }
}
