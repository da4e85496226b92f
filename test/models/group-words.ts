/** The words of the model of a consumer group: all of them are plain values, so that equal ones have equal numbers. */
import type { Assignment } from '../../machines/group-coordinator.ts'
import type { QueueClaim } from '../../machines/queue-owner.ts'

export const TOPIC = 'T'

/** One process that consumes. A later one of the same client id is another slot. */
export type Slot = {
  status: 'absent' | 'up' | 'paused' | 'gone'
  /** Of the machine; -1: there is none. */
  state: number
  timers: Timers
  /** What its host reads of each queue. */
  reads: (Read | null)[]
  /** What was taken from it, and how far that was handled. */
  dropped: ([assignEpoch: number, position: number] | null)[]
  /** Who waits until what runs has ended. */
  drains: (Drain | null)[]
}
export type Timers = Record<string, { type: string }>
export type Drain = { generation: number; assignEpoch: number }
export type Read = {
  assignEpoch: number
  position: number
  isRunning: boolean
  isStopped: boolean
  /** What was committed last, as far as was sent. */
  sent: number
}

/** What happens to a consumer. */
export type SlotHappening =
  | { is: 'start' | 'pause' | 'wake' | 'crash' }
  | { is: 'event'; event: { type: string } }
  | { is: 'timer'; id: string }
  | { is: 'claimed'; queue: number; generation: number; assignEpoch: number; committed: number }
  | { is: 'read' | 'fenced' | 'finish' | 'commit' | 'commitLost'; queue: number }
  | { is: 'released'; queue: number; generation: number; assignEpoch: number }

export type SlotOutput =
  | { out: 'sent'; message: Message }
  | { out: 'beat'; generation: number }
  | { out: 'began'; queue: number; assignEpoch: number; position: number }
  | { out: 'finished'; queue: number; offset: number }
  | { out: 'broke' | 'saw'; what: string }

/** The coordinator of the group; another one follows in its place. */
export type Coordinator = { state: number; timers: Timers }
export type CoordinatorOutput =
  | { out: 'accepted' | 'rejected'; slot: number }
  | { out: 'refused'; slot: number; isFinal: boolean }
  | { out: 'pushed'; told: Assignment; to: string | null }
  | { out: 'told'; generation: number; gone: string[] | null }
  | { out: 'broke' | 'saw'; what: string }

/** What the log of a queue's broker says of it. */
export type OwnerRecord = { assignEpoch: number; owner: QueueClaim | null; committed: number }
/** One queue at its broker. */
export type Queue = {
  state: number
  /** Whose claim waits, as its host knows. */
  waiting: Asked | null
  record: OwnerRecord
  /** What is confirmed of the record; null: all of it. */
  confirmed: OwnerRecord | null
  /** What is answered AFTER the record is confirmed. */
  answers: Pending[]
  /** A bit for each message that somebody has handled. */
  handled: number
  /** The latest grant that anybody was told of, and who. */
  top: [assignEpoch: number, slot: number]
}
export type Asked = { slot: number; generation: number; isOrphan: boolean }
export type Pending =
  | ({ to: 'claim'; assignEpoch: number } & Asked)
  | { to: 'release'; release: Extract<Message, { kind: 'release' }> }

export type QueueHappening =
  | { is: 'message'; message: Message }
  | { is: 'expiry' | 'reset' | 'confirm' | 'loss' | 'failover' }
  | { is: 'handled'; offset: number }
  | { is: 'began'; assignEpoch: number; position: number }
export type QueueOutput =
  | { out: 'sent'; message: Message }
  | { out: 'forced'; owner: string }
  | { out: 'broke' | 'saw'; what: string }

/** On its way. `isOrphan`: nobody waits for an answer any more. */
export type Message =
  | { kind: 'join'; slot: number; generation: number; held: string[]; isOrphan: boolean }
  /** unanswered: it did not hear what became of its join. */
  | { kind: 'leaving' | 'left' | 'unanswered'; slot: number }
  | { kind: 'push'; slot: number; generation: number; members: string[]; share: string[] }
  | {
      kind: 'claim'
      queue: number
      slot: number
      generation: number
      force: boolean
      waits: boolean
      isOrphan: boolean
    }
  | {
      kind: 'granted'
      queue: number
      slot: number
      generation: number
      assignEpoch: number
      committed: number
    }
  | {
      kind: 'refused'
      queue: number
      slot: number
      generation: number
      owner: string | null
      ownerGeneration: number
    }
  | { kind: 'failed'; queue: number; slot: number; generation: number }
  | {
      kind: 'release'
      queue: number
      slot: number
      generation: number
      assignEpoch: number
      offset: number | null
      isOrphan: boolean
    }
  | { kind: 'released'; release: Extract<Message, { kind: 'release' }>; slot: number; queue: number }
  /** The coordinator says that the consumer, which owns the queue, is gone. */
  | { kind: 'gone'; queue: number; slot: number; generation: number }
  | { kind: 'commit'; queue: number; slot: number; assignEpoch: number; offset: number }
