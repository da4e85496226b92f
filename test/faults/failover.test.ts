/** Masters and slaves as processes that are killed and paused: what was acknowledged is there, once, in order, on both. */
import test from 'ava'
import { isMaster, type Stage, stage } from './replicated.ts'

/** Kills the master under load, and brings it back as a slave in sync. */
async function failOver(made: Stage, goesOn: () => Promise<void>): Promise<void> {
  const { cluster, client } = made
  const { epoch } = await made.converged()
  const master = await cluster.masterOf(client)
  await master.kill()
  await goesOn()
  await isMaster(made, 1 - master.brokerId)
  await master.start()
  const after = await made.converged()
  if (after.epoch <= epoch) throw new Error(`epoch ${after.epoch} after ${epoch}`)
}

for (const home of ['listener', 'jetstream'] as const) {
  test.serial(
    `failover: a killed master loses, doubles and reorders nothing that was acknowledged, over ${home}`,
    async (t) => {
      const made = await stage(t, { home })
      const load = made.load()
      for (let round = 0; round < 2; round++) {
        await load.goesOn()
        await failOver(made, () => load.goesOn())
      }
      const { masterId, syncStateSet } = await made.judge(load)
      t.deepEqual(syncStateSet, [0, 1])
      t.not(masterId, null)
    },
  )
}
