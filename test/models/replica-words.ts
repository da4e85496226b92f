/** What a replica of the model is made of, what happens to it, and what it puts out. */
import type { BrokerRoleEvent } from '../../machines/broker-role.ts'
import type { EpochStart } from '../../machines/epoch-starts.ts'
import type { GroupState } from '../../machines/group-state.ts'
import type { Term } from '../../machines/peer-replica.ts'

/** Two files: what it promised, and the log. Each is written in the order of the orders; neither waits for the other. */
export type Write =
  | { file: 'promises'; epoch: number }
  | { file: 'promises'; incarnation: number; lineage: number }
  | { file: 'log'; cut: number }
  | { file: 'log'; begin: number }
export type Replica = {
  /** The number of its machine's state; -1 while it is down. */
  state: number
  // On disk.
  promised: number
  incarnation: number
  lineage: number
  log: readonly number[]
  /** The position of the first entry. */
  begin: number
  /** Where the epochs began whose entries are before it. */
  earlier: readonly EpochStart[]
  /** What it knows to be confirmed. */
  confirm: number
  /** What survives the loss of power. */
  synced: number
  /** The newest epoch that it ever acted in. */
  acted: number
  /** It has lost what it had written, and does not know it yet. */
  hasLost: boolean
  /** What lies on the disk behind the end of the log; null: nothing. */
  remains: readonly number[] | null
  // In memory.
  writes: readonly Write[]
  term: Term | null
  following: { epoch: number; masterId: number; isStreaming: boolean } | null
  isHolding: boolean
}

export type Follow = { epoch: number; position: number; lastEpoch: number; lineage: number }
export type Answer = {
  epoch: number
  asked: number
  result: 'streaming' | 'diverging' | 'gone'
  at: number
  end: number
}
export type Data = { epoch: number; from: number; entry: number | null; confirm: number }
export type Ack = { epoch: number; lineage: number; position: number }
export type Message = Follow | Answer | Data | Ack
export const channels = ['follow', 'answer', 'data', 'ack'] as const
export type Channel = (typeof channels)[number]

export type Output =
  | { type: 'sent'; channel: Channel; to: number; message: number }
  | { type: 'swapped'; expected: number; state: GroupState }
  | { type: 'marked'; epoch: number }
  | { type: 'confirmed'; epoch: number; to: number; visible: number }
  | { type: 'appended'; epoch: number }
  | { type: 'broke'; property: string }
  | { type: 'saw'; what: string }

export type Happening =
  | { type: 'event'; event: BrokerRoleEvent }
  | { type: 'written'; file: Write['file'] }
  | { type: 'follow'; from: number; message: Follow }
  | { type: 'answer'; message: Answer }
  | { type: 'data'; from: number; message: Data }
  | { type: 'ack'; from: number; message: Ack }
  | { type: 'send'; value: number }
  | { type: 'retry' }
  | { type: 'limit' }
  | { type: 'crash'; end: number }
  | { type: 'restart' }
  | { type: 'retain'; from: number }

export type Outcome = { replica: number; outputs: readonly Output[] }

export const endOf = ({ begin, log }: Pick<Replica, 'begin' | 'log'>): number => begin + log.length
export const epochOfEntry = (entry: number): number => entry >> 4
export const markOf = (epoch: number): number => epoch << 4
