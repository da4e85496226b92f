/** What a world of a broker group is made of: which number of its row stands for what. */
import type { AnyMachineSnapshot } from 'xstate'
import type { GroupState, Head } from '../../machines/group-state.ts'
import type { Configuration } from './configurations.ts'
import { controllers } from './controller.ts'
import { type History, noHistory } from './history.ts'
import { interned } from './interning.ts'
import { replicas } from './replica.ts'
import { channels, type Message, type Replica } from './replica-words.ts'
import type { Rules } from './rules.ts'

/** A swap that somebody has asked for. */
export type Swap = {
  expected: number
  state: GroupState
  /** What it made of the register; 0: it is not done yet. */
  revision: number
  /** Nobody waits for its answer. */
  isOrphan: boolean
}
export type Register = {
  head: Head | null
  /** The head with which its epoch began. */
  origin: Head | null
  /** Those of earlier epochs of which somebody may still hear. */
  earlier: Head[]
  /** What it may go back to. */
  before: Head | null
}

/** What is left of each, three bits for each. */
const shifts = {
  sends: 0,
  crashes: 3,
  losses: 6,
  proposals: 9,
  handovers: 12,
  retentions: 15,
  rollbacks: 18,
  wipes: 21,
  unclean: 24,
  silences: 27,
}
export type Budget = keyof typeof shifts

export class Worlds {
  readonly rules: Rules
  readonly configuration: Configuration
  readonly ids: readonly number[]
  readonly messages = interned<Message | null>(null)
  readonly registers = interned<Register>({ head: null, origin: null, earlier: [], before: null })
  readonly swaps = interned<Swap | null>(null)
  readonly histories = interned<History>(noHistory)
  readonly own: ReturnType<typeof replicas>
  readonly control: ReturnType<typeof controllers>

  // The columns. Before them: a number for each replica.
  readonly register: number
  readonly controller: number
  /** One for each replica, then the controller's. */
  readonly swap: number
  /** A replica's swap that it no longer waits for. */
  readonly left: number
  readonly net: number
  readonly history: number
  readonly budget: number
  readonly width: number

  constructor(configuration: Configuration, rules: Rules) {
    const { replicas: count, minInSync } = configuration
    this.configuration = configuration
    this.rules = rules
    this.ids = [...Array(count).keys()]
    this.own = replicas(rules, configuration, this.messages)
    this.control = controllers(rules, { replicas: count, minInSync, replication: 'sync' })
    this.register = count
    this.controller = count + 1
    this.swap = count + 2
    this.left = this.swap + count + 1
    this.net = this.left + count
    this.history = this.net + channels.length * count * count
    this.budget = this.history + 1
    this.width = this.budget + 1
  }

  /** Where the newest message of that kind between the two lies. */
  wire(channel: number, from: number, to: number): number {
    const count = this.ids.length
    return this.net + (channel * count + from) * count + to
  }
  budgetLeft(world: Int32Array, budget: Budget): number {
    return (world[this.budget]! >> shifts[budget]) & 7
  }
  spend(world: Int32Array, budget: Budget): void {
    world[this.budget]! -= 1 << shifts[budget]
  }
  /** A full purse. */
  get budgets(): number {
    const names = Object.keys(shifts) as Budget[]
    return names.reduce((sum, name) => sum + ((this.configuration[name] ?? 0) << shifts[name]), 0)
  }

  replicaAt(world: Int32Array, id: number): Replica {
    return this.own.all.at(world[id]!)
  }
  snapshotOf({ state }: Replica): AnyMachineSnapshot | null {
    return state < 0 ? null : this.own.table.at(state)
  }
  head(world: Int32Array): Head | null {
    return this.registers.at(world[this.register]!).head
  }
  revision(world: Int32Array): number {
    return this.head(world)?.revision ?? 0
  }

  describe(world: Int32Array): string {
    const rows = this.ids.map((id) => {
      const replica = this.replicaAt(world, id)
      const value = JSON.stringify(this.snapshotOf(replica)?.value ?? 'down')
      return `broker ${id} ${value} ${JSON.stringify(replica)}`
    })
    const history = JSON.stringify(this.histories.at(world[this.history]!))
    return [`register ${JSON.stringify(this.head(world))}`, ...rows, `history ${history}`].join('\n')
  }
}
