/**
 * BrokerRole: what one broker process is at the moment, and whether it may take messages.
 *
 * Nobody elects itself: the head (who is master, at which epoch, with which sync state set) comes from the register or,
 * with one replica, from the host. THE HIGHER EPOCH WINS everywhere: a head of an older epoch is never acted on. An epoch
 * belongs to one start of one process: a broker that restarts NEVER continues the epoch of its earlier incarnation, for
 * what that one promised died with its memory.
 *
 * A slave acknowledges in an epoch only AFTER it promised that epoch on disk: from then on no older master confirms
 * anything without it. A master opens its gate only AFTER its epoch is on disk and marked in the log. It changes the sync
 * state set by one swap at a time; until a swap is settled, the old and the new set both count. 'halted' means that the
 * disk, or what the others say, cannot be trusted: nothing but a stop leads out of it, and that leaves the store as it lies.
 *
 *   starting ──▶ awaitingHead ─▶ routing ──elects me─────▶ promoting ──gate.opened──▶ master
 *                                 ▲    │──elects another─▶ slave                        │
 *                     newer head: │    └──nobody─────────▶ waiting                      │ newer head,
 *                                 └───────────gate.drained──────── demoting ◀───────────┘ or handed over
 *   stop.requested: ──▶ stopping ──▶ stopped      disk or log failed: ──▶ halted
 *
 * RocketMQ: broker/controller/ReplicasManager.java, store/ha/autoswitch/AutoSwitchHAService.java
 */
import { assign } from 'xstate'
import { master } from './broker-role/master.ts'
import { slave } from './broker-role/slave.ts'
import {
  adoptEpoch,
  deposed,
  drainGate,
  dropGate,
  epochIn,
  epochOf,
  failed,
  failedToStop,
  forgetAlarm,
  hearHead,
  leave,
  routed,
  withoutRoom,
} from './broker-role/transitions.ts'
import { type BrokerRoleContext, brokerRole, type Own } from './broker-role/vocabulary.ts'

export type { BrokerRoleContext, BrokerRoleEvent, BrokerRoleInput } from './broker-role/vocabulary.ts'

const mine = { type: 'isMine', params: epochIn } as const
const incarnationOf = ({ context: { incarnation, lineage } }: Own) => ({ incarnation, lineage })

export const brokerRoleMachine = brokerRole.createMachine({
  id: 'brokerRole',
  context: ({ input: { brokerName, brokerId } }): BrokerRoleContext => ({
    brokerName,
    brokerId,
    incarnation: 0,
    lineage: 0,
    epoch: 0,
    head: null,
    proposal: null,
    successor: null,
    missing: [],
    position: 0,
    diskFull: false,
    alarm: null,
  }),
  initial: 'starting',
  on: {
    // Told at changes, and when the store was opened anew; in any state.
    'disk.filled': { actions: assign({ diskFull: true }) },
    'disk.freed': { actions: assign({ diskFull: false }) },
    'log.failed': failed,
    'replica.refused': failed,
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
                lineage: event.lineage + (event.mayHaveLost ? 1 : 0),
              })),
            },
            'store.failed': failed,
            'stop.requested': '#abandoning',
          },
        },
        registering: {
          entry: { type: 'persistIncarnation', params: incarnationOf },
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
      on: { 'head.changed': routed, 'stop.requested': leave },
    },
    routing: {
      id: 'routing',
      always: [
        { guard: 'electsMe', target: 'promoting', actions: adoptEpoch },
        { guard: 'followsPromised', target: '#following' },
        { guard: 'electsOther', target: 'slave', actions: adoptEpoch },
        { target: 'waiting' },
      ],
    },
    /** Nobody is master, or an earlier start of this process was: a controller elects. */
    waiting: {
      id: 'waiting',
      tags: 'serves-reads',
      entry: 'serveOrphans',
      exit: 'leaveOrphans',
      on: { 'head.changed': routed, 'stop.requested': leave },
    },
    slave,
    promoting: {
      initial: 'deciding',
      on: { 'head.changed': deposed, 'epoch.failed': failed },
      states: {
        deciding: {
          always: [{ guard: 'needsLease', target: 'outwaiting' }, { target: 'sealing' }],
        },
        /** Replicas that acknowledge later than they store: the deposed master may still answer for a moment. */
        outwaiting: {
          entry: { type: 'awaitLease', params: epochOf },
          on: { 'lease.expired': { guard: mine, target: 'sealing' }, 'stop.requested': leave },
        },
        sealing: {
          initial: 'persisting',
          on: { 'stop.requested': '#closing' },
          states: {
            persisting: {
              entry: { type: 'persistEpoch', params: epochOf },
              on: {
                'epoch.persisted': { guard: mine, target: 'marking', actions: forgetAlarm },
                // It cannot be master now: whoever can is elected, and for want of others this one again.
                'epoch.failed': { ...withoutRoom, target: '#waiting' },
              },
            },
            marking: {
              entry: {
                type: 'markEpoch',
                params: ({ context: { epoch, head } }) => ({
                  epoch,
                  members: head!.syncStateSet,
                  minInSync: head!.minInSync,
                  replication: head!.replication,
                }),
              },
              on: { 'epoch.marked': { guard: mine, target: '#opening' } },
            },
          },
        },
        opening: {
          id: 'opening',
          entry: { type: 'openGate', params: epochOf },
          on: { 'gate.opened': { guard: mine, target: '#master' }, 'stop.requested': '#draining' },
        },
      },
    },
    master,
    demoting: {
      id: 'demoting',
      entry: [assign({ proposal: null, successor: null, missing: [] }), dropGate],
      on: {
        'head.changed': {
          guard: { type: 'isNews', params: ({ event: { head } }) => ({ head }) },
          actions: hearHead,
        },
        'gate.drained': 'routing',
        'stop.requested': '#draining',
      },
    },
    stopping: {
      initial: 'draining',
      on: { 'replica.refused': {} },
      states: {
        draining: {
          id: 'draining',
          entry: ['unregisterBroker', drainGate],
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
      entry: [dropGate, 'unregisterBroker'],
      on: { 'stop.requested': '#abandoning', 'log.failed': {}, 'replica.refused': {} },
    },
    stopped: { id: 'stopped', type: 'final' },
  },
})
