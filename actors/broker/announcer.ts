/**
 * Makes a broker known to every name server: registers it, beats, and says farewell.
 *
 * A name server that has just started, or that missed something, asks; it is told everything anew.
 *
 * RocketMQ: broker/out/BrokerOuterAPI.java (registerBrokerAll)
 */
import type { BrokerRun } from '../../machines/name-server.ts'
import type { BrokerRole, Registration, TopicConfig } from '../../machines/topic.ts'
import { hear, tell } from '../../transport/codec.ts'
import { nameServerStarted, nothing, registrationRefused } from '../../transport/messages.ts'
import type { Subscription } from '../../transport/transport.ts'
import type { Process } from '../node/process.ts'

const BEAT_MS = 1_000

export type Announced = {
  /** Who it is: one start of one store. */
  run: BrokerRun
  dataVersion: number
  topics: Record<string, TopicConfig>
  autoCreateTopic: boolean
}

export class Announcer {
  readonly #process: Process
  readonly #describe: () => Announced | null
  readonly #subscriptions: Subscription[]
  #mastership: { epoch: number; role: BrokerRole } | null = null
  /** As it was registered last. */
  #run: BrokerRun | null = null
  #timer: unknown = null
  /** Every beat of one that is refused is refused, by every name server: it is said once in a mastership. */
  #isRefusalTold = false

  /** `describe` gives null while the broker has no log to tell of. */
  constructor(
    process: Process,
    replica: { brokerName: string; brokerId: number; address: string },
    describe: () => Announced | null,
  ) {
    const { world, subjects } = process
    const mine = subjects.brokerProcess(replica.brokerName, replica.brokerId)
    this.#process = process
    this.#describe = describe
    this.#subscriptions = [
      hear(world.transport, subjects.nameServer.started, nameServerStarted, () => this.register()),
      hear(world.transport, mine.registerAgain, nothing, () => this.register()),
      hear(world.transport, mine.refused, registrationRefused, ({ storeId, incarnation, message }) => {
        const run = describe()?.run
        const isMine = storeId === run?.storeId && incarnation === run.incarnation
        if (!isMine || this.#isRefusalTold) return
        this.#isRefusalTold = true
        world.log.error(`${replica.address}: ${message}`)
      }),
    ]
  }

  announce(epoch: number, role: BrokerRole): void {
    this.#mastership = { epoch, role }
    this.#isRefusalTold = false
    this.register()
    this.#beat()
  }

  register(): void {
    const announced = this.#describe()
    if (this.#mastership === null || announced === null) return
    const { run, ...described } = announced
    this.#run = run
    const registration: Registration = { ...run, ...this.#mastership, ...described }
    tell(this.#process.world.transport, this.#process.subjects.nameServer.register, registration)
  }

  #beat(): void {
    const { clock, transport } = this.#process.world
    clock.clearTimeout(this.#timer)
    if (this.#mastership === null) return
    const announced = this.#describe()
    if (announced !== null) {
      const { run, dataVersion } = announced
      const { epoch } = this.#mastership
      tell(transport, this.#process.subjects.nameServer.beat, { ...run, epoch, dataVersion })
    }
    this.#timer = clock.setTimeout(() => this.#beat(), BEAT_MS)
  }

  /** Also while there is no log to tell of: what is registered is known. */
  farewell(): void {
    const run = this.#describe()?.run ?? this.#run
    this.#mastership = null
    this.#process.world.clock.clearTimeout(this.#timer)
    if (run !== null) tell(this.#process.world.transport, this.#process.subjects.nameServer.unregister, run)
  }

  close(): void {
    this.#mastership = null
    this.#process.world.clock.clearTimeout(this.#timer)
    for (const subscription of this.#subscriptions) subscription.unsubscribe()
  }
}
