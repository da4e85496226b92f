/**
 * Who reads a queue for a group: AT MOST ONE member at a time.
 *
 * A claim is granted when the queue is free, or when it is forced by a member of a later generation: then the old
 * owner is known to have left the group, or did not let go in time. Whoever was overtaken is refused at its next pull
 * or commit. Kept in memory: after a restart every queue is free and its readers claim it again.
 */
export type Owner = { clientId: string; generation: number }

export class QueueOwners {
  readonly #owners = new Map<string, Map<string, Owner>>()

  of(group: string, queue: string): Owner | undefined {
    return this.#owners.get(group)?.get(queue)
  }

  /** The queues of a group that are owned. */
  in(group: string): ReadonlyMap<string, Owner> {
    return this.#owners.get(group) ?? none
  }

  get groups(): Iterable<string> {
    return this.#owners.keys()
  }

  isOwner(group: string, queue: string, clientId: string, generation: number): boolean {
    const owner = this.of(group, queue)
    return owner !== undefined && owner.clientId === clientId && owner.generation === generation
  }

  /** null when granted, else who holds the queue. */
  claim(group: string, queue: string, { clientId, generation }: Owner, force: boolean): Owner | null {
    const owner = this.of(group, queue)
    const isOwn = owner?.clientId === clientId && generation >= owner.generation
    const mayTake = owner === undefined || isOwn || (force && generation > owner.generation)
    if (!mayTake) return owner
    let owners = this.#owners.get(group)
    if (!owners) {
      owners = new Map()
      this.#owners.set(group, owners)
    }
    owners.set(queue, { clientId, generation })
    return null
  }

  /** Gives back what was claimed up to this generation; a release that comes late NEVER undoes a newer claim. */
  release(group: string, queue: string, { clientId, generation }: Owner): void {
    const owners = this.#owners.get(group)
    const owner = owners?.get(queue)
    if (!owners || owner?.clientId !== clientId || owner.generation > generation) return
    owners.delete(queue)
    if (owners.size === 0) this.#owners.delete(group)
  }

  /** The topic is gone. */
  forget(isGone: (queue: string) => boolean): void {
    for (const [group, owners] of this.#owners) {
      for (const queue of owners.keys()) if (isGone(queue)) owners.delete(queue)
      if (owners.size === 0) this.#owners.delete(group)
    }
  }
}

const none: ReadonlyMap<string, Owner> = new Map()
