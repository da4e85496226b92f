/**
 * The state of one broker group in the register, as the machines know it.
 *
 * Beside the state stands a short history of masterships, for people; no decision is taken by it. A value that is not
 * understood is NEVER replaced: somebody else wrote it.
 */
import { z } from 'zod'
import type { Json } from '../../machines/effect.ts'
import { type GroupState, type Head, isSameMastership } from '../../machines/group-state.ts'
import { type Failure, fail, type Outcome, succeed } from '../../transport/failures.ts'
import { groupState, type Mastership } from '../../transport/messages.ts'
import type { Held, Register } from '../../transport/register.ts'
import type { Subscription } from '../../transport/transport.ts'
import type { Clock, Log } from './world.ts'

const REMEMBERED = 10
const WARN_MS = 5_000

const mastership = z.object({
  epoch: z.number(),
  masterId: z.number().nullable(),
  cause: z.enum(['boot', 'failover', 'handover', 'shrink', 'expand', 'unclean']),
  at: z.number(),
})
const value = z.object({ state: groupState, masterships: z.array(mastership) })

export type Swapped =
  | { type: 'swap.succeeded'; writeId: string; revision: number }
  | { type: 'swap.conflicted'; writeId: string; head: Head | null }
  | { type: 'swap.unknown'; writeId: string }

export class GroupRegister {
  readonly #register: Register
  readonly #brokerName: string
  readonly #clock: Clock
  readonly #log: Log
  #head: Head | null = null
  #warnedAt = Number.NEGATIVE_INFINITY
  /** The last changes of mastership, newest first. */
  masterships: readonly Mastership[] = []

  constructor(register: Register, brokerName: string, { clock, log }: { clock: Clock; log: Log }) {
    this.#register = register
    this.#brokerName = brokerName
    this.#clock = clock
    this.#log = log
  }

  /** An answer that something newer has overtaken on its way is not told: what is newer is. */
  read(done: (outcome: Outcome<Head | null>) => void): void {
    const knownBefore = this.#head?.revision ?? 0
    this.#register.read(this.#brokerName, (outcome) => {
      if (!outcome.ok) {
        this.#warn('could not be read', outcome.failure)
        done(outcome)
      } else if (outcome.value === null) done(succeed(null))
      else {
        const head = this.#understand(outcome.value)
        if (!head) return done(fail('malformed', `the register holds no state for ${this.#brokerName}`))
        const isOvertaken = knownBefore <= head.revision && head.revision < this.#head!.revision
        done(succeed(isOvertaken ? this.#head : head))
      }
    })
  }

  /** `wentBack`: the register was put back to this; null for nothing. */
  watch(hear: (head: Head) => void, wentBack: (head: Head | null) => void): Subscription {
    return this.#register.watch(
      this.#brokerName,
      (held) => {
        const head = this.#understand(held)
        if (head) hear(head)
      },
      (held) => {
        this.#head = null
        const head = held && this.#understand(held)
        if (head || held === null) wentBack(head)
      },
    )
  }

  swap(expected: number, state: GroupState, done: (swapped: Swapped) => void): void {
    const { writeId } = state
    const masterships = this.#historyWith(state)
    this.#register.swap(this.#brokerName, expected, { state, masterships } as unknown as Json, (outcome) => {
      if (outcome.result === 'ok') {
        this.#note({ ...state, revision: outcome.revision }, masterships)
        done({ type: 'swap.succeeded', writeId, revision: outcome.revision })
      } else if (outcome.result === 'conflict') {
        const head = outcome.held && this.#understand(outcome.held)
        if (outcome.held && !head) done({ type: 'swap.unknown', writeId })
        else done({ type: 'swap.conflicted', writeId, head })
      } else {
        this.#warn('did not say whether it took a change', outcome.failure)
        done({ type: 'swap.unknown', writeId })
      }
    })
  }

  /** The same is tried again and again: that it fails is told now and then. */
  #warn(what: string, { message }: Failure): void {
    const now = this.#clock.monotonic()
    if (now - this.#warnedAt < WARN_MS) return
    this.#warnedAt = now
    this.#log.warn(`${this.#brokerName}: the register ${what}`, { failure: message })
  }

  #historyWith(state: GroupState): readonly Mastership[] {
    if (this.#head !== null && isSameMastership(this.#head, state)) return this.masterships
    const { epoch, masterId, cause } = state
    return [{ epoch, masterId, cause, at: this.#clock.now() }, ...this.masterships].slice(0, REMEMBERED)
  }

  #understand(held: Held): Head | null {
    const parsed = value.safeParse(held.value)
    if (!parsed.success) {
      this.#log.error(
        `what the register holds for ${this.#brokerName} is not understood: it is left as it is`,
        {
          message: parsed.error.message,
        },
      )
      return null
    }
    const head = { ...parsed.data.state, revision: held.revision }
    this.#note(head, parsed.data.masterships)
    return head
  }

  #note(head: Head, masterships: readonly Mastership[]): void {
    if (this.#head !== null && this.#head.revision >= head.revision) return
    this.#head = head
    // What was put back has forgotten the newest of them.
    if ((masterships[0]?.epoch ?? 0) >= (this.masterships[0]?.epoch ?? 0)) this.masterships = masterships
  }
}
