/**
 * Supervision: keeps one role running by starting it anew when a bug stopped it.
 *
 * A role that fails is started from its durable input with growing pauses; one that keeps failing is given up, LOUDLY:
 * the log and the owner hear of it. The decisions are the supervisor machine's.
 */
import { bind } from '../../machines/effect.ts'
import { supervisorMachine } from '../../machines/supervisor.ts'
import { host } from './host.ts'
import type { Directory } from './inspection.ts'
import type { World } from './world.ts'

export type Supervised = {
  /** Starts the role. `failed` is for bugs: it may be called once, at any time after. */
  start(failed: (cause: unknown) => void): { stop(stopped: () => void): void }
  /** It failed too often. */
  givenUp(message: string): void
  /** How often in a row; the supervisor machine's default where it is not said. */
  restartsMax?: number
}

/** What it needs of the process that it is a part of. */
export type Surrounding = { world: Pick<World, 'clock' | 'log'>; directory: Directory }

export type Supervision = { stop(stopped: () => void): void }

/** `name`: the address of the role. */
export function supervise(
  { world: { clock, log }, directory }: Surrounding,
  name: string,
  { start, givenUp, restartsMax }: Supervised,
): Supervision {
  let running: { stop(stopped: () => void): void } | null = null
  let stopped: (() => void) | null = null

  const machine = bind(supervisorMachine, {
    startActor: ({ attempt }) => {
      if (attempt > 0) log.warn(`starting ${name} again, attempt ${attempt}`)
      const failed = (cause: unknown) => {
        running = null
        log.error(`${name} failed`, { cause })
        supervisor.actor.send({ type: 'actor.failed', message: String(cause) })
      }
      try {
        running = start(failed)
        supervisor.actor.send({ type: 'actor.started' })
      } catch (cause) {
        failed(cause)
      }
    },
    stopActor: () => {
      const told = () => supervisor.actor.send({ type: 'actor.stopped' })
      if (running) running.stop(told)
      else told()
    },
    reportGivenUp: ({ message }) => {
      log.error(`${name} failed too often and is given up: ${message}`)
      givenUp(message)
    },
  })
  const supervisor = host({
    address: `supervisor/${name}`,
    machine,
    input: { name, ...(restartsMax === undefined ? {} : { restartsMax }) },
    clock,
    directory,
    failed: (cause) => givenUp(String(cause)),
  })
  supervisor.actor.subscribe({
    complete: () => {
      supervisor.stop()
      stopped?.()
    },
    error() {},
  })
  supervisor.start()

  return {
    stop(done) {
      if (supervisor.actor.getSnapshot().status !== 'active') return done()
      stopped = done
      supervisor.actor.send({ type: 'stop.requested' })
    },
  }
}
