/**
 * Supervisor: keeps one actor running, and knows when to give up.
 *
 * An actor that fails is started anew from its durable input, NEVER before the old one is gone, and each time after a
 * longer pause, because what broke it may need time to pass. An actor that has run for `stablePeriod` is forgiven all
 * earlier failures. One that fails more than `restartsMax` times without that is given up for people to look at:
 * restarting for ever hides a bug.
 *
 *   starting ──started──▶ running              stop.requested: ──▶ stopping ──stopped──▶ stopped
 *    ▲    └──failed──┐       │ failed
 *    └──backoff── backingOff ◀┘                failed once too often: ──▶ givenUp
 *
 * RocketMQ has none: a thread that dies there stays dead. The model is Erlang's supervisor.
 */
import { assign, setup } from 'xstate'
import { effect } from './effect.ts'

export type SupervisorInput = { name: string; restartsMax?: number }
export type SupervisorContext = {
  name: string
  restartsMax: number
  /** Failures since the actor last ran for `stablePeriod`; 0 is the first start. */
  attempt: number
  /** Of the last failure; null while there was none. */
  message: string | null
}
export type SupervisorEvent =
  | { type: 'actor.started' }
  | { type: 'actor.failed'; message: string }
  /** Without a failure: asked to, or because its work is done. */
  | { type: 'actor.stopped' }
  | { type: 'stop.requested' }

/** 100 ms, doubled with every attempt, at most 10 s. */
export const backoffMs = (attempt: number): number => Math.min(100 * 2 ** Math.max(0, attempt - 1), 10_000)

const supervisor = setup({
  types: {} as { input: SupervisorInput; context: SupervisorContext; events: SupervisorEvent },
  actions: {
    startActor: effect<{ attempt: number }>('startActor'),
    stopActor: effect('stopActor'),
    reportGivenUp: effect<{ name: string; message: string }>('reportGivenUp'),
  },
  guards: { mayRestart: ({ context }) => context.attempt < context.restartsMax },
  delays: {
    backoff: ({ context }) => backoffMs(context.attempt),
    stablePeriod: 60_000,
  },
})

const remember = supervisor.assign({
  message: ({ context, event }) => (event.type === 'actor.failed' ? event.message : context.message),
})
const failed = [
  {
    guard: 'mayRestart',
    target: 'backingOff',
    actions: [remember, supervisor.assign({ attempt: ({ context }) => context.attempt + 1 })],
  },
  { target: 'givenUp', actions: remember },
] as const

export const supervisorMachine = supervisor.createMachine({
  id: 'supervisor',
  context: ({ input: { name, restartsMax = 5 } }) => ({ name, restartsMax, attempt: 0, message: null }),
  initial: 'starting',
  states: {
    starting: {
      entry: { type: 'startActor', params: ({ context: { attempt } }) => ({ attempt }) },
      on: {
        'actor.started': 'running',
        'actor.failed': failed,
        'actor.stopped': 'stopped',
        'stop.requested': 'stopping',
      },
    },
    running: {
      after: { stablePeriod: { actions: assign({ attempt: 0 }) } },
      on: { 'actor.failed': failed, 'actor.stopped': 'stopped', 'stop.requested': 'stopping' },
    },
    backingOff: {
      after: { backoff: 'starting' },
      on: { 'stop.requested': 'stopped' },
    },
    stopping: {
      entry: 'stopActor',
      // An actor that fails while it stops has stopped.
      on: { 'actor.stopped': 'stopped', 'actor.failed': { target: 'stopped', actions: remember } },
    },
    stopped: { type: 'final' },
    givenUp: {
      entry: {
        type: 'reportGivenUp',
        params: ({ context: { name, message } }) => ({ name, message: message ?? 'it failed' }),
      },
      on: { 'stop.requested': 'stopped' },
    },
  },
})
