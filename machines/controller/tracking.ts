/**
 * A controller while there is a master: finds out whether it lives.
 *
 * A master that is late is asked; it counts as gone ONLY AFTER two probes in a row got no answer, or when it says itself
 * that it was started anew or will not be master. What it takes for gone may still be heard by others: balloting asks them.
 */
import {
  anew,
  ballotBecause,
  because,
  controller,
  learnSettings,
  masterIs,
  newer,
  resigned,
  restarted,
} from './vocabulary.ts'

const countUnanswered = controller.assign({ unanswered: ({ context }) => context.unanswered + 1 })

export const tracking = controller.createStateConfig({
  id: 'tracking',
  initial: 'healthy',
  on: {
    ...anew,
    'head.changed': { ...newer, reenter: true },
    'beat.heard': [
      { guard: masterIs, target: '.healthy', reenter: true, actions: learnSettings },
      restarted,
      resigned,
      { actions: learnSettings },
    ],
  },
  states: {
    healthy: {
      entry: controller.assign({ unanswered: 0, reason: null }),
      always: { guard: 'hasNoMaster', ...ballotBecause('noMaster') },
      after: { masterLate: 'probing' },
    },
    probing: {
      entry: {
        type: 'probeMaster',
        params: ({ context: { head } }) => ({ brokerId: head!.masterId! }),
      },
      on: {
        'probe.answered': [
          { guard: masterIs, target: 'healthy' },
          restarted,
          resigned,
          // It lives and has yet to learn that it is master.
          { target: '#announced' },
        ],
        'probe.unreachable': { target: 'doubting', actions: [countUnanswered, because('unreachable')] },
        'probe.silent': { target: 'doubting', actions: [countUnanswered, because('silent')] },
      },
    },
    doubting: {
      always: { guard: 'isGone', target: '#balloting' },
      after: { probePause: 'probing' },
    },
  },
})
