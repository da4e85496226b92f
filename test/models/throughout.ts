/** A test that goes through all worlds of one model. */
import test from 'ava'
import { explore, printed } from '../support/explore.ts'
import type { Model } from './configurations.ts'
import { replicaGroup } from './replica-group.ts'

/** Lets the results of earlier tests out: going through worlds gives nobody else a turn. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

export function holdsThroughout(of: string, { name, configuration, worlds, sees }: Model): void {
  test.serial(`${of}: every promise is kept in every world: ${name}`, async (t) => {
    t.timeout(600_000)
    await turn()
    const group = replicaGroup(configuration)
    const { violation, ...found } = explore(group)
    t.is(violation && printed(violation), null)
    t.deepEqual(
      sees.filter((what) => !group.seen.has(what)),
      [],
    )
    t.true(found.isWhole)
    t.is(found.worlds, worlds)
  })
}
