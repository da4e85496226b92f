/** How a broker is replicated, and over what. */
import type { ReplicaBeat } from '../../../transport/messages.ts'
import type { Register } from '../../../transport/register.ts'
import type { Transport } from '../../../transport/transport.ts'
import type { Failover } from '../../node/failover.ts'
import type { Pulse } from '../../node/pulse.ts'

export type ReplicationOptions = {
  replication: 'sync' | 'async'
  /** How many replicas the broker has; their ids are 0 to one less. */
  replicas: number
  minInSync: number
  /** With 'async': how far beyond the slowest member of the sync state set sends are acknowledged, bytes. */
  maxLagBytes: number
  failover: Failover
  register: Register
  /** Signs of life and votes; and the bytes of the log: each on a connection that no client's messages can block. */
  control: Transport
  stream: Transport
  pulse(beat: ReplicaBeat): Pulse
}
