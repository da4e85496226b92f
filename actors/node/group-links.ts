/**
 * What the roles of a broker group share in one node: the register, connections of their own, and a pulse.
 *
 * WHICH register it is follows from the server and from nothing that changes: JetStream where the server has it, else one
 * that a node serves. Two nodes of a cluster NEVER choose differently because one of them came at a bad moment; where only
 * some servers of a NATS cluster have JetStream, every node is told which it is.
 */
import type { ReplicaBeat } from '../../transport/messages.ts'
import type { Register } from '../../transport/register.ts'
import { openJetStreamRegister } from '../../transport/register-jetstream.ts'
import { servedRegister } from '../../transport/register-served.ts'
import type { Subjects } from '../../transport/subjects.ts'
import type { Transport } from '../../transport/transport.ts'
import { errorOfFailure } from '../errors.ts'
import { type FailoverOptions, failoverOf } from './failover.ts'
import type { Way } from './links.ts'
import { loopPulse, type Pulse } from './pulse.ts'
import type { LocalWorld } from './surroundings.ts'
import { threadPulse } from './thread-pulse.ts'

export type GroupLinks = {
  readonly register: Register
  /** Signs of life, votes, the register. */
  readonly control: Transport
  /** The bytes of the log. */
  readonly stream: Transport
  pulse(beat: ReplicaBeat): Pulse
}

export async function openGroupLinks(
  way: Way,
  local: LocalWorld,
  subjects: Subjects,
  options: {
    register?: 'served' | 'jetstream' | Register
    registerReplicas?: 1 | 3
    failover?: FailoverOptions
  },
): Promise<GroupLinks> {
  const { beatMs, detectMs, pulsePingMs } = failoverOf(options.failover)
  const control = await way.connect('control')
  const stream = await way.connect('replication')
  const register = await openRegister(
    options.register,
    control,
    local,
    subjects,
    options.registerReplicas ?? 1,
  )
  const { url } = way
  return {
    register,
    control,
    stream,
    pulse: (beat) =>
      url === null
        ? loopPulse({ ...local, transport: control }, { subjects, beat, beatMs })
        : threadPulse(local, {
            subjects,
            beat,
            beatMs,
            hangMs: 2 * detectMs,
            connection: { servers: url, pingIntervalMs: pulsePingMs },
          }),
  }
}

async function openRegister(
  choice: 'served' | 'jetstream' | Register | undefined,
  transport: Transport,
  { clock, log }: LocalWorld,
  subjects: Subjects,
  replicas: number,
): Promise<Register> {
  if (typeof choice === 'object') return choice
  const isKept = choice === undefined ? (transport.server?.hasJetStream ?? false) : choice === 'jetstream'
  if (!isKept) return servedRegister(transport, subjects, clock)
  return new Promise((resolve, reject) =>
    openJetStreamRegister({ transport, subjects, clock, log, replicas }, (outcome) =>
      outcome.ok ? resolve(outcome.value) : reject(errorOfFailure(outcome.failure)),
    ),
  )
}
