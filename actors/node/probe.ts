/**
 * Probe: asks one replica for a sign of life.
 *
 * 'unreachable' is an answer, from the server: NOBODY listens for that replica. 'silent' is none: it may live behind a
 * link that is broken, here or there, so nobody is to be replaced because of ONE silence.
 *
 * RocketMQ: controller/impl/heartbeat/DefaultBrokerHeartbeatManager.java (isBrokerActive)
 */
import { ask } from '../../transport/codec.ts'
import type { ReplicaBeat } from '../../transport/messages.ts'
import type { Subjects } from '../../transport/subjects.ts'
import type { Transport } from '../../transport/transport.ts'

export type Sign = ReplicaBeat | 'unreachable' | 'silent'

/** Calls back once, after `timeoutMs` at the latest. */
export const probe = (
  transport: Transport,
  subjects: Subjects,
  brokerName: string,
  brokerId: number,
  timeoutMs: number,
  done: (sign: Sign) => void,
): void =>
  ask(transport, subjects.brokerProcess(brokerName, brokerId).ping, {}, timeoutMs, (outcome) => {
    if (!outcome.ok) done(outcome.failure.code === 'noResponders' ? 'unreachable' : 'silent')
    else done('value' in outcome.value ? outcome.value.value : 'silent')
  })
