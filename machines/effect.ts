/**
 * Effects as data: how a machine orders and a host carries out.
 *
 * A machine lists its effects in `setup({ actions })` by `effect()`. It NEVER carries one out: production binds a
 * handler to each (`bind`), a unit test reads them (`stepper`), a simulation passes another world to the same host.
 */
import type { AnyStateMachine, StateMachine } from 'xstate'

/** What may cross a machine's border. Plain JSON, so every snapshot can be hashed, replayed and sent. */
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json | undefined }

/** Thrown when a machine runs without a host: a bug, never a state of the world. */
export class UnboundEffect extends Error {
  override readonly name = 'UnboundEffect'
  readonly effect: string
  constructor(effect: string) {
    super(`no host carries out '${effect}': start the machine through bind()`)
    this.effect = effect
  }
}

/** Declares an effect: an order with JSON params, or with none. Machines give it; only a host carries it out. */
export const effect =
  <P extends Json | undefined = undefined>(name: string) =>
  (_: unknown, _params: P): void => {
    throw new UnboundEffect(name)
  }

/** The effects of a machine as a discriminated union of `{ type, params }`. */
// XState's own ExecutableActionsFrom merges all names and all params into one member, so it does not narrow.
export type EffectOf<M> =
  M extends StateMachine<any, any, any, any, infer Effect, any, any, any, any, any, any, any, any, any>
    ? Effect
    : never

type NameOf<M> = EffectOf<M>['type']
type ParamsOf<M, N> = Extract<EffectOf<M>, { type: N }>['params']

/** One handler for each effect. A missing or misspelt one is a compile error. */
export type Handlers<M> = { [N in NameOf<M>]: (params: ParamsOf<M, N>) => void }

/** The machine with its orders tied to a host. */
export function bind<M extends AnyStateMachine>(machine: M, handlers: Handlers<M>): M {
  const actions = Object.entries<(params: any) => void>(handlers).map(([name, carryOut]) => [
    name,
    (_: unknown, params: unknown) => carryOut(params),
  ])
  return machine.provide({ actions: Object.fromEntries(actions) }) as M
}
