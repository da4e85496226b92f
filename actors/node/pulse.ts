/**
 * Pulse: the signs of life of one replica. The latest beat is told again and again, and to whoever asks.
 *
 * UNTIL `stop` is called a beat goes out every `beatMs`, changed or not, and pings are answered; AFTER it no beat does
 * and nobody listens, so that a ping fails at once with 'noResponders'. A beat may be a moment old: it says who lives
 * and NEVER proves who is master, for which there is the register.
 *
 * This home beats on the loop and the transport that it is given, and is silent while that loop is busy: right for
 * tests, for simulations and for a process that is its own server. A broker of its own has thread-pulse.ts.
 *
 * RocketMQ: broker/BrokerController.java (scheduleSendHeartbeat)
 */
import { accept, serve, tell } from '../../transport/codec.ts'
import { nothing, type ReplicaBeat } from '../../transport/messages.ts'
import type { Subject, Subjects } from '../../transport/subjects.ts'
import type { World } from './world.ts'

export interface Pulse {
  /** What is told from now on. */
  update(beat: ReplicaBeat): void
  /** Calls back when nothing more is told. */
  stop(done: () => void): void
}

export type PulseOptions = {
  readonly subjects: Subjects
  /** What is told first; whose pulse it is stays what it says. */
  readonly beat: ReplicaBeat
  readonly beatMs?: number
}

export const BEAT_MS = 100

export const loopPulse = (
  world: Pick<World, 'clock' | 'transport'>,
  { subjects, beat, beatMs = BEAT_MS }: PulseOptions,
): Pulse => beatAt(world, addressesOf(subjects, beat), beat, beatMs)

export type Addresses = {
  readonly beat: Subject<ReplicaBeat>
  readonly ping: Subject<Record<string, never>, ReplicaBeat>
}

export const addressesOf = (subjects: Subjects, { brokerName, brokerId }: ReplicaBeat): Addresses => ({
  beat: subjects.replicas(brokerName).beat,
  ping: subjects.brokerProcess(brokerName, brokerId).ping,
})

export function beatAt(
  { clock, transport }: Pick<World, 'clock' | 'transport'>,
  addresses: Addresses,
  latest: ReplicaBeat,
  beatMs: number,
): Pulse {
  const pings = serve(transport, addresses.ping, nothing, (_, answer) => answer(accept(latest)))
  let timer: unknown
  const beat = () => {
    tell(transport, addresses.beat, latest)
    timer = clock.setTimeout(beat, beatMs)
  }
  beat()
  return {
    update(next) {
      latest = next
    },
    stop(done) {
      clock.clearTimeout(timer)
      pings.unsubscribe()
      clock.defer(done)
    },
  }
}
