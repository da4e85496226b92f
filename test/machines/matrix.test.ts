import test from 'ava'
import type { AnyStateMachine } from 'xstate'
import { leavesOf, machines, pathOf, type Way, waysFrom } from '../support/machines.ts'

/** What each state does with each event of its machine: where it leads, that it is handled on the spot, or ignored. */
function matrixOf(machine: AnyStateMachine): string {
  const events = machine.events.filter((event) => !event.startsWith('xstate.')).sort()
  return leavesOf(machine.root)
    .map((leaf) => {
      const ways = events.map((event) => [event, waysFrom(leaf, event)] as const)
      const handled = ways.filter(([, found]) => found.length > 0)
      const ignored = ways.filter(([, found]) => found.length === 0).map(([event]) => event)
      const rows = handled.map(
        ([event, found]) => `  ${event}: ${[...new Set(found.map(written))].join(' | ')}`,
      )
      return [pathOf(leaf), ...rows, `  ignored: ${ignored.join(', ') || 'nothing'}`].join('\n')
    })
    .join('\n\n')
}

const written = ({ target, guard, isConditional }: Way): string =>
  (target ? `to ${pathOf(target)}` : 'handled') + (isConditional ? ` [${guard ?? '...'}]` : '')

for (const [name, machine] of machines) {
  test(`${name}: every state handles or ignores every event on purpose`, (t) => {
    t.snapshot(matrixOf(machine))
  })
}
