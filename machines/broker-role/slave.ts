/**
 * A slave: follows the master of one epoch.
 *
 * It promises the epoch on disk BEFORE it follows, so that what it acknowledges never helps an older master. It cuts its
 * log where it differs from the master's, and NEVER below what it knows to be confirmed, unless the epoch was ordered to
 * be unclean. While it cuts there is no log: a head that comes meanwhile is acted on only AFTER. While the master is silent
 * it serves what is confirmed to readers, and goes on trying. So it does while its disk has no room for what must be on it.
 */
import { assign } from 'xstate'
import {
  epochIn,
  epochOf,
  failed,
  forgetAlarm,
  heard,
  leave,
  registerAs,
  routedAnew,
  tellAlarm,
  withoutRoom,
} from './transitions.ts'
import { brokerRole, type EventOf, type Own } from './vocabulary.ts'

const ofThisEpoch = { type: 'isMine', params: epochIn } as const
const positionOf = ({ context: { position } }: Own) => ({ position })

const belowConfirmed = (to: number, confirm: number) => ({
  code: 'TRUNCATION_BELOW_CONFIRMED',
  message:
    `the master's log differs from this one at position ${to}, but everything below ${confirm} was confirmed: one of ` +
    'the two stores was changed by other hands. Nothing is cut; find out which is wrong, remove it and start again',
})

export const slave = brokerRole.createStateConfig({
  id: 'slave',
  initial: 'adopting',
  on: { 'head.changed': routedAnew, 'stop.requested': leave },
  states: {
    adopting: {
      entry: { type: 'persistEpoch', params: epochOf },
      on: {
        'epoch.persisted': { guard: ofThisEpoch, target: 'following', actions: forgetAlarm },
        'epoch.failed': [{ ...withoutRoom, target: 'awaitingRoom' }, failed],
      },
    },
    awaitingRoom: { after: { roomRetry: 'adopting' } },
    following: {
      id: 'following',
      entry: [
        {
          type: 'followMaster',
          params: ({ context: { epoch, head } }: Own) => ({ epoch, masterId: head!.masterId! }),
        },
        registerAs('slave'),
      ],
      exit: 'stopFollowing',
      initial: 'connecting',
      on: {
        'log.diverged': [
          { guard: { type: 'isOtherEpoch', params: epochIn } },
          {
            guard: { type: 'keepsConfirmed', params: ({ event: { to, confirm } }) => ({ to, confirm }) },
            target: 'truncating',
            actions: assign({ position: ({ event }) => event.to }),
          },
          {
            target: '#halted',
            actions: [
              assign({ alarm: ({ event: { to, confirm } }) => belowConfirmed(to, confirm) }),
              tellAlarm,
            ],
          },
        ],
        'log.gone': {
          guard: ofThisEpoch,
          target: 'rebuilding',
          actions: assign({ position: ({ event }) => event.minPosition }),
        },
        'master.silent': { guard: ofThisEpoch, target: '.orphaned' },
        'stream.started': { guard: ofThisEpoch, target: '.catchingUp' },
        'stream.behind': { guard: ofThisEpoch, target: '.catchingUp' },
        'stream.caughtUp': { guard: ofThisEpoch, target: '.inSync' },
      },
      states: {
        connecting: {},
        catchingUp: { on: { 'stream.behind': {} } },
        /** It has what the master has; whether it counts is the head's word. */
        inSync: { on: { 'stream.caughtUp': {} } },
        orphaned: {
          tags: 'serves-reads',
          entry: 'serveOrphans',
          exit: 'leaveOrphans',
          on: { 'master.silent': {}, 'master.heard': { guard: ofThisEpoch, target: 'catchingUp' } },
        },
      },
    },
    truncating: {
      entry: { type: 'truncateLog', params: ({ context: { position } }: Own) => ({ to: position }) },
      on: {
        'head.changed': heard,
        'log.truncated': { target: '#routing', actions: forgetAlarm },
        'log.failed': [{ ...withoutRoom, target: 'awaitingRoomToCut' }, failed],
      },
    },
    awaitingRoomToCut: { after: { roomRetry: 'truncating' }, on: { 'head.changed': heard } },
    /** What it has is older than all that the master kept: it begins anew, and counts no more until it has caught up. */
    rebuilding: {
      initial: 'persisting',
      on: { 'head.changed': heard },
      states: {
        persisting: {
          entry: [
            assign({ lineage: ({ context }) => context.lineage + 1 }),
            {
              type: 'persistIncarnation',
              params: ({ context: { incarnation, lineage } }: Own) => ({ incarnation, lineage }),
            },
          ],
          on: {
            'incarnation.persisted': {
              guard: {
                type: 'isMyLineage',
                params: ({ event: { lineage } }: { event: EventOf<'incarnation.persisted'> }) => ({
                  lineage,
                }),
              },
              target: 'emptying',
            },
            'incarnation.failed': failed,
          },
        },
        emptying: {
          entry: { type: 'emptyLog', params: positionOf },
          on: { 'log.emptied': '#routing' },
        },
      },
    },
  },
})
