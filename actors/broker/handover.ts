/**
 * Hands mastership over to another replica: when somebody asks for it, and before a master stops.
 *
 * One at a time; whoever asked is answered AT MOST ONCE, AFTER the role says how it ended. A stopping master waits no
 * longer than HANDOVER_MS: what is lost by going without a successor is time, never a message.
 */
import type { BrokerRoleEvent } from '../../machines/broker-role.ts'
import { type Answer, accept, refuse } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import type { Clock } from '../node/world.ts'
import type { Mastership } from './mastership.ts'
import type { BrokerRoleSnapshot } from './signs.ts'

const HANDOVER_MS = 2_000

type Answered = (answered: Answer<{ epoch: number }>) => void
export type HandoverHooks = {
  tell(event: BrokerRoleEvent): void
  /** Null while there is none. */
  mastership(): Pick<Mastership, 'incarnationOf' | 'heir'> | null
}

export class Handover {
  readonly #clock: Clock
  readonly #brokerName: string
  readonly #hooks: HandoverHooks
  #asked: { successor: number; answer: Answered } | null = null
  #leaving: { go: () => void; timer: unknown } | null = null

  constructor(clock: Clock, brokerName: string, hooks: HandoverHooks) {
    this.#clock = clock
    this.#brokerName = brokerName
    this.#hooks = hooks
  }

  /** Answers the epoch in which `successor` is master. */
  request(successor: number, answer: Answered): void {
    if (this.#asked !== null) return answer(refuse(codes.NO_PERMISSION, 'a handover is under way already'))
    const incarnation = this.#hooks.mastership()?.incarnationOf(successor) ?? null
    if (incarnation === null) {
      const message = `${this.#brokerName}/${successor} does not follow this master, or has not caught up`
      return answer(refuse(codes.CONTROLLER_INVALID_REPLICAS, message))
    }
    this.#asked = { successor, answer }
    this.#hooks.tell({ type: 'handover.requested', brokerId: successor, incarnation })
  }

  /** Mastership stays here. */
  refuse(message: string): void {
    this.#answer(refuse(codes.NO_PERMISSION, message))
  }

  /**
   * Lets another replica go on at once, where one has everything; calls back when it does, or when that cannot be. One that
   * is under way already will do.
   */
  beforeStop(go: () => void): void {
    const successor = this.#asked?.successor ?? this.#hooks.mastership()?.heir ?? null
    if (successor === null) return go()
    this.#leaving = { go, timer: this.#clock.setTimeout(() => this.#leave(), HANDOVER_MS) }
    if (this.#asked !== null) return
    this.request(successor, ({ code }) => {
      if (code !== codes.SUCCESS) this.#leave()
    })
  }

  /** The role as it is now. */
  heed(role: BrokerRoleSnapshot): void {
    const asked = this.#asked
    if (asked && !role.matches('master')) {
      const { head, epoch } = role.context
      const isDone = head !== null && head.epoch > epoch && head.masterId === asked.successor
      this.#answer(
        isDone
          ? accept({ epoch: head.epoch })
          : refuse(codes.NOT_MASTER, 'this replica is no longer master: ask the new one'),
      )
    }
    if (!role.matches({ master: { membership: 'handingOver' } })) this.#leave()
  }

  #answer(answered: Answer<{ epoch: number }>): void {
    const asked = this.#asked
    this.#asked = null
    asked?.answer(answered)
  }

  #leave(): void {
    const leaving = this.#leaving
    if (leaving === null) return
    this.#leaving = null
    this.#clock.clearTimeout(leaving.timer)
    leaving.go()
  }

  /** Nobody is told any more. */
  close(): void {
    this.#clock.clearTimeout(this.#leaving?.timer)
    this.#leaving = null
  }
}
