/** What one client knows of the cluster's brokers, kept fresh by pushes. Losing every name server takes nothing away. */
import { type ClusterView, compareText } from '../../machines/topic.ts'
import { ask, hear } from '../../transport/codec.ts'
import { clusterView } from '../../transport/messages.ts'
import type { Process } from '../node/process.ts'

const ASK_MS = 1_000

export type Master = { brokerName: string; epoch: number }

export type ClusterWatch = {
  /** The masters, sorted by name; empty until a name server has answered. */
  readonly masters: readonly Master[]
  /** Asks again, then calls back, whether or not somebody answered. */
  refresh(done: () => void): void
  stop(): void
}

export function watchCluster({ world, subjects }: Process): ClusterWatch {
  let masters: Master[] = []

  // The views of several name servers may differ: of each broker the newest epoch counts, from whomever it is heard.
  const adopt = (view: ClusterView): void => {
    const newest = new Map<string, number>()
    for (const { brokerName, epoch, role } of view.brokers) {
      if (role === 'master') newest.set(brokerName, Math.max(epoch, newest.get(brokerName) ?? 0))
    }
    for (const { brokerName, epoch } of masters) {
      const heard = newest.get(brokerName)
      if (heard !== undefined && heard < epoch) newest.set(brokerName, epoch)
    }
    masters = [...newest]
      .map(([brokerName, epoch]) => ({ brokerName, epoch }))
      .sort((a, b) => compareText(a.brokerName, b.brokerName))
  }
  const pushes = hear(world.transport, subjects.clusterChanged, clusterView, adopt)

  return {
    get masters() {
      return masters
    },
    refresh(done) {
      ask(world.transport, subjects.nameServer.cluster, {}, ASK_MS, (outcome) => {
        if (outcome.ok && outcome.value.code === 0 && 'value' in outcome.value) adopt(outcome.value.value)
        done()
      })
    },
    stop: () => pushes.unsubscribe(),
  }
}
