/**
 * A replica among the others of its broker name: tells that it lives, votes when it is asked, and finds out when another
 * process claims to be the same replica.
 *
 * Two processes with one identity could both be elected by one swap. So a replica that is alive elsewhere is NOT started,
 * and of two that find each other later, the one with the older incarnation halts.
 */
import type { Vote } from '../../machines/group-state.ts'
import { accept, hear, refuse, serve } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { nothing, type ReplicaBeat, replicaBeat } from '../../transport/messages.ts'
import type { Subscription, Transport } from '../../transport/transport.ts'
import { probe } from '../node/probe.ts'
import type { Process } from '../node/process.ts'
import type { Pulse } from '../node/pulse.ts'
import { findOccupant, type Looking, PROBE_MS } from './vacancy.ts'

const UPDATE_MS = 100

export type PresenceHooks = {
  beat(): ReplicaBeat
  /** Null while it has nothing to say: it is starting, or its log cannot be trusted. */
  vote(): Vote | null
  /** Another process is this replica. */
  duplicated(message: string): void
}

export class Presence {
  readonly #process: Process
  readonly #control: Transport
  readonly #hooks: PresenceHooks
  readonly #startPulse: (beat: ReplicaBeat) => Pulse
  readonly #subscriptions: Subscription[] = []
  #pulse: Pulse | null = null
  #timer: unknown = null
  #looking: Looking | null = null
  #hasEntered = false
  #isClosed = false

  constructor(
    process: Process,
    links: { control: Transport; pulse: (beat: ReplicaBeat) => Pulse },
    hooks: PresenceHooks,
  ) {
    this.#process = process
    this.#control = links.control
    this.#startPulse = links.pulse
    this.#hooks = hooks
  }

  /** Calls back AFTER it is known that nobody else is this replica; not at all when somebody is. Asks ONCE. */
  enter(entered: () => void): void {
    if (this.#hasEntered) return entered()
    if (this.#isClosed) return
    this.#hasEntered = true
    this.#look(() => {
      const beat = this.#hooks.beat()
      const { subjects } = this.#process
      const { brokerName, brokerId } = beat
      this.#subscriptions.push(
        serve(this.#control, subjects.brokerProcess(brokerName, brokerId).vote, nothing, (_, answer) => {
          const vote = this.#hooks.vote()
          if (vote) answer(accept(vote))
          else answer(refuse(codes.SERVICE_NOT_AVAILABLE, 'this replica cannot vote now'))
        }),
        hear(this.#control, subjects.replicas(brokerName).beat, replicaBeat, (heard) => this.#heard(heard)),
      )
      this.#pulse = this.#startPulse(beat)
      this.#keepUp()
      entered()
    })
  }

  #look(free: () => void): void {
    const { subjects, world } = this.#process
    const { brokerName, brokerId } = this.#hooks.beat()
    this.#looking = findOccupant<ReplicaBeat>(
      world.clock,
      (heard) => probe(this.#control, subjects, brokerName, brokerId, PROBE_MS, heard),
      (occupant) => {
        if (occupant === null) return free()
        this.#hooks.duplicated(
          `${brokerName}/${brokerId} is alive already, in process ${occupant.processId}: give this one another id, ` +
            'or stop that one; a copied data directory is not a new replica',
        )
      },
    )
  }

  #heard({ brokerId, processId, incarnation, brokerName }: ReplicaBeat): void {
    const mine = this.#hooks.beat()
    if (brokerId !== mine.brokerId || processId === mine.processId) return
    const isLater =
      mine.incarnation === incarnation ? mine.processId > processId : mine.incarnation < incarnation
    if (!isLater) return
    this.#hooks.duplicated(
      `another process, ${processId}, is ${brokerName}/${brokerId} too: stop one of them; ` +
        'a copied data directory is not a new replica',
    )
  }

  /** Something of it changed that others should know soon. */
  update(): void {
    this.#pulse?.update(this.#hooks.beat())
  }

  #keepUp(): void {
    this.update()
    this.#timer = this.#process.world.clock.setTimeout(() => this.#keepUp(), UPDATE_MS)
  }

  close(closed: () => void): void {
    this.#isClosed = true
    this.#looking?.close()
    this.#process.world.clock.clearTimeout(this.#timer)
    for (const subscription of this.#subscriptions.splice(0)) subscription.unsubscribe()
    if (this.#pulse) this.#pulse.stop(closed)
    else closed()
    this.#pulse = null
  }
}
