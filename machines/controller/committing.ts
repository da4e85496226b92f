/**
 * A controller that has decided: its decision is one swap, tried until its outcome is known.
 *
 * Of an unknown outcome NOTHING is guessed: the same swap is tried again, and the register tells by the name of the attempt
 * whether it was done before.
 */
import { assign } from 'xstate'
import type { Head } from '../group-state.ts'
import { controller, hearHead } from './vocabulary.ts'

const held = ({ event: { head } }: { event: { head: Head | null } }) => ({ head })
const writeIdIn = ({ event: { writeId } }: { event: { writeId: string } }) => ({ writeId })

export const committing = controller.createStateConfig({
  initial: 'swapping',
  states: {
    swapping: {
      entry: {
        type: 'swapState',
        params: ({ context: { head, proposal } }) => ({
          expected: head?.revision ?? 0,
          state: proposal!,
        }),
      },
      on: {
        'swap.succeeded': {
          guard: { type: 'isProposal', params: writeIdIn },
          target: '#announced',
          actions: assign({
            head: ({ context, event }) => ({ ...context.proposal!, revision: event.revision }),
            proposal: null,
          }),
        },
        'swap.conflicted': [
          // The answer to an earlier swap.
          { guard: { type: 'isOtherProposal', params: writeIdIn } },
          {
            guard: { type: 'holdsProposal', params: held },
            target: '#announced',
            actions: [hearHead, assign({ proposal: null })],
          },
          {
            guard: { type: 'holdsOther', params: held },
            target: '#tracking',
            actions: [hearHead, assign({ proposal: null })],
          },
          { target: '#reading', actions: assign({ head: null, proposal: null }) },
        ],
        'swap.unknown': { guard: { type: 'isProposal', params: writeIdIn }, target: 'resolving' },
      },
    },
    resolving: { after: { swapRetry: 'swapping' } },
  },
})
