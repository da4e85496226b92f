/**
 * Hosts one machine: runs it on the world's clock under an address and lists it for inspection.
 *
 * A bug in a machine or in an effect stops the actor for good (XState: status 'error'); `failed` then hears of it
 * AT MOST ONCE, and whoever started the actor decides whether to start another.
 */
import { type Actor, type AnyStateMachine, createActor, type InputFrom } from 'xstate'
import type { Directory } from './inspection.ts'
import type { Clock } from './world.ts'

export type HostOptions<M extends AnyStateMachine> = {
  address: string
  machine: M
  input: InputFrom<M>
  clock: Clock
  directory: Directory
  failed(cause: unknown): void
}

export type Hosted<M extends AnyStateMachine> = {
  readonly actor: Actor<M>
  /** Separate from `host`, for the first effects of a machine may already answer it. */
  start(): void
  stop(): void
}

export function host<M extends AnyStateMachine>(options: HostOptions<M>): Hosted<M> {
  const { address, machine, input, clock, directory, failed } = options
  const actor = createActor(machine, { input, clock } as never) as Actor<M>
  const unlist = directory.add(address, kebab(machine.id), actor)
  actor.subscribe({ error: failed })
  return {
    actor,
    start: () => void actor.start(),
    stop() {
      unlist()
      actor.stop()
    },
  }
}

/** 'brokerRole' as its file is called, 'broker-role'. */
const kebab = (id: string): string => id.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
