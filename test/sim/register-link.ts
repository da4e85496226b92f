/**
 * The register as the processes of a simulation reach it: one table, and a network between it and each of them.
 *
 * An order that is lost was NOT done; an answer that is lost leaves its swap unknown; who watches may miss a push. A
 * process that is dead hears nothing, one that is paused hears it when it goes on, and one without a connection
 * reaches nothing.
 */
import type { Random } from '../../actors/node/world.ts'
import type { Register } from '../../transport/register.ts'
import { createRegisterHub, type RegisterHub, type RegisterPassage } from '../../transport/register-memory.ts'
import type { SimulatedWorld } from './world.ts'

/** What the network calls it. */
export const REGISTER = 'register'

export type RegisterTrouble = {
  /** Of how many messages one is lost. */
  oneLostOf: number
  /** So many milliseconds at most for each. */
  delayMs: number
}

export class RegisterLink {
  trouble: RegisterTrouble | null = null
  readonly #world: SimulatedWorld
  readonly #random: Random
  readonly #hub: RegisterHub

  constructor(world: SimulatedWorld, random: Random) {
    this.#world = world
    this.#random = random
    this.#hub = createRegisterHub({
      clock: world.clock,
      log: world.logOf(REGISTER),
      route: (passage, carry) => this.#route(passage, carry),
    })
  }

  /** For the simulation itself: nothing is lost or late. */
  observe(): Register {
    return this.#hub.connect(REGISTER)
  }

  /** `gate` lets through what the process may hear at this time. */
  connect(process: string, gate: (run: () => void) => void): Register {
    const register = this.#hub.connect(process)
    return {
      read: (key, done) => register.read(key, (outcome) => gate(() => done(outcome))),
      swap: (key, expected, value, done) =>
        register.swap(key, expected, value, (outcome) => gate(() => done(outcome))),
      watch: (key, hear, wentBack) =>
        register.watch(
          key,
          (held) => gate(() => hear(held)),
          (held) => gate(() => wentBack?.(held)),
        ),
      close: () => register.close(),
    }
  }

  #route({ member, leg, operation }: RegisterPassage, carry: () => void): void {
    if (member === REGISTER) return carry()
    const { clock, network } = this.#world
    const [from, to] = leg === 'order' ? [member, REGISTER] : [REGISTER, member]
    const { oneLostOf = 0, delayMs = 0 } = this.trouble ?? {}
    const isLost = network.isBroken(from, to) || (oneLostOf > 0 && this.#random.below(oneLostOf) === 0)
    this.#world.note(`${from}>${to} ${operation}${isLost ? ' lost' : ''}`)
    if (isLost) return
    const late = this.#random.below(3) === 0 ? this.#random.next() * delayMs : 0
    clock.after(0.1 + this.#random.next() + late, carry)
  }
}
