/** Drives one machine and runs nothing: events in, effects out, and a timer fires when the test says so. */
import {
  type AnyMachineSnapshot,
  type AnyStateMachine,
  type ContextFrom,
  type EventFromLogic,
  type InputFrom,
  initialTransition,
  type StateValueFrom,
  transition,
} from 'xstate'
import type { EffectOf } from '../../machines/effect.ts'

type TimerParams = { id: string; sendId: string; delay?: number; event: { type: string } }
type Action = { type: string; params: unknown }
type Move = readonly [AnyMachineSnapshot, readonly Action[]]

/** An effect as a test reads it: `params` only where there are any. */
type Taken<E> = E extends { type: infer T; params: infer P }
  ? [P] extends [undefined]
    ? { type: T }
    : { type: T; params: P }
  : never

export type Stepper<M extends AnyStateMachine> = ReturnType<typeof stepper<M>>

export function stepper<M extends AnyStateMachine>(machine: M, input: InputFrom<M>) {
  const timers = new Map<string, { type: string }>()
  let effects: Taken<EffectOf<M>>[] = []

  const absorb = ([next, actions]: Move) => {
    for (const { type, params } of actions) {
      const { id, sendId, delay, event } = (params ?? {}) as TimerParams
      if (type === 'xstate.cancel') timers.delete(sendId)
      else if (type === 'xstate.raise')
        delay !== undefined && timers.set(id, event) // Others are already done.
      else if (type.startsWith('xstate.')) throw new Error(`'${type}' has no place in a protocol machine`)
      else effects.push((params === undefined ? { type } : { type, params }) as Taken<EffectOf<M>>)
    }
    return next
  }
  let snapshot = absorb(initialTransition(machine as AnyStateMachine, input as never))
  const send = (event: EventFromLogic<M>) => {
    snapshot = absorb(transition(machine as AnyStateMachine, snapshot, event as never))
  }

  return {
    send,
    /** Fires the one pending timer whose id contains `name`. */
    expire(name: string) {
      const matches = [...timers].filter(([id]) => id.includes(name))
      if (matches.length !== 1) throw new Error(`${matches.length} timers match '${name}'`)
      const [id, event] = matches[0]!
      timers.delete(id)
      send(event as EventFromLogic<M>)
    },
    /** The effects ordered since the last call. */
    take() {
      const taken = effects
      effects = []
      return taken
    },
    get state() {
      return snapshot.value as StateValueFrom<M>
    },
    get context() {
      return snapshot.context as ContextFrom<M>
    },
    hasTag: (tag: string): boolean => snapshot.hasTag(tag),
    get timers(): string[] {
      return [...timers.keys()]
    },
  }
}
