/**
 * Reads while there is no master: a slave serves what it knows to be confirmed, and nothing else.
 *
 * That is a prefix of what every later master has, so it is never wrong, only short. Where a queue begins and ends is told
 * by members of the sync state set ONLY: what any other slave lacks may be more than what was confirmed last. Nothing is
 * held: whoever asked asks again, and finds the next master. Offsets are committed to a master only.
 *
 * RocketMQ: docs/cn/SlaveActingMasterMode.md
 */
import { decode, refuse, serve } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { offsetSearch, pullRequest } from '../../transport/messages.ts'
import type { Subscription } from '../../transport/transport.ts'
import type { Process } from '../node/process.ts'
import { Delivery } from './delivery.ts'
import { searchOffset } from './offset-search.ts'
import type { ReplicaDisk } from './replica-disk.ts'
import type { Store } from './store/store.ts'

export type Orphan = {
  readonly brokerName: string
  readonly store: Store
  readonly state: ReplicaDisk['state']
  /** Whether this replica belongs to the sync state set, as far as it knows. */
  isMember(): boolean
}

export class OrphanReads {
  readonly delivery: Delivery
  readonly #subscriptions: readonly Subscription[]

  constructor({ world, subjects }: Process, { brokerName, store, state, isMember }: Orphan) {
    const { pull, searchOffset: search } = subjects.replicas(brokerName)
    const { replicaQueue } = subjects
    const { transport } = world
    this.delivery = new Delivery(store, state, world, store.epoch, {
      isOwner: () => true,
      comesFromOwner: () => true,
    })
    const pulled = (bytes: Buffer, reply: string) => {
      const parsed = decode(pullRequest, bytes)
      if (parsed.ok) this.delivery.pull({ ...parsed.value, waitMs: 0 }, reply)
    }
    this.#subscriptions = [
      transport.subscribe(pull, pulled, replicaQueue),
      serve(
        transport,
        search,
        offsetSearch,
        (request, answer) => {
          if (isMember()) searchOffset(store, state, request, answer)
          else
            answer(
              refuse(codes.SYSTEM_BUSY, 'this replica may lack what was confirmed last: ask another one'),
            )
        },
        replicaQueue,
      ),
    ]
  }

  close(): void {
    for (const subscription of this.#subscriptions) subscription.unsubscribe()
    this.delivery.close()
  }
}
