/**
 * The switchboard: who hears what is published. The memory transport and the NATS listener are two kinds of members
 * of one board, so an actor in this process and a NATS client on a socket talk as if both were either.
 *
 * Invariants: of a queue group exactly one member hears a message, chosen by the world's chance; a message that nobody
 * takes and that asks for an answer is answered at once by the no-responders notice that nats-server sends, to the
 * publisher's own subscription on the reply subject. `take` NEVER runs code of an actor: members in this process
 * queue up through `later`, so a publish is over before anybody hears of it.
 */

import { asBuffer, NO_BYTES } from './bytes.ts'
import { NO_RESPONDERS_BLOCK } from './headers.ts'
import type { Clock, Log, Random } from './ports.ts'
import { createSubjectTrie } from './subject-trie.ts'

export interface Member {
  /** Unlike that of any other member: simulations cut and slow links by it. */
  readonly name: string
  /** Whether it hears what it publishes. */
  readonly echo: boolean
  readonly wantsNoResponders: boolean
}

/** One subscription of a member. */
export interface Ear {
  readonly member: Member
  readonly pattern: string
  /** '' for who hears everything. */
  readonly queue: string
  /**
   * Takes a message, or says false when this ear hears no more. Nobody changes `payload` afterwards, and `sole` says
   * that nobody else will read it either. `block` is the header block as it travels.
   */
  take(payload: Buffer, reply: string, subject: string, block: Buffer | undefined, sole: boolean): boolean
}

/** One message on its way to one ear. */
export type Delivery = {
  readonly from: string
  readonly to: string
  readonly subject: string
  readonly reply: string
  readonly payload: Buffer
}

export type SwitchboardOptions = {
  readonly clock: Clock
  readonly random: Random
  /** The largest payload, in bytes; 8 MiB when it is not given. */
  readonly maxPayload?: number
  /** Hears of hearers that throw. Without it such an error is thrown by a timer of its own, where a test sees it. */
  readonly log?: Log
  /** A simulated network: calls `deliver` now, later, several times or never. */
  readonly route?: (delivery: Delivery, deliver: () => void) => void
}

export interface Switchboard {
  readonly clock: Clock
  readonly random: Random
  readonly maxPayload: number
  listen(ear: Ear): void
  leave(ear: Ear): void
  /** `owned` says that nobody will change the payload any more; else it is copied when there is anybody to hear it. */
  publish(
    from: Member,
    subject: string,
    payload: Uint8Array,
    reply: string,
    block: Buffer | undefined,
    owned: boolean,
  ): void
  /** Runs AFTER all that was queued before, in a later turn. */
  later(run: () => void): void
  report(error: unknown): void
}

const DEFAULT_MAX_PAYLOAD: number = 8 * 1024 * 1024

export function createSwitchboard(options: SwitchboardOptions): Switchboard {
  const { clock, random, maxPayload = DEFAULT_MAX_PAYLOAD, log, route } = options
  const ears = createSubjectTrie<Ear>()
  let queued: (() => void)[] = []

  function later(run: () => void): void {
    if (queued.push(run) === 1) clock.defer(drain)
  }

  // What is queued meanwhile waits for the next turn, so that two actors in a dialogue do not starve the sockets.
  function drain(): void {
    const runs = queued
    queued = []
    for (const run of runs) {
      try {
        run()
      } catch (error) {
        report(error)
      }
    }
  }

  function report(error: unknown): void {
    if (log !== undefined) log.error('a hearer of a message threw', { error })
    else
      clock.setTimeout(() => {
        throw error
      }, 0)
  }

  const publish: Switchboard['publish'] = (from, subject, payload, reply, block, owned) => {
    const heard = ears.match(subject)
    let taken = false
    if (heard !== undefined) {
      const bytes = owned ? asBuffer(payload) : Buffer.from(payload)
      const sole = heard.plain.length + heard.groups.size === 1
      const give = (ear: Ear) =>
        (from.echo || ear.member !== from) && hand(from, ear, bytes, reply, subject, block, sole)
      for (const ear of heard.plain) if (give(ear)) taken = true
      for (const group of heard.groups.values()) if (giveOne(group, give)) taken = true
    }
    if (!taken && reply !== '' && from.wantsNoResponders) tellNoResponders(from, reply)
  }

  function giveOne(group: readonly Ear[], give: (ear: Ear) => boolean): boolean {
    const first = group.length === 1 ? 0 : random.below(group.length)
    for (let i = 0; i < group.length; i++) if (give(group[(first + i) % group.length]!)) return true
    return false
  }

  function tellNoResponders(asker: Member, reply: string): void {
    const ear = ears.match(reply)?.plain.find(({ member }) => member === asker)
    if (ear !== undefined) hand(asker, ear, NO_BYTES, '', reply, NO_RESPONDERS_BLOCK, true)
  }

  function hand(
    from: Member,
    ear: Ear,
    payload: Buffer,
    reply: string,
    subject: string,
    block: Buffer | undefined,
    sole: boolean,
  ): boolean {
    if (route === undefined) return ear.take(payload, reply, subject, block, sole)
    const delivery = { from: from.name, to: ear.member.name, subject, reply, payload }
    route(delivery, () => ear.take(payload, reply, subject, block, false))
    return true
  }

  return {
    clock,
    random,
    maxPayload,
    listen: (ear) => ears.add(ear.pattern, ear.queue, ear),
    leave: (ear) => ears.remove(ear.pattern, ear.queue, ear),
    publish,
    later,
    report,
  }
}
