/**
 * Small numbers for plain values, and machines that run on them.
 *
 * Equal values have equal numbers, so a world is a row of numbers, and what a machine does with an event in a state is
 * computed AT MOST ONCE. The machine is the real one; its orders come back as data and nothing carries them out here.
 */
import { type AnyMachineSnapshot, type AnyStateMachine, createEmptyActor } from 'xstate'

export type Interned<T> = { of(value: T): number; at(id: number): T; readonly size: number }

/** Number 0 is `first`. */
export function interned<T>(...first: T[]): Interned<T> {
  const ids = new Map<string, number>()
  const values: T[] = []
  const of = (value: T): number => {
    const key = JSON.stringify(value)
    let id = ids.get(key)
    if (id === undefined) {
      id = values.push(value) - 1
      ids.set(key, id)
    }
    return id
  }
  first.forEach(of)
  return {
    of,
    at: (id) => values[id]!,
    get size() {
      return values.length
    },
  }
}

export type Effect = { type: string; params: any }
export type Move = { state: number; effects: readonly Effect[] }

export type MachineTable = {
  start(input: object): Move
  send(state: number, event: { type: string }): Move
  at(state: number): AnyMachineSnapshot
  /** All that was ever computed, to be compared with what XState's public functions say. */
  edges(): { state: number; event: { type: string }; move: Move }[]
}

/**
 * `forget` drops what no later decision of the machine depends on. `tellsTimers`: that a timer is set (`xstate.raise`) or
 * given up (`xstate.cancel`) is told among the orders.
 */
export function machineTable(
  machine: AnyStateMachine,
  forget: (snapshot: AnyMachineSnapshot) => AnyMachineSnapshot = (snapshot) => snapshot,
  tellsTimers = false,
): MachineTable {
  const snapshots: AnyMachineSnapshot[] = []
  const ids = new Map<string, number>()
  const moves: Map<string, Move>[] = []
  let effects: Effect[] = []

  const self = createEmptyActor()
  const nothing = () => {}
  // Public transition() builds an actor for every call; the machine's own method needs only a scope.
  const scope: any = {
    self,
    system: self.system,
    id: '',
    sessionId: '',
    logger: nothing,
    defer: nothing,
    stopChild: nothing,
    emit: nothing,
    actionExecutor: ({ type, params }: Effect) => {
      const isTimer = type === 'xstate.cancel' || (type === 'xstate.raise' && params.delay !== undefined)
      if (!type.startsWith('xstate.') || (tellsTimers && isTimer)) effects.push({ type, params })
    },
  }
  const moved = (snapshot: AnyMachineSnapshot): Move => {
    const kept = forget(snapshot)
    const key = JSON.stringify([kept.value, kept.context])
    let state = ids.get(key)
    if (state === undefined) {
      state = snapshots.push(kept) - 1
      ids.set(key, state)
      moves.push(new Map())
    }
    const move = { state, effects }
    effects = []
    return move
  }
  return {
    start: (input) => moved(machine.getInitialSnapshot(scope, input as never) as AnyMachineSnapshot),
    send(state, event) {
      const key = JSON.stringify(event)
      let move = moves[state]!.get(key)
      if (move === undefined) {
        move = moved(machine.transition(snapshots[state]!, event as never, scope))
        moves[state]!.set(key, move)
      }
      return move
    },
    at: (state) => snapshots[state]!,
    edges: () =>
      moves.flatMap((from, state) =>
        [...from].map(([event, move]) => ({ state, event: JSON.parse(event), move })),
      ),
  }
}

/** The events by which the delays of that name end: all of them, for only one of them is ever awaited. */
export function endsOf(machine: AnyStateMachine, delay: string): { type: string }[] {
  return machine.events
    .filter((event) => event.startsWith(`xstate.after.${delay}.`))
    .map((type) => ({ type }))
}
