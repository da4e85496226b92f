/**
 * How fast a replica that is gone is missed.
 *
 * A process that ends is missed at once, for nobody listens any more. `detectMs` is for those that are only silent: cut
 * off, paused, hung. Too short, and a machine that is merely busy loses its masters again and again.
 */
export type FailoverOptions = {
  /** Silence after which a replica counts as gone, milliseconds; default 1,000. */
  detectMs?: number
}

/** All in milliseconds. */
export type Failover = {
  detectMs: number
  beatMs: number
  /** A master whose signs of life are late by so much is asked. */
  lateMs: number
  /** How long a probe waits; two in a row must fail. */
  probeMs: number
  voteMs: number
  /** A replica hears its master when it heard it within this. */
  hearMs: number
  /** How long an asynchronous master may believe that it is followed. */
  leaseMs: number
  /** How far behind a member may stay. */
  lagMs: number
  /** How often a server is asked whether it hears; after two that it leaves unanswered a connection is given up. */
  pingMs: number
  /** The same for the signs of life: who hears nobody must fall silent within `detectMs`, or is taken for a master. */
  pulsePingMs: number
}

export function failoverOf({ detectMs = 1_000 }: FailoverOptions = {}): Failover {
  return {
    detectMs,
    beatMs: 100,
    lateMs: 150,
    probeMs: Math.max(50, (detectMs - 200) / 2),
    voteMs: 250,
    hearMs: 300,
    leaseMs: Math.max(400, detectMs / 2),
    lagMs: 3 * detectMs,
    pingMs: Math.min(5_000, Math.max(1_000, detectMs)),
    pulsePingMs: Math.max(50, detectMs / 3),
  }
}
