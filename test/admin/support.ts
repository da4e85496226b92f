/** Replicas as they describe themselves: the broker `broker-a`, whose master 0 stands at epoch 4 with the slave 1 behind it. */
import type { BrokerDescription, FollowerView } from '../../transport/messages.ts'

export const description = (
  brokerId: number,
  changed: Partial<BrokerDescription> = {},
): BrokerDescription => ({
  ...{ brokerName: 'broker-a', brokerId, role: 'slave', epoch: 4, incarnation: 1, flush: 'async' },
  ...{ topics: 0, groups: 0, messagesIn: 0, messagesOut: 0, bytesIn: 0, bytesOut: 0, logBytes: 0 },
  ...{
    startedAt: 0,
    accepting: true,
    diskFull: false,
    replication: 'sync',
    replicas: 2,
    minInSync: 1,
    lineage: 0,
  },
  ...{ masterId: 0, syncStateSet: [0, 1], endPosition: 100, confirmPosition: 100, followers: [] },
  ...{ masterships: [], lastCut: null, alarm: null },
  ...{ waiting: 0, delivered: 0, dropped: 0, sentBack: 0, deadLetters: 0 },
  ...changed,
})

export const follower: FollowerView = { brokerId: 1, position: 90, lagBytes: 10, lagMs: 5, inSync: true }
