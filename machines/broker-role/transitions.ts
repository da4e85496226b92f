/**
 * What several states of a broker's role do alike: where a head leads from them, what follows a failure, what a swap comes to.
 *
 * THE HIGHER EPOCH WINS, here for all of them: a head of an older epoch than the promised one is told of and NEVER acted on,
 * and each list of transitions that hears one names that case first.
 */
import { type Alarm, type BrokerRoleContext, brokerRole, type EventOf, type Own } from './vocabulary.ts'

export const epochOf = ({ context: { epoch } }: Own) => ({ epoch })
export const epochIn = ({ event: { epoch } }: { event: { epoch: number } }) => ({ epoch })
const headIn = ({ event: { head } }: { event: EventOf<'head.changed'> }) => ({ head })
export const writeIdIn = ({ event: { writeId } }: { event: { writeId: string } }) => ({ writeId })
const held = ({ event: { head } }: { event: EventOf<'swap.conflicted'> }) => ({ head })
export const memberIn = ({
  event: { epoch, brokerId, lineage },
}: {
  event: EventOf<'follower.caughtUp'>
}) => ({
  epoch,
  brokerId,
  lineage,
})
export const followerIn = ({
  event: { epoch, brokerId },
}: {
  event: { epoch: number; brokerId: number }
}) => ({
  epoch,
  brokerId,
})

export const dropGate = {
  type: 'closeGate',
  params: ({ context: { epoch } }: Own) => ({ epoch, drain: false }),
} as const
export const drainGate = {
  type: 'closeGate',
  params: ({ context: { epoch } }: Own) => ({ epoch, drain: true }),
} as const
export const registerAs = (role: 'master' | 'slave') =>
  ({ type: 'registerBroker', params: ({ context: { epoch } }: Own) => ({ epoch, role }) }) as const

export const hearHead = brokerRole.assign({
  head: ({ context, event }) => ('head' in event && event.head ? event.head : context.head),
})
/** Acts in the epoch of the head from now on. */
export const adoptEpoch = brokerRole.assign({ epoch: ({ context }) => context.head!.epoch, alarm: null })

export const tellAlarm = { type: 'raiseAlarm', params: ({ context: { alarm } }: Own) => alarm! } as const
const noteAlarm = brokerRole.assign({
  alarm: ({ event }) => ('message' in event ? { code: event.code, message: event.message } : null),
})
export const forgetAlarm = brokerRole.assign({ alarm: null })
const alert = [noteAlarm, tellAlarm] as const
/** From where there is no gate to drain. */
export const leave = { target: '#closing', actions: 'unregisterBroker' } as const
export const failed = { target: '#halted', actions: alert } as const
/** What was to be written found no room. */
export const withoutRoom = {
  guard: {
    type: 'isDiskFull',
    params: ({ event: { code } }: { event: Alarm }) => ({ code }),
  },
  actions: noteAlarm,
} as const
export const failedToStop = { target: '#abandoning', actions: alert } as const
const alertRegression = [
  brokerRole.assign({
    alarm: ({ context, event }) => ({
      code: 'REGISTER_REGRESSED',
      message:
        `the register says epoch ${'head' in event ? event.head?.epoch : 0}, but epoch ${context.epoch} was promised here: ` +
        'it was put back to an older value. Nothing is done about it until its epoch is newer',
    }),
  }),
  tellAlarm,
] as const

const regressed = {
  guard: { type: 'isRegressed', params: headIn },
  actions: alertRegression,
} as const
/** Where a head is what decides. */
export const routed = [
  regressed,
  { guard: { type: 'isNews', params: headIn }, target: '#routing', actions: hearHead },
] as const
/** Where a head has to wait for a write. */
export const heard = [regressed, { guard: { type: 'isNews', params: headIn }, actions: hearHead }] as const
/** Where a head decides only if it names another mastership: members come and go meanwhile. */
export const routedAnew = [
  regressed,
  { guard: { type: 'isOtherMastership', params: headIn }, target: '#routing', actions: hearHead },
  { guard: { type: 'isNews', params: headIn }, actions: hearHead },
] as const
/** Where there is a gate to close first. */
export const deposed = [
  regressed,
  { guard: { type: 'isNewEpoch', params: headIn }, target: '#demoting', actions: hearHead },
] as const

/** One writer tries at most one value at one revision, so both together name the attempt. */
export const writeIdOf = ({ brokerId, incarnation, head }: BrokerRoleContext): string =>
  `broker/${brokerId}/${incarnation}@${head!.revision}`

export const swapProposal = {
  type: 'swapState',
  params: ({ context: { head, proposal } }: Own) => ({ expected: head!.revision, state: proposal! }),
} as const
/** The proposal is in the register. */
const settleProposal = brokerRole.assign(({ context, event }) => ({
  head:
    event.type === 'swap.succeeded'
      ? { ...context.proposal!, revision: event.revision }
      : 'head' in event
        ? event.head
        : context.head,
  proposal: null,
}))
/** Another value is in the register. */
const yieldProposal = [hearHead, brokerRole.assign({ proposal: null })] as const

/** What a swap may come to. Unknown is no failure: the same swap is tried again until it is one or the other. */
export const swapOutcomes = <Success extends string, Other extends string>(success: Success, other: Other) =>
  ({
    'swap.succeeded': {
      guard: { type: 'isProposal', params: writeIdIn },
      target: success,
      actions: settleProposal,
    },
    'swap.conflicted': [
      // The answer to a swap of an earlier mastership.
      { guard: { type: 'isOtherProposal', params: writeIdIn } },
      {
        guard: { type: 'holdsProposal', params: held },
        target: success,
        actions: settleProposal,
      },
      { guard: { type: 'holdsNewerEpoch', params: held }, target: '#demoting', actions: hearHead },
      { guard: { type: 'holdsSameEpoch', params: held }, target: other, actions: yieldProposal },
      // Nothing, or something older: the register was put back. Who repairs it is found by the next try.
      { target: 'resolving' },
    ],
  }) as const
