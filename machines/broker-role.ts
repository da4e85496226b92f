/**
 * BrokerRole: what one broker process is at the moment, and whether it may take messages.
 *
 * Nobody elects itself: a head (who is master, at which epoch) comes from the register or, with one replica, from the
 * host. THE HIGHER EPOCH WINS everywhere: a head of an older or equal epoch is never acted on. An epoch belongs to one
 * start of one process: a broker that restarts NEVER continues the epoch of its earlier incarnation, for what that one
 * promised died with its memory.
 *
 * Before the gate opens, the epoch is on disk and marked in the log, in this order, each awaited in a state of its own.
 * 'halted' means that the disk cannot be trusted; nothing but a stop leads out of it, and that leaves the store as it
 * lies, so that the next start checks it.
 *
 *   starting ──▶ awaitingHead ──elects me──▶ promoting ──gate.opened──▶ master
 *                     ▲                          └──newer head──▶ demoting ◀──newer head──┘
 *                     └───────────gate.drained────────────────────────┘
 *   stop.requested: ──▶ stopping ──▶ stopped      disk or log failed: ──▶ halted
 *
 * The states of a slave hang on 'awaitingHead': a head that elects another is heard there.
 * RocketMQ: broker/controller/ReplicasManager.java, BrokerController.java
 */
import { assign, setup } from 'xstate'
import { effect } from './effect.ts'

export type BrokerRoleInput = { brokerName: string; brokerId: number }
export type BrokerRoleContext = {
  brokerName: string
  brokerId: number
  /** Which start of this broker it is: one more than the store remembers. */
  incarnation: number
  /** The newest epoch heard of; a master's own. */
  epoch: number
  /** Where the log ends: at the start, then where the epoch was marked. */
  endPosition: number
  diskFull: boolean
  /** What went wrong last; null while nothing did. */
  alarm: Alarm | null
}
type Alarm = { code: string; message: string }
export type BrokerRoleEvent =
  /** What the store remembers of the process that had it before. */
  | { type: 'store.loaded'; epoch: number; incarnation: number; endPosition: number }
  | ({ type: 'store.failed' } & Alarm)
  | { type: 'store.closed' }
  | { type: 'incarnation.persisted'; incarnation: number }
  | ({ type: 'incarnation.failed' } & Alarm)
  | { type: 'head.changed'; epoch: number; masterId: number; masterIncarnation: number }
  | { type: 'epoch.persisted'; epoch: number }
  | { type: 'epoch.marked'; epoch: number; position: number }
  | ({ type: 'epoch.failed' } & Alarm)
  | { type: 'gate.opened'; epoch: number }
  /** Every send that was let in is answered. */
  | { type: 'gate.drained' }
  | { type: 'disk.filled' }
  | { type: 'disk.freed' }
  | ({ type: 'log.failed' } & Alarm)
  | { type: 'stop.requested' }

type Head = { epoch: number; masterId: number; masterIncarnation: number }
type Own = { context: BrokerRoleContext }

const brokerRole = setup({
  types: {} as {
    input: BrokerRoleInput
    context: BrokerRoleContext
    events: BrokerRoleEvent
    tags: 'accepts-writes' | 'serves-reads'
  },
  actions: {
    /** Recovers the log. Answers store.loaded or store.failed. */
    loadStore: effect('loadStore'),
    /** Answers incarnation.persisted or incarnation.failed, AFTER it is on disk. */
    persistIncarnation: effect<{ incarnation: number }>('persistIncarnation'),
    /** Asks who is master. With one replica the host answers itself: this process, at the next epoch. */
    readHead: effect<{ epoch: number; incarnation: number }>('readHead'),
    /** Answers epoch.persisted or epoch.failed, AFTER it is on disk. */
    persistEpoch: effect<{ epoch: number }>('persistEpoch'),
    /** Writes the epoch's first record. Answers epoch.marked or epoch.failed, AFTER it is on disk. */
    markEpoch: effect<{ epoch: number }>('markEpoch'),
    /** Listens under this epoch. Answers gate.opened. */
    openGate: effect<{ epoch: number }>('openGate'),
    /** Lets nobody in any more, at once; answers all who are in, then gate.drained. Idempotent. */
    closeGate: effect<{ epoch: number }>('closeGate'),
    registerBroker: effect<{ epoch: number }>('registerBroker'),
    unregisterBroker: effect('unregisterBroker'),
    /** Answers store.closed. `clean`: everything is on disk, and the next start may rely on it. */
    closeStore: effect<{ clean: boolean }>('closeStore'),
    raiseAlarm: effect<Alarm>('raiseAlarm'),
  },
  guards: {
    electsMe: ({ context }, head: Head) =>
      head.epoch > context.epoch &&
      head.masterId === context.brokerId &&
      head.masterIncarnation === context.incarnation,
    isNewer: ({ context }, { epoch }: { epoch: number }) => epoch > context.epoch,
    isMine: ({ context }, { epoch }: { epoch: number }) => epoch === context.epoch,
    isMyIncarnation: ({ context }, { incarnation }: { incarnation: number }) =>
      incarnation === context.incarnation,
    isDiskFull: ({ context }) => context.diskFull,
    isDiskFree: ({ context }) => !context.diskFull,
  },
  delays: { headRetry: 1_000, drainLimit: 5_000 },
})

const epochOf = ({ context: { epoch } }: Own) => ({ epoch })
const epochIn = ({ event: { epoch } }: { event: { epoch: number } }) => ({ epoch })
const headIn = ({ event: { epoch, masterId, masterIncarnation } }: { event: Head }): Head => ({
  epoch,
  masterId,
  masterIncarnation,
})
const closeGate = { type: 'closeGate', params: epochOf } as const
const hearEpoch = brokerRole.assign({
  epoch: ({ context, event }) => ('epoch' in event ? event.epoch : context.epoch),
})
const newerHead = { guard: { type: 'isNewer', params: epochIn }, target: '#demoting' } as const
const alert = [
  brokerRole.assign({
    alarm: ({ event }) => ('message' in event ? { code: event.code, message: event.message } : null),
  }),
  { type: 'raiseAlarm', params: ({ context: { alarm } }: Own) => alarm! },
] as const
const failed = { target: '#halted', actions: alert } as const
const failedToStop = { target: '#abandoning', actions: alert } as const

export const brokerRoleMachine = brokerRole.createMachine({
  id: 'brokerRole',
  context: ({ input: { brokerName, brokerId } }) => ({
    brokerName,
    brokerId,
    incarnation: 0,
    epoch: 0,
    endPosition: 0,
    diskFull: false,
    alarm: null,
  }),
  initial: 'starting',
  on: {
    // Levels, not edges: told again at every check, in any state.
    'disk.filled': { actions: assign({ diskFull: true }) },
    'disk.freed': { actions: assign({ diskFull: false }) },
    'log.failed': failed,
  },
  states: {
    starting: {
      initial: 'loading',
      states: {
        loading: {
          entry: 'loadStore',
          on: {
            'store.loaded': {
              target: 'registering',
              actions: assign(({ event }) => ({
                epoch: event.epoch,
                incarnation: event.incarnation + 1,
                endPosition: event.endPosition,
              })),
            },
            'store.failed': failed,
            'stop.requested': '#abandoning',
          },
        },
        registering: {
          entry: {
            type: 'persistIncarnation',
            params: ({ context: { incarnation } }) => ({ incarnation }),
          },
          on: {
            'incarnation.persisted': {
              guard: {
                type: 'isMyIncarnation',
                params: ({ event: { incarnation } }) => ({ incarnation }),
              },
              target: '#awaitingHead',
            },
            'incarnation.failed': failed,
            'stop.requested': '#closing',
          },
        },
      },
    },
    awaitingHead: {
      id: 'awaitingHead',
      entry: {
        type: 'readHead',
        params: ({ context: { epoch, incarnation } }) => ({ epoch, incarnation }),
      },
      after: { headRetry: { target: 'awaitingHead', reenter: true } },
      on: {
        'head.changed': [
          { guard: { type: 'electsMe', params: headIn }, target: 'promoting', actions: hearEpoch },
          { guard: { type: 'isNewer', params: epochIn }, actions: hearEpoch },
        ],
        'stop.requested': '#closing',
      },
    },
    promoting: {
      initial: 'sealing',
      on: { 'head.changed': newerHead, 'epoch.failed': failed },
      states: {
        sealing: {
          initial: 'persisting',
          on: { 'stop.requested': '#closing' },
          states: {
            persisting: {
              entry: { type: 'persistEpoch', params: epochOf },
              on: { 'epoch.persisted': { guard: { type: 'isMine', params: epochIn }, target: 'marking' } },
            },
            marking: {
              entry: { type: 'markEpoch', params: epochOf },
              on: {
                'epoch.marked': {
                  guard: { type: 'isMine', params: epochIn },
                  target: '#opening',
                  actions: assign({ endPosition: ({ event }) => event.position }),
                },
              },
            },
          },
        },
        opening: {
          id: 'opening',
          entry: { type: 'openGate', params: epochOf },
          on: {
            'gate.opened': { guard: { type: 'isMine', params: epochIn }, target: '#master' },
            'stop.requested': '#draining',
          },
        },
      },
    },
    master: {
      id: 'master',
      tags: 'serves-reads',
      entry: { type: 'registerBroker', params: epochOf },
      initial: 'serving',
      on: { 'head.changed': newerHead, 'stop.requested': '#draining' },
      states: {
        serving: { tags: 'accepts-writes', always: { guard: 'isDiskFull', target: 'blocked' } },
        blocked: { always: { guard: 'isDiskFree', target: 'serving' } },
      },
    },
    demoting: {
      id: 'demoting',
      entry: [closeGate, 'unregisterBroker'],
      on: { 'gate.drained': 'awaitingHead', 'stop.requested': '#draining' },
    },
    stopping: {
      initial: 'draining',
      states: {
        draining: {
          id: 'draining',
          entry: ['unregisterBroker', closeGate],
          // Whoever is still in gets no answer: a send whose fate is unknown is sent again.
          after: { drainLimit: 'closing' },
          on: { 'gate.drained': 'closing', 'log.failed': failedToStop },
        },
        closing: {
          id: 'closing',
          entry: { type: 'closeStore', params: { clean: true } },
          on: { 'store.closed': '#stopped', 'store.failed': failedToStop, 'log.failed': failedToStop },
        },
        abandoning: {
          id: 'abandoning',
          entry: { type: 'closeStore', params: { clean: false } },
          on: { 'store.closed': '#stopped', 'log.failed': {} },
        },
      },
    },
    halted: {
      id: 'halted',
      entry: [closeGate, 'unregisterBroker'],
      on: { 'stop.requested': '#abandoning', 'log.failed': {} },
    },
    stopped: { id: 'stopped', type: 'final' },
  },
})
