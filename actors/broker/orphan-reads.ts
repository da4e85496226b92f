/**
 * Reads while there is no master: a slave serves what it knows to be confirmed, and nothing else.
 *
 * That is a prefix of what every later master has, so it is never wrong, only short. Nothing is held: whoever asked asks
 * again, and finds the next master. Offsets are committed to a master only.
 *
 * RocketMQ: docs/cn/SlaveActingMasterMode.md
 */
import { decode } from '../../transport/codec.ts'
import { pullRequest } from '../../transport/messages.ts'
import type { Subscription } from '../../transport/transport.ts'
import type { Process } from '../node/process.ts'
import type { BrokerState } from './broker-state.ts'
import { Delivery } from './delivery.ts'
import type { Store } from './store/store.ts'

export class OrphanReads {
  readonly delivery: Delivery
  readonly #subscription: Subscription

  constructor(process: Process, brokerName: string, epoch: number, store: Store, state: BrokerState) {
    const { world, subjects } = process
    this.delivery = new Delivery(store, state, world, epoch, {
      isOwner: () => true,
      comesFromOwner: () => true,
    })
    this.#subscription = world.transport.subscribe(
      subjects.replicas(brokerName).pull,
      (bytes, reply) => {
        const parsed = decode(pullRequest, bytes)
        if (parsed.ok) this.delivery.pull({ ...parsed.value, waitMs: 0 }, reply)
      },
      subjects.replicaQueue,
    )
  }

  close(): void {
    this.#subscription.unsubscribe()
    this.delivery.close()
  }
}
